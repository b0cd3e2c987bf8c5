/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/weights/weights.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "worker/weights/part.h"
#include "worker/weights/torch_bin.h"

#define SINGLE		"model.safetensors"
#define INDEX		"model.safetensors.index.json"
#define TORCH		"pytorch_model.bin"
#define TORCH_INDEX	"pytorch_model.bin.index.json"
#define INDEX_MAX_BYTES ((size_t)4 << 20) /* 40,000 tensors; the JSON tree takes some 20 times the text */

const char *rt_dtype_name(enum rt_dtype dtype)
{
	static const char *const names[] = {
#define X(name, bits) #name,
		RT_DTYPE_MAP(X)
#undef X
	};

	return names[dtype];
}

unsigned rt_dtype_bits(enum rt_dtype dtype)
{
	static const unsigned char bits_of[] = {
#define X(name, bits) bits,
		RT_DTYPE_MAP(X)
#undef X
	};

	return bits_of[dtype];
}

void rt_weights_close(struct rt_weights *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < w->part_count; i++)
		rt_weights_close(w->parts[i]);
	free(w->parts);
	free(w->tensors);
	free(w->names);
	free(w->format);
	free(w->copies);
	rt_map_close(&w->map);
	free(w);
}

size_t rt_weights_count(const struct rt_weights *w)
{
	return w->count;
}

const struct rt_tensor *rt_weights_at(const struct rt_weights *w, size_t i)
{
	return i < w->count ? &w->tensors[i] : NULL;
}

static int by_name(const void *a, const void *b)
{
	const struct rt_tensor *x = a, *y = b;

	return strcmp(x->name, y->name);
}

const struct rt_tensor *rt_weights_find(const struct rt_weights *w, const char *name)
{
	struct rt_tensor key = { .name = name };

	return w->count ? bsearch(&key, w->tensors, w->count, sizeof key, by_name) : NULL;
}

bool rt_weights_is_lfs_pointer(const unsigned char *bytes, size_t n)
{
	static const char start[] = "version https://git-lfs";

	return n >= strlen(start) && memcmp(bytes, start, strlen(start)) == 0;
}

const char *rt_weights_sort(struct rt_weights *w)
{
	if (w->count == 0)
		return NULL;
	qsort(w->tensors, w->count, sizeof *w->tensors, by_name);
	for (size_t i = 1; i < w->count; i++) {
		if (strcmp(w->tensors[i - 1].name, w->tensors[i].name) == 0)
			return w->tensors[i].name;
	}
	return NULL;
}

/* TensorFlow and Flax turn the axes of linear layers: reading their files as PyTorch's would train nonsense. */
static int check_format(const struct rt_weights *w, const char *path, struct rt_err *err)
{
	if (w->format && (strcmp(w->format, "tf") == 0 || strcmp(w->format, "flax") == 0))
		return rt_fail(
			err, RT_UNSUPPORTED,
			"%s: the weights are in the layout of '%s'; save them with format pt (from PyTorch)",
			path, w->format);
	return 0;
}

/* Opens one file of a kind. */
typedef int open_fn(const char *path, struct rt_weights **ret, struct rt_err *err);

static int open_safetensors(const char *path, struct rt_weights **ret, struct rt_err *err)
{
	struct rt_weights *w;

	if (rt_safetensors_open(path, &w, err) < 0)
		return -1;
	if (check_format(w, path, err) < 0) {
		rt_weights_close(w);
		return -1;
	}
	*ret = w;
	return 0;
}

/* The index names files of its own folder and nothing else. */
static int check_shard_name(const char *file, size_t len, struct rt_err *err)
{
	char quoted[RT_UTF8_QUOTE_SIZE];

	if (len == 0 || strlen(file) != len || strchr(file, '/') || strchr(file, '\\') ||
	    strcmp(file, ".") == 0 || strcmp(file, "..") == 0)
		return rt_fail(err, RT_INVALID,
			       "weight_map names the file '%s', which is not a plain file name",
			       rt_utf8_quote(file, len, quoted));
	return 0;
}

/* The parts of weight_map's files, each opened once, in the order in which they are named. *ret_files: name -> index. */
static int open_shards(const char *dir, json_t *map, open_fn *open_one, struct rt_weights *w, json_t *files,
		       struct rt_err *err)
{
	const char *tensor;
	json_t *value;

