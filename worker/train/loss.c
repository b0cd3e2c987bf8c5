/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/loss.h"

#include <math.h>

struct tc_tensor *rt_loss_hard(struct tc_scope *s, struct tc_tensor *student, struct tc_tensor *labels)
{
	return tc_cross_entropy(s, student, labels, TC_MEAN);
}

struct tc_tensor *rt_loss_soft(struct tc_scope *s, struct tc_tensor *student, struct tc_tensor *teacher,
			       double temp)
{
	struct tc_tensor *q = tc_log_softmax(s, tc_scale(s, student, 1 / temp), -1); /* (N, V) */
	struct tc_tensor *p = tc_softmax(s, tc_scale(s, teacher, 1 / temp), -1);     /* (N, V) */
	struct tc_tensor *sum = tc_kl_div(s, q, p, TC_SUM);

	return sum ? tc_scale(s, sum, temp * temp / (double)tc_size(student, 0)) : NULL;
}

struct tc_tensor *rt_loss_mix(struct tc_scope *s, struct tc_tensor *hard, struct tc_tensor *soft,
			      double alpha)
{
	if (!soft)
		return tc_scale(s, hard, alpha);
	if (!hard)
		return tc_scale(s, soft, 1 - alpha);
	return tc_add(s, tc_scale(s, hard, alpha), tc_scale(s, soft, 1 - alpha));
}

/* log of the sum of exp(x / temp), without overflow. */
static double log_sum_exp(const float *x, size_t n, double temp)
{
	double top = x[0], sum = 0;

	for (size_t i = 1; i < n; i++)
		top = x[i] > top ? x[i] : top;
	for (size_t i = 0; i < n; i++)
		sum += exp((x[i] - top) / temp);
	return top / temp + log(sum);
}

double rt_loss_hard_row(const float *student, size_t n, int32_t label)
{
	return log_sum_exp(student, n, 1) - student[label];
}

double rt_loss_soft_row(const float *student, const float *teacher, size_t n, double temp)
{
	double ls = log_sum_exp(student, n, temp), lt = log_sum_exp(teacher, n, temp), sum = 0;

	for (size_t i = 0; i < n; i++) {
		double log_p = teacher[i] / temp - lt;

		sum += exp(log_p) * (log_p - (student[i] / temp - ls));
	}
	return temp * temp * sum;
}
