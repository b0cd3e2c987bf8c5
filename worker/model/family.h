/* SPDX-License-Identifier: Apache-2.0 */
/* What a family of encoders is: a table of its modules (names and shapes), its config.json's words, and which shared
 * parts (parts.h) it is computed with. A new family is one file with such a description and one row in family.c. */
#ifndef RT_WORKER_MODEL_FAMILY_H
#define RT_WORKER_MODEL_FAMILY_H

#include <stdbool.h>
#include <stddef.h>

#include "worker/model/config.h"
#include "worker/torch/tc.h"

/* Modules are a struct tc_affine each: weight and bias of a linear layer or norm; an embedding has a weight alone. Borrowed from
 * the model's scope. */
struct rt_layer {
	struct tc_affine query, key, value, attention_out, attention_norm, up, down, ffn_norm;
	struct tc_affine position_key, position_query; /* DeBERTa without share_att_key */
	struct tc_affine qkv;			       /* ModernBERT: query, key and value in one */
};

/* All that a body and head of any family may have; what a family does not name stays NULL. */
struct rt_body {
	struct tc_affine words, positions, types, embedding_norm;
	struct tc_affine project;		  /* from the embeddings' width to the hidden size */
	struct tc_affine relative, relative_norm; /* table of relative positions, for all layers */
	struct tc_affine conv, conv_norm;
	struct tc_affine final_norm;
	struct tc_affine pooler, dense, head_norm, classifier;
};

/* An embedding has no bias. RT_CONV: weight (rows, cols, config's conv_kernel). */
enum rt_module_kind { RT_LINEAR, RT_EMBEDDING, RT_NORM, RT_CONV };

enum rt_dim {
	RT_DIM_NONE,
	RT_DIM_HIDDEN,
	RT_DIM_INTERMEDIATE,
	RT_DIM_VOCAB,
	RT_DIM_POSITIONS,
	RT_DIM_TYPES,
	RT_DIM_LABELS,
	RT_DIM_EMBEDDING, /* width of the embeddings */
	RT_DIM_QKV,	  /* 3 * hidden */
	RT_DIM_GATED,	  /* 2 * intermediate */
	RT_DIM_RELATIVE,  /* rows of the table of relative positions */
	RT_DIM_HEADS,
	RT_DIM_CONV_IN, /* hidden / groups of the convolution */
};

enum {
	RT_MODULE_TOP = 1, /* its name stands beside the family's prefix, not below it */
	RT_MODULE_NEW =
		2, /* may be missing from a checkpoint (a pre-trained encoder's): then it is made anew */
	RT_MODULE_PAD_ROW = 4,	/* row pad_id is zero at the start and gets no gradient */
	RT_MODULE_NO_DECAY = 8, /* no weight decay, though neither bias nor norm */
};

struct rt_module {
	const char *name; /* NULL ends a table */
	enum rt_module_kind kind;
	enum rt_dim rows, cols; /* weight (rows, cols); a norm has rows alone. Bias: (rows) */
	size_t offset;		/* of the struct tc_affine in struct rt_body, or in struct rt_layer */
	int flags;
};

struct rt_pass;	  /* one forward: parts.h */
struct rt_hidden; /* what layers pass on: parts.h */

struct rt_family {
	const char *model_type, *architecture;
	const char *prefix; /* "bert" in "bert.encoder.…" */
	struct rt_config_reader config;
	const struct rt_module *body;  /* embeddings and head */
	const struct rt_module *layer; /* of one layer, below layer_prefix */
	const char *layer_prefix;      /* "encoder.layer." (the number and a dot follow) */
	const char
		*inner_prefix; /* ALBERT: "albert_layers." (the number within the group and a dot follow) */
	/* Is this module (its bias, where `bias`) part of a model with this config? layer: -1 for the body. NULL: all are. */
	bool (*has)(const struct rt_config *c, const struct rt_module *m, int64_t layer, bool bias);
	/* Standard deviation of a new weight. NULL: initializer_range for all. */
	double (*init_std)(const struct rt_config *c, const struct rt_module *m);
	/* Positions count tokens other than pad_id, from pad_id + 1; otherwise they count from 0. */
	bool positions_after_pad;
	bool rotary; /* no table of positions; its old checkpoints do not hold the buffer position_ids either */
	/* What has this in its name and is left over in a checkpoint is no news to the library. NULL: nothing. */
	const char *ignored;
	bool token_types;      /* the family's tokenizers' type ids are for it */
	bool first_token_last; /* run_layer understands p->last */
	/* (N, H) from a pass's ids; one layer (p->layer is its number); what follows the last layer (NULL: nothing); logits
	 * (rows, labels) from the last, fp32 (N, H), or (rows, H) where p->reduced. */
	struct rt_hidden (*embed)(struct tc_scope *s, struct rt_pass *p);
	struct rt_hidden (*run_layer)(struct tc_scope *s, struct rt_pass *p, const struct rt_layer *l,
				      struct rt_hidden x);
	struct rt_hidden (*finish)(struct tc_scope *s, struct rt_pass *p, struct rt_hidden x);
	struct tc_tensor *(*head)(struct tc_scope *s, struct rt_pass *p, struct tc_tensor *x);
};

extern const struct rt_family rt_family_bert, rt_family_roberta, rt_family_xlm_roberta, rt_family_distilbert,
	rt_family_electra, rt_family_mpnet, rt_family_albert, rt_family_deberta_v2, rt_family_modernbert;

/* The family of a config.json by its model_type; static. NULL and RT_UNSUPPORTED (the message lists those there are). */
const struct rt_family *rt_family_find(const json_t *config, struct rt_err *err);

#endif
