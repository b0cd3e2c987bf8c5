/* SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "worker/text/regex.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/text/unicode.h"

enum { PATTERN_MAX = 65536 };

struct rt_regex {
	pcre2_code *code; /* NULL for a literal */
	char *text;	  /* as given */
	size_t len;
};

void rt_regex_free(struct rt_regex *re)
{
	if (!re)
		return;
	pcre2_code_free(re->code);
	free(re->text);
	free(re);
}

void rt_matches_add(struct rt_matches *m, size_t first, size_t end, bool is_match)
{
	if (m->n == m->cap && !m->failed) {
		size_t cap = m->cap ? m->cap * 2 : 64;
		struct rt_match *list = realloc(m->list, cap * sizeof *list);

		if (list) {
			m->list = list;
			m->cap = cap;
		} else {
			m->failed = true;
		}
	}
	if (!m->failed)
		m->list[m->n++] = (struct rt_match){ first, end, is_match };
}

static int compile(struct rt_regex *re, const char *pattern, size_t len, struct rt_err *err)
{
	struct rt_buf text = RT_BUF_INIT;
	pcre2_compile_context *context = NULL;
	PCRE2_SIZE at;
	int code, rc = -1;

	if (rt_regex_translate(pattern, len, &text, err) < 0)
		goto out;
	context = pcre2_compile_context_create(NULL);
	if (!context) {
		rt_fail(err, RT_NO_MEMORY, "no memory for a regular expression");
		goto out;
	}
	pcre2_set_newline(context, PCRE2_NEWLINE_LF);
	pcre2_set_max_pattern_length(context, 2 * RT_REGEX_TRANSLATED_MAX);
	pcre2_set_parens_nest_limit(context, 100);
	re->code = pcre2_compile((PCRE2_SPTR)rt_buf_text(&text), text.len,
				 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C |
					 PCRE2_USE_OFFSET_LIMIT,
				 &code, &at, context);
	if (!re->code) {
		PCRE2_UCHAR why[200];

		pcre2_get_error_message(code, why, sizeof why);
		rt_fail(err, RT_INVALID, "%s at character %zu", (const char *)why, (size_t)at);
		goto out;
	}
	pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE); /* without JIT it is slower, not wrong */
	rc = 0;
out:
	pcre2_compile_context_free(context);
	rt_buf_release(&text);
	return rc;
}

int rt_regex_new(const char *pattern, size_t len, bool literal, struct rt_regex **ret, struct rt_err *err)
{
	struct rt_regex *re = calloc(1, sizeof *re);
	int rc = -1;

	if (!re)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a regular expression");
	re->text = malloc(len + 1);
	re->len = len;
	if (!re->text) {
		rt_fail(err, RT_NO_MEMORY, "no memory for a pattern");
		goto out;
	}
	if (len > 0)
		memcpy(re->text, pattern, len);
	if (literal && len > 0) {
		/* found as it is; the empty one is a regular expression */
	} else if (len > PATTERN_MAX) {
		rt_fail(err, RT_TOO_LARGE, "a regular expression of %zu bytes is too long", len);
		goto out;
	} else if (compile(re, pattern, len, err) < 0) {
		rt_fail_in(err, "the regular expression '%.*s'", len > 120 ? 120 : (int)len, pattern);
		goto out;
	}
	*ret = re;
	re = NULL;
	rc = 0;
out:
	rt_regex_free(re);
	return rc;
}

void rt_regex_describe(const struct rt_regex *re, struct rt_buf *out)
{
	rt_buf_fmt(out, "%s %zu:", re->code ? "regex" : "string", re->len);
	rt_buf_add(out, re->text, re->len);
}

static const struct rt_uc_stand_in *find_newer(uint32_t cp)
{
	size_t low = 0, high = rt_uc_newer.n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (cp > rt_uc_newer.runs[mid].last)
			low = mid + 1;
		else if (cp < rt_uc_newer.runs[mid].first)
			high = mid;
		else
			return &rt_uc_newer.runs[mid];
	}
	return NULL;
}

/* A copy of s in which characters that an old PCRE2 does not know are ones of the same kind and length that it does;
 * NULL when there are none (or no memory: *ret_failed). */
static char *with_stand_ins(const char *s, size_t n, bool *ret_failed)
{
	char *copy = NULL;
	unsigned len;

	*ret_failed = false;
	for (size_t i = 0; i < n; i += len) {
		const struct rt_uc_stand_in *newer;
		uint32_t cp = rt_uc_next(s + i, &len);

		if (cp < 0x800)
			continue;
		newer = find_newer(cp);
		if (!newer)
			continue;
		if (!copy) {
			copy = malloc(n);
			if (!copy) {
				*ret_failed = true;
				return NULL;
			}
			memcpy(copy, s, n);
		}
		rt_uc_put(copy + i, newer->instead);
	}
	return copy;
}

