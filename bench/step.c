/* SPDX-License-Identifier: Apache-2.0 */
/* What the worker's own parts take, for bench/run: products as large as they come, forward passes, whole training steps.
 *
 *   bench_step peak                             products through the worker's matrix library: GFLOP/s by size and precision
 *   bench_step forward --model DIR --texts FILE passes over all texts without gradients, as a teacher's: equal lengths together
 *   bench_step train --model DIR --texts FILE   steps of the worker's trainer: batches, forward, loss, backward, clipping, AdamW
 *
 *   --precision fp32|bf16  --batch N  --repeats N (passes, or steps after the first two)  --threads N  --labels N
 *   --tokens N             forward, train: rows of exactly N random tokens instead of a file's texts
 *
 * Prints one JSON object. `flop` is the arithmetic that the result needs and no more: products and attention over real tokens, the
 * last layer behind its keys and values for first tokens alone; `flop_all` is the same with the whole last layer. docs/performance.md
 * has the formula. Logits to learn from are random: their values change nothing in the time. */
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/spec.h"
#include "base/clock.h"
#include "base/file.h"
#include "worker/model/model.h"
#include "worker/text/tokenizer.h"
#include "worker/torch/machine.h"
#include "worker/train/trainer.h"

#define WARM 2 /* steps that do not count: memory is taken, products are prepared */

struct options {
	const char *model, *texts, *command;
	int precision;
	int64_t batch, repeats, threads, labels, tokens;
};

static double uniform(uint64_t *state)
{
	*state = rt_mix(*state, 1);
	return (double)(*state >> 11) / 9007199254740992.0;
}

/* ---- peak ---- */

static int peak_of(bool bf16, int64_t n, double *ret_gflops, struct rt_err *err)
{
	const struct tc_param_spec spec = { .ndim = 2, .shape = { n, n }, .matrix = true };
	struct tc_scope *s = tc_scope_open(NULL, TC_NO_GRAD);
	struct tc_params *p = tc_params_new(s, &spec, 1, bf16 ? TC_PARAMS_BF16 : 0);
	struct tc_rng *rng = tc_rng_new(1);
	struct tc_affine a = { p ? tc_params_at(p, 0) : NULL, NULL };
	struct tc_tensor *x = tc_randn(s, rng, TC_F32, 2, (int64_t[]){ n, n }, 0, 1);
	double best = INFINITY, start = rt_clock_monotonic_s();
	int rc = -1;

	x = tc_to(s, x, bf16 ? TC_BF16 : TC_F32);
	if (tc_check(s, err) < 0 || tc_copy(s, a.w, x, err) < 0 || tc_params_ready(s, p, err) < 0)
		goto out;
	for (int i = 0; i < 4 || (i < 200 && rt_clock_monotonic_s() - start < 1); i++) {
		double from = rt_clock_monotonic_s(), seconds;
		struct tc_tensor *y = tc_project(s, x, &a, 1);

		seconds = rt_clock_monotonic_s() - from;
		if (tc_check(s, err) < 0)
			goto out;
		tc_drop(y);
		best = seconds < best ? seconds : best;
	}
	*ret_gflops = 2.0 * (double)n * (double)n * (double)n / best / 1e9;
	rc = 0;
out:
	tc_scope_close(s);
	tc_params_free(p);
	tc_rng_free(rng);
	return rc;
}

static int peak(struct rt_err *err)
{
	static const int64_t sizes[] = { 1024, 2048, 3072, 4096 };

	printf("{");
	for (int bf16 = 0; bf16 < 2; bf16++) {
		printf("%s\"%s\":{", bf16 ? "," : "", bf16 ? "bf16" : "fp32");
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
			double gflops;

			if (peak_of(bf16, sizes[i], &gflops, err) < 0)
				return -1;
			printf("%s\"%lld\":%.1f", i ? "," : "", (long long)sizes[i], gflops);
		}
		printf("}");
	}
	printf("}\n");
	return 0;
}

/* ---- rows ---- */

static int read_texts(const struct options *o, const struct rt_model *m, struct rt_rows *ret,
		      struct rt_err *err)
{
	struct rt_tokenizer *tok = NULL;
	struct rt_buf texts = RT_BUF_INIT;
	int rc = -1;

