/* SPDX-License-Identifier: Apache-2.0 */
/* What characters are, as the reference's parts see them, and UTF-8. The tables are made by unicode_tables.py; the
 * versions of Unicode behind them are explained in tokenizer.h. */
#ifndef RT_TEXT_UNICODE_H
#define RT_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rt_uc_range {
	uint32_t first, last;
};
struct rt_uc_set {
	const struct rt_uc_range *ranges; /* ascending, disjoint */
	size_t n;
};
struct rt_uc_case {
	uint32_t first, last, stride;
	int32_t delta;
};
struct rt_uc_cases {
	const struct rt_uc_case *runs;
	size_t n;
};
struct rt_uc_stand_in {
	uint32_t first, last, instead;
};
struct rt_uc_stand_ins {
	const struct rt_uc_stand_in *runs;
	size_t n;
};

extern const struct rt_uc_set rt_uc_white;	/* white space */
extern const struct rt_uc_set rt_uc_letter;	/* \p{L} */
extern const struct rt_uc_set rt_uc_number;	/* \p{N} */
extern const struct rt_uc_set rt_uc_word;	/* \w */
extern const struct rt_uc_set rt_uc_numeric;	/* what Digits splits */
extern const struct rt_uc_set rt_uc_punct;	/* what BERT's pre-tokenizer and Punctuation split */
extern const struct rt_uc_set rt_uc_control;	/* what BERT's clean_text drops */
extern const struct rt_uc_set rt_uc_nonspacing; /* what BERT's strip_accents drops */
extern const struct rt_uc_set rt_uc_accent;	/* what StripAccents drops */
extern const struct rt_uc_set rt_uc_unnormal; /* without decomposition and combining class in the reference */
extern const struct rt_uc_cases rt_uc_lower_cases;
extern const struct rt_uc_stand_ins rt_uc_newer; /* newer than Unicode 14 */

bool rt_uc_in(const struct rt_uc_set *set, uint32_t cp);
/* Lower case of one character: 1 code point, or 2 for U+0130. */
int rt_uc_lower(uint32_t cp, uint32_t ret[2]);

/* Next character at s; *ret_len is 1 to 4. Only for text that rt_uc_valid has passed. */
uint32_t rt_uc_next(const char *s, unsigned *ret_len);
unsigned rt_uc_len(uint32_t cp);			    /* bytes in UTF-8 */
unsigned rt_uc_put(char *out, uint32_t cp);		    /* writes 1 to 4 bytes and returns how many */
bool rt_uc_valid(const char *s, size_t n, size_t *ret_bad); /* ret_bad: where it breaks, only when false */
bool rt_uc_ascii(const char *s, size_t n);
size_t rt_uc_count(const char *s, size_t n); /* code points of valid text */

static inline bool rt_uc_is_start(char c) /* not a continuation byte */
{
	return ((unsigned char)c & 0xC0) != 0x80;
}

#endif
