/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/weights/torch_bin.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define TENSOR_NAME_MAX 1024u

/* A state dict's item while it is checked. */
struct item {
	const char *name; /* in the pickle's bytes */
	size_t name_len;
	const struct rt_pickle_tensor *tensor;
};

int rt_torch_compare_keys(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int order = a == b ? 0 : memcmp(a, b, a_len < b_len ? a_len : b_len);

	return order ? order : (a_len > b_len) - (a_len < b_len);
}

static int by_storage_key(const void *a, const void *b)
{
	const struct rt_pickle_storage *x = *(struct rt_pickle_storage *const *)a;
	const struct rt_pickle_storage *y = *(struct rt_pickle_storage *const *)b;

	return rt_torch_compare_keys(x->key, x->key_len, y->key, y->key_len);
}

int rt_torch_sort_storages(struct rt_pickle *p, struct rt_err *err)
{
	char quoted[RT_UTF8_QUOTE_SIZE];

	for (size_t i = 0; i < p->storage_count; i++) {
		if (p->storages[i]->key_len > TENSOR_NAME_MAX)
			return rt_fail(err, RT_INVALID, "a storage has a key of more than %u bytes",
				       TENSOR_NAME_MAX);
	}
	if (p->storage_count > 0)
		qsort(p->storages, p->storage_count, sizeof *p->storages, by_storage_key);
	for (size_t i = 1; i < p->storage_count; i++) {
		const struct rt_pickle_storage *one = p->storages[i - 1], *two = p->storages[i];

		if (by_storage_key(&p->storages[i - 1], &p->storages[i]) != 0)
			continue;
		if (one->dtype != two->dtype || one->numel != two->numel || one->untyped != two->untyped)
			return rt_fail(
				err, RT_INVALID, "the storage '%s' is announced twice, and not the same",
				rt_utf8_quote(one->key, rt_utf8_valid(one->key, one->key_len), quoted));
	}
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	return rt_torch_compare_keys(x->name, x->name_len, y->name, y->name_len);
}

/* Names and kinds of the state dict's items. items has room for all. */
static int list_items(const struct rt_pickle_value *dict, struct item *items, struct rt_err *err)
{
	const struct rt_pickle_value *v = dict->list->items;
	size_t n = dict->list->n / 2;
	char quoted[RT_UTF8_QUOTE_SIZE];

	for (size_t i = 0; i < n; i++, v += 2) {
		if (v->kind != RT_PICKLE_TEXT)
			return rt_fail(err, RT_INVALID, "a tensor's name is %s, not a string",
				       rt_pickle_kind_words((enum rt_pickle_kind)v->kind));
		if (v->len > TENSOR_NAME_MAX || memchr(v->bytes, '\0', v->len) ||
		    rt_utf8_valid(v->bytes, v->len) < v->len)
			return rt_fail(err, RT_INVALID,
				       "a tensor's name is not UTF-8 of at most %u bytes without U+0000",
				       TENSOR_NAME_MAX);
		if (v[1].kind != RT_PICKLE_TENSOR)
			return rt_fail(
				err, RT_UNSUPPORTED,
				"'%s' is %s, not a tensor: the file holds more than a model's weights; save "
				"the model's state_dict() alone, or as safetensors",
				rt_utf8_quote(v->bytes, v->len, quoted),
				rt_pickle_kind_words((enum rt_pickle_kind)v[1].kind));
		items[i] = (struct item){ .name = v->bytes, .name_len = v->len, .tensor = v[1].tensor };
	}
	if (n > 0)
		qsort(items, n, sizeof *items, by_name);
	for (size_t i = 1; i < n; i++) {
		if (by_name(&items[i - 1], &items[i]) == 0)
			return rt_fail(err, RT_INVALID, "tensor '%s' stands twice",
				       rt_utf8_quote(items[i].name, items[i].name_len, quoted));
	}
	return 0;
}

/* Checks the tensor against its storage, and says how many elements it has and where in the storage they start. The last
 * one lies at offset + sum((shape - 1) * stride), which must be inside. */
static int check_reach(const struct rt_pickle_tensor *t, uint64_t *ret_numel, uint64_t *ret_start_bytes,
		       struct rt_err *err)
{
	const struct rt_pickle_storage *s = t->storage;
	uint64_t item = rt_dtype_bits(t->dtype) / 8, item_held = rt_dtype_bits(s->dtype) / 8;
	uint64_t held, numel = 1, end, reach = 1;
	bool empty = false;

