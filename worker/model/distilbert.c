/* SPDX-License-Identifier: Apache-2.0 */
/* DistilBERT (Sanh et al. 2019): BERT without token types and pooler; its own names; eps 1e-12 whatever its config says;
 * no dropout behind attention's output. */
#include <math.h>

#include "worker/model/parts.h"
#include "worker/model/shared.h"

#define CONFIG(field) offsetof(struct rt_config, field)
#define BODY(field)   offsetof(struct rt_body, field)
#define LAYER(field)  offsetof(struct rt_layer, field)

static const struct rt_config_field fields[] = {
	{ "vocab_size", RT_FIELD_INT, CONFIG(vocab_size), 30522, 1, RT_SIZE_MAX },
	{ "dim", RT_FIELD_INT, CONFIG(hidden_size), 768, 1, 1e6 },
	{ "n_layers", RT_FIELD_INT, CONFIG(layers), 6, 1, 1000 },
	{ "n_heads", RT_FIELD_INT, CONFIG(heads), 12, 1, 1e6 },
	{ "hidden_dim", RT_FIELD_INT, CONFIG(intermediate_size), 3072, 1, 1e7 },
	{ "max_position_embeddings", RT_FIELD_INT, CONFIG(max_positions), 512, 1, RT_SIZE_MAX },
	/* the library's common words for three of them, which win */
	{ "hidden_size", RT_FIELD_INT, CONFIG(hidden_size), NAN, 1, 1e6 },
	{ "num_hidden_layers", RT_FIELD_INT, CONFIG(layers), NAN, 1, 1000 },
	{ "num_attention_heads", RT_FIELD_INT, CONFIG(heads), NAN, 1, 1e6 },
	{ "sinusoidal_pos_embds", RT_FIELD_BOOL, CONFIG(sinusoidal_positions), 0, 0, 1 },
	{ "pad_token_id", RT_FIELD_INT, CONFIG(pad_id), 0, 0, RT_SIZE_MAX },
	{ "initializer_range", RT_FIELD_REAL, CONFIG(initializer_range), 0.02, 0, 100 },
	{ "dropout", RT_FIELD_REAL, CONFIG(hidden_dropout), 0.1, 0, 1 },
	{ "attention_dropout", RT_FIELD_REAL, CONFIG(attention_dropout), 0.1, 0, 1 },
	{ "seq_classif_dropout", RT_FIELD_REAL, CONFIG(classifier_dropout), 0.2, 0, 1 },
	{ NULL, RT_FIELD_INT, 0, 0, 0, 0 },
};

static const struct rt_module body[] = {
	{ "embeddings.word_embeddings", RT_EMBEDDING, RT_DIM_VOCAB, RT_DIM_HIDDEN, BODY(words),
	  RT_MODULE_PAD_ROW },
	{ "embeddings.position_embeddings", RT_EMBEDDING, RT_DIM_POSITIONS, RT_DIM_HIDDEN, BODY(positions),
	  0 },
	{ "embeddings.LayerNorm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, BODY(embedding_norm), 0 },
	{ "pre_classifier", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, BODY(dense),
	  RT_MODULE_TOP | RT_MODULE_NEW },
	{ "classifier", RT_LINEAR, RT_DIM_LABELS, RT_DIM_HIDDEN, BODY(classifier),
	  RT_MODULE_TOP | RT_MODULE_NEW },
	{ NULL, RT_LINEAR, RT_DIM_NONE, RT_DIM_NONE, 0, 0 },
};

static const struct rt_module layer[] = {
	{ "attention.q_lin", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(query), 0 },
	{ "attention.k_lin", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(key), 0 },
	{ "attention.v_lin", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(value), 0 },
	{ "attention.out_lin", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(attention_out), 0 },
	{ "sa_layer_norm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, LAYER(attention_norm), 0 },
	{ "ffn.lin1", RT_LINEAR, RT_DIM_INTERMEDIATE, RT_DIM_HIDDEN, LAYER(up), 0 },
	{ "ffn.lin2", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_INTERMEDIATE, LAYER(down), 0 },
	{ "output_layer_norm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, LAYER(ffn_norm), 0 },
	{ NULL, RT_LINEAR, RT_DIM_NONE, RT_DIM_NONE, 0, 0 },
};

static int finish_config(const json_t *json, struct rt_config *c, struct rt_err *err)
{
	(void)json, (void)err;
	c->layer_norm_eps = 1e-12;
	c->attention_out_dropout = 0;
	return 0;
}

static struct tc_tensor *head(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x)
{
	x = tc_relu(s, rt_part_linear(s, p, rt_part_first_token(s, p, x), &p->body->dense));
	x = rt_part_dropout(s, p, x, p->config->classifier_dropout);
	return rt_part_full(s, p, rt_part_linear(s, p, x, &p->body->classifier));
}

const struct rt_family rt_family_distilbert = {
	.model_type = "distilbert",
	.architecture = "DistilBertForSequenceClassification",
	.prefix = "distilbert",
	.config = { fields, "activation", "gelu", finish_config },
	.body = body,
	.layer = layer,
	.layer_prefix = "transformer.layer.",
	.embed = rt_part_embed_absolute,
	.first_token_last = true,
	.run_layer = rt_part_layer_post_norm,
	.head = head,
};
