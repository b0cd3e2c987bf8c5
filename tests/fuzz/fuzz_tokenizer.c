/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes are a tokenizer.json; if it opens, a few texts go through it. An error is fine, a crash is not. */
#include <stdint.h>
#include <string.h>

#include "worker/text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

	if (rt_tokenizer_open_memory(data, size, &tok, NULL) < 0)
		return 0;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct rt_encoding e = { 0 };

		if (rt_tokenizer_encode(tok, texts[i], strlen(texts[i]), i % 2 ? "x \xe2\x96\x81y" : NULL,
					i % 2 ? 6 : 0, i % 3 ? 0 : 5, &e, NULL) == 0)
			rt_encoding_release(&e);
	}
	rt_tokenizer_close(tok);
	return 0;
}
