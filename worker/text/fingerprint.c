/* SPDX-License-Identifier: Apache-2.0 */
/* What makes two tokenizers the same: a digest of each part, and one of them all. */
#include <stdlib.h>
#include <string.h>

#include "worker/text/parts.h"

static int by_id(const void *a, const void *b)
{
	const struct rt_added_token *x = *(const struct rt_added_token *const *)a,
				    *y = *(const struct rt_added_token *const *)b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static void describe_added(const struct rt_added *added, struct rt_buf *out)
{
	const struct rt_added_token **list = calloc(added->n + 1, sizeof(const struct rt_added_token *));

	if (!list) {
		out->failed = true;
		return;
	}
	for (size_t i = 0; i < added->n; i++)
		list[i] = &added->list[i];
	qsort(list, added->n, sizeof(const struct rt_added_token *), by_id);
	for (size_t i = 0; i < added->n; i++) {
		rt_buf_fmt(out, "%d %d%d%d%d %zu:", (int)list[i]->id, list[i]->single_word, list[i]->lstrip,
			   list[i]->rstrip, list[i]->normalized, list[i]->len);
		rt_buf_add(out, list[i]->content, list[i]->len);
		rt_buf_char(out, '\n');
	}
	free(list);
}

static void describe(const struct rt_tokenizer *tok, enum rt_tokenizer_part part, struct rt_buf *out)
{
	switch (part) {
	case RT_TOKENIZER_NORMALIZER:
		rt_normalizer_describe(tok->normalizer, out);
		break;
	case RT_TOKENIZER_PRETOKENIZER:
		rt_pretokenizer_describe(tok->pretokenizer, out);
		break;
	case RT_TOKENIZER_MODEL:
		rt_wordmodel_describe(tok->model, out);
		break;
	case RT_TOKENIZER_VOCABULARY:
		rt_wordmodel_describe_vocab(tok->model, out);
		break;
	case RT_TOKENIZER_ADDED:
		describe_added(&tok->added, out);
		break;
	case RT_TOKENIZER_POSTPROCESSOR:
		rt_postprocessor_describe(tok->postprocessor, out);
		break;
	case RT_TOKENIZER_PARTS:
		break;
	}
}

int rt_fingerprint_make(struct rt_tokenizer *tok, struct rt_err *err)
{
	struct rt_buf text = RT_BUF_INIT, all = RT_BUF_INIT;
	int rc = 0;

	for (int part = 0; part < RT_TOKENIZER_PARTS && rc == 0; part++) {
		rt_buf_clear(&text);
		describe(tok, (enum rt_tokenizer_part)part, &text);
		rc = rt_buf_check(&text, err);
		if (rc == 0) {
			rt_sha256(rt_buf_text(&text), text.len, tok->parts[part]);
			rt_buf_fmt(&all, "%d %s\n", part, tok->parts[part]);
		}
	}
	if (rc == 0)
		rc = rt_buf_check(&all, err);
	if (rc == 0)
		rt_sha256(all.data, all.len, tok->fingerprint);
	rt_buf_release(&text);
	rt_buf_release(&all);
	return rc;
}

const char *rt_tokenizer_fingerprint(const struct rt_tokenizer *tok)
{
	return tok->fingerprint;
}

bool rt_tokenizer_same_part(const struct rt_tokenizer *a, const struct rt_tokenizer *b,
			    enum rt_tokenizer_part part)
{
	return strcmp(a->parts[part], b->parts[part]) == 0;
}

size_t rt_tokenizer_shared_tokens(const struct rt_tokenizer *a, const struct rt_tokenizer *b,
				  size_t *ret_tokens)
{
	const struct rt_vocab *vocab = &a->model->vocab;
	size_t shared = 0, tokens = vocab->n;

	for (size_t i = 0; i < vocab->n; i++)
		shared += rt_tokenizer_token_to_id(b, vocab->bytes.data + vocab->entries[i].at,
						   vocab->entries[i].len) == vocab->entries[i].id;
	for (size_t i = 0; i < a->added.n; i++) {
		const struct rt_added_token *t = &a->added.list[i];

		if (rt_vocab_find(vocab, t->content, t->len) >= 0)
			continue; /* counted */
		tokens++;
		shared += rt_tokenizer_token_to_id(b, t->content, t->len) == t->id;
	}
	*ret_tokens = tokens;
	return shared;
}
