/* SPDX-License-Identifier: Apache-2.0 */
/* model.safetensors.index.json in a folder with two shards, "a" (tensors x and y) and "b" (tensor z). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "worker/weights/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];

static void remove_dir(void)
{
	rt_dir_remove(dir, NULL);
}

static void write_file(const char *name, const void *bytes, size_t n)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "wb");
	if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
		abort();
}

static void make_dir(void)
{
	static const unsigned char numbers[3] = { 1, 2, 3 };
	const struct rt_tensor tensors[] = {
		{ "x", RT_DTYPE_U8, 1, { 2 }, numbers, 2 },
		{ "y", RT_DTYPE_U8, 1, { 1 }, numbers + 2, 1 },
		{ "z", RT_DTYPE_U8, 1, { 3 }, numbers, 3 },
	};
	char path[128];

	strcpy(dir, "/tmp/rt_fuzz_index_XXXXXX");
	if (!mkdtemp(dir) || atexit(remove_dir) != 0)
		abort();
	snprintf(path, sizeof path, "%s/a", dir);
	if (rt_safetensors_write(path, tensors, 2, NULL, 0, NULL) < 0)
		abort();
	snprintf(path, sizeof path, "%s/b", dir);
	if (rt_safetensors_write(path, tensors + 2, 1, NULL, 0, NULL) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_weights *w;

	if (!dir[0])
		make_dir();
	write_file("model.safetensors.index.json", data, size);
	if (rt_weights_open(dir, &w, &err) < 0) {
		if (err.code == RT_OK || !err.msg[0])
			abort(); /* a refusal says why */
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
