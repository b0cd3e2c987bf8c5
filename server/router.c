/* SPDX-License-Identifier: Apache-2.0 */
#include "server/router.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Joins the segments from `first` on. False if they do not fit. */
static bool join_rest(const struct rt_target *t, size_t first, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = first; i < t->segment_count; i++) {
		int more = snprintf(out + n, size - n, "%s%s", i > first ? "/" : "", t->segments[i]);

		if (more < 0 || (size_t)more >= size - n)
			return false;
		n += (size_t)more;
	}
	return n > 0;
}

static bool matches(const char *pattern, const struct rt_target *t, struct rt_route_params *p)
{
	size_t segment = 0, param = 0;

	for (const char *s = pattern; *s; segment++) {
		size_t n;

		s++; /* the slash */
		n = strcspn(s, "/");
		if (n == 3 && strncmp(s, "{*}", 3) == 0) {
			p->value[param] = p->rest;
			return join_rest(t, segment, p->rest, sizeof p->rest);
		}
		if (segment >= t->segment_count)
			return false;
		if (strncmp(s, "{}", 2) == 0) {
			const char *value = t->segments[segment];
			size_t tail = n - 2, len = strlen(value);

			if (len <= tail || strncmp(value + len - tail, s + 2, tail) != 0)
				return false;
			if (tail > 0) { /* only one such parameter a pattern: the buffer for {*} is free */
				if (len - tail >= sizeof p->rest)
					return false;
				memcpy(p->rest, value, len - tail);
				p->rest[len - tail] = '\0';
				value = p->rest;
			}
			p->value[param++] = value;
		} else if (strlen(t->segments[segment]) != n || strncmp(t->segments[segment], s, n) != 0) {
			return false;
		}
		s += n;
	}
	return segment == t->segment_count;
}

static void allow(char list[64], const char *method)
{
	size_t n = strlen(list);

	if (strstr(list, method))
		return;
	snprintf(list + n, 64 - n, "%s%s%s", n ? ", " : "", method,
		 strcmp(method, "GET") == 0 ? ", HEAD" : "");
}

const struct rt_route *rt_route_find(const struct rt_route *routes, const char *method,
				     const struct rt_target *target, struct rt_route_params *ret,
				     char ret_allow[64], struct rt_err *err)
{
	const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;

	ret_allow[0] = '\0';
	for (const struct rt_route *r = routes; r->method; r++) {
		if (!matches(r->pattern, target, ret))
			continue;
		if (strcmp(r->method, wanted) == 0)
			return r;
		allow(ret_allow, r->method);
	}
	if (ret_allow[0])
		rt_fail(err, RT_METHOD, "%.16s is not possible here; possible: %s", method, ret_allow);
	else
		rt_fail(err, RT_NOT_FOUND, "there is nothing at %.200s", target->path);
	return NULL;
}
