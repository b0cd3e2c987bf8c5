/* SPDX-License-Identifier: Apache-2.0 */
/* Layout: local header and data of each entry, then the central directory, then (zip64) a second end record with its
 * locator, then the end record and a comment. Only the central directory is believed; a local header is looked at for
 * the length of what stands before its data, and must carry the same name. */
#include "worker/weights/zip.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define LOCAL_SIG     0x04034b50u
#define CENTRAL_SIG   0x02014b50u
#define END_SIG	      0x06054b50u
#define END64_SIG     0x06064b50u
#define LOCATOR64_SIG 0x07064b50u

enum {
	LOCAL_SIZE = 30,
	CENTRAL_SIZE = 46,
	END_SIZE = 22,
	END64_SIZE = 56,
	LOCATOR64_SIZE = 20,
	COMMENT_MAX = 65535,
	FLAG_ENCRYPTED = 1,
	NAME_MAX_BYTES = 1024,
};

struct directory {
	uint64_t start, size, count;
	size_t limit; /* where the end records begin: all else lies before it */
};

static uint64_t get(const unsigned char *p, int bytes)
{
	uint64_t v = 0;

	for (int i = bytes - 1; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

/* Where the end record starts; n when there is none. Its comment must reach to the file's end exactly. */
static size_t find_end(const unsigned char *bytes, size_t n)
{
	size_t lowest = n > END_SIZE + COMMENT_MAX ? n - END_SIZE - COMMENT_MAX : 0;

	if (n < END_SIZE)
		return n;
	for (size_t at = n - END_SIZE + 1; at-- > lowest;) {
		if (get(bytes + at, 4) == END_SIG && get(bytes + at + 20, 2) == n - at - END_SIZE)
			return at;
	}
	return n;
}

static int find_directory(const unsigned char *bytes, size_t n, struct directory *ret, struct rt_err *err)
{
	size_t end = find_end(bytes, n);
	const unsigned char *p = bytes + end;
	struct directory d;

	if (end == n)
		return rt_fail(
			err, RT_INVALID,
			"the zip file has no directory at its end: it is cut short (download it again)");
	if (get(p + 4, 2) != 0 || get(p + 6, 2) != 0 || get(p + 8, 2) != get(p + 10, 2))
		return rt_fail(err, RT_UNSUPPORTED, "the zip file is one part of a split archive");
	d.count = get(p + 10, 2);
	d.size = get(p + 12, 4);
	d.start = get(p + 16, 4);
	d.limit = end;
	if (end >= LOCATOR64_SIZE && get(p - LOCATOR64_SIZE, 4) == LOCATOR64_SIG) {
		uint64_t at = get(p - LOCATOR64_SIZE + 8, 8);

		if (at > end - LOCATOR64_SIZE || end - LOCATOR64_SIZE - at < END64_SIZE ||
		    get(bytes + at, 4) != END64_SIG)
			return rt_fail(err, RT_INVALID,
				       "the zip file's zip64 end record is not where its locator says (byte "
				       "%" PRIu64 ")",
				       at);
		p = bytes + at;
		if (get(p + 16, 4) != 0 || get(p + 20, 4) != 0 || get(p + 24, 8) != get(p + 32, 8))
			return rt_fail(err, RT_UNSUPPORTED, "the zip file is one part of a split archive");
		d.count = get(p + 32, 8);
		d.size = get(p + 40, 8);
		d.start = get(p + 48, 8);
		d.limit = (size_t)at;
	}
	if (d.start > d.limit || d.size > d.limit - d.start)
		return rt_fail(err, RT_INVALID,
			       "the zip file's directory needs %" PRIu64 " bytes at byte %" PRIu64
			       ", but its end record stands at byte %zu",
			       d.size, d.start, d.limit);
	if (d.count > d.size / CENTRAL_SIZE)
		return rt_fail(err, RT_INVALID,
			       "the zip file announces %" PRIu64 " entries in a directory of %" PRIu64
			       " bytes",
			       d.count, d.size);
	*ret = d;
	return 0;
}

/* Fields that are all ones stand in the zip64 extra field instead, in this order: size, packed size, offset. */
static int read_zip64(const unsigned char *extra, size_t extra_len, uint64_t *fields[], size_t n)
{
	size_t wanted = 0;

	for (size_t i = 0; i < n; i++)
		wanted += *fields[i] == UINT32_MAX;
	if (wanted == 0)
		return 0;
	while (extra_len >= 4) {
		size_t len = (size_t)get(extra + 2, 2);

		if (len > extra_len - 4)
			return -1;
		if (get(extra, 2) != 1) {
			extra += 4 + len;
			extra_len -= 4 + len;
			continue;
		}
		if (len < 8 * wanted)
			return -1;
		extra += 4;
		for (size_t i = 0; i < n; i++) {
			if (*fields[i] != UINT32_MAX)
				continue;
			*fields[i] = get(extra, 8);
			extra += 8;
		}
		return 0;
	}
	return -1;
}

/* What stands before the data: the local header, whose own lengths count. */
static int find_data(const unsigned char *bytes, size_t limit, uint64_t offset, uint64_t size,
		     const char *quoted, struct rt_zip_entry *e, struct rt_err *err)
{
	size_t before;

	if (offset > limit || limit - offset < LOCAL_SIZE || get(bytes + offset, 4) != LOCAL_SIG)
		return rt_fail(err, RT_INVALID, "the zip entry '%s' has no header at byte %" PRIu64, quoted,
			       offset);
	before = (size_t)(LOCAL_SIZE + get(bytes + offset + 26, 2) + get(bytes + offset + 28, 2));
	if (before > limit - offset || size > limit - offset - before)
		return rt_fail(err, RT_INVALID,
			       "the zip entry '%s' needs %" PRIu64 " bytes at byte %" PRIu64
			       ", more than lie before the directory",
			       quoted, size, offset);
	if (get(bytes + offset + 26, 2) != e->name_len ||
	    memcmp(bytes + offset + LOCAL_SIZE, e->name, e->name_len) != 0)
		return rt_fail(err, RT_INVALID, "the zip entry '%s' has another name in its own header",
			       quoted);
	e->data = bytes + offset + before;
	e->size = (size_t)size;
	return 0;
}

/* One record of the directory; *at moves behind it. */
static int read_entry(const unsigned char *bytes, const struct directory *d, size_t *at,
		      struct rt_zip_entry *ret, struct rt_err *err)
{
	const unsigned char *p = bytes + *at;
	size_t left = (size_t)(d->start + d->size) - *at, extra_len, len;
	uint64_t size, packed, offset, *fields[] = { &size, &packed, &offset };
	char quoted[RT_UTF8_QUOTE_SIZE];
	struct rt_zip_entry e;

	if (left < CENTRAL_SIZE || get(p, 4) != CENTRAL_SIG)
		return rt_fail(err, RT_INVALID, "the zip file's directory is broken at byte %zu", *at);
	e.name = (const char *)p + CENTRAL_SIZE;
	e.name_len = (size_t)get(p + 28, 2);
	extra_len = (size_t)get(p + 30, 2);
	len = CENTRAL_SIZE + e.name_len + extra_len + (size_t)get(p + 32, 2);
	if (len > left)
		return rt_fail(err, RT_INVALID, "the zip file's directory is broken at byte %zu", *at);
	if (e.name_len == 0 || e.name_len > NAME_MAX_BYTES || memchr(e.name, '\0', e.name_len) ||
	    rt_utf8_valid(e.name, e.name_len) < e.name_len)
		return rt_fail(err, RT_INVALID,
			       "the zip file's directory has a name at byte %zu that is not one", *at);
	rt_utf8_quote(e.name, e.name_len, quoted);
	packed = get(p + 20, 4);
	size = get(p + 24, 4);
	offset = get(p + 42, 4);
	if (read_zip64(p + CENTRAL_SIZE + e.name_len, extra_len, fields, 3) < 0)
		return rt_fail(err, RT_INVALID, "the zip entry '%s' lacks its zip64 sizes", quoted);
	if (get(p + 8, 2) & FLAG_ENCRYPTED)
		return rt_fail(err, RT_UNSUPPORTED, "the zip entry '%s' is encrypted", quoted);
	e.method = (unsigned)get(p + 10, 2);
	if (e.method == 0 && packed != size)
		return rt_fail(err, RT_INVALID,
			       "the zip entry '%s' is stored in %" PRIu64 " bytes, but has %" PRIu64, quoted,
			       packed, size);
	if (find_data(bytes, (size_t)d->start, offset, packed, quoted, &e, err) < 0)
		return -1;
	*at += len;
	*ret = e;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct rt_zip_entry *x = a, *y = b;
	int order = memcmp(x->name, y->name, x->name_len < y->name_len ? x->name_len : y->name_len);

	return order ? order : (x->name_len > y->name_len) - (x->name_len < y->name_len);
}

int rt_zip_open(const unsigned char *bytes, size_t n, struct rt_budget *budget, struct rt_zip *ret,
		struct rt_err *err)
{
	struct rt_zip zip = { 0 };
	struct directory d = { 0 };
	char quoted[RT_UTF8_QUOTE_SIZE];
	size_t at;

	if (find_directory(bytes, n, &d, err) < 0)
		return -1;
	if (!rt_budget_take(budget, (size_t)d.count + 1, sizeof *zip.entries))
		return rt_fail(err, RT_INVALID, "the zip file has too many entries (%" PRIu64 ")", d.count);
	zip.entries = calloc((size_t)d.count + 1, sizeof *zip.entries);
	if (!zip.entries)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the zip file's directory");
	at = (size_t)d.start;
	for (; zip.count < d.count; zip.count++) {
		if (read_entry(bytes, &d, &at, &zip.entries[zip.count], err) < 0)
			goto fail;
	}
	if (at != d.start + d.size) {
		rt_fail(err, RT_INVALID,
			"the zip file's directory holds more than the %" PRIu64 " entries announced",
			d.count);
		goto fail;
	}
	zip.first = zip.entries[0];
	qsort(zip.entries, zip.count, sizeof *zip.entries, by_name);
	for (size_t i = 1; i < zip.count; i++) {
		if (by_name(&zip.entries[i - 1], &zip.entries[i]) == 0) {
			rt_fail(err, RT_INVALID, "the zip entry '%s' stands twice",
				rt_utf8_quote(zip.entries[i].name, zip.entries[i].name_len, quoted));
			goto fail;
		}
	}
	*ret = zip;
	return 0;
fail:
	rt_zip_release(&zip);
	return -1;
}

void rt_zip_release(struct rt_zip *zip)
{
	free(zip->entries);
	*zip = (struct rt_zip){ 0 };
}

int rt_zip_check_stored(const struct rt_zip_entry *e, struct rt_err *err)
{
	char quoted[RT_UTF8_QUOTE_SIZE];

	if (e->method == 0)
		return 0;
	return rt_fail(err, RT_UNSUPPORTED,
		       "the zip entry '%s' is compressed (method %u), which torch.save never does: unpack "
		       "the file and pack "
		       "it again without compression, or save the model again",
		       rt_utf8_quote(e->name, e->name_len, quoted), e->method);
}

const struct rt_zip_entry *rt_zip_find(const struct rt_zip *zip, const char *name, size_t len)
{
	struct rt_zip_entry key = { .name = name, .name_len = len };

	return zip->count ? bsearch(&key, zip->entries, zip->count, sizeof key, by_name) : NULL;
}
