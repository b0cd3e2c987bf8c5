/* SPDX-License-Identifier: Apache-2.0 */
/* ModernBERT (Warner et al. 2024): norm before each block, rotary positions, most layers look at a window only, gated
 * feed-forward, few biases, mean or first-token pooling. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "worker/model/parts.h"
#include "worker/model/shared.h"

#define CONFIG(field) offsetof(struct rt_config, field)
#define BODY(field)   offsetof(struct rt_body, field)
#define LAYER(field)  offsetof(struct rt_layer, field)

static const struct rt_config_field fields[] = {
	{ "vocab_size", RT_FIELD_INT, CONFIG(vocab_size), 50368, 1, RT_SIZE_MAX },
	{ "hidden_size", RT_FIELD_INT, CONFIG(hidden_size), 768, 1, 1e6 },
	{ "num_hidden_layers", RT_FIELD_INT, CONFIG(layers), 22, 1, 1000 },
	{ "num_attention_heads", RT_FIELD_INT, CONFIG(heads), 12, 1, 1e6 },
	{ "intermediate_size", RT_FIELD_INT, CONFIG(intermediate_size), 1152, 1, 1e7 },
	{ "max_position_embeddings", RT_FIELD_INT, CONFIG(max_positions), 8192, 1, 1e7 },
	{ "pad_token_id", RT_FIELD_INT, CONFIG(pad_id), 50283, 0, RT_SIZE_MAX },
	{ "norm_eps", RT_FIELD_REAL, CONFIG(layer_norm_eps), 1e-5, 0, 1 },
	{ "initializer_range", RT_FIELD_REAL, CONFIG(initializer_range), 0.02, 0, 100 },
	{ "initializer_cutoff_factor", RT_FIELD_REAL, CONFIG(modern.cutoff), 2, 0.1, 1e6 },
	{ "embedding_dropout", RT_FIELD_REAL, CONFIG(hidden_dropout), 0, 0, 1 },
	{ "attention_dropout", RT_FIELD_REAL, CONFIG(attention_dropout), 0, 0, 1 },
	{ "mlp_dropout", RT_FIELD_REAL, CONFIG(modern.mlp_dropout), 0, 0, 1 },
	{ "classifier_dropout", RT_FIELD_REAL, CONFIG(classifier_dropout), 0, 0, 1 },
	{ "attention_bias", RT_FIELD_BOOL, CONFIG(modern.attention_bias), 0, 0, 1 },
	{ "mlp_bias", RT_FIELD_BOOL, CONFIG(modern.mlp_bias), 0, 0, 1 },
	{ "norm_bias", RT_FIELD_BOOL, CONFIG(modern.norm_bias), 0, 0, 1 },
	{ "classifier_bias", RT_FIELD_BOOL, CONFIG(modern.head_bias), 0, 0, 1 },
	{ NULL, RT_FIELD_INT, 0, 0, 0, 0 },
};

static const struct rt_module body[] = {
	{ "embeddings.tok_embeddings", RT_EMBEDDING, RT_DIM_VOCAB, RT_DIM_HIDDEN, BODY(words),
	  RT_MODULE_PAD_ROW },
	{ "embeddings.norm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, BODY(embedding_norm), 0 },
	{ "final_norm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, BODY(final_norm), 0 },
	{ "head.dense", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, BODY(dense), RT_MODULE_TOP | RT_MODULE_NEW },
	{ "head.norm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, BODY(head_norm), RT_MODULE_TOP | RT_MODULE_NEW },
	{ "classifier", RT_LINEAR, RT_DIM_LABELS, RT_DIM_HIDDEN, BODY(classifier),
	  RT_MODULE_TOP | RT_MODULE_NEW },
	{ NULL, RT_LINEAR, RT_DIM_NONE, RT_DIM_NONE, 0, 0 },
};

static const struct rt_module layer[] = {
	{ "attn_norm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, LAYER(attention_norm), 0 },
	{ "attn.Wqkv", RT_LINEAR, RT_DIM_QKV, RT_DIM_HIDDEN, LAYER(qkv), 0 },
	{ "attn.Wo", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(attention_out), 0 },
	{ "mlp_norm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, LAYER(ffn_norm), 0 },
	{ "mlp.Wi", RT_LINEAR, RT_DIM_GATED, RT_DIM_HIDDEN, LAYER(up), 0 },
	{ "mlp.Wo", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_INTERMEDIATE, LAYER(down), 0 },
	{ NULL, RT_LINEAR, RT_DIM_NONE, RT_DIM_NONE, 0, 0 },
};

static bool has(const struct rt_config *c, const struct rt_module *m, int64_t layer_number, bool bias)
{
	bool in_layer = layer_number >= 0;

	if (in_layer && layer_number == 0 && m->offset == LAYER(attention_norm))
		return false; /* the embeddings' norm has just run */
	if (!bias)
		return true;
	if (m->kind == RT_NORM)
		return c->modern.norm_bias;
	if (in_layer)
		return m->offset == LAYER(qkv) || m->offset == LAYER(attention_out) ? c->modern.attention_bias
										    : c->modern.mlp_bias;
	return m->offset == BODY(classifier) || c->modern.head_bias;
}

