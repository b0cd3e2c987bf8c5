/* SPDX-License-Identifier: Apache-2.0 */
/* A growable run of bytes, always followed by a NUL that is not counted, so .data also reads as a C string.
 * A failed allocation is sticky: later appends do nothing, and rt_buf_check says so once at the end. */
#ifndef RT_BASE_BUF_H
#define RT_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct rt_buf {
	char *data; /* NULL while empty */
	size_t len; /* bytes, without the NUL */
	size_t cap;
	bool failed; /* an allocation failed: the content is not whole */
};

#define RT_BUF_INIT                                                                                          \
	{                                                                                                    \
		NULL, 0, 0, false                                                                            \
	}

void rt_buf_release(struct rt_buf *b); /* frees the bytes; the buffer is then empty and usable again */
void rt_buf_clear(struct rt_buf *b);   /* forgets the content and keeps the memory */
void rt_buf_add(struct rt_buf *b, const void *bytes, size_t n);
void rt_buf_str(struct rt_buf *b, const char *s);
void rt_buf_char(struct rt_buf *b, char c);
void rt_buf_fmt(struct rt_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void rt_buf_utf8(struct rt_buf *b, unsigned codepoint); /* codepoint below 0x110000, no surrogate */
/* Makes room for n more bytes and returns where they go, or NULL. The caller raises len itself. */
char *rt_buf_room(struct rt_buf *b, size_t n);
const char *rt_buf_text(const struct rt_buf *b); /* "" while empty; borrowed until the next change */
/* Gives the bytes to the caller (free()), never NULL unless failed; the buffer is then empty. */
char *rt_buf_take(struct rt_buf *b);
/* 0, or -1 and RT_NO_MEMORY if any append failed. */
int rt_buf_check(const struct rt_buf *b, struct rt_err *err);

#endif
