/* SPDX-License-Identifier: Apache-2.0 */
/* GPT-2's way to cut a text into words, written out: a regular expression in the reference. */
#ifndef RT_TEXT_BYTE_LEVEL_H
#define RT_TEXT_BYTE_LEVEL_H

#include <stddef.h>

/* The end of the word that begins at from, in s of n bytes; from < n. What the pattern
 * 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ matches there. */
size_t rt_byte_level_word(const char *s, size_t n, size_t from);

#endif
