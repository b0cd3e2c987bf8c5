/* SPDX-License-Identifier: Apache-2.0 */
/* The reference models' PyTorch checkpoints (zip and legacy) against the safetensors file of the same model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <dirent.h>

#include "base/file.h"
#include "worker/weights/torch_bin.h"
#include "worker/weights/weights.h"

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && strcmp(s + n - m, end) == 0;
}

/* Every tensor of the safetensors file stands in the checkpoint, byte for byte; more are only buffers of positions. */
static void compare(const char *bin_path, const char *safetensors_path)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_weights *bin, *want;
	size_t positions = 0;

	if (rt_torch_open(bin_path, &bin, &err) < 0 || rt_safetensors_open(safetensors_path, &want, &err) < 0)
		fail_msg("%s", err.msg);
	assert_true(rt_weights_count(want) > 20);
	for (size_t i = 0; i < rt_weights_count(want); i++) {
		const struct rt_tensor *w = rt_weights_at(want, i), *b = rt_weights_find(bin, w->name);

		if (!b)
			fail_msg("%s is missing", w->name);
		assert_int_equal(b->dtype, w->dtype);
		assert_int_equal(b->ndim, w->ndim);
		assert_memory_equal(b->shape, w->shape, sizeof w->shape[0] * (size_t)w->ndim);
		assert_int_equal(b->size_bytes, w->size_bytes);
		assert_memory_equal(b->data, w->data, w->size_bytes);
	}
	for (size_t i = 0; i < rt_weights_count(bin); i++) {
		const struct rt_tensor *b = rt_weights_at(bin, i);

		if (rt_weights_find(want, b->name))
			continue;
		if (!ends_with(b->name, ".position_ids"))
			fail_msg("%s is not in the safetensors file", b->name);
		assert_int_equal(b->dtype, RT_DTYPE_I64);
		for (size_t j = 0; j < b->size_bytes / 8; j++) {
			int64_t v;

			memcpy(&v, (const char *)b->data + 8 * j, 8);
			assert_int_equal(v, j);
		}
		positions++;
	}
	print_message("  %zu tensors, %zu of them positions\n", rt_weights_count(bin), positions);
	rt_weights_close(bin);
	rt_weights_close(want);
}

static void checkpoints_equal_safetensors(void **state)
{
	const char *shared = getenv("RT_SHARED");
	char root[512], bin[1024], other[1024];
	struct dirent **names = NULL;
	int n, zip = 0, legacy = 0;

	(void)state;
	snprintf(root, sizeof root, "%s/reference/models", shared ? shared : "");
	if (!shared || !rt_file_is_dir(root)) {
		print_message("the reference models are not here (RT_SHARED)\n");
		skip();
	}
	n = scandir(root, &names, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		const char *name = names[i]->d_name;
		size_t same = strlen(name) - (ends_with(name, "-legacy-bin") ? strlen("-legacy-bin") : 0);

		snprintf(bin, sizeof bin, "%s/%s/pytorch_model.bin", root, name);
		if (!rt_file_exists(bin))
			continue;
		print_message("%s\n", name);
		snprintf(other, sizeof other, "%s/%.*s/model.safetensors", root, (int)same, name);
		compare(bin, other);
		*(name[same] ? &legacy : &zip) += 1;
	}
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
	assert_true(zip >= 10);
	assert_true(legacy >= 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checkpoints_equal_safetensors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
