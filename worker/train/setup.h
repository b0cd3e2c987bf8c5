/* SPDX-License-Identifier: Apache-2.0 */
/* From a spec to everything that training needs: models, tokenizers, the dataset, classes matched by name, tokenized rows.
 * What `validate` reports and what `run` does first are this one function, so they cannot differ. Trains nothing.
 *
 * The student's classes are in the order of its own config.json where those are the wanted ones; else its head is new and has
 * the teacher's order, or without a teacher the dataset's. All labels and logits here are in the student's order. */
#ifndef RT_WORKER_TRAIN_SETUP_H
#define RT_WORKER_TRAIN_SETUP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "api/problem.h"
#include "api/spec.h"
#include "worker/data/dataset.h"
#include "worker/model/model.h"
#include "worker/text/tokenizer.h"
#include "worker/train/reading.h"
#include "worker/train/rows.h"

struct rt_setup_options {
	/* Folders that models and data must lie under, links followed; none: anywhere. Borrowed for the call. */
	const char *const *roots;
	size_t root_count;
	int (*tick)(void *ctx,
		    struct rt_err
			    *err); /* called between the parts and now and then; -1 ends with err. Or NULL */
	void *ctx;
};

struct rt_setup_model {
	struct rt_model *model;
	struct rt_model_report report;
	struct rt_tokenizer *tokenizer;
	int64_t max_length;	   /* tokens at which texts are cut for it */
	struct rt_reading reading; /* of the texts it reads: the teacher's are without the test split */
};

struct rt_setup {
	const struct rt_spec *spec;	  /* borrowed */
	int precision, teacher_precision; /* enum rt_precision, never AUTO */
	struct rt_dataset *data;
	struct rt_dataset_stats stats;
	struct rt_setup_model student, teacher; /* teacher.model is NULL when there is none */
	int32_t *class_of_label;		/* the dataset's label -> the student's class */
	int32_t *class_of_teacher; /* the teacher's class -> the student's; NULL without a teacher */
	struct rt_rows train, validation, test;		  /* as the student reads them */
	struct rt_rows teacher_train, teacher_validation; /* empty where the teacher reads the same ids */
	struct rt_likeness_check tokenizers; /* the two beside each other; meaningless without a teacher */
	const char **labels;		     /* the student's classes; points into its model */
	size_t label_count;
};

/* Reads and checks everything but the numbers in the weights, which rt_model_load reads; all that is wrong goes to problems (by field), all that is doubtful to warnings.
 * RT_UNPROCESSABLE with problems filled; RT_NO_MEMORY, RT_IO, RT_INTERNAL and what tick said without.
 * problems and warnings: emptied first. spec: borrowed until rt_setup_close. */
int rt_setup_open(const struct rt_spec *spec, const struct rt_setup_options *o, struct rt_setup **ret,
		  struct rt_problems *problems, struct rt_problems *warnings, struct rt_err *err);
void rt_setup_close(struct rt_setup *s); /* NULL is fine */

/* The teacher's view of a split: its own rows, or the student's where both read the same. */
const struct rt_rows *rt_setup_teacher_rows(const struct rt_setup *s, bool validation);

size_t rt_setup_truncated(const struct rt_setup *s); /* texts that the student reads cut, over all splits */
int64_t rt_setup_steps(const struct rt_setup *s);    /* optimizer steps of the whole run */

/* Bytes that the run will need at its peak, a rough upper bound. */
int64_t rt_setup_memory(const struct rt_setup *s);

/* What is known of the two tokenizers, {"likeness":…,"means":…}. New; NULL without a teacher (or memory). */
json_t *rt_setup_tokenizers(const struct rt_setup *s);

/* {"train_rows":…,"labels":…,"teacher":{…},…} for people and for the answer of validate. New; NULL without memory. */
json_t *rt_setup_facts(const struct rt_setup *s);

/* precision as this machine computes it. -1 and RT_UNSUPPORTED for what it does not have. field: for the message. */
int rt_setup_precision(const char *field, int asked, bool gpu, int *ret, struct rt_err *err);

#endif
