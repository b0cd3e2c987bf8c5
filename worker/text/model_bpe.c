/* SPDX-License-Identifier: Apache-2.0 */
/* Byte-pair encoding: a word begins as its characters; the pair with the lowest rank, the leftmost of several, becomes
 * one, until no pair has a rank. */
#include <stdlib.h>
#include <string.h>

#include "worker/text/unicode.h"
#include "worker/text/wordmodel.h"

enum { SMALL = 64 };

struct symbol {
	int32_t entry;
	uint32_t len;	    /* bytes of the word; 0: merged into the one before it */
	int32_t prev, next; /* -1: none */
};

struct symbols {
	struct symbol few[SMALL], *list;
	size_t n, cap;
	bool failed;
};

/* A merge that waits in the heap. */
struct waiting {
	uint32_t rank, to;
	int32_t at;
};

static size_t merge_slot(const struct rt_wordmodel *m, uint64_t pair)
{
	return (size_t)rt_hash_finish(pair * 0x9E3779B97F4A7C15u) & (m->merge_slots - 1);
}

static const struct rt_bpe_merge *find_merge(const struct rt_wordmodel *m, int32_t a, int32_t b)
{
	uint64_t pair = (uint64_t)(uint32_t)a << 32 | (uint32_t)b;

	if (m->merge_slots == 0)
		return NULL;
	for (size_t i = merge_slot(m, pair); m->merges[i].rank != UINT32_MAX;
	     i = (i + 1) & (m->merge_slots - 1))
		if (m->merges[i].pair == pair)
			return &m->merges[i];
	return NULL;
}

static void place_merge(struct rt_wordmodel *m, struct rt_bpe_merge merge)
{
	size_t i = merge_slot(m, merge.pair);

	while (m->merges[i].rank != UINT32_MAX && m->merges[i].pair != merge.pair)
		i = (i + 1) & (m->merge_slots - 1);
	m->merge_count += m->merges[i].rank == UINT32_MAX;
	m->merges[i] = merge;
}

static int grow_merges(struct rt_wordmodel *m, struct rt_err *err)
{
	size_t slots = m->merge_slots ? 2 * m->merge_slots : 256, old_slots = m->merge_slots;
	struct rt_bpe_merge *old = m->merges, *merges = malloc(slots * sizeof *merges);

	if (!merges)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the merges");
	for (size_t i = 0; i < slots; i++)
		merges[i].rank = UINT32_MAX;
	m->merges = merges;
	m->merge_slots = slots;
	m->merge_count = 0;
	for (size_t i = 0; i < old_slots; i++)
		if (old[i].rank != UINT32_MAX)
			place_merge(m, old[i]);
	free(old);
	return 0;
}

static int find_part(const struct rt_wordmodel *m, uint32_t rank, const char *part, size_t len, int32_t *ret,
		     struct rt_err *err)
{
	*ret = rt_vocab_find(&m->vocab, part, len);
	if (*ret >= 0)
		return 0;
	return rt_fail(err, RT_INVALID, "merge %u needs the token '%.*s', which is not in the vocabulary",
		       rank, len > 60 ? 60 : (int)len, part);
}

int rt_bpe_add_merge(struct rt_wordmodel *m, const char *a, size_t a_len, const char *b, size_t b_len,
		     uint32_t rank, struct rt_err *err)
{
	struct rt_buf whole = RT_BUF_INIT;
	int32_t left, right, to;
	int rc = -1;

	if (find_part(m, rank, a, a_len, &left, err) < 0 || find_part(m, rank, b, b_len, &right, err) < 0)
		return -1;
	if (b_len < m->prefix_len)
		return rt_fail(err, RT_INVALID,
			       "the second part of merge %u is shorter than continuing_subword_prefix", rank);
	if (2 * (m->merge_count + 1) > m->merge_slots && grow_merges(m, err) < 0)
		return -1;
	rt_buf_add(&whole, a, a_len);
	rt_buf_add(&whole, b + m->prefix_len, b_len - m->prefix_len);
	if (rt_buf_check(&whole, err) == 0 &&
	    find_part(m, rank, rt_buf_text(&whole), whole.len, &to, err) == 0) {
		place_merge(m, (struct rt_bpe_merge){ (uint64_t)(uint32_t)left << 32 | (uint32_t)right, rank,
						      (uint32_t)to });
		rc = 0;
	}
	rt_buf_release(&whole);
	return rc;
}

