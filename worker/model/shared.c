/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/model/shared.h"

#define IN_LAYER(field) offsetof(struct rt_layer, field)

const struct rt_module rt_bert_layer[] = {
	{ "attention.self.query", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, IN_LAYER(query), 0 },
	{ "attention.self.key", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, IN_LAYER(key), 0 },
	{ "attention.self.value", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, IN_LAYER(value), 0 },
	{ "attention.output.dense", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_HIDDEN, IN_LAYER(attention_out), 0 },
	{ "attention.output.LayerNorm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, IN_LAYER(attention_norm), 0 },
	{ "intermediate.dense", RT_LINEAR, RT_DIM_INTERMEDIATE, RT_DIM_HIDDEN, IN_LAYER(up), 0 },
	{ "output.dense", RT_LINEAR, RT_DIM_HIDDEN, RT_DIM_INTERMEDIATE, IN_LAYER(down), 0 },
	{ "output.LayerNorm", RT_NORM, RT_DIM_HIDDEN, RT_DIM_NONE, IN_LAYER(ffn_norm), 0 },
	{ NULL, RT_LINEAR, RT_DIM_NONE, RT_DIM_NONE, 0, 0 },
};
