/* SPDX-License-Identifier: Apache-2.0 */
/* Named tensors on disk: reads a model folder's safetensors or PyTorch checkpoint (one file, or shards with an index)
 * and writes one safetensors file.
 * Knows no model and no libtorch: a tensor here is a name, a type, a shape and bytes in a mapped file.
 *
 * A file is data from a stranger: every offset is checked before it is used, and nothing is allocated for a header
 * that lies beyond the file's own size plus a small constant. Reading is thread-safe once opened. The bytes are
 * mapped, not copied: whoever shortens the file on disk while it is open takes the process down (SIGBUS). */
#ifndef RT_WORKER_WEIGHTS_H
#define RT_WORKER_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* name, bits an element */
#define RT_DTYPE_MAP(X)                                                                                      \
	X(F64, 64)                                                                                           \
	X(F32, 32)                                                                                           \
	X(F16, 16)                                                                                           \
	X(BF16, 16)                                                                                          \
	X(I64, 64)                                                                                           \
	X(I32, 32)                                                                                           \
	X(I16, 16)                                                                                           \
	X(I8, 8)                                                                                             \
	X(U64, 64)                                                                                           \
	X(U32, 32)                                                                                           \
	X(U16, 16)                                                                                           \
	X(U8, 8)                                                                                             \
	X(BOOL, 8)                                                                                           \
	X(C64, 64)                                                                                           \
	X(F8_E5M2, 8)                                                                                        \
	X(F8_E4M3, 8)                                                                                        \
	X(F8_E8M0, 8)                                                                                        \
	X(F8_E4M3FNUZ, 8)                                                                                    \
	X(F8_E5M2FNUZ, 8)                                                                                    \
	X(F6_E2M3, 6)                                                                                        \
	X(F6_E3M2, 6)                                                                                        \
	X(F4, 4)

enum rt_dtype {
#define X(name, bits) RT_DTYPE_##name,
	RT_DTYPE_MAP(X)
#undef X
		RT_DTYPE_COUNT
};

const char *rt_dtype_name(enum rt_dtype dtype); /* as the file spells it: "F32"; static */
unsigned rt_dtype_bits(enum rt_dtype dtype);

#define RT_TENSOR_DIMS_MAX 8

struct rt_tensor {
	const char *name; /* UTF-8, no U+0000 */
	enum rt_dtype dtype;
	int ndim; /* 0: a scalar, one element */
	int64_t shape[RT_TENSOR_DIMS_MAX];
	const void *
		data; /* row-major, little endian, aligned to nothing: memcpy it, do not cast. NULL when empty */
	size_t size_bytes; /* product of shape * bits / 8, checked; 0 when a dimension is 0 */
};

struct rt_weights;

/* Opens the weights of a model folder: the first of model.safetensors, model.safetensors.index.json and its shards,
 * pytorch_model.bin (torch_bin.h), pytorch_model.bin.index.json and its shards.
 * RT_NOT_FOUND when the folder has none (the message says what was looked for), RT_UNSUPPORTED for a layout that is not
 * read (TensorFlow's, a pickle of more than tensors), RT_INVALID for a broken file: what, where, which tensor.
 * The caller closes *ret. dir is borrowed for the call. */
int rt_weights_open(const char *dir, struct rt_weights **ret, struct rt_err *err);

/* One safetensors file by its path. */
int rt_safetensors_open(const char *path, struct rt_weights **ret, struct rt_err *err);

void rt_weights_close(struct rt_weights *w); /* NULL is fine; all tensors of w are gone after it */

size_t rt_weights_count(const struct rt_weights *w);
/* i below the count; in the order of the names' bytes. Borrowed until close. */
const struct rt_tensor *rt_weights_at(const struct rt_weights *w, size_t i);
const struct rt_tensor *rt_weights_find(const struct rt_weights *w, const char *name); /* or NULL; borrowed */

struct rt_weights_pair {
	const char *key, *value;
};

/* Writes tensors as one safetensors file: temporary name beside path, fsync, rename. Order and padding are those of the
 * safetensors library (largest alignment first, then by name; data start on 8 bytes). The tensors' data go to the file as
 * they lie, without a second copy. metadata: meta_count pairs beside format=pt, which is always written; may be NULL.
 * Everything is borrowed. RT_INVALID for two equal names, or a size_bytes that is not the shape's. */
int rt_safetensors_write(const char *path, const struct rt_tensor *tensors, size_t n,
			 const struct rt_weights_pair *metadata, size_t meta_count, struct rt_err *err);

#endif