static int read_merge(struct rt_wordmodel *m, const json_t *merge, uint32_t rank, struct rt_err *err)
{
	const json_t *a = json_array_get(merge, 0), *b = json_array_get(merge, 1);
	const char *text = json_string_value(merge), *space;
	size_t len = json_string_length(merge);

	if (json_is_string(merge)) {
		space = memchr(text, ' ', len);
		if (space && !memchr(space + 1, ' ', len - (size_t)(space + 1 - text)))
			return rt_bpe_add_merge(m, text, (size_t)(space - text), space + 1,
						len - (size_t)(space + 1 - text), rank, err);
	} else if (json_array_size(merge) == 2 && json_is_string(a) && json_is_string(b)) {
		return rt_bpe_add_merge(m, json_string_value(a), json_string_length(a), json_string_value(b),
					json_string_length(b), rank, err);
	}
	return rt_fail(err, RT_INVALID, "merge %u must be \"a b\" or [\"a\", \"b\"]", rank);
}

/* Tables for what is looked up most. */
static void find_chars(struct rt_wordmodel *m)
{
	for (uint32_t cp = 0; cp < sizeof m->by_char / sizeof *m->by_char; cp++) {
		char utf8[4];

		m->by_char[cp] = rt_vocab_find(&m->vocab, utf8, rt_uc_put(utf8, cp));
	}
	rt_wordmodel_find_bytes(m);
}

int rt_bpe_read(struct rt_wordmodel *m, const json_t *json, struct rt_err *err)
{
	const json_t *merges = json_object_get(json, "merges"), *merge;
	double dropout = 0;
	uint32_t rank = 0;
	size_t i;

	if (rt_json_get_real(json, "dropout", &dropout, err) < 0)
		return -1;
	if (dropout != 0)
		return rt_fail(err, RT_UNSUPPORTED, "model BPE: dropout of merges is not supported (got %g)",
			       dropout);
	if (!json_is_array(merges))
		return rt_fail(err, RT_INVALID, "merges must be an array");
	json_array_foreach(merges, i, merge)
	{
		if (json_is_string(merge) && strncmp(json_string_value(merge), "#version", 8) == 0)
			continue;
		if (read_merge(m, merge, rank++, err) < 0)
			return -1;
	}
	find_chars(m);
	return 0;
}

void rt_bpe_describe(const struct rt_wordmodel *m, struct rt_buf *out)
{
	uint64_t sum = 0, mix = 0;

	/* the table has no order worth keeping: add up a hash of every merge, by ids */
	for (size_t i = 0; i < m->merge_slots; i++) {
		const struct rt_bpe_merge *merge = &m->merges[i];
		uint64_t h;

		if (merge->rank == UINT32_MAX)
			continue;
		h = (uint64_t)(uint32_t)m->vocab.entries[merge->pair >> 32].id << 32 |
		    (uint32_t)m->vocab.entries[merge->pair & UINT32_MAX].id;
		h = rt_hash_finish(h * 0x9E3779B97F4A7C15u + merge->rank);
		sum += h;
		mix += rt_hash_finish(h ^ (uint64_t)(uint32_t)m->vocab.entries[merge->to].id *
						  0xBF58476D1CE4E5B9u);
	}
	rt_buf_fmt(out, "merges %zu %016llx %016llx\n", m->merge_count, (unsigned long long)sum,
		   (unsigned long long)mix);
}

static void add_symbol(struct symbols *s, int32_t entry, size_t len)
{
	if (s->n == s->cap && !s->failed) {
		struct symbol *list = malloc(2 * s->cap * sizeof *list);

		if (list) {
			memcpy(list, s->list, s->n * sizeof *list);
			if (s->list != s->few)
				free(s->list);
			s->list = list;
			s->cap *= 2;
		} else {
			s->failed = true;
		}
	}
	if (s->failed)
		return;
	s->list[s->n] = (struct symbol){ entry, (uint32_t)len, (int32_t)s->n - 1, (int32_t)s->n + 1 };
	s->n++;
}

