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

#include "base/file.h"
#include "worker/weights/torch_bin.h"
#include "worker/weights/weights.h"

#define ENTRIES_MAX 16

static void add_number(struct rt_buf *b, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		rt_buf_char(b, i < 8 ? (char)(v >> (8 * i)) : 0);
}

/* ---- pickles ---- */

static void put_text(struct rt_buf *b, const char *s)
{
	rt_buf_char(b, 'X');
	add_number(b, strlen(s), 4);
	rt_buf_str(b, s);
}

static void put_int(struct rt_buf *b, int64_t v)
{
	rt_buf_str(b, "\x8a\x08");
	add_number(b, (uint64_t)v, 8);
}

static void put_tuple(struct rt_buf *b, const int64_t *v, int n)
{
	rt_buf_char(b, '(');
	for (int i = 0; i < n; i++)
		put_int(b, v[i]);
	rt_buf_char(b, 't');
}

/* A tensor as torch.save writes it, and where it lies. */
struct tensor {
	const char *name, *type, *key;
	int64_t numel, offset;
	int ndim;
	int64_t shape[4], stride[4];
	int64_t view_offset, view_numel; /* view_numel 0: none */
};

static void put_tensor(struct rt_buf *b, const struct tensor *t, bool legacy)
{
	put_text(b, t->name);
	rt_buf_str(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
	put_text(b, "storage");
	rt_buf_fmt(b, "ctorch\n%s\n", t->type);
	put_text(b, t->key);
	put_text(b, "cpu");
	put_int(b, t->numel);
	if (legacy && t->view_numel) {
		rt_buf_char(b, '(');
		put_text(b, "view");
		put_int(b, t->view_offset);
		put_int(b, t->view_numel);
		rt_buf_char(b, 't');
	} else if (legacy) {
		rt_buf_char(b, 'N');
	}
	rt_buf_str(b, "tQ");
	put_int(b, t->offset);
	put_tuple(b, t->shape, t->ndim);
	put_tuple(b, t->stride, t->ndim);
	rt_buf_str(b, "\x89"
		      "ccollections\nOrderedDict\n)RtR");
}

static void put_dict(struct rt_buf *b, const struct tensor *t, size_t n, bool legacy)
{
	rt_buf_str(b, "\x80\x02"
		      "ccollections\nOrderedDict\n)R(");
	for (size_t i = 0; i < n; i++)
		put_tensor(b, &t[i], legacy);
	rt_buf_str(b, "u}");
	put_text(b, "_metadata");
	rt_buf_str(b, "ccollections\nOrderedDict\n)Rsb.");
}

/* ---- zip files ---- */

struct entry {
	const char *name;
	const void *bytes;
	size_t n;
};

/* What a zip file may do otherwise than ours. */
struct knobs {
	bool zip64;	 /* sizes and offsets in extra fields, end record in 64 bits */
	bool descriptor; /* sizes only in the directory */
	const char *comment;
	int method, flags;
	int64_t count_off, size_off, start_off, data_off, packed_off; /* added to what is right */
	bool other_local_name;
	bool padded; /* local extra field, as PyTorch aligns storages */
};

static void add_zip(struct rt_buf *b, const struct entry *e, size_t n, const struct knobs *k)
{
	size_t at[ENTRIES_MAX], start, size;

	for (size_t i = 0; i < n; i++) {
		size_t pad = k->padded ? 5 + 3 * i : 0;

		at[i] = b->len;
		add_number(b, 0x04034b50, 4);
		add_number(b, 0, 2);
		add_number(b, k->descriptor ? 8 : 0, 2);
		add_number(b, 0, 2);
		add_number(b, 0, 8); /* time, date, checksum */
		add_number(b, k->descriptor ? 0 : e[i].n, 4);
		add_number(b, k->descriptor ? 0 : e[i].n, 4);
		add_number(b, strlen(e[i].name), 2);
		add_number(b, pad, 2);
		rt_buf_str(b, e[i].name);
		if (k->other_local_name)
			b->data[b->len - 1] ^= 1;
		for (size_t j = 0; j < pad; j++)
			rt_buf_char(b, 'Z');
		rt_buf_add(b, e[i].bytes, e[i].n);
		if (k->descriptor)
			rt_buf_add(b, "PK\7\10............", 16);
	}
	start = b->len;
	for (size_t i = 0; i < n; i++) {
		add_number(b, 0x02014b50, 4);
		add_number(b, 0, 4);
		add_number(b, (uint64_t)k->flags, 2);
		add_number(b, (uint64_t)k->method, 2);
		add_number(b, 0, 8);
		add_number(b, k->zip64 ? UINT32_MAX : e[i].n + (uint64_t)k->packed_off, 4);
		add_number(b, k->zip64 ? UINT32_MAX : e[i].n, 4);
		add_number(b, strlen(e[i].name), 2);
		add_number(b, k->zip64 ? 33 : 0, 2);
		add_number(b, 0, 10);
		add_number(b, k->zip64 ? UINT32_MAX : at[i] + (uint64_t)k->data_off, 4);
		rt_buf_str(b, e[i].name);
		if (k->zip64) {
			rt_buf_add(b, "FB\1\0.", 5); /* another field first */
			add_number(b, 1, 2);
			add_number(b, 24, 2);
			add_number(b, e[i].n, 8);
			add_number(b, e[i].n, 8);
			add_number(b, at[i] + (uint64_t)k->data_off, 8);
		}
	}
	size = b->len - start + (size_t)k->size_off;
	if (k->zip64) {
		size_t end = b->len;

		add_number(b, 0x06064b50, 4);
		add_number(b, 44, 8);
		add_number(b, 0, 12);
		add_number(b, n + (uint64_t)k->count_off, 8);
		add_number(b, n + (uint64_t)k->count_off, 8);
		add_number(b, size, 8);
		add_number(b, start + (uint64_t)k->start_off, 8);
		add_number(b, 0x07064b50, 4);
		add_number(b, 0, 4);
		add_number(b, end, 8);
		add_number(b, 1, 4);
	}
	add_number(b, 0x06054b50, 4);
	add_number(b, 0, 4);
	add_number(b, k->zip64 ? 0xffff : n + (uint64_t)k->count_off, 2);
	add_number(b, k->zip64 ? 0xffff : n + (uint64_t)k->count_off, 2);
	add_number(b, k->zip64 ? UINT32_MAX : size, 4);
	add_number(b, k->zip64 ? UINT32_MAX : start + (uint64_t)k->start_off, 4);
	add_number(b, k->comment ? strlen(k->comment) : 0, 2);
	rt_buf_str(b, k->comment ? k->comment : "");
}

/* A checkpoint of tensors over storages "0" and "1" of the given sizes, filled with 0, 1, 2… */
static void add_checkpoint(struct rt_buf *b, const struct tensor *t, size_t n, size_t size0, size_t size1,
			   const struct knobs *k)
{
	static unsigned char numbers[256];
	struct rt_buf pickle = RT_BUF_INIT;

	for (size_t i = 0; i < sizeof numbers; i++)
		numbers[i] = (unsigned char)i;
	put_dict(&pickle, t, n, false);
	add_zip(b,
		(const struct entry[]){ { "m/data.pkl", pickle.data, pickle.len },
					{ "m/byteorder", "little", 6 },
					{ "m/data/0", numbers, size0 },
					{ "m/data/1", numbers, size1 },
					{ "m/version", "3\n", 2 } },
		5, k);
	rt_buf_release(&pickle);
}

static const struct knobs plain = { 0 };

/* Parses from an allocation of the exact size; *bytes is freed by the caller after the weights. */
static int parse(const struct rt_buf *file, unsigned char **bytes, struct rt_weights **ret,
		 struct rt_err *err)
{
	*bytes = malloc(file->len ? file->len : 1);
	assert_non_null(*bytes);
	if (file->len)
		memcpy(*bytes, file->data, file->len);
	return rt_torch_parse(*bytes, file->len, "f", ret, err);
}

static void assert_refused(const struct rt_buf *file, enum rt_code code, const char *msg)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_weights *w = NULL;
	unsigned char *bytes;

	assert_int_equal(parse(file, &bytes, &w, &err), -1);
	assert_null(w);
	assert_string_equal(err.msg, msg);
	assert_int_equal(err.code, code);
	free(bytes);
}

