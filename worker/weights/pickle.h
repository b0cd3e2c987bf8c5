/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a Python pickle as far as PyTorch's checkpoints of tensors need it. It is no Python: nothing is imported, called
 * or run. The opcodes are those of protocol 2 to 5 that data need; a global is a row of a table here (`collections
 * OrderedDict`, `torch FloatStorage`, `torch._utils _rebuild_tensor_v2`…) and "calling" one makes a plain value of ours.
 * Any other opcode or global is refused by name.
 *
 * Limits: 65536 values on the stack, 256 open marks, and the budget. Values may hold themselves (a list in itself):
 * whoever walks them must bound the depth. */
#ifndef RT_WORKER_WEIGHTS_PICKLE_H
#define RT_WORKER_WEIGHTS_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "worker/weights/budget.h"
#include "worker/weights/weights.h"

#define RT_PICKLE_KIND_MAP(X)                                                                                \
	X(UNSET, "nothing")                                                                                  \
	X(NONE, "None")                                                                                      \
	X(BOOL, "a truth value")                                                                             \
	X(INT, "an integer")                                                                                 \
	X(LONG, "an integer beyond 64 bits")                                                                 \
	X(REAL, "a float")                                                                                   \
	X(TEXT, "a string")                                                                                  \
	X(BYTES, "bytes")                                                                                    \
	X(TUPLE, "a tuple")                                                                                  \
	X(LIST, "a list")                                                                                    \
	X(SET, "a set")                                                                                      \
	X(DICT, "a dict")                                                                                    \
	X(GLOBAL, "a class or function")                                                                     \
	X(DEVICE, "a device")                                                                                \
	X(STORAGE, "a storage")                                                                              \
	X(TENSOR, "a tensor")

enum rt_pickle_kind {
#define X(name, words) RT_PICKLE_##name,
	RT_PICKLE_KIND_MAP(X)
#undef X
};

const char *rt_pickle_kind_words(enum rt_pickle_kind kind); /* with its article; static */

/* A run of raw numbers in the file, which several tensors may share. */
struct rt_pickle_storage {
	const char *key; /* in the pickle's bytes, no NUL behind it */
	size_t key_len;
	enum rt_dtype dtype;
	bool untyped;	/* counted in bytes: the tensors say what these are. dtype is U8 */
	uint64_t numel; /* elements announced, of the whole storage; numel * element size fits in 63 bits */
	/* The window that this use sees (the legacy format's "view"); else 0 and numel. Not yet checked. */
	int64_t view_offset, view_numel;
	/* Filled by whoever knows where the numbers lie: numel elements. NULL until then. */
	const unsigned char *data;
};

/* A tensor as it was written: nothing is checked yet but that shape and stride are ndim numbers each. */
struct rt_pickle_tensor {
	struct rt_pickle_storage *storage;
	enum rt_dtype dtype;
	int64_t offset; /* elements of dtype from the storage's (view's) start */
	int ndim;
	int64_t shape[RT_TENSOR_DIMS_MAX], stride[RT_TENSOR_DIMS_MAX]; /* elements */
};

struct rt_pickle_value {
	uint32_t kind; /* enum rt_pickle_kind */
	uint32_t len;  /* TEXT, BYTES, LONG: bytes */
	union {
		int64_t number; /* BOOL, INT */
		double real;
		const char *bytes;	     /* TEXT, BYTES, LONG (little endian): in the pickle's bytes */
		struct rt_pickle_list *list; /* TUPLE, LIST, SET; DICT: key, value, key, value… */
		const struct rt_pickle_global *global;
		struct rt_pickle_storage *storage;
		const struct rt_pickle_tensor *tensor;
	};
};

struct rt_pickle_list {
	struct rt_pickle_value *items;
	size_t n, cap;
};

/* Owns every value read with it. */
struct rt_pickle {
	struct rt_budget *budget; /* borrowed */
	bool legacy;		  /* storages are announced as before PyTorch 1.6 */
	struct rt_pickle_chunk *chunks;
	size_t chunk_left;
	struct rt_pickle_storage **storages; /* each announcement, in the order of the pickle */
	size_t storage_count, storage_cap;
};

void rt_pickle_init(struct rt_pickle *p, struct rt_budget *budget, bool legacy);
void rt_pickle_release(struct rt_pickle *p); /* all values and storages are gone after it */

/* Reads one pickle from its first byte to its STOP; *ret_used is its length. bytes are borrowed until release. RT_INVALID
 * for a broken one, RT_UNSUPPORTED for an opcode or a global that is refused: the message names it and the byte. */
int rt_pickle_read(struct rt_pickle *p, const unsigned char *bytes, size_t n, size_t *ret_used,
		   struct rt_pickle_value *ret, struct rt_err *err);

/* The value of a dict's string key, or NULL. The last one counts, as in Python. */
const struct rt_pickle_value *rt_pickle_find(const struct rt_pickle_value *dict, const char *key);

#endif
