/* SPDX-License-Identifier: Apache-2.0 */
/* BERT (Devlin et al. 2018): absolute positions from 0, token types, norm after each block, a pooler before the head. */
#include <math.h>

#include "worker/model/parts.h"
#include "worker/model/shared.h"

static const struct rt_config_field fields[] = {
	RT_BERT_SIZES(30522, 2),
	{ "pad_token_id", RT_FIELD_INT, offsetof(struct rt_config, pad_id), 0, 0, RT_SIZE_MAX },
	{ NULL, RT_FIELD_INT, 0, 0, 0, 0 },
};

static const struct rt_module body[] = {
	RT_BERT_EMBEDDINGS(0),
	{ "pooler.dense", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, offsetof(struct rt_body, pooler),
	  RT_MODULE_NEW },
	{ "classifier", RT_LINEAR, RT_DIM_LABELS, RT_DIM_HIDDEN, offsetof(struct rt_body, classifier),
	  RT_MODULE_TOP | RT_MODULE_NEW },
	{ NULL, RT_LINEAR, RT_DIM_NONE, RT_DIM_NONE, 0, 0 },
};

const struct rt_family rt_family_bert = {
	.model_type = "bert",
	.architecture = "BertForSequenceClassification",
	.prefix = "bert",
	.config = { fields, "hidden_act", "gelu", NULL },
	.body = body,
	.layer = rt_bert_layer,
	.layer_prefix = "encoder.layer.",
	.token_types = true,
	.embed = rt_part_embed_absolute,
	.first_token_last = true,
	.run_layer = rt_part_layer_post_norm,
	.head = rt_part_head_pooled,
};
