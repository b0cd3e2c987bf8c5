/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/pretokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "worker/text/byte_level.h"
#include "worker/text/component.h"
#include "worker/text/normalizer.h"
#include "worker/text/unicode.h"

enum kind {
	SEQUENCE,
	BERT,
	BYTE_LEVEL,
	METASPACE,
	WHITESPACE,
	WHITESPACE_SPLIT,
	PUNCTUATION,
	DIGITS,
	SPLIT,
	DELIMITER,
	FIXED_LENGTH,
};
enum behavior { REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS };
enum scheme { ALWAYS, FIRST, NEVER };

struct rt_pretokenizer {
	enum kind kind;
	struct rt_pretokenizer **parts; /* SEQUENCE */
	size_t part_count;
	bool add_prefix_space, use_regex; /* BYTE_LEVEL */
	char replacement[4];		  /* METASPACE */
	unsigned replacement_len;
	enum scheme scheme;
	bool split;
	enum behavior behavior; /* PUNCTUATION, DIGITS, SPLIT */
	struct rt_regex *pattern;
	bool invert;
	uint32_t delimiter; /* DELIMITER */
	int64_t length;	    /* FIXED_LENGTH, code points */
};

static const struct {
	const char *type;
	enum kind kind;
} kinds[] = {
	{ "Sequence", SEQUENCE },
	{ "BertPreTokenizer", BERT },
	{ "ByteLevel", BYTE_LEVEL },
	{ "Metaspace", METASPACE },
	{ "Whitespace", WHITESPACE },
	{ "WhitespaceSplit", WHITESPACE_SPLIT },
	{ "Punctuation", PUNCTUATION },
	{ "Digits", DIGITS },
	{ "Split", SPLIT },
	{ "CharDelimiterSplit", DELIMITER },
	{ "FixedLength", FIXED_LENGTH },
};

void rt_pretokenizer_free(struct rt_pretokenizer *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->part_count; i++)
		rt_pretokenizer_free(p->parts[i]);
	free(p->parts);
	rt_regex_free(p->pattern);
	free(p);
}

static int read_behavior(const json_t *json, enum behavior *ret, struct rt_err *err)
{
	static const char *const names[] = { "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
					     "Contiguous" };
	const char *name = NULL;

	if (rt_json_get_str(json, "behavior", &name, err) < 0)
		return -1;
	if (!name)
		return 0;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(name, names[i]) == 0) {
			*ret = (enum behavior)i;
			return 0;
		}
	return rt_fail(err, RT_UNSUPPORTED, "unknown behavior '%s'", name);
}

/* A string of one character. */
static int read_char(const json_t *json, const char *key, uint32_t *ret, struct rt_err *err)
{
	const char *text = NULL;
	size_t n = 0;
	unsigned len = 0;

	if (rt_component_text(json, key, &text, &n, err) < 0)
		return -1;
	if (n > 0)
		*ret = rt_uc_next(text, &len);
	return n > 0 && len == n ? 0 : rt_fail(err, RT_INVALID, "%s must be one character", key);
}

static int read_metaspace(struct rt_pretokenizer *p, const json_t *json, struct rt_err *err)
{
	const char *scheme = "always";
	uint32_t cp = 0x2581;
	bool prefix = true;

	if ((json_object_get(json, "replacement") && read_char(json, "replacement", &cp, err) < 0) ||
	    rt_json_get_str(json, "prepend_scheme", &scheme, err) < 0 ||
	    rt_json_get_bool(json, "add_prefix_space", &prefix, err) < 0 ||
	    rt_json_get_bool(json, "split", &p->split, err) < 0)
		return -1;
	if (strcmp(scheme, "always") != 0 && strcmp(scheme, "first") != 0 && strcmp(scheme, "never") != 0)
		return rt_fail(err, RT_UNSUPPORTED, "unknown prepend_scheme '%s'", scheme);
	if (!prefix && json_object_get(json, "prepend_scheme") && strcmp(scheme, "never") != 0)
		return rt_fail(err, RT_INVALID, "add_prefix_space is false and prepend_scheme is '%s'",
			       scheme);
	p->scheme = !prefix || strcmp(scheme, "never") == 0 ? NEVER
		    : strcmp(scheme, "first") == 0	    ? FIRST
							    : ALWAYS;
	p->replacement_len = rt_uc_put(p->replacement, cp);
	return 0;
}

