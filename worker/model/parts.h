/* SPDX-License-Identifier: Apache-2.0 */
/* The pieces encoders are made of: embedding, attention, feed-forward, heads. Pure: what they make belongs to the scope
 * given; a failure is in the scope.
 *
 * Hidden states are packed: (N, H) with N the real tokens of all rows, row after row, and no padding. In a bf16 pass products
 * are computed in bf16, norms, softmax and the sums along the residual in fp32: where PyTorch's autocast has them. Weights are
 * fp32, so gradients are too. */
#ifndef RT_WORKER_MODEL_PARTS_H
#define RT_WORKER_MODEL_PARTS_H

#include "worker/model/family.h"
#include "worker/model/model.h"

/* Hidden states twice: in fp32 for sums, and as products read them (bf16 in a bf16 pass, else the same tensor). */
struct rt_hidden {
	struct tc_tensor *full, *low;
};

struct rt_pass {
	const struct rt_family *family;
	const struct rt_config *config;
	const struct rt_body *body;
	const struct rt_batch *batch;
	struct tc_rng *rng;
	bool training; /* dropout on */
	bool bf16;
	int64_t tokens;		  /* N */
	const int64_t *starts;	  /* (rows + 1): row r's tokens are starts[r] to starts[r + 1] of N */
	const int64_t *positions; /* (N) place in its row, from 0 */
	struct tc_tensor *first;  /* I64 (rows): starts without the last */
	struct tc_tensor *input_ids, *position_ids; /* I64 (N) */
	struct tc_tensor *type_ids;		    /* I64 (N), or NULL: all 0 */
	/* For attention that needs rows of one width, set by rt_part_pad: */
	struct tc_tensor *to_padded, *to_packed; /* I64 (rows * width), (N); NULL: nothing is padded */
	struct tc_tensor *mask; /* fp32 (rows, 1, 1, width): 0, or very low on padding; NULL: no padding */
	int64_t layer;		/* the one that runs, from 0 */
	bool last;		/* nothing but the head reads what it makes */
	bool reduced;		/* hidden states are (rows, H): the first tokens' alone */
	struct tc_tensor *embedded;   /* (N, H) what embed made */
	struct tc_tensor *score_bias; /* fp32 (heads, width, width) added to the scores, or NULL */
	struct tc_tensor *relative;   /* DeBERTa: the table of relative positions, normed */
	struct tc_tensor *c2p, *p2c;  /* I64 (rows * heads, width, width) rows of that table */
	struct tc_tensor *cos[2],
		*sin[2];	  /* fp32 (N, size / 2) rotary angles of local (0) and global (1) layers */
	struct tc_tensor *pooled; /* out: set by a head with a pooler */
};

struct tc_tensor *rt_part_dropout(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
				  double probability);
struct tc_tensor *rt_part_linear(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
				 const struct tc_affine *a);
struct rt_hidden rt_part_norm(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
			      const struct tc_affine *a); /* x: fp32 */
struct tc_tensor *rt_part_activation(struct tc_scope *s, enum rt_activation act, struct tc_tensor *x);
/* The rare ones (activation.c), composed of several operations: in fp32, whatever x is. */
struct tc_tensor *rt_part_activation_rare(struct tc_scope *s, enum rt_activation act, struct tc_tensor *x);

/* act(linear(x)), low. */
struct tc_tensor *rt_part_linear_activated(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
					   const struct tc_affine *a, enum rt_activation act);
/* x (N, 2 I), low: act(first half) * second half. */
struct tc_tensor *rt_part_gate(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
			       enum rt_activation act);
/* norm(residual + dropout(linear(x))). */
struct rt_hidden rt_part_linear_normed(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
				       const struct tc_affine *a, double dropout, struct tc_tensor *residual,
				       const struct tc_affine *norm);

/* Rows of words + types + positions, whichever the model has: fp32 (N, E). */
struct tc_tensor *rt_part_embed_sum(struct tc_scope *s, struct rt_pass *p);
/* The same, norm, dropout; projected to the hidden size where the widths differ. */
struct rt_hidden rt_part_embed_absolute(struct tc_scope *s, struct rt_pass *p);
/* Dropout of x, fp32, as hidden states. */
struct rt_hidden rt_part_hidden(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x, double dropout);

/* Prepares p's to_padded, to_packed and mask. */
void rt_part_pad(struct tc_scope *s, struct rt_pass *p);
/* (N, H) to (rows * heads, width, H / heads), contiguous, and back. After rt_part_pad. */
struct tc_tensor *rt_part_split_heads(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x);
struct tc_tensor *rt_part_join_heads(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x);
/* From scores (rows * heads, width, width), scaled, and values (rows * heads, width, size): mask, softmax, dropout, product,
 * (N, H). After rt_part_pad. */
struct tc_tensor *rt_part_attend_padded(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *scores,
					struct tc_tensor *value);
/* Softmax attention of query, key and value side by side, (N, 3 H), without the output projection: (N, H). window: keys up to
 * this many tokens away count; -1: all. */
struct tc_tensor *rt_part_attend(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *all,
				 int64_t window);
/* What follows attention in BERT's layer: output, dropout, sum and norm, and the same for the feed-forward. */
struct rt_hidden rt_part_after_attention(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
					 struct tc_tensor *residual, struct tc_tensor *attended);
struct tc_tensor *rt_part_first_token(struct tc_scope *s, const struct rt_pass *p,
				      struct tc_tensor *x); /* (rows, H) */
/* In a bf16 pass x in fp32; x otherwise. */
struct tc_tensor *rt_part_full(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x);
struct tc_tensor *rt_part_lower(struct tc_scope *s, const struct rt_pass *p, struct tc_tensor *x);
/* norm(x + dropout(out(attention(x)))), then the same around the feed-forward: BERT's layer. Where only the head reads it
 * (p->last) and the head reads first tokens, only theirs are computed. */
struct rt_hidden rt_part_layer_post_norm(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
					 struct rt_hidden x);
/* First token: pooler, tanh, dropout, classifier. Sets p->pooled. */
struct tc_tensor *rt_part_head_pooled(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x);
/* First token: dropout, dense, tanh, dropout, classifier. */
struct tc_tensor *rt_part_head_dense_tanh(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x);
/* The same with another activation. */
struct tc_tensor *rt_part_head_dense(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x,
				     enum rt_activation act);

#endif
