/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "worker/train/resume.h"

#define A "ckpt_01ARZ3NDEKTSV4RRFFQ69G5FAA"
#define B "ckpt_01ARZ3NDEKTSV4RRFFQ69G5FAB"

struct fixture {
	char dir[64], from[80], to[80];
	struct rt_resume state;
	struct rt_resume_numbers numbers;
	struct rt_resume_file *found;
	struct rt_buf why;
	struct rt_err err;
};

static void put_file(const char *dir, const char *name, const char *text)
{
	char path[400];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	assert_int_equal(rt_dir_make(dir, NULL), 0);
	assert_int_equal(rt_file_write(path, text, strlen(text), NULL), 0);
}

static bool there(const char *dir, const char *name)
{
	char path[400];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return rt_file_exists(path);
}

static int set_up(void **state)
{
	static const char *names[] = { "w", "b" };
	static size_t sizes[] = { 3000, 7 };
	struct fixture *f = calloc(1, sizeof *f);
	struct rt_resume *r = &f->state;
	char path[200];

	strcpy(f->dir, "/tmp/rt-resume-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->from, sizeof f->from, "%s/old", f->dir);
	snprintf(f->to, sizeof f->to, "%s/new", f->dir);
	f->numbers = (struct rt_resume_numbers){ .count = 2, .names = names, .sizes = sizes, .total = 3007 };
	f->numbers.data = aligned_alloc(4096, rt_resume_data_bytes(3007));
	memset(f->numbers.data, 0, rt_resume_data_bytes(3007));
	for (size_t i = 0; i < 3 * 3007; i++)
		f->numbers.data[i] = (float)i / 7;
	r->train = (struct rt_train_state){ .step = 120,
					    .epoch = 3,
					    .batch = 12,
					    .epoch_steps = 12,
					    .loss_sum = 1.0 / 3,
					    .ce_sum = 1e-300,
					    .kd_sum = NAN,
					    .epoch_seconds = 0.1,
					    .has_best = true,
					    .best = 0.1 + 0.2,
					    .best_epoch = 2,
					    .since_best = 1 };
	r->run_seconds = 12.5;
	r->spec = json_pack("{sf ss sO}", "learning_rate", 0.01, "name", "a", "teacher_id", json_null());
	r->threads = 2;
	strcpy(r->torch, "1.13.0");
	memset(r->prints.data, 'd', RT_SHA256_SIZE - 1);
	memset(r->prints.student, 's', RT_SHA256_SIZE - 1);
	r->epochs = calloc(1, sizeof *r->epochs);
	r->epochs[0] = (struct rt_epoch_record){ 1, 40, 0.1, 0.2, NAN, INFINITY, 0.5, 0.6, 0.7, 1e-5, 3 };
	r->epoch_count = 1;
	r->best_epoch = 2;
	r->best_accuracy = 0.7;
	r->best_metric = 0.3;
	r->checkpoints = calloc(2, sizeof *r->checkpoints);
	strcpy(r->checkpoints[0], A);
	strcpy(r->checkpoints[1], B);
	r->checkpoint_count = 2;
	strcpy(r->best, A);
	strcpy(r->tb_name, "events.out.1");
	r->tb_bytes = 5;
	for (size_t i = 0; i < r->checkpoint_count; i++) {
		snprintf(path, sizeof path, "%s/checkpoints/%s/runs", f->from, r->checkpoints[i]);
		put_file(path, "events", "scalars");
		snprintf(path, sizeof path, "%s/checkpoints/%s", f->from, r->checkpoints[i]);
		put_file(path, "model.safetensors", "weights");
	}
	snprintf(path, sizeof path, "%s/runs", f->from);
	put_file(path, "events.out.1", "12345678");
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	rt_resume_file_close(f->found);
	rt_resume_release(&f->state);
	free(f->numbers.data);
	rt_buf_release(&f->why);
	rt_dir_remove(f->dir, NULL);
	free(f);
	return 0;
}

static void save(struct fixture *f, int64_t step)
{
	f->state.train.step = step;
	assert_int_equal(rt_resume_write(f->from, &f->state, &f->numbers, NULL, NULL, &f->err), 0);
}

/* The step of the state that is found, or -1. */
static int64_t find(struct fixture *f, const char *dir)
{
	rt_resume_file_close(f->found);
	f->found = NULL;
	rt_buf_clear(&f->why);
	assert_int_equal(rt_resume_find(dir, &f->found, &f->why, &f->err), 0);
	return f->found ? f->found->state.train.step : -1;
}

static bool same_bits(double a, double b)
{
	return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static void a_state_comes_back_bit_by_bit(void **state)
{
	struct fixture *f = *state;
	const struct rt_resume *was = &f->state, *is;

	save(f, 120);
	assert_int_equal(find(f, f->from), 120);
	assert_string_equal(rt_buf_text(&f->why), "");
	assert_string_equal(f->found->name, "state-000000000120");
	is = &f->found->state;
	assert_int_equal(is->train.epoch, 3);
	assert_int_equal(is->train.batch, 12);
	assert_int_equal(is->train.epoch_steps, 12);
	assert_int_equal(is->train.since_best, 1);
	assert_int_equal(is->train.best_epoch, 2);
	assert_true(is->train.has_best);
	assert_true(same_bits(is->train.loss_sum, was->train.loss_sum));
	assert_true(same_bits(is->train.ce_sum, was->train.ce_sum));
	assert_true(same_bits(is->train.kd_sum, was->train.kd_sum));
	assert_true(same_bits(is->train.best, was->train.best));
	assert_true(same_bits(is->train.epoch_seconds, was->train.epoch_seconds));
	assert_true(same_bits(is->best_metric, was->best_metric));
	assert_true(same_bits(is->best_accuracy, was->best_accuracy));
	assert_true(same_bits(is->run_seconds, 12.5));
	assert_int_equal(is->epoch_count, 1);
	assert_int_equal(is->epochs[0].step, 40);
	assert_true(same_bits(is->epochs[0].train_kd_loss, NAN));
	assert_true(same_bits(is->epochs[0].eval_loss, INFINITY));
	assert_true(same_bits(is->epochs[0].learning_rate, 1e-5));
	assert_true(same_bits(is->epochs[0].seconds, 3));
	assert_true(json_equal(is->spec, was->spec));
	assert_memory_equal(&is->prints, &was->prints, sizeof is->prints);
	assert_int_equal(is->threads, 2);
	assert_string_equal(is->torch, "1.13.0");
	assert_int_equal(is->checkpoint_count, 2);
	assert_string_equal(is->checkpoints[1], B);
	assert_string_equal(is->best, A);
	assert_int_equal(is->best_epoch, 2);
	assert_string_equal(is->tb_name, "events.out.1");
	assert_int_equal(is->tb_bytes, 5);
	assert_int_equal(f->found->total, 3007);
	assert_memory_equal(f->found->data, f->numbers.data, 3 * 3007 * sizeof(float));
}

static void the_newest_two_are_kept(void **state)
{
	struct fixture *f = *state;
	char path[200];

	snprintf(path, sizeof path, "%s/resume", f->from);
	put_file(path, ".tmp-state-000000000007", "half of one");
	save(f, 99);
	save(f, 100);
	save(f, 1000);
	assert_false(there(path, ".tmp-state-000000000007"));
	assert_false(there(path, "state-000000000099"));
	assert_true(there(path, "state-000000000100"));
	assert_int_equal(find(f, f->from), 1000);
}

/* Whatever part of the newest is damaged, it is passed over, and the reason is said. */
static void a_damaged_state_is_passed_over(void **state)
{
	struct fixture *f = *state;
	struct rt_buf whole = RT_BUF_INIT;
	char path[200];
	/* the magic, the length, the header, a parameter, the last moment, the checksum */
	const size_t at[] = { 0, 9, 60, 4096 + 10, 4096 + 3 * 3007 * 4 - 1, 0 };

	save(f, 1);
	save(f, 2);
	snprintf(path, sizeof path, "%s/resume/state-000000000002", f->from);
	assert_int_equal(rt_file_read(path, 1 << 20, &whole, &f->err), 0);
	for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
		size_t where = i > 0 && at[i] == 0 ? whole.len - 4096 : at[i];

		print_message("byte %zu of %zu\n", where, whole.len);
		whole.data[where] ^= 1;
		assert_int_equal(rt_file_write(path, whole.data, whole.len, &f->err), 0);
		assert_int_equal(find(f, f->from), 1);
		assert_non_null(strstr(rt_buf_text(&f->why), "state-000000000002: "));
		whole.data[where] ^= 1;
	}
	for (size_t cut = 0; cut < whole.len; cut += 1000) {
		assert_int_equal(rt_file_write(path, whole.data, cut, &f->err), 0);
		assert_int_equal(find(f, f->from), 1);
	}
	assert_int_equal(rt_file_write(path, whole.data, whole.len, &f->err), 0);
	assert_int_equal(find(f, f->from), 2);
	rt_buf_release(&whole);
}

static void nothing_saved_is_said(void **state)
{
	struct fixture *f = *state;
	char path[200];

	assert_int_equal(find(f, f->from), -1);
	assert_string_equal(rt_buf_text(&f->why), "no state was saved");
	assert_int_equal(find(f, "/nonexistent"), -1);
	save(f, 5);
	snprintf(path, sizeof path, "%s/checkpoints/%s", f->from, B);
	assert_int_equal(rt_dir_remove(path, NULL), 0);
	assert_int_equal(find(f, f->from), -1);
	assert_non_null(strstr(rt_buf_text(&f->why), B));
}

static bool second_look(void *ctx)
{
	int *looks = ctx;

	return ++*looks == 2;
}

static void given_up_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	char path[200];
	int looks = 0;

	save(f, 5);
	f->state.train.step = 6;
	assert_int_equal(rt_resume_write(f->from, &f->state, &f->numbers, second_look, &looks, &f->err), -1);
	assert_int_equal(f->err.code, RT_CANCELLED);
	snprintf(path, sizeof path, "%s/resume", f->from);
	assert_false(there(path, "state-000000000006"));
	assert_false(there(path, ".tmp-state-000000000006"));
	assert_int_equal(find(f, f->from), 5);
}

