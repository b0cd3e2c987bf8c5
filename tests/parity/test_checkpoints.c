/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints that are not exactly a classifier's (encoders alone, language-modelling and pre-training heads, old names, buffers…)
 * beside what transformers makes of them (checkpoints.json, made by checkpoints_gen.py): which parameters it takes from which
 * tensor, and what its loading info calls missing and unexpected. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "tests/parity/numbers.h"
#include "worker/model/model.h"
#include "worker/weights/weights.h"

static json_t *record;

static int set_up(void **state)
{
	struct rt_err err = RT_ERR_INIT;

	(void)state;
	record = rt_json_read(PARITY_DIR "/checkpoints.json", 16 << 20, &err);
	if (!record)
		print_error("%s\n", err.msg);
	return record ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	json_decref(record);
	return 0;
}

static void write_config(const char *dir, const json_t *config)
{
	struct rt_buf text = RT_BUF_INIT;
	char *path = rt_path_join(dir, "config.json");
	struct rt_err err = RT_ERR_INIT;

	rt_json_write(&text, config, 0);
	assert_int_equal(rt_file_write(path, text.data, text.len, &err), 0);
	rt_buf_release(&text);
	free(path);
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n >= k && strcmp(s + n - k, end) == 0;
}

/* A tensor of the pool with its numbers: fp32, or a buffer that counts up. data: new. */
static struct rt_tensor make_tensor(const json_t *entry)
{
	const json_t *shape = json_array_get(entry, 1);
	struct rt_tensor t = { .name = json_string_value(json_array_get(entry, 0)),
			       .ndim = (int)json_array_size(shape) };
	bool buffer = ends_with(t.name, "_ids");
	size_t n = 1;
	void *data;

	for (int i = 0; i < t.ndim; i++) {
		t.shape[i] = json_integer_value(json_array_get(shape, (size_t)i));
		n *= (size_t)t.shape[i];
	}
	t.dtype = buffer ? RT_DTYPE_I64 : RT_DTYPE_F32;
	t.size_bytes = n * (buffer ? 8 : 4);
	data = malloc(t.size_bytes + 1);
	assert_non_null(data);
	for (size_t i = 0; buffer && i < n; i++)
		((int64_t *)data)[i] = (int64_t)i;
	if (!buffer)
		numbers_of(t.name, t.ndim, data, n);
	t.data = data;
	return t;
}