/* The entry of the character at word[at], with the prefix or suffix that its place asks for. */
static int32_t find_char(const struct rt_wordmodel *m, const char *word, size_t len, size_t at, unsigned step,
			 struct rt_buf *scratch)
{
	bool prefix = at > 0 && m->prefix_len > 0, suffix = at + step == len && m->suffix_len > 0;
	unsigned same;
	uint32_t cp;

	rt_buf_clear(scratch);
	if (!prefix && !suffix) {
		cp = rt_uc_next(word + at, &same);
		return cp < sizeof m->by_char / sizeof *m->by_char
			       ? m->by_char[cp]
			       : rt_vocab_find(&m->vocab, word + at, step);
	}
	if (prefix)
		rt_buf_add(scratch, m->prefix, m->prefix_len);
	rt_buf_add(scratch, word + at, step);
	if (suffix)
		rt_buf_add(scratch, m->suffix, m->suffix_len);
	return scratch->failed ? -1 : rt_vocab_find(&m->vocab, scratch->data, scratch->len);
}

/* "<0x41>" tokens for an unknown character; false if not all are there. */
static bool add_bytes(const struct rt_wordmodel *m, const char *s, size_t n, struct symbols *out)
{
	for (size_t i = 0; i < n; i++)
		if (m->by_byte[(unsigned char)s[i]] < 0)
			return false;
	for (size_t i = 0; i < n; i++)
		add_symbol(out, m->by_byte[(unsigned char)s[i]], 1);
	return true;
}

static int to_symbols(const struct rt_wordmodel *m, const char *word, size_t len, struct symbols *out,
		      struct rt_err *err)
{
	struct rt_buf scratch = RT_BUF_INIT;
	size_t unk_len = 0; /* bytes of an unknown token that waits: more may join it */
	bool unk = false;
	unsigned step;
	int rc = 0;

	for (size_t at = 0; at < len && rc == 0; at += step) {
		int32_t entry;

		rt_uc_next(word + at, &step);
		entry = find_char(m, word, len, at, step, &scratch);
		if (entry >= 0) {
			if (unk)
				add_symbol(out, m->unk_entry, unk_len);
			unk = false;
			add_symbol(out, entry, step);
			continue;
		}
		if (m->byte_fallback && (scratch.len > 0 ? add_bytes(m, scratch.data, scratch.len, out)
							 : add_bytes(m, word + at, step, out)))
			continue;
		if (!m->unk)
			continue; /* left out */
		if (m->unk_entry < 0) {
			rc = rt_fail(err, RT_INVALID,
				     "the tokenizer's unknown token '%s' is not in its vocabulary", m->unk);
		} else if (unk && m->fuse_unk) {
			unk_len += step;
		} else {
			if (unk)
				add_symbol(out, m->unk_entry, unk_len);
			unk = true;
			unk_len = step;
		}
	}
	if (unk)
		add_symbol(out, m->unk_entry, unk_len);
	if (rc == 0 && (out->failed || scratch.failed))
		rc = rt_fail(err, RT_NO_MEMORY, "no memory to tokenize a word");
	if (out->n > 0)
		out->list[out->n - 1].next = -1;
	rt_buf_release(&scratch);
	return rc;
}

/* Few symbols: look through all pairs for the lowest rank, again and again. */
static void merge_small(const struct rt_wordmodel *m, struct symbols *s)
{
	const struct rt_bpe_merge *merges[SMALL];
	struct symbol *list = s->list;

	for (size_t i = 0; i + 1 < s->n; i++)
		merges[i] = find_merge(m, list[i].entry, list[i + 1].entry);
	while (s->n > 1) {
		size_t best = SIZE_MAX;

		for (size_t i = 0; i + 1 < s->n; i++)
			if (merges[i] && (best == SIZE_MAX || merges[i]->rank < merges[best]->rank))
				best = i;
		if (best == SIZE_MAX)
			break;
		list[best].entry = (int32_t)merges[best]->to;
		list[best].len += list[best + 1].len;
		s->n--;
		memmove(list + best + 1, list + best + 2, (s->n - best - 1) * sizeof *list);
		memmove(merges + best, merges + best + 1,
			(s->n - best) * sizeof(const struct rt_bpe_merge *));
		if (best > 0)
			merges[best - 1] = find_merge(m, list[best - 1].entry, list[best].entry);
		if (best + 1 < s->n)
			merges[best] = find_merge(m, list[best].entry, list[best + 1].entry);
	}
}

