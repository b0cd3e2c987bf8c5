/* SPDX-License-Identifier: Apache-2.0 */
/* The way of a text through a tokenizer's parts. */
#include <stdlib.h>
#include <string.h>

#include "worker/text/parts.h"
#include "worker/text/unicode.h"

/* One text under way. */
struct work {
	const struct rt_tokenizer *tok;
	const char *original;
	size_t len;
	bool all;      /* tokens and offsets too */
	size_t enough; /* no word is begun when so many tokens are there; 0: no limit */
	bool cut;      /* words were left out for that */
	struct rt_ntext text, spare;
	struct rt_pieces pieces;
	size_t covered; /* bytes of the pieces together: those of added tokens that take spaces may overlap */
	uint32_t *
		chars; /* which code point a byte of the original belongs to; NULL while not needed or all ASCII */
};

void rt_encoding_release(struct rt_encoding *e)
{
	free(e->ids);
	free(e->type_ids);
	free(e->offsets);
	free(e->tokens);
	free(e->token_lens);
	*e = (struct rt_encoding){ 0 };
}

static void release_work(struct work *w)
{
	rt_ntext_release(&w->text);
	rt_ntext_release(&w->spare);
	free(w->pieces.list);
	free(w->chars);
}

static int no_memory(struct rt_err *err)
{
	return rt_fail(err, RT_NO_MEMORY, "no memory to tokenize a text");
}

/* Normalizes original[first, end) and appends what comes out, cut at added tokens, to the text and its pieces. */
static int normalize_piece(struct work *w, struct rt_norm_work *norm, const struct rt_piece *piece,
			   struct rt_err *err)
{
	struct rt_ntext *part = norm->text;
	size_t from = w->pieces.n, at = w->text.len;

	rt_ntext_clear(part, piece->first);
	rt_ntext_add_raw(part, w->original + piece->first, piece->end - piece->first, piece->first);
	if (rt_ntext_check(part, err) < 0 || rt_normalizer_run(w->tok->normalizer, norm, err) < 0)
		return -1;
	rt_ntext_add(&w->text, part->bytes, part->align, part->len);
	rt_added_split(&w->tok->added, true, part->bytes, part->len, at, &w->pieces);
	if (w->text.failed || w->pieces.failed)
		return rt_ntext_check(&w->text, err) < 0 ? -1 : no_memory(err);
	for (size_t i = from; i < w->pieces.n; i++) {
		w->pieces.list[i].base = rt_ntext_align(&w->text, w->pieces.list[i].first).first;
		w->covered += w->pieces.list[i].end - w->pieces.list[i].first;
	}
	if (w->covered > w->text.max)
		return rt_fail(err, RT_TOO_LARGE,
			       "the tokenizer's added tokens make a text of over %zu bytes", w->text.max);
	return 0;
}

static int normalize(struct work *w, struct rt_err *err)
{
	struct rt_ntext part;
	struct rt_norm_work norm = { .text = &part };
	struct rt_pieces raw = { 0 };
	int rc = 0;

	rt_ntext_init(&part, w->text.aligned, w->text.max);
	rt_ntext_init(&norm.spare, w->text.aligned, w->text.max);
	rt_added_split(&w->tok->added, false, w->original, w->len, 0, &raw);
	if (raw.failed)
		rc = no_memory(err);
	for (size_t i = 0; i < raw.n && rc == 0; i++) {
		struct rt_piece piece = raw.list[i];
		size_t at = w->text.len;

		if (piece.added < 0) {
			rc = normalize_piece(w, &norm, &piece, err);
			continue;
		}
		rt_ntext_add_raw(&w->text, w->original + piece.first, piece.end - piece.first, piece.first);
		if (rt_ntext_check(&w->text, err) < 0)
			rc = -1;
		rt_pieces_add(&w->pieces, (struct rt_piece){ (uint32_t)at, (uint32_t)w->text.len, piece.first,
							     piece.added });
	}
	if (rc == 0 && w->pieces.failed)
		rc = no_memory(err);
	rt_ntext_release(&part);
	rt_ntext_release(&norm.spare);
	free(norm.changes.list);
	free(norm.matches.list);
	free(raw.list);
	return rc;
}

static int split(struct work *w, struct rt_err *err)
{
	struct rt_split_work s = { .text = &w->text, .pieces = &w->pieces };
	int rc;

	rt_ntext_init(&s.spare_text, w->text.aligned, w->text.max);
	rc = rt_pretokenizer_run(w->tok->pretokenizer, &s, err);
	rt_ntext_release(&s.spare_text);
	free(s.spare.list);
	free(s.matches.list);
	free(s.splits.list);
	return rc;
}

static int count_chars(struct work *w, struct rt_err *err)
{
	uint32_t n = 0;

	if (rt_uc_ascii(w->original, w->len))
		return 0;
	w->chars = malloc(w->len * sizeof *w->chars);
	if (!w->chars)
		return no_memory(err);
	for (size_t i = 0; i < w->len; i++) {
		n += rt_uc_is_start(w->original[i]);
		w->chars[i] = n - 1;
	}
	return 0;
}

