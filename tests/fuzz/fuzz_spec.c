/* SPDX-License-Identifier: Apache-2.0 */
/* A job spec as a stranger posts it: JSON, fields, and what is printed of it again. */
#include <stdint.h>
#include <stdlib.h>

#include "api/spec.h"
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_problems problems;
	struct rt_buf text = RT_BUF_INIT;
	struct rt_spec spec, again;
	json_t *json = rt_json_parse((const char *)data, size, &err), *printed;

	if (!json)
		return 0;
	if (rt_spec_parse(json, &spec, &problems, &err) < 0) {
		if (problems.n == 0 || !err.msg[0])
			abort(); /* a refusal names a field */
		rt_problem_write(&text, err.code, err.msg, "/v1/jobs", "req_0", &problems);
		json_decref(json);
		json = rt_json_parse(rt_buf_text(&text), text.len, &err);
		if (!json)
			abort(); /* whatever was sent, the problem document is JSON */
	} else {
		printed = rt_spec_json(&spec);
		if (!printed || rt_spec_parse(printed, &again, &problems, &err) < 0)
			abort(); /* what is accepted is accepted again */
		rt_spec_release(&again);
		rt_spec_release(&spec);
		json_decref(printed);
	}
	json_decref(json);
	rt_buf_release(&text);
	return 0;
}