static int read_pretokenizer(const json_t *json, int depth, struct rt_pretokenizer **ret, struct rt_err *err);

static int read_parts(struct rt_pretokenizer *p, const json_t *json, int depth, struct rt_err *err)
{
	const json_t *list;
	size_t count;

	if (rt_component_list(json, "pretokenizers", &list, err) < 0)
		return -1;
	count = json_array_size(list);
	p->parts = calloc(count + 1, sizeof(struct rt_pretokenizer *));
	if (!p->parts)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a pre-tokenizer");
	for (size_t i = 0; i < count; i++) {
		if (read_pretokenizer(json_array_get(list, i), depth + 1, &p->parts[i], err) < 0)
			return -1;
		p->part_count++;
	}
	return 0;
}

static int read_fields(struct rt_pretokenizer *p, const json_t *json, int depth, struct rt_err *err)
{
	bool individual = false;

	switch (p->kind) {
	case SEQUENCE:
		return read_parts(p, json, depth, err);
	case BYTE_LEVEL:
		if (rt_json_get_bool(json, "use_regex", &p->use_regex, err) < 0)
			return -1;
		return rt_json_get_bool(json, "add_prefix_space", &p->add_prefix_space, err);
	case METASPACE:
		return read_metaspace(p, json, err);
	case PUNCTUATION:
		return read_behavior(json, &p->behavior, err);
	case DIGITS:
		if (rt_json_get_bool(json, "individual_digits", &individual, err) < 0)
			return -1;
		p->behavior = individual ? ISOLATED : CONTIGUOUS;
		return 0;
	case SPLIT:
		if (rt_component_pattern(json, &p->pattern, err) < 0 ||
		    read_behavior(json, &p->behavior, err) < 0)
			return -1;
		return rt_json_get_bool(json, "invert", &p->invert, err);
	case DELIMITER:
		return read_char(json, "delimiter", &p->delimiter, err);
	case FIXED_LENGTH:
		p->length = 5;
		if (rt_json_get_i64(json, "length", &p->length, err) < 0)
			return -1;
		return p->length > 0 ? 0 : rt_fail(err, RT_INVALID, "length must be above 0");
	default:
		return 0;
	}
}

static int read_pretokenizer(const json_t *json, int depth, struct rt_pretokenizer **ret, struct rt_err *err)
{
	struct rt_pretokenizer *p;
	const char *type;
	size_t k = 0;

	if (rt_component_type(json, "pre-tokenizer", &type, err) < 0)
		return -1;
	while (k < sizeof kinds / sizeof *kinds && strcmp(kinds[k].type, type) != 0)
		k++;
	if (k == sizeof kinds / sizeof *kinds)
		return rt_fail(err, RT_UNSUPPORTED, "unknown pre-tokenizer '%s'", type);
	if (depth > RT_COMPONENT_DEPTH)
		return rt_fail(err, RT_INVALID, "pre-tokenizers are nested more than %d deep",
			       RT_COMPONENT_DEPTH);
	p = calloc(1, sizeof *p);
	if (!p)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a pre-tokenizer");
	p->kind = kinds[k].kind;
	p->add_prefix_space = p->use_regex = p->split = true;
	p->behavior = ISOLATED;
	if (read_fields(p, json, depth, err) < 0) {
		if (p->kind != SEQUENCE)
			rt_fail_in(err, "pre-tokenizer %s", type);
		rt_pretokenizer_free(p);
		return -1;
	}
	*ret = p;
	return 0;
}

int rt_pretokenizer_new(const json_t *json, struct rt_pretokenizer **ret, struct rt_err *err)
{
	if (!json || json_is_null(json)) {
		*ret = NULL;
		return 0;
	}
	return read_pretokenizer(json, 0, ret, err);
}