	if (rt_file_read(o->texts, (size_t)1 << 30, &texts, err) < 0 ||
	    rt_tokenizer_open(o->model, &tok, err) < 0)
		goto out;
	for (size_t at = 0; at < texts.len;) {
		const char *text = rt_buf_text(&texts) + at, *end = memchr(text, '\n', texts.len - at);
		size_t n = end ? (size_t)(end - text) : texts.len - at;
		struct rt_encoding e;
		int added;

		if (rt_tokenizer_encode_ids(tok, text, n, NULL, 0, (size_t)rt_model_max_length(m), &e, err) <
		    0)
			goto out;
		added = rt_rows_add(ret, e.ids, NULL, e.n, (int32_t)(ret->n % rt_model_label_count(m)), err);
		rt_encoding_release(&e);
		if (added < 0)
			goto out;
		at += n + 1;
	}
	rc = 0;
out:
	rt_tokenizer_close(tok);
	rt_buf_release(&texts);
	return rc;
}

static int make_rows(const struct options *o, const struct rt_model *m, struct rt_rows *ret,
		     struct rt_err *err)
{
	int32_t *ids = calloc((size_t)o->tokens, sizeof *ids);
	uint64_t state = 1;
	int rc = ids ? 0 : rt_fail(err, RT_NO_MEMORY, "no memory for rows");

	for (int64_t i = 0; rc == 0 && i < o->batch * (o->repeats + WARM); i++) {
		for (int64_t k = 0; k < o->tokens; k++)
			ids[k] = 5 + (int32_t)(uniform(&state) * (double)(rt_model_vocab_size(m) - 5));
		rc = rt_rows_add(ret, ids, NULL, (size_t)o->tokens,
				 (int32_t)(i % (int64_t)rt_model_label_count(m)), err);
	}
	free(ids);
	return rc;
}

static int open_model(const struct options *o, struct rt_model **ret_model, struct rt_rows *ret_rows,
		      struct rt_err *err)
{
	struct rt_model_options how = { .trainable = strcmp(o->command, "train") == 0,
					.init = RT_INIT_PRETRAINED,
					.seed = 1,
					.precision = o->precision };
	char(*names)[16] = calloc((size_t)o->labels, sizeof *names);
	const char **labels = calloc((size_t)o->labels, sizeof *labels);
	int rc = -1;

	if (!names || !labels) {
		rt_fail(err, RT_NO_MEMORY, "no memory for labels");
		goto out;
	}
	for (int64_t i = 0; i < o->labels; i++) {
		snprintf(names[i], sizeof *names, "LABEL_%d", (int)i);
		labels[i] = names[i];
	}
	how.labels = o->labels ? labels : NULL;
	how.label_count = (size_t)o->labels;
	if (rt_model_open(o->model, &how, ret_model, NULL, err) < 0)
		goto out;
	rc = o->tokens ? make_rows(o, *ret_model, ret_rows, err) : read_texts(o, *ret_model, ret_rows, err);
	if (rc == 0 && ret_rows->n == 0)
		rc = rt_fail(err, RT_INVALID, "%s holds no text", o->texts);
out:
	free(names);
	free(labels);
	return rc;
}

/* ---- arithmetic ---- */

struct sizes {
	double hidden, wide, layers, labels;
};

/* BERT's layer and RoBERTa's head: another family computes something else. */
static int sizes_of(const struct rt_model *m, struct sizes *ret, struct rt_err *err)
{
	const json_t *wide = json_object_get(rt_model_config(m), "intermediate_size");
	const char *family = rt_model_family(m);

	if (!json_is_integer(wide) || (strcmp(family, "roberta") != 0 && strcmp(family, "xlm-roberta") != 0))
		return rt_fail(err, RT_UNSUPPORTED,
			       "the arithmetic of a %s is not counted here: give a RoBERTa", family);
	*ret = (struct sizes){ (double)rt_model_hidden_size(m), (double)json_integer_value(wide),
			       (double)rt_model_layer_count(m), (double)rt_model_label_count(m) };
	return 0;
}

