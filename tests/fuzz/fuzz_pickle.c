/* SPDX-License-Identifier: Apache-2.0 */
/* The pickle interpreter alone, without a container around it. The first byte chooses the form of storages. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/check.h"
#include "worker/weights/pickle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rt_budget budget = { .left_bytes = 1 << 20 };
	struct rt_err err = RT_ERR_INIT;
	struct rt_pickle_value v;
	struct rt_pickle p;
	size_t used = 0;

	if (size == 0)
		return 0;
	rt_pickle_init(&p, &budget, data[0] & 1);
	if (rt_pickle_read(&p, data + 1, size - 1, &used, &v, &err) == 0) {
		if (used > size - 1 || strlen(rt_pickle_kind_words((enum rt_pickle_kind)v.kind)) == 0)
			abort();
		rt_pickle_find(&v, "little_endian");
	} else {
		check_refusal(&err);
	}
	rt_pickle_release(&p);
	if (budget.left_bytes != 1 << 20)
		abort(); /* what was taken was given back */
	return 0;
}