struct heap {
	struct waiting *list;
	size_t n, cap;
};

static bool before(const struct waiting *a, const struct waiting *b)
{
	return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

/* Room for all was made at the start: each symbol begins one pair, each merge makes two more. */
static void heap_push(struct heap *h, const struct rt_wordmodel *m, const struct symbols *s, int32_t at)
{
	const struct symbol *a = &s->list[at];
	const struct rt_bpe_merge *merge =
		a->next < 0 ? NULL : find_merge(m, a->entry, s->list[a->next].entry);
	struct waiting w;
	size_t i = h->n;

	if (!merge || h->n == h->cap)
		return;
	w = (struct waiting){ merge->rank, merge->to, at };
	h->n++;
	for (; i > 0 && before(&w, &h->list[(i - 1) / 2]); i = (i - 1) / 2)
		h->list[i] = h->list[(i - 1) / 2];
	h->list[i] = w;
}

static struct waiting heap_pop(struct heap *h)
{
	struct waiting top = h->list[0], last = h->list[--h->n];
	size_t i = 0;

	for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
		if (child + 1 < h->n && before(&h->list[child + 1], &h->list[child]))
			child++;
		if (!before(&h->list[child], &last))
			break;
		h->list[i] = h->list[child];
	}
	h->list[i] = last;
	return top;
}

/* Many symbols: a heap of pairs; a pair that is gone when its turn comes is passed over. */
static int merge_many(const struct rt_wordmodel *m, struct symbols *s, struct rt_err *err)
{
	struct heap h = { NULL, 0, 3 * s->n };
	size_t kept = 0;

	h.list = malloc(h.cap * sizeof *h.list);
	if (!h.list)
		return rt_fail(err, RT_NO_MEMORY, "no memory to tokenize a word");
	for (size_t i = 0; i + 1 < s->n; i++)
		heap_push(&h, m, s, (int32_t)i);
	while (h.n > 0) {
		struct waiting top = heap_pop(&h);
		struct symbol *a = &s->list[top.at], *b;
		const struct rt_bpe_merge *merge;

		if (a->len == 0 || a->next < 0)
			continue;
		b = &s->list[a->next];
		merge = find_merge(m, a->entry, b->entry);
		if (!merge || merge->to != top.to)
			continue;
		a->entry = (int32_t)top.to;
		a->len += b->len;
		a->next = b->next;
		b->len = 0;
		if (b->next >= 0)
			s->list[b->next].prev = top.at;
		if (a->prev >= 0)
			heap_push(&h, m, s, a->prev);
		heap_push(&h, m, s, top.at);
	}
	free(h.list);
	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].len > 0)
			s->list[kept++] = s->list[i];
	s->n = kept;
	return 0;
}

int rt_bpe_run(const struct rt_wordmodel *m, const char *word, size_t len, struct rt_subs *out,
	       struct rt_err *err)
{
	struct symbols s = { .cap = SMALL };
	size_t at = 0;
	int rc = 0;

	s.list = s.few;
	if (m->ignore_merges) {
		int32_t entry = rt_vocab_find(&m->vocab, word, len);

		if (entry >= 0) {
			rt_subs_add(out, m->vocab.entries[entry].id, entry, 0, len);
			return 0;
		}
	}
	rc = to_symbols(m, word, len, &s, err);
	if (rc == 0 && s.n <= SMALL)
		merge_small(m, &s);
	else if (rc == 0)
		rc = merge_many(m, &s, err);
	for (size_t i = 0; i < s.n && rc == 0; i++) {
		rt_subs_add(out, m->vocab.entries[s.list[i].entry].id, s.list[i].entry, at,
			    at + s.list[i].len);
		at += s.list[i].len;
	}
	if (s.list != s.few)
		free(s.list);
	return rc;
}
