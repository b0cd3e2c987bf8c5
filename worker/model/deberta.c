/* SPDX-License-Identifier: Apache-2.0 */
/* DeBERTa-v2 and v3 (He et al. 2020, 2021): attention scores have parts by relative position, content to position (c2p) and
 * position to content (p2c); the pooler stands beside the encoder; v2's largest models have a convolution after the first
 * layer. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "worker/model/parts.h"
#include "worker/model/shared.h"

#define CONFIG(field) offsetof(struct rt_config, field)
#define BODY(field)   offsetof(struct rt_body, field)
#define LAYER(field)  offsetof(struct rt_layer, field)

static const struct rt_config_field fields[] = {
	{ "vocab_size", RT_FIELD_INT, CONFIG(vocab_size), 128100, 1, RT_SIZE_MAX },
	{ "hidden_size", RT_FIELD_INT, CONFIG(hidden_size), 1536, 1, 1e6 },
	{ "embedding_size", RT_FIELD_INT, CONFIG(embedding_size), 0, 0, 1e6 },
	{ "num_hidden_layers", RT_FIELD_INT, CONFIG(layers), 24, 1, 1000 },
	{ "num_attention_heads", RT_FIELD_INT, CONFIG(heads), 24, 1, 1e6 },
	{ "intermediate_size", RT_FIELD_INT, CONFIG(intermediate_size), 6144, 1, 1e7 },
	{ "max_position_embeddings", RT_FIELD_INT, CONFIG(max_positions), 512, 1, 1e6 },
	{ "type_vocab_size", RT_FIELD_INT, CONFIG(type_vocab_size), 0, 0, 1e6 },
	{ "pad_token_id", RT_FIELD_INT, CONFIG(pad_id), 0, 0, RT_SIZE_MAX },
	{ "position_buckets", RT_FIELD_INT, CONFIG(relative.buckets), -1, -1, 1e6 },
	{ "max_relative_positions", RT_FIELD_INT, CONFIG(relative.furthest), -1, -1, 1e6 },
	{ "share_att_key", RT_FIELD_BOOL, CONFIG(relative.share_key), 0, 0, 1 },
	{ "position_biased_input", RT_FIELD_BOOL, CONFIG(absolute_positions), 1, 0, 1 },
	{ "conv_kernel_size", RT_FIELD_INT, CONFIG(conv_kernel), 0, 0, 255 },
	{ "conv_groups", RT_FIELD_INT, CONFIG(conv_groups), 1, 1, 1e6 },
	{ "layer_norm_eps", RT_FIELD_REAL, CONFIG(layer_norm_eps), 1e-7, 0, 1 },
	{ "initializer_range", RT_FIELD_REAL, CONFIG(initializer_range), 0.02, 0, 100 },
	{ "hidden_dropout_prob", RT_FIELD_REAL, CONFIG(hidden_dropout), 0.1, 0, 1 },
	{ "attention_probs_dropout_prob", RT_FIELD_REAL, CONFIG(attention_dropout), 0.1, 0, 1 },
	{ "pooler_dropout", RT_FIELD_REAL, CONFIG(pooler_dropout), 0, 0, 1 },
	{ "cls_dropout", RT_FIELD_REAL, CONFIG(classifier_dropout), NAN, 0, 1 },
	{ NULL, RT_FIELD_INT, 0, 0, 0, 0 },
};

static const struct rt_module body[] = {
	{ "embeddings.word_embeddings", RT_EMBEDDING, RT_DIM_VOCAB, RT_DIM_EMBEDDING, BODY(words),
	  RT_MODULE_PAD_ROW },
	{ "embeddings.position_embeddings", RT_EMBEDDING, RT_DIM_POSITIONS, RT_DIM_EMBEDDING, BODY(positions),
	  0 },
	{ "embeddings.token_type_embeddings", RT_EMBEDDING, RT_DIM_TYPES, RT_DIM_EMBEDDING, BODY(types), 0 },
	{ "embeddings.embed_proj", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_EMBEDDING, BODY(project), 0 },
	{ "embeddings.LayerNorm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, BODY(embedding_norm), 0 },
	{ "encoder.rel_embeddings", RT_EMBEDDING, RT_DIM_RELATIVE, RT_DIM_HIDDEN, BODY(relative), 0 },
	{ "encoder.LayerNorm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, BODY(relative_norm), 0 },
	{ "encoder.conv.conv", RT_CONV, RT_DIM_HIDDEN, RT_DIM_CONV_IN, BODY(conv), 0 },
	{ "encoder.conv.LayerNorm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, BODY(conv_norm), 0 },
	{ "pooler.dense", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, BODY(pooler),
	  RT_MODULE_TOP | RT_MODULE_NEW },
	{ "classifier", RT_LINEAR, RT_DIM_LABELS, RT_DIM_HIDDEN, BODY(classifier),
	  RT_MODULE_TOP | RT_MODULE_NEW },
	{ NULL, RT_LINEAR, RT_DIM_NONE, RT_DIM_NONE, 0, 0 },
};

static const struct rt_module layer[] = {
	{ "attention.self.query_proj", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(query), 0 },
	{ "attention.self.key_proj", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(key), 0 },
	{ "attention.self.value_proj", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(value), 0 },
	{ "attention.self.pos_key_proj", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(position_key), 0 },
	{ "attention.self.pos_query_proj", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(position_query),
	  0 },
	{ "attention.output.dense", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, LAYER(attention_out), 0 },
	{ "attention.output.LayerNorm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, LAYER(attention_norm), 0 },
	{ "intermediate.dense", RT_LINEAR, RT_DIM_INTERMEDIATE, RT_DIM_HIDDEN, LAYER(up), 0 },
	{ "output.dense", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_INTERMEDIATE, LAYER(down), 0 },
	{ "output.LayerNorm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, LAYER(ffn_norm), 0 },
	{ NULL, RT_LINEAR, RT_DIM_NONE, RT_DIM_NONE, 0, 0 },
};

static bool has(const struct rt_config *c, const struct rt_module *m, int64_t layer_number, bool bias)
{
	const struct rt_config_relative *r = &c->relative;

	if (layer_number >= 0) {
		if (m->offset == LAYER(position_key))
			return r->c2p && r->span > 0 && !r->share_key;
		return m->offset != LAYER(position_query) || (r->p2c && r->span > 0 && !r->share_key);
	}
	switch (m->offset) {
	case BODY(positions):
		return c->absolute_positions;
	case BODY(types):
		return c->type_vocab_size > 0;
	case BODY(project):
		return !bias && c->embedding_size != c->hidden_size;
	case BODY(relative):
		return r->span > 0;
	case BODY(relative_norm):
		return r->norm;
	case BODY(conv):
	case BODY(conv_norm):
		return c->conv_kernel > 0;
	default:
		return true;
	}
}

/* Cuts spaces off both ends of a word, and makes it small. */
static char *trim(char *word)
{
	size_t n;

	word += strspn(word, " \t\n\v\f\r");
	for (n = strlen(word); n > 0 && strchr(" \t\n\v\f\r", word[n - 1]); n--)
		word[n - 1] = '\0';
	for (n = 0; word[n]; n++)
		word[n] = (char)(word[n] >= 'A' && word[n] <= 'Z' ? word[n] + 32 : word[n]);
	return word;
}

