/* SPDX-License-Identifier: Apache-2.0 */
/* What the descriptions of BERT's relatives (RoBERTa, XLM-R, ELECTRA…) have in common: they name their tensors and
 * their config.json's fields alike. */
#ifndef RT_WORKER_MODEL_SHARED_H
#define RT_WORKER_MODEL_SHARED_H

#include <stddef.h>

#include "worker/model/family.h"

#define RT_SIZE_MAX 1e8 /* of any single dimension: far above all models, far below an overflow */

#define RT_BERT_SIZES(vocab, types)                                                                              \
	{ "vocab_size", RT_FIELD_INT, offsetof(struct rt_config, vocab_size), vocab, 1, RT_SIZE_MAX },           \
		{ "hidden_size", RT_FIELD_INT, offsetof(struct rt_config, hidden_size), 768, 1, 1e6 },           \
		{ "num_hidden_layers", RT_FIELD_INT, offsetof(struct rt_config, layers), 12, 1, 1000 },          \
		{ "num_attention_heads", RT_FIELD_INT, offsetof(struct rt_config, heads), 12, 1, 1e6 },          \
		{ "intermediate_size",                                                                           \
		  RT_FIELD_INT,                                                                                  \
		  offsetof(struct rt_config, intermediate_size),                                                 \
		  3072,                                                                                          \
		  1,                                                                                             \
		  1e7 },                                                                                         \
		{ "max_position_embeddings",                                                                     \
		  RT_FIELD_INT,                                                                                  \
		  offsetof(struct rt_config, max_positions),                                                     \
		  512,                                                                                           \
		  1,                                                                                             \
		  RT_SIZE_MAX },                                                                                 \
		{ "type_vocab_size", RT_FIELD_INT, offsetof(struct rt_config, type_vocab_size), types, 1, 1e6 }, \
		{ "layer_norm_eps", RT_FIELD_REAL, offsetof(struct rt_config, layer_norm_eps), 1e-12, 0, 1 },    \
		{ "initializer_range",                                                                           \
		  RT_FIELD_REAL,                                                                                 \
		  offsetof(struct rt_config, initializer_range),                                                 \
		  0.02,                                                                                          \
		  0,                                                                                             \
		  100 },                                                                                         \
		{ "hidden_dropout_prob", RT_FIELD_REAL, offsetof(struct rt_config, hidden_dropout), 0.1, 0, 1 }, \
		{ "attention_probs_dropout_prob",                                                                \
		  RT_FIELD_REAL,                                                                                 \
		  offsetof(struct rt_config, attention_dropout),                                                 \
		  0.1,                                                                                           \
		  0,                                                                                             \
		  1 },                                                                                           \
	{                                                                                                        \
		"classifier_dropout", RT_FIELD_REAL, offsetof(struct rt_config, classifier_dropout), NAN, 0,     \
			1                                                                                        \
	}

#define RT_BERT_EMBEDDINGS(position_flags)                                                                   \
	{ "embeddings.word_embeddings",	   RT_EMBEDDING,     RT_DIM_VOCAB, RT_DIM_EMBEDDING,                 \
	  offsetof(struct rt_body, words), RT_MODULE_PAD_ROW },                                              \
		{ "embeddings.position_embeddings",    RT_EMBEDDING,  RT_DIM_POSITIONS, RT_DIM_EMBEDDING,    \
		  offsetof(struct rt_body, positions), position_flags },                                     \
		{ "embeddings.token_type_embeddings",                                                        \
		  RT_EMBEDDING,                                                                              \
		  RT_DIM_TYPES,                                                                              \
		  RT_DIM_EMBEDDING,                                                                          \
		  offsetof(struct rt_body, types),                                                           \
		  0 },                                                                                       \
	{                                                                                                    \
		"embeddings.LayerNorm", RT_NORM, RT_DIM_EMBEDDING, RT_DIM_NONE,                              \
			offsetof(struct rt_body, embedding_norm), 0                                          \
	}

extern const struct rt_module rt_bert_layer[];

#endif
