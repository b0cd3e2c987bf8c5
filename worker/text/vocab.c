/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

void rt_vocab_init(struct rt_vocab *v)
{
	*v = (struct rt_vocab){ .max_id = -1 };
	/* differs from process to process, so that no file can be made to collide */
	v->seed = rt_hash_finish((uint64_t)(uintptr_t)v ^ (uint64_t)(rt_clock_monotonic_s() * 1e9)) | 1;
}

void rt_vocab_release(struct rt_vocab *v)
{
	rt_buf_release(&v->bytes);
	free(v->entries);
	free(v->by_text);
	free(v->by_id);
	*v = (struct rt_vocab){ .max_id = -1 };
}

uint64_t rt_hash_bytes(uint64_t h, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = rt_hash_add(h, (unsigned char)s[i]);
	return h;
}

static uint64_t hash_id(int32_t id)
{
	return rt_hash_finish((uint64_t)(uint32_t)id * 0x9E3779B97F4A7C15u);
}

static void place(struct rt_vocab *v, uint32_t index)
{
	const struct rt_vocab_entry *e = &v->entries[index];
	size_t mask = v->slots - 1;
	size_t i = rt_hash_finish(rt_hash_bytes(v->seed, v->bytes.data + e->at, e->len)) & mask;

	while (v->by_text[i]) {
		const struct rt_vocab_entry *there = &v->entries[v->by_text[i] - 1];

		if (there->len == e->len &&
		    memcmp(v->bytes.data + there->at, v->bytes.data + e->at, e->len) == 0)
			break; /* the later one hides it */
		i = (i + 1) & mask;
	}
	v->by_text[i] = index + 1;
	i = hash_id(e->id) & mask;
	while (v->by_id[i])
		i = (i + 1) & mask;
	v->by_id[i] = index + 1;
}

static int grow(struct rt_vocab *v)
{
	size_t slots = v->slots ? v->slots * 2 : 256, cap = slots / 2;
	struct rt_vocab_entry *entries = realloc(v->entries, cap * sizeof *entries);
	uint32_t *by_text = calloc(slots, sizeof *by_text), *by_id = calloc(slots, sizeof *by_id);

	if (entries)
		v->entries = entries;
	if (!entries || !by_text || !by_id) {
		free(by_text);
		free(by_id);
		return -1;
	}
	free(v->by_text);
	free(v->by_id);
	v->by_text = by_text;
	v->by_id = by_id;
	v->slots = slots;
	v->cap = cap;
	for (uint32_t i = 0; i < v->n; i++)
		place(v, i);
	return 0;
}

int rt_vocab_add(struct rt_vocab *v, const char *text, size_t len, int32_t id, bool same_text,
		 struct rt_err *err)
{
	if (!same_text && rt_vocab_find(v, text, len) >= 0)
		return rt_fail(err, RT_INVALID, "the vocabulary has '%.*s' twice", len > 60 ? 60 : (int)len,
			       text);
	if (!same_text && rt_vocab_find_id(v, id) >= 0)
		return rt_fail(err, RT_INVALID, "the vocabulary has the id %d twice, '%.*s' is the second",
			       (int)id, len > 60 ? 60 : (int)len, text);
	if (v->bytes.len + len + 1 > UINT32_MAX || v->n >= INT32_MAX / 2)
		return rt_fail(err, RT_TOO_LARGE, "the vocabulary is too large");
	if (v->n == v->cap && grow(v) < 0)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the vocabulary");
	v->entries[v->n] =
		(struct rt_vocab_entry){ .at = (uint32_t)v->bytes.len, .len = (uint32_t)len, .id = id };
	rt_buf_add(&v->bytes, text, len);
	rt_buf_char(&v->bytes, '\0');
	if (rt_buf_check(&v->bytes, err) < 0)
		return -1;
	place(v, (uint32_t)v->n);
	v->n++;
	if (len > v->longest)
		v->longest = len;
	if (id > v->max_id)
		v->max_id = id;
	return 0;
}

int rt_vocab_check_piece(const char *text, size_t len, struct rt_err *err)
{
	if (len <= RT_VOCAB_PIECE_MAX)
		return 0;
	return rt_fail(err, RT_UNSUPPORTED, "the token '%.60s…' has %zu bytes, more than %d", text, len,
		       RT_VOCAB_PIECE_MAX);
}

int32_t rt_vocab_find_hashed(const struct rt_vocab *v, uint64_t finished, const char *prefix,
			     size_t prefix_len, const char *rest, size_t rest_len)
{
	size_t mask = v->slots - 1;

	if (v->n == 0)
		return -1;
	for (size_t i = finished & mask; v->by_text[i]; i = (i + 1) & mask) {
		const struct rt_vocab_entry *e = &v->entries[v->by_text[i] - 1];
		const char *text = v->bytes.data + e->at;

		if (e->len == prefix_len + rest_len &&
		    (prefix_len == 0 || memcmp(text, prefix, prefix_len) == 0) &&
		    (rest_len == 0 || memcmp(text + prefix_len, rest, rest_len) == 0))
			return (int32_t)(v->by_text[i] - 1);
	}
	return -1;
}

int32_t rt_vocab_find(const struct rt_vocab *v, const char *text, size_t len)
{
	if (v->n == 0 || len > v->longest)
		return -1;
	return rt_vocab_find_hashed(v, rt_hash_finish(rt_hash_bytes(v->seed, text, len)), NULL, 0, text, len);
}

int32_t rt_vocab_find_id(const struct rt_vocab *v, int32_t id)
{
	size_t mask = v->slots - 1;

	if (v->n == 0)
		return -1;
	for (size_t i = hash_id(id) & mask; v->by_id[i]; i = (i + 1) & mask)
		if (v->entries[v->by_id[i] - 1].id == id)
			return (int32_t)(v->by_id[i] - 1);
	return -1;
}

const char *rt_vocab_text(const struct rt_vocab *v, int32_t index, size_t *ret_len)
{
	*ret_len = v->entries[index].len;
	return v->bytes.data + v->entries[index].at;
}