bool rt_pretokenizer_needs_base(const struct rt_pretokenizer *p)
{
	bool needs = p && p->kind == METASPACE && p->scheme == FIRST;

	for (size_t i = 0; p && i < p->part_count; i++)
		needs = needs || rt_pretokenizer_needs_base(p->parts[i]);
	return needs;
}

void rt_pieces_add(struct rt_pieces *p, struct rt_piece piece)
{
	if (piece.first >= piece.end)
		return;
	if (p->n == p->cap && !p->failed) {
		size_t cap = p->cap ? p->cap * 2 : 64;
		struct rt_piece *list = realloc(p->list, cap * sizeof *list);

		if (list) {
			p->list = list;
			p->cap = cap;
		} else {
			p->failed = true;
		}
	}
	if (!p->failed)
		p->list[p->n++] = piece;
}

/* A piece of the text as it is now. */
static void add_word(const struct rt_ntext *t, size_t first, size_t end, struct rt_pieces *out)
{
	if (first < end)
		rt_pieces_add(out, (struct rt_piece){ (uint32_t)first, (uint32_t)end,
						      rt_ntext_align(t, first).first, -1 });
}

static void exchange_pieces(struct rt_split_work *w)
{
	struct rt_pieces new = w->spare;

	w->spare = *w->pieces;
	*w->pieces = new;
	w->spare.n = 0;
}

static void exchange_text(struct rt_split_work *w)
{
	struct rt_ntext new = w->spare_text;

	w->spare_text = *w->text;
	*w->text = new;
	rt_ntext_clear(&w->spare_text, 0);
}

/* Matches and what is between them become splits; is_match then says "remove". */
static void apply_behavior(const struct rt_matches *matches, enum behavior behavior, bool invert,
			   struct rt_matches *out)
{
	bool previous = false;
	size_t n = matches->n;

	out->n = 0;
	for (size_t i = 0; i < n; i++) {
		const struct rt_match *m = &matches->list[behavior == MERGED_WITH_NEXT ? n - 1 - i : i];
		bool match = m->is_match != invert;
		bool join = false;

		if (behavior == CONTIGUOUS)
			join = match == previous;
		else if (behavior == MERGED_WITH_PREVIOUS || behavior == MERGED_WITH_NEXT)
			join = match && !previous;
		previous = match;
		if (join && out->n > 0 && behavior == MERGED_WITH_NEXT)
			out->list[out->n - 1].first = m->first;
		else if (join && out->n > 0)
			out->list[out->n - 1].end = m->end;
		else
			rt_matches_add(out, m->first, m->end, behavior == REMOVED && match);
	}
	for (size_t i = 0; behavior == MERGED_WITH_NEXT && i < out->n / 2; i++) {
		struct rt_match swap = out->list[i];

		out->list[i] = out->list[out->n - 1 - i];
		out->list[out->n - 1 - i] = swap;
	}
}

static void add_splits(struct rt_split_work *w, const struct rt_piece *piece, enum behavior behavior,
		       bool invert)
{
	apply_behavior(&w->matches, behavior, invert, &w->splits);
	for (size_t i = 0; i < w->splits.n; i++)
		if (!w->splits.list[i].is_match)
			add_word(w->text, piece->first + w->splits.list[i].first,
				 piece->first + w->splits.list[i].end, &w->spare);
	w->spare.failed = w->spare.failed || w->matches.failed || w->splits.failed;
}

typedef bool predicate(const struct rt_pretokenizer *p, uint32_t cp);

static bool is_white(const struct rt_pretokenizer *p, uint32_t cp)
{
	(void)p;
	return cp < 0x80 ? cp == ' ' || (cp >= 9 && cp <= 13) : rt_uc_in(&rt_uc_white, cp);
}

static bool is_punct(const struct rt_pretokenizer *p, uint32_t cp)
{
	(void)p;
	if (cp < 0x80)
		return (cp >= 33 && cp <= 47) || (cp >= 58 && cp <= 64) || (cp >= 91 && cp <= 96) ||
		       (cp >= 123 && cp <= 126);
	return rt_uc_in(&rt_uc_punct, cp);
}

