/* SPDX-License-Identifier: Apache-2.0 */
/* The distillation loss of the workshop, over tensors (for training) and over one row of plain numbers (for evaluation).
 * Pure: no I/O, no state; results live in the scope given.
 *
 *   loss = alpha * CE + (1 - alpha) * KD
 *   CE   = -log softmax(student)[label], mean over rows
 *   KD   = T^2 * sum_v p_v * (log p_v - log q_v), mean over rows ("batchmean"),
 *          p = softmax(teacher / T), q = softmax(student / T)
 *
 * That is KL(teacher || student) at temperature T; T^2 keeps the size of its gradient independent of T (Hinton, Vinyals,
 * Dean 2015, "Distilling the Knowledge in a Neural Network", section 2). alpha weighs the hard labels, as in the workshop. */
#ifndef RT_WORKER_TRAIN_LOSS_H
#define RT_WORKER_TRAIN_LOSS_H

#include <stddef.h>
#include <stdint.h>

#include "worker/torch/tc.h"

/* Hard-label loss. A scalar. student: (N, V) logits, float; labels: (N) I64 of classes. NULL when s has failed. */
struct tc_tensor *rt_loss_hard(struct tc_scope *s, struct tc_tensor *student, struct tc_tensor *labels);

/* Soft-label loss KD. A scalar. student, teacher: (N, V) logits, float; the teacher gets no gradient. temp > 0, no unit. */
struct tc_tensor *rt_loss_soft(struct tc_scope *s, struct tc_tensor *student, struct tc_tensor *teacher,
			       double temp);

/* alpha * hard + (1 - alpha) * soft. One of the two may be NULL; it then counts as 0. */
struct tc_tensor *rt_loss_mix(struct tc_scope *s, struct tc_tensor *hard, struct tc_tensor *soft,
			      double alpha);

/* The same for one row of n logits, in double. label: a class. teacher: n logits. */
double rt_loss_hard_row(const float *student, size_t n, int32_t label);
double rt_loss_soft_row(const float *student, const float *teacher, size_t n, double temp);

#endif
