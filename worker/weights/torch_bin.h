/* SPDX-License-Identifier: Apache-2.0 */
/* PyTorch checkpoints: what torch.save writes of a state dict (a dict of named tensors), as a zip file (PyTorch 1.6 and
 * later) or as the stream of pickles before that. Contiguous tensors are views of the mapped file; others (transposed,
 * expanded) are copied row by row into memory that the weights own, out of the file's budget. */
#ifndef RT_WORKER_WEIGHTS_TORCH_BIN_H
#define RT_WORKER_WEIGHTS_TORCH_BIN_H

#include "worker/weights/part.h"
#include "worker/weights/pickle.h"

/* One file by its path, e.g. pytorch_model.bin. RT_INVALID for a broken file, RT_UNSUPPORTED for what is not read: the
 * message names the file, the tensor or the pickle's part, and what to do. */
int rt_torch_open(const char *path, struct rt_weights **ret, struct rt_err *err);

/* The same from a whole file's bytes; borrowed, they must outlive *ret. what: the file's name for messages. */
int rt_torch_parse(const unsigned char *bytes, size_t n, const char *what, struct rt_weights **ret,
		   struct rt_err *err);

/* The two containers. Each reads the pickle of the state dict into p (initialised, released by the caller) and points
 * every storage at its numbers. Messages do not name the file. */
int rt_torch_zip_read(const unsigned char *bytes, size_t n, struct rt_pickle *p, struct rt_pickle_value *ret,
		      struct rt_err *err);
int rt_torch_legacy_read(const unsigned char *bytes, size_t n, struct rt_pickle *p,
			 struct rt_pickle_value *ret, struct rt_err *err);

/* Sorts the storages by key, so that announcements of one storage stand together, and checks that those agree. */
int rt_torch_sort_storages(struct rt_pickle *p, struct rt_err *err);
/* Order of keys, for searching among them. */
int rt_torch_compare_keys(const char *a, size_t a_len, const char *b, size_t b_len);

#endif
