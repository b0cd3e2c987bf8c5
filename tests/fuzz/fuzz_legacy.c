/* SPDX-License-Identifier: Apache-2.0 */
/* A folder without tokenizer.json: the older files, one behind the other in the order below with a byte 0xFF between
 * them, which no text holds. The last takes all that is left. A
 * file of no bytes is not there. */
#include <stdint.h>

#include "tests/fuzz/check.h"
#include "worker/text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(const struct rt_tokenizer *tok, const char *text)
{
	struct rt_encoding e = { 0 };
	struct rt_err err = RT_ERR_INIT;

	if (rt_tokenizer_encode(tok, text, strlen(text), NULL, 0, 0, &e, &err) < 0) {
		check_refusal(&err);
		return;
	}
	for (size_t i = 0; i < e.n; i++) {
		if (e.ids[i] < 0 || (size_t)e.ids[i] >= rt_tokenizer_vocab_size(tok))
			abort();
	}
	rt_encoding_release(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = { "tokenizer_config.json",
					     "config.json",
					     "special_tokens_map.json",
					     "added_tokens.json",
					     "vocab.txt",
					     "vocab.json",
					     "merges.txt",
					     "sentencepiece.bpe.model" };
	static const char *const texts[] = { "", "Hello, w\xc3\xb6rld  12 [MASK]<mask> aab",
					     "x\xf0\x9f\x98\x80" };
	const uint8_t *end = data + size;
	struct rt_tokenizer *tok = NULL;
	struct rt_err err = RT_ERR_INIT;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const uint8_t *stop = data < end && i + 1 < sizeof names / sizeof *names
					      ? memchr(data, 0xFF, (size_t)(end - data))
					      : NULL;
		char path[160];

		if (!stop)
			stop = end;
		if (stop > data) {
			write_fuzz_file(names[i], data, (size_t)(stop - data));
		} else {
			snprintf(path, sizeof path, "%s/%s", get_fuzz_dir(), names[i]);
			unlink(path);
		}
		data = stop < end ? stop + 1 : end;
	}
	if (rt_tokenizer_open(get_fuzz_dir(), &tok, &err) < 0) {
		check_refusal(&err);
		return 0;
	}
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		encode(tok, texts[i]);
	rt_tokenizer_close(tok);
	return 0;
}
