/* SPDX-License-Identifier: Apache-2.0 */
/* MPNet (Song et al. 2020): RoBERTa's positions and head, no token types, and a bias by relative position that all layers
 * share. */
#include <math.h>
#include <stdlib.h>

#include "worker/model/parts.h"
#include "worker/model/shared.h"

#define CONFIG(field) offsetof(struct rt_config, field)
#define BODY(field)   offsetof(struct rt_body, field)
#define LAYER(field)  offsetof(struct rt_layer, field)
#define PADDING	      1
#define BUCKETS	      32 /* always; the config's number only sizes the table */

static const struct rt_config_field fields[] = {
	{ "vocab_size", RT_FIELD_INT, CONFIG(vocab_size), 30527, 1, RT_SIZE_MAX },
	{ "hidden_size", RT_FIELD_INT, CONFIG(hidden_size), 768, 1, 1e6 },
	{ "num_hidden_layers", RT_FIELD_INT, CONFIG(layers), 12, 1, 1000 },
	{ "num_attention_heads", RT_FIELD_INT, CONFIG(heads), 12, 1, 1e6 },
	{ "intermediate_size", RT_FIELD_INT, CONFIG(intermediate_size), 3072, 1, 1e7 },
	{ "max_position_embeddings", RT_FIELD_INT, CONFIG(max_positions), 512, 3, RT_SIZE_MAX },
	{ "relative_attention_num_buckets", RT_FIELD_INT, CONFIG(relative.buckets), BUCKETS, BUCKETS, 1e6 },
	{ "layer_norm_eps", RT_FIELD_REAL, CONFIG(layer_norm_eps), 1e-12, 0, 1 },
	{ "initializer_range", RT_FIELD_REAL, CONFIG(initializer_range), 0.02, 0, 100 },
	{ "hidden_dropout_prob", RT_FIELD_REAL, CONFIG(hidden_dropout), 0.1, 0, 1 },
	{ "attention_probs_dropout_prob", RT_FIELD_REAL, CONFIG(attention_dropout), 0.1, 0, 1 },
	{ NULL, RT_FIELD_INT, 0, 0, 0, 0 },
};

static const struct rt_module body[] = {
	{ "embeddings.word_embeddings", RT_EMBEDDING, RT_DIM_VOCAB, RT_DIM_HIDDEN, BODY(words),
	  RT_MODULE_PAD_ROW },
	{ "embeddings.position_embeddings", RT_EMBEDDING, RT_DIM_POSITIONS, RT_DIM_HIDDEN, BODY(positions),
	  RT_MODULE_PAD_ROW },
	{ "embeddings.LayerNorm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, BODY(embedding_norm), 0 },
	/* The Trainer leaves out of the decay whatever has "bias" in its name. */
	{ "encoder.relative_attention_bias", RT_EMBEDDING, RT_DIM_RELATIVE, RT_DIM_HEADS, BODY(relative),
	  RT_MODULE_NO_DECAY },
	{ "classifier.dense", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, BODY(dense),
	  RT_MODULE_TOP | RT_MODULE_NEW },
	{ "classifier.out_proj", RT_LINEAR, RT_DIM_LABELS, RT_DIM_HIDDEN, BODY(classifier),
	  RT_MODULE_TOP | RT_MODULE_NEW },
	{ NULL, RT_LINEAR, RT_DIM_NONE, RT_DIM_NONE, 0, 0 },
};

static const struct rt_module layer[] = {
	{ "attention.attn.q", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(query), 0 },
	{ "attention.attn.k", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(key), 0 },
	{ "attention.attn.v", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(value), 0 },
	{ "attention.attn.o", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(attention_out), 0 },
	{ "attention.LayerNorm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, LAYER(attention_norm), 0 },
	{ "intermediate.dense", RT_LINEAR, RT_DIM_INTERMEDIATE, RT_DIM_HIDDEN, LAYER(up), 0 },
	{ "output.dense", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_INTERMEDIATE, LAYER(down), 0 },
	{ "output.LayerNorm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, LAYER(ffn_norm), 0 },
	{ NULL, RT_LINEAR, RT_DIM_NONE, RT_DIM_NONE, 0, 0 },
};

static int finish_config(const json_t *json, struct rt_config *c, struct rt_err *err)
{
	(void)json;
	c->pad_id = PADDING; /* in the library's code too, whatever pad_token_id says */
	c->classifier_dropout = c->hidden_dropout;
	if (c->vocab_size <= PADDING)
		return rt_fail(err, RT_INVALID,
			       "config.json: vocab_size must be above the padding token's %d", PADDING);
	return 0;
}

/* The table's row for a key that stands `offset` tokens after the query (Raffel et al. 2020, both directions). */
static int64_t bucket_of(int64_t offset)
{
	const int64_t half = BUCKETS / 2, exact = half / 2;
	int64_t far = offset < 0 ? -offset : offset, first = offset > 0 ? half : 0, wide;

	if (far < exact)
		return first + far;
	wide = exact + (int64_t)(logf((float)far / (float)exact) / logf(128.0f / (float)exact) *
				 (float)(half - exact));
	return first + (wide < half - 1 ? wide : half - 1);
}

static struct tc_tensor *make_bias(struct tc_scope *s, const struct rt_pass *p)
{
	int64_t width = p->batch->width, n = width * width;
	int64_t *rows = malloc((size_t)n * sizeof *rows);
	struct tc_tensor *bias;

	if (!rows)
		return tc_fail(s, RT_NO_MEMORY, "no memory for relative positions");
	for (int64_t q = 0; q < width; q++) {
		for (int64_t k = 0; k < width; k++)
			rows[q * width + k] = bucket_of(k - q);
	}
	bias = tc_embedding(s, p->body->relative.w, tc_from_data(s, TC_I64, 1, &n, rows), -1);
	free(rows);
	bias = tc_reshape(s, bias, 3, (int64_t[]){ width, width, p->config->heads });
	return tc_permute(s, bias, 3, (int64_t[]){ 2, 0, 1 });
}

static struct rt_hidden embed(struct tc_scope *s, struct rt_pass *p)
{
	p->score_bias = make_bias(s, p);
	return rt_part_embed_absolute(s, p);
}

const struct rt_family rt_family_mpnet = {
	.model_type = "mpnet",
	.architecture = "MPNetForSequenceClassification",
	.prefix = "mpnet",
	.config = { fields, "hidden_act", "gelu", finish_config },
	.body = body,
	.layer = layer,
	.layer_prefix = "encoder.layer.",
	.positions_after_pad = true,
	.embed = embed,
	.first_token_last = true,
	.run_layer = rt_part_layer_post_norm,
	.head = rt_part_head_dense_tanh,
};
