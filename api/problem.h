/* SPDX-License-Identifier: Apache-2.0 */
/* Problem documents (RFC 9457, application/problem+json), with one entry per wrong field. */
#ifndef RT_API_PROBLEM_H
#define RT_API_PROBLEM_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

/* One wrong field. */
struct rt_problem_item {
	char pointer[160]; /* JSON pointer (RFC 6901) into what was sent: "/temperature"; "" is the whole */
	char detail[512];  /* names the field, the value and what is allowed */
	char suggestion[160]; /* the nearest name or value that is allowed, or "" */
};

/* At most RT_PROBLEM_MAX items are kept; n goes on counting, so that a writer can say how many were left out. */
#define RT_PROBLEM_MAX 64
struct rt_problems {
	size_t n; /* found, not kept */
	struct rt_problem_item items[RT_PROBLEM_MAX];
};

/* Adds one. suggestion may be NULL. */
void rt_problems_add(struct rt_problems *p, const char *pointer, const char *suggestion, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Appends `[{"pointer":…,"detail":…,"suggestion":…},…]`; suggestion is left out when there is none. */
void rt_problems_write(struct rt_buf *out, const struct rt_problems *p);

/* Appends a whole problem document: type (a stable URI reference, "/problems/" + word), title, status, detail,
 * instance, code (the word), request_id, errors. instance, request_id and p may be NULL. */
void rt_problem_write(struct rt_buf *out, enum rt_code code, const char *detail, const char *instance,
		      const char *request_id, const struct rt_problems *p);

/* A short title for a code: "Not found". Static. */
const char *rt_problem_title(enum rt_code code);

/* The word of words[n] nearest to word by edit distance, or NULL if none is near enough to be meant (at most a third of
 * its length and never more than 3 edits; a swap of neighbours is one edit). */
const char *rt_nearest(const char *word, const char *const *words, size_t n);

#endif
