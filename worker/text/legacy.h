/* SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers of folders that have no tokenizer.json: makes the value that one would hold from the older files.
 *   vocab.txt                 BERT, DistilBERT, ELECTRA, MPNet
 *   vocab.json + merges.txt   RoBERTa, GPT-2, Qwen2
 *   sentencepiece.bpe.model   XLM-RoBERTa
 *   spiece.model              ALBERT
 *   spm.model                 DeBERTa-v2 and v3
 * Which one: tokenizer_class of tokenizer_config.json or config.json; else config.json's model_type; else the files.
 * Options and special tokens come from tokenizer_config.json; added tokens from its added_tokens_decoder, or else from
 * special_tokens_map.json and added_tokens.json. What the files do not say is as the family's class has it. */
#ifndef RT_TEXT_LEGACY_H
#define RT_TEXT_LEGACY_H

#include "base/json.h"

/* *ret: new. RT_NOT_FOUND names the files that were looked for; RT_UNSUPPORTED a tokenizer_class we do not know. An added
 * token whose id the vocabulary contradicts, or a missing one that begins or ends every text, is RT_INVALID. Blocks. */
int rt_legacy_read(const char *dir, json_t **ret, struct rt_err *err);

#endif
