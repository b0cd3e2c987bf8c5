/* SPDX-License-Identifier: Apache-2.0 */
/* Small tokenizers of every component and option (pipelines.jsonl, made by pipelines_gen.py) against what the reference
 * library makes of the same texts; SentencePiece models (sentencepiece_gen.py); names in regular expressions
 * (classes_gen.py). test_pipelines FILE runs another file of that form, and says how much of it agrees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <sodium.h>

#include "base/file.h"
#include "tests/parity/cases.h"
#include "worker/text/regex.h"
#include "worker/text/unicode.h"

enum { SHOWN = 3 };

static const char *file = PARITY_DIR "/pipelines.jsonl";

static void show_parts(const json_t *tokenizer)
{
	static const char *const keys[] = { "normalizer", "pre_tokenizer", "post_processor", "added_tokens" };

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		char *text = json_dumps(json_object_get(tokenizer, keys[i]),
					JSON_ENSURE_ASCII | JSON_ENCODE_ANY | JSON_COMPACT);

		print_message("    %s %.600s\n", keys[i], text);
		free(text);
	}
}

/* Cases that differ; a tokenizer that we refuse by name counts as none. */
static size_t check_line(const json_t *row, size_t *ret_cases, size_t *ret_refused)
{
	const json_t *tokenizer = json_object_get(row, "tokenizer"), *c;
	char *text = json_dumps(tokenizer, JSON_COMPACT);
	const char *name = json_string_value(json_object_get(row, "name"));
	struct rt_tokenizer *tok = NULL;
	struct rt_err err = RT_ERR_INIT;
	size_t i, wrong = 0;
	int rc;

	assert_non_null(text);
	rc = rt_tokenizer_open_memory(text, strlen(text), &tok, &err);
	free(text);
	if (rc < 0) {
		print_message("  %s: %s\n", name, err.msg);
		++*ret_refused;
		return err.code != RT_UNSUPPORTED;
	}
	json_array_foreach(json_object_get(row, "cases"), i, c)
	{
		if (!cases_check(tok, c, wrong < SHOWN, i) && wrong++ == 0) {
			print_message("  %s, %s\n", name,
				      json_string_value(
					      json_object_get(json_object_get(tokenizer, "model"), "type")));
			show_parts(tokenizer);
		}
		++*ret_cases;
	}
	rt_tokenizer_close(tok);
	return wrong;
}

static void every_pipeline_gives_what_the_reference_gives(void **state)
{
	struct rt_buf text = RT_BUF_INIT;
	struct rt_err err = RT_ERR_INIT;
	size_t wrong = 0, lines = 0, cases = 0, refused = 0;
	char *at, *end;

	(void)state;
	assert_int_equal(rt_file_read(file, 512u << 20, &text, &err), 0);
	for (at = text.data; (end = memchr(at, '\n', (size_t)(text.data + text.len - at))); at = end + 1) {
		json_t *row = rt_json_parse(at, (size_t)(end - at), &err);

		assert_non_null(row);
		lines++;
		wrong += check_line(row, &cases, &refused);
		json_decref(row);
	}
	rt_buf_release(&text);
	print_message("pipelines: %zu of %zu cases, %zu tokenizers, %zu of them refused\n", cases - wrong,
		      cases, lines, refused);
	assert_true(cases > 0);
	assert_int_equal(wrong, 0);
}

/* A folder with a SentencePiece model and a configuration, opened. */
static struct rt_tokenizer *open_model(const json_t *row)
{
	char dir[] = "/tmp/rt-sentencepiece-XXXXXX", *config = json_dumps(json_object_get(row, "config"), 0),
	     *path;
	struct rt_buf from = RT_BUF_INIT, bytes = RT_BUF_INIT;
	struct rt_tokenizer *tok = NULL;
	struct rt_err err = RT_ERR_INIT;

	rt_buf_fmt(&from, "%s/%s", SENTENCEPIECE_DIR, json_string_value(json_object_get(row, "model")));
	assert_non_null(mkdtemp(dir));
	assert_int_equal(rt_file_read(from.data, 1 << 20, &bytes, &err), 0);
	path = rt_path_join(dir, json_string_value(json_object_get(row, "file")));
	assert_int_equal(rt_file_write(path, bytes.data, bytes.len, &err), 0);
	free(path);
	path = rt_path_join(dir, "tokenizer_config.json");
	assert_int_equal(rt_file_write(path, config, strlen(config), &err), 0);
	free(path);
	free(config);
	if (rt_tokenizer_open(dir, &tok, &err) < 0)
		print_message("%s\n", err.msg);
	assert_int_equal(rt_dir_remove(dir, NULL), 0);
	assert_non_null(tok);
	rt_buf_release(&from);
	rt_buf_release(&bytes);
	return tok;
}

