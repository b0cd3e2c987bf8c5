/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

size_t rt_utf8_valid(const char *s, size_t n)
{
	const unsigned char *u = (const unsigned char *)s;
	size_t i = 0;

	while (i < n) {
		unsigned char c = u[i], low = 0x80, high = 0xBF;
		size_t more;

		if (c < 0x80) {
			i++;
			continue;
		}
		if (c < 0xC2 || c > 0xF4)
			return i;
		more = c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
		if (c == 0xE0)
			low = 0xA0; /* shorter forms exist */
		else if (c == 0xED)
			high = 0x9F; /* surrogates */
		else if (c == 0xF0)
			low = 0x90;
		else if (c == 0xF4)
			high = 0x8F; /* above U+10FFFF */
		if (n - i <= more || u[i + 1] < low || u[i + 1] > high)
			return i;
		for (size_t k = 2; k <= more; k++) {
			if ((u[i + k] & 0xC0) != 0x80)
				return i;
		}
		i += more + 1;
	}
	return n;
}

const char *rt_utf8_quote(const char *s, size_t n, char out[RT_UTF8_QUOTE_SIZE])
{
	size_t keep = n <= 80 ? n : 80;

	while (keep < n && keep > 0 && ((unsigned char)s[keep] & 0xC0) == 0x80)
		keep--;
	for (size_t i = 0; i < keep; i++)
		out[i] = (unsigned char)s[i] < 0x20 || s[i] == 0x7F ? '?' : s[i];
	strcpy(out + keep, keep < n ? "…" : "");
	return out;
}
