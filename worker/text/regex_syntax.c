/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns from Oniguruma's (Ruby's) syntax to PCRE2's. What characters a name stands for was asked of the reference,
 * code point by code point: tests/parity/classes.json. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "worker/text/regex.h"

#include <ctype.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

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
/* Outside a class \\w and \\b also take the superscripts and fractions of Latin-1. */
#define WORD_OUTSIDE WORD "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}"
#define HEX	     "0-9A-Fa-f"
/* As of Unicode 16, in the words of 14. */
#define ALPHA                                                                                                \
	"\\p{Alphabetic}\\x{363}-\\x{36F}\\x{C04}\\x{F82}\\x{F83}\\x{1DD3}-\\x{1DE6}\\x{11080}\\x{11081}"
#define LOWER "\\p{Lowercase}\\x{10FC}\\x{A7F2}-\\x{A7F4}\\x{AB69}"
#define GRAPH "\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Cf}\\p{Co}"

/* [:name:] and \p{name}, where PCRE2 knows another set by that name or none. */
static const struct {
	const char *name, *in_brackets, *property; /* NULL: as PCRE2 has it, or unknown */
} named_sets[] = {
	{ "alnum", ALPHA "\\p{Nd}", ALPHA "\\p{Nd}" },
	{ "alpha", ALPHA, ALPHA },
	{ "alphabetic", NULL, ALPHA },
	{ "any", NULL, "\\x{0}-\\x{10FFFF}" },
	{ "ascii", "\\x{0}-\\x{7F}", "\\x{0}-\\x{7F}" },
	{ "blank", "\\p{Zs}\\t", "\\p{Zs}\\t" },
	{ "cntrl", "\\p{Cc}", "\\p{Cc}" },
	{ "digit", "\\p{Nd}", "\\p{Nd}" },
	{ "graph", GRAPH, GRAPH },
	{ "lower", LOWER, LOWER },
	{ "lowercase", NULL, LOWER },
	{ "print", GRAPH "\\p{Zs}", GRAPH "\\p{Zs}" },
	{ "punct", "\\p{P}\\p{S}", "\\p{P}" },
	{ "space", SPACE, SPACE },
	{ "upper", "\\p{Uppercase}", "\\p{Uppercase}" },
	{ "uppercase", NULL, "\\p{Uppercase}" },
	{ "whitespace", NULL, SPACE },
	{ "word", WORD, WORD_OUTSIDE },
	{ "xdigit", HEX, HEX },
};

/* The general categories by their long names, which PCRE2 lacks. */
static const struct {
	const char *name, *category;
} categories[] = {
	{ "letter", "L" },
	{ "mark", "M" },
	{ "number", "N" },
	{ "punctuation", "P" },
	{ "symbol", "S" },
	{ "separator", "Z" },
	{ "other", "C" },
	{ "uppercaseletter", "Lu" },
	{ "lowercaseletter", "Ll" },
	{ "titlecaseletter", "Lt" },
	{ "modifierletter", "Lm" },
	{ "otherletter", "Lo" },
	{ "nonspacingmark", "Mn" },
	{ "spacingmark", "Mc" },
	{ "enclosingmark", "Me" },
	{ "decimalnumber", "Nd" },
	{ "letternumber", "Nl" },
	{ "othernumber", "No" },
	{ "connectorpunctuation", "Pc" },
	{ "dashpunctuation", "Pd" },
	{ "openpunctuation", "Ps" },
	{ "closepunctuation", "Pe" },
	{ "initialpunctuation", "Pi" },
	{ "finalpunctuation", "Pf" },
	{ "otherpunctuation", "Po" },
	{ "mathsymbol", "Sm" },
	{ "currencysymbol", "Sc" },
	{ "modifiersymbol", "Sk" },
	{ "othersymbol", "So" },
	{ "spaceseparator", "Zs" },
	{ "lineseparator", "Zl" },
	{ "paragraphseparator", "Zp" },
	{ "control", "Cc" },
	{ "format", "Cf" },
	{ "surrogate", "Cs" },
	{ "privateuse", "Co" },
	{ "unassigned", "Cn" },
};

