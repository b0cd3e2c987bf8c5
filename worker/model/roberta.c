/* SPDX-License-Identifier: Apache-2.0 */
/* RoBERTa (Liu et al. 2019) and XLM-R: BERT's layers; positions count real tokens from pad_id + 1; the head has a dense
 * layer of its own and no pooler. */
#include <math.h>

#include "worker/model/parts.h"
#include "worker/model/shared.h"

static const struct rt_config_field roberta_fields[] = {
	RT_BERT_SIZES(50265, 2),
	{ "pad_token_id", RT_FIELD_INT, offsetof(struct rt_config, pad_id), 1, 0, RT_SIZE_MAX },
	{ NULL, RT_FIELD_INT, 0, 0, 0, 0 },
};

static const struct rt_config_field xlm_roberta_fields[] = {
	RT_BERT_SIZES(30522, 2),
	{ "pad_token_id", RT_FIELD_INT, offsetof(struct rt_config, pad_id), 1, 0, RT_SIZE_MAX },
	{ NULL, RT_FIELD_INT, 0, 0, 0, 0 },
};

static int finish_config(const json_t *json, struct rt_config *c, struct rt_err *err)
{
	(void)json;
	if (c->pad_id < 0)
		return rt_fail(err, RT_UNSUPPORTED,
			       "config.json: pad_token_id must not be null: positions count from it");
	if (c->max_positions < c->pad_id + 2)
		return rt_fail(err, RT_INVALID,
			       "config.json: max_position_embeddings %lld leaves no position behind "
			       "pad_token_id %lld",
			       (long long)c->max_positions, (long long)c->pad_id);
	return 0;
}

static const struct rt_module body[] = {
	RT_BERT_EMBEDDINGS(RT_MODULE_PAD_ROW),
	{ "classifier.dense", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, offsetof(struct rt_body, dense),
	  RT_MODULE_TOP | RT_MODULE_NEW },
	{ "classifier.out_proj", RT_LINEAR, RT_DIM_LABELS, RT_DIM_HIDDEN,
	  offsetof(struct rt_body, classifier), RT_MODULE_TOP | RT_MODULE_NEW },
	{ NULL, RT_LINEAR, RT_DIM_NONE, RT_DIM_NONE, 0, 0 },
};

#define RELATIVE(type, arch, config_fields)                                                                  \
	{                                                                                                    \
		.model_type = type, .architecture = arch, .prefix = "roberta",                               \
		.config = { config_fields, "hidden_act", "gelu", finish_config }, .body = body,              \
		.layer = rt_bert_layer, .layer_prefix = "encoder.layer.", .positions_after_pad = true,       \
		.first_token_last = true, .token_types = false, .embed = rt_part_embed_absolute,             \
		.run_layer = rt_part_layer_post_norm, .head = rt_part_head_dense_tanh                        \
	}

const struct rt_family rt_family_roberta =
	RELATIVE("roberta", "RobertaForSequenceClassification", roberta_fields);
const struct rt_family rt_family_xlm_roberta =
	RELATIVE("xlm-roberta", "XLMRobertaForSequenceClassification", xlm_roberta_fields);
