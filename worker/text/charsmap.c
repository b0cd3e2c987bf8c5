/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/charsmap.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "worker/text/unicode.h"

struct rt_charsmap {
	uint32_t *units;
	size_t unit_count;
	char *texts; /* replacements, each ends with a NUL; one more NUL stands at the end */
	size_t text_bytes;
};

void rt_charsmap_free(struct rt_charsmap *map)
{
	if (!map)
		return;
	free(map->units);
	free(map->texts);
	free(map);
}

int rt_charsmap_new(const unsigned char *bytes, size_t size, struct rt_charsmap **ret, struct rt_err *err)
{
	struct rt_charsmap *map = calloc(1, sizeof *map);
	size_t trie = 0, bad;
	int rc = -1;

	if (!map)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a character map");
	if (size > 0) {
		if (size >= 4)
			trie = (size_t)bytes[0] | (size_t)bytes[1] << 8 | (size_t)bytes[2] << 16 |
			       (size_t)bytes[3] << 24;
		if (size < 4 || trie % 4 != 0 || trie > size - 4) {
			rt_fail(err, RT_INVALID,
				"precompiled_charsmap: a trie of %zu bytes does not fit in %zu", trie, size);
			goto out;
		}
		map->unit_count = trie / 4;
		map->text_bytes = size - 4 - trie;
		map->units = malloc(trie + 4);
		map->texts = calloc(1, map->text_bytes + 1);
		if (!map->units || !map->texts) {
			rt_fail(err, RT_NO_MEMORY, "no memory for a character map");
			goto out;
		}
		for (size_t i = 0; i < map->unit_count; i++) {
			const unsigned char *u = bytes + 4 + 4 * i;

			map->units[i] = (uint32_t)u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 |
					(uint32_t)u[3] << 24;
		}
		memcpy(map->texts, bytes + 4 + trie, map->text_bytes);
		if (!rt_uc_valid(map->texts, map->text_bytes, &bad)) {
			rt_fail(err, RT_INVALID,
				"precompiled_charsmap: the replacements are not UTF-8 at byte %zu", bad);
			goto out;
		}
	}
	*ret = map;
	map = NULL;
	rc = 0;
out:
	rt_charsmap_free(map);
	return rc;
}

void rt_charsmap_describe(const struct rt_charsmap *map, struct rt_buf *out)
{
	if (map->unit_count == 0)
		return;
	rt_buf_fmt(out, "map %zu %zu:", map->unit_count, map->text_bytes);
	rt_buf_add(out, map->units, map->unit_count * sizeof *map->units);
	rt_buf_add(out, map->texts, map->text_bytes);
	rt_buf_char(out, '\n');
}

static int base64_value(char c)
{
	return c >= 'A' && c <= 'Z'   ? c - 'A'
	       : c >= 'a' && c <= 'z' ? c - 'a' + 26
	       : c >= '0' && c <= '9' ? c - '0' + 52
	       : c == '+'	      ? 62
	       : c == '/'	      ? 63
				      : -1;
}

int rt_charsmap_new_base64(const char *text, size_t len, struct rt_charsmap **ret, struct rt_err *err)
{
	unsigned char *bytes = malloc(len + 1);
	uint32_t word = 0;
	size_t n = 0, i = 0;
	int rc;

	if (!bytes)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a character map");
	for (; i < len && text[i] != '='; i++) {
		int v = base64_value(text[i]);

		if (v < 0)
			break;
		word = word << 6 | (uint32_t)v;
		if (i % 4 != 0)
			bytes[n++] = (unsigned char)(word >> (6 - 2 * (i % 4)));
	}
	if (len % 4 != 0 || len - i > 2 || (i < len && (text[i] != '=' || text[len - 1] != '='))) {
		free(bytes);
		return rt_fail(err, RT_INVALID, "precompiled_charsmap is not base64 (character %zu)", i);
	}
	rc = rt_charsmap_new(bytes, n, ret, err);
	free(bytes);
	return rc;
}

static size_t unit_offset(uint32_t unit)
{
	return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* The replacement of the shortest prefix of s that has one, as the reference looks it up; NULL: none. */
static const char *find(const struct rt_charsmap *map, const char *s, size_t n, size_t *ret_len)
{
	size_t node;
	uint32_t unit;

	if (map->unit_count == 0)
		return NULL;
	node = unit_offset(map->units[0]);
	for (size_t i = 0; i < n && s[i]; i++) {
		node ^= (unsigned char)s[i];
		if (node >= map->unit_count)
			return NULL;
		unit = map->units[node];
		if ((unit & (1u << 31 | 0xFF)) != (unsigned char)s[i])
			return NULL;
		node ^= unit_offset(unit);
		if (unit & 1u << 8) {
			size_t at = node < map->unit_count ? map->units[node] & 0x7FFFFFFFu : SIZE_MAX;

			if (at >= map->text_bytes || !rt_uc_is_start(map->texts[at]))
				return NULL;
			*ret_len = strlen(map->texts + at);
			return map->texts + at;
		}
	}
	return NULL;
}

/* The change of old characters into the text: characters more come from nowhere, characters less are dropped by the
 * last one there is (by one of an earlier cluster, when the text is empty: offsets then follow the reference's). */
static void replace(struct rt_changes *changes, size_t old_count, const char *text, size_t len)
{
	size_t count = 0;
	unsigned step;

	for (size_t i = 0; i < len; i += step, count++)
		rt_changes_add(changes, rt_uc_next(text + i, &step), 0);
	for (size_t i = 0; count > old_count && i < count - old_count && !changes->failed; i++)
		changes->list[changes->n - 1 - i].change = 1;
	if (count < old_count && changes->n > 0)
		changes->list[changes->n - 1].change += (int32_t)count - (int32_t)old_count;
}

static size_t cluster_len(const char *s, size_t n)
{
	utf8proc_int32_t state = 0;
	unsigned len;
	uint32_t last = rt_uc_next(s, &len), next;
	size_t end = len;

	if (n > 1 && (unsigned char)s[0] < 0x80 && (unsigned char)s[1] < 0x80)
		return s[0] == '\r' && s[1] == '\n' ? 2 : 1;
	for (; end < n; end += len, last = next) {
		next = rt_uc_next(s + end, &len);
		if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)last, (utf8proc_int32_t)next, &state))
			break;
	}
	return end;
}

bool rt_charsmap_apply(const struct rt_charsmap *map, const char *s, size_t n, size_t most,
		       struct rt_changes *changes)
{
	bool changed = false;
	size_t cluster, len;
	const char *text;

	if (map->unit_count == 0)
		return false;
	/* every change is a byte at least: with more of them than bytes may come out, the text is too long already */
	for (size_t i = 0; i < n && changes->n <= most; i += cluster) {
		unsigned step;

		cluster = cluster_len(s + i, n - i);
		if (cluster < 6) {
			text = find(map, s + i, cluster, &len);
			if (text) {
				changed = true;
				replace(changes, rt_uc_count(s + i, cluster), text, len);
				continue;
			}
		}
		for (size_t k = 0; k < cluster && changes->n <= most; k += step) {
			uint32_t cp = rt_uc_next(s + i + k, &step);

			text = find(map, s + i + k, step, &len);
			if (text) {
				changed = true;
				replace(changes, 1, text, len);
			} else {
				rt_changes_add(changes, cp, 0);
			}
		}
	}
	return changed;
}
