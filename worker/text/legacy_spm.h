/* SPDX-License-Identifier: Apache-2.0 */
/* From a SentencePiece model to the parts of a tokenizer.json, as the families' converters in transformers make them:
 *   XLM-RoBERTa    ids of fairseq: <s> <pad> </s> <unk>, the model's pieces from the fourth on, <mask>
 *   ALBERT         quotes, accents and case as the configuration says; pieces like "5," are made unlikely
 *   DeBERTa-v2/v3  the model's own ids; case and punctuation as the configuration says */
#ifndef RT_TEXT_LEGACY_SPM_H
#define RT_TEXT_LEGACY_SPM_H

#include "worker/text/legacy_tokens.h"
#include "worker/text/legacy_vocab.h"

enum rt_spm_family { RT_SPM_XLMR, RT_SPM_ALBERT, RT_SPM_DEBERTA };

struct rt_legacy_spm {
	struct rt_legacy_vocab vocab;
	json_t *normalizer, *pretokenizer; /* new */
};
void rt_legacy_spm_release(struct rt_legacy_spm *s); /* a zeroed one is fine */

/* bytes: the model's file, read during the call. tokens: whose roles are known; its configuration has the options.
 * RT_INVALID for a broken model; RT_UNSUPPORTED for one that is not of type Unigram. */
int rt_legacy_spm(enum rt_spm_family family, const struct rt_legacy_tokens *tokens, const void *bytes,
		  size_t size, struct rt_legacy_spm *ret, struct rt_err *err);

#endif
