/* SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "worker/text/regex.h"

#include <ctype.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "worker/text/unicode.h"

enum { PATTERN_MAX = 65536 };

struct rt_regex {
	pcre2_code *code; /* NULL for a literal */
	char *literal;
	size_t literal_len;
};

void rt_regex_free(struct rt_regex *re)
{
	if (!re)
		return;
	pcre2_code_free(re->code);
	free(re->literal);
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

/* White space as Oniguruma's \s has it: PCRE2's also holds U+180E. And its complement, for use inside a class. */
#define SPACE                                                                                                \
	"\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}" \
	"\\x{3000}"
#define NOT_SPACE                                                                                            \
	"\\x{0}-\\x{8}\\x{E}-\\x{1F}\\x{21}-\\x{84}\\x{86}-\\x{9F}\\x{A1}-\\x{167F}\\x{1681}-\\x{1FFF}\\x{"  \
	"200B}-\\x{2027}"                                                                                    \
	"\\x{202A}-\\x{202E}\\x{2030}-\\x{205E}\\x{2060}-\\x{2FFF}\\x{3001}-\\x{10FFFF}"
/* Alphabetic, marks, decimal digits, connectors */
#define WORD                                                                                                 \
	"\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{" \
	"1F170}-\\x{1F189}"
#define HEX "0-9A-Fa-f"

/* The escape at p[0] == '\\' with something behind it. Returns how many bytes of the pattern it took, or -1. */
static int translate_escape(const char *p, size_t left, bool in_class, struct rt_buf *out, struct rt_err *err)
{
	char c = p[1];
	const char *set = NULL;
	bool inverse = c == 'S' || c == 'W' || c == 'H';

	if (c == 's' || c == 'S')
		set = in_class && inverse ? NOT_SPACE : SPACE;
	else if (c == 'w' || c == 'W')
		set = WORD;
	else if (c == 'h' || c == 'H')
		set = HEX;
	if (set) {
		if (in_class && (c == 'W' || c == 'H'))
			return rt_fail(err, RT_UNSUPPORTED, "\\%c inside a character class is not supported",
				       c);
		if (in_class)
			rt_buf_str(out, set);
		else
			rt_buf_fmt(out, "[%s%s]", inverse ? "^" : "", set);
		return 2;
	}
	if (c == 'd' || c == 'D') {
		rt_buf_str(out, c == 'd' ? "\\p{Nd}" : "\\P{Nd}");
		return 2;
	}
	if (c == 'u') { /* \uHHHH */
		if (left < 6 || !isxdigit((unsigned char)p[2]) || !isxdigit((unsigned char)p[3]) ||
		    !isxdigit((unsigned char)p[4]) || !isxdigit((unsigned char)p[5]))
			return rt_fail(err, RT_INVALID, "\\u needs four hexadecimal digits");
		rt_buf_fmt(out, "\\x{%.4s}", p + 2);
		return 6;
	}
	if (strchr("CcKkgMyYGQE", c) && isalpha((unsigned char)c))
		return rt_fail(err, RT_UNSUPPORTED, "\\%c is not supported", c);
	rt_buf_add(out, p, 2);
	return 2;
}

/* "(?" and what follows: option letters mean something else in Ruby. Returns bytes taken. */
static size_t translate_group(const char *p, size_t left, struct rt_buf *out)
{
	size_t i = 2;

	while (i < left && strchr("imx-", p[i]) && p[i])
		i++;
	if (i == 2 || i == left || (p[i] != ':' && p[i] != ')')) {
		rt_buf_add(out, p, 2);
		return 2;
	}
	for (size_t k = 0; k < i; k++)
		rt_buf_char(out, p[k] == 'm' ? 's' : p[k]); /* Ruby's m lets the dot match a newline */
	return i;
}

int rt_regex_translate(const char *pattern, size_t len, struct rt_buf *out, struct rt_err *err)
{
	bool in_class = false;
	size_t class_start = 0;

	for (size_t i = 0; i < len;) {
		char c = pattern[i];
		size_t left = len - i;

		if (c == '\\' && left >= 2) {
			int took = translate_escape(pattern + i, left, in_class, out, err);

			if (took < 0)
				return -1;
			i += (size_t)took;
			continue;
		}
		if (!in_class && c == '(' && left > 2 && pattern[i + 1] == '?') {
			i += translate_group(pattern + i, left, out);
			continue;
		}
		if (in_class && c == '[' && left > 1 && pattern[i + 1] == ':') {
			const char *end = memmem(pattern + i, left, ":]", 2);

			if (end) {
				rt_buf_add(out, pattern + i, (size_t)(end + 2 - (pattern + i)));
				i += (size_t)(end + 2 - (pattern + i));
				continue;
			}
		}
		if (in_class && (c == '[' || (c == '&' && left > 1 && pattern[i + 1] == '&')))
			return rt_fail(err, RT_UNSUPPORTED,
				       "a character class inside another is not supported");
		if (!in_class && c == '[') {
			in_class = true;
			class_start = i + 1 + (left > 1 && pattern[i + 1] == '^');
		} else if (in_class && c == ']' && i > class_start) {
			in_class = false;
		}
		rt_buf_char(out, c);
		i++;
	}
	return rt_buf_check(out, err);
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
	pcre2_set_max_pattern_length(context, 8 * PATTERN_MAX);
	pcre2_set_parens_nest_limit(context, 100);
	re->code = pcre2_compile((PCRE2_SPTR)rt_buf_text(&text), text.len,
				 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code,
				 &at, context);
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
	if (literal && len > 0) {
		re->literal = malloc(len);
		re->literal_len = len;
		if (!re->literal) {
			rt_fail(err, RT_NO_MEMORY, "no memory for a pattern");
			goto out;
		}
		memcpy(re->literal, pattern, len);
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

	while (n - done >= re->literal_len &&
	       (hit = memmem(s + done, n - done, re->literal, re->literal_len))) {
		size_t at = (size_t)(hit - s);

		if (at > done)
			rt_matches_add(out, done, at, false);
		rt_matches_add(out, at, at + re->literal_len, true);
		done = at + re->literal_len;
	}
	if (done < n)
		rt_matches_add(out, done, n, false);
}

/* One search; JIT's small stack gives up on some texts, the interpreter then goes on. */
static int search(const struct rt_regex *re, const char *s, size_t n, size_t from, pcre2_match_data *data,
		  pcre2_match_context *context)
{
	int rc = pcre2_match(re->code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK, data, context);

	if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
		rc = pcre2_match(re->code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data,
				 context);
	return rc;
}

static int split_pattern(const struct rt_regex *re, const char *s, size_t n, struct rt_matches *out,
			 struct rt_err *err)
{
	pcre2_match_data *data = pcre2_match_data_create(1, NULL);
	pcre2_match_context *context = pcre2_match_context_create(NULL);
	size_t from = 0, done = 0, last_end = SIZE_MAX;
	int found, rc = -1;

	if (!data || !context) {
		rt_fail(err, RT_NO_MEMORY, "no memory to match a regular expression");
		goto out;
	}
	pcre2_set_match_limit(context, 10000000);
	pcre2_set_heap_limit(context, 256 * 1024); /* KiB */
	while (from <= n && (found = search(re, s, n, from, data, context)) != PCRE2_ERROR_NOMATCH) {
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
	if (re->literal) {
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
