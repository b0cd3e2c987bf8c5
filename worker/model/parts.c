/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/model/parts.h"

#include <math.h>

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
				 const struct rt_affine *a)
{
	return tc_linear(s, rt_part_lower(s, p, x), rt_part_lower(s, p, a->w),
			 a->b ? rt_part_lower(s, p, a->b) : NULL);
}

struct tc_tensor *rt_part_norm(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
			       const struct rt_affine *a)
{
	return tc_layer_norm(s, rt_part_full(s, p, x), a->w, a->b, p->config->layer_norm_eps);
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

struct tc_tensor *rt_part_embed_absolute(struct tc_scope *s, struct rt_pass *p)
{
	const struct rt_body *b = p->body;
	int64_t pad = p->config->pad_id;
	struct tc_tensor *x = tc_embedding(s, b->words.w, p->input_ids, pad);

	if (b->types.w)
		x = tc_add(s, x,
			   p->type_ids ? tc_embedding(s, b->types.w, p->type_ids, -1)
				       : tc_narrow(s, b->types.w, 0, 0, 1));
	if (b->positions.w)
		x = tc_add(s, x,
			   tc_embedding(s, b->positions.w, p->position_ids,
					p->family->positions_after_pad ? pad : -1));
	x = rt_part_dropout(s, p, rt_part_norm(s, p, x, &b->embedding_norm), p->config->hidden_dropout);
	return b->project.w ? rt_part_full(s, p, rt_part_linear(s, p, x, &b->project)) : x;
}

struct tc_tensor *rt_part_split_heads(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x)
{
	int64_t rows = p->batch->rows, width = p->batch->width, heads = p->config->heads;
	int64_t size = p->config->hidden_size / heads;

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
	return tc_reshape(s, x, 2, (int64_t[]){ rows * width, heads * size });
}

struct tc_tensor *rt_part_attend(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *scores,
				 struct tc_tensor *extra, struct tc_tensor *value)
{
	int64_t rows = p->batch->rows, width = p->batch->width, heads = p->config->heads;

	if (p->mask || extra) {
		scores = tc_reshape(s, scores, 4, (int64_t[]){ rows, heads, width, width });
		scores = extra ? tc_add(s, scores, extra) : scores;
		scores = p->mask ? tc_add(s, scores, p->mask) : scores;
		scores = tc_reshape(s, scores, 3, (int64_t[]){ rows * heads, width, width });
	}
	scores = rt_part_dropout(s, p, tc_softmax(s, scores, -1), p->config->attention_dropout);
	return rt_part_join_heads(s, p, tc_bmm(s, rt_part_lower(s, p, scores), value));
}

struct tc_tensor *rt_part_attention(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
				    struct tc_tensor *x)
{
	double size = (double)(p->config->hidden_size / p->config->heads);
	struct tc_tensor *query = rt_part_split_heads(s, p, rt_part_linear(s, p, x, &l->query));
	struct tc_tensor *key = rt_part_split_heads(s, p, rt_part_linear(s, p, x, &l->key));
	struct tc_tensor *value = rt_part_split_heads(s, p, rt_part_linear(s, p, x, &l->value));
	struct tc_tensor *scores =
		tc_bmm(s, query, tc_transpose(s, key, 1, 2)); /* (rows * heads, width, width) */

	scores = tc_scale(s, rt_part_full(s, p, scores), 1 / sqrt(size));
	return rt_part_attend(s, p, scores, p->score_bias, value);
}

struct tc_tensor *rt_part_after_attention(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
					  struct tc_tensor *x, struct tc_tensor *attended)
{
	struct tc_tensor *y = rt_part_linear(s, p, attended, &l->attention_out);

	y = rt_part_dropout(s, p, y, p->config->attention_out_dropout);
	x = rt_part_norm(s, p, tc_add(s, x, y), &l->attention_norm);
	y = rt_part_activation(s, p->config->activation, rt_part_linear(s, p, x, &l->up));
	y = rt_part_dropout(s, p, rt_part_linear(s, p, y, &l->down), p->config->ffn_out_dropout);
	return rt_part_norm(s, p, tc_add(s, x, y), &l->ffn_norm);
}

struct tc_tensor *rt_part_layer_post_norm(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
					  struct tc_tensor *x)
{
	return rt_part_after_attention(s, p, l, x, rt_part_attention(s, p, l, x));
}

struct tc_tensor *rt_part_first_token(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x)
{
	x = tc_reshape(s, x, 3, (int64_t[]){ p->batch->rows, p->batch->width, p->config->hidden_size });
	return tc_select(s, x, 1, 0);
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
