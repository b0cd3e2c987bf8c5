/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void rt_buf_release(struct rt_buf *b)
{
	free(b->data);
	*b = (struct rt_buf)RT_BUF_INIT;
}

void rt_buf_clear(struct rt_buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->data)
		b->data[0] = '\0';
}

char *rt_buf_room(struct rt_buf *b, size_t n)
{
	size_t need, cap = b->cap;
	char *grown;

	if (b->failed)
		return NULL;
	if (n >= SIZE_MAX / 2 - b->len) {
		b->failed = true;
		return NULL;
	}
	need = b->len + n + 1;
	if (need > cap) {
		cap = cap < 64 ? 64 : cap;
		while (cap < need)
			cap += cap / 2;
		grown = realloc(b->data, cap);
		if (!grown) {
			b->failed = true;
			return NULL;
		}
		b->data = grown;
		b->cap = cap;
	}
	return b->data + b->len;
}

void rt_buf_add(struct rt_buf *b, const void *bytes, size_t n)
{
	char *to = rt_buf_room(b, n);

	if (!to)
		return;
	if (n)
		memcpy(to, bytes, n);
	b->len += n;
	b->data[b->len] = '\0';
}

void rt_buf_str(struct rt_buf *b, const char *s)
{
	rt_buf_add(b, s, strlen(s));
}

void rt_buf_char(struct rt_buf *b, char c)
{
	rt_buf_add(b, &c, 1);
}

void rt_buf_fmt(struct rt_buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;
	char *to;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	to = n < 0 ? NULL : rt_buf_room(b, (size_t)n);
	if (!to) {
		b->failed = true;
		return;
	}
	va_start(ap, fmt);
	vsnprintf(to, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

void rt_buf_utf8(struct rt_buf *b, unsigned c)
{
	char out[4];
	size_t n;

	if (c < 0x80) {
		out[0] = (char)c;
		n = 1;
	} else if (c < 0x800) {
		out[0] = (char)(0xC0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3F));
		n = 2;
	} else if (c < 0x10000) {
		out[0] = (char)(0xE0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3F));
		out[2] = (char)(0x80 | (c & 0x3F));
		n = 3;
	} else {
		out[0] = (char)(0xF0 | c >> 18);
		out[1] = (char)(0x80 | (c >> 12 & 0x3F));
		out[2] = (char)(0x80 | (c >> 6 & 0x3F));
		out[3] = (char)(0x80 | (c & 0x3F));
		n = 4;
	}
	rt_buf_add(b, out, n);
}

const char *rt_buf_text(const struct rt_buf *b)
{
	return b->data ? b->data : "";
}

char *rt_buf_take(struct rt_buf *b)
{
	char *data;

	rt_buf_add(b, "", 0);
	data = b->failed ? NULL : b->data;
	if (b->failed)
		free(b->data);
	*b = (struct rt_buf)RT_BUF_INIT;
	return data;
}

int rt_buf_check(const struct rt_buf *b, struct rt_err *err)
{
	if (b->failed)
		return rt_fail(err, RT_NO_MEMORY, "out of memory");
	return 0;
}
