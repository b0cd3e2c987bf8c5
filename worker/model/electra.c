/* SPDX-License-Identifier: Apache-2.0 */
/* ELECTRA (Clark et al. 2020): BERT's layers; embeddings may be narrower than the layers; the head's dense layer has GELU,
 * whatever hidden_act says. */
#include <math.h>
#include <string.h>

#include "worker/model/parts.h"
#include "worker/model/shared.h"

static const struct rt_config_field fields[] = {
	RT_BERT_SIZES(30522, 2),
	{ "embedding_size", RT_FIELD_INT, offsetof(struct rt_config, embedding_size), 128, 1, 1e6 },
	{ "pad_token_id", RT_FIELD_INT, offsetof(struct rt_config, pad_id), 0, 0, RT_SIZE_MAX },
	{ NULL, RT_FIELD_INT, 0, 0, 0, 0 },
};

static const struct rt_module body[] = {
	RT_BERT_EMBEDDINGS(0),
	{ "embeddings_project", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_EMBEDDING, offsetof(struct rt_body, project),
	  0 },
	{ "classifier.dense", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, offsetof(struct rt_body, dense),
	  RT_MODULE_TOP | RT_MODULE_NEW },
	{ "classifier.out_proj", RT_LINEAR, RT_DIM_LABELS, RT_DIM_HIDDEN,
	  offsetof(struct rt_body, classifier), RT_MODULE_TOP | RT_MODULE_NEW },
	{ NULL, RT_LINEAR, RT_DIM_NONE, RT_DIM_NONE, 0, 0 },
};

static bool has(const struct rt_config *c, const struct rt_module *m, int64_t layer, bool bias)
{
	(void)bias;
	return layer >= 0 || m->offset != offsetof(struct rt_body, project) ||
	       c->embedding_size != c->hidden_size;
}

static struct tc_tensor *head(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x)
{
	return rt_part_head_dense(s, p, x, RT_ACT_GELU);
}

const struct rt_family rt_family_electra = {
	.model_type = "electra",
	.architecture = "ElectraForSequenceClassification",
	.prefix = "electra",
	.config = { fields, "hidden_act", "gelu", NULL },
	.body = body,
	.layer = rt_bert_layer,
	.layer_prefix = "encoder.layer.",
	.has = has,
	.token_types = true,
	.embed = rt_part_embed_absolute,
	.first_token_last = true,
	.run_layer = rt_part_layer_post_norm,
	.head = head,
};