enum { PROPERTY_NAME_MAX = 40 };

/* Does PCRE2 know a script by this name? Without "sc:" it would also take the characters that several scripts share. */
static bool is_script(const char *name)
{
	char pattern[PROPERTY_NAME_MAX + 8];
	PCRE2_SIZE at;
	pcre2_code *code;
	int why;

	snprintf(pattern, sizeof pattern, "\\p{sc:%s}", name);
	code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &why, &at, NULL);
	pcre2_code_free(code);
	return code != NULL;
}

/* The set of a property as the inside of a class; false if it is unknown. plain: the name in small letters without
 * spaces, '_' and '-', as names are compared. */
static bool find_property(const char *plain, char *set, size_t size)
{
	char name[PROPERTY_NAME_MAX + 1];

	for (size_t i = 0; i < sizeof named_sets / sizeof *named_sets; i++)
		if (strcmp(named_sets[i].name, plain) == 0 && named_sets[i].property)
			return snprintf(set, size, "%s", named_sets[i].property) > 0;
	for (size_t i = 0; i < sizeof categories / sizeof *categories; i++) {
		const char *short_name = categories[i].category;

		if (strcmp(categories[i].name, plain) == 0 || strcasecmp(short_name, plain) == 0)
			return snprintf(set, size, "\\p{%s}", short_name) > 0;
	}
	snprintf(name, sizeof name, "%s", plain);
	return is_script(name) && snprintf(set, size, "\\p{sc:%s}", name) > 0;
}

/* \p{name}, \p{^name}, \P{name}. Returns how many bytes of the pattern it took, or -1. */
static int translate_property(const char *p, size_t left, bool in_class, struct rt_buf *out,
			      struct rt_err *err)
{
	const char *end = left > 3 && p[2] == '{' ? memchr(p, '}', left) : NULL;
	char plain[PROPERTY_NAME_MAX + 1], set[512];
	bool inverse = p[1] == 'P';
	size_t n = 0;

	if (!end)
		return rt_fail(err, RT_INVALID, "\\%c needs a name in braces", p[1]);
	for (const char *c = p + 3; c < end && n < PROPERTY_NAME_MAX; c++) {
		if (c == p + 3 && *c == '^')
			inverse = !inverse;
		else if (*c != ' ' && *c != '_' && *c != '-')
			plain[n++] = (char)tolower((unsigned char)*c);
	}
	plain[n] = '\0';
	if (!find_property(plain, set, sizeof set))
		return rt_fail(err, RT_UNSUPPORTED, "%.*s is not supported",
			       (int)(end + 1 - p > 60 ? 60 : end + 1 - p), p);
	if (!in_class)
		rt_buf_fmt(out, "[%s%s]", inverse ? "^" : "", set);
	else if (!inverse)
		rt_buf_str(out, set);
	else if (strncmp(set, "\\p{", 3) == 0 && strchr(set, '}')[1] == '\0')
		rt_buf_fmt(out, "\\P%s", set + 2);
	else
		return rt_fail(err, RT_UNSUPPORTED, "%.*s inside a character class is not supported",
			       (int)(end + 1 - p > 60 ? 60 : end + 1 - p), p);
	return (int)(end + 1 - p);
}

/* [:name:] in a class; end is behind it. */
static int translate_bracket(const char *p, const char *end, struct rt_buf *out, struct rt_err *err)
{
	size_t len = (size_t)(end - p) - 4;

	for (size_t i = 0; i < sizeof named_sets / sizeof *named_sets; i++)
		if (named_sets[i].in_brackets && strlen(named_sets[i].name) == len &&
		    memcmp(named_sets[i].name, p + 2, len) == 0) {
			rt_buf_str(out, named_sets[i].in_brackets);
			return 0;
		}
	return rt_fail(err, RT_UNSUPPORTED, "%.*s is not supported", (int)(end - p > 60 ? 60 : end - p), p);
}