/* pos_att_type: a list of words, or one string with '|' between them, in which spaces and case do not matter. */
static int read_kinds(const json_t *json, struct rt_config_relative *r, struct rt_err *err)
{
	const json_t *list = json_object_get(json, "pos_att_type");
	char words[64] = "";
	char *rest = words, *word;

	if (json_is_string(list)) {
		if (json_string_length(list) >= sizeof words)
			return rt_fail(err, RT_INVALID,
				       "config.json: pos_att_type must be made of c2p and p2c");
		strcpy(words, json_string_value(list));
	} else if (json_is_array(list)) {
		for (size_t i = 0; i < json_array_size(list); i++) {
			const char *v = json_string_value(json_array_get(list, i));

			if (!v || strlen(v) + strlen(words) + 2 > sizeof words)
				return rt_fail(err, RT_INVALID,
					       "config.json: pos_att_type must be made of c2p and p2c");
			strcat(strcat(words, v), "|");
		}
	} else if (list && !json_is_null(list)) {
		return rt_fail(err, RT_INVALID, "config.json: pos_att_type must be a list of c2p and p2c");
	}
	while ((word = strsep(&rest, "|"))) {
		word = json_is_string(list) ? trim(word) : word;
		if (strcmp(word, "c2p") == 0)
			r->c2p = true;
		else if (strcmp(word, "p2c") == 0)
			r->p2c = true;
		else if (*word)
			return rt_fail(err, RT_UNSUPPORTED,
				       "config.json: pos_att_type '%s' is not known (known are c2p, p2c)",
				       word);
	}
	return 0;
}

