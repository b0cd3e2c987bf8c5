/* SPDX-License-Identifier: Apache-2.0 */
/* Added tokens: strings that are cut out of a text before it is normalized (or after), whatever the model says. */
#ifndef RT_TEXT_ADDED_TOKENS_H
#define RT_TEXT_ADDED_TOKENS_H

#include "worker/text/normalizer.h"
#include "worker/text/pretokenizer.h"
#include "worker/text/wordmodel.h"

struct rt_added_token {
	int32_t id;
	char *content;
	size_t len;
	bool single_word, lstrip, rstrip, normalized, special;
};

struct rt_added {
	struct rt_added_token *list;
	size_t n, cap;
	struct rt_vocab by_content; /* its ids are indexes of list */
	struct rt_trie raw,
		normal; /* what matches the raw text, and the normalized one; values are indexes */
	size_t raw_count, normal_count;
	int32_t empty; /* the token of which the normalizer leaves nothing; -1: none */
	int32_t next_id, max_id;
};

int rt_added_init(struct rt_added *a, struct rt_err *err);
void rt_added_release(struct rt_added *a);
/* json: borrowed, the "added_tokens"; NULL or null: none. A token that the model's vocabulary has takes its id there,
 * others are numbered on from the vocabulary's size: so does the reference, whatever id the file says. */
int rt_added_read(struct rt_added *a, const json_t *json, const struct rt_wordmodel *model,
		  const struct rt_normalizer *norm, struct rt_err *err);
/* One token more; as rt_added_read takes each. */
int rt_added_add(struct rt_added *a, struct rt_added_token token, const struct rt_wordmodel *model,
		 struct rt_err *err);
/* After the last add: builds what searching needs. */
int rt_added_finish(struct rt_added *a, const struct rt_normalizer *norm, struct rt_err *err);

/* Cuts s into pieces (text and added tokens) and appends them to out, first and end counted from at; a piece's base is
 * left 0. normalized: which of the two sets. */
void rt_added_split(const struct rt_added *a, bool normalized, const char *s, size_t n, size_t at,
		    struct rt_pieces *out);

#endif