static void split_literal(const struct rt_regex *re, const char *s, size_t n, struct rt_matches *out)
{
	size_t done = 0;
	const char *hit;

	while (n - done >= re->len && (hit = memmem(s + done, n - done, re->text, re->len))) {
		size_t at = (size_t)(hit - s);

		if (at > done)
			rt_matches_add(out, done, at, false);
		rt_matches_add(out, at, at + re->len, true);
		done = at + re->len;
	}
	if (done < n)
		rt_matches_add(out, done, n, false);
}

/* PCRE2's own limit is for one place where a match may begin. With many places, each just below it, a text of a megabyte
 * would take hours: the time of all together has a limit too. */
struct patience {
	unsigned searches;
	double most_s, until_s; /* of this thread's CPU; until_s 0: not asked yet */
};
enum { SEARCHES = 64, PLACES = 512 }; /* between two looks at the clock */

static bool is_late(struct patience *p)
{
	struct timespec t;
	double now_s;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	now_s = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
	if (p->until_s == 0)
		p->until_s = now_s + p->most_s;
	return now_s > p->until_s;
}

/* One search, a few thousand places at a time; JIT's small stack gives up on some texts, the interpreter then goes on. */
static int search(const struct rt_regex *re, const char *s, size_t n, size_t from, pcre2_match_data *data,
		  pcre2_match_context *context, struct patience *p)
{
	if (++p->searches % SEARCHES == 0 && is_late(p))
		return PCRE2_ERROR_MATCHLIMIT;
	for (;;) {
		size_t last = n - from > PLACES ? from + PLACES : n;
		int rc;

		while (last < n && !rt_uc_is_start(s[last]))
			last++;
		pcre2_set_offset_limit(context, last < n ? last : PCRE2_UNSET);
		rc = pcre2_match(re->code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK, data, context);
		if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
			rc = pcre2_match(re->code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
					 data, context);
		if (rc != PCRE2_ERROR_NOMATCH || last == n)
			return rc;
		if (is_late(p))
			return PCRE2_ERROR_MATCHLIMIT;
		from = last;
	}
}

static int split_pattern(const struct rt_regex *re, const char *s, size_t n, struct rt_matches *out,
			 struct rt_err *err)
{
	pcre2_match_data *data = pcre2_match_data_create(1, NULL);
	pcre2_match_context *context = pcre2_match_context_create(NULL);
	size_t from = 0, done = 0, last_end = SIZE_MAX;
	struct patience patience = { .most_s =
					     2 + (double)n * 1e-6 }; /* ten times what patterns in use need */
	int found, rc = -1;

	if (!data || !context) {
		rt_fail(err, RT_NO_MEMORY, "no memory to match a regular expression");
		goto out;
	}
	pcre2_set_match_limit(context, 10000000);
	pcre2_set_heap_limit(context, 256 * 1024); /* KiB */
	while (from <= n &&
	       (found = search(re, s, n, from, data, context, &patience)) != PCRE2_ERROR_NOMATCH) {
		const PCRE2_SIZE *range = pcre2_get_ovector_pointer(data);
		size_t first = range[0], end = range[1];
		unsigned len;

		if (found < 0) {
			rt_fail(err, RT_UNPROCESSABLE,
				"a regular expression of the tokenizer gave up on a text of %zu bytes", n);
			goto out;
		}
		if (first > end) { /* \K in a lookahead */
			rt_fail(err, RT_UNSUPPORTED,
				"a regular expression of the tokenizer ends before it starts");
			goto out;
		}
		if (first == end && end == last_end) { /* an empty match right behind the last: not again */
			if (from >= n)
				break;
			rt_uc_next(s + from, &len);
			from += len;
			continue;
		}
		if (first > done)
			rt_matches_add(out, done, first, false);
		rt_matches_add(out, first, end, true);
		from = done = last_end = end;
	}
	if (done < n)
		rt_matches_add(out, done, n, false);
	rc = 0;
out:
	pcre2_match_data_free(data);
	pcre2_match_context_free(context);
	return rc;
}

int rt_regex_split(const struct rt_regex *re, const char *s, size_t n, struct rt_matches *out,
		   struct rt_err *err)
{
	bool failed = false;
	char *copy = NULL;
	int rc = 0;

	out->n = 0;
	if (n == 0)
		return 0;
	if (!re->code) {
		split_literal(re, s, n, out);
	} else {
		if (!rt_uc_ascii(s, n))
			copy = with_stand_ins(s, n, &failed);
		if (!failed)
			rc = split_pattern(re, copy ? copy : s, n, out, err);
		free(copy);
	}
	if (failed || out->failed)
		return rt_fail(err, RT_NO_MEMORY, "no memory to split a text");
	return rc;
}
