/* SPDX-License-Identifier: Apache-2.0 */
/* The pure parts of HTTP: addresses, routes, ranges, entity tags, manifests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"
#include "server/manifest.h"
#include "server/range.h"
#include "server/router.h"

static void addresses_are_taken_apart(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_target t;

	(void)state;
	assert_int_equal(rt_target_parse("/v1/jobs/a%2Fb/?tag=x+y&tag=%C3%BC&limit=7", &t, &err), 0);
	assert_int_equal(t.segment_count, 3);
	assert_string_equal(t.segments[2], "a/b");
	assert_string_equal(t.path, "/v1/jobs/a%2Fb/");
	assert_int_equal(t.param_count, 3);
	assert_string_equal(t.params[0].value, "x y");
	assert_string_equal(t.params[1].value, "\xc3\xbc");
	assert_string_equal(rt_target_param(&t, "limit"), "7");
	rt_target_release(&t);
}

static void bad_addresses_are_refused(void **state)
{
	static const char *const rows[] = {
		"/%zz", "/%4", "/a%00b", "/%ff", "x", "", "/?a=%e0%80%80", "/\x80"
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_err err = RT_ERR_INIT;
		struct rt_target t;

		print_message("%zu\n", i);
		assert_int_equal(rt_target_parse(rows[i], &t, &err), -1);
		assert_int_equal(err.code, RT_INVALID);
	}
}

static int nothing(struct rt_req *req, struct rt_err *err)
{
	(void)req;
	(void)err;
	return 0;
}

static void routes_are_found(void **state)
{
	static const struct rt_route routes[] = {
		{ "GET", "/v1/jobs/{}", nothing, 0, NULL },
		{ "DELETE", "/v1/jobs/{}", nothing, 0, NULL },
		{ "GET", "/v1/jobs/{}/c/{}.tar", nothing, 0, NULL },
		{ "GET", "/v1/jobs/{}/c/{}", nothing, 0, NULL },
		{ "GET", "/v1/jobs/{}/c/{}/files/{*}", nothing, 0, NULL },
		{ 0 },
	};
	static const struct {
		const char *method, *uri;
		int route; /* -1: none */
		enum rt_code code;
		const char *last; /* the last parameter */
	} rows[] = {
		{ "GET", "/v1/jobs/x", 0, RT_OK, "x" },
		{ "HEAD", "/v1/jobs/x/", 0, RT_OK, "x" },
		{ "DELETE", "/v1/jobs/x", 1, RT_OK, "x" },
		{ "PUT", "/v1/jobs/x", -1, RT_METHOD, NULL },
		{ "GET", "/v1/jobs", -1, RT_NOT_FOUND, NULL },
		{ "GET", "/v1/jobs/x/c/y.tar", 2, RT_OK, "y" },
		{ "GET", "/v1/jobs/x/c/y", 3, RT_OK, "y" },
		{ "GET", "/v1/jobs/x/c/.tar", 3, RT_OK, ".tar" },
		{ "GET", "/v1/jobs/x/c/y/files/a/b", 4, RT_OK, "a/b" },
		{ "GET", "/v1/jobs/x/c/y/files", -1, RT_NOT_FOUND, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_err err = RT_ERR_INIT;
		struct rt_route_params params = { .rest = "" };
		const struct rt_route *found;
		struct rt_target t;
		char allow[64];
		int last = -1;

		print_message("%s %s\n", rows[i].method, rows[i].uri);
		assert_int_equal(rt_target_parse(rows[i].uri, &t, &err), 0);
		found = rt_route_find(routes, rows[i].method, &t, &params, allow, &err);
		assert_ptr_equal(found, rows[i].route < 0 ? NULL : &routes[rows[i].route]);
		assert_int_equal(err.code, rows[i].code);
		if (rows[i].code == RT_METHOD)
			assert_string_equal(allow, "GET, HEAD, DELETE");
		while (last + 1 < RT_ROUTE_PARAMS && params.value[last + 1])
			last++;
		if (rows[i].last)
			assert_string_equal(params.value[last], rows[i].last);
		rt_target_release(&t);
	}
}

