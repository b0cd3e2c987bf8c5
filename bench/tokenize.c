/* SPDX-License-Identifier: Apache-2.0 */
/* Times one tokenizer over the lines of a file: bench/run's side of the comparison with the tokenizers library.
 *
 *   bench_tokenize MODEL_DIR TEXTS REPEATS THREADS    one text a line; prints {"seconds": [one a repeat], "texts", "tokens"}
 *
 * Ids and type ids only, and every repeat with a tokenizer opened anew, so that no repeat profits from the words of the
 * last. Threads share the tokenizer; each takes the next few texts, and every text's result has its own place. */
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "worker/text/tokenizer.h"

enum { THREADS_MAX = 64, TEXTS_AT_A_TIME = 64, LIMIT = 512 };

struct text {
	const char *at;
	size_t len;
	struct rt_encoding encoding;
};

struct work {
	const struct rt_tokenizer *tok;
	struct text *texts;
	size_t n;
	atomic_size_t next;
	atomic_bool failed;
};

static void *encode(void *arg)
{
	struct work *w = arg;

	for (size_t first; !w->failed && (first = atomic_fetch_add(&w->next, TEXTS_AT_A_TIME)) < w->n;)
		for (size_t i = first; i < w->n && i < first + TEXTS_AT_A_TIME; i++)
			if (rt_tokenizer_encode_ids(w->tok, w->texts[i].at, w->texts[i].len, NULL, 0, LIMIT,
						    &w->texts[i].encoding, NULL) < 0)
				w->failed = true;
	return NULL;
}

static int run(const char *dir, struct text *texts, size_t n, int threads, size_t *ret_tokens, double *ret_s,
	       struct rt_err *err)
{
	struct work w = { .texts = texts, .n = n };
	struct rt_tokenizer *tok;
	pthread_t ids[THREADS_MAX];
	int started = 0;
	double start;

	if (rt_tokenizer_open(dir, &tok, err) < 0)
		return -1;
	w.tok = tok;
	start = rt_clock_monotonic_s();
	while (started < threads - 1 && pthread_create(&ids[started], NULL, encode, &w) == 0)
		started++;
	encode(&w);
	for (int i = 0; i < started; i++)
		pthread_join(ids[i], NULL);
	*ret_s = rt_clock_monotonic_s() - start;
	*ret_tokens = 0;
	for (size_t i = 0; i < n; i++) {
		*ret_tokens += texts[i].encoding.n;
		rt_encoding_release(&texts[i].encoding);
	}
	rt_tokenizer_close(tok);
	if (started < threads - 1)
		return rt_fail(err, RT_INTERNAL, "cannot start %d threads", threads);
	return w.failed ? rt_fail(err, RT_INVALID, "a text cannot be read") : 0;
}

/* The lines of the file; new. */
static struct text *split(const struct rt_buf *file, size_t *ret_n)
{
	const char *all = rt_buf_text(file);
	struct text *texts;
	size_t n = 0, lines = 1;

	for (size_t i = 0; i < file->len; i++)
		lines += all[i] == '\n';
	texts = calloc(lines, sizeof *texts);
	for (size_t at = 0; texts && at < file->len;) {
		const char *end = memchr(all + at, '\n', file->len - at);
		size_t len = end ? (size_t)(end - (all + at)) : file->len - at;

		texts[n++] = (struct text){ .at = all + at, .len = len };
		at += len + 1;
	}
	*ret_n = n;
	return texts;
}

int main(int argc, char **argv)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_buf file = RT_BUF_INIT;
	struct text *texts = NULL;
	size_t n = 0, tokens = 0;
	int threads = argc == 5 ? atoi(argv[4]) : 0, status = 1;

	if (threads < 1 || threads > THREADS_MAX || sodium_init() < 0) {
		fprintf(stderr, "usage: bench_tokenize MODEL_DIR TEXTS REPEATS THREADS\n");
		return 2;
	}
	if (rt_file_read(argv[2], (size_t)1 << 30, &file, &err) < 0)
		goto out;
	texts = split(&file, &n);
	if (!texts) {
		rt_fail(&err, RT_NO_MEMORY, "no memory for the texts");
		goto out;
	}
	printf("{\"seconds\":[");
	for (int i = 0; i < atoi(argv[3]); i++) {
		double s;

		if (run(argv[1], texts, n, threads, &tokens, &s, &err) < 0)
			goto out;
		printf("%s%.6f", i ? "," : "", s);
	}
	printf("],\"texts\":%zu,\"tokens\":%zu}\n", n, tokens);
	status = 0;
out:
	if (status)
		fprintf(stderr, "bench_tokenize: %s\n", err.msg);
	free(texts);
	rt_buf_release(&file);
	return status;
}