/* norm_rel_ebd: words with '|' between them. */
static int read_norm(const json_t *json, struct rt_config_relative *r, struct rt_err *err)
{
	const char *text = "none";
	char words[64], *rest = words, *word;

	if (rt_json_get_str(json, "norm_rel_ebd", &text, err) < 0)
		return rt_fail_in(err, "config.json");
	snprintf(words, sizeof words, "%s", text);
	while ((word = strsep(&rest, "|"))) {
		word = trim(word);
		if (strcmp(word, "layer_norm") == 0)
			r->norm = true;
		else if (strcmp(word, "none") != 0)
			return rt_fail(
				err, RT_UNSUPPORTED,
				"config.json: norm_rel_ebd '%.64s' is not known (known are none, layer_norm)",
				text);
	}
	return 0;
}

/* Distances far enough to have a bucket of their own kind: the logarithm's scale must be above 1 for them. */
static int check_buckets(const struct rt_config *c, struct rt_err *err)
{
	const struct rt_config_relative *r = &c->relative;
	int64_t mid = r->buckets / 2;

	if (r->span == 0 || r->buckets == 0)
		return 0;
	if (mid < 1)
		return rt_fail(err, RT_UNSUPPORTED,
			       "config.json: position_buckets must be at least 2, or -1 for none (got %lld)",
			       (long long)r->buckets);
	if (c->max_positions - 1 > mid && r->furthest - 1 <= mid)
		return rt_fail(err, RT_UNSUPPORTED,
			       "config.json: max_relative_positions must be above %lld with position_buckets "
			       "%lld (got %lld)",
			       (long long)(mid + 1), (long long)r->buckets, (long long)r->furthest);
	return 0;
}

static int check_sizes(const json_t *json, const struct rt_config *c, struct rt_err *err)
{
	int64_t pooled = c->hidden_size, head = c->hidden_size / c->heads;

	if (rt_json_get_i64(json, "pooler_hidden_size", &pooled, err) < 0 ||
	    rt_json_get_i64(json, "attention_head_size", &head, err) < 0)
		return rt_fail_in(err, "config.json");
	if (pooled != c->hidden_size)
		return rt_fail(err, RT_UNSUPPORTED,
			       "config.json: pooler_hidden_size must be hidden_size %lld (got %lld)",
			       (long long)c->hidden_size, (long long)pooled);
	if (head != c->hidden_size / c->heads)
		return rt_fail(err, RT_UNSUPPORTED,
			       "config.json: attention_head_size must be hidden_size / num_attention_heads "
			       "(got %lld)",
			       (long long)head);
	if (c->conv_kernel > 0 && c->conv_kernel % 2 == 0)
		return rt_fail(err, RT_UNSUPPORTED, "config.json: conv_kernel_size must be odd (got %lld)",
			       (long long)c->conv_kernel);
	if (c->hidden_size % c->conv_groups != 0)
		return rt_fail(err, RT_INVALID,
			       "config.json: conv_groups must divide hidden_size %lld (got %lld)",
			       (long long)c->hidden_size, (long long)c->conv_groups);
	return 0;
}

