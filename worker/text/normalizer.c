/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/normalizer.h"

#include <stdlib.h>
#include <string.h>

#include "worker/text/charsmap.h"
#include "worker/text/component.h"
#include "worker/text/normal_form.h"
#include "worker/text/unicode.h"

enum kind {
	SEQUENCE,
	BERT,
	FORM,
	LOWERCASE,
	STRIP,
	STRIP_ACCENTS,
	REPLACE,
	PRECOMPILED,
	PREPEND,
	NMT,
	BYTE_LEVEL
};

struct rt_normalizer {
	enum kind kind;
	struct rt_normalizer **parts; /* SEQUENCE */
	size_t part_count;
	bool clean_text, chinese, strip_accents, lowercase; /* BERT */
	bool left, right;				    /* STRIP */
	enum rt_form form;				    /* FORM */
	struct rt_charsmap *map;			    /* PRECOMPILED */
	struct rt_regex *pattern;			    /* REPLACE */
	char *content;					    /* REPLACE, PREPEND */
	size_t content_len;
};

static const struct {
	const char *type;
	enum kind kind;
	enum rt_form form;
} kinds[] = {
	{ "Sequence", SEQUENCE, 0 },
	{ "BertNormalizer", BERT, 0 },
	{ "NFC", FORM, RT_NFC },
	{ "NFD", FORM, RT_NFD },
	{ "NFKC", FORM, RT_NFKC },
	{ "NFKD", FORM, RT_NFKD },
	{ "Lowercase", LOWERCASE, 0 },
	{ "Strip", STRIP, 0 },
	{ "StripAccents", STRIP_ACCENTS, 0 },
	{ "Replace", REPLACE, 0 },
	{ "Prepend", PREPEND, 0 },
	{ "Precompiled", PRECOMPILED, 0 },
	{ "Nmt", NMT, 0 },
	{ "ByteLevel", BYTE_LEVEL, 0 },
};

void rt_normalizer_free(struct rt_normalizer *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < n->part_count; i++)
		rt_normalizer_free(n->parts[i]);
	free(n->parts);
	rt_charsmap_free(n->map);
	rt_regex_free(n->pattern);
	free(n->content);
	free(n);
}

static int read_content(struct rt_normalizer *n, const json_t *json, const char *key, struct rt_err *err)
{
	const char *text = NULL;

	if (rt_component_text(json, key, &text, &n->content_len, err) < 0)
		return -1;
	n->content = malloc(n->content_len + 1);
	if (!n->content)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a normalizer");
	memcpy(n->content, text, n->content_len + 1);
	return 0;
}

static int read_bert(struct rt_normalizer *n, const json_t *json, struct rt_err *err)
{
	n->clean_text = n->chinese = n->lowercase = true;
	if (rt_json_get_bool(json, "clean_text", &n->clean_text, err) < 0 ||
	    rt_json_get_bool(json, "handle_chinese_chars", &n->chinese, err) < 0 ||
	    rt_json_get_bool(json, "lowercase", &n->lowercase, err) < 0)
		return -1;
	n->strip_accents = n->lowercase; /* null means so */
	return rt_json_get_bool(json, "strip_accents", &n->strip_accents, err);
}

static int read_map(struct rt_normalizer *n, const json_t *json, struct rt_err *err)
{
	const char *text = "";
	size_t len = 0;

	if (rt_component_text(json, "precompiled_charsmap", &text, &len, err) < 0)
		return -1;
	return rt_charsmap_new_base64(text, len, &n->map, err);
}

static int read_normalizer(const json_t *json, int depth, struct rt_normalizer **ret, struct rt_err *err);

static int read_parts(struct rt_normalizer *n, const json_t *json, int depth, struct rt_err *err)
{
	const json_t *list;
	size_t count;

	if (rt_component_list(json, "normalizers", &list, err) < 0)
		return -1;
	count = json_array_size(list);
	n->parts = calloc(count + 1, sizeof(struct rt_normalizer *));
	if (!n->parts)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a normalizer");
	for (size_t i = 0; i < count; i++) {
		if (read_normalizer(json_array_get(list, i), depth + 1, &n->parts[i], err) < 0)
			return -1;
		n->part_count++;
	}
	return 0;
}

