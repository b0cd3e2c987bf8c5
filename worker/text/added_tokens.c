/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/added_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "worker/text/component.h"
#include "worker/text/tokenizer.h"
#include "worker/text/unicode.h"

int rt_added_init(struct rt_added *a, struct rt_err *err)
{
	*a = (struct rt_added){ .next_id = -1, .max_id = -1, .empty = -1 };
	rt_vocab_init(&a->by_content);
	if (rt_trie_init(&a->raw, err) < 0 || rt_trie_init(&a->normal, err) < 0)
		return -1;
	return 0;
}

void rt_added_release(struct rt_added *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->list[i].content);
	free(a->list);
	rt_vocab_release(&a->by_content);
	rt_trie_release(&a->raw);
	rt_trie_release(&a->normal);
	*a = (struct rt_added){ 0 };
}

int rt_added_add(struct rt_added *a, struct rt_added_token token, const struct rt_wordmodel *model,
		 struct rt_err *err)
{
	int32_t entry = rt_vocab_find(&model->vocab, token.content, token.len);
	int32_t known = rt_vocab_find(&a->by_content, token.content, token.len);

	if (token.len == 0)
		return 0;
	if (rt_vocab_check_piece(token.content, token.len, err) < 0)
		return -1;
	if (a->next_id < 0)
		a->next_id = (int32_t)model->vocab.n;
	if (known >= 0) { /* the last word counts */
		struct rt_added_token *old = &a->list[a->by_content.entries[known].id];

		old->single_word = token.single_word;
		old->lstrip = token.lstrip;
		old->rstrip = token.rstrip;
		old->normalized = token.normalized;
		old->special = token.special;
		return 0;
	}
	token.id = entry >= 0 ? model->vocab.entries[entry].id : a->next_id++;
	if (token.id > RT_TOKENIZER_ID_MAX)
		return rt_fail(err, RT_INVALID, "the added token '%.60s' gets an id above %d", token.content,
			       RT_TOKENIZER_ID_MAX);
	if (a->n == a->cap) {
		size_t cap = a->cap ? a->cap * 2 : 16;
		struct rt_added_token *list = realloc(a->list, cap * sizeof *list);

		if (!list)
			return rt_fail(err, RT_NO_MEMORY, "no memory for the added tokens");
		a->list = list;
		a->cap = cap;
	}
	if (rt_vocab_add(&a->by_content, token.content, token.len, (int32_t)a->n, false, err) < 0)
		return -1;
	if (token.id > a->max_id)
		a->max_id = token.id;
	a->list[a->n] = token;
	a->list[a->n].content = malloc(token.len + 1);
	if (!a->list[a->n].content)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the added tokens");
	memcpy(a->list[a->n].content, token.content, token.len);
	a->list[a->n].content[token.len] = '\0';
	a->n++;
	return 0;
}

static int read_token(const json_t *json, struct rt_added_token *ret, struct rt_err *err)
{
	const char *content = NULL;
	int64_t id = 0;

	*ret = (struct rt_added_token){ .normalized = true };
	if (!json_is_object(json))
		return rt_fail(err, RT_INVALID, "must be an object");
	if (rt_component_text(json, "content", &content, &ret->len, err) < 0 ||
	    rt_json_get_i64(json, "id", &id, err) < 0 ||
	    rt_json_get_bool(json, "single_word", &ret->single_word, err) < 0 ||
	    rt_json_get_bool(json, "lstrip", &ret->lstrip, err) < 0 ||
	    rt_json_get_bool(json, "rstrip", &ret->rstrip, err) < 0 ||
	    rt_json_get_bool(json, "normalized", &ret->normalized, err) < 0 ||
	    rt_json_get_bool(json, "special", &ret->special, err) < 0)
		return -1;
	if (id < 0 || id > RT_TOKENIZER_ID_MAX)
		return rt_fail(err, RT_INVALID, "id must be from 0 to %d (got %lld)", RT_TOKENIZER_ID_MAX,
			       (long long)id);
	ret->content = (char *)(uintptr_t)content; /* copied when added */
	return 0;
}

/* The content as the normalizer would leave it in a text. */
static int normal_content(const struct rt_added_token *token, const struct rt_normalizer *norm,
			  struct rt_ntext *text, struct rt_err *err)
{
	struct rt_norm_work w = { .text = text };
	int rc;

	rt_ntext_init(&w.spare, text->aligned, text->max);
	rt_ntext_add_raw(text, token->content, token->len, 0);
	rc = rt_ntext_check(text, err);
	if (rc == 0)
		rc = rt_normalizer_run(norm, &w, err);
	rt_ntext_release(&w.spare);
	free(w.changes.list);
	free(w.matches.list);
	return rc;
}

