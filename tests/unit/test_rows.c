/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/train/rows.h"

#define PAD 7

static void add(struct rt_rows *r, const int32_t *ids, const int32_t *types, size_t n, int32_t label)
{
	assert_int_equal(rt_rows_add(r, ids, types, n, label, NULL), 0);
}

static void rows_lie_behind_each_other(void **state)
{
	static const int32_t a[] = { 1, 2, 3 }, b[] = { 4 };
	struct rt_rows r = { .n = 0 };

	(void)state;
	add(&r, a, NULL, 3, 5);
	add(&r, b, NULL, 1, -1);
	assert_int_equal(r.n, 2);
	assert_int_equal(r.start[1], 3);
	assert_int_equal(r.start[2], 4);
	assert_int_equal(r.ids[3], 4);
	assert_int_equal(r.labels[0], 5);
	assert_int_equal(r.labels[1], -1);
	assert_int_equal(r.longest, 3);
	assert_null(r.type_ids);
	rt_rows_release(&r);
	assert_int_equal(r.n, 0);
}

static void many_rows_keep_their_numbers(void **state)
{
	struct rt_rows r = { .n = 0 };
	int32_t ids[40];

	(void)state;
	for (int32_t i = 0; i < 3000; i++) {
		for (int32_t k = 0; k < 40; k++)
			ids[k] = i;
		add(&r, ids, NULL, (size_t)(1 + i % 40), i);
	}
	for (int32_t i = 0; i < 3000; i++) {
		assert_int_equal(r.start[i + 1] - r.start[i], 1 + i % 40);
		assert_int_equal(r.ids[r.start[i]], i);
		assert_int_equal(r.ids[r.start[i + 1] - 1], i);
		assert_int_equal(r.labels[i], i);
	}
	rt_rows_release(&r);
}

static void a_batch_is_padded_to_its_longest_row(void **state)
{
	static const int32_t a[] = { 1, 2, 3 }, b[] = { 4, 5 }, c[] = { 6, 7, 8, 9 };
	static const int64_t want[] = { 4, 5, PAD, 1, 2, 3 };
	static const uint32_t which[] = { 1, 0 };
	struct rt_rows r = { .n = 0 };
	struct rt_collator col = { .ids = NULL };

	(void)state;
	add(&r, a, NULL, 3, 0);
	add(&r, b, NULL, 2, 0);
	add(&r, c, NULL, 4, 0); /* longer, but not in the batch */
	assert_int_equal(rt_collate(&col, &r, which, 2, PAD, NULL), 0);
	assert_int_equal(col.batch.rows, 2);
	assert_int_equal(col.batch.width, 3);
	assert_memory_equal(col.batch.input_ids, want, sizeof want);
	assert_non_null(col.batch.lengths);
	assert_int_equal(col.batch.lengths[0], 2);
	assert_int_equal(col.batch.lengths[1], 3);
	assert_null(col.batch.token_type_ids);
	rt_collator_release(&col);
	rt_rows_release(&r);
}

static void rows_of_one_length_need_no_mask(void **state)
{
	static const int32_t a[] = { 1, 2, 3 };
	static const uint32_t which[] = { 1, 0 };
	struct rt_rows r = { .n = 0 };
	struct rt_collator col = { .ids = NULL };

	(void)state;
	add(&r, a, NULL, 3, 0);
	add(&r, a, NULL, 3, 0);
	assert_int_equal(rt_collate(&col, &r, which, 2, PAD, NULL), 0);
	assert_null(col.batch.lengths);
	rt_collator_release(&col);
	rt_rows_release(&r);
}

static void type_ids_that_begin_late_are_0_before(void **state)
{
	static const int32_t a[] = { 1, 2, 3 }, types[] = { 0, 1, 1 };
	static const int64_t want[] = { 0, 0, 0, 0, 1, 1, 0, 0, 0 };
	static const uint32_t which[] = { 0, 1, 2 };
	struct rt_rows r = { .n = 0 };
	struct rt_collator col = { .ids = NULL };

	(void)state;
	add(&r, a, NULL, 2, 0);
	add(&r, a, types, 3, 0);
	add(&r, a, NULL, 3, 0);
	assert_int_equal(rt_collate(&col, &r, which, 3, PAD, NULL), 0);
	assert_memory_equal(col.batch.token_type_ids, want, sizeof want);
	rt_collator_release(&col);
	rt_rows_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_lie_behind_each_other),
		cmocka_unit_test(many_rows_keep_their_numbers),
		cmocka_unit_test(a_batch_is_padded_to_its_longest_row),
		cmocka_unit_test(rows_of_one_length_need_no_mask),
		cmocka_unit_test(type_ids_that_begin_late_are_0_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
