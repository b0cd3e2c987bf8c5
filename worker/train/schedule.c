/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/schedule.h"

#include <math.h>

#include "api/spec.h"

void rt_schedule_init(struct rt_schedule *s, int kind, double highest, int64_t total, double warmup_ratio)
{
	s->kind = kind;
	s->highest = highest;
	s->total = total;
	s->warmup = (int64_t)ceil((double)total * warmup_ratio);
}

static int64_t at_least_one(int64_t n)
{
	return n > 1 ? n : 1;
}

double rt_schedule_rate(const struct rt_schedule *s, int64_t step)
{
	double past, factor = 1;

	if (step < s->warmup)
		return s->highest * ((double)step / (double)at_least_one(s->warmup));
	past = (double)(step - s->warmup) / (double)at_least_one(s->total - s->warmup);
	switch (s->kind) {
	case RT_LR_LINEAR:
		/* not 1 - past: the quotient of two integers is the value that others compute, to the last bit */
		factor = (double)(s->total - step) / (double)at_least_one(s->total - s->warmup);
		break;
	case RT_LR_COSINE:
		factor = 0.5 * (1.0 + cos(M_PI * past));
		break;
	case RT_LR_CONSTANT:
		break;
	}
	return s->highest * (factor > 0 ? factor : 0);
}
