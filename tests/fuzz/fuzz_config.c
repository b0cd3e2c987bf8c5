/* SPDX-License-Identifier: Apache-2.0 */
/* A model's config.json: its family, its fields, and the list of parameters that they call for. What is taken must be sizes
 * that a model can have; what is accepted is accepted again. */
#include <stdint.h>

#include "base/json.h"
#include "tests/fuzz/check.h"
#include "worker/model/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_share(double v)
{
	return v >= 0 && v <= 1;
}

static void check_config(const struct rt_config *c)
{
	if (c->vocab_size < 1 || c->hidden_size < 1 || c->layers < 1 || c->heads < 1 ||
	    c->intermediate_size < 1 || c->max_positions < 1 || c->embedding_size < 1 ||
	    c->type_vocab_size < 0 || c->groups < 1 || c->inner < 1)
		abort();
	if (c->hidden_size % c->heads != 0 || c->pad_id >= c->vocab_size || c->conv_kernel < 0)
		abort();
	if (c->layers > 1000 || c->groups * c->inner > 1000 || (c->conv_kernel > 0 && c->conv_groups < 1))
		abort();
	if (!is_share(c->hidden_dropout) || !is_share(c->attention_dropout) ||
	    !is_share(c->classifier_dropout))
		abort();
	if (!c->json || c->label_count < 1 || c->label_count > 10000)
		abort();
	for (size_t i = 0; i < c->label_count; i++) {
		if (!c->labels[i] || rt_utf8_valid(c->labels[i], strlen(c->labels[i])) < strlen(c->labels[i]))
			abort();
	}
}

/* Every parameter has a name and a size. Of many layers, which are all alike, a few. */
static void list_parameters(const struct rt_family *f, const struct rt_config *c)
{
	struct rt_slots slots = { NULL, 0 };
	struct rt_body body = { 0 };
	struct rt_layer *layers;
	struct rt_err err = RT_ERR_INIT;

	if (c->groups * c->inner > 8)
		return;
	layers = calloc((size_t)(c->groups * c->inner), sizeof *layers);
	if (!layers)
		return;
	if (rt_slots_list(f, c, &body, layers, &slots, &err) < 0)
		check_refusal(&err);
	for (size_t i = 0; i < slots.count; i++) {
		const struct rt_slot *s = &slots.list[i];

		if (!s->name || s->ndim < 1 || s->ndim > 3)
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
	const struct rt_family *family;
	struct rt_config c, again;
	json_t *json = rt_json_parse((const char *)data, size, &err);

	if (!json) {
		check_refusal(&err);
		return 0;
	}
	if (!json_is_object(json)) {
		json_decref(json);
		return 0;
	}
	family = rt_family_find(json, &err);
	if (!family || rt_config_read(json, &family->config, &c, &err) < 0) {
		check_refusal(&err);
	} else {
		check_config(&c);
		list_parameters(family, &c);
		if (rt_config_read(c.json, &family->config, &again, &err) < 0 ||
		    again.label_count != c.label_count)
			abort();
		rt_config_release(&again);
		rt_config_release(&c);
	}
	json_decref(json);
	return 0;
}
