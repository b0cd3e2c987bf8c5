/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/id.h"
#include "base/json.h"
#include "base/utf8.h"

static void err_keeps_code_and_prefixes_message(void **state)
{
	struct rt_err err = RT_ERR_INIT;

	(void)state;
	assert_int_equal(rt_fail(&err, RT_CONFLICT, "job is %s", "running"), -1);
	assert_int_equal(rt_fail_in(&err, "step %d", 3), -1);
	assert_int_equal(err.code, RT_CONFLICT);
	assert_string_equal(err.msg, "step 3: job is running");
	assert_int_equal(rt_code_http(err.code), 409);
	assert_string_equal(rt_code_word(err.code), "conflict");
	assert_int_equal(rt_fail(NULL, RT_INVALID, "nobody listens"), -1);
}

static void err_cuts_long_messages_at_a_character(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	char longer[1200] = "";

	(void)state;
	for (int i = 0; i < 599; i++)
		strcat(longer, "\xc3\xa9");
	rt_fail(&err, RT_INVALID, "%s", longer);
	assert_true(strlen(err.msg) < sizeof err.msg);
	assert_string_equal(err.msg + strlen(err.msg) - 3, "\xe2\x80\xa6");
	assert_true((unsigned char)err.msg[strlen(err.msg) - 4] == 0xa9);
}

static void err_is_utf8_whatever_is_quoted(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	char where[300] = "";

	(void)state;
	rt_fail(&err, RT_INVALID, "a name '%.3s' that is cut", "a\xc3\xa9\xc3\xa9");
	assert_string_equal(err.msg, "a name 'a\xc3\xa9' that is cut");
	rt_fail(&err, RT_INVALID, "a name '%.4s' that is cut", "a\xc3\xa9\xc3\xa9");
	assert_string_equal(err.msg, "a name 'a\xc3\xa9?' that is cut");
	rt_fail_errno(&err, ENOENT, "cannot open %s", "\xff\xfe");
	assert_string_equal(err.msg, "cannot open ??: No such file or directory");
	for (int i = 0; i < 140; i++)
		strcat(where, "\xc3\xa9");
	rt_fail(&err, RT_INVALID, "why");
	rt_fail_in(&err, "x%s", where); /* longer than its own room: cut in the middle of a character */
	assert_int_equal(rt_utf8_valid(err.msg, strlen(err.msg)), strlen(err.msg));
	assert_non_null(strstr(err.msg, ": why"));
	rt_fail_in(&err, "%s", where);
	assert_int_equal(rt_utf8_valid(err.msg, strlen(err.msg)), strlen(err.msg));
}

static void err_of_errno_names_the_class(void **state)
{
	struct rt_err err = RT_ERR_INIT;

	(void)state;
	rt_fail_errno(&err, ENOSPC, "cannot write %s", "x");
	assert_int_equal(err.code, RT_DISK_FULL);
	assert_string_equal(err.msg, "cannot write x: No space left on device");
}

static void clock_formats_rfc3339(void **state)
{
	char out[RT_RFC3339_SIZE];

	(void)state;
	assert_string_equal(rt_clock_rfc3339(0, out), "1970-01-01T00:00:00.000Z");
	assert_string_equal(rt_clock_rfc3339(1795491833123, out), "2026-11-24T03:43:53.123Z");
	assert_string_equal(rt_clock_rfc3339(-1, out), "1969-12-31T23:59:59.999Z");
}

