/* SPDX-License-Identifier: Apache-2.0 */
/* config.json of a model, and the list of parameters that follows from it. */
#include <stdint.h>

#include "base/json.h"
#include "tests/fuzz/check.h"
#include "worker/model/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void list_parameters(const struct rt_family *f, const struct rt_config *c)
{
	size_t stored = (size_t)(c->groups * c->inner);
	struct rt_layer *layers = calloc(stored, sizeof *layers);
	struct rt_slots slots = { NULL, 0 };
	struct rt_body body = { 0 };

	if (!layers || rt_slots_list(f, c, &body, layers, &slots, NULL) < 0)
		abort();
	for (size_t i = 0; i < slots.count; i++) {
		const struct rt_slot *s = &slots.list[i];

		if (s->ndim < 1 || s->ndim > 3 || !s->name[0])
			abort();
		for (int d = 0; d < s->ndim; d++) {
			if (s->shape[d] < 1 || s->shape[d] > 1000000000)
				abort();
		}
	}
	rt_slots_release(&slots);
	free(layers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rt_err err = RT_ERR_INIT;
	json_t *json = rt_json_parse((const char *)data, size, &err);
	const struct rt_family *f;
	struct rt_config c;

	if (!json) {
		check_refusal(&err);
		return 0;
	}
	f = json_is_object(json) ? rt_family_find(json, &err) : NULL;
	if (f && rt_config_read(json, &f->config, &c, &err) == 0) {
		if (c.label_count < 1 || c.hidden_size % c.heads != 0 || c.pad_id >= c.vocab_size)
			abort();
		for (size_t i = 0; i < c.label_count; i++) {
			if (!c.labels[i])
				abort();
		}
		list_parameters(f, &c);
		rt_config_release(&c);
	} else if (json_is_object(json)) {
		check_refusal(&err);
	}
	json_decref(json);
	return 0;
}