	json_object_foreach(map, tensor, value)
	{
		char quoted[RT_UTF8_QUOTE_SIZE], shard[RT_UTF8_QUOTE_SIZE];
		const char *file = json_string_value(value);
		struct rt_weights **grown;
		char *path;
		int rc;

		if (!file)
			return rt_fail(err, RT_INVALID, "weight_map does not name a file for tensor '%s'",
				       rt_utf8_quote(tensor, strlen(tensor), quoted));
		if (check_shard_name(file, json_string_length(value), err) < 0)
			return -1;
		if (json_object_get(files, file))
			continue;
		grown = reallocarray(w->parts, w->part_count + 1, sizeof *grown);
		if (grown)
			w->parts = grown;
		path = rt_path_join(dir, file);
		if (!grown || !path ||
		    json_object_set_new(files, file, json_integer((json_int_t)w->part_count)) < 0) {
			free(path);
			return rt_fail(err, RT_NO_MEMORY, "no memory to open the shards");
		}
		rc = open_one(path, &w->parts[w->part_count], err);
		free(path);
		if (rc < 0)
			return rt_fail_in(err, "tensor '%s' is in the shard '%s'",
					  rt_utf8_quote(tensor, strlen(tensor), quoted),
					  rt_utf8_quote(file, strlen(file), shard));
		w->part_count++;
	}
	return 0;
}

static int open_index(const char *dir, const char *path, open_fn *open_one, struct rt_weights **ret,
		      struct rt_err *err)
{
	json_t *index = rt_json_read(path, INDEX_MAX_BYTES, err), *map, *value, *files = json_object();
	struct rt_weights *w = calloc(1, sizeof *w);
	char quoted[RT_UTF8_QUOTE_SIZE], shard[RT_UTF8_QUOTE_SIZE];
	const char *name, *twice;
	int rc = -1;

	if (!index)
		goto out;
	if (!w || !files) {
		rt_fail(err, RT_NO_MEMORY, "no memory to read %s", path);
		goto out;
	}
	map = json_object_get(index, "weight_map");
	if (!json_is_object(map) || json_object_size(map) == 0) {
		rt_fail(err, RT_INVALID, "%s: weight_map must be an object that names a file for each tensor",
			path);
		goto out;
	}
	if (open_shards(dir, map, open_one, w, files, err) < 0) {
		rt_fail_in(err, "%s", path);
		goto out;
	}
	json_object_foreach(map, name, value)
	{
		const char *file = json_string_value(value);
		const struct rt_weights *part = w->parts[json_integer_value(json_object_get(files, file))];

		if (!rt_weights_find(part, name)) {
			rt_fail(err, RT_INVALID, "%s: tensor '%s' is not in its shard '%s'", path,
				rt_utf8_quote(name, strlen(name), quoted),
				rt_utf8_quote(file, strlen(file), shard));
			goto out;
		}
	}
	for (size_t i = 0; i < w->part_count; i++)
		w->count += w->parts[i]->count;
	w->tensors = calloc(w->count + 1, sizeof *w->tensors);
	if (!w->tensors) {
		rt_fail(err, RT_NO_MEMORY, "no memory to read %s", path);
		goto out;
	}
	for (size_t i = 0, at = 0; i < w->part_count; at += w->parts[i++]->count)
		memcpy(w->tensors + at, w->parts[i]->tensors, w->parts[i]->count * sizeof *w->tensors);
	twice = rt_weights_sort(w);
	if (twice) {
		rt_fail(err, RT_INVALID, "%s: tensor '%s' stands in two shards", path,
			rt_utf8_quote(twice, strlen(twice), quoted));
		goto out;
	}
	*ret = w;
	w = NULL;
	rc = 0;
out:
	json_decref(index);
	json_decref(files);
	rt_weights_close(w);
	return rc;
}

/* Nothing that is read: say what is there instead. */
static int nothing_found(const char *dir, struct rt_err *err)
{
	static const char *const others[] = { "tf_model.h5", "flax_model.msgpack" };

	if (!rt_file_is_dir(dir))
		return rt_fail(err, RT_NOT_FOUND, "there is no model folder %s", dir);
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		char *path = rt_path_join(dir, others[i]);
		bool there = path && rt_file_exists(path);

		free(path);
		if (there)
			return rt_fail(
				err, RT_UNSUPPORTED,
				"%s has %s, which this version does not read; save the model as safetensors "
				"(" SINGLE "), as save_pretrained does",
				dir, others[i]);
	}
	return rt_fail(err, RT_NOT_FOUND,
		       "%s has no weights: looked for " SINGLE ", " INDEX ", " TORCH " and " TORCH_INDEX,
		       dir);
}

int rt_weights_open(const char *dir, struct rt_weights **ret, struct rt_err *err)
{
	/* the first that is there */
	static const struct {
		const char *name;
		open_fn *open_one;
		bool index;
	} kinds[] = {
		{ SINGLE, open_safetensors, false },
		{ INDEX, open_safetensors, true },
		{ TORCH, rt_torch_open, false },
		{ TORCH_INDEX, rt_torch_open, true },
	};

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		char *path = rt_path_join(dir, kinds[i].name);
		int rc = 0;
		bool there;

		if (!path)
			return rt_fail(err, RT_NO_MEMORY, "no memory to open %s", dir);
		there = rt_file_exists(path);
		if (there)
			rc = kinds[i].index ? open_index(dir, path, kinds[i].open_one, ret, err)
					    : kinds[i].open_one(path, ret, err);
		free(path);
		if (there)
			return rc;
	}
	return nothing_found(dir, err);
}
