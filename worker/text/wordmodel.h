/* SPDX-License-Identifier: Apache-2.0 */
/* The models that cut a word into tokens of a vocabulary: BPE, WordPiece, Unigram, WordLevel. Thread-safe: words that
 * were seen are remembered in a table that threads share without locks and that only grows, up to a limit. */
#ifndef RT_TEXT_WORDMODEL_H
#define RT_TEXT_WORDMODEL_H

#include <stdatomic.h>

#include "base/json.h"
#include "worker/text/trie.h"
#include "worker/text/vocab.h"

/* One token of a word. */
struct rt_sub {
	int32_t id;
	int32_t entry; /* its string is this entry of the vocabulary; -1: its string is the text it stands for */
	uint32_t first, end; /* bytes of the word */
};
struct rt_subs {
	struct rt_sub *list;
	size_t n, cap;
	bool failed;
};
void rt_subs_add(struct rt_subs *s, int32_t id, int32_t entry, size_t first, size_t end);

struct rt_bpe_merge {
	uint64_t pair; /* left entry << 32 | right entry */
	uint32_t rank; /* UINT32_MAX: a free slot */
	uint32_t to;   /* entry */
};

struct rt_wordmodel {
	enum rt_wordmodel_kind { RT_BPE, RT_WORDPIECE, RT_UNIGRAM, RT_WORDLEVEL } kind;
	struct rt_vocab vocab;
	char *unk; /* NULL: none */
	size_t unk_len;
	int32_t unk_entry;	      /* -1: not in the vocabulary */
	bool fuse_unk, byte_fallback; /* BPE, Unigram */
	char *prefix, *suffix;	      /* of words' parts; "" for none */
	size_t prefix_len, suffix_len;
	/* BPE */
	bool ignore_merges;
	struct rt_bpe_merge *merges; /* open addressing */
	size_t merge_slots, merge_count;
	int32_t by_char[512]; /* entry of each of the first characters, without prefix and suffix */
	int32_t by_byte[256]; /* entry of "<0x00>"…; -1: none */
	/* WordPiece */
	int64_t max_chars;
	/* Unigram */
	struct rt_trie trie;
	double *scores; /* one an entry */
	double min_score;
	_Atomic(struct rt_remembered *) *memory;
};

/* json: borrowed, the "model". *ret: new, rt_wordmodel_free. RT_UNSUPPORTED names an unknown type. */
int rt_wordmodel_new(const json_t *json, struct rt_wordmodel **ret, struct rt_err *err);
void rt_wordmodel_free(struct rt_wordmodel *m);
/* Cuts a word; out's old content is forgotten. RT_INVALID when the unknown token is needed and not there. */
int rt_wordmodel_run(const struct rt_wordmodel *m, const char *word, size_t len, struct rt_subs *out,
		     struct rt_err *err);
/* Append what makes the model, for a fingerprint: its options and merges, and its vocabulary with ids and scores. */
void rt_wordmodel_describe(const struct rt_wordmodel *m, struct rt_buf *out);
void rt_wordmodel_describe_vocab(const struct rt_wordmodel *m, struct rt_buf *out);

/* The kinds' own parts, called by the above. */
int rt_bpe_read(struct rt_wordmodel *m, const json_t *json, struct rt_err *err);
int rt_bpe_run(const struct rt_wordmodel *m, const char *word, size_t len, struct rt_subs *out,
	       struct rt_err *err);
int rt_bpe_add_merge(struct rt_wordmodel *m, const char *a, size_t a_len, const char *b, size_t b_len,
		     uint32_t rank, struct rt_err *err);
void rt_bpe_describe(const struct rt_wordmodel *m, struct rt_buf *out);
int rt_wordpiece_run(const struct rt_wordmodel *m, const char *word, size_t len, struct rt_subs *out,
		     struct rt_err *err);
int rt_unigram_read(struct rt_wordmodel *m, const json_t *json, struct rt_err *err);
int rt_unigram_run(const struct rt_wordmodel *m, const char *word, size_t len, struct rt_subs *out,
		   struct rt_err *err);
void rt_wordmodel_find_bytes(struct rt_wordmodel *m); /* fills by_byte */

#endif
