/* SPDX-License-Identifier: Apache-2.0 */
/* The header's JSON is read by hand in two passes: the first checks everything and allocates nothing, so a header cannot
 * make us take more memory than it takes itself; a general parser's tree is ten times the text. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "worker/weights/part.h"

#define HEADER_MAX 100000000u

struct cursor {
	const char *start, *at, *end;
	const char *what; /* the file, for messages */
};

/* What a tensor's object says. */
struct body {
	enum rt_dtype dtype;
	int ndim;
	int64_t shape[RT_TENSOR_DIMS_MAX];
	uint64_t begin, end; /* in the data */
};

/* A tensor while the file is checked: smaller than the text it stands for. */
struct entry {
	uint64_t begin, end;
	uint32_t name; /* in the names block */
	uint32_t body; /* offset in the header */
};

static int bad(const struct cursor *c, struct rt_err *err, const char *why)
{
	return rt_fail(err, RT_INVALID, "%s: the header is not valid at byte %zu: %s", c->what,
		       (size_t)(c->at - c->start) + 8, why);
}

static void skip_space(struct cursor *c)
{
	while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r'))
		c->at++;
}

/* Skips white space, then takes the character if it is there. */
static bool take(struct cursor *c, char want)
{
	skip_space(c);
	if (c->at == c->end || *c->at != want)
		return false;
	c->at++;
	return true;
}

static int hex4(struct cursor *c, unsigned *ret)
{
	unsigned v = 0;

	if (c->end - c->at < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char h = *c->at++;

		v = v << 4;
		if (h >= '0' && h <= '9')
			v |= (unsigned)(h - '0');
		else if ((h | 0x20) >= 'a' && (h | 0x20) <= 'f')
			v |= (unsigned)((h | 0x20) - 'a' + 10);
		else
			return -1;
	}
	*ret = v;
	return 0;
}

/* Behind a backslash. Writes up to 4 bytes and returns their number, or -1. */
static int unescape(struct cursor *c, char out[4])
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *simple;
	unsigned v, low;

	if (c->at == c->end)
		return -1;
	if (*c->at != 'u') {
		simple = *c->at ? strchr(from, *c->at) : NULL;
		if (!simple)
			return -1;
		c->at++;
		out[0] = to[simple - from];
		return 1;
	}
	c->at++;
	if (hex4(c, &v) < 0 || (v >= 0xDC00 && v <= 0xDFFF))
		return -1;
	if (v >= 0xD800 && v <= 0xDBFF) {
		if (c->end - c->at < 2 || c->at[0] != '\\' || c->at[1] != 'u')
			return -1;
		c->at += 2;
		if (hex4(c, &low) < 0 || low < 0xDC00 || low > 0xDFFF)
			return -1;
		v = 0x10000 + ((v - 0xD800) << 10) + (low - 0xDC00);
	}
	if (v < 0x80) {
		out[0] = (char)v;
		return 1;
	}
	if (v < 0x800) {
		out[0] = (char)(0xC0 | v >> 6);
		out[1] = (char)(0x80 | (v & 0x3F));
		return 2;
	}
	if (v < 0x10000) {
		out[0] = (char)(0xE0 | v >> 12);
		out[1] = (char)(0x80 | (v >> 6 & 0x3F));
		out[2] = (char)(0x80 | (v & 0x3F));
		return 3;
	}
	out[0] = (char)(0xF0 | v >> 18);
	out[1] = (char)(0x80 | (v >> 12 & 0x3F));
	out[2] = (char)(0x80 | (v >> 6 & 0x3F));
	out[3] = (char)(0x80 | (v & 0x3F));
	return 4;
}

/* A string. Its first `room` bytes go to out (room 0: none); *ret_len is its whole length without a NUL.
 * U+0000 is refused: names here are C strings. The header's UTF-8 was checked before. */
static int take_string(struct cursor *c, char *out, size_t room, size_t *ret_len, struct rt_err *err)
{
	size_t len = 0;

	if (!take(c, '"'))
		return bad(c, err, "a string is missing");
	for (;;) {
		char piece[4];
		int n = 1;

		if (c->at == c->end)
			return bad(c, err, "a string does not end");
		piece[0] = *c->at++;
		if (piece[0] == '"')
			break;
		if ((unsigned char)piece[0] < 0x20)
			return bad(c, err, "a control character in a string");
		if (piece[0] == '\\') {
			n = unescape(c, piece);
			if (n < 0)
				return bad(c, err, "a broken escape in a string");
			if (n == 1 && piece[0] == '\0')
				return bad(c, err, "U+0000 in a string");
		}
		for (int i = 0; i < n; i++, len++) {
			if (len < room)
				out[len] = piece[i];
		}
	}
	*ret_len = len;
	return 0;
}

