/* SPDX-License-Identifier: Apache-2.0 */
/* Every case of the reference, for every tokenizer there: ids, type ids, tokens and offsets must be the same. Where the
 * reference has the older files, too (vocab.txt, a SentencePiece model and the like), they alone must give the same once more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "tests/parity/cases.h"
#include "worker/text/tokenizer.h"

enum { SHOWN = 5 };

static const char *shared(void)
{
	const char *dir = getenv("RT_SHARED");

	return dir ? dir : "../shared";
}

static char *reference(const char *name, const char *file)
{
	struct rt_buf path = RT_BUF_INIT;

	rt_buf_fmt(&path, "%s/reference/tokenizers/%s%s%s", shared(), name, file ? "/" : "",
		   file ? file : "");
	return rt_buf_take(&path);
}

static size_t check_cases(const char *name, const struct rt_tokenizer *tok, size_t *ret_cases)
{
	char *path = reference(name, "cases.jsonl");
	struct rt_buf text = RT_BUF_INIT;
	struct rt_err err = RT_ERR_INIT;
	size_t wrong = 0, number = 0;
	char *at, *end;

	assert_int_equal(rt_file_read(path, 64u << 20, &text, &err), 0);
	free(path);
	for (at = text.data; (end = memchr(at, '\n', (size_t)(text.data + text.len - at))); at = end + 1) {
		json_t *row = rt_json_parse(at, (size_t)(end - at), &err);

		assert_non_null(row);
		number++;
		wrong += !cases_check(tok, row, wrong < SHOWN, number);
		json_decref(row);
	}
	rt_buf_release(&text);
	*ret_cases = number;
	return wrong;
}

static struct rt_tokenizer *open_or_say(const char *dir)
{
	struct rt_tokenizer *tok = NULL;
	struct rt_err err = RT_ERR_INIT;

	if (rt_tokenizer_open(dir, &tok, &err) < 0)
		print_message("%s\n", err.msg);
	assert_non_null(tok);
	return tok;
}

static char *reference_or_skip(const char *name)
{
	char *path = reference(name, NULL);

	if (!rt_file_is_dir(path)) {
		print_message("no %s here: set RT_SHARED to the reference's folder\n", path);
		free(path);
		skip();
	}
	return path;
}

static void check_all(const char *name, const char *how, const struct rt_tokenizer *tok)
{
	size_t cases = 0, wrong = check_cases(name, tok, &cases);

	print_message("%s%s: %zu of %zu cases\n", name, how, cases - wrong, cases);
	assert_true(cases > 0);
	assert_int_equal(wrong, 0);
}

static void every_case_is_the_same(void **state)
{
	char *path = reference_or_skip(*state);
	struct rt_tokenizer *tok = open_or_say(path);

	free(path);
	check_all(*state, "", tok);
	rt_tokenizer_close(tok);
}

/* A new folder with links to all files of another but tokenizer.json. */
static void link_legacy_files(const char *from, char *to)
{
	DIR *dir = opendir(from);
	char *whole = realpath(from, NULL);
	struct dirent *entry;

	assert_non_null(dir);
	assert_non_null(whole);
	assert_non_null(mkdtemp(to));
	while ((entry = readdir(dir))) {
		char *target = rt_path_join(whole, entry->d_name), *link = rt_path_join(to, entry->d_name);

		if (entry->d_name[0] != '.' && strcmp(entry->d_name, "tokenizer.json") != 0)
			assert_int_equal(symlink(target, link), 0);
		free(target);
		free(link);
	}
	closedir(dir);
	free(whole);
}

static void every_case_is_the_same_without_tokenizer_json(void **state)
{
	char *path = reference_or_skip(*state);
	char copy[] = "/tmp/rt-legacy-XXXXXX";
	struct rt_tokenizer *tok, *want = open_or_say(path);

	link_legacy_files(path, copy);
	tok = open_or_say(copy);
	assert_int_equal(rt_dir_remove(copy, NULL), 0);
	check_all(*state, " without tokenizer.json", tok);
	assert_int_equal(rt_tokenizer_pad_id(tok), rt_tokenizer_pad_id(want));
	assert_int_equal(rt_tokenizer_vocab_size(tok), rt_tokenizer_vocab_size(want));
	/* deberta-v2's tokenizer.json has [MASK] in the model, too; transformers makes it an added token alone */
	if (strcmp(*state, "deberta-v2") != 0)
		assert_string_equal(rt_tokenizer_fingerprint(tok), rt_tokenizer_fingerprint(want));
	rt_tokenizer_close(tok);
	rt_tokenizer_close(want);
	free(path);
}

int main(void)
{
	/* all but modernbert have older files */
	static char names[][24] = { "bert-base-uncased",
				    "roberta-bpe",
				    "bert-cased-wordpiece",
				    "gpt2",
				    "qwen2",
				    "mpnet-wordpiece",
				    "unigram-metaspace",
				    "deberta-v2",
				    "albert-unigram",
				    "modernbert" };
	enum { NAMES = sizeof names / sizeof *names, LEGACY = 9 };
	struct CMUnitTest tests[NAMES + LEGACY];

	for (size_t i = 0; i < NAMES; i++)
		tests[i] = (struct CMUnitTest){ names[i], every_case_is_the_same, NULL, NULL, names[i] };
	for (size_t i = 0; i < LEGACY; i++)
		tests[NAMES + i] =
			(struct CMUnitTest){ names[i], every_case_is_the_same_without_tokenizer_json, NULL,
					     NULL, names[i] };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
