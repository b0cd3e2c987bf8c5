/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/rows.h"

#include <stdlib.h>
#include <string.h>

void rt_rows_release(struct rt_rows *r)
{
	free(r->start);
	free(r->ids);
	free(r->type_ids);
	free(r->labels);
	memset(r, 0, sizeof *r);
}

/* Grows *at to cap elements of size bytes. */
static int grow(void *at, size_t cap, size_t size, struct rt_err *err)
{
	void **p = at, *grown = reallocarray(*p, cap, size);

	if (!grown)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the tokenized texts");
	*p = grown;
	return 0;
}

static int make_room(struct rt_rows *r, size_t n, bool types, struct rt_err *err)
{
	size_t used = r->n ? r->start[r->n] : 0;

	if (r->n + 1 >= r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 256;

		if (grow(&r->start, cap, sizeof *r->start, err) < 0 ||
		    grow(&r->labels, cap, sizeof *r->labels, err) < 0)
			return -1;
		r->cap = cap;
		r->start[0] = 0;
	}
	if (used + n > r->ids_cap) {
		size_t cap = r->ids_cap ? r->ids_cap : 4096;

		while (cap < used + n)
			cap *= 2;
		if (grow(&r->ids, cap, sizeof *r->ids, err) < 0 ||
		    (r->type_ids && grow(&r->type_ids, cap, sizeof *r->type_ids, err) < 0))
			return -1;
		r->ids_cap = cap;
	}
	if (types && !r->type_ids) { /* the first row that has some; those before it are all 0 */
		r->type_ids = calloc(r->ids_cap, sizeof *r->type_ids);
		if (!r->type_ids)
			return rt_fail(err, RT_NO_MEMORY, "no memory for the tokenized texts");
	}
	return 0;
}

int rt_rows_add(struct rt_rows *r, const int32_t *ids, const int32_t *type_ids, size_t n, int32_t label,
		struct rt_err *err)
{
	size_t used = r->n ? r->start[r->n] : 0;

	if (make_room(r, n, type_ids != NULL, err) < 0)
		return -1;
	memcpy(r->ids + used, ids, n * sizeof *ids);
	if (type_ids)
		memcpy(r->type_ids + used, type_ids, n * sizeof *ids);
	else if (r->type_ids)
		memset(r->type_ids + used, 0, n * sizeof *ids);
	r->labels[r->n] = label;
	r->n++;
	r->start[r->n] = used + n;
	r->longest = n > r->longest ? n : r->longest;
	return 0;
}

void rt_collator_release(struct rt_collator *c)
{
	free(c->ids);
	free(c->type_ids);
	free(c->lengths);
	memset(c, 0, sizeof *c);
}

static size_t length_of(const struct rt_rows *r, uint32_t i)
{
	return r->start[i + 1] - r->start[i];
}

int rt_collate(struct rt_collator *c, const struct rt_rows *r, const uint32_t *which, size_t n,
	       int64_t pad_id, struct rt_err *err)
{
	size_t width = 0;
	bool ragged = false;

	for (size_t k = 0; k < n; k++) {
		size_t len = length_of(r, which[k]);

		ragged = ragged || (k > 0 && len != width);
		width = len > width ? len : width;
	}
	if (n * width > c->ids_cap) {
		if (grow(&c->ids, n * width, sizeof *c->ids, err) < 0 ||
		    grow(&c->type_ids, n * width, sizeof *c->type_ids, err) < 0)
			return -1;
		c->ids_cap = n * width;
	}
	if (n > c->lengths_cap) {
		if (grow(&c->lengths, n, sizeof *c->lengths, err) < 0)
			return -1;
		c->lengths_cap = n;
	}
	for (size_t k = 0; k < n; k++) {
		size_t len = length_of(r, which[k]), from = r->start[which[k]], to = k * width;

		c->lengths[k] = (int64_t)len;
		for (size_t i = 0; i < width; i++) {
			c->ids[to + i] = i < len ? r->ids[from + i] : pad_id;
			c->type_ids[to + i] = i < len && r->type_ids ? r->type_ids[from + i] : 0;
		}
	}
	c->batch = (struct rt_batch){ .rows = (int64_t)n,
				      .width = (int64_t)width,
				      .input_ids = c->ids,
				      .token_type_ids = r->type_ids ? c->type_ids : NULL,
				      .lengths = ragged ? c->lengths : NULL };
	return 0;
}

static int by_length(const void *a, const void *b, void *ctx)
{
	const struct rt_rows *r = ctx;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	size_t m = length_of(r, x), n = length_of(r, y);

	return m != n ? (m > n) - (m < n) : (x > y) - (x < y);
}

void rt_rows_sort(const struct rt_rows *r, uint32_t *which, size_t n)
{
	if (n > 0)
		qsort_r(which, n, sizeof *which, by_length, (void *)(uintptr_t)r);
}

size_t rt_rows_alike(const struct rt_rows *r, const uint32_t *which, size_t n, size_t most)
{
	size_t k = 0;

	while (k < n && k < most && length_of(r, which[k]) == length_of(r, which[0]))
		k++;
	return k;
}

int rt_rows_batch_logits(struct rt_collator *c, const struct rt_rows *r, struct rt_model *m,
			 const uint32_t *which, size_t n, float *buffer, float *ret_logits,
			 struct rt_err *err)
{
	size_t labels = rt_model_label_count(m);
	struct tc_scope *s;
	int rc;

	if (rt_collate(c, r, which, n, rt_model_pad_id(m), err) < 0)
		return -1;
	s = tc_scope_open(NULL, TC_NO_GRAD | rt_model_scope_flags(m));
	rc = tc_read(s, rt_model_forward(s, m, &c->batch, false), TC_F32, buffer, n * labels, err);
	for (size_t k = 0; rc == 0 && k < n; k++)
		memcpy(ret_logits + which[k] * labels, buffer + k * labels, labels * sizeof *ret_logits);
	tc_scope_close(s);
	return rc;
}

int rt_rows_logits(const struct rt_rows *r, struct rt_model *m, int64_t batch, const struct rt_tick *tick,
		   float *ret_logits, struct rt_err *err)
{
	uint32_t *order = reallocarray(NULL, r->n + 1, sizeof *order);
	float *buffer = reallocarray(NULL, (size_t)batch, rt_model_label_count(m) * sizeof *buffer);
	struct rt_collator c = { .ids = NULL };
	int rc = -1;

	if (!order || !buffer) {
		rt_fail(err, RT_NO_MEMORY, "no memory for a pass over %zu texts", r->n);
		goto out;
	}
	for (size_t i = 0; i < r->n; i++)
		order[i] = (uint32_t)i;
	rt_rows_sort(r, order, r->n);
	for (size_t i = 0, n; i < r->n; i += n) {
		n = rt_rows_alike(r, order + i, r->n - i, (size_t)batch);
		if (rt_rows_batch_logits(&c, r, m, order + i, n, buffer, ret_logits, err) < 0 ||
		    (tick && tick->call && tick->call(tick->ctx, i + n, r->n, err) < 0))
			goto out;
	}
	rc = 0;
out:
	rt_collator_release(&c);
	free(order);
	free(buffer);
	return rc;
}
