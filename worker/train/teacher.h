/* SPDX-License-Identifier: Apache-2.0 */
/* The teacher's logits, computed once per distinct text before training and kept: the teacher is frozen and in evaluation
 * mode, so an epoch cannot change them. Texts are the same when the teacher's tokenizer makes the same ids of them. */
#ifndef RT_WORKER_TRAIN_TEACHER_H
#define RT_WORKER_TRAIN_TEACHER_H

#include <stddef.h>
#include <stdint.h>

#include "worker/train/rows.h"

#define RT_SOFT_SPLITS 2

struct rt_soft {
	size_t classes;
	size_t unique;		      /* distinct texts: forwards that were computed */
	float *logits;		      /* (unique, classes), in the student's order of classes */
	uint32_t *of[RT_SOFT_SPLITS]; /* row of a split -> row of logits */
};
void rt_soft_release(struct rt_soft *soft); /* a zeroed one is fine */

/* splits: count (at most RT_SOFT_SPLITS) splits as the teacher's tokenizer reads them; labels are not looked at.
 * class_of: (the teacher's label count) the student's class of each of the teacher's; a permutation. */
int rt_soft_compute(struct rt_model *teacher, const struct rt_rows *const *splits, size_t count,
		    const int32_t *class_of, int64_t batch, const struct rt_tick *tick, struct rt_soft *ret,
		    struct rt_err *err);

/* Share of the rows of a split (0..1) whose label is the teacher's highest class. labels: (n), rows with -1 do not count. */
double rt_soft_accuracy(const struct rt_soft *soft, size_t split, const int32_t *labels, size_t n);

/* Index of the largest of n numbers, the first of equals. */
size_t rt_argmax(const float *x, size_t n);

#endif