static double init_std(const struct rt_config *c, const struct rt_module *m)
{
	if (m->rows == RT_DIM_LABELS)
		return 1 / sqrt((double)c->hidden_size);
	if (strcmp(m->name, "attn.Wo") == 0 || strcmp(m->name, "mlp.Wo") == 0 ||
	    strcmp(m->name, "head.dense") == 0)
		return c->initializer_range / sqrt(2 * (double)c->layers);
	return c->initializer_range;
}

/* layer_types names each layer's attention; older configs say how often a global layer comes. */
static int read_layers(const json_t *json, struct rt_config *c, struct rt_err *err)
{
	const json_t *types = json_object_get(json, "layer_types");
	int64_t every = 3;

	c->modern.global = calloc((size_t)c->layers, sizeof *c->modern.global);
	if (!c->modern.global)
		return rt_fail(err, RT_NO_MEMORY, "no memory for %lld layers", (long long)c->layers);
	if (rt_json_get_i64(json, "global_attn_every_n_layers", &every, err) < 0)
		return rt_fail_in(err, "config.json");
	if (every < 1)
		return rt_fail(err, RT_INVALID,
			       "config.json: global_attn_every_n_layers must be at least 1 (got %lld)",
			       (long long)every);
	if (types && !json_is_null(types) && json_array_size(types) != (size_t)c->layers)
		return rt_fail(err, RT_INVALID, "config.json: layer_types must name %lld layers (got %zu)",
			       (long long)c->layers, json_array_size(types));
	for (int64_t i = 0; i < c->layers; i++) {
		const char *word = json_string_value(json_array_get(types, (size_t)i));

		if (!json_is_array(types))
			c->modern.global[i] = i % every == 0;
		else if (word && strcmp(word, "full_attention") == 0)
			c->modern.global[i] = true;
		else if (!word || strcmp(word, "sliding_attention") != 0)
			return rt_fail(err, RT_UNSUPPORTED,
				       "config.json: layer_types/%lld must be full_attention or "
				       "sliding_attention (got '%.64s')",
				       (long long)i, word ? word : "something else");
	}
	return 0;
}

/* Only angles that are not scaled. where: for the message. */
static int check_rope(const json_t *rope, const char *where, struct rt_err *err)
{
	static const char *const keys[] = { "rope_type", "type" };

	if (!rope || json_is_null(rope))
		return 0;
	if (!json_is_object(rope))
		return rt_fail(err, RT_INVALID, "config.json: %s must be an object", where);
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		const char *type = "default";

		if (rt_json_get_str(rope, keys[i], &type, err) < 0)
			return rt_fail_in(err, "config.json: %s", where);
		if (strcmp(type, "default") != 0)
			return rt_fail(err, RT_UNSUPPORTED,
				       "config.json: %s/%s '%.64s' is not supported, only 'default'", where,
				       keys[i], type);
	}
	return 0;
}

/* rope_parameters has an object for each kind of attention; in this family a theta beside them would mean nothing. */
static int check_ropes(const json_t *json, struct rt_err *err)
{
	const json_t *ropes = json_object_get(json, "rope_parameters"), *value;
	const char *key;

	if (check_rope(json_object_get(json, "rope_scaling"), "rope_scaling", err) < 0)
		return -1;
	if (!ropes || json_is_null(ropes))
		return 0;
	if (!json_is_object(ropes))
		return rt_fail(err, RT_INVALID, "config.json: rope_parameters must be an object");
	json_object_foreach((json_t *)(uintptr_t)ropes, key, value)
	{
		if (strcmp(key, "full_attention") != 0 && strcmp(key, "sliding_attention") != 0)
			return rt_fail(
				err, RT_UNSUPPORTED,
				"config.json: rope_parameters/%.64s is not known (known are full_attention, "
				"sliding_attention)",
				key);
		if (check_rope(value, "rope_parameters", err) < 0)
			return -1;
	}
	return 0;
}

