/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes are a tokenizer.json; if it opens, a few texts go through it, its own first bytes among them: its words occur
 * there. An error is fine, a crash is not, nor ids beyond the vocabulary or another result when ids alone are asked for. */
#include <stdint.h>

#include "tests/fuzz/check.h"
#include "worker/text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_encoding(const struct rt_tokenizer *tok, const struct rt_encoding *e, size_t max_length)
{
	if (max_length > 0 && e->n > max_length)
		abort();
	for (size_t i = 0; i < e->n; i++) {
		size_t len = e->token_lens[i];

		if (e->ids[i] < 0 || (size_t)e->ids[i] >= rt_tokenizer_vocab_size(tok) || e->type_ids[i] < 0)
			abort();
		if (rt_utf8_valid(e->tokens[i], len) < len || e->tokens[i][len])
			abort();
	}
}

static void encode(const struct rt_tokenizer *tok, const char *text, size_t len, const char *pair,
		   size_t max_length)
{
	struct rt_encoding all = { 0 }, ids = { 0 };
	struct rt_err err = RT_ERR_INIT, ids_err = RT_ERR_INIT;
	size_t pair_len = pair ? strlen(pair) : 0;
	int rc = rt_tokenizer_encode(tok, text, len, pair, pair_len, max_length, &all, &err);
	int ids_rc = rt_tokenizer_encode_ids(tok, text, len, pair, pair_len, max_length, &ids, &ids_err);

	if (rc < 0)
		check_refusal(&err);
	else
		check_encoding(tok, &all, max_length);
	if (ids_rc < 0)
		check_refusal(&ids_err);
	if (rc == 0 && ids_rc == 0 &&
	    (all.n != ids.n || all.truncated != ids.truncated ||
	     memcmp(all.ids, ids.ids, all.n * sizeof *all.ids) != 0 ||
	     memcmp(all.type_ids, ids.type_ids, all.n * sizeof *all.type_ids) != 0))
		abort();
	if (rc != ids_rc && err.code != RT_NO_MEMORY && ids_err.code != RT_NO_MEMORY)
		abort();
	rt_encoding_release(&all);
	rt_encoding_release(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const texts[] = {
		"",
		" ",
		"Hello, world! it's 12:30",
		"a\xcc\x81 \xc3\x89t\xc3\xa9  \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x98\x80",
		"[CLS] <mask> x [SEP]",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
	};
	struct rt_tokenizer *tok = NULL;
	struct rt_err err = RT_ERR_INIT;

	if (rt_tokenizer_open_memory(data, size, &tok, &err) < 0) {
		check_refusal(&err);
		return 0;
	}
	if (strlen(rt_tokenizer_fingerprint(tok)) != 64 || rt_tokenizer_pad_id(tok) < -1)
		abort();
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		encode(tok, texts[i], strlen(texts[i]), i % 2 ? "x \xe2\x96\x81y" : NULL, i % 3 ? 0 : 5);
	encode(tok, (const char *)data, rt_utf8_valid((const char *)data, size < 300 ? size : 300), NULL, 0);
	rt_tokenizer_close(tok);
	return 0;
}
