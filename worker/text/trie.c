/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/trie.h"

#include <stdlib.h>
#include <string.h>

static size_t slot_of(const struct rt_trie *t, uint64_t key)
{
	uint64_t h = key * 0x9E3779B97F4A7C15u;

	h ^= h >> 29;
	h *= 0xBF58476D1CE4E5B9u;
	return (size_t)(h ^ h >> 32) & (t->slots - 1);
}

static int grow(struct rt_trie *t, struct rt_err *err)
{
	size_t slots = t->slots ? t->slots * 2 : 64, old = t->slots;
	uint64_t *keys = calloc(slots, sizeof *keys), *old_keys = t->keys;
	uint32_t *targets = malloc(slots * sizeof *targets), *old_targets = t->targets;

	if (!keys || !targets) {
		free(keys);
		free(targets);
		return rt_fail(err, RT_NO_MEMORY, "no memory for a trie");
	}
	t->keys = keys;
	t->targets = targets;
	t->slots = slots;
	for (size_t i = 0; i < old; i++) {
		size_t k;

		if (!old_keys[i])
			continue;
		k = slot_of(t, old_keys[i]);
		while (keys[k])
			k = (k + 1) & (slots - 1);
		keys[k] = old_keys[i];
		targets[k] = old_targets[i];
	}
	free(old_keys);
	free(old_targets);
	return 0;
}

static int add_node(struct rt_trie *t, struct rt_err *err)
{
	if (t->nodes == t->node_cap) {
		size_t cap = t->node_cap ? t->node_cap * 2 : 64;
		int32_t *values = realloc(t->values, cap * sizeof *values);

		if (!values)
			return rt_fail(err, RT_NO_MEMORY, "no memory for a trie");
		t->values = values;
		t->node_cap = cap;
	}
	t->values[t->nodes++] = -1;
	return 0;
}

int rt_trie_init(struct rt_trie *t, struct rt_err *err)
{
	memset(t, 0, sizeof *t);
	if (grow(t, err) < 0 || add_node(t, err) < 0) {
		rt_trie_release(t);
		return -1;
	}
	return 0;
}

void rt_trie_release(struct rt_trie *t)
{
	free(t->keys);
	free(t->targets);
	free(t->values);
	memset(t, 0, sizeof *t);
}

uint32_t rt_trie_next(const struct rt_trie *t, uint32_t node, unsigned char byte)
{
	uint64_t key = ((uint64_t)node << 8 | byte) + 1;

	if (node == 0)
		return t->root[byte];
	for (size_t i = slot_of(t, key); t->keys[i]; i = (i + 1) & (t->slots - 1))
		if (t->keys[i] == key)
			return t->targets[i];
	return 0;
}

int rt_trie_add(struct rt_trie *t, const char *s, size_t n, int32_t value, struct rt_err *err)
{
	uint32_t node = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned char byte = (unsigned char)s[i];
		uint32_t next = rt_trie_next(t, node, byte);
		size_t k;

		if (!next) {
			if (t->nodes >= UINT32_MAX)
				return rt_fail(err, RT_TOO_LARGE, "the vocabulary is too large");
			if ((t->edges + 1) * 2 > t->slots && grow(t, err) < 0)
				return -1;
			if (add_node(t, err) < 0)
				return -1;
			next = (uint32_t)(t->nodes - 1);
			k = slot_of(t, ((uint64_t)node << 8 | byte) + 1);
			while (t->keys[k])
				k = (k + 1) & (t->slots - 1);
			t->keys[k] = ((uint64_t)node << 8 | byte) + 1;
			t->targets[k] = next;
			t->edges++;
			if (node == 0)
				t->root[byte] = next;
		}
		node = next;
	}
	t->values[node] = value;
	return 0;
}

size_t rt_trie_longest(const struct rt_trie *t, const char *s, size_t n, int32_t *ret)
{
	uint32_t node = 0;
	size_t longest = 0;

	for (size_t i = 0; i < n; i++) {
		node = rt_trie_next(t, node, (unsigned char)s[i]);
		if (!node)
			break;
		if (t->values[node] >= 0) {
			longest = i + 1;
			*ret = t->values[node];
		}
	}
	return longest;
}
