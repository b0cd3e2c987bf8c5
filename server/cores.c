/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cores.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* One number of a CPU's topology; 0 where the system says nothing. */
static int64_t topology(size_t cpu, const char *name)
{
	long long value = 0;
	char path[96];
	FILE *f;

	snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/topology/%s", cpu, name);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%lld", &value) != 1 || value < 0)
		value = 0;
	fclose(f);
	return value;
}

struct place {
	int64_t package, core;
	size_t cpu;
};

static int by_place(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->package != y->package)
		return x->package < y->package ? -1 : 1;
	if (x->core != y->core)
		return x->core < y->core ? -1 : 1;
	return x->cpu < y->cpu ? -1 : x->cpu > y->cpu;
}

void rt_cores_look(struct rt_cores *c, int slots)
{
	struct place places[CPU_SETSIZE];
	cpu_set_t set;
	int n = 0;

	if (sched_getaffinity(0, sizeof set, &set) < 0) {
		CPU_ZERO(&set);
		for (long i = 0; i < sysconf(_SC_NPROCESSORS_ONLN) && i < CPU_SETSIZE; i++)
			CPU_SET((size_t)i, &set);
	}
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &set))
			places[n++] = (struct place){ topology(cpu, "physical_package_id"),
						      topology(cpu, "core_id"), cpu };
	}
	qsort(places, (size_t)n, sizeof *places, by_place);
	c->slots = slots;
	c->count = n;
	for (int i = 0; i < n; i++)
		c->order[i] = places[i].cpu;
}

void rt_cores_part(const struct rt_cores *c, int i, cpu_set_t *ret)
{
	int from = i * c->count / c->slots, to = (i + 1) * c->count / c->slots;

	CPU_ZERO(ret);
	if (c->count == 0)
		return;
	if (c->count < c->slots) { /* some have to share one */
		CPU_SET(c->order[i % c->count], ret);
		return;
	}
	for (int k = from; k < to; k++)
		CPU_SET(c->order[k], ret);
}

int rt_cores_pick(const struct rt_cores *c, const cpu_set_t *in_use, size_t n)
{
	size_t fewest = n + 1;
	int best = 0;

	for (int i = 0; i < c->slots; i++) {
		cpu_set_t part, both;
		size_t users = 0;

		rt_cores_part(c, i, &part);
		for (size_t k = 0; k < n; k++) {
			CPU_AND(&both, &part, &in_use[k]);
			users += CPU_COUNT(&both) > 0;
		}
		if (users < fewest) {
			fewest = users;
			best = i;
		}
	}
	return best;
}
