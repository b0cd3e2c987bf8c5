/* SPDX-License-Identifier: Apache-2.0 */
/* The pieces encoders are made of: embedding, attention, feed-forward, heads. Pure: what they make belongs to the scope
 * given; a failure is in the scope. Hidden states are (N, H) with N = rows * width, row after row.
 *
 * In a bf16 pass products are computed in bf16, norms, softmax and the sums along the residual in fp32: where PyTorch's
 * autocast has them. Weights are fp32 always, so gradients are too. */
#ifndef RT_WORKER_MODEL_PARTS_H
#define RT_WORKER_MODEL_PARTS_H

#include "worker/model/family.h"
#include "worker/model/model.h"

struct rt_pass {
	const struct rt_family *family;
	const struct rt_config *config;
	const struct rt_body *body;
	const struct rt_batch *batch;
	struct tc_rng *rng;
	bool training; /* dropout on */
	bool bf16;
	struct tc_tensor *input_ids, *position_ids; /* I64 (N) */
	struct tc_tensor *type_ids;		    /* I64 (N), or NULL: all 0 */
	struct tc_tensor *mask; /* fp32 (rows, 1, 1, width): 0, or very low on padding; NULL: no padding */
	int64_t layer;		/* the one that runs, from 0 */
	struct tc_tensor *embedded;   /* (N, H) what embed made */
	struct tc_tensor *score_bias; /* (1, heads, width, width) added to the scores, or NULL */
	struct tc_tensor *relative;   /* DeBERTa: the table of relative positions, normed */
	struct tc_tensor *c2p, *p2c;  /* I64 (rows * heads, width, width) rows of that table */
	struct tc_tensor *window;     /* (1, 1, width, width) 0, or very low outside the window; NULL: none */
	struct tc_tensor *cos[2], *sin[2]; /* rotary tables of local (0) and global (1) layers */
	struct tc_tensor *pooled;	   /* out: set by a head with a pooler */
};

struct tc_tensor *rt_part_dropout(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
				  double probability);
struct tc_tensor *rt_part_linear(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
				 const struct rt_affine *a);
struct tc_tensor *rt_part_norm(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
			       const struct rt_affine *a);
struct tc_tensor *rt_part_activation(struct tc_scope *s, enum rt_activation act, struct tc_tensor *x);
/* The rare ones (activation.c), composed of several operations: in fp32, whatever x is. */
struct tc_tensor *rt_part_activation_rare(struct tc_scope *s, enum rt_activation act, struct tc_tensor *x);

/* Words + types + positions, whichever the model has, norm, dropout; projected to the hidden size where the widths differ. */
struct tc_tensor *rt_part_embed_absolute(struct tc_scope *s, struct rt_pass *p);
/* (N, H) to (rows * heads, width, H / heads), contiguous, and back. */
struct tc_tensor *rt_part_split_heads(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x);
struct tc_tensor *rt_part_join_heads(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x);
/* From scores (rows * heads, width, width), scaled, and values (rows * heads, width, size): mask, softmax, dropout, product,
 * (N, H). extra: (1, 1 or heads, width, width) added to the scores, or NULL. */
struct tc_tensor *rt_part_attend(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *scores,
				 struct tc_tensor *extra, struct tc_tensor *value);
/* What follows attention in BERT's layer: output, dropout, sum and norm, and the same for the feed-forward. */
struct tc_tensor *rt_part_after_attention(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
					  struct tc_tensor *x, struct tc_tensor *attended);
struct tc_tensor *rt_part_first_token(struct tc_scope *s, const struct rt_pass *p,
				      struct tc_tensor *x); /* (rows, H) */
/* In a bf16 pass x in fp32; x otherwise. */
struct tc_tensor *rt_part_full(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x);
struct tc_tensor *rt_part_lower(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x);
/* Softmax attention of all heads, without the output projection: (N, H). */
struct tc_tensor *rt_part_attention(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
				    struct tc_tensor *x);
/* norm(x + dropout(out(attention(x)))), then the same around the feed-forward: BERT's layer. */
struct tc_tensor *rt_part_layer_post_norm(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
					  struct tc_tensor *x);
/* First token: pooler, tanh, dropout, classifier. Sets p->pooled. */
struct tc_tensor *rt_part_head_pooled(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x);
/* First token: dropout, dense, tanh, dropout, classifier. */
struct tc_tensor *rt_part_head_dense_tanh(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x);
/* The same with another activation. */
struct tc_tensor *rt_part_head_dense(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
				     enum rt_activation act);

#endif
