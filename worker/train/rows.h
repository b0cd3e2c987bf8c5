/* SPDX-License-Identifier: Apache-2.0 */
/* Tokenized rows of a split, and batches made of them. Knows no tokenizer, no file and no model.
 * The ids of all rows lie one behind the other; a row keeps its number, so that splits, labels and teacher logits agree. */
#ifndef RT_WORKER_TRAIN_ROWS_H
#define RT_WORKER_TRAIN_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "worker/model/model.h"

struct rt_rows {
	size_t n;
	size_t *start;	   /* (n + 1): row i is ids[start[i] .. start[i + 1]) */
	int32_t *ids;	   /* special tokens included, at least one a row */
	int32_t *type_ids; /* as ids, or NULL: all 0 */
	int32_t *labels;   /* (n): class, or -1 */
	size_t truncated;  /* rows that were cut */
	size_t longest;	   /* tokens */
	size_t cap, ids_cap;
};

void rt_rows_release(struct rt_rows *r); /* a zeroed one is fine; it is then zeroed */
/* Adds a row. ids, type_ids (or NULL for all 0): copied; n at least 1. */
int rt_rows_add(struct rt_rows *r, const int32_t *ids, const int32_t *type_ids, size_t n, int32_t label,
		struct rt_err *err);

/* A batch and its memory, used again for the next batch. Zeroed is empty. */
struct rt_collator {
	struct rt_batch batch; /* points into the memory below */
	int64_t *ids, *type_ids, *lengths;
	size_t ids_cap, lengths_cap;
};
void rt_collator_release(struct rt_collator *c);

/* Makes c->batch of the n rows named by which, padded to the longest of them with pad_id. Valid until the next call. */
int rt_collate(struct rt_collator *c, const struct rt_rows *r, const uint32_t *which, size_t n,
	       int64_t pad_id, struct rt_err *err);

/* Called between the batches of a long pass: done of total rows so far. -1 ends the pass with err as filled. */
struct rt_tick {
	int (*call)(void *ctx, size_t done, size_t total, struct rt_err *err); /* NULL: none */
	void *ctx;							       /* borrowed */
};

/* Sorts row numbers by length, equal ones by number. */
void rt_rows_sort(const struct rt_rows *r, uint32_t *which, size_t n);
/* How many of the first of n are of one length, at most `most`; 0 of none. */
size_t rt_rows_alike(const struct rt_rows *r, const uint32_t *which, size_t n, size_t most);
/* One batch without dropout and gradients: the logits of row which[k] go to row which[k] of ret_logits (…, labels).
 * buffer: (n, labels), to work in. */
int rt_rows_batch_logits(struct rt_collator *c, const struct rt_rows *r, struct rt_model *m,
			 const uint32_t *which, size_t n, float *buffer, float *ret_logits,
			 struct rt_err *err);

/* Logits of every row without dropout and gradients: ret_logits (n, labels). Rows of equal length go together, up to
 * `batch` at a time, so nothing is padded. */
int rt_rows_logits(const struct rt_rows *r, struct rt_model *m, int64_t batch, const struct rt_tick *tick,
		   float *ret_logits, struct rt_err *err);

#endif