static int finish_config(const json_t *json, struct rt_config *c, struct rt_err *err)
{
	struct rt_config_relative *r = &c->relative;
	bool on = false;

	if (rt_json_get_bool(json, "relative_attention", &on, err) < 0)
		return rt_fail_in(err, "config.json");
	if (rt_config_activation(json, "pooler_hidden_act", "gelu", &c->head_activation, err) < 0 ||
	    rt_config_activation(json, "conv_act", "tanh", &c->conv_activation, err) < 0 ||
	    read_kinds(json, r, err) < 0 || read_norm(json, r, err) < 0 || check_sizes(json, c, err) < 0)
		return -1;
	r->parts = 1 + r->c2p + r->p2c;
	if (r->furthest < 1)
		r->furthest = c->max_positions;
	if (r->buckets < 1)
		r->buckets = 0;
	r->span = !on ? 0 : r->buckets ? r->buckets : r->furthest;
	return check_buckets(c, err);
}

/* Distances beyond half the buckets share buckets that grow with the logarithm. In fp32, where the library has it. */
static int64_t bucket_of(const struct rt_config_relative *r, int64_t offset)
{
	int64_t mid = r->buckets / 2, far = offset < 0 ? -offset : offset;
	float ratio;

	if (r->buckets == 0 || far <= mid)
		return offset;
	ratio = logf((float)far / (float)mid) / logf((float)((double)(r->furthest - 1) / (double)mid));
	far = (int64_t)ceilf(ratio * (float)(mid - 1)) + mid;
	return offset < 0 ? -far : far;
}

/* Row of the table for every query and key, repeated for all heads: (rows * heads, width, width). back: for the other
 * direction, by key and query. */
static struct tc_tensor *table_rows(struct tc_scope *s, const struct rt_pass *p, bool back)
{
	const struct rt_config_relative *r = &p->config->relative;
	int64_t width = p->batch->width, all = p->batch->rows * p->config->heads, n = width * width;
	int64_t *rows = malloc((size_t)(all * n) * sizeof *rows);
	struct tc_tensor *t;

	if (!rows)
		return tc_fail(s, RT_NO_MEMORY, "no memory for relative positions");
	for (int64_t a = 0; a < width; a++) {
		for (int64_t b = 0; b < width; b++) {
			int64_t at = bucket_of(r, a - b);

			at = (back ? -at : at) + r->span;
			rows[a * width + b] = at < 0 ? 0 : at >= 2 * r->span ? 2 * r->span - 1 : at;
		}
	}
	for (int64_t i = 1; i < all; i++)
		memcpy(rows + i * n, rows, (size_t)n * sizeof *rows);
	t = tc_from_data(s, TC_I64, 3, (int64_t[]){ all, width, width }, rows);
	free(rows);
	return t;
}

static struct rt_hidden embed(struct tc_scope *s, struct rt_pass *p)
{
	const struct rt_body *b = p->body;
	const struct rt_config_relative *r = &p->config->relative;
	struct tc_tensor *x = rt_part_embed_sum(s, p);
	struct rt_hidden y;

	if (b->project.w)
		x = rt_part_full(s, p, rt_part_linear(s, p, x, &b->project));
	rt_part_pad(s, p);
	if (r->span > 0) {
		p->relative =
			r->norm ? rt_part_norm(s, p, b->relative.w, &b->relative_norm).full : b->relative.w;
		p->c2p = r->c2p ? table_rows(s, p, false) : NULL;
		p->p2c = r->p2c ? table_rows(s, p, true) : NULL;
	}
	y = rt_part_norm(s, p, x, &b->embedding_norm);
	if (p->training && p->config->hidden_dropout > 0)
		y = rt_part_hidden(s, p, y.full, p->config->hidden_dropout);
	p->embedded = y.full;
	return y;
}

