/* SPDX-License-Identifier: Apache-2.0 */
/* Values by hand (in double, to 12 digits); curves against the Hugging Face Trainer are in parity/test_training.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/train/loss.h"

#define N 2
#define V 3

static const float student[N * V] = { 1, 0, -1, 0.5f, 2, 0 };
static const float teacher[N * V] = { 0, 2, 0, 1, 1, -3 };
static const int64_t labels[N] = { 0, 1 };

/* straight from the formula, without any care for overflow */
static double by_hand_soft(const float *s, const float *t, double temp)
{
	double zs = 0, zt = 0, sum = 0;

	for (int i = 0; i < V; i++) {
		zs += exp(s[i] / temp);
		zt += exp(t[i] / temp);
	}
	for (int i = 0; i < V; i++) {
		double p = exp(t[i] / temp) / zt, q = exp(s[i] / temp) / zs;

		sum += p * log(p / q);
	}
	return temp * temp * sum;
}

static void hard_loss_of_a_row(void **state)
{
	(void)state;
	/* log(e + 1 + 1/e) - 1 */
	assert_true(fabs(rt_loss_hard_row(student, V, 0) - 0.407605964444380) < 1e-12);
	assert_true(fabs(rt_loss_hard_row(student, V, 2) - 2.407605964444380) < 1e-12);
}

static void soft_loss_of_a_row_is_kl_of_teacher_and_student(void **state)
{
	static const double temps[] = { 1, 2, 4, 19 };
	double forward = by_hand_soft(student, teacher, 2), backward = by_hand_soft(teacher, student, 2);

	(void)state;
	assert_true(fabs(forward - backward) > 0.01); /* these values would show a swap */
	for (size_t i = 0; i < sizeof temps / sizeof *temps; i++)
		assert_true(fabs(rt_loss_soft_row(student, teacher, V, temps[i]) -
				 by_hand_soft(student, teacher, temps[i])) < 1e-11);
	assert_true(fabs(rt_loss_soft_row(teacher, teacher, V, 4)) < 1e-15);
}

static void large_logits_do_not_overflow(void **state)
{
	const float s[V] = { 1e4f, 0, -1e4f }, t[V] = { -1e4f, 0, 1e4f };

	(void)state;
	assert_true(isfinite(rt_loss_soft_row(s, t, V, 1)));
	assert_true(isfinite(rt_loss_hard_row(s, V, 2)));
}

/* Over tensors: the mean over rows of the same, and the gradient
 * (alpha (softmax(s) - onehot) + (1 - alpha) T (softmax(s/T) - softmax(t/T))) / N. */
static void tensors_give_the_mean_over_rows_and_its_gradient(void **state)
{
	const int64_t shape[] = { N, V }, rows[] = { N };
	const double temp = 2, alpha = 0.3;
	struct tc_scope *scope = tc_scope_open(NULL, 0);
	struct tc_tensor *s = tc_from_data(scope, TC_F32, 2, shape, student), *hard, *soft, *loss;
	double got, want = 0;
	float grad[N * V];

	(void)state;
	assert_int_equal(tc_require_grad(scope, s, true, NULL), 0);
	hard = rt_loss_hard(scope, s, tc_from_data(scope, TC_I64, 1, rows, labels));
	soft = rt_loss_soft(scope, s, tc_from_data(scope, TC_F32, 2, shape, teacher), temp);
	loss = rt_loss_mix(scope, hard, soft, alpha);
	for (int i = 0; i < N; i++)
		want += (alpha * rt_loss_hard_row(student + i * V, V, (int32_t)labels[i]) +
			 (1 - alpha) * rt_loss_soft_row(student + i * V, teacher + i * V, V, temp)) /
			N;
	assert_int_equal(tc_item_f64(scope, loss, &got, NULL), 0);
	assert_true(fabs(got - want) < 1e-6);
	assert_int_equal(tc_backward(scope, loss, NULL), 0);
	assert_int_equal(tc_read(scope, tc_grad(scope, s), TC_F32, grad, N * V, NULL), 0);
	for (int i = 0; i < N; i++) {
		const float *x = student + i * V, *t = teacher + i * V;
		double z1 = 0, zs = 0, zt = 0;

		for (int k = 0; k < V; k++) {
			z1 += exp(x[k]);
			zs += exp(x[k] / temp);
			zt += exp(t[k] / temp);
		}
		for (int k = 0; k < V; k++) {
			double g = alpha * (exp(x[k]) / z1 - (k == labels[i])) +
				   (1 - alpha) * temp * (exp(x[k] / temp) / zs - exp(t[k] / temp) / zt);

			assert_true(fabs(grad[i * V + k] - g / N) < 1e-6);
		}
	}
	tc_scope_close(scope);
}

static void mix_takes_one_part_alone(void **state)
{
	const int64_t one = 1;
	const float two = 2;
	struct tc_scope *scope = tc_scope_open(NULL, 0);
	struct tc_tensor *x = tc_from_data(scope, TC_F32, 1, &one, &two);
	double v;

	(void)state;
	assert_int_equal(tc_item_f64(scope, rt_loss_mix(scope, x, NULL, 0.25), &v, NULL), 0);
	assert_true(fabs(v - 0.5) < 1e-7);
	assert_int_equal(tc_item_f64(scope, rt_loss_mix(scope, NULL, x, 0.25), &v, NULL), 0);
	assert_true(fabs(v - 1.5) < 1e-7);
	tc_scope_close(scope);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hard_loss_of_a_row),
		cmocka_unit_test(soft_loss_of_a_row_is_kl_of_teacher_and_student),
		cmocka_unit_test(large_logits_do_not_overflow),
		cmocka_unit_test(tensors_give_the_mean_over_rows_and_its_gradient),
		cmocka_unit_test(mix_takes_one_part_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
