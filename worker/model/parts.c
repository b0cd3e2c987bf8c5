/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/model/parts.h"

#include <math.h>

struct tc_tensor *rt_part_dropout(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
				  double probability)
{
	return p->training && probability > 0 ? tc_dropout(s, p->rng, x, probability) : x;
}

static struct tc_tensor *lower(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x)
{
	return p->bf16 ? tc_to(s, x, TC_BF16) : x;
}

static struct tc_tensor *full(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x)
{
	return p->bf16 ? tc_to(s, x, TC_F32) : x;
}

struct tc_tensor *rt_part_linear(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
				 const struct rt_affine *a)
{
	return tc_linear(s, lower(s, p, x), lower(s, p, a->w), lower(s, p, a->b));
}

struct tc_tensor *rt_part_norm(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
			       const struct rt_affine *a)
{
	return tc_layer_norm(s, full(s, p, x), a->w, a->b, p->config->layer_norm_eps);
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
	}
	return tc_fail(s, RT_INTERNAL, "unknown activation");
}

struct tc_tensor *rt_part_embed_absolute(struct tc_scope *s, struct rt_pass *p)
{
	const struct rt_body *b = p->body;
	int64_t pad = p->config->pad_id;
	struct tc_tensor *x = tc_embedding(s, b->words.w, p->input_ids, pad);
	struct tc_tensor *types = p->type_ids ? tc_embedding(s, b->types.w, p->type_ids, -1)
					      : tc_narrow(s, b->types.w, 0, 0, 1);
	struct tc_tensor *where =
		tc_embedding(s, b->positions.w, p->position_ids, p->family->positions_after_pad ? pad : -1);

	x = tc_add(s, tc_add(s, x, types), where);
	return rt_part_dropout(s, p, rt_part_norm(s, p, x, &b->embedding_norm), p->config->hidden_dropout);
}

/* (N, H) to (rows * heads, width, H / heads), contiguous: what bmm is fastest with. */
static struct tc_tensor *split_heads(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x)
{
	int64_t rows = p->batch->rows, width = p->batch->width, heads = p->config->heads;
	int64_t size = p->config->hidden_size / heads;

	x = tc_reshape(s, x, 4, (int64_t[]){ rows, width, heads, size });
	x = tc_permute(s, x, 4, (int64_t[]){ 0, 2, 1, 3 });
	return tc_reshape(s, x, 3, (int64_t[]){ rows * heads, width, size });
}

struct tc_tensor *rt_part_attention(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
				    struct tc_tensor *x)
{
	int64_t rows = p->batch->rows, width = p->batch->width, heads = p->config->heads;
	int64_t size = p->config->hidden_size / heads;
	struct tc_tensor *query = split_heads(s, p, rt_part_linear(s, p, x, &l->query));
	struct tc_tensor *key = split_heads(s, p, rt_part_linear(s, p, x, &l->key));
	struct tc_tensor *value = split_heads(s, p, rt_part_linear(s, p, x, &l->value));
	struct tc_tensor *scores =
		tc_bmm(s, query, tc_transpose(s, key, 1, 2)); /* (rows * heads, width, width) */

	scores = tc_scale(s, full(s, p, scores), 1 / sqrt((double)size));
	if (p->mask) {
		scores = tc_reshape(s, scores, 4, (int64_t[]){ rows, heads, width, width });
		scores = tc_add(s, scores, p->mask);
		scores = tc_reshape(s, scores, 3, (int64_t[]){ rows * heads, width, width });
	}
	scores = rt_part_dropout(s, p, tc_softmax(s, scores, -1), p->config->attention_dropout);
	x = tc_bmm(s, lower(s, p, scores), value);
	x = tc_reshape(s, x, 4, (int64_t[]){ rows, heads, width, size });
	x = tc_permute(s, x, 4, (int64_t[]){ 0, 2, 1, 3 });
	return tc_reshape(s, x, 2, (int64_t[]){ rows * width, heads * size });
}

struct tc_tensor *rt_part_layer_post_norm(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
					  struct tc_tensor *x)
{
	struct tc_tensor *y = rt_part_linear(s, p, rt_part_attention(s, p, l, x), &l->attention_out);

	y = rt_part_dropout(s, p, y, p->config->hidden_dropout);
	x = rt_part_norm(s, p, tc_add(s, x, y), &l->attention_norm);
	y = rt_part_activation(s, p->config->activation, rt_part_linear(s, p, x, &l->up));
	y = rt_part_dropout(s, p, rt_part_linear(s, p, y, &l->down), p->config->hidden_dropout);
	return rt_part_norm(s, p, tc_add(s, x, y), &l->ffn_norm);
}

static struct tc_tensor *first_token(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x)
{
	x = tc_reshape(s, x, 3, (int64_t[]){ p->batch->rows, p->batch->width, p->config->hidden_size });
	return tc_select(s, x, 1, 0);
}

struct tc_tensor *rt_part_head_pooled(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x)
{
	x = tc_tanh(s, rt_part_linear(s, p, first_token(s, p, x), &p->body->pooler));
	p->pooled = x;
	x = rt_part_dropout(s, p, x, p->config->classifier_dropout);
	return full(s, p, rt_part_linear(s, p, x, &p->body->classifier));
}

struct tc_tensor *rt_part_head_dense_tanh(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x)
{
	x = rt_part_dropout(s, p, first_token(s, p, x), p->config->classifier_dropout);
	x = tc_tanh(s, rt_part_linear(s, p, x, &p->body->dense));
	x = rt_part_dropout(s, p, x, p->config->classifier_dropout);
	return full(s, p, rt_part_linear(s, p, x, &p->body->classifier));
}