	if (s->view_offset < 0 || s->view_numel < 0 || (uint64_t)s->view_offset > s->numel ||
	    (uint64_t)s->view_numel > s->numel - (uint64_t)s->view_offset)
		return rt_fail(err, RT_INVALID,
			       "it sees %" PRId64 " numbers from number %" PRId64 " of a storage of %" PRIu64,
			       s->view_numel, s->view_offset, s->numel);
	held = (uint64_t)s->view_numel * item_held / item;
	for (int i = 0; i < t->ndim; i++) {
		uint64_t step;

		if (t->shape[i] < 0 || t->stride[i] < 0)
			return rt_fail(err, RT_INVALID, "a size or a stride is below 0");
		empty |= t->shape[i] == 0;
		if (t->shape[i] == 0)
			continue;
		if (__builtin_mul_overflow(numel, (uint64_t)t->shape[i], &numel) || numel > INT64_MAX / 16 ||
		    __builtin_mul_overflow((uint64_t)t->shape[i] - 1, (uint64_t)t->stride[i], &step) ||
		    __builtin_add_overflow(reach, step, &reach))
			return rt_fail(err, RT_INVALID, "its shape has a size that cannot be");
	}
	if (t->offset < 0 || __builtin_add_overflow((uint64_t)t->offset, empty ? 0 : reach, &end) ||
	    end > held)
		return rt_fail(err, RT_INVALID,
			       "it needs %" PRIu64 " numbers from number %" PRId64
			       " of a storage of %" PRIu64,
			       empty ? 0 : reach, t->offset, held);
	*ret_numel = empty ? 0 : numel;
	*ret_start_bytes = (uint64_t)s->view_offset * item_held + (uint64_t)t->offset * item;
	return 0;
}

static bool is_contiguous(const struct rt_pickle_tensor *t)
{
	int64_t want = 1;

	for (int i = t->ndim - 1; i >= 0; i--) {
		if (t->shape[i] != 1 && t->stride[i] != want)
			return false;
		want *= t->shape[i];
	}
	return true;
}

static int fill(const struct item *item, struct rt_tensor *ret, size_t *copied_bytes, struct rt_err *err)
{
	const struct rt_pickle_tensor *t = item->tensor;
	uint64_t numel = 0, start = 0;

	if (check_reach(t, &numel, &start, err) < 0)
		return -1;
	ret->dtype = t->dtype;
	ret->ndim = t->ndim;
	memcpy(ret->shape, t->shape, sizeof ret->shape);
	ret->size_bytes = (size_t)numel * (rt_dtype_bits(t->dtype) / 8);
	ret->data = numel ? t->storage->data + start : NULL;
	if (numel > 0 && !is_contiguous(t) &&
	    __builtin_add_overflow(*copied_bytes, ret->size_bytes, copied_bytes))
		return rt_fail(err, RT_INVALID, "its shape has a size that cannot be");
	return 0;
}

/* n elements that lie step bytes apart, one behind the other. */
static void copy_row(unsigned char *to, const unsigned char *from, size_t n, size_t step, size_t size)
{
	switch (size) {
	case 2:
		for (size_t i = 0; i < n; i++)
			memcpy(to + 2 * i, from + step * i, 2);
		return;
	case 4:
		for (size_t i = 0; i < n; i++)
			memcpy(to + 4 * i, from + step * i, 4);
		return;
	default:
		for (size_t i = 0; i < n; i++)
			memcpy(to + size * i, from + step * i, size);
	}
}

/* Row-major copy of a tensor that is not empty. */
static void copy_rows(unsigned char *to, const unsigned char *from, const struct rt_pickle_tensor *t)
{
	size_t size = rt_dtype_bits(t->dtype) / 8;
	int last = t->ndim - 1; /* a scalar is contiguous: there is a dimension */
	int64_t at[RT_TENSOR_DIMS_MAX] = { 0 };
	int d;

	do {
		const unsigned char *row = from;

		for (int i = 0; i < last; i++)
			row += (size_t)(at[i] * t->stride[i]) * size;
		copy_row(to, row, (size_t)t->shape[last], (size_t)t->stride[last] * size, size);
		to += (size_t)t->shape[last] * size;
		for (d = last - 1; d >= 0 && ++at[d] == t->shape[d]; d--)
			at[d] = 0;
	} while (d >= 0);
}

/* Tensors and their names from sorted items. */
static int collect(const struct item *items, size_t n, struct rt_budget *budget, struct rt_weights *w,
		   struct rt_err *err)
{
	size_t names_bytes = 1, copied_bytes = 0;
	unsigned char *copy;
	char *name;

