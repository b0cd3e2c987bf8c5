/* SPDX-License-Identifier: Apache-2.0 */
/* Unigram: of all ways to cut a word into pieces, the one whose scores add up to most (Viterbi). */
#include <math.h>
#include <stdlib.h>

#include "worker/text/unicode.h"
#include "worker/text/wordmodel.h"

/* The best way to reach a byte of the word. */
struct node {
	double score;
	int32_t entry; /* the last piece; the unknown one for a character of no piece */
	uint32_t from, next;
	bool reached;
};

int rt_unigram_read(struct rt_wordmodel *m, const json_t *json, struct rt_err *err)
{
	const json_t *vocab = json_object_get(json, "vocab");
	size_t n = json_array_size(vocab);
	int64_t unk_id = -1;

	if (!json_is_array(vocab))
		return rt_fail(err, RT_INVALID, "vocab must be an array");
	if (rt_json_get_i64(json, "unk_id", &unk_id, err) < 0)
		return -1;
	if (json_object_get(json, "unk_id") && !json_is_null(json_object_get(json, "unk_id")) &&
	    (unk_id < 0 || (uint64_t)unk_id >= n))
		return rt_fail(err, RT_INVALID, "unk_id is %lld and the vocabulary has %zu pieces",
			       (long long)unk_id, n);
	m->scores = malloc((n + 1) * sizeof *m->scores);
	if (!m->scores)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the vocabulary");
	if (rt_trie_init(&m->trie, err) < 0)
		return -1;
	m->min_score = INFINITY;
	for (size_t i = 0; i < n; i++) {
		const json_t *pair = json_array_get(vocab, i), *piece = json_array_get(pair, 0),
			     *score = json_array_get(pair, 1);

		if (json_array_size(pair) != 2 || !json_is_string(piece) || !json_is_number(score))
			return rt_fail(err, RT_INVALID, "entry %zu of the vocabulary must be [piece, score]",
				       i);
		if (rt_vocab_check_piece(json_string_value(piece), json_string_length(piece), err) < 0 ||
		    rt_vocab_add(&m->vocab, json_string_value(piece), json_string_length(piece), (int32_t)i,
				 true, err) < 0)
			return -1;
		if (json_string_length(piece) > 0 &&
		    rt_trie_add(&m->trie, json_string_value(piece), json_string_length(piece), (int32_t)i,
				err) < 0)
			return -1;
		m->scores[i] = json_number_value(score);
		m->min_score = fmin(m->min_score, m->scores[i]);
	}
	m->unk_entry = (int32_t)unk_id;
	rt_wordmodel_find_bytes(m);
	return 0;
}

static void offer(struct node *to, double score, int32_t entry, size_t from)
{
	if (!to->reached || score > to->score)
		*to = (struct node){ score, entry, (uint32_t)from, 0, true };
}

static int search(const struct rt_wordmodel *m, const char *word, size_t len, struct node *best,
		  struct rt_err *err)
{
	unsigned step;

	for (size_t at = 0; at < len; at += step) {
		double here = best[at].score;
		bool single = false;
		uint32_t node = 0;

		rt_uc_next(word + at, &step);
		for (size_t end = at; end < len;) {
			int32_t entry;

			node = rt_trie_next(&m->trie, node, (unsigned char)word[end++]);
			if (!node)
				break;
			entry = m->trie.values[node];
			if (entry < 0)
				continue;
			offer(&best[end], here + m->scores[entry], entry, at);
			single = single || end - at == step;
		}
		if (single)
			continue;
		if (m->unk_entry < 0)
			return rt_fail(err, RT_INVALID,
				       "the tokenizer met an unknown character and has no unk_id");
		offer(&best[at + step], here + (m->min_score - 10.0), m->unk_entry, at);
	}
	return 0;
}

/* The text from first to end as tokens: a piece, else its bytes, else unknown. */
static void put(const struct rt_wordmodel *m, const char *word, size_t first, size_t end, struct rt_subs *out)
{
	int32_t entry = rt_vocab_find(&m->vocab, word + first, end - first);
	bool bytes = m->byte_fallback;

	if (entry >= 0) {
		rt_subs_add(out, entry, entry, first, end);
		return;
	}
	for (size_t i = first; i < end && bytes; i++)
		bytes = m->by_byte[(unsigned char)word[i]] >= 0;
	for (size_t i = first; i < end && bytes; i++)
		rt_subs_add(out, m->by_byte[(unsigned char)word[i]], m->by_byte[(unsigned char)word[i]],
			    first, end);
	if (!bytes)
		rt_subs_add(out, m->unk_entry, -1, first, end);
}

int rt_unigram_run(const struct rt_wordmodel *m, const char *word, size_t len, struct rt_subs *out,
		   struct rt_err *err)
{
	struct node *best = calloc(len + 1, sizeof *best);
	size_t end;

	if (!best)
		return rt_fail(err, RT_NO_MEMORY, "no memory to tokenize a word");
	if (search(m, word, len, best, err) < 0) {
		free(best);
		return -1;
	}
	for (size_t to = len; to > 0; to = best[to].from)
		best[best[to].from].next = (uint32_t)to;
	for (size_t at = 0; at < len; at = end) {
		end = best[at].next;
		/* neighbours that are unknown are one token */
		while (best[end].entry == m->unk_entry && end < len &&
		       best[best[end].next].entry == m->unk_entry)
			end = best[end].next;
		put(m, word, at, end, out);
	}
	free(best);
	return 0;
}