static bool is_numeric(const struct rt_pretokenizer *p, uint32_t cp)
{
	(void)p;
	return cp < 0x80 ? cp >= '0' && cp <= '9' : rt_uc_in(&rt_uc_numeric, cp);
}

static bool is_delimiter(const struct rt_pretokenizer *p, uint32_t cp)
{
	return cp == p->delimiter;
}

/* Splits every piece where the predicate holds, each such character by itself. */
static void split_where(const struct rt_pretokenizer *p, struct rt_split_work *w, predicate *holds,
			enum behavior behavior)
{
	for (size_t i = 0; i < w->pieces->n; i++) {
		const struct rt_piece *piece = &w->pieces->list[i];
		const char *s = w->text->bytes + piece->first;
		size_t n = piece->end - piece->first, done = 0;
		unsigned len;

		if (piece->added >= 0) {
			rt_pieces_add(&w->spare, *piece);
			continue;
		}
		w->matches.n = 0;
		for (size_t at = 0; at < n; at += len) {
			if (!holds(p, rt_uc_next(s + at, &len)))
				continue;
			if (at > done)
				rt_matches_add(&w->matches, done, at, false);
			rt_matches_add(&w->matches, at, at + len, true);
			done = at + len;
		}
		if (done < n)
			rt_matches_add(&w->matches, done, n, false);
		add_splits(w, piece, behavior, false);
	}
	exchange_pieces(w);
}

static int split_pattern(const struct rt_pretokenizer *p, struct rt_split_work *w, struct rt_err *err)
{
	for (size_t i = 0; i < w->pieces->n; i++) {
		const struct rt_piece *piece = &w->pieces->list[i];

		if (piece->added >= 0) {
			rt_pieces_add(&w->spare, *piece);
			continue;
		}
		if (rt_regex_split(p->pattern, w->text->bytes + piece->first, piece->end - piece->first,
				   &w->matches, err) < 0)
			return -1;
		add_splits(w, piece, p->behavior, p->invert);
	}
	exchange_pieces(w);
	return 0;
}

/* White space is removed, punctuation stands alone. */
static void split_bert(struct rt_split_work *w)
{
	for (size_t i = 0; i < w->pieces->n; i++) {
		const struct rt_piece *piece = &w->pieces->list[i];
		size_t word = piece->first;
		unsigned len;

		if (piece->added >= 0) {
			rt_pieces_add(&w->spare, *piece);
			continue;
		}
		for (size_t at = piece->first; at < piece->end; at += len) {
			uint32_t cp = rt_uc_next(w->text->bytes + at, &len);
			bool white = is_white(NULL, cp);

			if (!white && !is_punct(NULL, cp))
				continue;
			add_word(w->text, word, at, &w->spare);
			if (!white)
				add_word(w->text, at, at + len, &w->spare);
			word = at + len;
		}
		add_word(w->text, word, piece->end, &w->spare);
	}
	exchange_pieces(w);
}

/* \w+|[^\w\s]+ */
static void split_words(struct rt_split_work *w)
{
	for (size_t i = 0; i < w->pieces->n; i++) {
		const struct rt_piece *piece = &w->pieces->list[i];
		size_t word = piece->first;
		int last = 0;
		unsigned len;

		if (piece->added >= 0) {
			rt_pieces_add(&w->spare, *piece);
			continue;
		}
		for (size_t at = piece->first; at < piece->end; at += len) {
			uint32_t cp = rt_uc_next(w->text->bytes + at, &len);
			int class = is_white(NULL, cp) ? 0 : rt_uc_in(&rt_uc_word, cp) ? 1 : 2;

			if (class != last) {
				if (last != 0)
					add_word(w->text, word, at, &w->spare);
				word = at;
			}
			last = class;
		}
		if (last != 0)
			add_word(w->text, word, piece->end, &w->spare);
	}
	exchange_pieces(w);
}