static int take_number(struct cursor *c, uint64_t *ret, struct rt_err *err)
{
	uint64_t v = 0;
	const char *first;

	skip_space(c);
	first = c->at;
	while (c->at < c->end && *c->at >= '0' && *c->at <= '9') {
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*c->at - '0'), &v) || v > INT64_MAX)
			return bad(c, err, "a number is too large");
		c->at++;
	}
	if (c->at == first || (*first == '0' && c->at > first + 1) ||
	    (c->at < c->end && strchr(".eE", *c->at) && *c->at))
		return bad(c, err, "a whole number of at least 0 is missing");
	*ret = v;
	return 0;
}

static int take_shape(struct cursor *c, struct body *b, struct rt_err *err)
{
	b->ndim = 0;
	if (!take(c, '['))
		return bad(c, err, "shape is not an array");
	if (take(c, ']'))
		return 0;
	do {
		uint64_t v;

		if (b->ndim == RT_TENSOR_DIMS_MAX)
			return bad(c, err, "a shape has more than 8 dimensions");
		if (take_number(c, &v, err) < 0)
			return -1;
		b->shape[b->ndim++] = (int64_t)v;
	} while (take(c, ','));
	return take(c, ']') ? 0 : bad(c, err, "shape does not end");
}

static int take_offsets(struct cursor *c, struct body *b, struct rt_err *err)
{
	if (!take(c, '['))
		return bad(c, err, "data_offsets is not an array");
	if (take_number(c, &b->begin, err) < 0)
		return -1;
	if (!take(c, ','))
		return bad(c, err, "data_offsets does not hold two numbers");
	if (take_number(c, &b->end, err) < 0)
		return -1;
	return take(c, ']') ? 0 : bad(c, err, "data_offsets does not hold two numbers");
}

static int take_dtype(struct cursor *c, struct body *b, struct rt_err *err)
{
	char word[16];
	size_t len;

	if (take_string(c, word, sizeof word, &len, err) < 0)
		return -1;
	for (int i = 0; i < RT_DTYPE_COUNT; i++) {
		const char *known = rt_dtype_name((enum rt_dtype)i);

		if (strlen(known) == len && memcmp(known, word, len) == 0) {
			b->dtype = (enum rt_dtype)i;
			return 0;
		}
	}
	return bad(c, err, "a dtype that safetensors does not have");
}

static int take_body(struct cursor *c, struct body *b, struct rt_err *err)
{
	static const char *const keys[] = { "dtype", "shape", "data_offsets" };
	unsigned seen = 0;

	if (!take(c, '{'))
		return bad(c, err, "a tensor is not an object");
	do {
		char word[16];
		size_t len, k;

		if (take_string(c, word, sizeof word, &len, err) < 0)
			return -1;
		for (k = 0; k < 3 && (strlen(keys[k]) != len || memcmp(keys[k], word, len) != 0); k++)
			;
		if (k == 3)
			return bad(c, err, "a tensor has a field other than dtype, shape and data_offsets");
		if (seen & 1u << k)
			return bad(c, err, "a tensor has a field twice");
		seen |= 1u << k;
		if (!take(c, ':'))
			return bad(c, err, "':' is missing");
		if ((k == 0 ? take_dtype : k == 1 ? take_shape : take_offsets)(c, b, err) < 0)
			return -1;
	} while (take(c, ','));
	if (!take(c, '}'))
		return bad(c, err, "a tensor's object does not end");
	return seen == 7 ? 0 : bad(c, err, "a tensor lacks dtype, shape or data_offsets");
}

/* Bytes that the shape takes; -1 when that is not a whole number of bytes below 2^63. */
static int body_size(const struct body *b, uint64_t *ret)
{
	uint64_t n = 1;

	for (int i = 0; i < b->ndim; i++) {
		if (__builtin_mul_overflow(n, (uint64_t)b->shape[i], &n))
			return -1;
	}
	if (__builtin_mul_overflow(n, (uint64_t)rt_dtype_bits(b->dtype), &n) || n % 8 != 0)
		return -1;
	*ret = n / 8;
	return 0;
}

