/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/teacher.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAIT_MS 100 /* between looks at what another job computes */

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

/* One pass over the texts whose logits are not there. */
struct pass {
	struct rt_model *teacher;
	const struct rt_soft_options *o;
	struct rt_logit_cache *cache; /* NULL: none, or none any more */
	const struct rt_rows *rows;
	struct rt_soft *soft;
	struct rt_text_key *keys;
	uint32_t *left, *mine; /* texts without logits, by length; those of a batch */
	size_t left_count;
	float *buffer;
	struct rt_collator collator;
};

static int tell(const struct pass *p, bool waiting, struct rt_err *err)
{
	struct rt_soft_progress now = { .done = p->rows->n - p->left_count,
					.total = p->rows->n,
					.computed = p->soft->computed,
					.waiting = waiting };

	return p->o->progress ? p->o->progress(p->o->ctx, &now, err) : 0;
}

static int compute_batch(struct pass *p, size_t n, struct rt_err *err)
{
	const size_t classes = p->soft->classes;
	struct rt_err why = RT_ERR_INIT;

	if (rt_model_load(p->teacher, err) < 0 ||
	    rt_rows_batch_logits(&p->collator, p->rows, p->teacher, p->mine, n, p->buffer, p->soft->logits,
				 err) < 0)
		return -1;
	for (size_t i = 0; i < n * classes; i++) {
		if (!isfinite(p->buffer[i]))
			return rt_fail(err, RT_INVALID,
				       "the teacher's logits are not finite; its weights are broken");
	}
	p->soft->computed += n;
	if (!p->cache || rt_logit_cache_add(p->cache, p->mine, n, &why) == 0)
		return 0;
	/* the claims of others do not matter any more: what they add is not looked at */
	p->cache = NULL;
	return p->o->no_cache ? p->o->no_cache(p->o->ctx, why.msg, err) : 0;
}

/* Of n texts, those that this process is to compute go to mine; what others compute goes to `later` (at least n). */
static size_t choose(struct pass *p, const uint32_t *which, size_t n, uint32_t *later, size_t *ret_later)
{
	size_t mine = 0, kept = 0;

	*ret_later = 0;
	for (size_t k = 0; k < n; k++) {
		if (!p->cache || rt_logit_cache_claim(p->cache, which[k]))
			p->mine[mine++] = which[k];
		else
			later[(*ret_later)++] = which[k];
	}
	if (!p->cache)
		return mine;
	rt_logit_cache_look(p->cache); /* one may have been added between the last look and the claim */
	for (size_t k = 0; k < mine; k++) {
		if (rt_logit_cache_has(p->cache, p->mine[k]))
			rt_logit_cache_release(p->cache, p->mine[k]);
		else
			p->mine[kept++] = p->mine[k];
	}
	return kept;
}

/* Goes once through what is left; what others are computing stays left. */
static int sweep(struct pass *p, bool *ret_computed, struct rt_err *err)
{
	size_t total = p->left_count, kept = 0;

	*ret_computed = false;
	for (size_t i = 0, n; i < total; i += n) {
		size_t later, mine;

		n = rt_rows_alike(p->rows, p->left + i, total - i, (size_t)p->o->batch);
		mine = choose(p, p->left + i, n, p->left + kept, &later);
		kept += later;
		if (mine > 0 && compute_batch(p, mine, err) < 0)
			return -1;
		*ret_computed |= mine > 0;
		p->left_count = kept + total - i - n;
		if (mine > 0 && tell(p, false, err) < 0)
			return -1;
	}
	return 0;
}

/* What the cache has by now is no longer left. */
static void look(struct pass *p)
{
	size_t kept = 0;

	if (!p->cache)
		return;
	rt_logit_cache_look(p->cache);
	for (size_t i = 0; i < p->left_count; i++) {
		if (!rt_logit_cache_has(p->cache, p->left[i]))
			p->left[kept++] = p->left[i];
	}
	p->left_count = kept;
}

static int run_pass(struct pass *p, struct rt_err *err)
{
	const struct timespec pause = { .tv_nsec = WAIT_MS * 1000000L };

	look(p);
	if (tell(p, false, err) < 0)
		return -1;
	while (p->left_count > 0) {
		bool computed;

		if (sweep(p, &computed, err) < 0)
			return -1;
		look(p);
		if (computed || p->left_count == 0)
			continue;
		if (tell(p, true, err) < 0)
			return -1;
		nanosleep(&pause, NULL);
		look(p);
	}
	return 0;
}

static int prepare(struct pass *p, struct rt_err *err)
{
	const struct rt_rows *rows = p->rows;
	const size_t classes = p->soft->classes, batch = (size_t)p->o->batch;

	p->soft->logits = reallocarray(NULL, rows->n + 1, classes * sizeof *p->soft->logits);
	p->buffer = reallocarray(NULL, batch + 1, classes * sizeof *p->buffer);
	p->left = reallocarray(NULL, rows->n + 1, sizeof *p->left);
	p->mine = reallocarray(NULL, batch + 1, sizeof *p->mine);
	p->keys = p->cache ? reallocarray(NULL, rows->n + 1, sizeof *p->keys) : NULL;
	if (!p->soft->logits || !p->buffer || !p->left || !p->mine || (p->cache && !p->keys))
		return rt_fail(err, RT_NO_MEMORY, "no memory for the teacher's logits of %zu texts", rows->n);
	for (size_t i = 0; i < rows->n; i++)
		p->left[i] = (uint32_t)i;
	p->left_count = rows->n;
	rt_rows_sort(rows, p->left, rows->n);
	if (!p->cache)
		return 0;
	for (size_t i = 0; i < rows->n; i++) {
		size_t from = rows->start[i];

		rt_text_key_of(rows->ids + from, rows->type_ids ? rows->type_ids + from : NULL,
			       rows->start[i + 1] - from, &p->keys[i]);
	}
	return rt_logit_cache_want(p->cache, p->keys, rows->n, p->soft->logits, err);
}

/* From the teacher's order of classes to the student's; the buffer is there to work in. */
static void reorder(struct pass *p)
{
	const size_t classes = p->soft->classes;

	for (size_t i = 0; i < p->soft->unique; i++) {
		float *at = p->soft->logits + i * classes;

		for (size_t c = 0; c < classes; c++)
			p->buffer[p->o->class_of[c]] = at[c];
		memcpy(at, p->buffer, classes * sizeof *at);
	}
}

int rt_soft_compute(struct rt_model *teacher, const struct rt_soft_options *o, struct rt_soft *ret,
		    struct rt_err *err)
{
	struct rt_soft soft = { .classes = rt_model_label_count(teacher) };
	struct rt_rows distinct = { .n = 0 };
	struct pass p = { .teacher = teacher, .o = o, .cache = o->cache, .rows = &distinct, .soft = &soft };
	int rc = -1;

	if (find_distinct(o->splits, o->count, &soft, &distinct, err) < 0)
		goto out;
	soft.unique = distinct.n;
	if (prepare(&p, err) < 0 || run_pass(&p, err) < 0)
		goto out;
	soft.damaged = o->cache ? rt_logit_cache_damaged(o->cache) : 0;
	reorder(&p);
	*ret = soft;
	memset(&soft, 0, sizeof soft);
	rc = 0;
out:
	free(p.keys);
	free(p.left);
	free(p.mine);
	free(p.buffer);
	rt_collator_release(&p.collator);
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