static void split_fixed(const struct rt_pretokenizer *p, struct rt_split_work *w)
{
	for (size_t i = 0; i < w->pieces->n; i++) {
		const struct rt_piece *piece = &w->pieces->list[i];
		size_t word = piece->first;
		int64_t count = 0;
		unsigned len;

		if (piece->added >= 0) {
			rt_pieces_add(&w->spare, *piece);
			continue;
		}
		for (size_t at = piece->first; at < piece->end; at += len) {
			rt_uc_next(w->text->bytes + at, &len);
			if (++count == p->length) {
				add_word(w->text, word, at + len, &w->spare);
				word = at + len;
				count = 0;
			}
		}
		add_word(w->text, word, piece->end, &w->spare);
	}
	exchange_pieces(w);
}

/* Copies the piece's text to spare_text as it is. */
static void copy_piece(struct rt_split_work *w, const struct rt_piece *piece)
{
	const struct rt_ntext *t = w->text;

	rt_ntext_add(&w->spare_text, t->bytes + piece->first, t->aligned ? t->align + piece->first : NULL,
		     piece->end - piece->first);
}

/* The piece goes from spare_text's byte at to its end. */
static void add_copied(struct rt_split_work *w, const struct rt_piece *piece, size_t at)
{
	rt_pieces_add(&w->spare, (struct rt_piece){ (uint32_t)at, (uint32_t)w->spare_text.len, piece->base,
						    piece->added });
}

static void put_prefix(struct rt_split_work *w, const struct rt_piece *piece, const char *prefix,
		       unsigned len)
{
	rt_ntext_add_all(&w->spare_text, prefix, rt_ntext_align(w->text, piece->first), len);
}

static void prefix_space(struct rt_split_work *w)
{
	bool any = false;

	for (size_t i = 0; i < w->pieces->n; i++)
		any = any ||
		      (w->pieces->list[i].added < 0 && w->text->bytes[w->pieces->list[i].first] != ' ');
	if (!any)
		return;
	for (size_t i = 0; i < w->pieces->n; i++) {
		const struct rt_piece *piece = &w->pieces->list[i];
		size_t at = w->spare_text.len;

		if (piece->added < 0 && w->text->bytes[piece->first] != ' ')
			put_prefix(w, piece, " ", 1);
		copy_piece(w, piece);
		add_copied(w, piece, at);
	}
	exchange_text(w);
	exchange_pieces(w);
}

static void map_bytes(struct rt_split_work *w, size_t first, size_t end)
{
	struct rt_ntext *out = &w->spare_text;
	const struct rt_ntext *t = w->text;

	if (!rt_ntext_room(out, 2 * (end - first)))
		return;
	for (size_t i = first; i < end; i++) {
		uint32_t cp = rt_byte_char((unsigned char)t->bytes[i]);
		unsigned len = rt_uc_put(out->bytes + out->len, cp);

		for (unsigned k = 0; out->aligned && k < len; k++)
			out->align[out->len + k] = t->align[i];
		out->len += len;
	}
}

static void split_byte_level(const struct rt_pretokenizer *p, struct rt_split_work *w)
{
	if (p->add_prefix_space)
		prefix_space(w);
	for (size_t i = 0; i < w->pieces->n; i++) {
		const struct rt_piece *piece = &w->pieces->list[i];
		size_t at = w->spare_text.len, n = piece->end - piece->first;

		if (piece->added >= 0) {
			copy_piece(w, piece);
			add_copied(w, piece, at);
			continue;
		}
		for (size_t word = 0, end; word < n; word = end) {
			struct rt_piece part = *piece;

			end = p->use_regex ? rt_byte_level_word(w->text->bytes + piece->first, n, word) : n;
			if (p->use_regex)
				part.base = rt_ntext_align(w->text, piece->first + word).first;
			at = w->spare_text.len;
			map_bytes(w, piece->first + word, piece->first + end);
			add_copied(w, &part, at);
		}
	}
	exchange_text(w);
	exchange_pieces(w);
}

