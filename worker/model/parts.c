/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/model/parts.h"

#include <math.h>
#include <stdlib.h>

struct tc_tensor *rt_part_dropout(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
				  double probability)
{
	return p->training && probability > 0 ? tc_dropout(s, p->rng, x, probability) : x;
}

struct tc_tensor *rt_part_lower(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x)
{
	return p->bf16 ? tc_to(s, x, TC_BF16) : x;
}

struct tc_tensor *rt_part_full(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x)
{
	return p->bf16 ? tc_to(s, x, TC_F32) : x;
}

struct tc_tensor *rt_part_linear(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
				 const struct tc_affine *a)
{
	(void)p;
	return tc_project(s, x, a, 1);
}

struct rt_hidden rt_part_norm(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
			      const struct tc_affine *a)
{
	struct rt_hidden y;

	y.full = tc_norm(s, x, a, p->config->layer_norm_eps, p->bf16, &y.low);
	return y;
}

struct tc_tensor *rt_part_activation(struct tc_scope *s, enum rt_activation act, struct tc_tensor *x)
{
	switch (act) {
	case RT_ACT_GELU:
		return tc_gelu(s, x, TC_GELU_EXACT);
	case RT_ACT_GELU_TANH:
		return tc_gelu(s, x, TC_GELU_TANH);
	case RT_ACT_RELU:
		return tc_relu(s, x);
	case RT_ACT_SILU:
		return tc_silu(s, x);
	case RT_ACT_TANH:
		return tc_tanh(s, x);
	default:
		return rt_part_activation_rare(s, act, x);
	}
}

/* Those that the kernels have. */
static bool is_fused(enum rt_activation act, enum tc_act *ret)
{
	switch (act) {
	case RT_ACT_GELU:
		*ret = TC_ACT_GELU;
		return true;
	case RT_ACT_GELU_TANH:
		*ret = TC_ACT_GELU_TANH;
		return true;
	case RT_ACT_RELU:
		*ret = TC_ACT_RELU;
		return true;
	case RT_ACT_SILU:
		*ret = TC_ACT_SILU;
		return true;
	case RT_ACT_TANH:
		*ret = TC_ACT_TANH;
		return true;
	default:
		return false;
	}
}

struct tc_tensor *rt_part_linear_activated(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
					   const struct tc_affine *a, enum rt_activation act)
{
	enum tc_act fused;

	if (is_fused(act, &fused))
		return tc_project_act(s, x, a, fused);
	return rt_part_lower(s, p, rt_part_activation(s, act, tc_project(s, x, a, 1)));
}

struct tc_tensor *rt_part_gate(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
			       enum rt_activation act)
{
	int64_t inner = p->config->intermediate_size;
	enum tc_act fused;

	if (is_fused(act, &fused))
		return tc_gate(s, x, fused);
	return tc_mul(s, rt_part_lower(s, p, rt_part_activation(s, act, tc_narrow(s, x, 1, 0, inner))),
		      tc_narrow(s, x, 1, inner, inner));
}

struct rt_hidden rt_part_linear_normed(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
				       const struct tc_affine *a, double dropout, struct tc_tensor *residual,
				       const struct tc_affine *norm)
{
	struct rt_hidden y;

	y.full = tc_project_norm(s, x, a, p->rng, p->training ? dropout : 0, residual, norm,
				 p->config->layer_norm_eps, &y.low);
	return y;
}

/* ---- embeddings ---- */

struct tc_tensor *rt_part_embed_sum(struct tc_scope *s, struct rt_pass *p)
{
	const struct rt_body *b = p->body;
	int64_t pad = p->config->pad_id, skip[TC_TABLES_MAX];
	struct tc_tensor *tables[TC_TABLES_MAX], *ids[TC_TABLES_MAX];
	size_t n = 0;

