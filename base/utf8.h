/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8, as far as a reader of strangers' bytes needs it: is it well formed, and how to show a piece of it. */
#ifndef RT_BASE_UTF8_H
#define RT_BASE_UTF8_H

#include <stddef.h>

/* Bytes of s from its start that are well-formed UTF-8 (no overlong forms, no surrogates, nothing above U+10FFFF);
 * n when all of it is. U+0000 is a character. */
size_t rt_utf8_valid(const char *s, size_t n);

#define RT_UTF8_QUOTE_SIZE 96
/* A piece of text for a message: up to 80 bytes of s, cut at a character's edge with an ellipsis, control characters as
 * '?'. Returns out. s must be well formed. */
const char *rt_utf8_quote(const char *s, size_t n, char out[RT_UTF8_QUOTE_SIZE]);

#endif