static void parse_reads_tensors_of_shared_storages(void **state)
{
	static const struct tensor tensors[] = {
		{ "whole", "FloatStorage", "0", 12, 0, 2, { 3, 4 }, { 4, 1 }, 0, 0 },
		{ "tied", "FloatStorage", "0", 12, 0, 2, { 3, 4 }, { 4, 1 }, 0, 0 },
		{ "tail", "FloatStorage", "0", 12, 8, 1, { 4 }, { 1 }, 0, 0 },
		{ "turned", "FloatStorage", "0", 12, 0, 2, { 4, 3 }, { 1, 4 }, 0, 0 },
		{ "column", "FloatStorage", "0", 12, 1, 1, { 3 }, { 4 }, 0, 0 },
		{ "expanded", "FloatStorage", "0", 12, 2, 2, { 2, 3 }, { 0, 4 }, 0, 0 },
		{ "ones are no stride", "FloatStorage", "0", 12, 4, 3, { 1, 4, 1 }, { 99, 1, 77 }, 0, 0 },
		{ "scalar", "FloatStorage", "0", 12, 11, 0, { 0 }, { 0 }, 0, 0 },
		{ "empty", "FloatStorage", "0", 12, 12, 2, { 0, 4 }, { 4, 1 }, 0, 0 },
		{ "cube", "LongStorage", "1", 8, 0, 3, { 2, 2, 2 }, { 1, 2, 4 }, 0, 0 },
	};
	static const struct {
		const char *name;
		enum rt_dtype dtype;
		int n;
		unsigned char first[12]; /* first byte of each element */
		bool in_file;
	} want[] = {
		{ "column", RT_DTYPE_F32, 3, { 4, 20, 36 }, false },
		{ "cube", RT_DTYPE_I64, 8, { 0, 32, 16, 48, 8, 40, 24, 56 }, false },
		{ "empty", RT_DTYPE_F32, 0, { 0 }, false },
		{ "expanded", RT_DTYPE_F32, 6, { 8, 24, 40, 8, 24, 40 }, false },
		{ "ones are no stride", RT_DTYPE_F32, 4, { 16, 20, 24, 28 }, true },
		{ "scalar", RT_DTYPE_F32, 1, { 44 }, true },
		{ "tail", RT_DTYPE_F32, 4, { 32, 36, 40, 44 }, true },
		{ "tied", RT_DTYPE_F32, 12, { 0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44 }, true },
		{ "turned", RT_DTYPE_F32, 12, { 0, 16, 32, 4, 20, 36, 8, 24, 40, 12, 28, 44 }, false },
		{ "whole", RT_DTYPE_F32, 12, { 0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44 }, true },
	};
	static const struct knobs all[] = {
		{ 0 },
		{ .zip64 = true },
		{ .descriptor = true, .flags = 0x808 },
		{ .padded = true, .comment = "a comment" },
	};
	size_t count = sizeof want / sizeof *want;

	(void)state;
	for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
		struct rt_buf file = RT_BUF_INIT;
		struct rt_err err = RT_ERR_INIT;
		struct rt_weights *w;
		unsigned char *bytes;

		print_message("layout %zu\n", k);
		add_checkpoint(&file, tensors, sizeof tensors / sizeof *tensors, 48, 64, &all[k]);
		if (parse(&file, &bytes, &w, &err) < 0)
			fail_msg("%s", err.msg);
		assert_int_equal(rt_weights_count(w), count);
		for (size_t i = 0; i < count; i++) {
			const struct rt_tensor *t = rt_weights_find(w, want[i].name);
			size_t size = want[i].dtype == RT_DTYPE_I64 ? 8 : 4;
			const unsigned char *data;

			print_message("  %s\n", want[i].name);
			assert_non_null(t);
			assert_ptr_equal(t, rt_weights_at(w, i));
			assert_int_equal(t->dtype, want[i].dtype);
			assert_int_equal(t->size_bytes, (size_t)want[i].n * size);
			data = t->data;
			if (want[i].n == 0) {
				assert_null(data);
				continue;
			}
			for (int j = 0; j < want[i].n; j++) {
				for (size_t b = 0; b < size; b++)
					assert_int_equal(data[(size_t)j * size + b], want[i].first[j] + b);
			}
			assert_int_equal(data >= bytes && data < bytes + file.len, want[i].in_file);
		}
		assert_int_equal(rt_weights_find(w, "turned")->shape[0], 4);
		assert_int_equal(rt_weights_find(w, "turned")->shape[1], 3);
		rt_weights_close(w);
		free(bytes);
		rt_buf_release(&file);
	}
}