	tables[n] = b->words.w;
	ids[n] = p->input_ids;
	skip[n++] = pad;
	if (b->types.w) {
		tables[n] = b->types.w;
		ids[n] = p->type_ids;
		skip[n++] = -1;
	}
	if (b->positions.w) {
		tables[n] = b->positions.w;
		ids[n] = p->position_ids;
		skip[n++] = p->family->positions_after_pad ? pad : -1;
	}
	return tc_embed(s, n, tables, ids, skip, p->tokens);
}

struct rt_hidden rt_part_hidden(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x, double dropout)
{
	x = rt_part_dropout(s, p, x, dropout);
	return (struct rt_hidden){ x, rt_part_lower(s, p, x) };
}

struct rt_hidden rt_part_embed_absolute(struct tc_scope *s, struct rt_pass *p)
{
	struct rt_hidden x = rt_part_norm(s, p, rt_part_embed_sum(s, p), &p->body->embedding_norm);

	if (p->training && p->config->hidden_dropout > 0)
		x = rt_part_hidden(s, p, x.full, p->config->hidden_dropout);
	if (p->body->project.w) {
		x.low = rt_part_linear(s, p, x.low, &p->body->project);
		x.full = rt_part_full(s, p, x.low);
	}
	return x;
}

/* ---- rows of one width, for attention that is computed there ---- */

void rt_part_pad(struct tc_scope *s, struct rt_pass *p)
{
	int64_t rows = p->batch->rows, width = p->batch->width, n = rows * width;
	int64_t *index;
	float *mask;

	if (n == p->tokens)
		return;
	index = calloc((size_t)(n + p->tokens), sizeof *index);
	mask = malloc((size_t)n * sizeof *mask);
	if (!index || !mask) {
		tc_fail(s, RT_NO_MEMORY, "no memory for a batch");
		goto out;
	}
	for (int64_t r = 0; r < rows; r++) {
		int64_t length = p->starts[r + 1] - p->starts[r];

		for (int64_t i = 0; i < width; i++) {
			/* padding repeats a token whose part in anything is 0; the lowest number is what the library adds */
			index[r * width + i] = p->starts[r] + (i < length ? i : 0);
			mask[r * width + i] = i < length ? 0 : -3.4028234663852886e38f;
			if (i < length)
				index[n + p->starts[r] + i] = r * width + i;
		}
	}
	p->to_padded = tc_from_data(s, TC_I64, 1, &n, index);
	p->to_packed = tc_from_data(s, TC_I64, 1, &p->tokens, index + n);
	p->mask = tc_from_data(s, TC_F32, 4, (int64_t[]){ rows, 1, 1, width }, mask);
out:
	free(index);
	free(mask);
}

struct tc_tensor *rt_part_split_heads(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x)
{
	int64_t rows = p->batch->rows, width = p->batch->width, heads = p->config->heads;
	int64_t size = p->config->hidden_size / heads;

	x = p->to_padded ? tc_index_select(s, x, 0, p->to_padded) : x;
	x = tc_reshape(s, x, 4, (int64_t[]){ rows, width, heads, size });
	x = tc_permute(s, x, 4, (int64_t[]){ 0, 2, 1, 3 });
	return tc_reshape(s, x, 3,
			  (int64_t[]){ rows * heads, width, size }); /* a copy: what bmm is fastest with */
}

struct tc_tensor *rt_part_join_heads(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x)
{
	int64_t rows = p->batch->rows, width = p->batch->width, heads = p->config->heads;
	int64_t size = p->config->hidden_size / heads;

	x = tc_reshape(s, x, 4, (int64_t[]){ rows, heads, width, size });
	x = tc_permute(s, x, 4, (int64_t[]){ 0, 2, 1, 3 });
	x = tc_reshape(s, x, 2, (int64_t[]){ rows * width, heads * size });
	return p->to_packed ? tc_index_select(s, x, 0, p->to_packed) : x;
}

struct tc_tensor *rt_part_attend_padded(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *scores,
					struct tc_tensor *value)
{
	int64_t rows = p->batch->rows, width = p->batch->width, heads = p->config->heads;