/* The table through one layer's projection, for every row and head: (rows * heads, 2 span, size). */
static struct tc_tensor *positions(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *table,
				   const struct tc_affine *projection)
{
	int64_t rows = p->batch->rows, heads = p->config->heads, n = 2 * p->config->relative.span;
	int64_t size = p->config->hidden_size / heads;
	struct tc_tensor *x =
		tc_reshape(s, rt_part_linear(s, p, table, projection), 3, (int64_t[]){ n, heads, size });
	struct tc_tensor **copies = malloc((size_t)rows * sizeof *copies);

	if (!copies)
		return tc_fail(s, RT_NO_MEMORY, "no memory for relative positions");
	x = tc_permute(s, x, 3, (int64_t[]){ 1, 0, 2 });
	for (int64_t i = 0; i < rows; i++)
		copies[i] = x;
	x = tc_cat(s, copies, (size_t)rows, 0);
	free(copies);
	return x;
}

static struct tc_tensor *attention(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
				   struct tc_tensor *x)
{
	const struct rt_config_relative *r = &p->config->relative;
	double size = (double)(p->config->hidden_size / p->config->heads);
	double scale = 1 / sqrt(size * (double)r->parts);
	struct tc_tensor *query = rt_part_split_heads(s, p, rt_part_linear(s, p, x, &l->query));
	struct tc_tensor *key = rt_part_split_heads(s, p, rt_part_linear(s, p, x, &l->key));
	struct tc_tensor *value = rt_part_split_heads(s, p, rt_part_linear(s, p, x, &l->value));
	struct tc_tensor *scores = rt_part_full(s, p, tc_bmm(s, query, tc_transpose(s, key, 1, 2)));

	if (r->span > 0 && (r->c2p || r->p2c)) {
		struct tc_tensor *table = rt_part_dropout(s, p, p->relative, p->config->hidden_dropout);
		struct tc_tensor *part;

		if (r->c2p) {
			part = positions(s, p, table, r->share_key ? &l->key : &l->position_key);
			part = rt_part_full(s, p, tc_bmm(s, query, tc_transpose(s, part, 1, 2)));
			scores = tc_add(s, scores, tc_gather(s, part, -1, p->c2p));
		}
		if (r->p2c) {
			part = positions(s, p, table, r->share_key ? &l->query : &l->position_query);
			part = rt_part_full(s, p, tc_bmm(s, key, tc_transpose(s, part, 1, 2)));
			scores = tc_add(s, scores, tc_transpose(s, tc_gather(s, part, -1, p->p2c), 1, 2));
		}
	}
	return rt_part_attend_padded(s, p, tc_scale(s, scores, scale), value);
}

/* The convolution's weight over all channels: (H, H, kernel). A group sees its own channels only, so the others are 0. */
static struct tc_tensor *whole_kernel(struct tc_scope *s, const struct rt_pass *p)
{
	int64_t groups = p->config->conv_groups, kernel = p->config->conv_kernel,
		size = p->config->hidden_size / groups;
	struct tc_tensor **blocks, *w = p->body->conv.w;

	if (groups == 1)
		return w;
	blocks = malloc((size_t)groups * sizeof *blocks);
	if (!blocks)
		return tc_fail(s, RT_NO_MEMORY, "no memory for a convolution");
	for (int64_t g = 0; g < groups; g++) {
		struct tc_tensor *before = tc_zeros(s, TC_F32, 3, (int64_t[]){ size, g * size, kernel });
		struct tc_tensor *after =
			tc_zeros(s, TC_F32, 3, (int64_t[]){ size, (groups - 1 - g) * size, kernel });

		blocks[g] = tc_cat(
			s, (struct tc_tensor *[]){ before, tc_narrow(s, w, 0, g * size, size), after }, 3, 1);
	}
	w = tc_cat(s, blocks, (size_t)groups, 0);
	free(blocks);
	return w;
}