/* Which code point a byte of the original belongs to. */
static int32_t char_of(const struct work *w, size_t byte)
{
	return w->chars ? (int32_t)w->chars[byte] : (int32_t)byte;
}

/* Bytes of the original to code points; what lies behind the end comes out as in the reference. */
static void to_chars(const struct work *w, size_t first, size_t end, int32_t ret[2])
{
	ret[0] = (int32_t)first;
	ret[1] = (int32_t)end;
	if (first >= w->len)
		return;
	ret[0] = char_of(w, first);
	if (end < w->len)
		ret[1] = char_of(w, end);
	else if (end == 0 || end - 1 >= w->len)
		ret[1] = ret[0] + 2;
	else
		ret[1] = char_of(w, end - 1) + 1;
}

static void set_offset(const struct work *w, const struct rt_piece *piece, size_t first, size_t end,
		       int32_t ret[2])
{
	size_t n = piece->end - piece->first;

	if (first >= end)
		to_chars(w, piece->base + first, piece->base + end, ret);
	else if (end > n) /* the model counted bytes that are not in the text */
		to_chars(w, first, end, ret);
	else
		to_chars(w, w->text.align[piece->first + first].first,
			 w->text.align[piece->first + end - 1].end, ret);
}

static void add_tokens(const struct work *w, const struct rt_piece *piece, const struct rt_subs *subs,
		       int32_t type_id, struct rt_seq *out)
{
	const struct rt_vocab *vocab = &w->tok->model->vocab;

	for (size_t i = 0; i < subs->n; i++) {
		const struct rt_sub *sub = &subs->list[i];
		struct rt_token token = { .id = sub->id, .type_id = type_id };

		if (w->all) {
			set_offset(w, piece, sub->first, sub->end, token.offset);
			if (sub->entry >= 0) {
				token.value = rt_vocab_text(vocab, sub->entry, &token.value_len);
			} else {
				token.value = w->text.bytes + piece->first + sub->first;
				token.value_len = sub->end - sub->first;
			}
		}
		rt_seq_add(out, token);
	}
}

/* The tokens of one text, without special ones. w must be released by the caller, after the last use of out. */
static int tokenize(struct work *w, int32_t type_id, struct rt_seq *out, struct rt_err *err)
{
	struct rt_subs subs = { 0 };
	int rc = 0;

	rt_ntext_init(&w->text, w->all || w->tok->aligned, rt_ntext_most(w->len));
	if (normalize(w, err) < 0 || split(w, err) < 0 || (w->all && count_chars(w, err) < 0))
		return -1;
	for (size_t i = 0; i < w->pieces.n && rc == 0; i++) {
		const struct rt_piece *piece = &w->pieces.list[i];
		size_t n = piece->end - piece->first;

		if (piece->added >= 0) {
			subs.n = 0;
			rt_subs_add(&subs, w->tok->added.list[piece->added].id, -1, 0, n);
		} else {
			rc = rt_wordmodel_run(w->tok->model, w->text.bytes + piece->first, n, &subs, err);
		}
		if (rc == 0)
			add_tokens(w, piece, &subs, type_id, out);
		if (rc == 0 && (subs.failed || out->failed))
			rc = no_memory(err);
		/* as the reference does: which of two texts is the longer one, is asked after this */
		if (piece->added < 0 && w->enough > 0 && out->n >= w->enough && i + 1 < w->pieces.n) {
			w->cut = true;
			break;
		}
	}
	free(subs.list);
	return rc;
}

/* How many tokens of each text stay, by "longest first". */
static void share(size_t max, size_t *n1, size_t *n2)
{
	size_t *shorter = *n1 > *n2 ? n2 : n1, *longer = *n1 > *n2 ? n1 : n2;

	if (*n1 + *n2 <= max)
		return;
	if (*shorter > max)
		*longer = *shorter;
	else
		*longer = *shorter > max - *shorter ? *shorter : max - *shorter;
	if (*shorter + *longer > max) {
		*shorter = max / 2;
		*longer = *shorter + max % 2;
	}
}

static int truncate_segments(const struct rt_tokenizer *tok, size_t max_length, struct rt_segments *s,
			     bool *ret, struct rt_err *err)
{
	bool pair = s->n > 1;
	size_t added = rt_postprocessor_added(tok->postprocessor, pair);
	size_t n1 = s->list[0].n, n2 = pair ? s->list[1].n : 0;

	*ret = false;
	if (max_length == 0)
		return 0;
	if (max_length < added)
		return rt_fail(err, RT_INVALID,
			       "max_length must be at least %zu, the number of special tokens (got %zu)",
			       added, max_length);
	max_length -= added;
	if (pair)
		share(max_length, &n1, &n2);
	else if (n1 > max_length)
		n1 = max_length;
	*ret = n1 < s->list[0].n || (pair && n2 < s->list[1].n);
	s->list[0].n = n1;
	if (pair)
		s->list[1].n = n2;
	return 0;
}

