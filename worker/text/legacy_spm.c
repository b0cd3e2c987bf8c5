/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/legacy_spm.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "worker/text/spmodel.h"
#include "worker/text/unicode.h"

enum { FAIRSEQ_FIRST = 3, FAIRSEQ_UNK = 3 }; /* the pieces before it are fairseq's own; the id of <unk> */

void rt_legacy_spm_release(struct rt_legacy_spm *s)
{
	rt_legacy_vocab_release(&s->vocab);
	json_decref(s->normalizer);
	json_decref(s->pretokenizer);
	*s = (struct rt_legacy_spm){ 0 };
}

static int no_memory(struct rt_err *err)
{
	return rt_fail(err, RT_NO_MEMORY, "no memory for the vocabulary");
}

/* A model in the making. list: [[piece, score]…] */
struct work {
	const char *bytes;
	struct rt_sp_model model;
	struct rt_legacy_vocab vocab;
	json_t *list;
};

static int add(struct work *w, const char *text, size_t len, double score, struct rt_err *err)
{
	json_int_t id = (json_int_t)json_array_size(w->list);
	json_t *entry = json_pack("[o, o]", json_stringn(text, len), json_real(score));

	if (json_array_append_new(w->list, entry) < 0 ||
	    json_object_setn_new(w->vocab.ids, text, len, json_integer(id)) < 0)
		return no_memory(err);
	return 0;
}

/* The piece whose text is the token with this role. */
static int add_role(struct work *w, const struct rt_legacy_tokens *tokens, enum rt_role role,
		    struct rt_err *err)
{
	const char *text;
	size_t len;

	rt_legacy_role(tokens, role, &text, &len);
	if (!text)
		return rt_fail(err, RT_INVALID, "a special token that the vocabulary needs must not be null");
	return add(w, text, len, 0, err);
}

/* Python's str.isdigit() */
static bool is_digit(uint32_t cp)
{
	/* superscripts, circled ones and the like: Numeric_Type=Digit that are not decimal digits */
	static const struct rt_uc_range digits[] = {
		{ 0xB2, 0xB3 },	      { 0xB9, 0xB9 },	    { 0x1369, 0x1371 },	  { 0x19DA, 0x19DA },
		{ 0x2070, 0x2070 },   { 0x2074, 0x2079 },   { 0x2080, 0x2089 },	  { 0x2460, 0x2468 },
		{ 0x2474, 0x247C },   { 0x2488, 0x2490 },   { 0x24EA, 0x24EA },	  { 0x24F5, 0x24FD },
		{ 0x24FF, 0x24FF },   { 0x2776, 0x277E },   { 0x2780, 0x2788 },	  { 0x278A, 0x2792 },
		{ 0x10A40, 0x10A43 }, { 0x10E60, 0x10E68 }, { 0x11052, 0x1105A }, { 0x1F100, 0x1F10A },
	};
	static const struct rt_uc_set set = { digits, sizeof digits / sizeof *digits };

	if (cp < 0x80)
		return cp >= '0' && cp <= '9';
	return utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_ND || rt_uc_in(&set, cp);
}

/* A piece that ends with a digit and a comma: ALBERT was trained without those. */
static bool is_number_comma(const char *text, size_t len)
{
	size_t at = len - 1;
	unsigned step;

	if (len < 2 || text[at] != ',')
		return false;
	do
		at--;
	while (!rt_uc_is_start(text[at]));
	return is_digit(rt_uc_next(text + at, &step));
}

static int add_pieces(struct work *w, enum rt_spm_family family, const struct rt_legacy_tokens *tokens,
		      struct rt_err *err)
{
	static const enum rt_role fairseq[] = { RT_BOS, RT_PAD, RT_EOS, RT_UNK };
	const bool xlmr = family == RT_SPM_XLMR;

