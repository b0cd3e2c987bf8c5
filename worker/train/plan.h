/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of a run: which rows make which batch of which epoch. Pure: an epoch's order is a function of seed and epoch
 * alone, so that any step can be found again without replaying those before it. */
#ifndef RT_WORKER_TRAIN_PLAN_H
#define RT_WORKER_TRAIN_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rt_plan {
	int64_t rows;	    /* of the training split, at least 1 */
	int64_t batch;	    /* rows a batch; the last batch of an epoch may hold fewer */
	int64_t accumulate; /* batches an optimizer step; the last step of an epoch may have fewer */
	int64_t epochs;
	uint64_t seed;
	bool shuffle; /* false: 0, 1, 2… in every epoch */
	/* NULL, or an order of somebody else's: fills ret_order[rows] for the epoch (from 0). */
	void (*order)(void *ctx, int64_t epoch, uint32_t *ret_order);
	void *order_ctx; /* borrowed */
};

int64_t rt_plan_batches(const struct rt_plan *p); /* an epoch */
int64_t rt_plan_steps(const struct rt_plan *p);	  /* optimizer steps an epoch */
int64_t rt_plan_total(const struct rt_plan *p);	  /* optimizer steps of the whole run */

/* Row numbers in the order of an epoch (from 0) into ret_order[rows]; batch b is the rows from b * batch on. */
void rt_plan_order(const struct rt_plan *p, int64_t epoch, uint32_t *ret_order);

/* A well mixed 64-bit number from two: seeds for what is random in one step or one epoch. */
uint64_t rt_mix(uint64_t seed, uint64_t n);

#endif
