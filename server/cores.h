/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's cores, divided between the workers that may run at once, so that none waits for a core of another's. Pure but for
 * rt_cores_look. */
#ifndef RT_SERVER_CORES_H
#define RT_SERVER_CORES_H

#include <sched.h>
#include <stddef.h>
#include <stdint.h>

struct rt_cores {
	int count, slots;	   /* CPUs that this process may use, and parts to make of them */
	size_t order[CPU_SETSIZE]; /* their numbers; those of one core, and of one socket, stand together */
};

/* Of this process, as the system says; slots above 0. */
void rt_cores_look(struct rt_cores *c, int slots);

/* Part i (0 to slots - 1): disjoint where there are as many CPUs as slots, at least one CPU in any case. */
void rt_cores_part(const struct rt_cores *c, int i, cpu_set_t *ret);

/* The part that the fewest of n running processes may use, the first of equals. in_use: what each may use. */
int rt_cores_pick(const struct rt_cores *c, const cpu_set_t *in_use, size_t n);

#endif
