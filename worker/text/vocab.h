/* SPDX-License-Identifier: Apache-2.0 */
/* A vocabulary: strings with their ids, found by string or by id. Entries have dense indexes 0, 1, 2… in the order of
 * adding, so that memory follows the number of entries and not the ids that a file claims. */
#ifndef RT_TEXT_VOCAB_H
#define RT_TEXT_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct rt_vocab_entry {
	uint32_t at, len; /* where its bytes stand */
	int32_t id;
};

struct rt_vocab {
	struct rt_buf bytes; /* the strings, each followed by a NUL */
	struct rt_vocab_entry *entries;
	size_t n, cap;
	uint32_t *by_text, *by_id; /* open addressing: index + 1, or 0 */
	size_t slots;		   /* a power of two */
	uint64_t seed;
	size_t longest; /* bytes of the longest entry */
	int32_t max_id; /* -1 while empty */
};

void rt_vocab_init(struct rt_vocab *v);
void rt_vocab_release(struct rt_vocab *v);
/* Adds an entry and writes its index. A string or an id that is there already is RT_INVALID, unless same_text:
 * then a later entry with the same string hides the earlier one, and ids are not looked at. */
int rt_vocab_add(struct rt_vocab *v, const char *text, size_t len, int32_t id, bool same_text,
		 struct rt_err *err);
#define RT_VOCAB_PIECE_MAX 2048
/* Refuses a piece of more bytes than that, RT_UNSUPPORTED: where pieces are looked for from each byte of a text, a long one
 * may be walked along from each. The longest known are a few hundred bytes. */
int rt_vocab_check_piece(const char *text, size_t len, struct rt_err *err);
int32_t rt_vocab_find(const struct rt_vocab *v, const char *text, size_t len); /* index, or -1 */
int32_t rt_vocab_find_id(const struct rt_vocab *v, int32_t id);		       /* index, or -1 */
const char *rt_vocab_text(const struct rt_vocab *v, int32_t index,
			  size_t *ret_len); /* borrowed, NUL behind it */

/* The hash, for those who walk a word: start with rt_hash_start, add bytes, then finish. */
static inline uint64_t rt_hash_add(uint64_t h, unsigned char byte)
{
	return (h ^ byte) * 0x100000001B3u;
}
static inline uint64_t rt_hash_finish(uint64_t h)
{
	h ^= h >> 32;
	h *= 0xD6E8FEB86659FD93u;
	return h ^ h >> 32;
}
uint64_t rt_hash_bytes(uint64_t h, const char *s, size_t n); /* adds n bytes, does not finish */
/* rt_vocab_find for a string that is prefix then rest, with the finished hash of both from v->seed. */
int32_t rt_vocab_find_hashed(const struct rt_vocab *v, uint64_t finished, const char *prefix,
			     size_t prefix_len, const char *rest, size_t rest_len);

#endif