/* rope_parameters/<kind>/rope_theta, or the older single field. */
static int read_theta(const json_t *json, const char *kind, const char *older, double fallback, double *ret,
		      struct rt_err *err)
{
	const json_t *rope = json_object_get(json_object_get(json, "rope_parameters"), kind);
	double v = fallback;

	if (rt_json_get_real(json, older, &v, err) < 0 ||
	    (rope && rt_json_get_real(rope, "rope_theta", &v, err) < 0))
		return rt_fail_in(err, "config.json");
	if (!(v > 0))
		return rt_fail(err, RT_INVALID, "config.json: %s must be above 0 (got %g)", older, v);
	*ret = v;
	return 0;
}

static int finish_config(const json_t *json, struct rt_config *c, struct rt_err *err)
{
	const char *pooling = "cls";
	int64_t window = 128, side = -1, size = c->hidden_size / c->heads;
	const json_t *local = json_object_get(json, "local_rope_theta");
	double theta = 160000;

	if (rt_json_get_str(json, "classifier_pooling", &pooling, err) < 0 ||
	    rt_json_get_i64(json, "local_attention", &window, err) < 0 ||
	    rt_json_get_i64(json, "sliding_window", &side, err) < 0 ||
	    rt_json_get_i64(json, "head_dim", &size, err) < 0)
		return rt_fail_in(err, "config.json");
	if (json_is_null(json_object_get(json, "initializer_cutoff_factor")))
		c->modern.cutoff = 3;
	if (size != c->hidden_size / c->heads || size % 2 != 0)
		return rt_fail(err, RT_UNSUPPORTED,
			       "config.json: head_dim must be hidden_size / num_attention_heads and even, "
			       "for its angles (got %lld)",
			       (long long)size);
	if (strcmp(pooling, "cls") != 0 && strcmp(pooling, "mean") != 0)
		return rt_fail(err, RT_UNSUPPORTED,
			       "config.json: classifier_pooling '%.64s' is not known (known are cls, mean)",
			       pooling);
	if (window < 1)
		return rt_fail(err, RT_INVALID, "config.json: local_attention must be at least 1 (got %lld)",
			       (long long)window);
	c->modern.mean_pooling = strcmp(pooling, "mean") == 0;
	c->modern.window =
		side >= 0 ? side : window / 2; /* sliding_window, half of it, wins in the library too */
	if (rt_config_activation(json, "classifier_activation", "gelu", &c->head_activation, err) < 0 ||
	    read_layers(json, c, err) < 0 || check_ropes(json, err) < 0 ||
	    read_theta(json, "full_attention", "global_rope_theta", theta, &c->modern.global_theta, err) < 0)
		return -1;
	/* null there means the same angles in all layers */
	theta = local && json_is_null(local) ? c->modern.global_theta : 10000;
	return read_theta(json, "sliding_attention", "local_rope_theta", theta, &c->modern.local_theta, err);
}

/* cos and sin of every token's angles, (N, size / 2): fp32, as the library has them. */
static int make_rotary(struct tc_scope *s, const struct rt_pass *p, double theta, struct tc_tensor **ret_cos,
		       struct tc_tensor **ret_sin)
{
	int64_t size = p->config->hidden_size / p->config->heads, half = size / 2, n = p->tokens;
	float *cosines = malloc((size_t)(n * half + 1) * sizeof *cosines);
	float *sines = malloc((size_t)(n * half + 1) * sizeof *sines);
	int64_t shape[] = { n, half };

	if (!cosines || !sines) {
		free(cosines);
		free(sines);
		tc_fail(s, RT_NO_MEMORY, "no memory for rotary positions");
		return -1;
	}
	for (int64_t k = 0; k < half; k++) {
		float turn = 1.0f / powf((float)theta, (float)(2 * k) / (float)size);

		for (int64_t i = 0; i < n; i++) {
			float angle = (float)p->positions[i] * turn;

			cosines[i * half + k] = cosf(angle);
			sines[i * half + k] = sinf(angle);
		}
	}
	*ret_cos = tc_from_data(s, TC_F32, 2, shape, cosines);
	*ret_sin = tc_from_data(s, TC_F32, 2, shape, sines);
	free(cosines);
	free(sines);
	return 0;
}

