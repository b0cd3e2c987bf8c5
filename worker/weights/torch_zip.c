/* SPDX-License-Identifier: Apache-2.0 */
/* All entries stand under one folder, whose name is the first entry's: data.pkl, data/<key> with a storage's numbers,
 * byteorder, version. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "worker/weights/torch_bin.h"
#include "worker/weights/zip.h"

#define NAME_MAX_BYTES 1024
#define VERSION_MAX    10 /* the newest that PyTorch itself knows */

struct archive {
	struct rt_zip zip;
	const char *folder;
	size_t folder_len;
};

/* <folder>/<part><key>, or NULL. */
static const struct rt_zip_entry *find(const struct archive *a, const char *part, const char *key,
				       size_t key_len)
{
	size_t part_len = strlen(part), len = a->folder_len + 1 + part_len + key_len;
	char name[NAME_MAX_BYTES];

	if (a->folder_len > sizeof name || key_len > sizeof name || len > sizeof name) /* no sum wraps */
		return NULL;
	memcpy(name, a->folder, a->folder_len);
	name[a->folder_len] = '/';
	memcpy(name + a->folder_len + 1, part, part_len);
	memcpy(name + a->folder_len + 1 + part_len, key, key_len);
	return rt_zip_find(&a->zip, name, len);
}

static int check_marks(const struct archive *a, struct rt_err *err)
{
	const struct rt_zip_entry *order = find(a, "byteorder", "", 0), *version = find(a, "version", "", 0);
	long v = 0;

	if (find(a, "constants.pkl", "", 0))
		return rt_fail(err, RT_UNSUPPORTED,
			       "it is a TorchScript program, not weights; save the model's state_dict() with "
			       "torch.save, or as safetensors");
	if ((order && rt_zip_check_stored(order, err) < 0) ||
	    (version && rt_zip_check_stored(version, err) < 0))
		return -1;
	if (order && order->size == 3 && memcmp(order->data, "big", 3) == 0)
		return rt_fail(
			err, RT_UNSUPPORTED,
			"its numbers are big endian; save the model again on a little-endian machine, or as "
			"safetensors");
	if (order && (order->size != 6 || memcmp(order->data, "little", 6) != 0))
		return rt_fail(err, RT_INVALID, "its 'byteorder' says neither little nor big");
	if (!version)
		return 0;
	for (size_t i = 0; i < version->size && i < 4 && version->data[i] >= '0' && version->data[i] <= '9';
	     i++)
		v = 10 * v + version->data[i] - '0';
	if (v < 1 || v > VERSION_MAX)
		return rt_fail(err, RT_UNSUPPORTED, "its format has version %ld; 1 to %d are read", v,
			       VERSION_MAX);
	return 0;
}

static int find_storages(const struct archive *a, struct rt_pickle *p, struct rt_err *err)
{
	char quoted[RT_UTF8_QUOTE_SIZE];

	for (size_t i = 0; i < p->storage_count; i++) {
		struct rt_pickle_storage *s = p->storages[i];
		const struct rt_zip_entry *e = find(a, "data/", s->key, s->key_len);
		uint64_t want = s->numel * (rt_dtype_bits(s->dtype) / 8);

		rt_utf8_quote(s->key, rt_utf8_valid(s->key, s->key_len), quoted);
		if (!e)
			return rt_fail(err, RT_INVALID,
				       "the storage '%s' has no entry in the zip file: it is not whole",
				       quoted);
		if (rt_zip_check_stored(e, err) < 0)
			return -1;
		if (e->size != want)
			return rt_fail(err, RT_INVALID,
				       "the storage '%s' has %zu bytes, but its %" PRIu64
				       " numbers of %s take %" PRIu64,
				       quoted, e->size, s->numel, rt_dtype_name(s->dtype), want);
		s->data = e->data;
	}
	return 0;
}

int rt_torch_zip_read(const unsigned char *bytes, size_t n, struct rt_pickle *p, struct rt_pickle_value *ret,
		      struct rt_err *err)
{
	const struct rt_zip_entry *pickle;
	struct rt_pickle_value root;
	struct archive a = { 0 };
	const char *slash;
	size_t used;
	int rc = -1;

	if (rt_zip_open(bytes, n, p->budget, &a.zip, err) < 0)
		return -1;
	slash = a.zip.count ? memchr(a.zip.first.name, '/', a.zip.first.name_len) : NULL;
	if (slash) {
		a.folder = a.zip.first.name;
		a.folder_len = (size_t)(slash - a.folder);
	}
	pickle = slash ? find(&a, "data.pkl", "", 0) : NULL;
	if (!pickle) {
		rt_fail(err, RT_INVALID,
			"it is a zip file, but not one that torch.save wrote: no data.pkl in it");
		goto out;
	}
	if (check_marks(&a, err) < 0 || rt_zip_check_stored(pickle, err) < 0 ||
	    rt_pickle_read(p, pickle->data, pickle->size, &used, &root, err) < 0)
		goto out;
	if (used != pickle->size) {
		rt_fail(err, RT_INVALID, "data.pkl goes on after its end, at byte %zu", used);
		goto out;
	}
	if (rt_torch_sort_storages(p, err) < 0 || find_storages(&a, p, err) < 0)
		goto out;
	*ret = root;
	rc = 0;
out:
	rt_zip_release(&a.zip);
	return rc;
}