static void shape_text(const struct body *b, char out[192])
{
	struct rt_buf text = RT_BUF_INIT;

	for (int i = 0; i < b->ndim; i++)
		rt_buf_fmt(&text, "%s%" PRId64, i ? ", " : "", b->shape[i]);
	snprintf(out, 192, "[%s]", rt_buf_text(&text));
	rt_buf_release(&text);
}

static int check_body(const struct cursor *c, const struct body *b, const char *name, uint64_t data_size,
		      struct rt_err *err)
{
	char shape[192];
	uint64_t size;

	if (b->begin > b->end)
		return rt_fail(err, RT_INVALID,
			       "%s: tensor '%s' ends at byte %" PRIu64
			       " of the data, before its beginning at %" PRIu64,
			       c->what, name, b->end, b->begin);
	if (b->end > data_size)
		return rt_fail(err, RT_INVALID,
			       "%s: tensor '%s' needs bytes %" PRIu64 " to %" PRIu64
			       " of the data, but the file holds only %" PRIu64
			       ": it is cut short, or its header is wrong",
			       c->what, name, b->begin, b->end, data_size);
	if (body_size(b, &size) < 0) {
		shape_text(b, shape);
		return rt_fail(err, RT_INVALID, "%s: tensor '%s' has a size that cannot be: shape %s of %s",
			       c->what, name, shape, rt_dtype_name(b->dtype));
	}
	if (size == b->end - b->begin)
		return 0;
	shape_text(b, shape);
	return rt_fail(err, RT_INVALID,
		       "%s: tensor '%s' takes %" PRIu64 " bytes by its offsets and %" PRIu64
		       " by its shape %s of %s",
		       c->what, name, b->end - b->begin, size, shape, rt_dtype_name(b->dtype));
}

/* {"key": "value"…}: pairs into names when it is not NULL; *ret_pairs counts them. */
static int take_metadata(struct cursor *c, size_t *ret_pairs, char *block, size_t *used, uint32_t *at,
			 struct rt_err *err)
{
	size_t n = 0, len;

	if (!take(c, '{'))
		return bad(c, err, "__metadata__ is not an object");
	if (take(c, '}')) {
		*ret_pairs = 0;
		return 0;
	}
	do {
		for (int half = 0; half < 2; half++) {
			if (half == 1 && !take(c, ':'))
				return bad(c, err, "':' is missing");
			skip_space(c);
			if (half == 1 && (c->at == c->end || *c->at != '"'))
				return bad(c, err, "__metadata__ holds a value that is not a string");
			if (take_string(c, block ? block + *used : NULL, block ? SIZE_MAX : 0, &len, err) < 0)
				return -1;
			if (!block)
				continue;
			at[2 * n + (size_t)half] = (uint32_t)*used;
			*used += len;
			block[(*used)++] = '\0';
		}
		n++;
	} while (take(c, ','));
	*ret_pairs = n;
	return take(c, '}') ? 0 : bad(c, err, "__metadata__ does not end");
}

struct counts {
	size_t tensors, pairs;
	bool metadata;
};

/* Pass one: the whole header's form, and every tensor against the data's size. Allocates nothing. */
static int check_header(struct cursor c, uint64_t data_size, struct counts *ret, struct rt_err *err)
{
	struct counts n = { 0 };

	if (!take(&c, '{'))
		return bad(&c, err, "it does not start with '{'");
	if (!take(&c, '}')) {
		do {
			char name[256], quoted[RT_UTF8_QUOTE_SIZE];
			struct body b;
			size_t len;

			if (take_string(&c, name, sizeof name, &len, err) < 0)
				return -1;
			if (!take(&c, ':'))
				return bad(&c, err, "':' is missing");
			if (len == 12 && memcmp(name, "__metadata__", 12) == 0) {
				if (n.metadata)
					return bad(&c, err, "__metadata__ stands twice");
				n.metadata = true;
				if (take_metadata(&c, &n.pairs, NULL, NULL, NULL, err) < 0)
					return -1;
				continue;
			}
			rt_utf8_quote(name, len < sizeof name ? len : 128, quoted);
			if (take_body(&c, &b, err) < 0)
				return rt_fail_in(err, "tensor '%s'", quoted);
			if (check_body(&c, &b, quoted, data_size, err) < 0)
				return -1;
			n.tensors++;
		} while (take(&c, ','));
		if (!take(&c, '}'))
			return bad(&c, err, "',' or '}' is missing");
	}
	skip_space(&c);
	if (c.at != c.end)
		return bad(&c, err, "something follows the last '}'");
	*ret = n;
	return 0;
}

