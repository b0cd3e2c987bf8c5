/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/spec.h"
#include "worker/train/schedule.h"

static void rates_follow_the_schedule(void **state)
{
	/* 27 steps, highest 0.01 */
	static const struct {
		const char *name;
		int kind;
		double warmup_ratio;
		int64_t step;
		double rate;
	} rows[] = {
		{ "linear starts at the highest", RT_LR_LINEAR, 0, 0, 0.01 },
		{ "linear, second step", RT_LR_LINEAR, 0, 1, 0.01 * 26 / 27 },
		{ "linear, last step is not 0", RT_LR_LINEAR, 0, 26, 0.01 / 27 },
		{ "linear, behind the end", RT_LR_LINEAR, 0, 30, 0 },
		{ "warmup of 2.7 steps is 3; the first has 0", RT_LR_LINEAR, 0.1, 0, 0 },
		{ "warmup, third step", RT_LR_LINEAR, 0.1, 2, 0.01 * 2 / 3 },
		{ "after the warmup the highest", RT_LR_LINEAR, 0.1, 3, 0.01 },
		{ "after the warmup the decay is over the rest", RT_LR_LINEAR, 0.1, 15, 0.005 },
		{ "cosine, start", RT_LR_COSINE, 0, 0, 0.01 },
		{ "cosine, a third", RT_LR_COSINE, 0, 9, 0.0075 },
		{ "cosine, two thirds", RT_LR_COSINE, 0, 18, 0.0025 },
		{ "cosine with warmup, half of the rest", RT_LR_COSINE, 0.1, 15, 0.005 },
		{ "constant", RT_LR_CONSTANT, 0, 26, 0.01 },
		{ "constant with warmup", RT_LR_CONSTANT, 0.1, 1, 0.01 / 3 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_schedule s;

		print_message("%s\n", rows[i].name);
		rt_schedule_init(&s, rows[i].kind, 0.01, 27, rows[i].warmup_ratio);
		assert_true(fabs(rt_schedule_rate(&s, rows[i].step) - rows[i].rate) < 1e-15);
	}
}

static void warmup_rounds_up(void **state)
{
	static const struct {
		int64_t total;
		double ratio;
		int64_t warmup;
	} rows[] = { { 27, 0.1, 3 }, { 100, 0.1, 10 }, { 101, 0.1, 11 }, { 10, 0, 0 }, { 1, 0.5, 1 } };
	struct rt_schedule s;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		rt_schedule_init(&s, RT_LR_LINEAR, 1, rows[i].total, rows[i].ratio);
		assert_int_equal(s.warmup, rows[i].warmup);
	}
}

static void a_warmup_as_long_as_the_run_divides_by_nothing(void **state)
{
	struct rt_schedule s;

	(void)state;
	rt_schedule_init(&s, RT_LR_LINEAR, 1, 1, 0.9);
	assert_true(rt_schedule_rate(&s, 0) == 0);
	assert_true(rt_schedule_rate(&s, 1) == 0);
	rt_schedule_init(&s, RT_LR_COSINE, 1, 1, 0.9);
	assert_true(isfinite(rt_schedule_rate(&s, 1)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rates_follow_the_schedule),
		cmocka_unit_test(warmup_rounds_up),
		cmocka_unit_test(a_warmup_as_long_as_the_run_divides_by_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
