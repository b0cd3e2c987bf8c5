/* SPDX-License-Identifier: Apache-2.0 */
/* One line of a worker's events, as the server takes it. */
#include <stdint.h>
#include <stdlib.h>

#include "api/event.h"
#include "base/json.h"
#include "tests/fuzz/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_buf line = RT_BUF_INIT;
	struct rt_event event, again;

	if (rt_event_parse((const char *)data, size, &event, &err) < 0) {
		check_refusal(&err);
		return 0;
	}
	rt_event_write(&line, event.seq, event.type, event.level, 0, event.message, event.data);
	if (rt_event_parse(line.data, line.len - 1, &again, &err) < 0 || again.seq != event.seq ||
	    !json_equal(again.data, event.data))
		abort(); /* what is kept reads back */
	rt_event_release(&again);
	rt_event_release(&event);
	rt_buf_release(&line);
	return 0;
}
