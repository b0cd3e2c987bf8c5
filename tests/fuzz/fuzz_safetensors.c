/* SPDX-License-Identifier: Apache-2.0 */
/* A whole safetensors file. What is taken must lie inside the file and tile its data. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/check.h"
#include "worker/weights/part.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_weights *w;
	size_t sum = 0, header = 0;

	if (rt_safetensors_parse(data, size, "input", &w, &err) < 0) {
		check_refusal(&err);
		return 0;
	}
	for (int i = 7; i >= 0; i--)
		header = header << 8 | data[i];
	for (size_t i = 0; i < rt_weights_count(w); i++) {
		const struct rt_tensor *t = rt_weights_at(w, i);
		const uint8_t *at = t->data;

		sum += t->size_bytes;
		if (rt_weights_find(w, t->name) != t || t->ndim < 0 || t->ndim > RT_TENSOR_DIMS_MAX)
			abort();
		if (t->size_bytes && (at < data + 8 + header || at + t->size_bytes > data + size))
			abort();
	}
	if (sum != size - 8 - header)
		abort();
	rt_weights_close(w);
	return 0;
}
