/* SPDX-License-Identifier: Apache-2.0 */
/* Normalizers: what a tokenizer.json's "normalizer" does to a text before it is split. */
#ifndef RT_TEXT_NORMALIZER_H
#define RT_TEXT_NORMALIZER_H

#include "base/json.h"
#include "worker/text/ntext.h"
#include "worker/text/regex.h"

struct rt_normalizer;

/* The scratch of one encoding. */
struct rt_norm_work {
	struct rt_ntext *text; /* what is normalized, in place */
	struct rt_ntext spare; /* exchanged with text at every step */
	struct rt_changes changes;
	struct rt_matches matches;
};

/* json: borrowed. *ret: new, rt_normalizer_free; NULL for a JSON null. RT_UNSUPPORTED names an unknown type. */
int rt_normalizer_new(const json_t *json, struct rt_normalizer **ret, struct rt_err *err);
void rt_normalizer_free(struct rt_normalizer *n);
int rt_normalizer_run(const struct rt_normalizer *n, struct rt_norm_work *w,
		      struct rt_err *err); /* n NULL: nothing */

/* Appends what it does, however its file spells it; nothing for NULL. */
void rt_normalizer_describe(const struct rt_normalizer *n, struct rt_buf *out);

/* The byte-level alphabet: the character that stands for a byte. */
uint32_t rt_byte_char(unsigned char byte);

#endif