	for (size_t i = 0; i < n; i++)
		names_bytes += items[i].name_len + 1;
	if (!rt_budget_take(budget, n + 1, sizeof *w->tensors) || !rt_budget_take(budget, 1, names_bytes))
		return rt_fail(err, RT_INVALID, "it has too many tensors for its size (%zu)", n);
	w->tensors = calloc(n + 1, sizeof *w->tensors);
	w->names = malloc(names_bytes);
	if (!w->tensors || !w->names)
		return rt_fail(err, RT_NO_MEMORY, "no memory for %zu tensors", n);
	name = w->names;
	for (w->count = 0; w->count < n; w->count++) {
		const struct item *item = &items[w->count];

		memcpy(name, item->name, item->name_len);
		name[item->name_len] = '\0';
		w->tensors[w->count].name = name;
		if (fill(item, &w->tensors[w->count], &copied_bytes, err) < 0) {
			char quoted[RT_UTF8_QUOTE_SIZE];

			return rt_fail_in(err, "tensor '%s'", rt_utf8_quote(name, item->name_len, quoted));
		}
		name += item->name_len + 1;
	}
	if (copied_bytes == 0)
		return 0;
	if (!rt_budget_take(budget, 1, copied_bytes))
		return rt_fail(err, RT_UNSUPPORTED,
			       "its transposed or expanded tensors would take %zu bytes of memory, %zu more "
			       "than the "
			       "limit for this file; save the model again with contiguous tensors, or as "
			       "safetensors",
			       copied_bytes, copied_bytes - budget->left_bytes);
	w->copies = copy = malloc(copied_bytes);
	if (!copy)
		return rt_fail(err, RT_NO_MEMORY, "no memory for %zu bytes of tensors", copied_bytes);
	for (size_t i = 0; i < n; i++) {
		struct rt_tensor *t = &w->tensors[i];

		if (!t->data || is_contiguous(items[i].tensor))
			continue;
		copy_rows(copy, t->data, items[i].tensor);
		t->data = copy;
		copy += t->size_bytes;
	}
	return 0;
}

static int make_weights(const struct rt_pickle_value *root, struct rt_budget *budget, struct rt_weights **ret,
			struct rt_err *err)
{
	struct rt_weights *w = NULL;
	struct item *items = NULL;
	size_t n;
	int rc = -1;

	if (root->kind != RT_PICKLE_DICT)
		return rt_fail(err, RT_UNSUPPORTED,
			       "it holds %s, not a dict of named tensors; save the model's state_dict()",
			       rt_pickle_kind_words((enum rt_pickle_kind)root->kind));
	n = root->list->n / 2;
	if (!rt_budget_take(budget, n + 1, sizeof *items))
		return rt_fail(err, RT_INVALID, "it has too many tensors for its size (%zu)", n);
	w = calloc(1, sizeof *w);
	items = calloc(n + 1, sizeof *items);
	if (!w || !items) {
		rt_fail(err, RT_NO_MEMORY, "no memory for %zu tensors", n);
		goto out;
	}
	if (list_items(root, items, err) < 0 || collect(items, n, budget, w, err) < 0)
		goto out;
	*ret = w;
	w = NULL;
	rc = 0;
out:
	free(items);
	rt_weights_close(w);
	return rc;
}

static bool starts(const unsigned char *bytes, size_t n, size_t at, const char *word)
{
	return n >= at + strlen(word) && memcmp(bytes + at, word, strlen(word)) == 0;
}

/* Files that are something else: say what they are and what to do. */
static int check_kind(const unsigned char *bytes, size_t n, struct rt_err *err)
{
	static const char again[] = "save the model again with a newer PyTorch, or as safetensors";

	if (n == 0)
		return rt_fail(err, RT_INVALID, "the file is empty");
	if (rt_weights_is_lfs_pointer(bytes, n))
		return rt_fail(err, RT_INVALID, RT_WEIGHTS_LFS_WORDS);
	if (starts(bytes, n, 257, "ustar"))
		return rt_fail(err, RT_UNSUPPORTED, "it is a tar file of PyTorch before 0.1.10; %s", again);
	if (starts(bytes, n, 0, "PYTORCH1"))
		return rt_fail(err, RT_UNSUPPORTED, "it is in the preview format PYTORCH1; %s", again);
	if (n > 8 && bytes[8] == '{' && memcmp(bytes + 4, "\0\0\0", 4) == 0)
		return rt_fail(err, RT_INVALID,
			       "it looks like a safetensors file; name it model.safetensors");
	if (bytes[0] != 0x80 && !starts(bytes, n, 0, "PK\003\004"))
		return rt_fail(err, RT_INVALID, "it is not a file that torch.save wrote");
	return 0;
}

int rt_torch_parse(const unsigned char *bytes, size_t n, const char *what, struct rt_weights **ret,
		   struct rt_err *err)
{
	struct rt_budget budget = rt_budget_for(n);
	struct rt_pickle_value root;
	struct rt_pickle pickle;
	int rc = -1;

	if (check_kind(bytes, n, err) < 0)
		return rt_fail_in(err, "%s", what);
	rt_pickle_init(&pickle, &budget, bytes[0] == 0x80);
	if ((pickle.legacy ? rt_torch_legacy_read : rt_torch_zip_read)(bytes, n, &pickle, &root, err) == 0)
		rc = make_weights(&root, &budget, ret, err);
	rt_pickle_release(&pickle);
	return rc < 0 ? rt_fail_in(err, "%s", what) : 0;
}

int rt_torch_open(const char *path, struct rt_weights **ret, struct rt_err *err)
{
	struct rt_map map = { NULL, 0 };
	struct rt_weights *w;

	if (rt_map_open(path, &map, err) < 0)
		return -1;
	if (rt_torch_parse(map.data, map.size, path, &w, err) < 0) {
		rt_map_close(&map);
		return -1;
	}
	w->map = map;
	*ret = w;
	return 0;
}