	if (p->mask) {
		scores = tc_reshape(s, scores, 4, (int64_t[]){ rows, heads, width, width });
		scores = tc_add(s, scores, p->mask);
		scores = tc_reshape(s, scores, 3, (int64_t[]){ rows * heads, width, width });
	}
	scores = rt_part_dropout(s, p, tc_softmax(s, scores, -1), p->config->attention_dropout);
	return rt_part_join_heads(s, p, tc_bmm(s, rt_part_lower(s, p, scores), value));
}

/* ---- layers ---- */

struct rt_hidden rt_part_after_attention(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
					 struct tc_tensor *residual, struct tc_tensor *attended)
{
	struct rt_hidden x =
		rt_part_linear_normed(s, p, attended, &l->attention_out, p->config->attention_out_dropout,
				      residual, &l->attention_norm);
	struct tc_tensor *y = rt_part_linear_activated(s, p, x.low, &l->up, p->config->activation);

	return rt_part_linear_normed(s, p, y, &l->down, p->config->ffn_out_dropout, x.full, &l->ffn_norm);
}

static struct tc_attention attention_of(const struct rt_pass *p)
{
	return (struct tc_attention){ .texts = p->batch->rows,
				      .heads = p->config->heads,
				      .starts = p->starts,
				      .scale = 1 / sqrt((double)(p->config->hidden_size / p->config->heads)),
				      .bias = p->score_bias,
				      .window = -1,
				      .p = p->training ? p->config->attention_dropout : 0,
				      .rng = p->rng };
}

struct tc_tensor *rt_part_attend(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *all, int64_t window)
{
	struct tc_attention a = attention_of(p);

	a.query = all;
	a.window = window;
	return tc_attend(s, &a);
}

/* The last layer for the first token of each row alone: it asks all others, and is all that the head reads. */
static struct rt_hidden first_token_layer(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
					  struct rt_hidden x)
{
	struct tc_attention a = attention_of(p);

	p->reduced = true;
	a.query = tc_project(s, tc_index_select(s, x.low, 0, p->first), &l->query, 1);
	a.key = tc_project(s, x.low, (struct tc_affine[]){ l->key, l->value }, 2);
	a.first_only = true;
	return rt_part_after_attention(s, p, l, tc_index_select(s, x.full, 0, p->first), tc_attend(s, &a));
}

struct rt_hidden rt_part_layer_post_norm(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
					 struct rt_hidden x)
{
	struct tc_tensor *all;

	if (p->last)
		return first_token_layer(s, p, l, x);
	all = tc_project(s, x.low, (struct tc_affine[]){ l->query, l->key, l->value }, 3);
	return rt_part_after_attention(s, p, l, x.full, rt_part_attend(s, p, all, -1));
}

/* ---- heads ---- */

struct tc_tensor *rt_part_first_token(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x)
{
	return p->reduced ? x : tc_index_select(s, x, 0, p->first);
}

struct tc_tensor *rt_part_head_pooled(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x)
{
	x = tc_tanh(s, rt_part_linear(s, p, rt_part_first_token(s, p, x), &p->body->pooler));
	p->pooled = x;
	x = rt_part_dropout(s, p, x, p->config->classifier_dropout);
	return rt_part_full(s, p, rt_part_linear(s, p, x, &p->body->classifier));
}

struct tc_tensor *rt_part_head_dense(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
				     enum rt_activation act)
{
	x = rt_part_dropout(s, p, rt_part_first_token(s, p, x), p->config->classifier_dropout);
	x = rt_part_activation(s, act, rt_part_linear(s, p, x, &p->body->dense));
	x = rt_part_dropout(s, p, x, p->config->classifier_dropout);
	return rt_part_full(s, p, rt_part_linear(s, p, x, &p->body->classifier));
}

struct tc_tensor *rt_part_head_dense_tanh(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x)
{
	return rt_part_head_dense(s, p, x, RT_ACT_TANH);
}
