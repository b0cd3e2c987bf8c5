/* SPDX-License-Identifier: Apache-2.0 */
/* retort-worker logits: lines of texts or ids in, a line of logits out for each, in their order.
 * Lines are read a window at a time, run in batches of equal length, and written in the order they came. With --batch 1
 * every line is answered before the next is read. */
#include "worker/cmd.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/spec.h"
#include "base/buf.h"
#include "base/json.h"
#include "worker/model/model.h"
#include "worker/text/tokenizer.h"
#include "worker/torch/machine.h"

#define WINDOW_BATCHES 16

struct row {
	int64_t *ids, *types; /* (n); types NULL: all 0 */
	int64_t n;
	float *logits; /* once computed */
};

struct logits {
	const char *dir;
	int64_t batch;
	int64_t max_length;
	struct rt_model *model;
	struct rt_tokenizer *tokenizer; /* opened for the first text */
	struct row *rows;		/* the window */
	size_t count, cap;
	int64_t line;	   /* the last one read, from 1 */
	int64_t truncated; /* texts that were cut */
};

static void release_rows(struct logits *l)
{
	for (size_t i = 0; i < l->count; i++) {
		free(l->rows[i].ids);
		free(l->rows[i].types);
		free(l->rows[i].logits);
	}
	l->count = 0;
}

/* ---- one line ---- */

static int read_ids(const json_t *list, const char *key, int64_t below, int64_t **ret, int64_t *ret_n,
		    struct rt_err *err)
{
	size_t n = json_array_size(list);
	int64_t *out;

	if (!json_is_array(list) || n == 0)
		return rt_fail(err, RT_INVALID, "%s must be a list of at least one number", key);
	out = malloc(n * sizeof *out);
	if (!out)
		return rt_fail(err, RT_NO_MEMORY, "no memory for %zu numbers", n);
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_array_get(list, i);

		if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= below) {
			free(out);
			return rt_fail(err, RT_INVALID,
				       "%s must hold whole numbers from 0 to %lld (entry %zu does not)", key,
				       (long long)below - 1, i);
		}
		out[i] = json_integer_value(v);
	}
	*ret = out;
	*ret_n = (int64_t)n;
	return 0;
}

/* Ones and then zeros: how many ones. Anything else is not padding on the right, and the model cannot be asked that. */
static int read_mask(const json_t *mask, int64_t n, int64_t *ret, struct rt_err *err)
{
	int64_t ones = 0;

	for (int64_t i = 0; json_is_array(mask) && i < n; i++) {
		const json_t *v = json_array_get(mask, (size_t)i);
		int64_t one = json_is_integer(v) ? json_integer_value(v) : -1;

		if (one != 0 && one != 1)
			break;
		if (one && ones < i)
			return rt_fail(err, RT_UNSUPPORTED,
				       "attention_mask may only leave out tokens at the end");
		ones += one;
		if (i == n - 1 && ones > 0 && (int64_t)json_array_size(mask) == n) {
			*ret = ones;
			return 0;
		}
	}
	return rt_fail(err, RT_INVALID, "attention_mask must be %lld numbers 0 or 1, the first of them 1",
		       (long long)n);
}

static int row_of_ids(struct logits *l, const json_t *json, struct row *row, struct rt_err *err)
{
	const json_t *types = json_object_get(json, "token_type_ids"),
		     *mask = json_object_get(json, "attention_mask");
	int64_t n;

	if (read_ids(json_object_get(json, "input_ids"), "input_ids", rt_model_vocab_size(l->model),
		     &row->ids, &row->n, err) < 0)
		return -1;
	if (types && !json_is_null(types)) {
		if (read_ids(types, "token_type_ids", rt_model_type_count(l->model), &row->types, &n, err) <
		    0)
			return -1;
		if (n != row->n)
			return rt_fail(err, RT_INVALID, "there are %lld input_ids and %lld token_type_ids",
				       (long long)row->n, (long long)n);
	}
	if (mask && !json_is_null(mask) && read_mask(mask, row->n, &row->n, err) < 0)
		return -1;
	if (row->n > rt_model_max_length(l->model))
		return rt_fail(err, RT_INVALID, "%lld ids are more than the %lld the model allows",
			       (long long)row->n, (long long)rt_model_max_length(l->model));
	return 0;
}

