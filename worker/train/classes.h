/* SPDX-License-Identifier: Apache-2.0 */
/* How well each class is told from the others: counts from an evaluation's answers. Numbers only; no model, no files. */
#ifndef RT_WORKER_TRAIN_CLASSES_H
#define RT_WORKER_TRAIN_CLASSES_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* What one pass over a split said. Borrowed. */
struct rt_answers {
	size_t n;
	const int32_t *label;	/* (n) the row's class; -1: it has none */
	const int32_t *student; /* (n) the class that the student gives it */
	const int32_t *teacher; /* (n) likewise; NULL: no teacher */
};

#define RT_CLASSES_MAX	     1000	/* classes in an event: those with most rows */
#define RT_CLASSES_MAX_BYTES (64 << 10) /* of their names, and of the names in the confused pairs */
#define RT_CONFUSED_MAX	     50

/* The data of eval.classes (api/event.h). labels: (classes) names. New, or NULL. Rows without a class count for `agreed` only.
 * Every answer must be below classes. */
json_t *rt_classes_json(const struct rt_answers *a, const char *const *labels, size_t classes, int64_t epoch,
			struct rt_err *err);

#endif
