/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "worker/weights/part.h"
#include "worker/weights/weights.h"

static char dir[64];

static int make_dir(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/rt_weights_XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rt_dir_remove(dir, NULL);
}

static const char *in_dir(const char *name)
{
	static char path[4][256];
	static int at;

	at = (at + 1) % 4;
	snprintf(path[at], sizeof path[at], "%s/%s", dir, name);
	return path[at];
}

/* A file from its header's text and a number of data bytes; the announced header length may lie. */
static void build(struct rt_buf *out, const char *header, size_t data_size, uint64_t announced)
{
	for (int i = 0; i < 8; i++)
		rt_buf_char(out, (char)(announced >> (8 * i)));
	rt_buf_str(out, header);
	for (size_t i = 0; i < data_size; i++)
		rt_buf_char(out, (char)i);
}

static int parse(const char *header, size_t data_size, struct rt_weights **ret, struct rt_buf *file,
		 struct rt_err *err)
{
	build(file, header, data_size, strlen(header));
	return rt_safetensors_parse((const unsigned char *)file->data, file->len, "f", ret, err);
}

#define T(name, dtype, shape, begin, end)                                                                    \
	"\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" #begin "," #end "]" \
	"}"

static void parse_reads_every_type_and_unaligned_data(void **state)
{
	const char *header =
		"{" T("a", "BOOL", "", 0, 1) "," T("b.ü\\u00fc\\ud83d\\ude00", "F32", "2 , 1", 1, 9) "," T(
			"empty", "F64", "0,3", 9, 9) ", " T("four", "F4", "3,2", 9,
							    12) "," T("six", "F6_E2M3", "4", 12, 15) "}   ";
	struct rt_buf file = RT_BUF_INIT;
	struct rt_err err = RT_ERR_INIT;
	const struct rt_tensor *t;
	struct rt_weights *w;

	(void)state;
	if (parse(header, 15, &w, &file, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(rt_weights_count(w), 5);
	t = rt_weights_find(w, "a");
	assert_non_null(t);
	assert_int_equal(t->ndim, 0);
	assert_int_equal(t->size_bytes, 1);
	assert_int_equal(*(const unsigned char *)t->data, 0);
	t = rt_weights_find(w, "b.üü😀");
	assert_non_null(t);
	assert_int_equal(t->dtype, RT_DTYPE_F32);
	assert_int_equal(t->ndim, 2);
	assert_int_equal(t->shape[0], 2);
	assert_int_equal(t->shape[1], 1);
	assert_int_equal(t->size_bytes, 8);
	assert_int_equal(*(const unsigned char *)t->data, 1);
	t = rt_weights_find(w, "empty");
	assert_int_equal(t->size_bytes, 0);
	assert_null(t->data);
	assert_int_equal(rt_weights_find(w, "four")->size_bytes, 3);
	assert_int_equal(rt_weights_find(w, "six")->size_bytes, 3);
	assert_null(rt_weights_find(w, "none"));
	assert_null(rt_weights_at(w, 5));
	for (size_t i = 1; i < 5; i++)
		assert_true(strcmp(rt_weights_at(w, i - 1)->name, rt_weights_at(w, i)->name) < 0);
	rt_weights_close(w);
	rt_buf_release(&file);
}

static void parse_refuses_broken_headers(void **state)
{
	static const struct {
		const char *name, *header;
		size_t data_size;
		const char *msg;
	} rows[] = {
		{ "past the end", "{" T("w", "F32", "2", 0, 8) "}", 7,
		  "f: tensor 'w' needs bytes 0 to 8 of the data, but the file holds only 7: it is cut short, "
		  "or its "
		  "header is wrong" },
		{ "trailing bytes", "{" T("w", "F32", "2", 0, 8) "}", 9,
		  "f: 1 bytes follow the last tensor's data" },
		{ "hole", "{" T("v", "F32", "1", 0, 4) "," T("w", "F32", "1", 8, 12) "}", 12,
		  "f: bytes 4 to 8 of the data, before tensor 'w', belong to no tensor" },
		{ "hole at the start", "{" T("w", "F32", "1", 4, 8) "}", 8,
		  "f: bytes 0 to 4 of the data, before tensor 'w', belong to no tensor" },
		{ "overlap", "{" T("v", "F32", "2", 0, 8) "," T("w", "F32", "2", 4, 12) "}", 12,
		  "f: tensors 'v' and 'w' overlap at byte 4 of the data" },
		{ "same bytes twice", "{" T("v", "F32", "1", 0, 4) "," T("w", "F32", "1", 0, 4) "}", 4,
		  "f: tensors 'v' and 'w' overlap at byte 0 of the data" },
		{ "offsets backwards", "{" T("w", "F32", "1", 4, 0) "}", 4,
		  "f: tensor 'w' ends at byte 0 of the data, before its beginning at 4" },
		{ "shape and offsets disagree", "{" T("w", "F32", "3,5", 0, 8) "}", 8,
		  "f: tensor 'w' takes 8 bytes by its offsets and 60 by its shape [3, 5] of F32" },
		{ "shape overflows", "{" T("w", "F32", "4294967296,4294967296", 0, 8) "}", 8,
		  "f: tensor 'w' has a size that cannot be: shape [4294967296, 4294967296] of F32" },
		{ "bits overflow", "{" T("w", "F64", "1152921504606846976", 0, 8) "}", 8,
		  "f: tensor 'w' has a size that cannot be: shape [1152921504606846976] of F64" },
		{ "overflow hidden behind a zero", "{" T("w", "F32", "9223372036854775807,9,0", 0, 0) "}", 0,
		  "f: tensor 'w' has a size that cannot be: shape [9223372036854775807, 9, 0] of F32" },
		{ "half a byte", "{" T("w", "F4", "3", 0, 2) "}", 2,
		  "f: tensor 'w' has a size that cannot be: shape [3] of F4" },
		{ "name twice", "{" T("w", "U8", "1", 0, 1) "," T("w", "U8", "1", 1, 2) "}", 2,
		  "f: tensor 'w' stands twice" },
		{ "name twice by an escape",
		  "{" T("w", "U8", "1", 0, 1) "," T("\\u0077", "U8", "1", 1, 2) "}", 2,
		  "f: tensor 'w' stands twice" },
		{ "unknown dtype", "{" T("w", "F33", "1", 0, 4) "}", 4,
		  "tensor 'w': f: the header is not valid at byte 27: a dtype that safetensors does not "
		  "have" },
		{ "nine dimensions", "{" T("w", "U8", "1,1,1,1,1,1,1,1,1", 0, 1) "}", 1,
		  "tensor 'w': f: the header is not valid at byte 52: a shape has more than 8 dimensions" },
		{ "negative", "{" T("w", "U8", "-1", 0, 1) "}", 1,
		  "tensor 'w': f: the header is not valid at byte 36: a whole number of at least 0 is "
		  "missing" },
		{ "fraction", "{" T("w", "U8", "1.0", 0, 1) "}", 1,
		  "tensor 'w': f: the header is not valid at byte 37: a whole number of at least 0 is "
		  "missing" },
		{ "number too large", "{" T("w", "U8", "9223372036854775808", 0, 1) "}", 1,
		  "tensor 'w': f: the header is not valid at byte 54: a number is too large" },
		{ "offsets missing", "{\"w\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1,
		  "tensor 'w': f: the header is not valid at byte 39: a tensor lacks dtype, shape or "
		  "data_offsets" },
		{ "three offsets", "{\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,1]}}", 1,
		  "tensor 'w': f: the header is not valid at byte 58: data_offsets does not hold two "
		  "numbers" },
		{ "unknown field", "{\"w\":{\"dtype\":\"U8\",\"stride\":[1],\"data_offsets\":[0,1]}}", 1,
		  "tensor 'w': f: the header is not valid at byte 35: a tensor has a field other than dtype, "
		  "shape and "
		  "data_offsets" },
		{ "field twice", "{\"w\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}", 1,
		  "tensor 'w': f: the header is not valid at byte 34: a tensor has a field twice" },
		{ "metadata not a string", "{\"__metadata__\":{\"a\":1}}", 0,
		  "f: the header is not valid at byte 29: __metadata__ holds a value that is not a string" },
		{ "metadata key twice", "{\"__metadata__\":{\"a\":\"1\",\"b\":\"\",\"a\":\"2\"}}", 0,
		  "f: __metadata__ has 'a' twice" },
		{ "metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0,
		  "f: the header is not valid at byte 42: __metadata__ stands twice" },
		{ "cut in a string", "{\"wwww", 0,
		  "f: the header is not valid at byte 14: a string does not end" },
		{ "lone surrogate", "{" T("\\ud800", "U8", "1", 0, 1) "}", 1,
		  "f: the header is not valid at byte 16: a broken escape in a string" },
		{ "U+0000", "{" T("a\\u0000b", "U8", "1", 0, 1) "}", 1,
		  "f: the header is not valid at byte 17: U+0000 in a string" },
		{ "not UTF-8", "{\"\xC3(\":1}", 0, "f: the header is not UTF-8 at byte 10" },
		{ "text behind", "{} x", 0,
		  "f: the header is not valid at byte 11: something follows the last '}'" },
		{ "comma behind", "{" T("w", "U8", "1", 0, 1) ",}", 1,
		  "f: the header is not valid at byte 61: a string is missing" },
		{ "array", "[]", 0, "f: the header does not start with '{': not a safetensors file" },
		{ "space before", " {}", 0, "f: the header does not start with '{': not a safetensors file" },
		{ "data without tensors", "{}", 3, "f: 3 bytes follow the last tensor's data" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_buf file = RT_BUF_INIT;
		struct rt_err err = RT_ERR_INIT;
		struct rt_weights *w = NULL;

		print_message("%s\n", rows[i].name);
		assert_int_equal(parse(rows[i].header, rows[i].data_size, &w, &file, &err), -1);
		assert_null(w);
		assert_int_equal(err.code, RT_INVALID);
		assert_string_equal(err.msg, rows[i].msg);
		rt_buf_release(&file);
	}
}

static void parse_refuses_lengths_that_lie(void **state)
{
	static const struct {
		const char *name;
		uint64_t announced;
		const char *msg;
	} rows[] = {
		{ "longer than the file", 12,
		  "f: the header needs 12 bytes, but the file ends after 2 of them: it is cut short" },
		{ "above the limit", 100000001,
		  "f: its first 8 bytes announce a header of 100000001 bytes, above the limit of 100000000: "
		  "not a "
		  "safetensors file" },
		{ "near 2^64", UINT64_MAX,
		  "f: its first 8 bytes announce a header of 18446744073709551615 bytes, above the limit of "
		  "100000000: not a safetensors file" },
		{ "none", 0, "f: the header does not start with '{': not a safetensors file" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_buf file = RT_BUF_INIT;
		struct rt_err err = RT_ERR_INIT;
		struct rt_weights *w = NULL;

		print_message("%s\n", rows[i].name);
		build(&file, "{}", 0, rows[i].announced);
		assert_int_equal(
			rt_safetensors_parse((const unsigned char *)file.data, file.len, "f", &w, &err), -1);
		assert_int_equal(err.code, RT_INVALID);
		assert_string_equal(err.msg, rows[i].msg);
		rt_buf_release(&file);
	}
	{
		struct rt_err err = RT_ERR_INIT;
		struct rt_weights *w = NULL;

		assert_int_equal(rt_safetensors_parse((const unsigned char *)"", 0, "f", &w, &err), -1);
		assert_string_equal(err.msg, "f: the file has 0 bytes; a safetensors file has at least 10");
	}
}

/* Every prefix of a good file and every file with one byte changed: refused or read, never a crash. */
static void parse_survives_cuts_and_changes(void **state)
{
	struct rt_buf file = RT_BUF_INIT;
	struct rt_weights *w;

	(void)state;
	assert_int_equal(
		parse("{" T("a", "F32", "2", 0, 8) "," T("b", "I8", "3", 8, 11) "}", 11, &w, &file, NULL), 0);
	rt_weights_close(w);
	for (size_t n = 0; n < file.len; n++) {
		char *cut = malloc(n + 1); /* so that a sanitizer sees a step over the edge */

		memcpy(cut, file.data, n);
		assert_int_equal(rt_safetensors_parse((const unsigned char *)cut, n, "f", &w, NULL), -1);
		free(cut);
	}
	for (size_t at = 0; at < file.len; at++) {
		for (int c = 0; c < 256; c += 3) {
			char was = file.data[at];

			file.data[at] = (char)c;
			if (rt_safetensors_parse((const unsigned char *)file.data, file.len, "f", &w, NULL) ==
			    0)
				rt_weights_close(w);
			file.data[at] = was;
		}
	}
	rt_buf_release(&file);
}

static void write_text(const char *name, const char *text)
{
	assert_int_equal(rt_file_write(in_dir(name), text, strlen(text), NULL), 0);
}

static void write_gives_what_read_takes(void **state)
{
	static const float f[] = { 1, -2, 3.5f };
	static const double d[] = { 0.1 };
	static const int64_t n[] = { -7, 1LL << 40 };
	static const unsigned char bytes[] = { 9, 8, 7 };
	const struct rt_tensor tensors[] = {
		{ "b\"q", RT_DTYPE_F32, 2, { 3, 1 }, f, sizeof f },
		{ "u8", RT_DTYPE_U8, 1, { 3 }, bytes, 3 },
		{ "a", RT_DTYPE_F32, 0, { 0 }, f + 2, 4 },
		{ "none", RT_DTYPE_F16, 2, { 5, 0 }, NULL, 0 },
		{ "i", RT_DTYPE_I64, 1, { 2 }, n, sizeof n },
		{ "d", RT_DTYPE_F64, 1, { 1 }, d, sizeof d },
	};
	const struct rt_weights_pair meta[] = { { "made", "by a \"test\"" }, { "format", "tf" } };
	static const char *const order[] = { "d", "i", "a", "b\"q", "none", "u8" };
	struct rt_err err = RT_ERR_INIT;
	struct rt_buf raw = RT_BUF_INIT;
	const char *last = NULL;
	struct rt_weights *w;
	json_t *header, *value;
	const char *name;
	size_t i = 0;

	(void)state;
	assert_int_equal(rt_safetensors_write(in_dir("w.safetensors"), tensors, 6, meta, 2, &err), 0);
	assert_int_equal(rt_safetensors_open(in_dir("w.safetensors"), &w, &err), 0);
	assert_int_equal(rt_weights_count(w), 6);
	for (size_t k = 0; k < 6; k++) {
		const struct rt_tensor *t = rt_weights_find(w, tensors[k].name);

		assert_non_null(t);
		assert_int_equal(t->dtype, tensors[k].dtype);
		assert_int_equal(t->ndim, tensors[k].ndim);
		assert_memory_equal(t->shape, tensors[k].shape, sizeof t->shape);
		assert_int_equal(t->size_bytes, tensors[k].size_bytes);
		if (t->size_bytes)
			assert_memory_equal(t->data, tensors[k].data, t->size_bytes);
		/* written by us, so aligned for its type */
		assert_int_equal((uintptr_t)t->data % (rt_dtype_bits(t->dtype) / 8), 0);
	}
	rt_weights_close(w);

	assert_int_equal(rt_file_read(in_dir("w.safetensors"), 1 << 20, &raw, &err), 0);
	assert_int_equal((unsigned char)raw.data[0] % 8, 0);
	header = rt_json_parse(raw.data + 8, (unsigned char)raw.data[0] + 256u * (unsigned char)raw.data[1],
			       &err);
	assert_non_null(header);
	json_object_foreach(header, name, value)
	{
		if (strcmp(name, "__metadata__") == 0) {
			assert_int_equal(json_object_size(value), 2);
			assert_string_equal(json_string_value(json_object_get(value, "format")), "pt");
			assert_string_equal(json_string_value(json_object_get(value, "made")),
					    "by a \"test\"");
			continue;
		}
		assert_string_equal(name, order[i++]);
		last = name;
	}
	assert_string_equal(last, "u8");
	json_decref(header);
	rt_buf_release(&raw);
}

static void write_refuses_what_would_not_read(void **state)
{
	static const float f[] = { 1, 2 };
	const struct rt_tensor twice[] = { { "a", RT_DTYPE_F32, 1, { 1 }, f, 4 },
					   { "a", RT_DTYPE_F32, 1, { 1 }, f, 4 } };
	const struct rt_tensor size = { "a", RT_DTYPE_F32, 1, { 3 }, f, 8 };
	const struct rt_tensor good = { "a", RT_DTYPE_F32, 1, { 2 }, f, 8 };
	struct rt_err err = RT_ERR_INIT;

	(void)state;
	assert_int_equal(rt_safetensors_write(in_dir("x"), twice, 2, NULL, 0, &err), -1);
	assert_string_equal(err.msg, "two tensors are called 'a'");
	assert_int_equal(rt_safetensors_write(in_dir("x"), &size, 1, NULL, 0, &err), -1);
	assert_string_equal(err.msg, "tensor 'a' has 8 bytes where its shape takes 12");
	assert_int_equal(rt_safetensors_write(in_dir("no/such/x"), &good, 1, NULL, 0, &err), -1);
	assert_int_equal(err.code, RT_NOT_FOUND);
	assert_false(rt_file_exists(in_dir("x")));
}

static void open_says_what_it_looked_for(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_weights *w = NULL;
	char want[512];

	(void)state;
	assert_int_equal(rt_weights_open(in_dir("nowhere"), &w, &err), -1);
	assert_int_equal(err.code, RT_NOT_FOUND);
	assert_int_equal(rt_dir_make(in_dir("m"), NULL), 0);
	assert_int_equal(rt_weights_open(in_dir("m"), &w, &err), -1);
	assert_int_equal(err.code, RT_NOT_FOUND);
	snprintf(want, sizeof want,
		 "%s has no weights: looked for model.safetensors, model.safetensors.index.json, "
		 "pytorch_model.bin and "
		 "pytorch_model.bin.index.json",
		 in_dir("m"));
	assert_string_equal(err.msg, want);
	write_text("m/tf_model.h5", "x");
	assert_int_equal(rt_weights_open(in_dir("m"), &w, &err), -1);
	assert_int_equal(err.code, RT_UNSUPPORTED);
	assert_non_null(strstr(err.msg, "tf_model.h5"));
	assert_null(w);
}

static void open_refuses_another_frameworks_layout(void **state)
{
	struct rt_buf file = RT_BUF_INIT;
	struct rt_err err = RT_ERR_INIT;
	struct rt_weights *w;

	(void)state;
	build(&file, "{\"__metadata__\":{\"format\":\"tf\"}}", 0, 33);
	assert_int_equal(rt_dir_make(in_dir("tf"), NULL), 0);
	assert_int_equal(rt_file_write(in_dir("tf/model.safetensors"), file.data, file.len, NULL), 0);
	file.data[0] = 32;
	assert_int_equal(rt_file_write(in_dir("tf/model.safetensors"), file.data, file.len, NULL), 0);
	assert_int_equal(rt_weights_open(in_dir("tf"), &w, &err), -1);
	assert_int_equal(err.code, RT_UNSUPPORTED);
	assert_non_null(strstr(err.msg, "layout of 'tf'"));
	rt_buf_release(&file);
}

static void open_refuses_what_is_no_file_of_weights(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_weights *w = NULL;
	char want[300];

	(void)state;
	assert_int_equal(rt_dir_make(in_dir("lfs"), NULL), 0);
	write_text("lfs/model.safetensors",
		   "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
	assert_int_equal(rt_weights_open(in_dir("lfs"), &w, &err), -1);
	snprintf(want, sizeof want,
		 "%s: it is a pointer of Git LFS, not the weights; fetch them with 'git lfs pull'",
		 in_dir("lfs/model.safetensors"));
	assert_string_equal(err.msg, want);
	/* a pipe without a writer must not hold us up */
	assert_int_equal(rt_dir_make(in_dir("pipe"), NULL), 0);
	assert_int_equal(mkfifo(in_dir("pipe/model.safetensors"), 0600), 0);
	assert_int_equal(rt_weights_open(in_dir("pipe"), &w, &err), -1);
	snprintf(want, sizeof want, "%s is not a regular file", in_dir("pipe/model.safetensors"));
	assert_string_equal(err.msg, want);
	assert_null(w);
}

static void index_of_many_megabytes_is_refused(void **state)
{
	struct rt_buf text = RT_BUF_INIT;
	struct rt_err err = RT_ERR_INIT;
	struct rt_weights *w = NULL;

	(void)state;
	assert_int_equal(rt_dir_make(in_dir("big"), NULL), 0);
	rt_buf_str(&text, "{\"weight_map\":[");
	while (text.len < (4 << 20))
		rt_buf_str(&text, "[],[],[],[],[],[],[],[],");
	rt_buf_str(&text, "0]}");
	assert_int_equal(rt_buf_check(&text, NULL), 0);
	write_text("big/model.safetensors.index.json", text.data);
	assert_int_equal(rt_weights_open(in_dir("big"), &w, &err), -1);
	assert_int_equal(err.code, RT_TOO_LARGE);
	assert_null(w);
	rt_buf_release(&text);
}

static void index_is_checked_against_its_shards(void **state)
{
	static const float f[] = { 1, 2 };
	const struct rt_tensor a = { "a", RT_DTYPE_F32, 1, { 2 }, f, 8 },
			       b = { "b", RT_DTYPE_F32, 1, { 1 }, f, 4 };
	static const struct {
		const char *name, *index, *msg; /* NULL: reads; msg after the path of the index */
	} rows[] = {
		{ "good",
		  "{\"metadata\":{},\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}",
		  NULL },
		{ "slash", "{\"weight_map\":{\"a\":\"../s/1.safetensors\"}}",
		  "weight_map names the file '../s/1.safetensors', which is not a plain file name" },
		{ "dots", "{\"weight_map\":{\"a\":\"..\"}}",
		  "weight_map names the file '..', which is not a plain file name" },
		{ "U+0000", "{\"weight_map\":{\"a\":\"1.safetensors\\u0000x\"}}",
		  "weight_map names the file '1.safetensors?x', which is not a plain file name" },
		{ "missing tensor", "{\"weight_map\":{\"a\":\"1.safetensors\",\"c\":\"2.safetensors\"}}",
		  "tensor 'c' is not in its shard '2.safetensors'" },
		{ "wrong shard", "{\"weight_map\":{\"a\":\"2.safetensors\",\"b\":\"1.safetensors\"}}",
		  "tensor 'a' is not in its shard '2.safetensors'" },
		{ "in two shards", "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"3.safetensors\"}}",
		  "tensor 'a' stands in two shards" },
		{ "number", "{\"weight_map\":{\"a\":1}}", "weight_map does not name a file for tensor 'a'" },
		{ "no map", "{\"metadata\":{}}",
		  "weight_map must be an object that names a file for each tensor" },
	};
	const struct rt_tensor both[] = { a, b };

	(void)state;
	assert_int_equal(rt_dir_make(in_dir("s"), NULL), 0);
	assert_int_equal(rt_safetensors_write(in_dir("s/1.safetensors"), &a, 1, NULL, 0, NULL), 0);
	assert_int_equal(rt_safetensors_write(in_dir("s/2.safetensors"), &b, 1, NULL, 0, NULL), 0);
	assert_int_equal(rt_safetensors_write(in_dir("s/3.safetensors"), both, 2, NULL, 0, NULL), 0);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_err err = RT_ERR_INIT;
		struct rt_weights *w = NULL;
		char want[512];

		print_message("%s\n", rows[i].name);
		write_text("s/model.safetensors.index.json", rows[i].index);
		if (!rows[i].msg) {
			assert_int_equal(rt_weights_open(in_dir("s"), &w, &err), 0);
			assert_int_equal(rt_weights_count(w), 2);
			assert_int_equal(rt_weights_find(w, "b")->size_bytes, 4);
			rt_weights_close(w);
			continue;
		}
		snprintf(want, sizeof want, "%s: %s", in_dir("s/model.safetensors.index.json"), rows[i].msg);
		assert_int_equal(rt_weights_open(in_dir("s"), &w, &err), -1);
		assert_int_equal(err.code, RT_INVALID);
		assert_string_equal(err.msg, want);
		assert_null(w);
	}
	{
		struct rt_err err = RT_ERR_INIT;
		struct rt_weights *w = NULL;

		write_text("s/model.safetensors.index.json", "{\"weight_map\":{\"a\":\"gone.safetensors\"}}");
		assert_int_equal(rt_weights_open(in_dir("s"), &w, &err), -1);
		assert_int_equal(err.code, RT_NOT_FOUND);
		assert_non_null(strstr(err.msg, "tensor 'a' is in the shard 'gone.safetensors'"));
	}
}

/* The reference models: each folder opens; the sharded ones hold the same tensors as the single files. */
static void reference_models_open(void **state)
{
	static const char *const names[] = { "albert",	     "bert",
					     "bert-bf16",    "bert-fp16",
					     "deberta-v2",   "modernbert",
					     "roberta",	     "roberta-base-prefixed",
					     "bert-sharded", "roberta-sharded" };
	const char *shared = getenv("RT_SHARED");
	struct rt_weights *one, *shards;
	struct rt_err err = RT_ERR_INIT;
	char path[512];

	(void)state;
	snprintf(path, sizeof path, "%s/reference/models", shared ? shared : "");
	if (!shared || !rt_file_is_dir(path)) {
		print_message("the reference models are not here (RT_SHARED)\n");
		skip();
	}
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		print_message("%s\n", names[i]);
		snprintf(path, sizeof path, "%s/reference/models/%s", shared, names[i]);
		if (rt_weights_open(path, &one, &err) < 0)
			fail_msg("%s", err.msg);
		assert_true(rt_weights_count(one) > 20);
		rt_weights_close(one);
	}
	snprintf(path, sizeof path, "%s/reference/models/bert", shared);
	assert_int_equal(rt_weights_open(path, &one, &err), 0);
	snprintf(path, sizeof path, "%s/reference/models/bert-sharded", shared);
	assert_int_equal(rt_weights_open(path, &shards, &err), 0);
	assert_int_equal(rt_weights_count(one), rt_weights_count(shards));
	for (size_t i = 0; i < rt_weights_count(one); i++) {
		const struct rt_tensor *x = rt_weights_at(one, i), *y = rt_weights_at(shards, i);

		assert_string_equal(x->name, y->name);
		assert_int_equal(x->size_bytes, y->size_bytes);
		assert_memory_equal(x->data, y->data, x->size_bytes);
	}
	rt_weights_close(shards);

	/* our writer's file of the same tensors: same order, same size as the library's */
	assert_int_equal(rt_safetensors_write(in_dir("bert.safetensors"), rt_weights_at(one, 0),
					      rt_weights_count(one), NULL, 0, &err),
			 0);
	{
		struct rt_buf ours = RT_BUF_INIT, theirs = RT_BUF_INIT;

		snprintf(path, sizeof path, "%s/reference/models/bert/model.safetensors", shared);
		assert_int_equal(rt_file_read(path, 1 << 24, &theirs, &err), 0);
		assert_int_equal(rt_file_read(in_dir("bert.safetensors"), 1 << 24, &ours, &err), 0);
		assert_int_equal(ours.len, theirs.len);
		assert_memory_equal(ours.data, theirs.data, ours.len);
		rt_buf_release(&ours);
		rt_buf_release(&theirs);
	}
	rt_weights_close(one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_reads_every_type_and_unaligned_data),
		cmocka_unit_test(parse_refuses_broken_headers),
		cmocka_unit_test(parse_refuses_lengths_that_lie),
		cmocka_unit_test(parse_survives_cuts_and_changes),
		cmocka_unit_test(write_gives_what_read_takes),
		cmocka_unit_test(write_refuses_what_would_not_read),
		cmocka_unit_test(open_says_what_it_looked_for),
		cmocka_unit_test(open_refuses_another_frameworks_layout),
		cmocka_unit_test(open_refuses_what_is_no_file_of_weights),
		cmocka_unit_test(index_of_many_megabytes_is_refused),
		cmocka_unit_test(index_is_checked_against_its_shards),
		cmocka_unit_test(reference_models_open),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