static void ids_sort_by_age_and_are_recognised(void **state)
{
	char last[RT_ID_SIZE] = "", id[RT_ID_SIZE];

	(void)state;
	for (int i = 0; i < 2000; i++) {
		rt_id_new("job", id);
		assert_true(rt_id_is(id, "job"));
		assert_true(strcmp(last, id) < 0);
		strcpy(last, id);
	}
	assert_false(rt_id_is(id, "run"));
	assert_false(rt_id_is("job_", "job"));
	assert_false(rt_id_is("job_8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "job")); /* over 128 bits */
	assert_false(rt_id_is("job_01ARZ3NDEKTSV4RRFFQ69G5FAI", "job")); /* I is not in the alphabet */
	assert_true(rt_id_is("job_01ARZ3NDEKTSV4RRFFQ69G5FAV", "job"));
}

static void json_writes_shortest_numbers(void **state)
{
	static const struct {
		double v;
		const char *text;
	} rows[] = {
		{ 0.1, "0.1" },	     { 5e-5, "5e-05" },
		{ 1.0, "1.0" },	     { 0.3 + 0.6, "0.8999999999999999" },
		{ NAN, "null" },     { -INFINITY, "null" },
		{ 1e300, "1e+300" }, { 0.055199695773231194, "0.055199695773231194" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_buf out = RT_BUF_INIT;

		rt_json_write_real(&out, rows[i].v);
		assert_string_equal(out.data, rows[i].text);
		rt_buf_release(&out);
	}
}

static void json_refuses_what_is_not_strict(void **state)
{
	static const char *const rows[] = { "{\"a\":1,\"a\":2}", "{} x",     "[1,]", "NaN",
					    "\"\\ud800\"",	 "\"\xff\"", "{",    "" };

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_err err = RT_ERR_INIT;

		assert_null(rt_json_parse(rows[i], strlen(rows[i]), &err));
		assert_int_equal(err.code, RT_INVALID);
	}
}

static void json_reads_back_what_it_writes(void **state)
{
	static const char text[] = "{\"b\":[1,2.5,\"x\\u0000y\\u007f\\n\"],\"a\":null}";
	struct rt_err err = RT_ERR_INIT;
	struct rt_buf out = RT_BUF_INIT;
	json_t *v = rt_json_parse(text, strlen(text), &err);

	(void)state;
	assert_non_null(v);
	rt_json_write(&out, v, 0);
	assert_string_equal(out.data, text);
	json_decref(v);
	rt_buf_release(&out);
}

static void files_are_written_whole_and_read_back(void **state)
{
	char dir[] = "/tmp/rt_test_XXXXXX", hex[RT_SHA256_SIZE];
	struct rt_err err = RT_ERR_INIT;
	struct rt_buf out = RT_BUF_INIT;
	struct rt_map map;
	char *path, *deep;
	int64_t size;

	(void)state;
	assert_non_null(mkdtemp(dir));
	deep = rt_path_join(dir, "a/b");
	assert_int_equal(rt_dir_make(deep, &err), 0);
	assert_int_equal(rt_dir_make(deep, &err), 0);
	path = rt_path_join(deep, "f");
	assert_int_equal(rt_file_write(path, "abc", 3, &err), 0);
	assert_int_equal(rt_file_read(path, 3, &out, &err), 0);
	assert_string_equal(out.data, "abc");
	assert_int_equal(rt_file_read(path, 2, &out, &err), -1);
	assert_int_equal(err.code, RT_TOO_LARGE);
	assert_string_equal(out.data, "abc");
	assert_int_equal(rt_map_open(path, &map, &err), 0);
	assert_int_equal(map.size, 3);
	rt_map_close(&map);
	assert_int_equal(rt_file_sha256(path, hex, &size, &err), 0);
	assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_int_equal(size, 3);
	assert_int_equal(rt_dir_make(path, &err), -1);
	assert_int_equal(rt_dir_remove(dir, &err), 0);
	assert_false(rt_file_exists(dir));
	assert_int_equal(rt_dir_remove(dir, &err), 0);
	assert_int_equal(rt_file_read(path, 2, &out, &err), -1);
	assert_int_equal(err.code, RT_NOT_FOUND);
	free(path);
	free(deep);
	rt_buf_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(err_keeps_code_and_prefixes_message),
		cmocka_unit_test(err_cuts_long_messages_at_a_character),
		cmocka_unit_test(err_is_utf8_whatever_is_quoted),
		cmocka_unit_test(err_of_errno_names_the_class),
		cmocka_unit_test(clock_formats_rfc3339),
		cmocka_unit_test(ids_sort_by_age_and_are_recognised),
		cmocka_unit_test(json_writes_shortest_numbers),
		cmocka_unit_test(json_refuses_what_is_not_strict),
		cmocka_unit_test(json_reads_back_what_it_writes),
		cmocka_unit_test(files_are_written_whole_and_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