/* Of one text's forward. all: the last layer for all of its tokens. */
static double flop_of(const struct sizes *z, double tokens, bool all)
{
	double h = z->hidden, products = 4 * h * h + 2 * h * z->wide, attention = 4 * h;
	double layer = 2 * products * tokens + attention * tokens * tokens;
	/* keys and values of all tokens; the rest, and the scores, for one */
	double last = all ? layer : 4 * h * h * tokens + 2 * (products - 2 * h * h) + attention * tokens;

	return (z->layers - 1) * layer + last + 2 * (h * h + h * z->labels);
}

static double flop_of_rows(const struct sizes *z, const struct rt_rows *r, const uint32_t *which, size_t n,
			   bool all)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++) {
		size_t row = which ? which[i] : i;

		sum += flop_of(z, (double)(r->start[row + 1] - r->start[row]), all);
	}
	return sum;
}

/* ---- forward ---- */

static int forward(const struct options *o, struct rt_model *m, const struct rt_rows *r,
		   const struct sizes *z, struct rt_err *err)
{
	size_t classes = rt_model_label_count(m);
	float *logits = reallocarray(NULL, r->n, classes * sizeof *logits);
	int rc = logits ? 0 : rt_fail(err, RT_NO_MEMORY, "no memory for logits");

	printf("{\"texts\":%zu,\"tokens\":%zu,\"flop\":%.6g,\"flop_all\":%.6g,\"seconds\":[", r->n,
	       r->start[r->n], flop_of_rows(z, r, NULL, r->n, false), flop_of_rows(z, r, NULL, r->n, true));
	for (int64_t i = 0; rc == 0 && i < o->repeats; i++) {
		double start = rt_clock_monotonic_s();

		rc = rt_rows_logits(r, m, o->batch, NULL, logits, err);
		printf("%s%.6f", i ? "," : "", rt_clock_monotonic_s() - start);
	}
	printf("]}\n");
	free(logits);
	return rc;
}

/* ---- train ---- */

struct timing {
	const struct options *o;
	const struct rt_rows *rows;
	const struct sizes *z;
	const uint32_t *order;
	double last_s;
	int64_t steps;
};

static int on_step(void *ctx, const struct rt_step *step, struct rt_err *err)
{
	struct timing *t = ctx;
	double now = rt_clock_monotonic_s();
	const uint32_t *which = t->order + t->steps * t->o->batch;
	int64_t tokens = 0;

	for (int64_t i = 0; i < step->rows; i++)
		tokens += (int64_t)(t->rows->start[which[i] + 1] - t->rows->start[which[i]]);
	if (t->steps++ >= WARM)
		printf("%s{\"seconds\":%.6f,\"tokens\":%lld,\"flop\":%.6g,\"flop_all\":%.6g}",
		       t->steps > WARM + 1 ? "," : "", now - t->last_s, (long long)tokens,
		       3 * flop_of_rows(t->z, t->rows, which, (size_t)step->rows, false),
		       3 * flop_of_rows(t->z, t->rows, which, (size_t)step->rows, true));
	t->last_s = rt_clock_monotonic_s();
	return t->steps == t->o->repeats + WARM ? rt_fail(err, RT_CANCELLED, "enough") : 0;
}

static int train(const struct options *o, struct rt_model *m, const struct rt_rows *r, const struct sizes *z,
		 struct rt_err *err)
{
	size_t classes = rt_model_label_count(m);
	float *soft = reallocarray(NULL, r->n, classes * sizeof *soft);
	uint32_t *order = reallocarray(NULL, r->n, sizeof *order);
	struct rt_train_options how = {
		.alpha = 0.5,
		.temperature = 4,
		.learning_rate = 1e-5,
		.max_grad_norm = 1,
		.eval_batch = o->batch,
		.patience = -1,
		.plan = { .batch = o->batch, .accumulate = 1, .epochs = 1, .seed = 1, .shuffle = true }
	};
	struct rt_train_split split = { r, soft, NULL };
	struct timing t = { .o = o, .rows = r, .z = z, .order = order };
	struct rt_train_hooks hooks = { .ctx = &t, .step = on_step };
	struct rt_trainer *trainer = NULL;
	uint64_t state = 2;
	int rc = -1;

