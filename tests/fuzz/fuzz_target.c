/* SPDX-License-Identifier: Apache-2.0 */
/* A request's address and ranges: taken apart. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "server/range.h"
#include "server/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_target target;
	int64_t start = 0, length = 0, limit = 20;
	char *uri = malloc(size + 1);

	if (!uri)
		return 0;
	memcpy(uri, data, size);
	uri[size] = '\0';
	if (rt_range_parse(uri, 1000, &start, &length) == RT_RANGE_PART &&
	    (start < 0 || length < 1 || start + length > 1000))
		abort(); /* a part lies within the file */
	if (rt_target_parse(uri, &target, &err) == 0) {
		for (size_t i = 0; i < target.segment_count; i++) {
			size_t n = strlen(target.segments[i]);

			if (rt_utf8_valid(target.segments[i], n) != n)
				abort();
		}
		rt_target_int(&target, "limit", 1, 100, &limit, &err);
		if (limit < 1 || limit > 100)
			abort();
		rt_target_release(&target);
	}
	free(uri);
	return 0;
}