static struct rt_hidden embed(struct tc_scope *s, struct rt_pass *p)
{
	const struct rt_config *c = p->config;
	struct rt_hidden x = { NULL, NULL };

	if (make_rotary(s, p, c->modern.local_theta, &p->cos[0], &p->sin[0]) < 0 ||
	    make_rotary(s, p, c->modern.global_theta, &p->cos[1], &p->sin[1]) < 0)
		return x;
	x = rt_part_norm(s, p, rt_part_embed_sum(s, p), &p->body->embedding_norm);
	return p->training && c->hidden_dropout > 0 ? rt_part_hidden(s, p, x.full, c->hidden_dropout) : x;
}

static struct tc_tensor *attention(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
				   struct tc_tensor *x)
{
	bool global = p->config->modern.global[p->layer];
	struct tc_tensor *all = rt_part_linear(s, p, x, &l->qkv); /* (N, 3 H) */

	all = tc_rotate(s, all, p->config->heads, p->cos[global], p->sin[global]);
	x = rt_part_attend(s, p, all, global ? -1 : p->config->modern.window);
	x = rt_part_full(s, p, rt_part_linear(s, p, x, &l->attention_out));
	return rt_part_dropout(s, p, x, p->config->attention_dropout);
}

static struct rt_hidden run_layer(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
				  struct rt_hidden x)
{
	struct tc_tensor *low =
		l->attention_norm.w ? rt_part_norm(s, p, x.full, &l->attention_norm).low : x.low;
	struct tc_tensor *y;

	x.full = tc_add(s, x.full, attention(s, p, l, low));
	y = rt_part_linear(s, p, rt_part_norm(s, p, x.full, &l->ffn_norm).low, &l->up); /* (N, 2 I) */
	y = rt_part_gate(s, p, y, p->config->activation);
	y = rt_part_dropout(s, p, y, p->config->modern.mlp_dropout);
	x.full = tc_add(s, x.full, rt_part_full(s, p, rt_part_linear(s, p, y, &l->down)));
	x.low = x.full; /* what follows is a norm */
	return x;
}

static struct rt_hidden finish(struct tc_scope *s, struct rt_pass *p, struct rt_hidden x)
{
	return rt_part_norm(s, p, x.full, &p->body->final_norm);
}

/* Mean over each row's tokens: (rows, H). */
static struct tc_tensor *mean_pool(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x)
{
	int64_t rows = p->batch->rows;
	float *share = calloc((size_t)(rows * p->tokens), sizeof *share);
	struct tc_tensor *weights;

	if (!share)
		return tc_fail(s, RT_NO_MEMORY, "no memory to pool");
	for (int64_t r = 0; r < rows; r++) {
		for (int64_t i = p->starts[r]; i < p->starts[r + 1]; i++)
			share[r * p->tokens + i] = 1.0f / (float)(p->starts[r + 1] - p->starts[r]);
	}
	weights = tc_from_data(s, TC_F32, 2, (int64_t[]){ rows, p->tokens }, share);
	free(share);
	return tc_matmul(s, weights, x);
}

static struct tc_tensor *head(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x)
{
	x = p->config->modern.mean_pooling ? mean_pool(s, p, x) : rt_part_first_token(s, p, x);
	x = rt_part_activation(s, p->config->head_activation, rt_part_linear(s, p, x, &p->body->dense));
	x = rt_part_norm(s, p, rt_part_full(s, p, x), &p->body->head_norm).full;
	x = rt_part_dropout(s, p, x, p->config->classifier_dropout);
	return rt_part_full(s, p, rt_part_linear(s, p, x, &p->body->classifier));
}

const struct rt_family rt_family_modernbert = {
	.model_type = "modernbert",
	.architecture = "ModernBertForSequenceClassification",
	.prefix = "model",
	.config = { fields, "hidden_activation", "gelu", finish_config },
	.body = body,
	.layer = layer,
	.layer_prefix = "layers.",
	.has = has,
	.rotary = true,
	.init_std = init_std,
	.embed = embed,
	.run_layer = run_layer,
	.finish = finish,
	.head = head,
};
