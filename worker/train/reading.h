/* SPDX-License-Identifier: Apache-2.0 */
/* How teacher and student read the job's texts: what each tokenizer makes of them, and whether the two are the same. */
#ifndef RT_WORKER_TRAIN_READING_H
#define RT_WORKER_TRAIN_READING_H

#include <jansson.h>
#include <stdbool.h>

#include "worker/data/dataset.h"
#include "worker/text/tokenizer.h"

/* What one tokenizer made of the texts that its model reads, cut at the model's length. */
struct rt_reading {
	size_t texts, truncated;
	size_t tokens, unknown; /* without those that are put around each text */
};
void rt_reading_add(struct rt_reading *r, const struct rt_tokenizer *tok, const struct rt_encoding *e,
		    bool pair);
double rt_reading_unknown_share(const struct rt_reading *r); /* 0 to 1; 0 without tokens */
json_t *rt_reading_json(const struct rt_reading *r);	     /* new; NULL without memory */

enum rt_likeness {
	RT_TOKENIZERS_SAME,	  /* the same ids for every text there is */
	RT_TOKENIZERS_COMPATIBLE, /* not the same, but the same ids for all texts of this job */
	RT_TOKENIZERS_DIFFERENT
};

struct rt_likeness_check {
	enum rt_likeness likeness;
	bool same_part[RT_TOKENIZER_PARTS];
	size_t teacher_tokens, student_tokens,
		shared_tokens;	 /* of the vocabularies; shared: with the same id */
	size_t texts, differing; /* texts read by both; 0 where they are the same */
	size_t max_length;	 /* tokens of each that were compared */
};

struct rt_likeness_options {
	size_t max_length;			    /* tokens to compare of each text */
	bool types;				    /* type ids count, too */
	int (*tick)(void *ctx, struct rt_err *err); /* called now and then; -1 ends with err. Or NULL */
	void *ctx;
};

/* Compares part by part and, where parts differ, over all texts of d. -1 when a text cannot be read or tick says so. */
int rt_likeness_find(const struct rt_tokenizer *teacher, const struct rt_tokenizer *student,
		     const struct rt_dataset *d, const struct rt_likeness_options *o,
		     struct rt_likeness_check *ret, struct rt_err *err);
const char *rt_likeness_word(enum rt_likeness likeness); /* "same", "compatible", "different" */

/* What that means for a job, as people read it; appended. teacher, student: how each reads this job's texts. */
void rt_likeness_explain(const struct rt_likeness_check *c, const struct rt_reading *teacher,
			 const struct rt_reading *student, struct rt_buf *out);
/* {"likeness", "means", "differs_in", …}; new, NULL without memory. */
json_t *rt_likeness_json(const struct rt_likeness_check *c, const struct rt_reading *teacher,
			 const struct rt_reading *student);

#endif
