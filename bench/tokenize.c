/* SPDX-License-Identifier: Apache-2.0 */
/* Times one tokenizer over the lines of a file: bench/run's side of the comparison with the tokenizers library.
 *
 *   bench_tokenize MODEL_DIR TEXTS REPEATS     one text a line; prints {"texts", "tokens", "seconds": [one a repeat]}
 *
 * One thread, ids only, and every repeat with a tokenizer opened anew, so that no repeat profits from the words of the last. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "worker/text/tokenizer.h"

static int run(const char *dir, const char *texts, size_t len, size_t *ret_texts, size_t *ret_tokens,
	       double *ret_s, struct rt_err *err)
{
	struct rt_tokenizer *tok;
	double start;
	int rc = 0;

	*ret_texts = *ret_tokens = 0;
	if (rt_tokenizer_open(dir, &tok, err) < 0)
		return -1;
	start = rt_clock_monotonic_s();
	for (size_t at = 0; at < len && rc == 0;) {
		const char *end = memchr(texts + at, '\n', len - at);
		size_t n = end ? (size_t)(end - (texts + at)) : len - at;
		struct rt_encoding e;

		rc = rt_tokenizer_encode_ids(tok, texts + at, n, NULL, 0, 512, &e, err);
		if (rc == 0) {
			++*ret_texts;
			*ret_tokens += e.n;
			rt_encoding_release(&e);
		}
		at += n + 1;
	}
	*ret_s = rt_clock_monotonic_s() - start;
	rt_tokenizer_close(tok);
	return rc;
}

int main(int argc, char **argv)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_buf texts = RT_BUF_INIT;
	size_t n = 0, tokens = 0;

	if (argc != 4 || sodium_init() < 0) {
		fprintf(stderr, "usage: bench_tokenize MODEL_DIR TEXTS REPEATS\n");
		return 2;
	}
	if (rt_file_read(argv[2], (size_t)1 << 30, &texts, &err) < 0)
		goto fail;
	printf("{\"seconds\":[");
	for (int i = 0; i < atoi(argv[3]); i++) {
		double s;

		if (run(argv[1], rt_buf_text(&texts), texts.len, &n, &tokens, &s, &err) < 0)
			goto fail;
		printf("%s%.6f", i ? "," : "", s);
	}
	printf("],\"texts\":%zu,\"tokens\":%zu}\n", n, tokens);
	rt_buf_release(&texts);
	return 0;
fail:
	fprintf(stderr, "bench_tokenize: %s\n", err.msg);
	rt_buf_release(&texts);
	return 1;
}