static int read_normalizer(const json_t *json, int depth, struct rt_normalizer **ret, struct rt_err *err)
{
	struct rt_normalizer *n;
	const char *type;
	size_t k = 0;
	int rc = 0;

	if (rt_component_type(json, "normalizer", &type, err) < 0)
		return -1;
	while (k < sizeof kinds / sizeof *kinds && strcmp(kinds[k].type, type) != 0)
		k++;
	if (k == sizeof kinds / sizeof *kinds)
		return rt_fail(err, RT_UNSUPPORTED, "unknown normalizer '%s'", type);
	if (depth > RT_COMPONENT_DEPTH)
		return rt_fail(err, RT_INVALID, "normalizers are nested more than %d deep",
			       RT_COMPONENT_DEPTH);
	n = calloc(1, sizeof *n);
	if (!n)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a normalizer");
	n->kind = kinds[k].kind;
	n->form = kinds[k].form;
	n->left = n->right = true;
	switch (n->kind) {
	case SEQUENCE:
		rc = read_parts(n, json, depth, err);
		break;
	case BERT:
		rc = read_bert(n, json, err);
		break;
	case STRIP:
		if (rt_json_get_bool(json, "strip_left", &n->left, err) < 0 ||
		    rt_json_get_bool(json, "strip_right", &n->right, err) < 0)
			rc = -1;
		break;
	case REPLACE:
		if (rt_component_pattern(json, &n->pattern, err) < 0 ||
		    read_content(n, json, "content", err) < 0)
			rc = -1;
		break;
	case PREPEND:
		rc = read_content(n, json, "prepend", err);
		break;
	case PRECOMPILED:
		rc = read_map(n, json, err);
		break;
	default:
		break;
	}
	if (rc < 0) {
		if (n->kind != SEQUENCE)
			rt_fail_in(err, "normalizer %s", type);
		rt_normalizer_free(n);
		return -1;
	}
	*ret = n;
	return 0;
}

int rt_normalizer_new(const json_t *json, struct rt_normalizer **ret, struct rt_err *err)
{
	if (!json || json_is_null(json)) {
		*ret = NULL;
		return 0;
	}
	return read_normalizer(json, 0, ret, err);
}

/* A step writes the new text into w->spare; then the two change places. */
static struct rt_ntext *begin(struct rt_norm_work *w)
{
	rt_ntext_clear(&w->spare, w->text->base);
	return &w->spare;
}

static void end(struct rt_norm_work *w)
{
	struct rt_ntext new = w->spare;

	w->spare = *w->text;
	*w->text = new;
}

static void run_filter(struct rt_norm_work *w, const struct rt_uc_set *drop)
{
	const struct rt_ntext *t = w->text;
	struct rt_ntext *out = begin(w);
	unsigned len;

	for (size_t i = 0; i < t->len; i += len) {
		uint32_t cp = rt_uc_next(t->bytes + i, &len);

		if (!rt_uc_in(drop, cp))
			rt_ntext_add_all(out, t->bytes + i, rt_ntext_align(t, i), len);
	}
	end(w);
}

static void run_lowercase(struct rt_norm_work *w)
{
	const struct rt_ntext *t = w->text;
	struct rt_ntext *out;
	unsigned len;

	if (rt_uc_ascii(t->bytes, t->len)) {
		for (size_t i = 0; i < t->len; i++)
			if (w->text->bytes[i] >= 'A' && w->text->bytes[i] <= 'Z')
				w->text->bytes[i] = (char)(w->text->bytes[i] + 32);
		return;
	}
	out = begin(w);
	for (size_t i = 0; i < t->len; i += len) {
		uint32_t lower[2];
		int n = rt_uc_lower(rt_uc_next(t->bytes + i, &len), lower);

		for (int k = 0; k < n; k++)
			rt_ntext_add_cp(out, lower[k], rt_ntext_align(t, i));
	}
	end(w);
}

/* Runs the changes that were collected. */
static void run_changes(struct rt_norm_work *w)
{
	struct rt_ntext *out = begin(w);

	if (w->changes.failed)
		out->failed = RT_NO_MEMORY;
	else
		rt_ntext_change(out, w->text, w->changes.list, w->changes.n, 0);
	end(w);
}

static void run_form(struct rt_norm_work *w, enum rt_form form)
{
	if (rt_form_is_plain(form, w->text->bytes, w->text->len))
		return;
	w->changes.n = 0;
	rt_form_changes(form, w->text->bytes, w->text->len, &w->changes);
	run_changes(w);
}