static void parse_knows_every_type_of_number(void **state)
{
	static const struct {
		const char *type;
		enum rt_dtype dtype;
		int64_t size;
	} rows[] = {
		{ "DoubleStorage", RT_DTYPE_F64, 8 },	    { "FloatStorage", RT_DTYPE_F32, 4 },
		{ "HalfStorage", RT_DTYPE_F16, 2 },	    { "BFloat16Storage", RT_DTYPE_BF16, 2 },
		{ "LongStorage", RT_DTYPE_I64, 8 },	    { "IntStorage", RT_DTYPE_I32, 4 },
		{ "ShortStorage", RT_DTYPE_I16, 2 },	    { "CharStorage", RT_DTYPE_I8, 1 },
		{ "ByteStorage", RT_DTYPE_U8, 1 },	    { "BoolStorage", RT_DTYPE_BOOL, 1 },
		{ "ComplexFloatStorage", RT_DTYPE_C64, 8 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		/* two columns of three, turned */
		const struct tensor t = { "t", rows[i].type, "0", 6, 0, 2, { 2, 3 }, { 1, 2 }, 0, 0 };
		static const unsigned char order[] = { 0, 2, 4, 1, 3, 5 };
		struct rt_buf file = RT_BUF_INIT;
		struct rt_err err = RT_ERR_INIT;
		const struct rt_tensor *got;
		struct rt_weights *w;
		unsigned char *bytes;

		print_message("%s\n", rows[i].type);
		add_checkpoint(&file, &t, 1, (size_t)(6 * rows[i].size), 0, &plain);
		if (parse(&file, &bytes, &w, &err) < 0)
			fail_msg("%s", err.msg);
		got = rt_weights_find(w, "t");
		assert_int_equal(got->dtype, rows[i].dtype);
		for (int j = 0; j < 6; j++)
			assert_int_equal(((const unsigned char *)got->data)[j * rows[i].size],
					 order[j] * rows[i].size);
		rt_weights_close(w);
		free(bytes);
		rt_buf_release(&file);
	}
}

static void parse_refuses_tensors_that_lie(void **state)
{
	static const struct {
		const char *name;
		struct tensor t;
		const char *msg;
	} rows[] = {
		{ "offset past the end",
		  { "t", "FloatStorage", "0", 12, 1, 2, { 3, 4 }, { 4, 1 }, 0, 0 },
		  "f: tensor 't': it needs 12 numbers from number 1 of a storage of 12" },
		{ "offset below 0",
		  { "t", "FloatStorage", "0", 12, -1, 1, { 1 }, { 1 }, 0, 0 },
		  "f: tensor 't': it needs 1 numbers from number -1 of a storage of 12" },
		{ "offset far away",
		  { "t", "FloatStorage", "0", 12, INT64_MAX, 1, { 1 }, { 1 }, 0, 0 },
		  "f: tensor 't': it needs 1 numbers from number 9223372036854775807 of a storage of 12" },
		{ "offset of an empty tensor",
		  { "t", "FloatStorage", "0", 12, 13, 1, { 0 }, { 1 }, 0, 0 },
		  "f: tensor 't': it needs 0 numbers from number 13 of a storage of 12" },
		{ "shape too large",
		  { "t", "FloatStorage", "0", 12, 0, 1, { 13 }, { 1 }, 0, 0 },
		  "f: tensor 't': it needs 13 numbers from number 0 of a storage of 12" },
		{ "stride too large",
		  { "t", "FloatStorage", "0", 12, 0, 2, { 3, 4 }, { 5, 1 }, 0, 0 },
		  "f: tensor 't': it needs 14 numbers from number 0 of a storage of 12" },
		{ "stride below 0",
		  { "t", "FloatStorage", "0", 12, 11, 1, { 3 }, { -1 }, 0, 0 },
		  "f: tensor 't': a size or a stride is below 0" },
		{ "size below 0",
		  { "t", "FloatStorage", "0", 12, 0, 2, { -1, -1 }, { 1, 1 }, 0, 0 },
		  "f: tensor 't': a size or a stride is below 0" },
		{ "product beyond 64 bits",
		  { "t", "FloatStorage", "0", 12, 0, 2, { 1LL << 32, 1LL << 32 }, { 0, 0 }, 0, 0 },
		  "f: tensor 't': its shape has a size that cannot be" },
		{ "bytes beyond 64 bits",
		  { "t", "FloatStorage", "0", 12, 0, 1, { 1LL << 61 }, { 0 }, 0, 0 },
		  "f: tensor 't': its shape has a size that cannot be" },
		{ "product hidden behind a zero",
		  { "t", "FloatStorage", "0", 12, 0, 3, { 1LL << 32, 1LL << 32, 0 }, { 0, 0, 1 }, 0, 0 },
		  "f: tensor 't': its shape has a size that cannot be" },
		{ "stride that wraps",
		  { "t", "FloatStorage", "0", 12, 0, 1, { 5 }, { 1LL << 62 }, 0, 0 },
		  "f: tensor 't': its shape has a size that cannot be" },
		{ "strides whose sum wraps",
		  { "t", "FloatStorage", "0", 12, 0, 3, { 2, 2, 2 }, { INT64_MAX, INT64_MAX, 2 }, 0, 0 },
		  "f: tensor 't': its shape has a size that cannot be" },
		{ "numel more than the entry holds",
		  { "t", "FloatStorage", "0", 13, 0, 1, { 1 }, { 1 }, 0, 0 },
		  "f: the storage '0' has 48 bytes, but its 13 numbers of F32 take 52" },
		{ "numel less than the entry holds",
		  { "t", "FloatStorage", "0", 11, 0, 1, { 1 }, { 1 }, 0, 0 },
		  "f: the storage '0' has 48 bytes, but its 11 numbers of F32 take 44" },
		{ "storage of another type",
		  { "t", "DoubleStorage", "0", 12, 0, 1, { 1 }, { 1 }, 0, 0 },
		  "f: the storage '0' has 48 bytes, but its 12 numbers of F64 take 96" },
		{ "storage without an entry",
		  { "t", "FloatStorage", "2", 12, 0, 1, { 1 }, { 1 }, 0, 0 },
		  "f: the storage '2' has no entry in the zip file: it is not whole" },
		{ "storage of a name elsewhere",
		  { "t", "FloatStorage", "../data.pkl", 12, 0, 1, { 1 }, { 1 }, 0, 0 },
		  "f: the storage '../data.pkl' has no entry in the zip file: it is not whole" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_buf file = RT_BUF_INIT;

		print_message("%s\n", rows[i].name);
		add_checkpoint(&file, &rows[i].t, 1, 48, 0, &plain);
		assert_refused(&file, RT_INVALID, rows[i].msg);
		rt_buf_release(&file);
	}
}

static void parse_refuses_state_dicts_that_are_none(void **state)
{
	static const struct tensor twice[] = {
		{ "a", "FloatStorage", "0", 12, 0, 1, { 1 }, { 1 }, 0, 0 },
		{ "b", "FloatStorage", "0", 12, 0, 1, { 1 }, { 1 }, 0, 0 },
		{ "a", "FloatStorage", "0", 12, 1, 1, { 1 }, { 1 }, 0, 0 },
	};
	static const struct tensor differ[] = {
		{ "a", "FloatStorage", "0", 12, 0, 1, { 1 }, { 1 }, 0, 0 },
		{ "b", "IntStorage", "0", 12, 0, 1, { 1 }, { 1 }, 0, 0 },
	};
	static const struct tensor broken_name[] = {
		{ "a\xff", "FloatStorage", "0", 12, 0, 0, { 0 }, { 0 }, 0, 0 }
	};
	static const struct {
		const char *pickle, *msg;
		enum rt_code code;
	} rows[] = {
		{ "\x80\x02K\x05.",
		  "f: it holds an integer, not a dict of named tensors; save the model's state_dict()",
		  RT_UNSUPPORTED },
		{ "\x80\x02}U\x05"
		  "epochK\x03s.",
		  "f: 'epoch' is an integer, not a tensor: the file holds more than a model's weights; save "
		  "the model's "
		  "state_dict() alone, or as safetensors",
		  RT_UNSUPPORTED },
		{ "\x80\x02}U\x05model}s.",
		  "f: 'model' is a dict, not a tensor: the file holds more than a model's weights; save the "
		  "model's "
		  "state_dict() alone, or as safetensors",
		  RT_UNSUPPORTED },
		{ "\x80\x02}K\x01K\x02s.", "f: a tensor's name is an integer, not a string", RT_INVALID },
		{ "\x80\x02}.N", "f: data.pkl goes on after its end, at byte 4", RT_INVALID },
		{ "\x80\x02"
		  "cposix\nsystem\n.",
		  "f: the pickle asks for 'posix.system' at byte 2, which weights do not need, and nothing "
		  "of a pickle is "
		  "run here; save the model's state_dict() alone, or as safetensors",
		  RT_UNSUPPORTED },
	};
	struct rt_buf file = RT_BUF_INIT;

	(void)state;
	add_checkpoint(&file, twice, 3, 48, 0, &plain);
	assert_refused(&file, RT_INVALID, "f: tensor 'a' stands twice");
	rt_buf_clear(&file);
	add_checkpoint(&file, differ, 2, 48, 0, &plain);
	assert_refused(&file, RT_INVALID, "f: the storage '0' is announced twice, and not the same");
	rt_buf_clear(&file);
	add_checkpoint(&file, broken_name, 1, 48, 0, &plain);
	assert_refused(&file, RT_INVALID,
		       "f: a tensor's name is not UTF-8 of at most 1024 bytes without U+0000");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct entry e = { "archive/data.pkl", rows[i].pickle, strlen(rows[i].pickle) };

		rt_buf_clear(&file);
		add_zip(&file, &e, 1, &plain);
		assert_refused(&file, rows[i].code, rows[i].msg);
	}
	rt_buf_release(&file);
}

static void parse_limits_copies_to_the_files_size(void **state)
{
	/* 16 MiB beside the file's own size are allowed for all copies together */
	static const struct tensor one = { "t", "ByteStorage",	      "0",	12, 0,
					   2,	{ 1 << 12, 1 << 12 }, { 0, 0 }, 0,  0 };
	struct tensor many[16];
	struct rt_buf file = RT_BUF_INIT;
	struct rt_err err = RT_ERR_INIT;
	struct rt_weights *w = NULL;
	unsigned char *bytes;

	(void)state;
	for (int i = 0; i < 16; i++) {
		static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g", "h",
						     "i", "j", "k", "l", "m", "n", "o", "p" };

		many[i] = one;
		many[i].name = names[i];
		many[i].shape[0] = 1 << 8;
	}
	add_checkpoint(&file, many, 15, 12, 0, &plain); /* 15 MiB */
	if (parse(&file, &bytes, &w, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(rt_weights_count(w), 15);
	assert_int_equal(rt_weights_at(w, 14)->size_bytes, 1 << 20);
	rt_weights_close(w);
	free(bytes);
	w = NULL;

	rt_buf_clear(&file);
	add_checkpoint(&file, many, 16, 12, 0, &plain);
	assert_int_equal(parse(&file, &bytes, &w, &err), -1);
	assert_int_equal(err.code, RT_UNSUPPORTED);
	assert_non_null(strstr(
		err.msg, "f: its transposed or expanded tensors would take 16777216 bytes of memory, "));
	assert_non_null(strstr(err.msg, "save the model again with contiguous tensors, or as safetensors"));
	free(bytes);

	rt_buf_clear(&file);
	many[0].shape[0] = many[0].shape[1] = 1 << 29;
	add_checkpoint(&file, many, 1, 12, 0, &plain);
	assert_int_equal(parse(&file, &bytes, &w, &err), -1);
	assert_non_null(strstr(err.msg, "would take 288230376151711744 bytes"));
	free(bytes);
	rt_buf_release(&file);
}

static void parse_refuses_broken_zip_files(void **state)
{
	static const struct tensor t = { "t", "FloatStorage", "0", 12, 0, 1, { 12 }, { 1 }, 0, 0 };
	static const struct {
		const char *name;
		struct knobs k;
		enum rt_code code;
		const char *msg; /* its start */
	} rows[] = {
		{ "compressed",
		  { .method = 8 },
		  RT_UNSUPPORTED,
		  "f: the zip entry 'm/byteorder' is compressed (method 8)" },
		{ "stored, with two sizes",
		  { .packed_off = 1 },
		  RT_INVALID,
		  "f: the zip entry 'm/data.pkl' is stored in 240 bytes, but has 239" },
		{ "encrypted", { .flags = 1 }, RT_UNSUPPORTED, "f: the zip entry 'm/data.pkl' is encrypted" },
		{ "another name before the data",
		  { .other_local_name = true },
		  RT_INVALID,
		  "f: the zip entry 'm/data.pkl' has another name in its own header" },
		{ "entry elsewhere",
		  { .data_off = 1 },
		  RT_INVALID,
		  "f: the zip entry 'm/data.pkl' has no header at byte 1" },
		{ "entry behind the end",
		  { .data_off = 1 << 30 },
		  RT_INVALID,
		  "f: the zip entry 'm/data.pkl' has no header at byte 1073741824" },
		{ "entry far behind the end, zip64",
		  { .zip64 = true, .data_off = INT64_MAX },
		  RT_INVALID,
		  "f: the zip entry 'm/data.pkl' has no header at byte 9223372036854775807" },
		{ "one entry more",
		  { .count_off = 1 },
		  RT_INVALID,
		  "f: the zip file's directory is broken at byte " },
		{ "one entry less",
		  { .count_off = -1 },
		  RT_INVALID,
		  "f: the zip file's directory holds more than the 4 entries announced" },
		{ "2^63 entries",
		  { .zip64 = true, .count_off = INT64_MAX },
		  RT_INVALID,
		  "f: the zip file announces 9223372036854775812 entries in a directory of " },
		{ "directory too large",
		  { .size_off = 1 },
		  RT_INVALID,
		  "f: the zip file's directory needs " },
		{ "directory too small",
		  { .size_off = -1 },
		  RT_INVALID,
		  "f: the zip file's directory is broken at byte " },
		{ "directory elsewhere",
		  { .start_off = -1 },
		  RT_INVALID,
		  "f: the zip file's directory is broken at byte " },
		{ "directory far away, zip64",
		  { .zip64 = true, .start_off = INT64_MAX },
		  RT_INVALID,
		  "f: the zip file's directory needs " },
	};
	struct rt_buf file = RT_BUF_INIT;
	size_t whole;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_err err = RT_ERR_INIT;
		struct rt_weights *w;
		unsigned char *bytes;

		print_message("%s\n", rows[i].name);
		rt_buf_clear(&file);
		add_checkpoint(&file, &t, 1, 48, 0, &rows[i].k);
		assert_int_equal(parse(&file, &bytes, &w, &err), -1);
		if (strncmp(err.msg, rows[i].msg, strlen(rows[i].msg)) != 0)
			assert_string_equal(err.msg, rows[i].msg);
		assert_int_equal(err.code, rows[i].code);
		free(bytes);
	}
	/* cut short at every byte, and every byte of the zip structures wrong: never a crash, never another tensor */
	rt_buf_clear(&file);
	add_checkpoint(&file, &t, 1, 48, 0, &(const struct knobs){ .zip64 = true });
	whole = file.len;
	for (file.len = 0; file.len < whole; file.len++) {
		struct rt_weights *w;
		unsigned char *bytes;

		assert_int_equal(parse(&file, &bytes, &w, NULL), -1);
		free(bytes);
	}
	for (size_t i = 0; i < whole; i++) {
		for (int bit = 0; bit < 8; bit++) {
			struct rt_weights *w = NULL;
			unsigned char *bytes;

			file.data[i] ^= (char)(1 << bit);
			if (parse(&file, &bytes, &w, NULL) == 0 && rt_weights_count(w) > 0)
				assert_true(rt_weights_at(w, 0)->size_bytes <= 48);
			rt_weights_close(w);
			free(bytes);
			file.data[i] ^= (char)(1 << bit);
		}
	}
	rt_buf_release(&file);
}

static void parse_refuses_other_files_by_name(void **state)
{
	static char tar[512] = "weights";
	static const struct {
		const char *name;
		struct entry e[3];
		size_t n;
		enum rt_code code;
		const char *msg;
	} zips[] = {
		{ "TorchScript",
		  { { "m/data.pkl", "N.", 2 }, { "m/constants.pkl", "N.", 2 } },
		  2,
		  RT_UNSUPPORTED,
		  "f: it is a TorchScript program, not weights; save the model's state_dict() with "
		  "torch.save, or as "
		  "safetensors" },
		{ "big endian",
		  { { "m/data.pkl", "}.", 2 }, { "m/byteorder", "big", 3 } },
		  2,
		  RT_UNSUPPORTED,
		  "f: its numbers are big endian; save the model again on a little-endian machine, or as "
		  "safetensors" },
		{ "an order that is none",
		  { { "m/data.pkl", "}.", 2 }, { "m/byteorder", "middle", 6 } },
		  2,
		  RT_INVALID,
		  "f: its 'byteorder' says neither little nor big" },
		{ "a version to come",
		  { { "m/data.pkl", "}.", 2 }, { "m/version", "11\n", 3 } },
		  2,
		  RT_UNSUPPORTED,
		  "f: its format has version 11; 1 to 10 are read" },
		{ "a zip file of something else",
		  { { "word/document.xml", "<>", 2 } },
		  1,
		  RT_INVALID,
		  "f: it is a zip file, but not one that torch.save wrote: no data.pkl in it" },
		{ "no folder",
		  { { "data.pkl", "}.", 2 } },
		  1,
		  RT_INVALID,
		  "f: it is a zip file, but not one that torch.save wrote: no data.pkl in it" },
		{ "a name twice",
		  { { "m/data.pkl", "}.", 2 }, { "m/data.pkl", "N.", 2 } },
		  2,
		  RT_INVALID,
		  "f: the zip entry 'm/data.pkl' stands twice" },
	};
	static const struct {
		const char *name, *bytes;
		size_t n;
		enum rt_code code;
		const char *msg;
	} rows[] = {
		{ "empty", "", 0, RT_INVALID, "f: the file is empty" },
		{ "Git LFS", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", 64,
		  RT_INVALID,
		  "f: it is a pointer of Git LFS, not the weights; fetch them with 'git lfs pull'" },
		{ "tar", tar, sizeof tar, RT_UNSUPPORTED,
		  "f: it is a tar file of PyTorch before 0.1.10; save the model again with a newer PyTorch, "
		  "or as "
		  "safetensors" },
		{ "preview", "PYTORCH1.......", 15, RT_UNSUPPORTED,
		  "f: it is in the preview format PYTORCH1; save the model again with a newer PyTorch, or as "
		  "safetensors" },
		{ "safetensors", "\2\0\0\0\0\0\0\0{}", 10, RT_INVALID,
		  "f: it looks like a safetensors file; name it model.safetensors" },
		{ "a page", "<!doctype html>", 15, RT_INVALID, "f: it is not a file that torch.save wrote" },
		{ "another pickle", "\x80\x02}.", 4, RT_INVALID,
		  "f: it is a pickle, but not one that torch.save wrote; save the model's state_dict() with "
		  "torch.save, or "
		  "as safetensors" },
		{ "a zip file's beginning", "PK\3\4", 4, RT_INVALID,
		  "f: the zip file has no directory at its end: it is cut short (download it again)" },
	};
	struct rt_buf file = RT_BUF_INIT;

	(void)state;
	memcpy(tar + 257, "ustar", 5);
	print_message("TorchScript, compressed\n"); /* as its code is */
	add_zip(&file, zips[0].e, zips[0].n, &(const struct knobs){ .method = 8 });
	assert_refused(&file, zips[0].code, zips[0].msg);
	for (size_t i = 0; i < sizeof zips / sizeof *zips; i++) {
		print_message("%s\n", zips[i].name);
		rt_buf_clear(&file);
		add_zip(&file, zips[i].e, zips[i].n, &plain);
		assert_refused(&file, zips[i].code, zips[i].msg);
	}
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		print_message("%s\n", rows[i].name);
		rt_buf_clear(&file);
		rt_buf_add(&file, rows[i].bytes, rows[i].n);
		assert_refused(&file, rows[i].code, rows[i].msg);
	}
	rt_buf_release(&file);
}