/* x (N, H) as rows of one width, zeros for padding: (rows, width, H). */
static struct tc_tensor *spread(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x)
{
	int64_t rows = p->batch->rows, width = p->batch->width, hidden = p->config->hidden_size;
	struct tc_tensor *zero, *real;

	if (p->to_padded) {
		zero = tc_zeros(s, TC_F32, 1, (int64_t[]){ 1 });
		real = tc_eq(s, tc_reshape(s, p->mask, 2, (int64_t[]){ rows * width, 1 }), zero);
		x = tc_mul(s, tc_index_select(s, x, 0, p->to_padded), tc_to(s, real, TC_F32));
	}
	return tc_reshape(s, x, 3, (int64_t[]){ rows, width, hidden });
}

/* A convolution over the embeddings, added to the first layer's output. */
static struct rt_hidden convolve(struct tc_scope *s, struct rt_pass *p, struct rt_hidden x)
{
	int64_t rows = p->batch->rows, width = p->batch->width, hidden = p->config->hidden_size;
	int64_t kernel = p->config->conv_kernel, side = kernel / 2;
	struct tc_tensor *around[256], *y, *w, *in = spread(s, p, p->embedded);

	if (side > 0) {
		struct tc_tensor *edge = tc_zeros(s, TC_F32, 3, (int64_t[]){ rows, side, hidden });

		in = tc_cat(s, (struct tc_tensor *[]){ edge, in, edge }, 3, 1);
	}
	for (int64_t k = 0; k < kernel; k++)
		around[k] = tc_narrow(s, in, 1, k, width);
	y = tc_reshape(s, tc_cat(s, around, (size_t)kernel, 2), 2,
		       (int64_t[]){ rows * width, kernel * hidden });
	y = p->to_packed ? tc_index_select(s, y, 0, p->to_packed) : y;
	w = tc_permute(s, whole_kernel(s, p), 3, (int64_t[]){ 0, 2, 1 }); /* (out, kernel, in) */
	w = tc_reshape(s, w, 2, (int64_t[]){ hidden, kernel * hidden });
	y = tc_linear(s, rt_part_lower(s, p, y), rt_part_lower(s, p, w),
		      rt_part_lower(s, p, p->body->conv.b));
	y = rt_part_full(s, p, y);
	y = rt_part_activation(s, p->config->conv_activation,
			       rt_part_dropout(s, p, y, p->config->hidden_dropout));
	return rt_part_norm(s, p, tc_add(s, x.full, y), &p->body->conv_norm);
}

static struct rt_hidden run_layer(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
				  struct rt_hidden x)
{
	x = rt_part_after_attention(s, p, l, x.full, attention(s, p, l, x.low));
	return p->layer == 0 && p->body->conv.w ? convolve(s, p, x) : x;
}

static struct tc_tensor *head(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x)
{
	x = rt_part_dropout(s, p, rt_part_first_token(s, p, x), p->config->pooler_dropout);
	x = rt_part_activation(s, p->config->head_activation, rt_part_linear(s, p, x, &p->body->pooler));
	x = rt_part_dropout(s, p, x, p->config->classifier_dropout);
	return rt_part_full(s, p, rt_part_linear(s, p, x, &p->body->classifier));
}

const struct rt_family rt_family_deberta_v2 = {
	.model_type = "deberta-v2",
	.architecture = "DebertaV2ForSequenceClassification",
	.prefix = "deberta",
	.config = { fields, "hidden_act", "gelu", finish_config },
	.body = body,
	.layer = layer,
	.layer_prefix = "encoder.layer.",
	.has = has,
	.ignored = "position_embeddings",
	.token_types = true,
	.embed = embed,
	.run_layer = run_layer,
	.head = head,
};