/* Strings of all tokens: the pointers, then the bytes, in one block. */
static int copy_values(const struct rt_segments *s, struct rt_encoding *e)
{
	size_t bytes = 0, i = 0;
	char *at;

	for (size_t k = 0; k < s->n; k++)
		for (size_t t = 0; t < s->list[k].n; t++)
			bytes += s->list[k].list[t].value_len + 1;
	e->tokens = malloc(e->n * sizeof *e->tokens + bytes + 1);
	if (!e->tokens)
		return -1;
	at = (char *)(e->tokens + e->n);
	for (size_t k = 0; k < s->n; k++)
		for (size_t t = 0; t < s->list[k].n; t++, i++) {
			const struct rt_token *token = &s->list[k].list[t];

			e->tokens[i] = at;
			e->token_lens[i] = token->value_len;
			memcpy(at, token->value, token->value_len);
			at[token->value_len] = '\0';
			at += token->value_len + 1;
		}
	return 0;
}

static int copy_out(const struct rt_segments *s, bool all, struct rt_encoding *e, struct rt_err *err)
{
	size_t i = 0;

	for (size_t k = 0; k < s->n; k++)
		e->n += s->list[k].n;
	e->ids = malloc((e->n + 1) * sizeof *e->ids);
	e->type_ids = malloc((e->n + 1) * sizeof *e->type_ids);
	if (all) {
		e->offsets = malloc((e->n + 1) * sizeof *e->offsets);
		e->token_lens = malloc((e->n + 1) * sizeof *e->token_lens);
	}
	if (!e->ids || !e->type_ids || (all && (!e->offsets || !e->token_lens || copy_values(s, e) < 0))) {
		rt_encoding_release(e);
		return no_memory(err);
	}
	for (size_t k = 0; k < s->n; k++)
		for (size_t t = 0; t < s->list[k].n; t++, i++) {
			const struct rt_token *token = &s->list[k].list[t];

			e->ids[i] = token->id;
			e->type_ids[i] = token->type_id;
			if (all) {
				e->offsets[i][0] = token->offset[0];
				e->offsets[i][1] = token->offset[1];
			}
		}
	return 0;
}

static int check_text(const char *which, const char *text, size_t len, struct rt_err *err)
{
	size_t bad;

	if (len > RT_TOKENIZER_TEXT_MAX)
		return rt_fail(err, RT_TOO_LARGE, "the %s has %zu bytes, more than %zu", which, len,
			       RT_TOKENIZER_TEXT_MAX);
	if (!rt_uc_valid(text, len, &bad))
		return rt_fail(err, RT_INVALID, "the %s is not UTF-8 at byte %zu", which, bad);
	return 0;
}

static int encode(const struct rt_tokenizer *tok, bool all, const char *text, size_t len, const char *pair,
		  size_t pair_len, size_t max_length, struct rt_encoding *ret, struct rt_err *err)
{
	struct work a = { .tok = tok, .original = text, .len = len, .all = all, .enough = max_length };
	struct work b = { .tok = tok, .original = pair, .len = pair_len, .all = all, .enough = max_length };
	struct rt_encoding e = { 0 };
	struct rt_segments s;
	int rc = -1;

	if (check_text("text", text, len, err) < 0 || (pair && check_text("pair", pair, pair_len, err) < 0))
		return -1;
	s.n = pair ? 2 : 1;
	s.list[0] = s.list[1] = (struct rt_seq){ 0 };
	if (tokenize(&a, 0, &s.list[0], err) < 0 || (pair && tokenize(&b, 1, &s.list[1], err) < 0))
		goto out;
	if (truncate_segments(tok, max_length, &s, &e.truncated, err) < 0 ||
	    rt_postprocessor_run(tok->postprocessor, &s, all, err) < 0 || copy_out(&s, all, &e, err) < 0)
		goto out;
	e.truncated = e.truncated || a.cut || b.cut;
	*ret = e;
	rc = 0;
out:
	rt_segments_release(&s);
	release_work(&a);
	release_work(&b);
	return rc;
}

int rt_tokenizer_encode(const struct rt_tokenizer *tok, const char *text, size_t len, const char *pair,
			size_t pair_len, size_t max_length, struct rt_encoding *ret, struct rt_err *err)
{
	return encode(tok, true, text, len, pair, pair_len, max_length, ret, err);
}

int rt_tokenizer_encode_ids(const struct rt_tokenizer *tok, const char *text, size_t len, const char *pair,
			    size_t pair_len, size_t max_length, struct rt_encoding *ret, struct rt_err *err)
{
	return encode(tok, false, text, len, pair, pair_len, max_length, ret, err);
}