/* Pass two: entries and names. The header is known to be well formed. */
static int collect(struct cursor c, struct entry *entries, char *block, uint32_t *pairs, struct rt_err *err)
{
	size_t used = 0, i = 0, len, n;
	struct body b;

	take(&c, '{');
	if (take(&c, '}'))
		return 0;
	do {
		size_t at = used;

		if (take_string(&c, block + used, SIZE_MAX, &len, err) < 0)
			return -1;
		take(&c, ':');
		if (len == 12 && memcmp(block + at, "__metadata__", 12) == 0) {
			if (take_metadata(&c, &n, block, &used, pairs, err) < 0)
				return -1;
			continue;
		}
		used += len;
		block[used++] = '\0';
		entries[i].name = (uint32_t)at;
		entries[i].body = (uint32_t)(c.at - c.start);
		if (take_body(&c, &b, err) < 0)
			return -1;
		entries[i].begin = b.begin;
		entries[i++].end = b.end;
	} while (take(&c, ','));
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	return x->end < y->end ? -1 : x->end > y->end;
}

/* The tensors must tile the data: no holes, no overlaps, nothing behind the last. Sorts the entries. */
static int check_tiling(const struct cursor *c, struct entry *entries, size_t n, const char *block,
			uint64_t data_size, struct rt_err *err)
{
	char one[RT_UTF8_QUOTE_SIZE], two[RT_UTF8_QUOTE_SIZE];
	uint64_t at = 0;

	if (n > 0)
		qsort(entries, n, sizeof *entries, by_place);
	for (size_t i = 0; i < n; i++) {
		const char *name = block + entries[i].name;

		rt_utf8_quote(name, strlen(name), one);
		if (entries[i].begin < at) {
			const char *before = block + entries[i - 1].name;

			return rt_fail(err, RT_INVALID,
				       "%s: tensors '%s' and '%s' overlap at byte %" PRIu64 " of the data",
				       c->what, rt_utf8_quote(before, strlen(before), two), one,
				       entries[i].begin);
		}
		if (entries[i].begin > at)
			return rt_fail(err, RT_INVALID,
				       "%s: bytes %" PRIu64 " to %" PRIu64
				       " of the data, before tensor '%s', belong to no tensor",
				       c->what, at, entries[i].begin, one);
		at = entries[i].end;
	}
	if (at != data_size)
		return rt_fail(err, RT_INVALID, "%s: %" PRIu64 " bytes follow the last tensor's data",
			       c->what, data_size - at);
	return 0;
}

static int by_key(const void *a, const void *b, void *block)
{
	return strcmp((const char *)block + ((const uint32_t *)a)[0],
		      (const char *)block + ((const uint32_t *)b)[0]);
}

/* "format" decides how a framework laid out the numbers. A key that stands twice is refused. Sorts the pairs. */
static int read_metadata(const struct cursor *c, uint32_t *pairs, size_t n, char *block, struct rt_weights *w,
			 struct rt_err *err)
{
	if (n > 0)
		qsort_r(pairs, n, 2 * sizeof *pairs, by_key, block);
	for (size_t i = 0; i < n; i++) {
		const char *key = block + pairs[2 * i];
		char quoted[RT_UTF8_QUOTE_SIZE];

		if (i > 0 && strcmp(block + pairs[2 * i - 2], key) == 0)
			return rt_fail(err, RT_INVALID, "%s: __metadata__ has '%s' twice", c->what,
				       rt_utf8_quote(key, strlen(key), quoted));
		if (strcmp(key, "format") != 0)
			continue;
		w->format = strdup(block + pairs[2 * i + 1]);
		if (!w->format)
			return rt_fail(err, RT_NO_MEMORY, "no memory to read %s", c->what);
	}
	return 0;
}

static void fill(struct cursor c, const struct entry *e, const char *block, const unsigned char *data,
		 struct rt_tensor *t)
{
	struct body b = { 0 };

