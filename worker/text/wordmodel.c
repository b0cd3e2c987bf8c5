/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/wordmodel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/text/component.h"
#include "worker/text/tokenizer.h"
#include "worker/text/unicode.h"

/* A word that was seen, with its tokens. */
struct rt_remembered {
	uint64_t hash;
	uint32_t len, n;
	struct rt_sub subs[]; /* then the word's bytes */
};
#ifndef RT_WORD_MEMORY_BITS /* fuzzers open a tokenizer for each input and want less to clear */
#define RT_WORD_MEMORY_BITS 16
#endif
enum { MEMORY_SLOTS = 1 << RT_WORD_MEMORY_BITS, MEMORY_PROBES = 4, WORD_MAX = 128, SUBS_MAX = 48 };

void rt_subs_add(struct rt_subs *s, int32_t id, int32_t entry, size_t first, size_t end)
{
	if (s->n == s->cap && !s->failed) {
		size_t cap = s->cap ? s->cap * 2 : 64;
		struct rt_sub *list = realloc(s->list, cap * sizeof *list);

		if (list) {
			s->list = list;
			s->cap = cap;
		} else {
			s->failed = true;
		}
	}
	if (!s->failed)
		s->list[s->n++] = (struct rt_sub){ id, entry, (uint32_t)first, (uint32_t)end };
}

void rt_wordmodel_free(struct rt_wordmodel *m)
{
	if (!m)
		return;
	for (size_t i = 0; m->memory && i < MEMORY_SLOTS; i++)
		free(atomic_load(&m->memory[i]));
	free((void *)m->memory);
	rt_vocab_release(&m->vocab);
	rt_trie_release(&m->trie);
	free(m->unk);
	free(m->prefix);
	free(m->suffix);
	free(m->merges);
	free(m->scores);
	free(m);
}

static int read_option(const json_t *json, const char *key, const char *otherwise, char **ret,
		       size_t *ret_len, struct rt_err *err)
{
	const char *text = otherwise ? otherwise : "";
	const json_t *v = json_object_get(json, key);

	*ret_len = strlen(text);
	if (rt_component_text(json, key, &text, ret_len, err) < 0)
		return -1;
	if (!otherwise && (!v || json_is_null(v)))
		return 0; /* none at all */
	*ret = malloc(*ret_len + 1);
	if (!*ret)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the model");
	memcpy(*ret, text, *ret_len + 1);
	return 0;
}

/* {"token": id…} */
static int read_vocab(struct rt_wordmodel *m, const json_t *json, struct rt_err *err)
{
	json_t *vocab = json_object_get(json, "vocab");

	if (!json_is_object(vocab))
		return rt_fail(err, RT_INVALID, "vocab must be an object");
	for (void *it = json_object_iter(vocab); it; it = json_object_iter_next(vocab, it)) {
		const char *key = json_object_iter_key(it);
		size_t len = json_object_iter_key_len(it);
		const json_t *id = json_object_iter_value(it);

		if (!json_is_integer(id) || json_integer_value(id) < 0 ||
		    json_integer_value(id) > RT_TOKENIZER_ID_MAX)
			return rt_fail(err, RT_INVALID, "the id of '%.*s' must be an integer from 0 to %d",
				       len > 60 ? 60 : (int)len, key, RT_TOKENIZER_ID_MAX);
		if (m->kind == RT_WORDPIECE && rt_vocab_check_piece(key, len, err) < 0)
			return -1;
		if (rt_vocab_add(&m->vocab, key, len, (int32_t)json_integer_value(id), false, err) < 0)
			return -1;
	}
	return 0;
}

/* Older files have no type: their fields tell. */
static const char *guess_type(const json_t *json)
{
	if (json_object_get(json, "merges"))
		return "BPE";
	if (json_is_array(json_object_get(json, "vocab")))
		return "Unigram";
	return json_object_get(json, "max_input_chars_per_word") ||
			       json_object_get(json, "continuing_subword_prefix")
		       ? "WordPiece"
		       : "WordLevel";
}

void rt_wordmodel_find_bytes(struct rt_wordmodel *m)
{
	for (unsigned b = 0; b < 256; b++) {
		char name[8];

		snprintf(name, sizeof name, "<0x%02X>", b);
		m->by_byte[b] = rt_vocab_find(&m->vocab, name, 6);
	}
}

