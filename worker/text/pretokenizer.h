/* SPDX-License-Identifier: Apache-2.0 */
/* Pre-tokenizers: what a tokenizer.json's "pre_tokenizer" does to split a text into words. */
#ifndef RT_TEXT_PRETOKENIZER_H
#define RT_TEXT_PRETOKENIZER_H

#include "base/json.h"
#include "worker/text/ntext.h"
#include "worker/text/regex.h"

/* A range of a text under way: words, or an added token that was found. */
struct rt_piece {
	uint32_t first, end; /* bytes of the text */
	uint32_t base;	     /* where it begins in the original */
	int32_t added;	     /* which added token it is; -1: none, still text */
};
struct rt_pieces {
	struct rt_piece *list;
	size_t n, cap;
	bool failed;
};
void rt_pieces_add(struct rt_pieces *p, struct rt_piece piece); /* an empty one is left out */

/* The scratch of one encoding. */
struct rt_split_work {
	struct rt_ntext *text; /* in place */
	struct rt_ntext spare_text;
	struct rt_pieces *pieces; /* in place */
	struct rt_pieces spare;
	struct rt_matches matches, splits;
};

struct rt_pretokenizer;

/* json: borrowed. *ret: new, rt_pretokenizer_free; NULL for a JSON null. RT_UNSUPPORTED names an unknown type. */
int rt_pretokenizer_new(const json_t *json, struct rt_pretokenizer **ret, struct rt_err *err);
void rt_pretokenizer_free(struct rt_pretokenizer *p);
int rt_pretokenizer_run(const struct rt_pretokenizer *p, struct rt_split_work *w,
			struct rt_err *err); /* NULL: nothing */
/* Appends what it does, however its file spells it; nothing for NULL. */
void rt_pretokenizer_describe(const struct rt_pretokenizer *p, struct rt_buf *out);
/* True if words depend on where a piece lies in the original: alignment must then be kept. */
bool rt_pretokenizer_needs_base(const struct rt_pretokenizer *p);

#endif