static void ranges_are_read(void **state)
{
	static const struct {
		const char *header;
		int64_t size;
		enum rt_range kind;
		int64_t start, length;
	} rows[] = {
		{ NULL, 10, RT_RANGE_WHOLE, 0, 0 },
		{ "bytes=0-0", 10, RT_RANGE_PART, 0, 1 },
		{ "bytes=2-", 10, RT_RANGE_PART, 2, 8 },
		{ "bytes=-3", 10, RT_RANGE_PART, 7, 3 },
		{ "bytes=-30", 10, RT_RANGE_PART, 0, 10 },
		{ "Bytes=5-99999999999999999999", 10, RT_RANGE_PART, 5, 5 },
		{ "bytes=10-", 10, RT_RANGE_UNSATISFIABLE, 0, 0 },
		{ "bytes=-0", 10, RT_RANGE_UNSATISFIABLE, 0, 0 },
		{ "bytes=0-", 0, RT_RANGE_UNSATISFIABLE, 0, 0 },
		{ "bytes=3-2", 10, RT_RANGE_WHOLE, 0, 0 },
		{ "bytes=0-1,3-4", 10, RT_RANGE_WHOLE, 0, 0 },
		{ "items=0-1", 10, RT_RANGE_WHOLE, 0, 0 },
		{ "bytes=-", 10, RT_RANGE_WHOLE, 0, 0 },
		{ "bytes=x", 10, RT_RANGE_WHOLE, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		int64_t start = 0, length = 0;

		print_message("%s\n", rows[i].header ? rows[i].header : "none");
		assert_int_equal(rt_range_parse(rows[i].header, rows[i].size, &start, &length), rows[i].kind);
		if (rows[i].kind == RT_RANGE_PART) {
			assert_int_equal(start, rows[i].start);
			assert_int_equal(length, rows[i].length);
		}
	}
}

static void entity_tags_are_found_in_lists(void **state)
{
	(void)state;
	assert_true(rt_etag_listed("\"a\"", "\"a\""));
	assert_true(rt_etag_listed("\"b\", W/\"a\"", "\"a\""));
	assert_true(rt_etag_listed("*", "\"a\""));
	assert_false(rt_etag_listed("\"ab\"", "\"a\""));
	assert_false(rt_etag_listed("", "\"a\""));
}

#define SHA "\"sha256\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\""

static void manifests_name_only_what_lies_inside(void **state)
{
	static const struct {
		const char *name, *json;
		bool good;
	} rows[] = {
		{ "plain", "[{\"name\":\"config.json\",\"size_bytes\":3," SHA "}]", true },
		{ "sub folder", "[{\"name\":\"runs/a/b\",\"size_bytes\":3," SHA "}]", true },
		{ "too deep", "[{\"name\":\"a/b/c/d\",\"size_bytes\":3," SHA "}]", false },
		{ "up", "[{\"name\":\"../x\",\"size_bytes\":3," SHA "}]", false },
		{ "up inside", "[{\"name\":\"a/../x\",\"size_bytes\":3," SHA "}]", false },
		{ "absolute", "[{\"name\":\"/etc/passwd\",\"size_bytes\":3," SHA "}]", false },
		{ "slash at the end", "[{\"name\":\"a/\",\"size_bytes\":3," SHA "}]", false },
		{ "NUL", "[{\"name\":\"a\\u0000b\",\"size_bytes\":3," SHA "}]", false },
		{ "twice",
		  "[{\"name\":\"a\",\"size_bytes\":3," SHA "},{\"name\":\"a\",\"size_bytes\":3," SHA "}]",
		  false },
		{ "no size", "[{\"name\":\"a\"," SHA "}]", false },
		{ "negative size", "[{\"name\":\"a\",\"size_bytes\":-1," SHA "}]", false },
		{ "no hash", "[{\"name\":\"a\",\"size_bytes\":3}]", false },
		{ "empty", "[]", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_err err = RT_ERR_INIT;
		json_t *files = rt_json_parse(rows[i].json, strlen(rows[i].json), &err);

		print_message("%s\n", rows[i].name);
		assert_non_null(files);
		assert_int_equal(rt_manifest_check(files, &err), rows[i].good ? 0 : -1);
		json_decref(files);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_taken_apart),
		cmocka_unit_test(bad_addresses_are_refused),
		cmocka_unit_test(routes_are_found),
		cmocka_unit_test(ranges_are_read),
		cmocka_unit_test(entity_tags_are_found_in_lists),
		cmocka_unit_test(manifests_name_only_what_lies_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
