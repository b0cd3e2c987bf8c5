/* SPDX-License-Identifier: Apache-2.0 */
/* Regular expressions of tokenizer.json files, in Oniguruma's (Ruby's) syntax, run by PCRE2. Where the two differ in
 * meaning the pattern is translated; what cannot be is RT_UNSUPPORTED. Thread-safe once made. */
#ifndef RT_TEXT_REGEX_H
#define RT_TEXT_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct rt_regex;

struct rt_match {
	size_t first, end;
	bool is_match; /* false: text between two matches */
};
struct rt_matches {
	struct rt_match *list;
	size_t n, cap;
	bool failed;
};

/* *ret: new, rt_regex_free. literal: the pattern is a plain string. */
int rt_regex_new(const char *pattern, size_t len, bool literal, struct rt_regex **ret, struct rt_err *err);
void rt_regex_free(struct rt_regex *re);
/* Appends the pattern as it was given, and whether it is a plain string; for a fingerprint. */
void rt_regex_describe(const struct rt_regex *re, struct rt_buf *out);
/* Writes all matches and what lies between them, in order, to out (whose old content is forgotten). */
int rt_regex_split(const struct rt_regex *re, const char *s, size_t n, struct rt_matches *out,
		   struct rt_err *err);

void rt_matches_add(struct rt_matches *m, size_t first, size_t end, bool is_match);
#define RT_REGEX_TRANSLATED_MAX ((size_t)512 << 10)
/* The pattern in PCRE2's words; for tests. */
int rt_regex_translate(const char *pattern, size_t len, struct rt_buf *out, struct rt_err *err);

#endif
