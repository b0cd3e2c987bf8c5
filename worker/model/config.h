/* SPDX-License-Identifier: Apache-2.0 */
/* config.json of a text encoder, read into one shape for all families. Every field that changes a result is either
 * understood here or refused by name; what it does not mention takes the family's default. */
#ifndef RT_WORKER_MODEL_CONFIG_H
#define RT_WORKER_MODEL_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum rt_activation {
	RT_ACT_GELU,
	RT_ACT_GELU_TANH,
	RT_ACT_RELU,
	RT_ACT_SILU,
	RT_ACT_TANH,
	/* rare ones, computed in activation.c */
	RT_ACT_GELU_CLIPPED,
	RT_ACT_HARDSWISH,
	RT_ACT_LAPLACE,
	RT_ACT_LEAKY_RELU,
	RT_ACT_LINEAR,
	RT_ACT_MISH,
	RT_ACT_QUICK_GELU,
	RT_ACT_RELU_SQUARED,
	RT_ACT_RELU6,
	RT_ACT_SIGMOID,
	RT_ACT_SQRT_SOFTPLUS
};

struct rt_config {
	json_t *json; /* as read */
	int64_t vocab_size, hidden_size, layers, heads, intermediate_size;
	int64_t max_positions;	 /* rows of the position table */
	int64_t embedding_size;	 /* width of the tables; the hidden size where the family has no other */
	int64_t type_vocab_size; /* 0: no table of types */
	int64_t pad_id;		 /* -1: no padding token (null) */
	/* Layers whose weights serve several places: layers / groups neighbours, which need not be a whole number, share a group
	 * of `inner` layers (ALBERT). */
	int64_t groups, inner;
	double layer_norm_eps, initializer_range;
	double hidden_dropout, attention_dropout, classifier_dropout; /* probabilities */
	double attention_out_dropout,
		ffn_out_dropout; /* of the two sums in a layer; usually hidden_dropout */
	enum rt_activation activation;
	struct rt_config_relative {
		int64_t buckets; /* rows of the table of relative positions (MPNet); DeBERTa: log buckets a side, or 0 */
		int64_t furthest; /* DeBERTa: max_relative_positions */
		int64_t span;	  /* DeBERTa: half the rows of the table; 0: no relative positions */
		bool c2p, p2c, share_key, norm;
		int64_t parts; /* of the scores, which are scaled by it: 1 and the words of pos_att_type, in use or not */
	} relative;
	bool absolute_positions;	  /* a table of positions is added to the words */
	bool sinusoidal_positions;	  /* DistilBERT: what a new table of positions holds */
	int64_t conv_kernel, conv_groups; /* DeBERTa-v2 xlarge; kernel 0: none */
	enum rt_activation conv_activation;
	double pooler_dropout;
	enum rt_activation head_activation;
	struct rt_config_modern { /* ModernBERT */
		bool attention_bias, mlp_bias, norm_bias, head_bias;
		bool mean_pooling; /* false: the first token */
		bool *global;	   /* (layers) attention over all tokens, not a window; owned */
		int64_t window;	   /* a token sees this many on each side */
		double global_theta, local_theta;
		double mlp_dropout;
		double cutoff; /* initialisation: normal, cut at this many standard deviations; 0: another family's rule */
	} modern;
	char **labels; /* in id order */
	size_t label_count;
};

/* Where a family's config.json keeps a number, and what holds when it does not. */
struct rt_config_field {
	const char *key; /* NULL ends a table */
	enum { RT_FIELD_INT, RT_FIELD_REAL, RT_FIELD_BOOL } kind;
	size_t offset; /* in struct rt_config: int64_t, double or bool */
	double fallback; /* NAN: same as hidden_dropout; of an INT: what the field holds already (a second key for it) */
	double least, most;
};

/* How a family's config.json is read. */
struct rt_config_reader {
	const struct rt_config_field *fields;
	const char *activation_key,
		*activation; /* where the activation's name is, and what holds when it is missing */
	/* What the table cannot say: runs after it, with its values in c and everything else at its default. May be NULL. */
	int (*finish)(const json_t *json, struct rt_config *c, struct rt_err *err);
};

/* json: borrowed, a reference is taken. RT_UNSUPPORTED and RT_INVALID name the field. Release *ret with
 * rt_config_release. */
int rt_config_read(json_t *json, const struct rt_config_reader *reader, struct rt_config *ret,
		   struct rt_err *err);

/* For finish(): an activation by its name; a member that must have this value when it is there. */
int rt_config_activation(const json_t *json, const char *key, const char *fallback, enum rt_activation *ret,
			 struct rt_err *err);
int rt_config_refuse_true(const json_t *json, const char *key, struct rt_err *err);
void rt_config_release(struct rt_config *c); /* a zeroed one is fine */

#endif
