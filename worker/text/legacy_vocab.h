/* SPDX-License-Identifier: Apache-2.0 */
/* Vocabulary files older than tokenizer.json, from their bytes to the "model" that a tokenizer.json would have. */
#ifndef RT_TEXT_LEGACY_VOCAB_H
#define RT_TEXT_LEGACY_VOCAB_H

#include "base/json.h"

/* All new; all NULL before and after a failure. */
struct rt_legacy_vocab {
	json_t *model; /* of a tokenizer.json */
	json_t *ids;   /* {"token": id…} of all its tokens; may be the model's own object */
	json_t *symbols; /* [{"content", "special"}…]: tokens of it that are added tokens by themselves; NULL: none */
	size_t size; /* entries of the model: the id of the first token that it lacks */
};
void rt_legacy_vocab_release(struct rt_legacy_vocab *v); /* a zeroed one is fine */

/* vocab.txt: a token a line, the line's number is its id. "\n", "\r\n" and "\r" end a line. A token that is there twice
 * is RT_INVALID. unk: the unknown token, may hold U+0000. */
int rt_legacy_wordpiece(const char *text, size_t len, const char *unk, size_t unk_len,
			struct rt_legacy_vocab *ret, struct rt_err *err);
/* vocab: vocab.json's object, borrowed and kept alive; merges.txt: a merge a line, "a b", below a line "#version…". */
int rt_legacy_bpe(json_t *vocab, const char *merges, size_t len, struct rt_legacy_vocab *ret,
		  struct rt_err *err);

#endif