/* The escape at p[0] == '\\' with something behind it. Returns how many bytes of the pattern it took, or -1. */
static int translate_escape(const char *p, size_t left, bool in_class, struct rt_buf *out, struct rt_err *err)
{
	char c = p[1];
	const char *set = NULL;
	bool inverse = c == 'S' || c == 'W' || c == 'H';

	if (c == 's' || c == 'S')
		set = in_class && inverse ? NOT_SPACE : SPACE;
	else if (c == 'w' || c == 'W')
		set = in_class ? WORD : WORD_OUTSIDE;
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
	if (c == 'p' || c == 'P')
		return translate_property(p, left, in_class, out, err);
	if (!in_class && (c == 'b' || c == 'B')) { /* PCRE2's words are of other characters */
		rt_buf_str(out, c == 'b' ? "(?:(?<=[" WORD_OUTSIDE "])(?![" WORD_OUTSIDE
					   "])|(?<![" WORD_OUTSIDE "])(?=[" WORD_OUTSIDE "]))"
					 : "(?:(?<=[" WORD_OUTSIDE "])(?=[" WORD_OUTSIDE
					   "])|(?<![" WORD_OUTSIDE "])(?![" WORD_OUTSIDE "]))");
		return 2;
	}
	if (c == 'v') { /* a vertical tab, no more */
		rt_buf_str(out, "\\x{B}");
		return 2;
	}
	if (c == 'u') { /* \uHHHH */
		if (left < 6 || !isxdigit((unsigned char)p[2]) || !isxdigit((unsigned char)p[3]) ||
		    !isxdigit((unsigned char)p[4]) || !isxdigit((unsigned char)p[5]))
			return rt_fail(err, RT_INVALID, "\\u needs four hexadecimal digits");
		rt_buf_fmt(out, "\\x{%.4s}", p + 2);
		return 6;
	}
	if (strchr("CcKkgMyYGQEXO", c) && isalpha((unsigned char)c))
		return rt_fail(err, RT_UNSUPPORTED, "\\%c is not supported", c);
	rt_buf_add(out, p, 2);
	return 2;
}

enum { GROUPS_MAX = 100, REPEAT_MAX = 65535 };

/* A pattern under way. */
struct translation {
	const char *pattern;
	size_t len, at;
	struct rt_buf *out;
	size_t atom; /* where in out the last thing begins that a quantifier may follow */
	size_t groups[GROUPS_MAX], depth; /* where open groups begin in out */
};

/* "(?" and what follows: option letters mean something else in Ruby. */
static void translate_group(struct translation *t)
{
	const char *p = t->pattern + t->at;
	size_t left = t->len - t->at, i = 2;

	while (i < left && strchr("imx-", p[i]) && p[i])
		i++;
	if (i == 2 || i == left || (p[i] != ':' && p[i] != ')'))
		i = 2;
	for (size_t k = 0; k < i; k++)
		rt_buf_char(t->out, p[k] == 'm' ? 's' : p[k]); /* Ruby's m lets the dot match a newline */
	t->at += i;
}

static int open_group(struct translation *t, struct rt_err *err)
{
	if (t->depth == GROUPS_MAX)
		return rt_fail(err, RT_INVALID, "groups are nested more than %d deep", GROUPS_MAX);
	t->groups[t->depth++] = t->out->len;
	if (t->len - t->at > 2 && t->pattern[t->at + 1] == '?') {
		translate_group(t);
	} else {
		rt_buf_char(t->out, '(');
		t->at++;
	}
	return 0;
}

/* A class, from '[' on. */
static int translate_class(struct translation *t, struct rt_err *err)
{
	const char *p = t->pattern;
	size_t first = t->at + 1 + (t->len - t->at > 1 && p[t->at + 1] == '^');

	t->atom = t->out->len;
	rt_buf_add(t->out, p + t->at, first - t->at);
	for (t->at = first; t->at < t->len;) {
		char c = p[t->at];
		size_t left = t->len - t->at;
		const char *end =
			c == '[' && left > 1 && p[t->at + 1] == ':' ? memmem(p + t->at, left, ":]", 2) : NULL;

		if (c == '\\' && left >= 2) {
			int took = translate_escape(p + t->at, left, true, t->out, err);

			if (took < 0)
				return -1;
			t->at += (size_t)took;
			continue;
		}
		if (end) {
			if (translate_bracket(p + t->at, end + 2, t->out, err) < 0)
				return -1;
			t->at = (size_t)(end + 2 - p);
			continue;
		}
		if (c == '[' || (c == '&' && left > 1 && p[t->at + 1] == '&'))
			return rt_fail(err, RT_UNSUPPORTED,
				       "a character class inside another is not supported");
		rt_buf_char(t->out, c);
		t->at++;
		if (c == ']' && t->at - 1 > first)
			return 0;
	}
	return 0; /* without an end; PCRE2 says so */
}