static int read_model(struct rt_wordmodel *m, const char *type, const json_t *json, struct rt_err *err)
{
	const char *unk = NULL;

	if (strcmp(type, "BPE") == 0) {
		m->kind = RT_BPE;
	} else if (strcmp(type, "WordPiece") == 0) {
		m->kind = RT_WORDPIECE;
		unk = "[UNK]";
	} else if (strcmp(type, "Unigram") == 0) {
		m->kind = RT_UNIGRAM;
	} else if (strcmp(type, "WordLevel") == 0) {
		m->kind = RT_WORDLEVEL;
		unk = "<unk>";
	} else {
		return rt_fail(err, RT_UNSUPPORTED, "unknown model '%s'", type);
	}
	m->max_chars = 100;
	if (read_option(json, "unk_token", unk, &m->unk, &m->unk_len, err) < 0 ||
	    read_option(json, "continuing_subword_prefix", m->kind == RT_WORDPIECE ? "##" : "", &m->prefix,
			&m->prefix_len, err) < 0 ||
	    read_option(json, "end_of_word_suffix", "", &m->suffix, &m->suffix_len, err) < 0 ||
	    rt_json_get_bool(json, "fuse_unk", &m->fuse_unk, err) < 0 ||
	    rt_json_get_bool(json, "byte_fallback", &m->byte_fallback, err) < 0 ||
	    rt_json_get_bool(json, "ignore_merges", &m->ignore_merges, err) < 0 ||
	    rt_json_get_i64(json, "max_input_chars_per_word", &m->max_chars, err) < 0)
		return -1;
	if (m->max_chars < 0)
		return rt_fail(err, RT_INVALID, "max_input_chars_per_word must not be negative");
	if (m->kind == RT_UNIGRAM)
		return rt_unigram_read(m, json, err);
	if (read_vocab(m, json, err) < 0)
		return -1;
	m->unk_entry = m->unk ? rt_vocab_find(&m->vocab, m->unk, m->unk_len) : -1;
	return m->kind == RT_BPE ? rt_bpe_read(m, json, err) : 0;
}

int rt_wordmodel_new(const json_t *json, struct rt_wordmodel **ret, struct rt_err *err)
{
	struct rt_wordmodel *m;
	const char *type = NULL;

	if (!json_is_object(json))
		return rt_fail(err, RT_INVALID, "the model must be an object");
	if (rt_json_get_str(json, "type", &type, err) < 0)
		return rt_fail_in(err, "model");
	if (!type)
		type = guess_type(json);
	m = calloc(1, sizeof *m);
	if (!m)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the model");
	rt_vocab_init(&m->vocab);
	m->unk_entry = -1;
	m->memory = calloc(MEMORY_SLOTS, sizeof *m->memory);
	if (!m->memory) {
		rt_wordmodel_free(m);
		return rt_fail(err, RT_NO_MEMORY, "no memory for the model");
	}
	if (read_model(m, type, json, err) < 0) {
		if (!err || err->code != RT_UNSUPPORTED)
			rt_fail_in(err, "model %s", type);
		rt_wordmodel_free(m);
		return -1;
	}
	*ret = m;
	return 0;
}

static int run_wordlevel(const struct rt_wordmodel *m, const char *word, size_t len, struct rt_subs *out,
			 struct rt_err *err)
{
	int32_t entry = rt_vocab_find(&m->vocab, word, len);

	if (entry < 0)
		entry = m->unk_entry;
	if (entry < 0)
		return rt_fail(err, RT_INVALID, "the tokenizer's unknown token '%s' is not in its vocabulary",
			       m->unk);
	rt_subs_add(out, m->vocab.entries[entry].id, entry, 0, len);
	return 0;
}

static const char *word_of(const struct rt_remembered *r)
{
	return (const char *)(r->subs + r->n);
}

static bool recall(const struct rt_wordmodel *m, uint64_t hash, const char *word, size_t len,
		   struct rt_subs *out)
{
	for (unsigned i = 0; i < MEMORY_PROBES; i++) {
		const struct rt_remembered *r =
			atomic_load_explicit(&m->memory[(hash + i) % MEMORY_SLOTS], memory_order_acquire);

		if (!r)
			return false;
		if (r->hash != hash || r->len != len || memcmp(word_of(r), word, len) != 0)
			continue;
		for (uint32_t k = 0; k < r->n; k++)
			rt_subs_add(out, r->subs[k].id, r->subs[k].entry, r->subs[k].first, r->subs[k].end);
		return true;
	}
	return false;
}

