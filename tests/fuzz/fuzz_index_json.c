/* SPDX-License-Identifier: Apache-2.0 */
/* model.safetensors.index.json in a folder with two shards, "a" (tensors x and y) and "b" (tensor z). */
#include <stdint.h>

#include "tests/fuzz/check.h"
#include "worker/weights/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make_dir(void)
{
	static const unsigned char numbers[3] = { 1, 2, 3 };
	const struct rt_tensor tensors[] = {
		{ "x", RT_DTYPE_U8, 1, { 2 }, numbers, 2 },
		{ "y", RT_DTYPE_U8, 1, { 1 }, numbers + 2, 1 },
		{ "z", RT_DTYPE_U8, 1, { 3 }, numbers, 3 },
	};
	char path[128];

	snprintf(path, sizeof path, "%s/a", get_fuzz_dir());
	if (rt_safetensors_write(path, tensors, 2, NULL, 0, NULL) < 0)
		abort();
	snprintf(path, sizeof path, "%s/b", get_fuzz_dir());
	if (rt_safetensors_write(path, tensors + 2, 1, NULL, 0, NULL) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_weights *w;

	if (!fuzz_dir[0])
		make_dir();
	write_fuzz_file("model.safetensors.index.json", data, size);
	if (rt_weights_open(get_fuzz_dir(), &w, &err) < 0) {
		check_refusal(&err);
		return 0;
	}
	for (size_t i = 0; i < rt_weights_count(w); i++) {
		const struct rt_tensor *t = rt_weights_at(w, i);

		if (rt_weights_find(w, t->name) != t || t->size_bytes > 3)
			abort();
	}
	rt_weights_close(w);
	return 0;
}
