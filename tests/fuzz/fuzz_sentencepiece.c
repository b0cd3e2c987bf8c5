/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes are a SentencePiece model. What can be read becomes a tokenizer of each family that has such files, and a few
 * texts go through it. An error is fine, a crash is not; ids stay
 * inside the vocabulary. */
#include <stdint.h>
#include <string.h>

#include "tests/fuzz/check.h"
#include "worker/text/legacy_spm.h"
#include "worker/text/parts.h"
#include "worker/text/spmodel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(const struct rt_legacy_spm *spm)
{
	static const char *const texts[] = {
		"",
		"Hello 5, world  ",
		"a\xcc\x81 \xc3\x89t\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x98\x80 \xe2\x96\x81x\xc2\xbd",
	};
	json_t *json = json_pack("{s:O, s:O, s:O}", "model", spm->vocab.model, "normalizer", spm->normalizer,
				 "pre_tokenizer", spm->pretokenizer);
	struct rt_tokenizer *tok = rt_tokenizer_new(NULL);
	struct rt_err err = RT_ERR_INIT;

	if (json && tok && rt_tokenizer_read(tok, json, &err) < 0)
		check_refusal(&err);
	else if (json && tok)
		for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
			struct rt_encoding e = { 0 };

			if (rt_tokenizer_encode(tok, texts[i], strlen(texts[i]), NULL, 0, 0, &e, &err) < 0) {
				check_refusal(&err);
				continue;
			}
			for (size_t k = 0; k < e.n; k++)
				if (e.ids[k] < 0 || (size_t)e.ids[k] >= rt_tokenizer_vocab_size(tok))
					abort();
			rt_encoding_release(&e);
		}
	rt_tokenizer_close(tok);
	json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct rt_role_defaults roles = {
		.tokens = { "<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>" },
	};
	static const enum rt_spm_family families[] = { RT_SPM_XLMR, RT_SPM_ALBERT, RT_SPM_DEBERTA };
	const struct rt_legacy_tokens tokens = { .defaults = &roles };
	struct rt_sp_model model;
	struct rt_err err = RT_ERR_INIT;

	if (rt_sp_model_read(data, size, &model, &err) < 0) {
		check_refusal(&err);
		return 0;
	}
	rt_sp_model_release(&model);
	for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
		struct rt_legacy_spm spm = { .normalizer = NULL };

		if (rt_legacy_spm(families[i], &tokens, data, size, &spm, &err) < 0) {
			check_refusal(&err);
			continue;
		}
		encode(&spm);
		rt_legacy_spm_release(&spm);
	}
	return 0;
}