/* ---- the legacy format ---- */

#define MAGIC	 "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
#define PROTOCOL "\x80\x02M\xe9\x03."

static void add_sys_info(struct rt_buf *b, bool little)
{
	rt_buf_str(b, "\x80\x02}(");
	put_text(b, "protocol_version");
	rt_buf_str(b, "M\xe9\x03");
	put_text(b, "little_endian");
	rt_buf_str(b, little ? "\x88u." : "\x89u.");
}

static void add_keys(struct rt_buf *b, const char *one, const char *two)
{
	rt_buf_str(b, "\x80\x02](");
	if (one)
		put_text(b, one);
	if (two)
		put_text(b, two);
	rt_buf_str(b, "e.");
}

static void add_storage(struct rt_buf *b, uint64_t announced, size_t size)
{
	add_number(b, announced, 8);
	for (size_t i = 0; i < size; i++)
		rt_buf_char(b, (char)i);
}

static void add_legacy_head(struct rt_buf *b, const struct tensor *t, size_t n)
{
	rt_buf_str(b, MAGIC PROTOCOL);
	add_sys_info(b, true);
	put_dict(b, t, n, true);
}

static void legacy_reads_storages_in_the_lists_order(void **state)
{
	static const struct tensor tensors[] = {
		{ "first", "FloatStorage", "900", 4, 0, 2, { 2, 2 }, { 2, 1 }, 0, 0 },
		{ "turned", "FloatStorage", "900", 4, 0, 2, { 2, 2 }, { 1, 2 }, 0, 0 },
		{ "ids", "LongStorage", "1000", 3, 1, 1, { 2 }, { 1 }, 0, 0 },
		{ "window", "LongStorage", "1000", 3, 1, 1, { 1 }, { 1 }, 1, 2 },
	};
	struct rt_buf file = RT_BUF_INIT;
	struct rt_err err = RT_ERR_INIT;
	const struct rt_tensor *t;
	struct rt_weights *w;
	unsigned char *bytes;

	(void)state;
	add_legacy_head(&file, tensors, 4);
	add_keys(&file, "1000", "900"); /* as strings sort */
	add_storage(&file, 3, 24);
	add_storage(&file, 4, 16);
	if (parse(&file, &bytes, &w, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(rt_weights_count(w), 4);
	t = rt_weights_find(w, "first");
	assert_int_equal(t->size_bytes, 16);
	assert_int_equal(((const unsigned char *)t->data)[15], 15);
	t = rt_weights_find(w, "turned");
	assert_int_equal(((const unsigned char *)t->data)[4], 8);
	t = rt_weights_find(w, "ids");
	assert_int_equal(t->dtype, RT_DTYPE_I64);
	assert_int_equal(t->size_bytes, 16);
	assert_int_equal(*(const unsigned char *)t->data, 8);
	t = rt_weights_find(w, "window");
	assert_int_equal(t->size_bytes, 8);
	assert_int_equal(*(const unsigned char *)t->data, 16);
	rt_weights_close(w);
	free(bytes);
	for (size_t whole = file.len; file.len > 0;) {
		file.len = --whole;
		assert_int_equal(parse(&file, &bytes, &w, NULL), -1);
		free(bytes);
	}
	rt_buf_release(&file);
}

static void legacy_refuses_lies(void **state)
{
	static const struct tensor good = { "t", "FloatStorage", "9", 4, 0, 1, { 4 }, { 1 }, 0, 0 };
	static const struct {
		const char *name, *one, *two;
		uint64_t announced;
		size_t size;
		const char *msg;
	} rows[] = {
		{ "count too large", "9", NULL, 5, 20,
		  "f: the storage '9' has 5 numbers, but 4 were announced" },
		{ "count of 2^63", "9", NULL, 1ULL << 63, 16,
		  "f: the storage '9' has 9223372036854775808 numbers, but 4 were announced" },
		{ "data cut short", "9", NULL, 4, 15,
		  "f: the storage '9' needs 16 bytes at byte 330, but the file ends before: it is cut "
		  "short" },
		{ "another key", "8", NULL, 4, 16, "f: no tensor uses the storage '8'" },
		{ "a key twice", "9", "9", 4, 16, "f: the storage '9' stands twice" },
		{ "no key", NULL, NULL, 4, 16, "f: the storage '9' is not in the file" },
	};
	struct rt_buf file = RT_BUF_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		print_message("%s\n", rows[i].name);
		rt_buf_clear(&file);
		add_legacy_head(&file, &good, 1);
		add_keys(&file, rows[i].one, rows[i].two);
		add_storage(&file, rows[i].announced, rows[i].size);
		assert_refused(&file, RT_INVALID, rows[i].msg);
	}
	print_message("a key although no tensor has a storage\n");
	rt_buf_clear(&file);
	add_legacy_head(&file, NULL, 0);
	add_keys(&file, "9", NULL);
	add_storage(&file, 4, 16);
	assert_refused(&file, RT_INVALID, "f: no tensor uses the storage '9'");
	print_message("a window outside of its storage\n");
	for (int i = 0; i < 4; i++) {
		struct tensor t = good;
		char msg[160];

		t.view_offset = i == 0 ? 3 : i == 1 ? -1 : i == 2 ? INT64_MAX : 1;
		t.view_numel = i == 3 ? -4 : 2;
		snprintf(msg, sizeof msg,
			 "f: tensor 't': it sees %lld numbers from number %lld of a storage of 4",
			 (long long)t.view_numel, (long long)t.view_offset);
		rt_buf_clear(&file);
		add_legacy_head(&file, &t, 1);
		add_keys(&file, "9", NULL);
		add_storage(&file, 4, 16);
		assert_refused(&file, RT_INVALID, msg);
	}
	print_message("a tensor outside of its window\n");
	for (int i = 0; i < 2; i++) {
		struct tensor t = good;

		t.view_offset = i;
		t.view_numel = 3;
		t.shape[0] = 3 + (i == 0);
		t.offset = i;
		rt_buf_clear(&file);
		add_legacy_head(&file, &t, 1);
		add_keys(&file, "9", NULL);
		add_storage(&file, 4, 16);
		assert_refused(&file, RT_INVALID,
			       i ? "f: tensor 't': it needs 3 numbers from number 1 of a storage of 3"
				 : "f: tensor 't': it needs 4 numbers from number 0 of a storage of 3");
	}
	rt_buf_release(&file);
}

static void legacy_refuses_other_machines(void **state)
{
	struct rt_buf file = RT_BUF_INIT;

	(void)state;
	rt_buf_str(&file, MAGIC PROTOCOL);
	add_sys_info(&file, false);
	assert_refused(
		&file, RT_UNSUPPORTED,
		"f: its numbers are big endian; save the model again on a little-endian machine, or as "
		"safetensors");
	rt_buf_clear(&file);
	rt_buf_str(&file, MAGIC PROTOCOL "\x80\x02}.");
	assert_refused(&file, RT_INVALID, "f: it does not say whether its numbers are little endian");
	rt_buf_clear(&file);
	rt_buf_str(&file, MAGIC "\x80\x02M\xea\x03.");
	assert_refused(&file, RT_UNSUPPORTED, "f: its format has another version than 1001");
	rt_buf_release(&file);
}

/* ---- folders ---- */

static char dir[64];

static int make_dir(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/rt_torch_XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rt_dir_remove(dir, NULL);
}

static void write_in_dir(const char *name, const void *bytes, size_t n)
{
	char path[256];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	assert_int_equal(rt_file_write(path, bytes, n, NULL), 0);
}

static void write_text(const char *name, const char *text)
{
	write_in_dir(name, text, strlen(text));
}

static void write_checkpoint(const char *name, const char *tensor)
{
	const struct tensor t = { tensor, "FloatStorage", "0", 4, 0, 1, { 4 }, { 1 }, 0, 0 };
	struct rt_buf file = RT_BUF_INIT;

	add_checkpoint(&file, &t, 1, 16, 0, &plain);
	write_in_dir(name, file.data, file.len);
	rt_buf_release(&file);
}

static void open_prefers_safetensors_then_bin_then_its_shards(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_weights *w = NULL;
	char want[400];

	(void)state;
	assert_int_equal(rt_weights_open(dir, &w, &err), -1);
	assert_int_equal(err.code, RT_NOT_FOUND);
	snprintf(want, sizeof want,
		 "%s has no weights: looked for model.safetensors, model.safetensors.index.json, "
		 "pytorch_model.bin and "
		 "pytorch_model.bin.index.json",
		 dir);
	assert_string_equal(err.msg, want);

	write_checkpoint("pytorch_model-00001-of-00002.bin", "one");
	write_checkpoint("pytorch_model-00002-of-00002.bin", "two");
	write_text("pytorch_model.bin.index.json", "{\"metadata\":{\"total_size\":32},\"weight_map\":{"
						   "\"one\":\"pytorch_model-00001-of-00002.bin\","
						   "\"two\":\"pytorch_model-00002-of-00002.bin\"}}");
	if (rt_weights_open(dir, &w, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(rt_weights_count(w), 2);
	assert_int_equal(((const unsigned char *)rt_weights_find(w, "two")->data)[15], 15);
	rt_weights_close(w);

	write_checkpoint("pytorch_model.bin", "single");
	if (rt_weights_open(dir, &w, &err) < 0)
		fail_msg("%s", err.msg);
	assert_non_null(rt_weights_find(w, "single"));
	rt_weights_close(w);

	write_in_dir("model.safetensors", "\2\0\0\0\0\0\0\0{}", 10);
	if (rt_weights_open(dir, &w, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(rt_weights_count(w), 0);
	rt_weights_close(w);
}

static void open_says_which_shard_is_wrong(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_weights *w = NULL;

	(void)state;
	write_checkpoint("pytorch_model-00001-of-00002.bin", "one");
	write_text("pytorch_model.bin.index.json",
		   "{\"weight_map\":{\"one\":\"pytorch_model-00001-of-00002.bin\",\"two\":\"gone.bin\"}}");
	assert_int_equal(rt_weights_open(dir, &w, &err), -1);
	assert_int_equal(err.code, RT_NOT_FOUND);
	assert_non_null(strstr(err.msg, "tensor 'two' is in the shard 'gone.bin'"));
	write_text("gone.bin", "PK\3\4");
	assert_int_equal(rt_weights_open(dir, &w, &err), -1);
	assert_non_null(strstr(err.msg, "gone.bin: the zip file has no directory at its end"));
	write_checkpoint("gone.bin", "three");
	assert_int_equal(rt_weights_open(dir, &w, &err), -1);
	assert_non_null(strstr(err.msg, "tensor 'two' is not in its shard 'gone.bin'"));
	assert_null(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_reads_tensors_of_shared_storages),
		cmocka_unit_test(parse_knows_every_type_of_number),
		cmocka_unit_test(parse_refuses_tensors_that_lie),
		cmocka_unit_test(parse_refuses_state_dicts_that_are_none),
		cmocka_unit_test(parse_limits_copies_to_the_files_size),
		cmocka_unit_test(parse_refuses_broken_zip_files),
		cmocka_unit_test(parse_refuses_other_files_by_name),
		cmocka_unit_test(legacy_reads_storages_in_the_lists_order),
		cmocka_unit_test(legacy_refuses_lies),
		cmocka_unit_test(legacy_refuses_other_machines),
		cmocka_unit_test_setup_teardown(open_prefers_safetensors_then_bin_then_its_shards, make_dir,
						remove_dir),
		cmocka_unit_test_setup_teardown(open_says_which_shard_is_wrong, make_dir, remove_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
