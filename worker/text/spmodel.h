/* SPDX-License-Identifier: Apache-2.0 */
/* SentencePiece model files: the pieces, the character map and what the trainer says of them, from the bytes of the
 * protobuf message. Reads no more of the message than tokenizers need; the other fields are passed over. */
#ifndef RT_TEXT_SPMODEL_H
#define RT_TEXT_SPMODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum rt_sp_kind { /* a piece's type */
		  RT_SP_NORMAL = 1,
		  RT_SP_UNKNOWN,
		  RT_SP_CONTROL,
		  RT_SP_USER_DEFINED,
		  RT_SP_UNUSED,
		  RT_SP_BYTE,
};

struct rt_sp_piece {
	uint32_t at, len; /* bytes of the file; UTF-8, at least one, may hold U+0000 */
	float score;	  /* finite */
	uint8_t kind;
};

struct rt_sp_model {
	struct rt_sp_piece *pieces; /* (n) a piece's index is its id */
	size_t n;
	const unsigned char *charsmap; /* borrowed from the file's bytes; NULL: none */
	size_t charsmap_len;
	int64_t type; /* 1: Unigram, 2: BPE, 3: word, 4: char */
	int64_t unk_id;
};

/* bytes: a whole file, borrowed until the release. *ret: written on success only, rt_sp_model_release. RT_INVALID tells at
 * which byte a message is broken or which piece is. Memory: 16 bytes a piece, of which each takes at least 5 in the file. */
int rt_sp_model_read(const void *bytes, size_t size, struct rt_sp_model *ret, struct rt_err *err);
void rt_sp_model_release(struct rt_sp_model *m); /* a zeroed or released one is fine */

#endif
