/* SPDX-License-Identifier: Apache-2.0 */
/* Makes a folder a Hugging Face checkpoint: config.json, tokenizer files, README.md (the model card), trainer_state.json.
 * The weights are rt_model_save's business, the TensorBoard files in runs/ are tb.h's. Writes nothing about this machine:
 * ids of teacher, student and dataset stand as the user gave them. Durability is the caller's (rt_checkpoints_commit). */
#ifndef RT_WORKER_EXPORT_EXPORT_H
#define RT_WORKER_EXPORT_EXPORT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "api/spec.h"
#include "base/err.h"

/* One finished epoch. A number that is not known is NaN. */
struct rt_epoch_record {
	int64_t epoch; /* from 1 */
	int64_t step;  /* optimizer steps done */
	double train_loss, train_ce_loss, train_kd_loss;
	double eval_loss, eval_ce_loss, eval_kd_loss;
	double eval_accuracy; /* 0..1 */
	double learning_rate;
	double seconds; /* of the epoch, evaluation included */
};

/* All borrowed. */
struct rt_export {
	const json_t *config; /* the student's config.json as read: every field of it stays */
	const char
		*architecture; /* "RobertaForSequenceClassification"; NULL: made from config's model_type */
	const char *const *labels; /* class names in id order */
	size_t label_count;
	const char *tokenizer_dir; /* its tokenizer files are copied byte for byte */
	const struct rt_spec *spec;
	const struct rt_epoch_record *epochs; /* all so far, oldest first; at least one */
	size_t epoch_count;
	int64_t max_steps;	     /* optimizer steps of the whole run */
	const char *best_checkpoint; /* id (ckpt_…) of the best so far; NULL: none yet */
	double best_metric;	     /* its metric_for_best_model; NaN: none yet */
	int64_t train_rows, validation_rows;
	const char *precision; /* as used: "fp32", "bf16"; NULL: the spec's */
};

/* Writes the files into dir, which exists. RT_NOT_FOUND when tokenizer_dir has no tokenizer, RT_IO, RT_DISK_FULL. */
int rt_export_checkpoint(const struct rt_export *what, const char *dir, struct rt_err *err);

#endif
