/* SPDX-License-Identifier: Apache-2.0 */
/* Five pickles one after the other (magic number, protocol version, facts of the machine, the state dict, the storages'
 * keys), then for each key in that order a 64-bit count and as many numbers. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "worker/weights/torch_bin.h"

#define PROTOCOL_VERSION 1001

static const unsigned char magic[] = { 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19 };

struct stream {
	const unsigned char *bytes;
	size_t n, at;
};

static int next_pickle(struct stream *s, struct rt_pickle *p, const char *what, struct rt_pickle_value *ret,
		       struct rt_err *err)
{
	size_t used;

	if (rt_pickle_read(p, s->bytes + s->at, s->n - s->at, &used, ret, err) < 0)
		return rt_fail_in(err, "%s, from byte %zu", what, s->at);
	s->at += used;
	return 0;
}

static int read_head(struct stream *s, struct rt_pickle *p, struct rt_err *err)
{
	const struct rt_pickle_value *little;
	struct rt_pickle_value v;

	if (next_pickle(s, p, "the magic number", &v, err) < 0)
		return -1;
	if (v.kind != RT_PICKLE_LONG || v.len != sizeof magic || memcmp(v.bytes, magic, sizeof magic) != 0)
		return rt_fail(err, RT_INVALID,
			       "it is a pickle, but not one that torch.save wrote; save the model's "
			       "state_dict() with "
			       "torch.save, or as safetensors");
	if (next_pickle(s, p, "the version", &v, err) < 0)
		return -1;
	if (v.kind != RT_PICKLE_INT || v.number != PROTOCOL_VERSION)
		return rt_fail(err, RT_UNSUPPORTED, "its format has another version than %d",
			       PROTOCOL_VERSION);
	if (next_pickle(s, p, "the facts of the machine", &v, err) < 0)
		return -1;
	little = rt_pickle_find(&v, "little_endian");
	if (!little || little->kind != RT_PICKLE_BOOL)
		return rt_fail(err, RT_INVALID, "it does not say whether its numbers are little endian");
	if (!little->number)
		return rt_fail(
			err, RT_UNSUPPORTED,
			"its numbers are big endian; save the model again on a little-endian machine, or as "
			"safetensors");
	return 0;
}

static int by_key(const void *key, const void *element)
{
	const struct rt_pickle_value *k = key;
	const struct rt_pickle_storage *s = *(struct rt_pickle_storage *const *)element;

	return rt_torch_compare_keys(k->bytes, k->len, s->key, s->key_len);
}

/* The numbers of one key. All its announcements stand together and agree. */
static int read_storage(struct stream *s, struct rt_pickle *p, const struct rt_pickle_value *key,
			struct rt_err *err)
{
	struct rt_pickle_storage **found = NULL, **end;
	char quoted[RT_UTF8_QUOTE_SIZE];
	uint64_t count = 0, size;

	if (key->kind != RT_PICKLE_TEXT)
		return rt_fail(err, RT_INVALID, "the list of storages holds %s",
			       rt_pickle_kind_words((enum rt_pickle_kind)key->kind));
	rt_utf8_quote(key->bytes, rt_utf8_valid(key->bytes, key->len), quoted);
	if (p->storage_count)
		found = bsearch(key, p->storages, p->storage_count, sizeof *p->storages, by_key);
	if (!found)
		return rt_fail(err, RT_INVALID, "no tensor uses the storage '%s'", quoted);
	if ((*found)->data)
		return rt_fail(err, RT_INVALID, "the storage '%s' stands twice", quoted);
	if (s->n - s->at < 8)
		return rt_fail(err, RT_INVALID, "the file ends before the storage '%s': it is cut short",
			       quoted);
	for (int i = 7; i >= 0; i--)
		count = count << 8 | s->bytes[s->at + (size_t)i];
	s->at += 8;
	if (count != (*found)->numel)
		return rt_fail(err, RT_INVALID,
			       "the storage '%s' has %" PRIu64 " numbers, but %" PRIu64 " were announced",
			       quoted, count, (*found)->numel);
	size = count * (rt_dtype_bits((*found)->dtype) / 8);
	if (size > s->n - s->at)
		return rt_fail(err, RT_INVALID,
			       "the storage '%s' needs %" PRIu64
			       " bytes at byte %zu, but the file ends before: it is cut short",
			       quoted, size, s->at);
	end = p->storages + p->storage_count;
	while (found > p->storages && by_key(key, found - 1) == 0)
		found--;
	for (; found < end && by_key(key, found) == 0; found++)
		(*found)->data = s->bytes + s->at;
	s->at += (size_t)size;
	return 0;
}

int rt_torch_legacy_read(const unsigned char *bytes, size_t n, struct rt_pickle *p,
			 struct rt_pickle_value *ret, struct rt_err *err)
{
	struct stream s = { .bytes = bytes, .n = n };
	struct rt_pickle_value root, keys;
	char quoted[RT_UTF8_QUOTE_SIZE];

	if (read_head(&s, p, err) < 0 || next_pickle(&s, p, "the state dict", &root, err) < 0 ||
	    rt_torch_sort_storages(p, err) < 0)
		return -1;
	if (next_pickle(&s, p, "the list of storages", &keys, err) < 0)
		return -1;
	if (keys.kind != RT_PICKLE_LIST)
		return rt_fail(err, RT_INVALID, "the list of storages is %s",
			       rt_pickle_kind_words((enum rt_pickle_kind)keys.kind));
	for (size_t i = 0; i < keys.list->n; i++) {
		if (read_storage(&s, p, &keys.list->items[i], err) < 0)
			return -1;
	}
	for (size_t i = 0; i < p->storage_count; i++) {
		const struct rt_pickle_storage *one = p->storages[i];

		if (!one->data)
			return rt_fail(
				err, RT_INVALID, "the storage '%s' is not in the file",
				rt_utf8_quote(one->key, rt_utf8_valid(one->key, one->key_len), quoted));
	}
	*ret = root;
	return 0;
}
