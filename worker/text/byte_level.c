/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/byte_level.h"

#include "worker/text/unicode.h"

enum class { OTHER, LETTER, NUMBER, SPACE };

static enum class class_of(uint32_t cp) {
	if (cp < 0x80){ if ((cp | 32) >= 'a' && (cp | 32) <= 'z') return LETTER;
			if (cp >= '0' && cp <= '9') return NUMBER;
			return cp == ' ' || (cp >= 9 && cp <= 13) ? SPACE : OTHER; }
return rt_uc_in(&rt_uc_letter, cp)   ? LETTER
       : rt_uc_in(&rt_uc_number, cp) ? NUMBER
       : rt_uc_in(&rt_uc_white, cp)  ? SPACE
				     : OTHER;
}

/* The end of the run of one class that begins at from. */
static size_t run_end(const char *s, size_t n, size_t from, enum class class)
{
	unsigned len;

	while (from < n && class_of(rt_uc_next(s + from, &len)) == class)
		from += len;
	return from;
}

static size_t contraction(const char *s, size_t left)
{
	char a = left > 1 ? s[1] : 0, b = left > 2 ? s[2] : 0;

	if (a == 's' || a == 't' || a == 'm' || a == 'd')
		return 2;
	return (b == 'e' && (a == 'r' || a == 'v')) || (a == 'l' && b == 'l') ? 3 : 0;
}

size_t rt_byte_level_word(const char *s, size_t n, size_t from)
{
	size_t start = from + (s[from] == ' '), end, last;
	enum class class = SPACE;
	unsigned len;

	if (s[from] == '\'' && contraction(s + from, n - from))
		return from + contraction(s + from, n - from);
	if (start < n)
		class = class_of(rt_uc_next(s + start, &len));
	if (class != SPACE)
		return run_end(s, n, start, class);
	end = run_end(s, n, from, SPACE);
	if (end == n)
		return end;
	last = end - 1; /* the last space goes with what follows, if it is not the only one */
	while (!rt_uc_is_start(s[last]))
		last--;
	return last > from ? last : end;
}
