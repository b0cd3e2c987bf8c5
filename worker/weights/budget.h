/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory reading one stranger's file may take: every allocation that the file's content decides is taken from
 * here first, so a file that lies is found out before it costs more than its own size plus a constant. */
#ifndef RT_WORKER_WEIGHTS_BUDGET_H
#define RT_WORKER_WEIGHTS_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

#define RT_BUDGET_BASE_BYTES ((size_t)16 << 20)

struct rt_budget {
	size_t left_bytes;
};

/* size_bytes: the file's own. */
static inline struct rt_budget rt_budget_for(size_t size_bytes)
{
	return (struct rt_budget){ .left_bytes = size_bytes + RT_BUDGET_BASE_BYTES };
}

/* Room for n things of size bytes each; false, and nothing is taken, when it is more than what is left. */
static inline bool rt_budget_take(struct rt_budget *b, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes) || bytes > b->left_bytes)
		return false;
	b->left_bytes -= bytes;
	return true;
}

static inline void rt_budget_give(struct rt_budget *b, size_t n, size_t size)
{
	b->left_bytes += n * size;
}

#endif