/* Digits at *at, which moves behind them; -1 for none, REPEAT_MAX + 1 for too many. */
static long read_count(const struct translation *t, size_t *at)
{
	long n = -1;

	for (; *at < t->len && isdigit((unsigned char)t->pattern[*at]); ++*at)
		n = n < 0 ? t->pattern[*at] - '0' : n > REPEAT_MAX ? n : n * 10 + (t->pattern[*at] - '0');
	return n;
}

/* The atom becomes a group of its own, so that what follows counts for all of it. */
static void wrap_atom(struct translation *t)
{
	char *data;

	rt_buf_str(t->out, "(?:)");
	if (t->out->failed)
		return;
	data = t->out->data;
	memmove(data + t->atom + 3, data + t->atom, t->out->len - 4 - t->atom);
	memcpy(data + t->atom, "(?:", 3);
	data[t->out->len - 1] = ')';
}

/* {n,m} and its kin. Ruby has {,m}; a '+' behind any of them repeats the whole again, where PCRE2 would not give back, and
 * so does a '?' behind {n}. False if it is no such thing. */
static bool translate_interval(struct translation *t)
{
	size_t at = t->at + 1;
	long least = read_count(t, &at), most = least;
	bool comma = at < t->len && t->pattern[at] == ',';

	if (comma) {
		at++;
		most = read_count(t, &at);
	}
	if (at == t->len || t->pattern[at] != '}' || (least < 0 && most < 0))
		return false;
	if (most < 0)
		rt_buf_fmt(t->out, "{%ld,}", least);
	else if (comma)
		rt_buf_fmt(t->out, "{%ld,%ld}", least < 0 ? 0 : least, most);
	else
		rt_buf_fmt(t->out, "{%ld}", least);
	t->at = at + 1;
	if (t->at < t->len && (t->pattern[t->at] == '+' || (!comma && t->pattern[t->at] == '?')))
		wrap_atom(t);
	return true;
}

/* What is not in a class. */
static int translate_one(struct translation *t, struct rt_err *err)
{
	const char *p = t->pattern + t->at;
	size_t left = t->len - t->at;
	int took;

	switch (*p) {
	case '\\':
		if (left < 2)
			break;
		t->atom = t->out->len;
		took = translate_escape(p, left, false, t->out, err);
		t->at += took > 0 ? (size_t)took : 0;
		return took < 0 ? -1 : 0;
	case '[':
		return translate_class(t, err);
	case '(':
		return open_group(t, err);
	case ')':
		t->atom = t->depth > 0 ? t->groups[--t->depth] : t->out->len;
		break;
	case '{':
		if (translate_interval(t))
			return 0;
		t->atom = t->out->len;
		break;
	case '*':
	case '+':
	case '?':
		break;
	default:
		if (((unsigned char)*p & 0xC0) != 0x80) /* not inside a character */
			t->atom = t->out->len;
		break;
	}
	rt_buf_char(t->out, *p);
	t->at++;
	return 0;
}

int rt_regex_translate(const char *pattern, size_t len, struct rt_buf *out, struct rt_err *err)
{
	struct translation t = { .pattern = pattern, .len = len, .out = out };

	while (t.at < len) {
		if (translate_one(&t, err) < 0)
			return -1;
		/* some names stand for hundreds of bytes: PCRE2 would refuse so long a pattern anyway */
		if (out->len > RT_REGEX_TRANSLATED_MAX)
			return rt_fail(err, RT_TOO_LARGE, "a regular expression of %zu bytes is too long",
				       len);
	}
	return rt_buf_check(out, err);
}
