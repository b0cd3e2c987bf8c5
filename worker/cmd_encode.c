/* SPDX-License-Identifier: Apache-2.0 */
/* retort-worker encode: texts in, tokens out, a line each. Line-buffered in spirit: each answer is written before the
 * next line is read, so that another program can talk to it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "worker/cmd.h"
#include "worker/text/tokenizer.h"

static void write_numbers(struct rt_buf *out, const char *key, const int32_t *list, size_t n)
{
	rt_buf_fmt(out, "\"%s\":[", key);
	for (size_t i = 0; i < n; i++)
		rt_buf_fmt(out, "%s%d", i > 0 ? "," : "", (int)list[i]);
	rt_buf_char(out, ']');
}

static void write_encoding(struct rt_buf *out, const struct rt_encoding *e)
{
	rt_buf_char(out, '{');
	write_numbers(out, "ids", e->ids, e->n);
	rt_buf_char(out, ',');
	write_numbers(out, "type_ids", e->type_ids, e->n);
	rt_buf_str(out, ",\"tokens\":[");
	for (size_t i = 0; i < e->n; i++) {
		rt_buf_str(out, i > 0 ? "," : "");
		rt_json_write_str(out, e->tokens[i], e->token_lens[i]);
	}
	rt_buf_str(out, "],\"offsets\":[");
	for (size_t i = 0; i < e->n; i++)
		rt_buf_fmt(out, "%s[%d,%d]", i > 0 ? "," : "", (int)e->offsets[i][0], (int)e->offsets[i][1]);
	rt_buf_str(out, "]}\n");
}

/* One line of input to one of output. */
static int encode_line(const struct rt_tokenizer *tok, const char *line, size_t len, size_t max_length,
		       struct rt_buf *out, struct rt_err *err)
{
	json_t *json = rt_json_parse(line, len, err);
	const json_t *text = json_object_get(json, "text"), *pair = json_object_get(json, "pair");
	struct rt_encoding e = { 0 };
	int rc = -1;

	if (!json)
		return -1;
	if (!json_is_object(json))
		rt_fail(err, RT_INVALID, "a line must be an object");
	else if (!json_is_string(text))
		rt_fail(err, RT_INVALID, "text must be a string");
	else if (pair && !json_is_null(pair) && !json_is_string(pair))
		rt_fail(err, RT_INVALID, "pair must be a string");
	else if (rt_tokenizer_encode(tok, json_string_value(text), json_string_length(text),
				     json_string_value(pair), json_string_length(pair), max_length, &e,
				     err) == 0)
		rc = 0;
	if (rc == 0)
		write_encoding(out, &e);
	rt_encoding_release(&e);
	json_decref(json);
	return rc < 0 ? -1 : rt_buf_check(out, err);
}

static int encode_all(const struct rt_tokenizer *tok, size_t max_length, struct rt_err *err)
{
	struct rt_buf out = RT_BUF_INIT;
	char *line = NULL;
	size_t cap = 0, number = 0;
	ssize_t len;
	int rc = 0;

	while (rc == 0 && (len = getline(&line, &cap, stdin)) >= 0) {
		number++;
		rt_buf_clear(&out);
		if (len == 1 && line[0] == '\n')
			continue; /* an empty line at the end of a file is no mistake */
		rc = encode_line(tok, line, (size_t)len, max_length, &out, err);
		if (rc < 0)
			rt_fail_in(err, "line %zu", number);
		else if (fwrite(out.data, 1, out.len, stdout) != out.len || fflush(stdout) != 0)
			rc = rt_fail_errno(err, errno, "cannot write to standard output");
	}
	if (rc == 0 && ferror(stdin))
		rc = rt_fail_errno(err, errno, "cannot read standard input");
	free(line);
	rt_buf_release(&out);
	return rc;
}

static int wrong_use(const char *why, const char *what)
{
	fprintf(stderr,
		"retort-worker encode: %s%s\nusage: retort-worker encode --model DIR [--max-length N]\n", why,
		what);
	return 2;
}

int rt_cmd_encode(int argc, char **argv)
{
	struct rt_tokenizer *tok = NULL;
	struct rt_err err = RT_ERR_INIT;
	const char *model = NULL;
	size_t max_length = 0;
	int rc;

	for (int i = 1; i < argc; i++) {
		char *end = NULL;
		long n;

		if (strcmp(argv[i], "--model") != 0 && strcmp(argv[i], "--max-length") != 0)
			return wrong_use("unknown argument ", argv[i]);
		if (i + 1 >= argc)
			return wrong_use(argv[i], " needs a value");
		if (strcmp(argv[i], "--model") == 0) {
			model = argv[++i];
			continue;
		}
		n = strtol(argv[++i], &end, 10);
		if (*argv[i] == '\0' || *end != '\0' || n < 1 || n > INT32_MAX)
			return wrong_use("--max-length must be a whole number above 0, not ", argv[i]);
		max_length = (size_t)n;
	}
	if (!model)
		return wrong_use("--model is missing", "");
	rc = rt_tokenizer_open(model, &tok, &err);
	if (rc == 0)
		rc = encode_all(tok, max_length, &err);
	rt_tokenizer_close(tok);
	if (rc < 0)
		fprintf(stderr, "retort-worker encode: %s\n", err.msg);
	return rc < 0 ? 1 : 0;
}