static void sentencepiece_models_give_what_their_converters_give(void **state)
{
	struct rt_buf text = RT_BUF_INIT;
	struct rt_err err = RT_ERR_INIT;
	size_t wrong = 0, cases = 0;
	char *at, *end;

	(void)state;
	assert_int_equal(rt_file_read(PARITY_DIR "/sentencepiece.jsonl", 64u << 20, &text, &err), 0);
	for (at = text.data; (end = memchr(at, '\n', (size_t)(text.data + text.len - at))); at = end + 1) {
		json_t *row = rt_json_parse(at, (size_t)(end - at), &err), *c;
		struct rt_tokenizer *tok;
		size_t i;

		assert_non_null(row);
		print_message("%s\n", json_string_value(json_object_get(row, "name")));
		tok = open_model(row);
		json_array_foreach(json_object_get(row, "cases"), i, c)
		{
			wrong += !cases_check(tok, c, wrong < SHOWN, i);
			cases++;
		}
		rt_tokenizer_close(tok);
		json_decref(row);
	}
	rt_buf_release(&text);
	print_message("sentencepiece: %zu of %zu cases\n", cases - wrong, cases);
	assert_true(cases > 0);
	assert_int_equal(wrong, 0);
}

/* The ranges of characters that the pattern matches, as classes_gen.py writes them. */
static size_t find_ranges(const struct rt_regex *re, struct rt_buf *out)
{
	enum { BLOCK = 4096 };
	static uint32_t owner[4 * BLOCK]; /* of a byte */
	size_t count = 0;
	int64_t first = -1, last = -1;

	for (uint32_t base = 0; base < 0x110000; base += BLOCK) {
		struct rt_matches matches = { .n = 0 };
		char text[4 * BLOCK];
		size_t n = 0;

		for (uint32_t cp = base; cp < base + BLOCK; cp++) {
			unsigned len = cp < 0xD800 || cp > 0xDFFF ? rt_uc_put(text + n, cp) : 0;

			for (unsigned k = 0; k < len; k++)
				owner[n + k] = cp;
			n += len;
		}
		assert_int_equal(rt_regex_split(re, text, n, &matches, NULL), 0);
		for (size_t i = 0; i < matches.n; i++)
			for (size_t k = matches.list[i].first;
			     matches.list[i].is_match && k < matches.list[i].end; k++) {
				if (owner[k] == last)
					continue;
				if (owner[k] != last + 1 || first < 0) {
					if (first >= 0)
						rt_buf_fmt(out, "%x-%x\n", (unsigned)first, (unsigned)last);
					first = owner[k];
				}
				last = owner[k];
				count++;
			}
		free(matches.list);
	}
	if (first >= 0)
		rt_buf_fmt(out, "%x-%x\n", (unsigned)first, (unsigned)last);
	return count;
}

static void names_of_characters_mean_what_they_mean_there(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	json_t *patterns = rt_json_read(PARITY_DIR "/classes.json", 1 << 20, &err), *want;
	const char *pattern;
	size_t wrong = 0;

	(void)state;
	assert_non_null(patterns);
	json_object_foreach(patterns, pattern, want)
	{
		struct rt_buf ranges = RT_BUF_INIT;
		struct rt_regex *re = NULL;
		char hash[RT_SHA256_SIZE];
		size_t count;

		if (rt_regex_new(pattern, strlen(pattern), false, &re, &err) < 0)
			print_message("%s\n", err.msg);
		assert_non_null(re);
		count = find_ranges(re, &ranges);
		rt_sha256(rt_buf_text(&ranges), ranges.len, hash);
		if (strcmp(hash, json_string_value(json_array_get(want, 1))) != 0) {
			print_message("%s matches %zu characters, %lld there\n", pattern, count,
				      (long long)json_integer_value(json_array_get(want, 0)));
			wrong++;
		}
		rt_regex_free(re);
		rt_buf_release(&ranges);
	}
	print_message("classes: %zu of %zu\n", json_object_size(patterns) - wrong,
		      json_object_size(patterns));
	assert_true(json_object_size(patterns) > 0);
	assert_int_equal(wrong, 0);
	json_decref(patterns);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_pipeline_gives_what_the_reference_gives),
		cmocka_unit_test(sentencepiece_models_give_what_their_converters_give),
		cmocka_unit_test(names_of_characters_mean_what_they_mean_there),
	};

	if (sodium_init() < 0)
		return 1;
	if (argc > 1)
		file = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
