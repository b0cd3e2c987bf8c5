/* SPDX-License-Identifier: Apache-2.0 */
/* SentencePiece's precompiled character map: a double-array trie over UTF-8 and a block of replacements. */
#ifndef RT_TEXT_CHARSMAP_H
#define RT_TEXT_CHARSMAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "worker/text/ntext.h"

struct rt_charsmap;

/* From base64 as tokenizer.json has it, or from the bytes as a SentencePiece model has them. *ret: new,
 * rt_charsmap_free. RT_INVALID when sizes do not fit or a replacement is not UTF-8. An empty map changes nothing. */
int rt_charsmap_new_base64(const char *text, size_t len, struct rt_charsmap **ret, struct rt_err *err);
int rt_charsmap_new(const unsigned char *bytes, size_t size, struct rt_charsmap **ret, struct rt_err *err);
void rt_charsmap_free(struct rt_charsmap *map);
/* Appends what makes the map, for a fingerprint; nothing for one that changes nothing. */
void rt_charsmap_describe(const struct rt_charsmap *map, struct rt_buf *out);

/* Appends to changes what the map makes of the text; false if it changes nothing (changes are then void). most: bytes that
 * the result may have; it stops soon after more changes than that, and the result is then too long for its text. */
bool rt_charsmap_apply(const struct rt_charsmap *map, const char *s, size_t n, size_t most,
		       struct rt_changes *changes);

#endif