	if (xlmr && w->model.n < FAIRSEQ_FIRST)
		return rt_fail(
			err, RT_INVALID,
			"the SentencePiece model has %zu pieces; XLM-RoBERTa's begin with %d of its own",
			w->model.n, FAIRSEQ_FIRST);
	for (size_t i = 0; xlmr && i < sizeof fairseq / sizeof *fairseq; i++)
		if (add_role(w, tokens, fairseq[i], err) < 0)
			return -1;
	for (size_t i = xlmr ? FAIRSEQ_FIRST : 0; i < w->model.n; i++) {
		const struct rt_sp_piece *p = &w->model.pieces[i];
		const char *text = w->bytes + p->at;
		bool unlikely = family == RT_SPM_ALBERT && is_number_comma(text, p->len);

		if (add(w, text, p->len, unlikely ? (double)p->score - 100 : (double)p->score, err) < 0)
			return -1;
	}
	return xlmr ? add_role(w, tokens, RT_MASK, err) : 0;
}

/* What the trainer was told never to cut: such pieces become added tokens. */
static int add_symbols(struct work *w, struct rt_err *err)
{
	for (size_t i = 0; i < w->model.n; i++) {
		const struct rt_sp_piece *p = &w->model.pieces[i];

		if (p->kind != RT_SP_CONTROL && p->kind != RT_SP_USER_DEFINED)
			continue;
		if (json_array_append_new(w->vocab.symbols,
					  json_pack("{s:s%, s:b}", "content", w->bytes + p->at,
						    (size_t)p->len, "special", p->kind == RT_SP_CONTROL)) < 0)
			return no_memory(err);
	}
	return 0;
}

static int check_type(const struct rt_sp_model *m, struct rt_err *err)
{
	static const char *const names[] = { "0", "Unigram", "BPE", "word", "char" };

	if (m->type == 1)
		return 0;
	if (m->type > 1 && m->type < (int64_t)(sizeof names / sizeof *names))
		return rt_fail(err, RT_UNSUPPORTED,
			       "a SentencePiece model of type %s is not supported, only Unigram is",
			       names[m->type]);
	return rt_fail(err, RT_UNSUPPORTED,
		       "a SentencePiece model of type %lld is not supported, only Unigram is",
		       (long long)m->type);
}

static int make_vocab(struct work *w, enum rt_spm_family family, const struct rt_legacy_tokens *tokens,
		      struct rt_err *err)
{
	w->list = json_array();
	w->vocab.ids = json_object();
	w->vocab.symbols = json_array();
	if (!w->list || !w->vocab.ids || !w->vocab.symbols)
		return no_memory(err);
	if (check_type(&w->model, err) < 0 || add_pieces(w, family, tokens, err) < 0 ||
	    add_symbols(w, err) < 0)
		return -1;
	w->vocab.size = json_array_size(w->list);
	w->vocab.model = json_pack("{s:s, s:I, s:b, s:O}", "type", "Unigram", "unk_id",
				   (json_int_t)(family == RT_SPM_XLMR ? FAIRSEQ_UNK : w->model.unk_id),
				   "byte_fallback", 0, "vocab", w->list);
	return w->vocab.model ? 0 : no_memory(err);
}

static int step(json_t *list, json_t *given, struct rt_err *err)
{
	return json_array_append_new(list, given) < 0 ? no_memory(err) : 0;
}

static json_t *of_type(const char *type)
{
	return json_pack("{s:s}", "type", type);
}

static json_t *replace(const char *kind, const char *pattern, const char *content)
{
	return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", kind, pattern, "content",
			 content);
}

static json_t *precompiled(const struct rt_sp_model *m)
{
	size_t room = sodium_base64_ENCODED_LEN(m->charsmap_len, sodium_base64_VARIANT_ORIGINAL);
	char *text = malloc(room);
	json_t *json = NULL;

	if (text)
		json = json_pack("{s:s, s:s}", "type", "Precompiled", "precompiled_charsmap",
				 sodium_bin2base64(text, room, m->charsmap, m->charsmap_len,
						   sodium_base64_VARIANT_ORIGINAL));
	free(text);
	return json;
}

static int option(const json_t *config, const char *key, bool otherwise, bool *ret, struct rt_err *err)
{
	*ret = otherwise;
	return rt_json_get_bool(config, key, ret, err);
}

