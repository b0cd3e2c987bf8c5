/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/model/family.h"

#include <string.h>

#include "base/buf.h"
#include "base/json.h"

static const struct rt_family *const families[] = {
	&rt_family_bert,       &rt_family_roberta,    &rt_family_xlm_roberta,
	&rt_family_distilbert, &rt_family_electra,    &rt_family_mpnet,
	&rt_family_albert,     &rt_family_deberta_v2, &rt_family_modernbert,
};

const struct rt_family *rt_family_find(const json_t *config, struct rt_err *err)
{
	struct rt_buf known = RT_BUF_INIT;
	const char *type = NULL;

	if (rt_json_get_str(config, "model_type", &type, err) < 0) {
		rt_fail_in(err, "config.json");
		return NULL;
	}
	for (size_t i = 0; type && i < sizeof families / sizeof *families; i++) {
		if (strcmp(families[i]->model_type, type) == 0)
			return families[i];
	}
	for (size_t i = 0; i < sizeof families / sizeof *families; i++)
		rt_buf_fmt(&known, "%s%s", i ? ", " : "", families[i]->model_type);
	if (type)
		rt_fail(err, RT_UNSUPPORTED,
			"config.json: model_type '%s' is not supported (supported are %s)", type,
			rt_buf_text(&known));
	else
		rt_fail(err, RT_UNSUPPORTED, "config.json names no model_type (supported are %s)",
			rt_buf_text(&known));
	rt_buf_release(&known);
	return NULL;
}
