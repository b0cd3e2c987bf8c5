/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/parity/cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static json_t *as_json(const struct rt_encoding *e)
{
	json_t *json = json_object(), *ids = json_array(), *types = json_array(), *tokens = json_array(),
	       *offsets = json_array();

	for (size_t i = 0; i < e->n; i++) {
		json_t *range = json_array();

		json_array_append_new(ids, json_integer(e->ids[i]));
		json_array_append_new(types, json_integer(e->type_ids[i]));
		json_array_append_new(tokens, json_stringn(e->tokens[i], e->token_lens[i]));
		json_array_append_new(range, json_integer(e->offsets[i][0]));
		json_array_append_new(range, json_integer(e->offsets[i][1]));
		json_array_append_new(offsets, range);
	}
	json_object_set_new(json, "ids", ids);
	json_object_set_new(json, "type_ids", types);
	json_object_set_new(json, "tokens", tokens);
	json_object_set_new(json, "offsets", offsets);
	return json;
}

static void show(const char *what, const json_t *json)
{
	char *text = json_dumps(json, JSON_ENSURE_ASCII | JSON_ENCODE_ANY | JSON_COMPACT);

	print_message("      %-9s %.3000s\n", what, text ? text : "?");
	free(text);
}

bool cases_check(const struct rt_tokenizer *tok, const json_t *row, bool loud, size_t number)
{
	static const char *const keys[] = { "ids", "type_ids", "tokens", "offsets" };
	const json_t *text = json_object_get(row, "text"), *pair = json_object_get(row, "pair");
	size_t max_length = (size_t)json_integer_value(json_object_get(row, "max_length"));
	struct rt_encoding e = { 0 }, ids = { 0 };
	struct rt_err err = RT_ERR_INIT;
	bool refused = json_is_true(json_object_get(row, "error")), same = true;
	json_t *got;

	if (rt_tokenizer_encode(tok, json_string_value(text), json_string_length(text),
				json_string_value(pair), json_string_length(pair), max_length, &e,
				&err) < 0 ||
	    rt_tokenizer_encode_ids(tok, json_string_value(text), json_string_length(text),
				    json_string_value(pair), json_string_length(pair), max_length, &ids,
				    &err) < 0) {
		if (loud && !refused) {
			show("text", text);
			print_message("    case %zu: %s\n", number, err.msg);
		}
		rt_encoding_release(&e);
		return refused;
	}
	if (refused && loud) {
		show("text", text);
		print_message("    case %zu: the reference refuses it\n", number);
	}
	got = as_json(&e);
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		same = same && json_equal(json_object_get(row, keys[i]), json_object_get(got, keys[i]));
	if (!same && loud && !refused) {
		print_message("    case %zu, class %s, max_length %zu\n", number,
			      json_string_value(json_object_get(row, "class")), max_length);
		show("text", text);
		if (pair)
			show("pair", pair);
		for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
			if (!json_equal(json_object_get(row, keys[i]), json_object_get(got, keys[i]))) {
				print_message("    %s\n", keys[i]);
				show("want", json_object_get(row, keys[i]));
				show("got", json_object_get(got, keys[i]));
			}
	}
	if (same && (ids.n != e.n || memcmp(ids.ids, e.ids, e.n * sizeof *e.ids) != 0 ||
		     memcmp(ids.type_ids, e.type_ids, e.n * sizeof *e.type_ids) != 0)) {
		print_message("    case %zu: ids alone differ\n", number);
		same = false;
	}
	json_decref(got);
	rt_encoding_release(&e);
	rt_encoding_release(&ids);
	return same;
}
