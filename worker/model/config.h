/* SPDX-License-Identifier: Apache-2.0 */
/* config.json of a text encoder, read into one shape for all families. Every field that changes a result is either
 * understood here or refused by name; what it does not mention takes the family's default. */
#ifndef RT_WORKER_MODEL_CONFIG_H
#define RT_WORKER_MODEL_CONFIG_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum rt_activation { RT_ACT_GELU, RT_ACT_GELU_TANH, RT_ACT_RELU, RT_ACT_SILU, RT_ACT_TANH };

struct rt_config {
	json_t *json; /* as read */
	int64_t vocab_size, hidden_size, layers, heads, intermediate_size;
	int64_t max_positions; /* rows of the position table */
	int64_t type_vocab_size, pad_id;
	double layer_norm_eps, initializer_range;
	double hidden_dropout, attention_dropout, classifier_dropout; /* probabilities */
	enum rt_activation activation;
	char **labels; /* in id order */
	size_t label_count;
};

/* Where a family's config.json keeps a number, and what holds when it does not. */
struct rt_config_field {
	const char *key; /* NULL ends a table */
	enum { RT_FIELD_INT, RT_FIELD_REAL } kind;
	size_t offset;	 /* in struct rt_config: int64_t or double */
	double fallback; /* NAN: same as hidden_dropout */
	double least, most;
};

/* fields: the family's table; activation_key: where the activation's name is (default "gelu"). json: borrowed, a reference
 * is taken. RT_UNSUPPORTED and RT_INVALID name the field. Release *ret with rt_config_release. */
int rt_config_read(json_t *json, const struct rt_config_field *fields, const char *activation_key,
		   struct rt_config *ret, struct rt_err *err);
void rt_config_release(struct rt_config *c); /* a zeroed one is fine */

#endif
