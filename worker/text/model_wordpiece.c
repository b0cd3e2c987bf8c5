/* SPDX-License-Identifier: Apache-2.0 */
/* WordPiece: the longest piece that fits, from the left; if nothing fits somewhere, the whole word is unknown. */
#include <stdlib.h>

#include "worker/text/unicode.h"
#include "worker/text/wordmodel.h"

enum { ON_STACK = 128 };

/* The longest piece that begins at first: its entry and *ret_end. hashes: room for the word's bytes. */
static int32_t longest_piece(const struct rt_wordmodel *m, const char *word, size_t len, size_t first,
			     uint64_t *hashes, size_t *ret_end)
{
	size_t prefix_len = first > 0 ? m->prefix_len : 0, most = m->vocab.longest, end;
	uint64_t h = rt_hash_bytes(m->vocab.seed, m->prefix, prefix_len);

	if (most < prefix_len)
		return -1;
	end = len - first > most - prefix_len ? first + (most - prefix_len) : len;
	for (size_t i = first; i < end; i++) {
		h = rt_hash_add(h, (unsigned char)word[i]);
		hashes[i - first] = h;
	}
	for (; end > first; end--) {
		int32_t entry;

		if (end < len && !rt_uc_is_start(word[end]))
			continue;
		entry = rt_vocab_find_hashed(&m->vocab, rt_hash_finish(hashes[end - first - 1]), m->prefix,
					     prefix_len, word + first, end - first);
		if (entry >= 0) {
			*ret_end = end;
			return entry;
		}
	}
	return -1;
}

int rt_wordpiece_run(const struct rt_wordmodel *m, const char *word, size_t len, struct rt_subs *out,
		     struct rt_err *err)
{
	uint64_t few[ON_STACK], *hashes = len <= ON_STACK ? few : malloc(len * sizeof *hashes);
	bool known = (int64_t)rt_uc_count(word, len) <= m->max_chars;
	size_t end = 0;

	if (!hashes)
		return rt_fail(err, RT_NO_MEMORY, "no memory to tokenize a word");
	for (size_t first = 0; known && first < len; first = end) {
		int32_t entry = longest_piece(m, word, len, first, hashes, &end);

		known = entry >= 0;
		if (known)
			rt_subs_add(out, m->vocab.entries[entry].id, entry, first, end);
	}
	if (hashes != few)
		free(hashes);
	if (known)
		return 0;
	if (m->unk_entry < 0)
		return rt_fail(err, RT_INVALID, "the tokenizer's unknown token '%s' is not in its vocabulary",
			       m->unk);
	out->n = 0;
	rt_subs_add(out, m->vocab.entries[m->unk_entry].id, m->unk_entry, 0, len);
	return 0;
}
