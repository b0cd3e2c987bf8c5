/* SPDX-License-Identifier: Apache-2.0 */
/* The job spec: what a user asks for. One table (RT_SPEC_FIELDS in spec.c) says for every field its name, type, range,
 * default and help; parsing, printing and the schema in openapi.yaml all follow it.
 * Checks here need nothing but the JSON. What needs files (models, labels, columns) is checked by the worker. */
#ifndef RT_API_SPEC_H
#define RT_API_SPEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "api/problem.h"
#include "base/buf.h"
#include "base/err.h"

enum rt_precision { RT_PRECISION_AUTO, RT_PRECISION_FP32, RT_PRECISION_BF16, RT_PRECISION_FP16 };
enum rt_lr_scheduler { RT_LR_LINEAR, RT_LR_COSINE, RT_LR_CONSTANT };
enum rt_metric { RT_METRIC_ACCURACY, RT_METRIC_LOSS };
enum rt_student_init { RT_INIT_PRETRAINED, RT_INIT_RANDOM };
enum rt_accumulation { RT_ACCUMULATE_MEAN, RT_ACCUMULATE_SUM };
enum rt_loss_kind { RT_LOSS_KD };

#define RT_SPEC_TAGS_MAX 32

/* Strings are owned by the spec; NULL where the field was not given and has no default. Integers that were not given and
 * have no default are -1. */
struct rt_spec {
	char *name;
	char *tags[RT_SPEC_TAGS_MAX];
	size_t tag_count;
	int64_t priority; /* higher goes first */

	char *teacher_id; /* NULL only with alpha 1: plain fine-tuning */
	char *student_id;
	char *dataset_id;
	char *dataset_config;
	char *text_column;				   /* NULL: found by name */
	char *label_column;				   /* NULL: found by name */
	char *train_split, *validation_split, *test_split; /* NULL: found by name */

	int64_t epochs;
	double learning_rate;
	double alpha;			     /* weight of the hard-label loss, 0..1 */
	double temperature;		     /* above 0, no unit */
	int loss;			     /* enum rt_loss_kind */
	int64_t per_device_train_batch_size; /* texts a step */
	int64_t per_device_eval_batch_size;
	int64_t gradient_accumulation_steps;
	int gradient_accumulation; /* enum rt_accumulation: how the micro-batches' losses join */
	double weight_decay;
	double warmup_ratio;   /* share of all steps, 0..1 */
	int lr_scheduler;      /* enum rt_lr_scheduler */
	double max_grad_norm;  /* 0: no clipping */
	int64_t max_length;    /* tokens, special ones included; -1: what the model allows, at most 512 */
	int student_init;      /* enum rt_student_init */
	int precision;	       /* enum rt_precision */
	int teacher_precision; /* enum rt_precision */
	bool fp16;	       /* the workshop's switch; see rt_spec_parse */
	int64_t seed;
	bool shuffle; /* false keeps the dataset's order in every epoch */

	int metric_for_best_model;	 /* enum rt_metric */
	int64_t early_stopping_patience; /* epochs without improvement; -1: never stops early */
	int64_t save_total_limit;	 /* checkpoints kept; the best is never removed */
	int64_t checkpoint_interval_s;	 /* a state to go on from is written at least this often */
	int64_t max_runtime_s;		 /* running time only, over all attempts; -1: no limit */
	int64_t max_restarts;		 /* by the server, after trouble that may pass */
	int64_t stop_grace_s;		 /* between asking the worker to stop and killing it */
	int64_t threads; /* resources.threads: CPU threads of the worker; -1: its share of the machine */
	int64_t gpus;	 /* resources.gpus */

	bool run_hpo; /* not in this version: refused when true */
	int64_t n_trials;
	bool push_to_hub; /* not in this version: refused when true */
	char *hub_model_id;
};

/* Parses and checks every field at once. On failure returns -1, *ret is as before, problems holds an entry per wrong field
 * and err (RT_UNPROCESSABLE) a summary. An unknown field is an error that suggests the nearest name.
 * `fp16: true` from a workshop spec, where `precision` is not given, means precision auto. On success the caller releases
 * *ret. json: an object; borrowed. */
int rt_spec_parse(const json_t *json, struct rt_spec *ret, struct rt_problems *problems, struct rt_err *err);

void rt_spec_release(struct rt_spec *spec); /* a zeroed one is fine */

/* The spec with every default filled in, as a new JSON object whose keys are all fields in the table's order;
 * rt_spec_parse reads it back to an equal spec. NULL without memory. */
json_t *rt_spec_json(const struct rt_spec *spec);

/* JSON Schema (2020-12) of the spec: {"type":"object","additionalProperties":false,"required":[…],"properties":{…}}. */
json_t *rt_spec_schema(void);

/* What alpha and temperature mean, for readers of a job: {"kind":"kd","hard_weight":…,"soft_weight":…,"temperature":…,
 * "t_squared":true,"direction":"teacher||student","reduction":"batchmean","version":1}. New reference. */
json_t *rt_spec_loss_json(const struct rt_spec *spec);

/* The word of an enum field's value: rt_spec_word("precision", RT_PRECISION_BF16) is "bf16". Static; NULL if unknown. */
const char *rt_spec_word(const char *field, int value);

#endif
