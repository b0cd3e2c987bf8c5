/* SPDX-License-Identifier: Apache-2.0 */
/* ALBERT (Lan et al. 2019): narrow embeddings, and one group of layers' weights for many layers. */
#include <math.h>

#include "worker/model/parts.h"
#include "worker/model/shared.h"

#define CONFIG(field) offsetof(struct rt_config, field)
#define BODY(field)   offsetof(struct rt_body, field)
#define LAYER(field)  offsetof(struct rt_layer, field)

static const struct rt_config_field fields[] = {
	{ "vocab_size", RT_FIELD_INT, CONFIG(vocab_size), 30000, 1, RT_SIZE_MAX },
	{ "embedding_size", RT_FIELD_INT, CONFIG(embedding_size), 128, 1, 1e6 },
	{ "hidden_size", RT_FIELD_INT, CONFIG(hidden_size), 4096, 1, 1e6 },
	{ "num_hidden_layers", RT_FIELD_INT, CONFIG(layers), 12, 1, 1000 },
	{ "num_hidden_groups", RT_FIELD_INT, CONFIG(groups), 1, 1, 1000 },
	{ "inner_group_num", RT_FIELD_INT, CONFIG(inner), 1, 1, 1000 },
	{ "num_attention_heads", RT_FIELD_INT, CONFIG(heads), 64, 1, 1e6 },
	{ "intermediate_size", RT_FIELD_INT, CONFIG(intermediate_size), 16384, 1, 1e7 },
	{ "max_position_embeddings", RT_FIELD_INT, CONFIG(max_positions), 512, 1, RT_SIZE_MAX },
	{ "type_vocab_size", RT_FIELD_INT, CONFIG(type_vocab_size), 2, 1, 1e6 },
	{ "pad_token_id", RT_FIELD_INT, CONFIG(pad_id), 0, 0, RT_SIZE_MAX },
	{ "layer_norm_eps", RT_FIELD_REAL, CONFIG(layer_norm_eps), 1e-12, 0, 1 },
	{ "initializer_range", RT_FIELD_REAL, CONFIG(initializer_range), 0.02, 0, 100 },
	{ "hidden_dropout_prob", RT_FIELD_REAL, CONFIG(hidden_dropout), 0, 0, 1 },
	{ "attention_probs_dropout_prob", RT_FIELD_REAL, CONFIG(attention_dropout), 0, 0, 1 },
	{ "classifier_dropout_prob", RT_FIELD_REAL, CONFIG(classifier_dropout), 0.1, 0, 1 },
	{ NULL, RT_FIELD_INT, 0, 0, 0, 0 },
};

static const struct rt_module body[] = {
	RT_BERT_EMBEDDINGS(0),
	{ "encoder.embedding_hidden_mapping_in", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_EMBEDDING, BODY(project),
	  0 },
	{ "pooler", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, BODY(pooler), RT_MODULE_NEW },
	{ "classifier", RT_LINEAR, RT_DIM_LABELS, RT_DIM_HIDDEN, BODY(classifier),
	  RT_MODULE_TOP | RT_MODULE_NEW },
	{ NULL, RT_LINEAR, RT_DIM_NONE, RT_DIM_NONE, 0, 0 },
};

static const struct rt_module layer[] = {
	{ "attention.query", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(query), 0 },
	{ "attention.key", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(key), 0 },
	{ "attention.value", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(value), 0 },
	{ "attention.dense", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(attention_out), 0 },
	{ "attention.LayerNorm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, LAYER(attention_norm), 0 },
	{ "ffn", RT_LINEAR, RT_DIM_INTERMEDIATE, RT_DIM_HIDDEN, LAYER(up), 0 },
	{ "ffn_output", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_INTERMEDIATE, LAYER(down), 0 },
	{ "full_layer_layer_norm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, LAYER(ffn_norm), 0 },
	{ NULL, RT_LINEAR, RT_DIM_NONE, RT_DIM_NONE, 0, 0 },
};

static int finish_config(const json_t *json, struct rt_config *c, struct rt_err *err)
{
	(void)json, (void)err;
	c->ffn_out_dropout = 0; /* the library has none there */
	return 0;
}

const struct rt_family rt_family_albert = {
	.model_type = "albert",
	.architecture = "AlbertForSequenceClassification",
	.prefix = "albert",
	.config = { fields, "hidden_act", "gelu_new", finish_config },
	.body = body,
	.layer = layer,
	.layer_prefix = "encoder.albert_layer_groups.",
	.inner_prefix = "albert_layers.",
	.token_types = true,
	.embed = rt_part_embed_absolute,
	.first_token_last = true,
	.run_layer = rt_part_layer_post_norm,
	.head = rt_part_head_pooled,
};