static bool is_chinese(uint32_t cp)
{
	/* 2B920 is what the library says; Unicode's extension E begins at 2B820 */
	return (cp >= 0x4E00 && cp <= 0x9FFF) || (cp >= 0x3400 && cp <= 0x4DBF) ||
	       (cp >= 0x20000 && cp <= 0x2A6DF) || (cp >= 0x2A700 && cp <= 0x2B73F) ||
	       (cp >= 0x2B740 && cp <= 0x2B81F) || (cp >= 0x2B920 && cp <= 0x2CEAF) ||
	       (cp >= 0xF900 && cp <= 0xFAFF) || (cp >= 0x2F800 && cp <= 0x2FA1F);
}

/* clean_text and handle_chinese_chars, in one go. */
static void run_bert_clean(const struct rt_normalizer *n, struct rt_norm_work *w)
{
	const struct rt_ntext *t = w->text;
	struct rt_ntext *out = begin(w);
	unsigned len;

	for (size_t i = 0; i < t->len; i += len) {
		uint32_t cp = rt_uc_next(t->bytes + i, &len);
		struct rt_range align = rt_ntext_align(t, i);

		if (n->clean_text && (cp <= ' ' || cp >= 0x7F)) {
			if (rt_uc_in(&rt_uc_control, cp))
				continue;
			if (rt_uc_in(&rt_uc_white, cp)) {
				rt_ntext_add_all(out, " ", align, 1);
				continue;
			}
		}
		if (n->chinese && cp >= 0x3400 && is_chinese(cp)) {
			rt_ntext_add_all(out, " ", align, 1);
			rt_ntext_add_all(out, t->bytes + i, align, len);
			rt_ntext_add_all(out, " ", align, 1);
		} else {
			rt_ntext_add_all(out, t->bytes + i, align, len);
		}
	}
	end(w);
}

static void run_bert(const struct rt_normalizer *n, struct rt_norm_work *w)
{
	bool plain = true; /* printable ASCII: nothing to clean */

	for (size_t i = 0; i < w->text->len && plain; i++)
		plain = w->text->bytes[i] >= ' ' && w->text->bytes[i] < 0x7F;
	if (!plain && (n->clean_text || n->chinese))
		run_bert_clean(n, w);
	if (!plain && n->strip_accents && !rt_uc_ascii(w->text->bytes, w->text->len)) {
		run_form(w, RT_NFD);
		run_filter(w, &rt_uc_nonspacing);
	}
	if (n->lowercase)
		run_lowercase(w);
}

static void run_strip(const struct rt_normalizer *n, struct rt_norm_work *w)
{
	const struct rt_ntext *t = w->text;
	size_t first = 0, last = t->len;
	struct rt_ntext *out;
	unsigned len;

	while (n->left && first < last && rt_uc_in(&rt_uc_white, rt_uc_next(t->bytes + first, &len)))
		first += len;
	while (n->right && last > first) {
		size_t start = last - 1;

		while (!rt_uc_is_start(t->bytes[start]))
			start--;
		if (!rt_uc_in(&rt_uc_white, rt_uc_next(t->bytes + start, &len)))
			break;
		last = start;
	}
	if (first == 0 && last == t->len)
		return;
	out = begin(w);
	rt_ntext_add(out, t->bytes + first, t->aligned ? t->align + first : NULL, last - first);
	end(w);
}

static void run_replace(const struct rt_normalizer *n, struct rt_norm_work *w, struct rt_err *err,
			int *ret_rc)
{
	const struct rt_ntext *t = w->text;
	struct rt_ntext *out;

	*ret_rc = rt_regex_split(n->pattern, t->bytes, t->len, &w->matches, err);
	if (*ret_rc < 0 || (w->matches.n == 1 && !w->matches.list[0].is_match))
		return;
	out = begin(w);
	for (size_t i = 0; i < w->matches.n && !out->failed; i++) {
		const struct rt_match *m = &w->matches.list[i];

		if (m->is_match) /* shares the place of the last byte it replaces */
			rt_ntext_add_all(out, n->content,
					 m->end > 0 ? rt_ntext_align(t, m->end - 1)
						    : (struct rt_range){ t->base, t->base },
					 n->content_len);
		else
			rt_ntext_add(out, t->bytes + m->first, t->aligned ? t->align + m->first : NULL,
				     m->end - m->first);
	}
	end(w);
}

static void run_prepend(const struct rt_normalizer *n, struct rt_norm_work *w)
{
	const struct rt_ntext *t = w->text;
	struct rt_ntext *out;

	if (t->len == 0)
		return;
	out = begin(w);
	rt_ntext_add_all(out, n->content, rt_ntext_align(t, 0), n->content_len);
	rt_ntext_add(out, t->bytes, t->align, t->len);
	end(w);
}

