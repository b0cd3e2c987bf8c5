/* SPDX-License-Identifier: Apache-2.0 */
/* Text encoders with a head for sequence classification: read from a Hugging Face folder (config.json and safetensors),
 * run, written back. Knows nothing of texts, tokenizers, losses or optimizers.
 * A family (BERT, RoBERTa…) is a description in one file and a row in family.c; README.md says how to add one.
 *
 * A model belongs to the thread that opened it. Two models are independent of each other. */
#ifndef RT_WORKER_MODEL_MODEL_H
#define RT_WORKER_MODEL_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/spec.h"
#include "base/err.h"
#include "worker/torch/tc.h"

struct rt_model;

struct rt_model_options {
	bool trainable; /* parameters gather gradients */
	int init;	/* enum rt_student_init: RT_INIT_RANDOM reads config.json alone */
	uint64_t seed;	/* of what is initialised here and of dropout */
	int precision; /* enum rt_precision: FP32, AUTO (here: FP32) or BF16 (products are bf16; what is trained stays fp32) */
	bool gpu; /* on the first GPU that libtorch sees */
	/* The classes wanted, or NULL for those of config.json. If they are the model's own, in any order, the head and
	 * the model's order stay. Otherwise the head's last layer is made anew with these classes in this order. */
	const char *const *labels;
	size_t label_count;
	bool weights_later; /* open and check everything, but read no number: rt_model_load does that */
};

/* What loading found. Names as in the checkpoint that would be written (missing, initialised) or as found (unexpected).
 * Owned; release with rt_model_report_release; zeroed is empty. */
struct rt_model_report {
	char **missing; /* wanted and not in the file; all of these are in initialised too */
	size_t missing_count;
	char **unexpected; /* in the file and of no use to this model */
	size_t unexpected_count;
	char **initialised; /* made anew from the seed */
	size_t initialised_count;
	int64_t parameters; /* numbers in all parameters together */
};
void rt_model_report_release(struct rt_model_report *report);

/* dir: borrowed. report: may be NULL; filled only on success. RT_NOT_FOUND: no config.json or weights; RT_UNSUPPORTED: a
 * family or configuration we do not compute (the field is named); RT_INVALID: files that contradict themselves or each
 * other (tensor, shape found and wanted are named, before memory is taken); RT_NO_MEMORY. Close with rt_model_close. */
int rt_model_open(const char *dir, const struct rt_model_options *o, struct rt_model **ret,
		  struct rt_model_report *report, struct rt_err *err);
void rt_model_close(struct rt_model *m); /* NULL is fine */

/* Of a model that was opened with weights_later: reads its weights, before the first forward. A second call does nothing.
 * RT_NO_MEMORY. After a failure only rt_model_close. */
int rt_model_load(struct rt_model *m, struct rt_err *err);

struct rt_batch {
	int64_t rows, width;
	const int64_t *input_ids;      /* (rows, width), padded on the right */
	const int64_t *token_type_ids; /* (rows, width), or NULL: all 0 */
	const int64_t *lengths;	       /* (rows): 1..width real tokens, or NULL: all width */
};

/* tc_scope_open's flags for the scope of a forward: where the model is. */
int rt_model_scope_flags(const struct rt_model *m);

/* (rows, labels) logits, fp32; they belong to s. b: borrowed for the call. training: dropout on, drawn from the model's
 * own generator. NULL when s has failed; ids outside the vocabulary and rows that are too long fail it by row and
 * position. */
struct tc_tensor *rt_model_forward(struct tc_scope *s, struct rt_model *m, const struct rt_batch *b,
				   bool training);

/* The same without dropout and with a look inside, for tests. hidden: room for rt_model_layer_count + 1 tensors
 * (rows, width, H), entry 0 the embedding's output; padding holds zeros. pooled: the pooler's output
 * (rows, H), or NULL where the family has none. Either may be NULL. */
struct tc_tensor *rt_model_forward_trace(struct tc_scope *s, struct rt_model *m, const struct rt_batch *b,
					 struct tc_tensor **hidden, struct tc_tensor **pooled);

const char *rt_model_family(const struct rt_model *m);	     /* config.json's model_type, e.g. "roberta" */
const char *rt_model_architecture(const struct rt_model *m); /* "RobertaForSequenceClassification" */
int64_t rt_model_layer_count(const struct rt_model *m);
int64_t rt_model_hidden_size(const struct rt_model *m);
int64_t rt_model_max_length(const struct rt_model *m); /* tokens a row may have, special ones included */
int64_t rt_model_pad_id(const struct rt_model *m);     /* what to pad input_ids with */
int64_t rt_model_vocab_size(const struct rt_model *m);
int64_t rt_model_type_count(const struct rt_model *m); /* token types there are: at least 1 */
bool rt_model_uses_token_types(
	const struct rt_model *m); /* false: a tokenizer's type ids are not for this family */
size_t rt_model_label_count(const struct rt_model *m);
const char *rt_model_label(const struct rt_model *m, size_t i); /* in id order; borrowed */

struct rt_param {
	const char *name; /* full name as saved */
	struct tc_tensor *
		t; /* fp32, contiguous (of a bf16 model that is not trainable, matrices are bf16); the model's */
	bool decay; /* weight decay applies, as in the Hugging Face Trainer: no bias, no LayerNorm */
};
size_t rt_model_param_count(const struct rt_model *m);
struct rt_param rt_model_param(const struct rt_model *m, size_t i);

/* All parameters, in the order of rt_model_param, for the optimizer of a trainable model; borrowed. */
struct tc_params *rt_model_params(struct rt_model *m);

struct tc_rng *
rt_model_rng(struct rt_model *m); /* dropout's generator, to seed, save and restore; borrowed */

/* Writes model.safetensors (fp32, full names) at path, atomically. */
int rt_model_save(const struct rt_model *m, const char *path, struct rt_err *err);

/* config.json as read, for export to keep every field; borrowed. Its labels are those of the file: take rt_model_label. */
const json_t *rt_model_config(const struct rt_model *m);

#endif
