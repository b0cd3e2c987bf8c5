/* SPDX-License-Identifier: Apache-2.0 */
/* Errors: what failed, in one sentence for the person who asked, and a code for the caller to act on.
 * A struct rt_err lives on the stack and is never freed. Functions return 0 or -1 and fill it on -1.
 * One table holds code, HTTP status and the word used in JSON; nothing else maps errors. */
#ifndef RT_BASE_ERR_H
#define RT_BASE_ERR_H

#include <stdbool.h>

#define RT_ERR_MAP(X)                                                                                        \
	X(OK, 200, "ok")                                                                                     \
	X(INVALID, 400, "invalid")                                                                           \
	X(UNAUTHORIZED, 401, "unauthorized")                                                                 \
	X(FORBIDDEN, 403, "forbidden")                                                                       \
	X(NOT_FOUND, 404, "not_found")                                                                       \
	X(METHOD, 405, "method_not_allowed")                                                                 \
	X(CONFLICT, 409, "conflict")                                                                         \
	X(GONE, 410, "gone")                                                                                 \
	X(PRECONDITION, 412, "precondition_failed")                                                          \
	X(TOO_LARGE, 413, "too_large")                                                                       \
	X(MEDIA, 415, "unsupported_media_type")                                                              \
	X(RANGE, 416, "range_not_satisfiable")                                                               \
	X(UNPROCESSABLE, 422, "unprocessable")                                                               \
	X(DIVERGED, 422, "diverged")                                                                         \
	X(CANCELLED, 409, "cancelled")                                                                       \
	X(NO_MEMORY, 503, "no_memory")                                                                       \
	X(UNAVAILABLE, 503, "unavailable")                                                                   \
	X(DISK_FULL, 507, "disk_full")                                                                       \
	X(UNSUPPORTED, 422, "unsupported")                                                                   \
	X(IO, 500, "io")                                                                                     \
	X(INTERNAL, 500, "internal")

enum rt_code {
#define X(name, http, word) RT_##name,
	RT_ERR_MAP(X)
#undef X
};

struct rt_err {
	enum rt_code code; /* RT_OK until a call fails */
	char msg[512];	   /* one English sentence for the person who made the request */
};

#define RT_ERR_INIT                                                                                          \
	{                                                                                                    \
		RT_OK, ""                                                                                    \
	}

/* Fills err and returns -1, so callers write `return rt_fail(...)`. err may be NULL.
 * A message that does not fit is cut at a character's edge and ends in an ellipsis. Bytes that are not UTF-8 become '?'. */
int rt_fail(struct rt_err *err, enum rt_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "fmt: " before the message already there; keeps the code. Returns -1. */
int rt_fail_in(struct rt_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* rt_fail with the reason of an errno value behind the message. ENOENT becomes RT_NOT_FOUND, ENOMEM
 * RT_NO_MEMORY, ENOSPC and EDQUOT RT_DISK_FULL, EACCES and EPERM RT_FORBIDDEN, all others RT_IO. */
int rt_fail_errno(struct rt_err *err, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Is it something that the person who asked can put right (a value, a file, a state), and not the machine's trouble? */
bool rt_code_is_input(enum rt_code code);
int rt_code_http(enum rt_code code);
const char *rt_code_word(enum rt_code code); /* static */

#endif
