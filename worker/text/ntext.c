/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/ntext.h"

#include <stdlib.h>
#include <string.h>

#include "worker/text/unicode.h"

void rt_ntext_init(struct rt_ntext *t, bool aligned, size_t max_bytes)
{
	*t = (struct rt_ntext){ .aligned = aligned, .max = max_bytes };
}

void rt_ntext_release(struct rt_ntext *t)
{
	free(t->bytes);
	free(t->align);
	*t = (struct rt_ntext){ 0 };
}

void rt_ntext_clear(struct rt_ntext *t, uint32_t base)
{
	t->len = 0;
	t->base = base;
}

bool rt_ntext_room(struct rt_ntext *t, size_t n)
{
	size_t cap = t->cap ? t->cap : 256;
	char *bytes;

	if (t->failed)
		return false;
	if (t->len > t->max || n > t->max - t->len) {
		t->failed = RT_TOO_LARGE;
		return false;
	}
	if (n <= t->cap - t->len)
		return true;
	while (cap - t->len < n)
		cap *= 2;
	bytes = realloc(t->bytes, cap);
	if (bytes)
		t->bytes = bytes;
	if (bytes && t->aligned) {
		struct rt_range *align = realloc(t->align, cap * sizeof *align);

		if (align)
			t->align = align;
		else
			bytes = NULL;
	}
	if (!bytes) {
		t->failed = RT_NO_MEMORY;
		return false;
	}
	t->cap = cap;
	return true;
}

void rt_ntext_add(struct rt_ntext *t, const char *bytes, const struct rt_range *align, size_t n)
{
	if (n == 0 || !rt_ntext_room(t, n))
		return;
	memcpy(t->bytes + t->len, bytes, n);
	if (t->aligned)
		memcpy(t->align + t->len, align, n * sizeof *align);
	t->len += n;
}

void rt_ntext_add_all(struct rt_ntext *t, const char *bytes, struct rt_range align, size_t n)
{
	if (n == 0 || !rt_ntext_room(t, n))
		return;
	memcpy(t->bytes + t->len, bytes, n);
	for (size_t i = 0; t->aligned && i < n; i++)
		t->align[t->len + i] = align;
	t->len += n;
}

void rt_ntext_add_cp(struct rt_ntext *t, uint32_t cp, struct rt_range align)
{
	char utf8[4];

	rt_ntext_add_all(t, utf8, align, rt_uc_put(utf8, cp));
}

void rt_ntext_add_raw(struct rt_ntext *t, const char *bytes, size_t n, uint32_t at)
{
	if (n == 0 || !rt_ntext_room(t, n))
		return;
	memcpy(t->bytes + t->len, bytes, n);
	for (size_t i = 0; t->aligned && i < n;) {
		unsigned len;

		rt_uc_next(bytes + i, &len);
		for (unsigned k = 0; k < len; k++)
			t->align[t->len + i + k] =
				(struct rt_range){ at + (uint32_t)i, at + (uint32_t)i + (uint32_t)len };
		i += len;
	}
	t->len += n;
}

int rt_ntext_check(const struct rt_ntext *t, struct rt_err *err)
{
	if (t->failed == RT_TOO_LARGE)
		return rt_fail(err, RT_TOO_LARGE, "the tokenizer's normalizer makes a text of over %zu bytes",
			       t->max);
	if (t->failed)
		return rt_fail(err, RT_NO_MEMORY, "no memory to tokenize a text");
	return 0;
}

/* Bytes of the old character at at; 0 at the end. */
static size_t old_len(const struct rt_ntext *in, size_t at)
{
	unsigned len;

	if (at >= in->len)
		return 0;
	rt_uc_next(in->bytes + at, &len);
	return len;
}

void rt_ntext_change(struct rt_ntext *out, const struct rt_ntext *in, const struct rt_change *changes,
		     size_t n, size_t removed)
{
	size_t at = 0;

	for (size_t i = 0; i < removed; i++)
		at += old_len(in, at);
	for (size_t i = 0; i < n; i++) {
		int32_t change = changes[i].change;
		struct rt_range align = { in->base, in->base };

		if (change > 0 && at > 0)
			align = rt_ntext_align(in, at - 1); /* shares with the one before it */
		else if (change <= 0 && in->len > 0)
			align = rt_ntext_align(in, at < in->len ? at : in->len - 1);
		rt_ntext_add_cp(out, changes[i].cp, align);
		for (int32_t k = change; k <= 0; k++)
			at += old_len(in, at);
	}
}

void rt_changes_add(struct rt_changes *c, uint32_t cp, int32_t change)
{
	if (c->n == c->cap && !c->failed) {
		size_t cap = c->cap ? c->cap * 2 : 256;
		struct rt_change *list = realloc(c->list, cap * sizeof *list);

		if (list) {
			c->list = list;
			c->cap = cap;
		} else {
			c->failed = true;
		}
	}
	if (!c->failed)
		c->list[c->n++] = (struct rt_change){ cp, change };
}
