/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* Ends a message that snprintf cut with an ellipsis, without leaving half a UTF-8 character before it. */
static void mark_cut(char *msg, size_t cap)
{
	static const char dots[] = "\xe2\x80\xa6";
	size_t end = cap - sizeof dots;

	while (end > 0 && ((unsigned char)msg[end] & 0xC0) == 0x80)
		end--;
	memcpy(msg + end, dots, sizeof dots);
}

/* Whatever stood in the arguments (a name cut by "%.60s", a path of any bytes), the message can stand in JSON. */
static void make_utf8(char *msg)
{
	size_t len = strlen(msg), at = 0;

	while ((at += rt_utf8_valid(msg + at, len - at)) < len)
		msg[at++] = '?';
}

__attribute__((format(printf, 2, 0))) static void fill(struct rt_err *err, const char *fmt, va_list ap)
{
	int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);

	if (n >= (int)sizeof err->msg)
		mark_cut(err->msg, sizeof err->msg);
	make_utf8(err->msg);
}

int rt_fail(struct rt_err *err, enum rt_code code, const char *fmt, ...)
{
	struct rt_err filled; /* the arguments may point into *err */
	va_list ap;

	if (!err)
		return -1;
	filled.code = code;
	va_start(ap, fmt);
	fill(&filled, fmt, ap);
	va_end(ap);
	*err = filled;
	return -1;
}

int rt_fail_in(struct rt_err *err, const char *fmt, ...)
{
	char where[256];
	struct rt_err filled;
	va_list ap;

	if (!err)
		return -1;
	va_start(ap, fmt);
	vsnprintf(where, sizeof where, fmt, ap);
	va_end(ap);
	filled.code = err->code;
	if (snprintf(filled.msg, sizeof filled.msg, "%s: %s", where, err->msg) >= (int)sizeof filled.msg)
		mark_cut(filled.msg, sizeof filled.msg);
	make_utf8(filled.msg);
	*err = filled;
	return -1;
}

static enum rt_code code_of_errno(int errnum)
{
	switch (errnum) {
	case ENOENT:
		return RT_NOT_FOUND;
	case ENOMEM:
		return RT_NO_MEMORY;
	case ENOSPC:
	case EDQUOT:
		return RT_DISK_FULL;
	case EACCES:
	case EPERM:
		return RT_FORBIDDEN;
	default:
		return RT_IO;
	}
}

int rt_fail_errno(struct rt_err *err, int errnum, const char *fmt, ...)
{
	char what[400], why[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	return rt_fail(err, code_of_errno(errnum), "%s: %s", what, strerror_r(errnum, why, sizeof why));
}

bool rt_code_is_input(enum rt_code code)
{
	switch (code) {
	case RT_INVALID:
	case RT_NOT_FOUND:
	case RT_FORBIDDEN:
	case RT_CONFLICT:
	case RT_TOO_LARGE:
	case RT_UNPROCESSABLE:
	case RT_UNSUPPORTED:
		return true;
	default:
		return false;
	}
}

int rt_code_http(enum rt_code code)
{
	static const int http[] = {
#define X(name, status, word) status,
		RT_ERR_MAP(X)
#undef X
	};

	return http[code];
}

const char *rt_code_word(enum rt_code code)
{
	static const char *const words[] = {
#define X(name, status, word) word,
		RT_ERR_MAP(X)
#undef X
	};

	return words[code];
}
