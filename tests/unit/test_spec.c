/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "api/event.h"
#include "api/spec.h"
#include "base/json.h"

#define OK "\"teacher_id\":\"t\",\"student_id\":\"s\",\"dataset_id\":\"d\""

static int parse(const char *text, struct rt_spec *spec, struct rt_problems *p, struct rt_err *err)
{
	json_t *json = rt_json_parse(text, strlen(text), err);
	int rc;

	assert_non_null(json);
	rc = rt_spec_parse(json, spec, p, err);
	json_decref(json);
	return rc;
}

static void spec_fills_the_workshops_defaults(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_problems p;
	struct rt_spec spec;

	(void)state;
	assert_int_equal(parse("{" OK "}", &spec, &p, &err), 0);
	assert_true(spec.alpha == 0.5 && spec.temperature == 4 && spec.learning_rate == 5e-5);
	assert_int_equal(spec.epochs, 3);
	assert_int_equal(spec.seed, 33);
	assert_int_equal(spec.save_total_limit, 2);
	assert_int_equal(spec.per_device_train_batch_size, 64);
	assert_int_equal(spec.metric_for_best_model, RT_METRIC_ACCURACY);
	assert_int_equal(spec.max_length, -1);
	assert_true(spec.shuffle);
	rt_spec_release(&spec);
}

static void spec_prints_what_it_reads_back(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_problems p;
	struct rt_spec spec, again;
	json_t *one, *two;

	(void)state;
	assert_int_equal(
		parse("{" OK ",\"tags\":[\"a\",\"b\"],\"epochs\":7,\"precision\":\"bf16\",\"max_length\":64,"
		      "\"resources\":{\"threads\":2},\"alpha\":0.055199695773231194,\"shuffle\":false}",
		      &spec, &p, &err),
		0);
	one = rt_spec_json(&spec);
	assert_int_equal(rt_spec_parse(one, &again, &p, &err), 0);
	two = rt_spec_json(&again);
	assert_true(json_equal(one, two));
	assert_int_equal(json_integer_value(json_object_get(json_object_get(two, "resources"), "threads")),
			 2);
	json_decref(one);
	json_decref(two);
	rt_spec_release(&spec);
	rt_spec_release(&again);
}