	if (!soft || !order) {
		rt_fail(err, RT_NO_MEMORY, "no memory to train");
		goto out;
	}
	if ((int64_t)r->n < o->batch * (o->repeats + WARM)) {
		rt_fail(err, RT_INVALID, "%lld steps of %lld need more than %zu texts",
			(long long)(o->repeats + WARM), (long long)o->batch, r->n);
		goto out;
	}
	for (size_t i = 0; i < r->n * classes; i++)
		soft[i] = (float)(4 * uniform(&state) - 2);
	how.plan.rows = (int64_t)r->n;
	rt_plan_order(&how.plan, 0, order);
	if (rt_trainer_open(m, &how, &split, NULL, &trainer, err) < 0)
		goto out;
	printf("{\"texts\":%lld,\"steps\":[", (long long)o->batch);
	t.last_s = rt_clock_monotonic_s();
	rc = rt_trainer_run(trainer, &hooks, err);
	printf("]}\n");
	if (rc < 0 && err->code == RT_CANCELLED)
		rc = 0;
out:
	rt_trainer_close(trainer);
	free(soft);
	free(order);
	return rc;
}

static int run(const struct options *o, struct rt_err *err)
{
	struct rt_model *m = NULL;
	struct rt_rows rows = { 0 };
	struct sizes z;
	int rc = -1;

	if (tc_set_threads((int)o->threads, err) < 0)
		return -1;
	if (strcmp(o->command, "peak") == 0)
		return peak(err);
	if (open_model(o, &m, &rows, err) == 0 && sizes_of(m, &z, err) == 0)
		rc = strcmp(o->command, "train") == 0 ? train(o, m, &rows, &z, err)
						      : forward(o, m, &rows, &z, err);
	rt_rows_release(&rows);
	rt_model_close(m);
	return rc;
}

static bool number(const char *text, int64_t *ret)
{
	char *end;
	long long v = strtoll(text, &end, 10);

	*ret = v;
	return end != text && !*end && v >= 1 && v <= 1000000;
}

static bool read_options(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {
		{ "model", required_argument, NULL, 'm' },
		{ "texts", required_argument, NULL, 'x' },
		{ "batch", required_argument, NULL, 'b' },
		{ "repeats", required_argument, NULL, 'r' },
		{ "threads", required_argument, NULL, 't' },
		{ "labels", required_argument, NULL, 'l' },
		{ "tokens", required_argument, NULL, 'n' },
		{ "precision", required_argument, NULL, 'p' },
		{ NULL, 0, NULL, 0 },
	};
	bool ok = true;
	int opt;

	while (ok && (opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'm')
			o->model = optarg;
		else if (opt == 'x')
			o->texts = optarg;
		else if (opt == 'p' && (strcmp(optarg, "fp32") == 0 || strcmp(optarg, "bf16") == 0))
			o->precision = optarg[0] == 'f' ? RT_PRECISION_FP32 : RT_PRECISION_BF16;
		else
			ok = (opt == 'b' && number(optarg, &o->batch)) ||
			     (opt == 'r' && number(optarg, &o->repeats)) ||
			     (opt == 't' && number(optarg, &o->threads)) ||
			     (opt == 'l' && number(optarg, &o->labels)) ||
			     (opt == 'n' && number(optarg, &o->tokens));
	}
	if (!ok || optind != argc - 1)
		return false;
	o->command = argv[optind];
	return strcmp(o->command, "peak") == 0 ||
	       (o->model && !o->texts == (o->tokens > 0) &&
		(strcmp(o->command, "forward") == 0 || strcmp(o->command, "train") == 0));
}

int main(int argc, char **argv)
{
	struct options o = {
		.precision = RT_PRECISION_FP32, .batch = 64, .repeats = 10, .threads = rt_machine_cpus()
	};
	struct rt_err err = RT_ERR_INIT;

	mallopt(M_MMAP_THRESHOLD, 32 << 20); /* as the worker's main does */
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
	if (!read_options(argc, argv, &o) || sodium_init() < 0) {
		fprintf(stderr,
			"usage: bench_step peak|forward|train [--model DIR] [--texts FILE | --tokens N] "
			"[--precision fp32|bf16] [--batch N] [--repeats N] [--threads N] [--labels N]\n");
		return 2;
	}
	if (run(&o, &err) < 0) {
		fprintf(stderr, "bench_step: %s\n", err.msg);
		return 1;
	}
	return 0;
}