static void remember(const struct rt_wordmodel *m, uint64_t hash, const char *word, size_t len,
		     const struct rt_subs *s)
{
	struct rt_remembered *r;

	if (s->n > SUBS_MAX || s->failed)
		return;
	for (unsigned i = 0; i < MEMORY_PROBES; i++) {
		struct rt_remembered *none = NULL;

		if (atomic_load_explicit(&m->memory[(hash + i) % MEMORY_SLOTS], memory_order_relaxed))
			continue;
		r = malloc(sizeof *r + s->n * sizeof *s->list + len);
		if (!r)
			return;
		r->hash = hash;
		r->len = (uint32_t)len;
		r->n = (uint32_t)s->n;
		if (s->n > 0)
			memcpy(r->subs, s->list, s->n * sizeof *s->list);
		memcpy(r->subs + s->n, word, len);
		/* another thread may have been faster: then this word is not remembered here */
		if (!atomic_compare_exchange_strong(&m->memory[(hash + i) % MEMORY_SLOTS], &none, r))
			free(r);
		return;
	}
}

int rt_wordmodel_run(const struct rt_wordmodel *m, const char *word, size_t len, struct rt_subs *out,
		     struct rt_err *err)
{
	uint64_t hash = 0;
	int rc = 0;

	out->n = 0;
	if (len == 0)
		return 0;
	if (m->kind == RT_WORDLEVEL)
		return run_wordlevel(m, word, len, out, err);
	if (len <= WORD_MAX) {
		hash = rt_hash_finish(rt_hash_bytes(m->vocab.seed, word, len));
		if (recall(m, hash, word, len, out))
			return out->failed ? rt_fail(err, RT_NO_MEMORY, "no memory to tokenize a word") : 0;
	}
	if (m->kind == RT_BPE)
		rc = rt_bpe_run(m, word, len, out, err);
	else if (m->kind == RT_WORDPIECE)
		rc = rt_wordpiece_run(m, word, len, out, err);
	else
		rc = rt_unigram_run(m, word, len, out, err);
	if (rc == 0 && out->failed)
		rc = rt_fail(err, RT_NO_MEMORY, "no memory to tokenize a word");
	if (rc == 0 && len <= WORD_MAX)
		remember(m, hash, word, len, out);
	return rc;
}

static int by_id(const void *a, const void *b)
{
	const struct rt_vocab_entry *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

void rt_wordmodel_describe(const struct rt_wordmodel *m, struct rt_buf *out)
{
	rt_buf_fmt(out, "model %d unk %s %d %zu:%s %zu:%s fuse %d bytes %d whole %d max %lld\n", (int)m->kind,
		   m->unk ? m->unk : "-", m->unk_entry < 0 ? -1 : (int)m->vocab.entries[m->unk_entry].id,
		   m->prefix_len, m->prefix, m->suffix_len, m->suffix, m->fuse_unk, m->byte_fallback,
		   m->ignore_merges, (long long)m->max_chars);
	if (m->kind == RT_BPE)
		rt_bpe_describe(m, out);
}

void rt_wordmodel_describe_vocab(const struct rt_wordmodel *m, struct rt_buf *out)
{
	struct rt_vocab_entry *sorted = malloc((m->vocab.n + 1) * sizeof *sorted);

	if (!sorted) {
		out->failed = true;
		return;
	}
	if (m->vocab.n > 0)
		memcpy(sorted, m->vocab.entries, m->vocab.n * sizeof *sorted);
	qsort(sorted, m->vocab.n, sizeof *sorted, by_id);
	for (size_t i = 0; i < m->vocab.n; i++) {
		rt_buf_fmt(out, "%d ", (int)sorted[i].id);
		rt_buf_add(out, m->vocab.bytes.data + sorted[i].at, sorted[i].len + 1);
		if (m->kind == RT_UNIGRAM) /* entries stand in the order of their ids */
			rt_buf_fmt(out, "%a", m->scores[i]);
	}
	free(sorted);
}