static void a_state_moves_in_with_all_that_belongs_to_it(void **state)
{
	struct fixture *f = *state;
	struct rt_buf text = RT_BUF_INIT;
	char path[300];
	struct stat a, b;

	save(f, 5);
	assert_int_equal(find(f, f->from), 5);
	for (int again = 0; again < 2; again++) /* killed right after it: nothing is in the way */
		assert_int_equal(rt_resume_take_over(f->found, f->from, f->to, &f->err), 0);
	assert_int_equal(find(f, f->to), 5);
	snprintf(path, sizeof path, "%s/checkpoints/" A "/model.safetensors", f->from);
	assert_int_equal(stat(path, &a), 0);
	snprintf(path, sizeof path, "%s/checkpoints/" A "/model.safetensors", f->to);
	assert_int_equal(stat(path, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	snprintf(path, sizeof path, "%s/checkpoints/" B "/runs/events", f->to);
	assert_true(rt_file_exists(path));
	snprintf(path, sizeof path, "%s/runs/events.out.1", f->to);
	assert_int_equal(rt_file_read(path, 100, &text, &f->err), 0);
	assert_string_equal(text.data, "12345"); /* what came later belongs to no state */
	/* the old folder may go */
	assert_int_equal(rt_dir_remove(f->from, &f->err), 0);
	assert_int_equal(find(f, f->to), 5);
	rt_buf_release(&text);
}

static struct rt_spec spec_of(const char *changes)
{
	json_t *json = rt_json_parse(changes, strlen(changes), NULL);
	struct rt_problems problems = { .n = 0 };
	struct rt_spec spec;

	json_object_set_new(json, "student_id", json_string("/a"));
	json_object_set_new(json, "dataset_id", json_string("/b"));
	json_object_set_new(json, "alpha", json_integer(1));
	assert_int_equal(rt_spec_parse(json, &spec, &problems, NULL), 0);
	json_decref(json);
	return spec;
}

static void another_run_is_refused_by_field(void **state)
{
	static const struct {
		const char *name, *spec, *pointer;
	} rows[] = {
		{ "the same", "{}", NULL },
		{ "what says nothing about the numbers",
		  "{\"name\":\"x\",\"priority\":3,\"max_runtime_s\":5}", NULL },
		{ "another learning rate", "{\"learning_rate\":0.5}", "/learning_rate" },
		{ "more epochs", "{\"epochs\":77}", "/epochs" },
		{ "another seed", "{\"seed\":2}", "/seed" },
	};
	struct fixture *f = *state;
	struct rt_problems problems = { .n = 0 };
	struct rt_spec spec = spec_of("{}");
	struct rt_resume_prints now;

	json_decref(f->state.spec);
	f->state.spec = rt_spec_json(&spec);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_spec other = spec_of(rows[i].spec);

		print_message("%s\n", rows[i].name);
		problems.n = 0;
		assert_int_equal(rt_resume_check(&f->state, &other, &f->state.prints, &problems, &f->err),
				 rows[i].pointer ? -1 : 0);
		assert_int_equal(problems.n, rows[i].pointer ? 1 : 0);
		if (rows[i].pointer) {
			assert_int_equal(f->err.code, RT_CONFLICT);
			assert_string_equal(problems.items[0].pointer, rows[i].pointer);
		}
		rt_spec_release(&other);
	}
	problems.n = 0;
	now = f->state.prints;
	now.data[0] = 'x';
	assert_int_equal(rt_resume_check(&f->state, &spec, &now, &problems, &f->err), -1);
	assert_string_equal(problems.items[0].pointer, "/dataset_id");
	now = f->state.prints;
	now.student[63] = 'x';
	problems.n = 0;
	assert_int_equal(rt_resume_check(&f->state, &spec, &now, &problems, &f->err), -1);
	assert_string_equal(problems.items[0].pointer, "/student_id");
	rt_spec_release(&spec);
}

static void a_changed_weights_file_changes_the_print(void **state)
{
	struct fixture *f = *state;
	struct rt_spec spec = { .student_id = f->to };
	struct rt_resume_prints a = { .data = "" }, b = { .data = "" };

	put_file(f->to, "config.json", "{}");
	put_file(f->to, "model.safetensors", "weights");
	assert_int_equal(rt_resume_prints_models(&spec, NULL, &a, &f->err), 0);
	put_file(f->to, "pytorch_model.bin", "not read"); /* safetensors go before it */
	assert_int_equal(rt_resume_prints_models(&spec, NULL, &b, &f->err), 0);
	assert_string_equal(a.student, b.student);
	assert_string_equal(a.teacher, "");
	put_file(f->to, "model.safetensors", "weightz");
	assert_int_equal(rt_resume_prints_models(&spec, NULL, &b, &f->err), 0);
	assert_string_not_equal(a.student, b.student);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_state_comes_back_bit_by_bit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_newest_two_are_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_damaged_state_is_passed_over, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nothing_saved_is_said, set_up, tear_down),
		cmocka_unit_test_setup_teardown(given_up_leaves_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_state_moves_in_with_all_that_belongs_to_it, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(another_run_is_refused_by_field, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_changed_weights_file_changes_the_print, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
