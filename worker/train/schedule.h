/* SPDX-License-Identifier: Apache-2.0 */
/* The learning rate of every optimizer step: a rise from 0 (warmup), then a decay. Pure: the rate is a function of the
 * step's number alone, so a run that is resumed anywhere goes on with the right one. */
#ifndef RT_WORKER_TRAIN_SCHEDULE_H
#define RT_WORKER_TRAIN_SCHEDULE_H

#include <stdint.h>

struct rt_schedule {
	int kind;	/* enum rt_lr_scheduler */
	double highest; /* the rate after the warmup, no unit */
	int64_t warmup; /* steps of the rise */
	int64_t total;	/* optimizer steps of the whole run */
};

/* warmup_ratio: share of all steps, 0 to 1; rounded up to whole steps. */
void rt_schedule_init(struct rt_schedule *s, int kind, double highest, int64_t total, double warmup_ratio);

/* The rate used in step number `step`, counted from 0. With a warmup step 0 has rate 0.
 * linear: (total - step) / (total - warmup); cosine: half a period down to 0; constant: the highest. Never below 0. */
double rt_schedule_rate(const struct rt_schedule *s, int64_t step);

#endif
