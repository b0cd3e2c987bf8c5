/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/teacher.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct ref {
	const struct rt_rows *rows;
	uint32_t split, row;
};

void rt_soft_release(struct rt_soft *soft)
{
	free(soft->logits);
	for (size_t i = 0; i < RT_SOFT_SPLITS; i++)
		free(soft->of[i]);
	memset(soft, 0, sizeof *soft);
}

/* By length, then ids, then type ids; 0 only for texts that the teacher cannot tell apart. */
static int by_content(const void *a, const void *b)
{
	const struct ref *x = a, *y = b;
	const struct rt_rows *p = x->rows, *q = y->rows;
	size_t m = p->start[x->row + 1] - p->start[x->row], n = q->start[y->row + 1] - q->start[y->row];
	int diff;

	if (m != n)
		return m < n ? -1 : 1;
	diff = memcmp(p->ids + p->start[x->row], q->ids + q->start[y->row], n * sizeof *p->ids);
	if (diff || (!p->type_ids && !q->type_ids))
		return diff;
	for (size_t i = 0; i < n; i++) {
		int32_t s = p->type_ids ? p->type_ids[p->start[x->row] + i] : 0;
		int32_t t = q->type_ids ? q->type_ids[q->start[y->row] + i] : 0;

		if (s != t)
			return s < t ? -1 : 1;
	}
	return 0;
}

/* Copies every distinct row once into ret and notes for each row which one it is. */
static int find_distinct(const struct rt_rows *const *splits, size_t count, struct rt_soft *soft,
			 struct rt_rows *ret, struct rt_err *err)
{
	size_t total = 0, k = 0;
	struct ref *refs;
	int rc = -1;

	for (size_t i = 0; i < count; i++)
		total += splits[i]->n;
	refs = reallocarray(NULL, total + 1, sizeof *refs);
	if (!refs)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the teacher's logits");
	for (size_t i = 0; i < count; i++) {
		soft->of[i] = reallocarray(NULL, splits[i]->n + 1, sizeof *soft->of[i]);
		if (!soft->of[i]) {
			rt_fail(err, RT_NO_MEMORY, "no memory for the teacher's logits");
			goto out;
		}
		for (size_t r = 0; r < splits[i]->n; r++)
			refs[k++] = (struct ref){ splits[i], (uint32_t)i, (uint32_t)r };
	}
	qsort(refs, total, sizeof *refs, by_content);
	for (k = 0; k < total; k++) {
		const struct rt_rows *r = refs[k].rows;
		size_t from = r->start[refs[k].row], n = r->start[refs[k].row + 1] - from;

		if ((k == 0 || by_content(&refs[k - 1], &refs[k]) != 0) &&
		    rt_rows_add(ret, r->ids + from, r->type_ids ? r->type_ids + from : NULL, n, -1, err) < 0)
			goto out;
		soft->of[refs[k].split][refs[k].row] = (uint32_t)(ret->n - 1);
	}
	rc = 0;
out:
	free(refs);
	return rc;
}

int rt_soft_compute(struct rt_model *teacher, const struct rt_rows *const *splits, size_t count,
		    const int32_t *class_of, int64_t batch, const struct rt_tick *tick, struct rt_soft *ret,
		    struct rt_err *err)
{
	struct rt_soft soft = { .classes = rt_model_label_count(teacher) };
	struct rt_rows distinct = { .n = 0 };
	float *row = NULL;
	int rc = -1;

	if (find_distinct(splits, count, &soft, &distinct, err) < 0)
		goto out;
	soft.unique = distinct.n;
	soft.logits = reallocarray(NULL, distinct.n + 1, soft.classes * sizeof *soft.logits);
	row = reallocarray(NULL, soft.classes, sizeof *row);
	if (!soft.logits || !row) {
		rt_fail(err, RT_NO_MEMORY, "no memory for the teacher's logits of %zu texts", distinct.n);
		goto out;
	}
	if (rt_rows_logits(&distinct, teacher, batch, tick, soft.logits, err) < 0)
		goto out;
	for (size_t i = 0; i < soft.unique; i++) {
		float *at = soft.logits + i * soft.classes;

		for (size_t c = 0; c < soft.classes; c++) {
			if (!isfinite(at[c])) {
				rt_fail(err, RT_INVALID,
					"the teacher's logits are not finite; its weights are broken");
				goto out;
			}
			row[class_of[c]] = at[c];
		}
		memcpy(at, row, soft.classes * sizeof *row);
	}
	*ret = soft;
	memset(&soft, 0, sizeof soft);
	rc = 0;
out:
	free(row);
	rt_rows_release(&distinct);
	rt_soft_release(&soft);
	return rc;
}

size_t rt_argmax(const float *x, size_t n)
{
	size_t best = 0;

	for (size_t i = 1; i < n; i++)
		best = x[i] > x[best] ? i : best;
	return best;
}

double rt_soft_accuracy(const struct rt_soft *soft, size_t split, const int32_t *labels, size_t n)
{
	size_t right = 0, counted = 0;

	for (size_t i = 0; i < n; i++) {
		counted += labels[i] >= 0;
		right += labels[i] >= 0 && rt_argmax(soft->logits + soft->of[split][i] * soft->classes,
						     soft->classes) == (size_t)labels[i];
	}
	return counted ? (double)right / (double)counted : NAN;
}
