/* SPDX-License-Identifier: Apache-2.0 */
/* The teacher's logits, computed once per distinct text before training and kept: the teacher is frozen and in evaluation
 * mode, so an epoch cannot change them. Texts are the same when the teacher's tokenizer makes the same ids of them.
 * With a cache they are computed once ever: what another job, or this one before it was interrupted, has computed is read. */
#ifndef RT_WORKER_TRAIN_TEACHER_H
#define RT_WORKER_TRAIN_TEACHER_H

#include <stddef.h>
#include <stdint.h>

#include "worker/train/logit_cache.h"
#include "worker/train/rows.h"

#define RT_SOFT_SPLITS 2

struct rt_soft {
	size_t classes;
	size_t unique;		      /* distinct texts */
	size_t computed;	      /* forwards that were computed here; the others come from the cache */
	size_t damaged;		      /* records of the cache that were wanted and not whole */
	float *logits;		      /* (unique, classes), in the student's order of classes */
	uint32_t *of[RT_SOFT_SPLITS]; /* row of a split -> row of logits */
};
void rt_soft_release(struct rt_soft *soft); /* a zeroed one is fine */

struct rt_soft_progress {
	size_t done, total; /* distinct texts whose logits are there, of all */
	size_t computed;    /* of done: here */
	bool waiting;	    /* another job computes what is left */
};

struct rt_soft_options {
	/* (count, at most RT_SOFT_SPLITS) splits as the teacher's tokenizer reads them; labels are not looked at */
	const struct rt_rows *const *splits;
	size_t count;
	const int32_t *
		class_of; /* (the teacher's label count) the student's class of each of the teacher's; a permutation */
	int64_t batch;
	struct rt_logit_cache *cache; /* NULL: none; used for this call alone */
	/* Called between batches and while waiting; -1 ends it with err as filled. */
	int (*progress)(void *ctx, const struct rt_soft_progress *p, struct rt_err *err);
	/* The cache takes no more; it goes on without. */
	int (*no_cache)(void *ctx, const char *why, struct rt_err *err);
	void *ctx;
};

/* teacher: opened, and loaded here only if something has to be computed. RT_INVALID when its logits are not finite. */
int rt_soft_compute(struct rt_model *teacher, const struct rt_soft_options *o, struct rt_soft *ret,
		    struct rt_err *err);

/* Share of the rows of a split (0..1) whose label is the teacher's highest class. labels: (n), rows with -1 do not count. */
double rt_soft_accuracy(const struct rt_soft *soft, size_t split, const int32_t *labels, size_t n);

/* Index of the largest of n numbers, the first of equals. */
size_t rt_argmax(const float *x, size_t n);

#endif