static int take_encoding(struct logits *l, const struct rt_encoding *e, struct row *row, struct rt_err *err)
{
	bool types = rt_model_uses_token_types(l->model);

	if (e->n == 0)
		return rt_fail(err, RT_INVALID, "the text has no tokens");
	row->n = (int64_t)e->n;
	row->ids = malloc(e->n * sizeof *row->ids);
	row->types = types ? malloc(e->n * sizeof *row->types) : NULL;
	if (!row->ids || (types && !row->types))
		return rt_fail(err, RT_NO_MEMORY, "no memory for %zu tokens", e->n);
	for (size_t i = 0; i < e->n; i++) {
		if (e->ids[i] >= rt_model_vocab_size(l->model))
			return rt_fail(err, RT_INVALID,
				       "the tokenizer gives id %d, but the model has a vocabulary of %lld: "
				       "they do not belong together",
				       e->ids[i], (long long)rt_model_vocab_size(l->model));
		row->ids[i] = e->ids[i];
		if (types)
			row->types[i] = e->type_ids[i];
	}
	return 0;
}

static int row_of_text(struct logits *l, const json_t *json, struct row *row, struct rt_err *err)
{
	const json_t *text = json_object_get(json, "text"), *pair = json_object_get(json, "pair");
	struct rt_encoding e = { 0 };
	int rc;

	if (json_is_null(pair))
		pair = NULL;
	if (!json_is_string(text) || (pair && !json_is_string(pair)))
		return rt_fail(err, RT_INVALID, "%s must be a text", json_is_string(text) ? "pair" : "text");
	if (!l->tokenizer && rt_tokenizer_open(l->dir, &l->tokenizer, err) < 0)
		return -1;
	if (rt_tokenizer_encode_ids(l->tokenizer, json_string_value(text), json_string_length(text),
				    pair ? json_string_value(pair) : NULL,
				    pair ? json_string_length(pair) : 0, (size_t)l->max_length, &e, err) < 0)
		return -1;
	l->truncated += e.truncated;
	rc = take_encoding(l, &e, row, err);
	rt_encoding_release(&e);
	return rc;
}

static int read_line(struct logits *l, const char *line, size_t len, struct row *row, struct rt_err *err)
{
	bool blank = strspn(line, " \t\r\n") == len;
	json_t *json = blank ? NULL : rt_json_parse(line, len, err);
	int rc;

	if (blank)
		return rt_fail(err, RT_INVALID, "the line is empty");
	if (!json)
		return -1;
	if (!json_is_object(json))
		rc = rt_fail(err, RT_INVALID, "a line must be a JSON object");
	else if (json_object_get(json, "input_ids") && json_object_get(json, "text"))
		rc = rt_fail(err, RT_INVALID, "a line has either text or input_ids, not both");
	else if (json_object_get(json, "input_ids"))
		rc = row_of_ids(l, json, row, err);
	else if (json_object_get(json, "text"))
		rc = row_of_text(l, json, row, err);
	else
		rc = rt_fail(err, RT_INVALID, "a line needs text or input_ids");
	json_decref(json);
	return rc;
}

/* 1: the window is full; 0: the input has ended; -1: a line is wrong (those before it are in the window). */
static int read_window(struct logits *l, struct rt_err *err)
{
	char *line = NULL;
	size_t cap = 0;
	ssize_t len;
	int rc = 1;

	while (l->count < l->cap) {
		struct row row = { 0 };

		len = getline(&line, &cap, stdin);
		if (len < 0) {
			rc = ferror(stdin) ? rt_fail(err, RT_IO, "cannot read the input") : 0;
			break;
		}
		l->line++;
		if (read_line(l, line, (size_t)len, &row, err) < 0) {
			free(row.ids);
			free(row.types);
			rc = rt_fail_in(err, "line %lld", (long long)l->line);
			break;
		}
		l->rows[l->count++] = row;
	}
	free(line);
	return rc;
}