static void run_nmt(struct rt_norm_work *w)
{
	const struct rt_ntext *t = w->text;
	struct rt_ntext *out = begin(w);
	unsigned len;

	for (size_t i = 0; i < t->len; i += len) {
		uint32_t cp = rt_uc_next(t->bytes + i, &len);

		if ((cp >= 1 && cp <= 8) || cp == 0xB || (cp >= 0xE && cp <= 0x1F) || cp == 0x7F ||
		    cp == 0x8F || cp == 0x9F)
			continue;
		if (cp == 9 || cp == 0xA || cp == 0xC || cp == 0xD || cp == 0x1680 ||
		    (cp >= 0x200B && cp <= 0x200F) || cp == 0x2028 || cp == 0x2029 || cp == 0x2581 ||
		    cp == 0xFEFF || cp == 0xFFFD)
			rt_ntext_add_all(out, " ", rt_ntext_align(t, i), 1);
		else
			rt_ntext_add_all(out, t->bytes + i, rt_ntext_align(t, i), len);
	}
	end(w);
}

uint32_t rt_byte_char(unsigned char b)
{
	if ((b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE)
		return b;
	/* the other 68 follow each other from U+0100 */
	return 0x100u + (b <= 0x20 ? b : b <= 0xA0 ? b - 0x7Fu + 33 : 67);
}

static void run_byte_level(struct rt_norm_work *w)
{
	const struct rt_ntext *t = w->text;
	struct rt_ntext *out = begin(w);

	for (size_t i = 0; i < t->len; i++)
		rt_ntext_add_cp(out, rt_byte_char((unsigned char)t->bytes[i]), rt_ntext_align(t, i));
	end(w);
}

int rt_normalizer_run(const struct rt_normalizer *n, struct rt_norm_work *w, struct rt_err *err)
{
	int rc = 0;

	if (!n)
		return 0;
	switch (n->kind) {
	case SEQUENCE:
		for (size_t i = 0; i < n->part_count && rc == 0; i++)
			rc = rt_normalizer_run(n->parts[i], w, err);
		return rc;
	case BERT:
		run_bert(n, w);
		break;
	case FORM:
		run_form(w, n->form);
		break;
	case LOWERCASE:
		run_lowercase(w);
		break;
	case STRIP:
		run_strip(n, w);
		break;
	case STRIP_ACCENTS:
		if (!rt_uc_ascii(w->text->bytes, w->text->len))
			run_filter(w, &rt_uc_accent);
		break;
	case REPLACE:
		run_replace(n, w, err, &rc);
		break;
	case PRECOMPILED:
		w->changes.n = 0;
		if (rt_charsmap_apply(n->map, w->text->bytes, w->text->len, w->text->max, &w->changes) ||
		    w->changes.failed)
			run_changes(w);
		break;
	case PREPEND:
		run_prepend(n, w);
		break;
	case NMT:
		run_nmt(w);
		break;
	case BYTE_LEVEL:
		run_byte_level(w);
		break;
	}
	return rc < 0 ? -1 : rt_ntext_check(w->text, err);
}

void rt_normalizer_describe(const struct rt_normalizer *n, struct rt_buf *out)
{
	if (!n)
		return;
	switch (n->kind) {
	case SEQUENCE:
		for (size_t i = 0; i < n->part_count; i++)
			rt_normalizer_describe(n->parts[i], out);
		return;
	case PRECOMPILED:
		rt_charsmap_describe(n->map, out);
		return;
	case BERT:
		rt_buf_fmt(out, "bert %d%d%d%d", n->clean_text, n->chinese, n->strip_accents, n->lowercase);
		break;
	case FORM:
		rt_buf_fmt(out, "form %d", (int)n->form);
		break;
	case STRIP:
		rt_buf_fmt(out, "strip %d%d", n->left, n->right);
		break;
	case REPLACE:
		rt_buf_str(out, "replace ");
		rt_regex_describe(n->pattern, out);
		rt_buf_fmt(out, " %zu:", n->content_len);
		rt_buf_add(out, n->content, n->content_len);
		break;
	case PREPEND:
		rt_buf_fmt(out, "prepend %zu:", n->content_len);
		rt_buf_add(out, n->content, n->content_len);
		break;
	case LOWERCASE:
	case STRIP_ACCENTS:
	case NMT:
	case BYTE_LEVEL:
		rt_buf_fmt(out, "kind %d", (int)n->kind);
		break;
	}
	rt_buf_char(out, '\n');
}
