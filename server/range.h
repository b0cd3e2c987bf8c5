/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges and entity tags of HTTP (RFC 9110, sections 13 and 14). Pure. */
#ifndef RT_SERVER_RANGE_H
#define RT_SERVER_RANGE_H

#include <stdbool.h>
#include <stdint.h>

enum rt_range {
	RT_RANGE_WHOLE, /* no range, or one that is to be ignored: several, another unit, nonsense */
	RT_RANGE_PART,
	RT_RANGE_UNSATISFIABLE, /* it begins behind the end */
};

/* Reads a Range header (NULL: none) for something of size bytes. */
enum rt_range rt_range_parse(const char *header, int64_t size, int64_t *ret_start, int64_t *ret_length);

/* Whether a list of entity tags (If-None-Match) holds etag (with its quotes), or is "*". Weak ones count. */
bool rt_etag_listed(const char *header, const char *etag);

#endif
