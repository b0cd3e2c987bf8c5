/* SPDX-License-Identifier: Apache-2.0 */
/* What a config.json may claim before any weight has been seen. Whether each field means what it means in the library is
 * for the parity tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"
#include "worker/model/family.h"

static void sizes_have_limits(void **state)
{
	static const struct {
		const char *name, *json, *msg; /* NULL: it reads */
	} rows[] = {
		{ "labels", "{\"model_type\":\"bert\",\"num_labels\":10000}", NULL },
		{ "too many labels", "{\"model_type\":\"bert\",\"num_labels\":10001}",
		  "config.json: the number of labels must be between 1 and 10000 (got 10001)" },
		{ "groups", "{\"model_type\":\"albert\",\"num_hidden_groups\":12,\"inner_group_num\":83}",
		  NULL },
		{ "a million layers of one file",
		  "{\"model_type\":\"albert\",\"num_hidden_layers\":1000,\"num_hidden_groups\":1000,\"inner_"
		  "group_num\":1000}",
		  "config.json: num_hidden_groups * inner_group_num must be at most 1000 (got 1000000)" },
		{ "layers", "{\"model_type\":\"roberta\",\"num_hidden_layers\":1001}",
		  "config.json: num_hidden_layers must be between 1 and 1000 (got 1001)" },
		{ "vocabulary", "{\"model_type\":\"bert\",\"vocab_size\":9223372036854775807}",
		  "config.json: vocab_size must be between 1 and 1e+08 (got 9.22337e+18)" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_err err = RT_ERR_INIT;
		struct rt_config c;
		json_t *json = rt_json_parse(rows[i].json, strlen(rows[i].json), &err);
		const struct rt_family *f = rt_family_find(json, &err);

		print_message("%s\n", rows[i].name);
		assert_non_null(f);
		if (!rows[i].msg) {
			assert_int_equal(rt_config_read(json, &f->config, &c, &err), 0);
			rt_config_release(&c);
		} else {
			assert_int_equal(rt_config_read(json, &f->config, &c, &err), -1);
			assert_int_equal(err.code, RT_INVALID);
			assert_string_equal(err.msg, rows[i].msg);
		}
		json_decref(json);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(sizes_have_limits) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
