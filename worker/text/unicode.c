/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/unicode.h"

#include <string.h>

bool rt_uc_in(const struct rt_uc_set *set, uint32_t cp)
{
	size_t low = 0, high = set->n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (cp > set->ranges[mid].last)
			low = mid + 1;
		else if (cp < set->ranges[mid].first)
			high = mid;
		else
			return true;
	}
	return false;
}

int rt_uc_lower(uint32_t cp, uint32_t ret[2])
{
	size_t low = 0, high = rt_uc_lower_cases.n;

	ret[0] = cp;
	if (cp < 0x80) {
		if (cp >= 'A' && cp <= 'Z')
			ret[0] = cp + 32;
		return 1;
	}
	if (cp == 0x130) {
		ret[0] = 'i';
		ret[1] = 0x307;
		return 2;
	}
	while (low < high) {
		size_t mid = (low + high) / 2;
		const struct rt_uc_case *run = &rt_uc_lower_cases.runs[mid];

		if (cp > run->last)
			low = mid + 1;
		else if (cp < run->first)
			high = mid;
		else {
			if ((cp - run->first) % run->stride == 0)
				ret[0] = (uint32_t)((int32_t)cp + run->delta);
			break;
		}
	}
	return 1;
}

uint32_t rt_uc_next(const char *s, unsigned *ret_len)
{
	const unsigned char *p = (const unsigned char *)s;

	if (p[0] < 0x80) {
		*ret_len = 1;
		return p[0];
	}
	if (p[0] < 0xE0) {
		*ret_len = 2;
		return (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
	}
	if (p[0] < 0xF0) {
		*ret_len = 3;
		return (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
	}
	*ret_len = 4;
	return (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
}

unsigned rt_uc_len(uint32_t cp)
{
	return cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
}

unsigned rt_uc_put(char *out, uint32_t cp)
{
	unsigned len = rt_uc_len(cp);

	switch (len) {
	case 1:
		out[0] = (char)cp;
		break;
	case 2:
		out[0] = (char)(0xC0 | cp >> 6);
		break;
	case 3:
		out[0] = (char)(0xE0 | cp >> 12);
		break;
	default:
		out[0] = (char)(0xF0 | cp >> 18);
		break;
	}
	for (unsigned i = 1; i < len; i++)
		out[i] = (char)(0x80 | (cp >> 6 * (len - 1 - i) & 0x3F));
	return len;
}

bool rt_uc_valid(const char *s, size_t n, size_t *ret_bad)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t i = 0;

	while (i < n) {
		unsigned char c = p[i];
		unsigned len = c < 0x80 ? 1 : c < 0xC2 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 0;
		bool ok = len > 0 && n - i >= len;

		for (unsigned k = 1; ok && k < len; k++)
			ok = (p[i + k] & 0xC0) == 0x80;
		/* overlong forms, surrogates, beyond U+10FFFF */
		if (ok && len == 3)
			ok = !(c == 0xE0 && p[i + 1] < 0xA0) && !(c == 0xED && p[i + 1] >= 0xA0);
		if (ok && len == 4)
			ok = !(c == 0xF0 && p[i + 1] < 0x90) && !(c == 0xF4 && p[i + 1] >= 0x90);
		if (!ok) {
			*ret_bad = i;
			return false;
		}
		i += len;
	}
	return true;
}

bool rt_uc_ascii(const char *s, size_t n)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8) {
		uint64_t word;

		memcpy(&word, s + i, 8);
		if (word & 0x8080808080808080u)
			return false;
	}
	for (; i < n; i++)
		if ((unsigned char)s[i] >= 0x80)
			return false;
	return true;
}

size_t rt_uc_count(const char *s, size_t n)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += rt_uc_is_start(s[i]);
	return count;
}