/* Makes a token that matches the normalized text findable. Of two that become the same the first keeps it. */
static int add_normal(struct rt_added *a, int32_t index, const struct rt_normalizer *norm, struct rt_err *err)
{
	struct rt_added_token *token = &a->list[index];
	struct rt_ntext text;
	int32_t there;
	int rc;

	rt_ntext_init(&text, false, 64 * token->len + 4096);
	rc = normal_content(token, norm, &text, err);
	if (rc == 0 && text.len == 0) {
		a->empty = a->empty < 0 ? index : a->empty;
		a->normal_count++;
	} else if (rc == 0 && rt_trie_longest(&a->normal, text.bytes, text.len, &there) != text.len) {
		rc = rt_trie_add(&a->normal, text.bytes, text.len, index, err);
		a->normal_count++;
	}
	rt_ntext_release(&text);
	return rc < 0 ? rt_fail_in(err, "added token '%.60s'", token->content) : 0;
}

int rt_added_finish(struct rt_added *a, const struct rt_normalizer *norm, struct rt_err *err)
{
	/* the special ones first, as the reference has them */
	for (size_t pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < a->n; i++) {
			const struct rt_added_token *token = &a->list[i];

			if (token->special != (pass == 0))
				continue;
			if (token->normalized) {
				if (add_normal(a, (int32_t)i, norm, err) < 0)
					return -1;
			} else {
				if (rt_trie_add(&a->raw, token->content, token->len, (int32_t)i, err) < 0)
					return -1;
				a->raw_count++;
			}
		}
	return 0;
}

int rt_added_read(struct rt_added *a, const json_t *json, const struct rt_wordmodel *model,
		  const struct rt_normalizer *norm, struct rt_err *err)
{
	size_t i;
	json_t *item;

	if (json && !json_is_null(json) && !json_is_array(json))
		return rt_fail(err, RT_INVALID, "added_tokens must be an array");
	json_array_foreach(json, i, item)
	{
		struct rt_added_token token;

		if (read_token(item, &token, err) < 0)
			return rt_fail_in(err, "added token %zu", i);
		if (rt_added_add(a, token, model, err) < 0)
			return -1;
	}
	return rt_added_finish(a, norm, err);
}

/* A word's character just before s[at]? */
static bool word_before(const char *s, size_t at)
{
	unsigned len;

	if (at == 0)
		return false;
	do
		at--;
	while (!rt_uc_is_start(s[at]));
	return rt_uc_in(&rt_uc_word, rt_uc_next(s + at, &len));
}

/* Where the white space before s[at] begins; no look before s[lowest]. */
static size_t spaces_before(const char *s, size_t lowest, size_t at)
{
	while (at > lowest) {
		size_t start = at - 1;
		unsigned len;

		while (!rt_uc_is_start(s[start]))
			start--;
		if (!rt_uc_in(&rt_uc_white, rt_uc_next(s + start, &len)))
			break;
		at = start;
	}
	return at;
}

static size_t spaces_after(const char *s, size_t n, size_t at)
{
	unsigned len;

	while (at < n && rt_uc_in(&rt_uc_white, rt_uc_next(s + at, &len)))
		at += len;
	return at;
}

static void add_piece(struct rt_pieces *out, size_t at, size_t first, size_t end, int32_t added)
{
	rt_pieces_add(out, (struct rt_piece){ (uint32_t)(at + first), (uint32_t)(at + end), 0, added });
}

/* The longest token at s[i], or the one that matches everywhere. */
static bool find_at(const struct rt_trie *trie, int32_t empty, const char *s, size_t n, size_t i,
		    int32_t *ret_which, size_t *ret_len)
{
	*ret_len =
		i < n && trie->root[(unsigned char)s[i]] ? rt_trie_longest(trie, s + i, n - i, ret_which) : 0;
	if (*ret_len == 0)
		*ret_which = empty;
	return *ret_len > 0 || empty >= 0;
}

void rt_added_split(const struct rt_added *a, bool normalized, const char *s, size_t n, size_t at,
		    struct rt_pieces *out)
{
	const struct rt_trie *trie = normalized ? &a->normal : &a->raw;
	const int32_t empty = normalized ? a->empty : -1;
	size_t done = 0, i = 0, last = SIZE_MAX; /* last: where the last match ended */
	size_t spaces_end = 0; /* s[i, spaces_end) is known to be white space: each byte is looked at once */

	if ((normalized ? a->normal_count : a->raw_count) == 0)
		i = n + 1;
	while (i <= n) {
		int32_t which = -1;
		size_t first = i, len, end;
		const struct rt_added_token *token;
		unsigned step;

		if (!find_at(trie, empty, s, n, i, &which, &len) || (len == 0 && i == last)) {
			i++;
			while (empty >= 0 && i < n && !rt_uc_is_start(s[i]))
				i++;
			continue;
		}
		/* the search goes on behind the match, whatever becomes of it */
		i = end = last = first + len;
		token = &a->list[which];
		if (token->single_word &&
		    (word_before(s, first) || (end < n && rt_uc_in(&rt_uc_word, rt_uc_next(s + end, &step)))))
			continue;
		if (token->lstrip)
			first = first > done ? spaces_before(s, done, first) : done;
		if (token->rstrip) {
			spaces_end = spaces_after(s, n, spaces_end > end ? spaces_end : end);
			end = spaces_end;
		}
		if (done < first)
			add_piece(out, at, done, first, -1);
		add_piece(out, at, first, end, which);
		done = end;
	}
	if (done < n)
		add_piece(out, at, done, n, -1);
}
