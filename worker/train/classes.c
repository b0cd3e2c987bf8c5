/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/classes.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct count {
	size_t class;
	int64_t rows, said, right;
};

struct pair {
	int32_t label, said;
	int64_t n;
};

static int by_rows(const void *a, const void *b)
{
	const struct count *x = a, *y = b;

	if (x->rows != y->rows)
		return x->rows > y->rows ? -1 : 1;
	return x->class < y->class ? -1 : x->class > y->class;
}

static int by_class(const void *a, const void *b)
{
	const struct count *x = a, *y = b;

	return x->class < y->class ? -1 : x->class > y->class;
}

static int by_names(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	if (x->label != y->label)
		return x->label < y->label ? -1 : 1;
	return x->said < y->said ? -1 : x->said > y->said;
}

static int by_number(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	return x->n != y->n ? (x->n > y->n ? -1 : 1) : by_names(a, b);
}

/* The classes that fit, in the order of their numbers. counts is sorted anew. */
static json_t *class_list(struct count *counts, const char *const *labels, size_t classes)
{
	json_t *list = json_array();
	size_t n = 0, bytes = 0;

	qsort(counts, classes, sizeof *counts, by_rows);
	while (n < classes && n < RT_CLASSES_MAX) {
		bytes += strlen(labels[counts[n].class]);
		if (bytes > RT_CLASSES_MAX_BYTES)
			break;
		n++;
	}
	qsort(counts, n, sizeof *counts, by_class);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{sssIsIsI}", "label", labels[counts[i].class], "count",
						      (json_int_t)counts[i].rows, "predicted",
						      (json_int_t)counts[i].said, "correct",
						      (json_int_t)counts[i].right));
	return list;
}

/* Wrong answers as pairs with their numbers, most first. Returns how many. */
static size_t count_pairs(const struct rt_answers *a, struct pair *pairs)
{
	size_t wrong = 0, n = 0;

	for (size_t i = 0; i < a->n; i++) {
		if (a->label[i] >= 0 && a->label[i] != a->student[i])
			pairs[wrong++] = (struct pair){ a->label[i], a->student[i], 1 };
	}
	qsort(pairs, wrong, sizeof *pairs, by_names);
	for (size_t i = 0; i < wrong; i++) {
		if (n > 0 && by_names(&pairs[n - 1], &pairs[i]) == 0)
			pairs[n - 1].n++;
		else
			pairs[n++] = pairs[i];
	}
	qsort(pairs, n, sizeof *pairs, by_number);
	return n;
}

static json_t *confused_list(const struct pair *pairs, size_t n, const char *const *labels)
{
	json_t *list = json_array();
	size_t bytes = 0;

	for (size_t i = 0; i < n && i < RT_CONFUSED_MAX; i++) {
		const char *label = labels[pairs[i].label], *said = labels[pairs[i].said];

		bytes += strlen(label) + strlen(said);
		if (bytes > RT_CLASSES_MAX_BYTES)
			break;
		json_array_append_new(list, json_pack("{sssssI}", "label", label, "predicted", said, "count",
						      (json_int_t)pairs[i].n));
	}
	return list;
}

json_t *rt_classes_json(const struct rt_answers *a, const char *const *labels, size_t classes, int64_t epoch,
			struct rt_err *err)
{
	struct count *counts = calloc(classes, sizeof *counts);
	struct pair *pairs = calloc(a->n + 1, sizeof *pairs);
	int64_t right = 0, agreed = 0;
	json_t *data = NULL, *agreement;

	if (!counts || !pairs)
		goto out;
	for (size_t c = 0; c < classes; c++)
		counts[c].class = c;
	for (size_t i = 0; i < a->n; i++) {
		int32_t label = a->label[i], said = a->student[i];

		assert(label < (int32_t)classes && said >= 0 && said < (int32_t)classes);
		agreed += a->teacher && a->teacher[i] == said;
		if (label < 0)
			continue;
		counts[label].rows++;
		counts[said].said++;
		if (label == said) {
			right++;
			counts[label].right++;
		}
	}
	agreement = a->teacher ? json_integer(agreed) : json_null();
	data = json_pack("{sI sI sI so sI so so}", "epoch", (json_int_t)epoch, "rows", (json_int_t)a->n,
			 "correct", (json_int_t)right, "agreed", agreement, "classes_total",
			 (json_int_t)classes, "classes", class_list(counts, labels, classes), "confused",
			 confused_list(pairs, count_pairs(a, pairs), labels));
out:
	free(counts);
	free(pairs);
	if (!data)
		rt_fail(err, RT_NO_MEMORY, "no memory for the counts of %zu classes", classes);
	return data;
}
