/* SPDX-License-Identifier: Apache-2.0 */
/* What the readers of this folder share; for nobody outside it but the fuzzer. */
#ifndef RT_WORKER_WEIGHTS_PART_H
#define RT_WORKER_WEIGHTS_PART_H

#include "base/file.h"
#include "worker/weights/weights.h"

/* Tensors of one file, or of the files of an index: then tensors is the union and the parts own what it points at. */
struct rt_weights {
	struct rt_tensor *tensors; /* by name */
	size_t count;
	char *names;  /* one block: the tensors' names */
	char *format; /* __metadata__'s "format", or NULL */
	struct rt_map map;
	void *copies; /* tensors that do not lie in the map as they are; or NULL */
	struct rt_weights **parts;
	size_t part_count;
};

/* Reads a whole file's bytes; borrowed, they must outlive *ret. what: the file's name for messages. */
int rt_safetensors_parse(const unsigned char *bytes, size_t n, const char *what, struct rt_weights **ret,
			 struct rt_err *err);

/* What a clone without Git LFS has in the place of each large file. */
bool rt_weights_is_lfs_pointer(const unsigned char *bytes, size_t n);
#define RT_WEIGHTS_LFS_WORDS "it is a pointer of Git LFS, not the weights; fetch them with 'git lfs pull'"

/* Sorts by name. Returns a name that stands twice, or NULL. */
const char *rt_weights_sort(struct rt_weights *w);

#endif