	c.at = c.start + e->body;
	take_body(&c, &b, NULL);
	t->name = block + e->name;
	t->dtype = b.dtype;
	t->ndim = b.ndim;
	memcpy(t->shape, b.shape, sizeof t->shape);
	t->size_bytes = (size_t)(b.end - b.begin);
	t->data = t->size_bytes ? data + b.begin : NULL;
}

int rt_safetensors_parse(const unsigned char *bytes, size_t n, const char *what, struct rt_weights **ret,
			 struct rt_err *err)
{
	struct cursor c = { .what = what };
	struct rt_weights *w = NULL;
	struct entry *entries = NULL;
	uint32_t *pairs = NULL;
	struct counts counts = { 0 };
	const char *twice;
	uint64_t header = 0;
	size_t valid;
	int rc = -1;

	if (rt_weights_is_lfs_pointer(bytes, n))
		return rt_fail(err, RT_INVALID, "%s: " RT_WEIGHTS_LFS_WORDS, what);
	if (n < 8)
		return rt_fail(err, RT_INVALID,
			       "%s: the file has %zu bytes; a safetensors file has at least 10", what, n);
	for (int i = 7; i >= 0; i--)
		header = header << 8 | bytes[i];
	if (header > HEADER_MAX)
		return rt_fail(err, RT_INVALID,
			       "%s: its first 8 bytes announce a header of %" PRIu64
			       " bytes, above the limit of %u: not a safetensors file",
			       what, header, HEADER_MAX);
	if (header > n - 8)
		return rt_fail(err, RT_INVALID,
			       "%s: the header needs %" PRIu64
			       " bytes, but the file ends after %zu of them: it is cut short",
			       what, header, n - 8);
	if (header < 2 || bytes[8] != '{')
		return rt_fail(err, RT_INVALID,
			       "%s: the header does not start with '{': not a safetensors file", what);
	c.start = c.at = (const char *)bytes + 8;
	c.end = c.start + header;
	valid = rt_utf8_valid(c.start, (size_t)header);
	if (valid < header)
		return rt_fail(err, RT_INVALID, "%s: the header is not UTF-8 at byte %zu", what, valid + 8);
	if (check_header(c, n - 8 - header, &counts, err) < 0)
		return -1;

	w = calloc(1, sizeof *w);
	entries = calloc(counts.tensors + 1, sizeof *entries);
	pairs = calloc(2 * counts.pairs + 1, sizeof *pairs);
	/* a string with its quotes is at least as long as its bytes with a NUL */
	if (w)
		w->names = malloc((size_t)header);
	if (!w || !entries || !pairs || !w->names) {
		rt_fail(err, RT_NO_MEMORY, "no memory to read %s", what);
		goto out;
	}
	if (collect(c, entries, w->names, pairs, err) < 0 ||
	    check_tiling(&c, entries, counts.tensors, w->names, n - 8 - header, err) < 0 ||
	    read_metadata(&c, pairs, counts.pairs, w->names, w, err) < 0)
		goto out;
	w->tensors = calloc(counts.tensors + 1, sizeof *w->tensors);
	if (!w->tensors) {
		rt_fail(err, RT_NO_MEMORY, "no memory to read %s", what);
		goto out;
	}
	w->count = counts.tensors;
	for (size_t i = 0; i < w->count; i++)
		fill(c, &entries[i], w->names, bytes + 8 + header, &w->tensors[i]);
	twice = rt_weights_sort(w);
	if (twice) {
		char quoted[RT_UTF8_QUOTE_SIZE];

		rt_fail(err, RT_INVALID, "%s: tensor '%s' stands twice", what,
			rt_utf8_quote(twice, strlen(twice), quoted));
		goto out;
	}
	*ret = w;
	w = NULL;
	rc = 0;
out:
	free(entries);
	free(pairs);
	rt_weights_close(w);
	return rc;
}

int rt_safetensors_open(const char *path, struct rt_weights **ret, struct rt_err *err)
{
	struct rt_map map = { NULL, 0 };
	struct rt_weights *w;

	if (rt_map_open(path, &map, err) < 0)
		return -1;
	if (rt_safetensors_parse(map.data, map.size, path, &w, err) < 0) {
		rt_map_close(&map);
		return -1;
	}
	w->map = map;
	*ret = w;
	return 0;
}
