/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the schema of a job spec as the code has it; test_contract.py compares it with api/openapi.yaml. */
#include <stdio.h>

#include "api/spec.h"
#include "base/json.h"

int main(void)
{
	struct rt_buf out = RT_BUF_INIT;
	json_t *schema = rt_spec_schema();
	int failed;

	rt_json_write(&out, schema, 2);
	failed = rt_buf_check(&out, NULL) < 0 || puts(rt_buf_text(&out)) < 0;
	json_decref(schema);
	rt_buf_release(&out);
	return failed;
}