static int albert_steps(const json_t *config, json_t *steps, struct rt_err *err)
{
	bool keep, lower;

	if (option(config, "keep_accents", false, &keep, err) < 0 ||
	    option(config, "do_lower_case", true, &lower, err) < 0 ||
	    step(steps, replace("String", "``", "\""), err) < 0 ||
	    step(steps, replace("String", "''", "\""), err) < 0)
		return -1;
	if (!keep && (step(steps, of_type("NFKD"), err) < 0 || step(steps, of_type("StripAccents"), err) < 0))
		return -1;
	return lower ? step(steps, of_type("Lowercase"), err) : 0;
}

static int deberta_steps(const json_t *config, json_t *steps, struct rt_err *err)
{
	bool lower;

	if (option(config, "do_lower_case", false, &lower, err) < 0 ||
	    (lower && step(steps, of_type("Lowercase"), err) < 0))
		return -1;
	return step(steps, json_pack("{s:s, s:b, s:b}", "type", "Strip", "strip_left", 1, "strip_right", 1),
		    err);
}

static int make_normalizer(const struct rt_sp_model *m, enum rt_spm_family family, const json_t *config,
			   json_t **ret, struct rt_err *err)
{
	json_t *steps;
	int rc = 0;

	if (family == RT_SPM_XLMR) {
		*ret = m->charsmap ? precompiled(m) : json_null();
		return *ret ? 0 : no_memory(err);
	}
	*ret = json_pack("{s:s, s:[]}", "type", "Sequence", "normalizers");
	steps = json_object_get(*ret, "normalizers");
	if (!steps)
		return no_memory(err);
	rc = family == RT_SPM_ALBERT ? albert_steps(config, steps, err) : deberta_steps(config, steps, err);
	if (rc == 0 && m->charsmap)
		rc = step(steps, precompiled(m), err);
	return rc < 0 ? -1 : step(steps, replace("Regex", " {2,}", " "), err);
}

static int make_pretokenizer(enum rt_spm_family family, const json_t *config, json_t **ret,
			     struct rt_err *err)
{
	bool prefix, punct;
	json_t *steps;

	if (option(config, "add_prefix_space", true, &prefix, err) < 0 ||
	    option(config, "split_by_punct", false, &punct, err) < 0)
		return -1;
	*ret = json_pack("{s:s, s:[]}", "type", "Sequence", "pretokenizers");
	steps = json_object_get(*ret, "pretokenizers");
	if (!steps)
		return no_memory(err);
	if (family != RT_SPM_DEBERTA && step(steps, of_type("WhitespaceSplit"), err) < 0)
		return -1;
	if (family == RT_SPM_DEBERTA && punct &&
	    step(steps, json_pack("{s:s, s:s}", "type", "Punctuation", "behavior", "Isolated"), err) < 0)
		return -1;
	return step(steps,
		    json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", "\xe2\x96\x81",
			      "prepend_scheme", prefix ? "always" : "never", "split", 1),
		    err);
}

int rt_legacy_spm(enum rt_spm_family family, const struct rt_legacy_tokens *tokens, const void *bytes,
		  size_t size, struct rt_legacy_spm *ret, struct rt_err *err)
{
	struct work w = { .bytes = bytes };
	struct rt_legacy_spm made = { .normalizer = NULL };
	int rc = -1;

	if (rt_sp_model_read(bytes, size, &w.model, err) < 0)
		return -1;
	if (make_vocab(&w, family, tokens, err) < 0 ||
	    make_normalizer(&w.model, family, tokens->config, &made.normalizer, err) < 0 ||
	    make_pretokenizer(family, tokens->config, &made.pretokenizer, err) < 0)
		goto out;
	made.vocab = w.vocab;
	w.vocab = (struct rt_legacy_vocab){ 0 };
	*ret = made;
	made = (struct rt_legacy_spm){ 0 };
	rc = 0;
out:
	json_decref(w.list);
	rt_legacy_vocab_release(&w.vocab);
	rt_legacy_spm_release(&made);
	rt_sp_model_release(&w.model);
	return rc;
}