/* ---- running ---- */

static int by_length(const void *a, const void *b)
{
	const struct row *x = *(struct row *const *)a, *y = *(struct row *const *)b;

	return x->n != y->n ? (x->n < y->n ? -1 : 1) : x < y ? -1 : x > y;
}

/* rows: sorted by length, so the last is the longest. */
static int run_batch(struct logits *l, struct row *const *rows, int64_t n, struct rt_err *err)
{
	int64_t width = rows[n - 1]->n, labels = (int64_t)rt_model_label_count(l->model);
	int64_t *ids = malloc((size_t)(n * width) * sizeof *ids),
		*lengths = calloc((size_t)n, sizeof *lengths);
	int64_t *types = calloc((size_t)(n * width), sizeof *types);
	float *out = malloc((size_t)(n * labels) * sizeof *out);
	struct tc_scope *s = tc_scope_open(NULL, TC_NO_GRAD);
	struct rt_batch b = { .rows = n, .width = width, .input_ids = ids, .lengths = lengths };
	int rc = -1;

	if (!ids || !types || !lengths || !out) {
		rt_fail(err, RT_NO_MEMORY, "no memory for a batch");
		goto out;
	}
	for (int64_t r = 0; r < n; r++) {
		lengths[r] = rows[r]->n;
		for (int64_t i = 0; i < width; i++)
			ids[r * width + i] = i < rows[r]->n ? rows[r]->ids[i] : rt_model_pad_id(l->model);
		if (rows[r]->types) {
			memcpy(types + r * width, rows[r]->types, (size_t)rows[r]->n * sizeof *types);
			b.token_type_ids = types;
		}
	}
	if (tc_read(s, rt_model_forward(s, l->model, &b, false), TC_F32, out, (size_t)(n * labels), err) < 0)
		goto out;
	for (int64_t r = 0; r < n; r++) {
		rows[r]->logits = malloc((size_t)labels * sizeof(float));
		if (!rows[r]->logits) {
			rt_fail(err, RT_NO_MEMORY, "no memory for the logits");
			goto out;
		}
		memcpy(rows[r]->logits, out + r * labels, (size_t)labels * sizeof(float));
	}
	rc = 0;
out:
	tc_scope_close(s);
	free(ids);
	free(types);
	free(lengths);
	free(out);
	return rc;
}

static int write_window(const struct logits *l, struct rt_err *err)
{
	struct rt_buf text = RT_BUF_INIT;
	int rc;

	for (size_t i = 0; i < l->count; i++) {
		rt_buf_str(&text, "{\"logits\":[");
		for (size_t k = 0; k < rt_model_label_count(l->model); k++) {
			if (k)
				rt_buf_char(&text, ',');
			rt_json_write_real(&text, (double)l->rows[i].logits[k]);
		}
		rt_buf_str(&text, "]}\n");
	}
	rc = rt_buf_check(&text, err);
	if (rc == 0 && (fwrite(rt_buf_text(&text), 1, text.len, stdout) != text.len || fflush(stdout) != 0))
		rc = rt_fail(err, RT_IO, "cannot write the output");
	rt_buf_release(&text);
	return rc;
}

static int run_window(struct logits *l, struct rt_err *err)
{
	struct row **order = malloc((l->count + 1) * sizeof *order);
	int rc = 0;

	if (!order)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a window");
	for (size_t i = 0; i < l->count; i++)
		order[i] = &l->rows[i];
	qsort(order, l->count, sizeof *order, by_length);
	for (size_t at = 0; rc == 0 && at < l->count; at += (size_t)l->batch) {
		size_t left = l->count - at;

		rc = run_batch(l, order + at, left < (size_t)l->batch ? (int64_t)left : l->batch, err);
	}
	free(order);
	if (rc == 0)
		rc = write_window(l, err);
	release_rows(l);
	return rc;
}

