/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/train/plan.h"

#define ROWS 1000

static void counts_of_batches_and_steps(void **state)
{
	static const struct {
		const char *name;
		int64_t rows, batch, accumulate, epochs, batches, steps, total;
	} rows[] = {
		{ "a partial last batch is a step", 272, 32, 1, 3, 9, 9, 27 },
		{ "a partial last accumulation is a step", 272, 32, 2, 3, 9, 5, 15 },
		{ "even", 256, 64, 1, 2, 4, 4, 8 },
		{ "fewer rows than a batch", 3, 64, 4, 5, 1, 1, 5 },
		{ "one row more", 65, 64, 1, 1, 2, 2, 2 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_plan p = { .rows = rows[i].rows,
				     .batch = rows[i].batch,
				     .accumulate = rows[i].accumulate,
				     .epochs = rows[i].epochs };

		print_message("%s\n", rows[i].name);
		assert_int_equal(rt_plan_batches(&p), rows[i].batches);
		assert_int_equal(rt_plan_steps(&p), rows[i].steps);
		assert_int_equal(rt_plan_total(&p), rows[i].total);
	}
}

static void assert_holds_every_row_once(const uint32_t *order)
{
	char seen[ROWS] = { 0 };

	for (size_t i = 0; i < ROWS; i++) {
		assert_true(order[i] < ROWS);
		assert_false(seen[order[i]]);
		seen[order[i]] = 1;
	}
}

static void order_is_a_permutation_made_of_seed_and_epoch(void **state)
{
	struct rt_plan p = {
		.rows = ROWS, .batch = 64, .accumulate = 1, .epochs = 3, .seed = 33, .shuffle = true
	};
	uint32_t a[ROWS], b[ROWS];
	double moved = 0;

	(void)state;
	rt_plan_order(&p, 1, a);
	assert_holds_every_row_once(a);
	rt_plan_order(&p, 1, b);
	assert_memory_equal(a, b, sizeof a);
	rt_plan_order(&p, 2, b);
	assert_memory_not_equal(a, b, sizeof a);
	p.seed = 34;
	rt_plan_order(&p, 1, b);
	assert_memory_not_equal(a, b, sizeof a);
	/* a uniform order moves a row by a third of the rows on the average */
	for (size_t i = 0; i < ROWS; i++)
		moved += a[i] > i ? a[i] - (double)i : (double)i - a[i];
	assert_true(moved / ROWS > ROWS * 0.30 && moved / ROWS < ROWS * 0.37);
}

static void neighbouring_seeds_and_epochs_do_not_share_orders(void **state)
{
	/* seed 33 in epoch 1 must not be seed 34 in epoch 0 */
	struct rt_plan p = {
		.rows = ROWS, .batch = 64, .accumulate = 1, .epochs = 3, .seed = 33, .shuffle = true
	};
	uint32_t a[ROWS], b[ROWS];

	(void)state;
	rt_plan_order(&p, 1, a);
	p.seed = 34;
	rt_plan_order(&p, 0, b);
	assert_memory_not_equal(a, b, sizeof a);
	p.seed = 32;
	rt_plan_order(&p, 2, b);
	assert_memory_not_equal(a, b, sizeof a);
}

static void no_shuffle_keeps_the_order(void **state)
{
	struct rt_plan p = {
		.rows = ROWS, .batch = 64, .accumulate = 1, .epochs = 3, .seed = 33, .shuffle = false
	};
	uint32_t a[ROWS];

	(void)state;
	for (int64_t epoch = 0; epoch < 2; epoch++) {
		rt_plan_order(&p, epoch, a);
		for (uint32_t i = 0; i < ROWS; i++)
			assert_int_equal(a[i], i);
	}
}

static void backwards(void *ctx, int64_t epoch, uint32_t *ret_order)
{
	*(int64_t *)ctx += epoch;
	for (uint32_t i = 0; i < ROWS; i++)
		ret_order[i] = ROWS - 1 - i;
}

static void an_order_of_somebody_elses_is_used(void **state)
{
	int64_t asked = 0;
	struct rt_plan p = { .rows = ROWS,
			     .batch = 64,
			     .accumulate = 1,
			     .epochs = 9,
			     .shuffle = true,
			     .order = backwards,
			     .order_ctx = &asked };
	uint32_t a[ROWS];

	(void)state;
	rt_plan_order(&p, 7, a);
	assert_int_equal(asked, 7);
	assert_int_equal(a[0], ROWS - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_of_batches_and_steps),
		cmocka_unit_test(order_is_a_permutation_made_of_seed_and_epoch),
		cmocka_unit_test(neighbouring_seeds_and_epochs_do_not_share_orders),
		cmocka_unit_test(no_shuffle_keeps_the_order),
		cmocka_unit_test(an_order_of_somebody_elses_is_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
