/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/plan.h"

#include "base/mix.h"

static int64_t ceil_div(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

int64_t rt_plan_batches(const struct rt_plan *p)
{
	return ceil_div(p->rows, p->batch);
}

int64_t rt_plan_steps(const struct rt_plan *p)
{
	return ceil_div(rt_plan_batches(p), p->accumulate);
}

int64_t rt_plan_total(const struct rt_plan *p)
{
	return rt_plan_steps(p) * p->epochs;
}

/* One step of SplitMix64 (Steele, Lea, Flood 2014): passes statistical tests, and its whole state is one counter. */
static uint64_t next(uint64_t *state)
{
	return rt_mix64(*state += RT_MIX_STEP);
}

uint64_t rt_mix(uint64_t seed, uint64_t n)
{
	uint64_t state = seed;

	state = next(&state) ^ n;
	return next(&state);
}

/* Uniform in [0, n): numbers that would favour the small remainders are drawn again. */
static uint32_t below(uint64_t *state, uint32_t n)
{
	uint64_t limit = UINT64_MAX - UINT64_MAX % n, x;

	do
		x = next(state);
	while (x >= limit);
	return (uint32_t)(x % n);
}

void rt_plan_order(const struct rt_plan *p, int64_t epoch, uint32_t *ret_order)
{
	uint64_t state = rt_mix(p->seed, (uint64_t)epoch);
	uint32_t n = (uint32_t)p->rows;

	if (p->order) {
		p->order(p->order_ctx, epoch, ret_order);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		ret_order[i] = i;
	if (!p->shuffle)
		return;
	for (uint32_t i = n; i > 1; i--) {
		uint32_t j = below(&state, i), kept = ret_order[i - 1];

		ret_order[i - 1] = ret_order[j];
		ret_order[j] = kept;
	}
}