static void spec_refuses_bad_values(void **state)
{
	static const struct {
		const char *name, *json, *pointer, *detail, *suggestion;
	} rows[] = {
		{ "the workshop's typo", "{" OK ",\"temparature\":19}", "/temparature",
		  "unknown field 'temparature'; did you mean 'temperature'?", "temperature" },
		{ "nothing near", "{" OK ",\"zzzzzz\":1}", "/zzzzzz", "unknown field 'zzzzzz'", "" },
		{ "slash in a key", "{" OK ",\"a/b~\":1}", "/a~1b~0", "unknown field 'a/b~'", "" },
		{ "dotted key is not the member", "{" OK ",\"resources.threads\":1}", "/resources.threads",
		  "unknown field 'resources.threads'", "" },
		{ "zero temperature", "{" OK ",\"temperature\":0}", "/temperature",
		  "temperature must be above 0 and at most 1000 (got 0)", "" },
		{ "alpha above 1", "{" OK ",\"alpha\":1.5}", "/alpha",
		  "alpha must be between 0 and 1 (got 1.5)", "" },
		{ "alpha as text", "{" OK ",\"alpha\":\"0.5\"}", "/alpha",
		  "alpha must be a number (got \"0.5\")", "" },
		{ "zero epochs", "{" OK ",\"epochs\":0}", "/epochs",
		  "epochs must be between 1 and 10000 (got 0)", "" },
		{ "half an epoch", "{" OK ",\"epochs\":2.5}", "/epochs",
		  "epochs must be an integer (got 2.5)", "" },
		{ "switch as text", "{" OK ",\"fp16\":\"False\"}", "/fp16",
		  "fp16 must be true or false (got \"False\")", "" },
		{ "enum typo", "{" OK ",\"precision\":\"fp23\"}", "/precision",
		  "precision must be one of auto, fp32, bf16, fp16 (got \"fp23\")", "fp32" },
		{ "missing student", "{\"teacher_id\":\"t\",\"dataset_id\":\"d\"}", "/student_id",
		  "student_id is required", "" },
		{ "null for required", "{\"teacher_id\":\"t\",\"dataset_id\":\"d\",\"student_id\":null}",
		  "/student_id", "student_id must not be null", "" },
		{ "no teacher", "{\"student_id\":\"s\",\"dataset_id\":\"d\"}", "/teacher_id",
		  "teacher_id is required unless alpha is 1 (alpha is 0.5); with alpha 1 the job is plain "
		  "fine-tuning",
		  "" },
		{ "empty text", "{" OK ",\"name\":\"\"}", "/name", "name must have 1 to 200 bytes (got 0)",
		  "" },
		{ "newline in a name", "{" OK ",\"name\":\"a\\nb\"}", "/name",
		  "name must not hold control characters (got \"a\\nb\")", "" },
		{ "tag of the wrong type", "{" OK ",\"tags\":[\"a\",1]}", "/tags/1",
		  "tags must be a string (got 1)", "" },
		{ "nested typo", "{" OK ",\"resources\":{\"thread\":1}}", "/resources/thread",
		  "unknown field 'thread'; did you mean 'threads'?", "threads" },
		{ "search", "{" OK ",\"run_hpo\":true}", "/run_hpo",
		  "run_hpo is not supported in this version; send false or leave it out", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_err err = RT_ERR_INIT;
		struct rt_problems p;
		struct rt_spec spec;

		print_message("%s\n", rows[i].name);
		assert_int_equal(parse(rows[i].json, &spec, &p, &err), -1);
		assert_int_equal(err.code, RT_UNPROCESSABLE);
		assert_int_equal(p.n, 1);
		assert_string_equal(p.items[0].pointer, rows[i].pointer);
		assert_string_equal(p.items[0].detail, rows[i].detail);
		assert_string_equal(p.items[0].suggestion, rows[i].suggestion);
	}
}

static void spec_reports_every_wrong_field_at_once(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_problems p;
	struct rt_spec spec;

	(void)state;
	assert_int_equal(parse("{" OK ",\"alpha\":-1,\"epochs\":0,\"learning_rate\":0}", &spec, &p, &err),
			 -1);
	assert_int_equal(p.n, 3);
	assert_string_equal(err.msg, "3 fields are wrong; the first: alpha must be between 0 and 1 (got -1)");
}

static void spec_without_teacher_needs_alpha_one(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_problems p;
	struct rt_spec spec;

	(void)state;
	assert_int_equal(parse("{\"student_id\":\"s\",\"dataset_id\":\"d\",\"alpha\":1}", &spec, &p, &err),
			 0);
	assert_null(spec.teacher_id);
	rt_spec_release(&spec);
}

static void events_are_checked_by_type(void **state)
{
	static const struct {
		const char *name, *line, *msg;
	} rows[] = {
		{ "unknown type", "{\"seq\":1,\"type\":\"x\",\"at\":\"t\",\"data\":{}}",
		  "unknown event type 'x'" },
		{ "missing member", "{\"seq\":1,\"type\":\"run.phase\",\"at\":\"t\",\"data\":{}}",
		  "event run.phase: data.phase is missing or of the wrong type" },
		{ "seq 0", "{\"seq\":0,\"type\":\"log\",\"at\":\"t\",\"data\":{}}",
		  "an event must have seq (from 1), type and at" },
		{ "level", "{\"seq\":1,\"type\":\"log\",\"at\":\"t\",\"level\":\"loud\",\"data\":{}}",
		  "level must be info, warn or error (got 'loud')" },
		{ "no data", "{\"seq\":1,\"type\":\"log\",\"at\":\"t\"}",
		  "event log: data must be an object" },
	};
	struct rt_err err = RT_ERR_INIT;
	struct rt_event e = { .seq = 0 };
	struct rt_buf out = RT_BUF_INIT;
	json_t *data = json_pack("{ss}", "phase", "training");

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		print_message("%s\n", rows[i].name);
		assert_int_equal(rt_event_parse(rows[i].line, strlen(rows[i].line), &e, &err), -1);
		assert_string_equal(err.msg, rows[i].msg);
	}
	rt_event_write(&out, 7, "run.phase", "info", 0, "say \"it\"", data);
	assert_int_equal(rt_event_parse(out.data, out.len - 1, &e, &err), 0);
	assert_int_equal(e.seq, 7);
	assert_string_equal(e.message, "say \"it\"");
	assert_string_equal(e.at, "1970-01-01T00:00:00.000Z");
	rt_event_release(&e);
	json_decref(data);
	rt_buf_release(&out);
}

static void schema_names_every_field_and_bound(void **state)
{
	json_t *schema = rt_spec_schema(), *properties = json_object_get(schema, "properties");
	struct rt_err err = RT_ERR_INIT;
	struct rt_problems p;
	struct rt_spec spec;
	json_t *resolved;
	const char *key;
	json_t *value;

	(void)state;
	assert_int_equal(parse("{" OK "}", &spec, &p, &err), 0);
	resolved = rt_spec_json(&spec);
	json_object_foreach(resolved, key, value) assert_non_null(json_object_get(properties, key));
	assert_int_equal(json_object_size(resolved), json_object_size(properties));
	assert_true(json_real_value(json_object_get(json_object_get(properties, "temperature"),
						    "exclusiveMinimum")) == 0);
	json_decref(resolved);
	json_decref(schema);
	rt_spec_release(&spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spec_fills_the_workshops_defaults),
		cmocka_unit_test(spec_prints_what_it_reads_back),
		cmocka_unit_test(spec_refuses_bad_values),
		cmocka_unit_test(spec_reports_every_wrong_field_at_once),
		cmocka_unit_test(spec_without_teacher_needs_alpha_one),
		cmocka_unit_test(events_are_checked_by_type),
		cmocka_unit_test(schema_names_every_field_and_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
