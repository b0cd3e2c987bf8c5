/* SPDX-License-Identifier: Apache-2.0 */
#include "server/range.h"

#include <string.h>
#include <strings.h>

/* Digits only, and at most INT64_MAX: a larger number stands for "behind everything". Moves *p on. */
static bool read_number(const char **p, int64_t *ret)
{
	const char *start = *p;
	int64_t v = 0;

	for (; **p >= '0' && **p <= '9'; (*p)++)
		v = v > (INT64_MAX - 9) / 10 ? INT64_MAX : v * 10 + (**p - '0');
	*ret = v;
	return *p > start;
}

enum rt_range rt_range_parse(const char *header, int64_t size, int64_t *ret_start, int64_t *ret_length)
{
	int64_t first = 0, last = INT64_MAX;
	bool has_first, has_last;
	const char *p = header;

	if (!p || strncasecmp(p, "bytes=", 6) != 0)
		return RT_RANGE_WHOLE;
	p += 6;
	has_first = read_number(&p, &first);
	if (*p++ != '-')
		return RT_RANGE_WHOLE;
	has_last = read_number(&p, &last);
	if (*p || (!has_first && !has_last) || (has_first && has_last && last < first))
		return RT_RANGE_WHOLE;
	if (!has_first) { /* the last so many bytes */
		if (last == 0 || size == 0)
			return RT_RANGE_UNSATISFIABLE;
		first = last < size ? size - last : 0;
		last = size - 1;
	} else if (!has_last || last >= size) {
		last = size - 1;
	}
	if (first >= size)
		return RT_RANGE_UNSATISFIABLE;
	*ret_start = first;
	*ret_length = last - first + 1;
	return RT_RANGE_PART;
}

bool rt_etag_listed(const char *header, const char *etag)
{
	size_t n = strlen(etag);

	for (const char *p = header; p && *p;) {
		p += strspn(p, " \t,");
		if (*p == '*')
			return true;
		if (strncmp(p, "W/", 2) == 0)
			p += 2;
		if (strncmp(p, etag, n) == 0 && strchr(" \t,", p[n]))
			return true;
		p += strcspn(p, ",");
	}
	return false;
}