static void split_metaspace(const struct rt_pretokenizer *p, struct rt_split_work *w)
{
	const char *mark = p->replacement;
	unsigned mark_len = p->replacement_len, len;
	uint32_t mark_cp = rt_uc_next(mark, &len);

	for (size_t i = 0; i < w->pieces->n; i++) {
		const struct rt_piece *piece = &w->pieces->list[i];
		const struct rt_ntext *t = w->text;
		size_t at = w->spare_text.len;
		bool marked;

		if (piece->added >= 0) {
			copy_piece(w, piece);
			add_copied(w, piece, at);
			continue;
		}
		len = 0;
		marked =
			t->bytes[piece->first] == ' ' || rt_uc_next(t->bytes + piece->first, &len) == mark_cp;
		if (!marked && (p->scheme == ALWAYS || (p->scheme == FIRST && piece->base == 0)))
			put_prefix(w, piece, mark, mark_len);
		for (size_t k = piece->first; k < piece->end;) {
			size_t end = k;

			while (end < piece->end && t->bytes[end] != ' ')
				end++;
			rt_ntext_add(&w->spare_text, t->bytes + k, t->aligned ? t->align + k : NULL, end - k);
			if (end < piece->end)
				rt_ntext_add_all(&w->spare_text, mark, rt_ntext_align(t, end), mark_len);
			k = end + 1;
		}
		add_copied(w, piece, at);
	}
	exchange_text(w);
	exchange_pieces(w);
	if (p->split && !w->text->failed) {
		struct rt_pretokenizer by_mark = { .delimiter = mark_cp };

		split_where(&by_mark, w, is_delimiter, MERGED_WITH_NEXT);
	}
}

int rt_pretokenizer_run(const struct rt_pretokenizer *p, struct rt_split_work *w, struct rt_err *err)
{
	int rc = 0;

	if (!p)
		return 0;
	switch (p->kind) {
	case SEQUENCE:
		for (size_t i = 0; i < p->part_count && rc == 0; i++)
			rc = rt_pretokenizer_run(p->parts[i], w, err);
		return rc;
	case BERT:
		split_bert(w);
		break;
	case BYTE_LEVEL:
		split_byte_level(p, w);
		break;
	case METASPACE:
		split_metaspace(p, w);
		break;
	case WHITESPACE:
		split_words(w);
		break;
	case WHITESPACE_SPLIT:
		split_where(p, w, is_white, REMOVED);
		break;
	case PUNCTUATION:
		split_where(p, w, is_punct, p->behavior);
		break;
	case DIGITS:
		split_where(p, w, is_numeric, p->behavior);
		break;
	case SPLIT:
		rc = split_pattern(p, w, err);
		break;
	case DELIMITER:
		split_where(p, w, is_delimiter, REMOVED);
		break;
	case FIXED_LENGTH:
		split_fixed(p, w);
		break;
	}
	if (rc < 0)
		return -1;
	if (w->pieces->failed || w->spare.failed)
		return rt_fail(err, RT_NO_MEMORY, "no memory to split a text");
	return rt_ntext_check(w->text->failed ? w->text : &w->spare_text, err);
}

void rt_pretokenizer_describe(const struct rt_pretokenizer *p, struct rt_buf *out)
{
	if (!p)
		return;
	switch (p->kind) {
	case SEQUENCE:
		for (size_t i = 0; i < p->part_count; i++)
			rt_pretokenizer_describe(p->parts[i], out);
		return;
	case BYTE_LEVEL:
		rt_buf_fmt(out, "bytes %d%d", p->add_prefix_space, p->use_regex);
		break;
	case METASPACE:
		rt_buf_fmt(out, "metaspace %.*s %d %d", (int)p->replacement_len, p->replacement,
			   (int)p->scheme, p->split);
		break;
	case PUNCTUATION:
	case DIGITS:
		rt_buf_fmt(out, "kind %d %d", (int)p->kind, (int)p->behavior);
		break;
	case SPLIT:
		rt_buf_fmt(out, "split %d %d ", (int)p->behavior, p->invert);
		rt_regex_describe(p->pattern, out);
		break;
	case DELIMITER:
		rt_buf_fmt(out, "delimiter %u", (unsigned)p->delimiter);
		break;
	case FIXED_LENGTH:
		rt_buf_fmt(out, "length %lld", (long long)p->length);
		break;
	case BERT:
	case WHITESPACE:
	case WHITESPACE_SPLIT:
		rt_buf_fmt(out, "kind %d", (int)p->kind);
		break;
	}
	rt_buf_char(out, '\n');
}