static void write_weights(const char *dir, const json_t *pool, const json_t *file)
{
	char *path = rt_path_join(dir, "model.safetensors");
	struct rt_err err = RT_ERR_INIT;
	struct rt_tensor *list = calloc(json_array_size(file) + 1, sizeof *list);
	size_t n = json_array_size(file);

	assert_non_null(list);
	for (size_t i = 0; i < n; i++)
		list[i] = make_tensor(
			json_array_get(pool, (size_t)json_integer_value(json_array_get(file, i))));
	if (rt_safetensors_write(path, list, n, NULL, 0, &err) < 0)
		fail_msg("%s", err.msg);
	for (size_t i = 0; i < n; i++)
		free((void *)(uintptr_t)list[i].data);
	free(list);
	free(path);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* names is sorted; want is. */
static bool same_names(const char *what, char **names, size_t n, const json_t *want)
{
	bool same = n == json_array_size(want);

	if (n)
		qsort(names, n, sizeof *names, by_text);
	for (size_t i = 0; i < n; i++) {
		const char *w = json_string_value(json_array_get(want, i));

		same = same && w && strcmp(names[i], w) == 0;
	}
	for (size_t i = 0; !same && i < n; i++)
		print_error("  %s: %s\n", what, names[i]);
	for (size_t i = 0; !same && i < json_array_size(want); i++)
		print_error("  the library's %s: %s\n", what, json_string_value(json_array_get(want, i)));
	return same;
}

static bool contains(char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

/* Every parameter that is not missing holds the numbers of its own name's tensor, or of the one that it was taken from. */
static bool numbers_are_those_of_the_file(const struct rt_model *m, const struct rt_model_report *report,
					  const json_t *taken)
{
	bool good = true;

	for (size_t i = 0; i < rt_model_param_count(m); i++) {
		struct rt_param p = rt_model_param(m, i);
		const char *from = json_string_value(json_object_get(taken, p.name));
		size_t n = (size_t)tc_numel(p.t);
		float *want = malloc(n * sizeof *want);
		bool same;

		assert_non_null(want);
		numbers_of(from ? from : p.name, tc_ndim(p.t), want, n);
		same = memcmp(want, tc_data(p.t), n * sizeof *want) == 0;
		if (same == contains(report->missing, report->missing_count, p.name)) {
			print_error("  %s does not hold the numbers of %s\n", p.name, from ? from : p.name);
			good = false;
		}
		free(want);
	}
	return good;
}

static bool check(const json_t *family, const json_t *c)
{
	const struct rt_model_options o = { .init = RT_INIT_PRETRAINED };
	char dir[] = "/tmp/rt-checkpoints-XXXXXX";
	struct rt_model_report report = { 0 };
	struct rt_err err = RT_ERR_INIT;
	struct rt_model *m = NULL;
	bool good = false;

	assert_non_null(mkdtemp(dir));
	write_config(dir, json_object_get(family, "config"));
	write_weights(dir, json_object_get(family, "pool"), json_object_get(c, "file"));
	if (rt_model_open(dir, &o, &m, &report, &err) < 0) {
		print_error("  %s\n", err.msg);
		goto out;
	}
	good = numbers_are_those_of_the_file(m, &report, json_object_get(c, "taken"));
	good = same_names("missing", report.missing, report.missing_count, json_object_get(c, "missing")) &&
	       good;
	good = same_names("initialised", report.initialised, report.initialised_count,
			  json_object_get(c, "missing")) &&
	       good;
	good = same_names("unexpected", report.unexpected, report.unexpected_count,
			  json_object_get(c, "unexpected")) &&
	       good;
out:
	rt_model_close(m);
	rt_model_report_release(&report);
	rt_dir_remove(dir, NULL);
	return good;
}

static void every_checkpoint_is_read_and_reported_as_by_the_library(void **state)
{
	const json_t *families = json_object_get(record, "families"), *family, *c;
	size_t i, k, bad = 0;

	(void)state;
	assert_true(json_array_size(families) > 0);
	json_array_foreach(families, i, family)
	{
		const char *name = json_string_value(json_object_get(family, "family"));
		const json_t *cases = json_object_get(family, "cases");
		size_t good = 0;

		json_array_foreach(cases, k, c)
		{
			if (check(family, c))
				good++;
			else
				print_error("%s, %s\n", name, json_string_value(json_object_get(c, "what")));
		}
		print_message("%s: %zu of %zu kinds of checkpoints\n", name, good, json_array_size(cases));
		bad += json_array_size(cases) - good;
	}
	assert_int_equal(bad, 0);
}

/* The library would go on with an encoder of new weights; that is an error here, and says why. */
static void a_wrapped_model_is_refused_with_what_to_do(void **state)
{
	static const char *const prefixes[] = { "module.", "_orig_mod." };
	const json_t *family = json_array_get(json_object_get(record, "families"), 0);
	const json_t *pool = json_object_get(family, "pool");
	const json_t *file = json_object_get(json_array_get(json_object_get(family, "cases"), 0), "file");
	const struct rt_model_options o = { .init = RT_INIT_PRETRAINED };
	char dir[] = "/tmp/rt-checkpoints-XXXXXX";

	(void)state;
	assert_non_null(mkdtemp(dir));
	write_config(dir, json_object_get(family, "config"));
	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
		json_t *wrapped = json_deep_copy(pool), *entry;
		struct rt_err err = RT_ERR_INIT;
		struct rt_model *m = NULL;
		size_t k;

		json_array_foreach(wrapped, k, entry)
		{
			char name[200];

			snprintf(name, sizeof name, "%s%s", prefixes[i],
				 json_string_value(json_array_get(entry, 0)));
			json_array_set_new(entry, 0, json_string(name));
		}
		write_weights(dir, wrapped, file);
		assert_int_equal(rt_model_open(dir, &o, &m, NULL, &err), -1);
		assert_int_equal(err.code, RT_INVALID);
		assert_non_null(strstr(err.msg, "saved from a wrapped model"));
		json_decref(wrapped);
	}
	rt_dir_remove(dir, NULL);
}

/* The same checkpoint in other types: fp32 takes the nearest of F64's numbers, and F16's and BF16's as they are. */
static void every_type_of_weight_is_read(void **state)
{
	static const enum rt_dtype types[] = { RT_DTYPE_F64, RT_DTYPE_F16, RT_DTYPE_BF16 };
	const json_t *family = json_array_get(json_object_get(record, "families"), 0);
	const json_t *pool = json_object_get(family, "pool");
	const json_t *file = json_object_get(json_array_get(json_object_get(family, "cases"), 0), "file");
	const struct rt_model_options o = { .init = RT_INIT_PRETRAINED };
	char dir[] = "/tmp/rt-checkpoints-XXXXXX", *path;
	size_t n = json_array_size(file);

	(void)state;
	assert_non_null(mkdtemp(dir));
	path = rt_path_join(dir, "model.safetensors");
	write_config(dir, json_object_get(family, "config"));
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		static const enum tc_dtype as[] = { TC_F64, TC_F16, TC_BF16 };
		struct tc_scope *s = tc_scope_open(NULL, TC_NO_GRAD);
		struct rt_tensor *list = calloc(n, sizeof *list);
		struct rt_err err = RT_ERR_INIT;
		struct rt_model *m = NULL;

		assert_non_null(list);
		for (size_t k = 0; k < n; k++) {
			struct rt_tensor t = make_tensor(
				json_array_get(pool, (size_t)json_integer_value(json_array_get(file, k))));
			struct tc_tensor *x = tc_from_data(s, TC_F32, t.ndim, t.shape, t.data);

			free((void *)(uintptr_t)t.data);
			x = tc_to(s, x, as[i]);
			t.dtype = types[i];
			t.data = tc_data(x);
			t.size_bytes = (size_t)tc_numel(x) * tc_dtype_size(as[i]);
			list[k] = t;
		}
		assert_int_equal(tc_check(s, &err), 0);
		assert_int_equal(rt_safetensors_write(path, list, n, NULL, 0, &err), 0);
		if (rt_model_open(dir, &o, &m, NULL, &err) < 0)
			fail_msg("%s: %s", rt_dtype_name(types[i]), err.msg);
		for (size_t k = 0; k < rt_model_param_count(m); k++) {
			struct rt_param p = rt_model_param(m, k);
			size_t numel = (size_t)tc_numel(p.t);
			float *want = malloc(numel * sizeof *want);
			struct tc_tensor *x;

			assert_non_null(want);
			numbers_of(p.name, tc_ndim(p.t), want, numel);
			x = tc_from_data(s, TC_F32, 1, &(int64_t){ (int64_t)numel }, want);
			x = tc_to(s, tc_to(s, x, as[i]), TC_F32);
			assert_memory_equal(tc_data(x), tc_data(p.t), numel * sizeof *want);
			free(want);
		}
		rt_model_close(m);
		free(list);
		tc_scope_close(s);
	}
	free(path);
	rt_dir_remove(dir, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_checkpoint_is_read_and_reported_as_by_the_library),
		cmocka_unit_test(a_wrapped_model_is_refused_with_what_to_do),
		cmocka_unit_test(every_type_of_weight_is_read),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
