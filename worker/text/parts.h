/* SPDX-License-Identifier: Apache-2.0 */
/* What a tokenizer is made of, for those that make one (tokenizer.c, legacy.c) and that run it (encode.c). */
#ifndef RT_TEXT_PARTS_H
#define RT_TEXT_PARTS_H

#include "worker/text/added_tokens.h"
#include "worker/text/normalizer.h"
#include "worker/text/postprocessor.h"
#include "worker/text/pretokenizer.h"
#include "worker/text/tokenizer.h"
#include "worker/text/wordmodel.h"

struct rt_tokenizer {
	struct rt_normalizer *normalizer;	/* NULL: none */
	struct rt_pretokenizer *pretokenizer;	/* NULL: none */
	struct rt_postprocessor *postprocessor; /* NULL: none */
	struct rt_wordmodel *model;
	struct rt_added added;
	int32_t max_id, pad_id;
	bool aligned; /* words depend on offsets: keep them even when ids alone are wanted */
	char fingerprint[RT_SHA256_SIZE], parts[RT_TOKENIZER_PARTS][RT_SHA256_SIZE];
};

struct rt_tokenizer *rt_tokenizer_new(struct rt_err *err); /* empty; NULL without memory */
/* Fills fingerprint and parts, when the rest is there: fingerprint.c. */
int rt_fingerprint_make(struct rt_tokenizer *tok, struct rt_err *err);
/* Fills an empty tokenizer from a tokenizer.json's value. */
int rt_tokenizer_read(struct rt_tokenizer *tok, const json_t *json, struct rt_err *err);

#endif
