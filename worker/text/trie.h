/* SPDX-License-Identifier: Apache-2.0 */
/* A set of strings with a number each, to find those that begin at a place in a text. */
#ifndef RT_TEXT_TRIE_H
#define RT_TEXT_TRIE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct rt_trie {
	uint64_t *keys;	   /* open addressing: node << 8 | byte, plus 1; 0: free */
	uint32_t *targets; /* node behind the edge */
	size_t slots, edges;
	int32_t *values; /* one a node; -1: no string ends here */
	size_t nodes, node_cap;
	uint32_t root[256]; /* the root's edges once more; 0: none */
};

int rt_trie_init(struct rt_trie *t, struct rt_err *err);
void rt_trie_release(struct rt_trie *t);
/* value >= 0; a string that is there already takes the new value. */
int rt_trie_add(struct rt_trie *t, const char *s, size_t n, int32_t value, struct rt_err *err);
/* The node behind the edge, 0: none. Begin at node 0. */
uint32_t rt_trie_next(const struct rt_trie *t, uint32_t node, unsigned char byte);
/* The longest string that begins at s: its length, and its value in *ret; 0: none. */
size_t rt_trie_longest(const struct rt_trie *t, const char *s, size_t n, int32_t *ret);

#endif