static int run(struct logits *l, struct rt_err *err)
{
	struct rt_err bad = RT_ERR_INIT;
	int more;

	l->cap = (size_t)(l->batch == 1 ? 1 : l->batch * WINDOW_BATCHES);
	l->rows = calloc(l->cap, sizeof *l->rows);
	if (!l->rows)
		return rt_fail(err, RT_NO_MEMORY, "no memory for %zu lines", l->cap);
	do {
		more = read_window(l, &bad);
		if (run_window(l, err) < 0)
			return -1;
	} while (more > 0);
	if (more < 0)
		return rt_fail(err, bad.code, "%s", bad.msg);
	return 0;
}

/* A head drawn at random answers at random: refused. */
static int open_model(struct logits *l, int precision, struct rt_err *err)
{
	struct rt_model_options o = { .init = RT_INIT_PRETRAINED, .precision = precision };
	struct rt_model_report report = { 0 };
	int rc = rt_model_open(l->dir, &o, &l->model, &report, err);

	if (rc == 0 && report.missing_count > 0)
		rc = rt_fail(
			err, RT_INVALID,
			"the checkpoint has no trained classification head (%s and %zu more are missing)",
			report.missing[0], report.missing_count - 1);
	if (rc == 0 && (l->max_length <= 0 || l->max_length > rt_model_max_length(l->model)))
		l->max_length = rt_model_max_length(l->model);
	rt_model_report_release(&report);
	return rc;
}

static int usage(void)
{
	fprintf(stderr, "usage: retort-worker logits --model DIR [--precision fp32|bf16] [--batch N] "
			"[--max-length N] "
			"[--threads N]\n");
	return 2;
}

static bool number(const char *text, int64_t most, int64_t *ret)
{
	char *end;
	long long v = strtoll(text, &end, 10);

	if (end == text || *end || v < 1 || v > most)
		return false;
	*ret = v;
	return true;
}

int rt_cmd_logits(int argc, char **argv)
{
	static const struct option options[] = {
		{ "model", required_argument, NULL, 'm' },	{ "precision", required_argument, NULL, 'p' },
		{ "batch", required_argument, NULL, 'b' },	{ "threads", required_argument, NULL, 't' },
		{ "max-length", required_argument, NULL, 'l' }, { NULL, 0, NULL, 0 },
	};
	struct logits l = { .batch = 32 };
	struct rt_err err = RT_ERR_INIT;
	int64_t threads = rt_machine_cpus();
	int opt, precision = RT_PRECISION_FP32;
	bool ok = true;

	while (ok && (opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'm')
			l.dir = optarg;
		else if (opt == 'p' && (strcmp(optarg, "fp32") == 0 || strcmp(optarg, "bf16") == 0))
			precision = optarg[0] == 'f' ? RT_PRECISION_FP32 : RT_PRECISION_BF16;
		else
			ok = (opt == 'b' && number(optarg, 100000, &l.batch)) ||
			     (opt == 't' && number(optarg, 1024, &threads)) ||
			     (opt == 'l' && number(optarg, 1000000, &l.max_length));
	}
	if (!ok || !l.dir || optind != argc)
		return usage();
	if (tc_set_threads((int)threads, &err) < 0 || open_model(&l, precision, &err) < 0 ||
	    run(&l, &err) < 0)
		fprintf(stderr, "retort-worker logits: %s\n", err.msg);
	if (l.truncated > 0)
		fprintf(stderr,
			"retort-worker logits: %lld texts were longer than %lld tokens and were cut\n",
			(long long)l.truncated, (long long)l.max_length);
	release_rows(&l);
	free(l.rows);
	rt_tokenizer_close(l.tokenizer);
	rt_model_close(l.model);
	return err.code == RT_OK ? 0 : 1;
}
