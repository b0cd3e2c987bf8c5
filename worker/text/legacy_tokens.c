/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/legacy_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "worker/text/legacy_vocab.h"
#include "worker/text/tokenizer.h"

static const char *const role_keys[RT_ROLES] = { "bos_token", "eos_token", "unk_token", "sep_token",
						 "pad_token", "cls_token", "mask_token" };

static int no_memory(struct rt_err *err)
{
	return rt_fail(err, RT_NO_MEMORY, "no memory for a tokenizer");
}

int rt_legacy_object(const char *dir, const char *name, json_t **ret, struct rt_err *err)
{
	char *path = rt_path_join(dir, name);
	struct rt_buf text = RT_BUF_INIT;
	json_t *json = NULL;
	int rc = -1;

	if (!path)
		return no_memory(err);
	if (!rt_file_exists(path)) {
		rc = 0;
		goto out;
	}
	if (rt_file_read(path, RT_TOKENIZER_FILE_MAX, &text, err) < 0)
		goto out;
	json = rt_json_parse(rt_buf_text(&text), text.len, err);
	if (json && !json_is_object(json)) {
		rt_fail(err, RT_INVALID, "must be an object");
		json_decref(json);
		json = NULL;
	}
	if (!json) {
		rt_fail_in(err, "%s", name);
		goto out;
	}
	*ret = json;
	rc = 0;
out:
	rt_buf_release(&text);
	free(path);
	return rc;
}

/* The text of a token that is a string or an object with content; NULL for neither. */
static const json_t *content_of(const json_t *token)
{
	const json_t *content = json_is_object(token) ? json_object_get(token, "content") : token;

	return json_is_string(content) ? content : NULL;
}

void rt_legacy_role(const struct rt_legacy_tokens *t, enum rt_role role, const char **ret_text,
		    size_t *ret_len)
{
	const json_t *content = content_of(t->roles[role]);

	*ret_text = t->roles[role] ? json_string_value(content) : t->defaults->tokens[role];
	*ret_len = content ? json_string_length(content) : *ret_text ? strlen(*ret_text) : 0;
}

int rt_legacy_tokens_init(struct rt_legacy_tokens *t, const char *dir, const json_t *config,
			  const struct rt_role_defaults *defaults, struct rt_err *err)
{
	*t = (struct rt_legacy_tokens){ .defaults = defaults, .config = config };
	/* as the library has it: who lists the added tokens in the newer way means them all */
	if (!json_object_get(config, "added_tokens_decoder") &&
	    rt_legacy_object(dir, "special_tokens_map.json", &t->specials, err) < 0)
		return -1;
	for (int r = 0; r < RT_ROLES; r++) {
		const json_t *v = json_object_get(t->specials, role_keys[r]);

		t->roles[r] = v ? v : json_object_get(config, role_keys[r]);
		if (t->roles[r] && !json_is_null(t->roles[r]) && !content_of(t->roles[r]))
			return rt_fail(err, RT_INVALID, "%s must be a string, or an object with content",
				       role_keys[r]);
	}
	return 0;
}

void rt_legacy_tokens_release(struct rt_legacy_tokens *t)
{
	json_decref(t->specials);
	json_decref(t->added);
	json_decref(t->added_ids);
	*t = (struct rt_legacy_tokens){ 0 };
}

const json_t *rt_legacy_id(const struct rt_legacy_tokens *t, const char *text, size_t len)
{
	const json_t *id = json_object_getn(t->ids, text, len);

	return id ? id : json_object_getn(t->added_ids, text, len);
}

struct flags {
	bool single_word, lstrip, rstrip, normalized, special;
};

/* Adds a token unless one with this text is there already. object: says flags differently; may be NULL. declared: the
 * id that a file claims, or -1. */
static int add_token(struct rt_legacy_tokens *t, const char *text, size_t len, struct flags f,
		     const json_t *object, int64_t declared, struct rt_err *err)
{
	const json_t *known;
	json_int_t id;
	json_t *token;

	if (len == 0 || json_object_getn(t->added_ids, text, len))
		return 0;
	if (object && (rt_json_get_bool(object, "single_word", &f.single_word, err) < 0 ||
		       rt_json_get_bool(object, "lstrip", &f.lstrip, err) < 0 ||
		       rt_json_get_bool(object, "rstrip", &f.rstrip, err) < 0 ||
		       rt_json_get_bool(object, "normalized", &f.normalized, err) < 0 ||
		       rt_json_get_bool(object, "special", &f.special, err) < 0))
		return rt_fail_in(err, "added token '%.60s'", text);
	known = json_object_getn(t->ids, text, len);
	id = known ? json_integer_value(known) : (json_int_t)t->next_id;
	if (declared >= 0 && declared != id)
		return rt_fail(err, RT_INVALID,
			       "added token '%.60s' has the id %lld, but the vocabulary makes it %lld", text,
			       (long long)declared, (long long)id);
	t->next_id += !known;
	token = json_pack("{s:I, s:s%, s:b, s:b, s:b, s:b, s:b}", "id", id, "content", text, len,
			  "single_word", f.single_word, "lstrip", f.lstrip, "rstrip", f.rstrip, "normalized",
			  f.normalized, "special", f.special);
	if (json_array_append_new(t->added, token) < 0 ||
	    json_object_setn_new(t->added_ids, text, len, json_integer(id)) < 0)
		return no_memory(err);
	return 0;
}

struct declared {
	int64_t id;
	const char *text;
	size_t len;
	const json_t *object; /* of added_tokens_decoder */
};

static int by_id(const void *a, const void *b)
{
	const struct declared *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* {"id": {"content": …}}; the id may be anything a stranger writes. */
static int read_decoder_entry(const char *key, const json_t *value, struct declared *ret, struct rt_err *err)
{
	char *end = NULL;
	const json_t *content = json_is_object(value) ? content_of(value) : NULL;

	ret->id = strtoll(key, &end, 10);
	if (key[0] < '0' || key[0] > '9' || *end || ret->id > RT_TOKENIZER_ID_MAX)
		return rt_fail(err, RT_INVALID, "added_tokens_decoder: '%.60s' is no id from 0 to %d", key,
			       RT_TOKENIZER_ID_MAX);
	if (!content)
		return rt_fail(err, RT_INVALID, "added_tokens_decoder: %s must be an object with content",
			       key);
	ret->text = json_string_value(content);
	ret->len = json_string_length(content);
	ret->object = value;
	return 0;
}

/* Is it one of the special tokens that have a role? */
static bool has_role(const struct rt_legacy_tokens *t, const char *text, size_t len)
{
	for (int r = 0; r < RT_ROLES; r++) {
		const char *special;
		size_t special_len;

		rt_legacy_role(t, (enum rt_role)r, &special, &special_len);
		if (special && special_len == len && memcmp(special, text, len) == 0)
			return true;
	}
	return false;
}

/* The tokens that a file lists with their ids, in the order of those. decoder: {"id": {…}}, else {"token": id}. */
static int add_declared(struct rt_legacy_tokens *t, json_t *object, bool decoder, struct rt_err *err)
{
	size_t count = json_object_size(object), n = 0;
	struct declared *list = calloc(count + 1, sizeof *list);
	int rc = -1;

	if (!list)
		return no_memory(err);
	for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it), n++) {
		const json_t *value = json_object_iter_value(it);

		if (decoder) {
			if (read_decoder_entry(json_object_iter_key(it), value, &list[n], err) < 0)
				goto out;
			continue;
		}
		list[n] = (struct declared){ json_integer_value(value), json_object_iter_key(it),
					     json_object_iter_key_len(it), NULL };
		if (!json_is_integer(value) || list[n].id < 0 || list[n].id > RT_TOKENIZER_ID_MAX) {
			rt_fail(err, RT_INVALID, "added_tokens.json: the id of '%.60s' must be from 0 to %d",
				list[n].text, RT_TOKENIZER_ID_MAX);
			goto out;
		}
	}
	qsort(list, n, sizeof *list, by_id);
	for (size_t i = 0; i < n; i++) {
		bool special = !decoder && has_role(t, list[i].text, list[i].len);
		struct flags f = { .normalized = !special, .special = special };

		if (add_token(t, list[i].text, list[i].len, f, list[i].object, list[i].id, err) < 0)
			goto out;
	}
	rc = 0;
out:
	free(list);
	return rc;
}

/* A list of tokens, or an object whose values are tokens. */
static int add_extra(struct rt_legacy_tokens *t, const char *key, struct rt_err *err)
{
	json_t *extra = json_object_get(t->specials, key), *token;
	const struct flags f = { .special = true };
	const char *name;
	size_t i;

	extra = extra ? extra : json_object_get(t->config, key);
	if (json_is_array(extra)) {
		json_array_foreach(extra, i, token)
		{
			const json_t *content = content_of(token);

			if (!content)
				return rt_fail(err, RT_INVALID, "%s: entry %zu must be a token", key, i);
			if (add_token(t, json_string_value(content), json_string_length(content), f,
				      json_is_object(token) ? token : NULL, -1, err) < 0)
				return -1;
		}
		return 0;
	}
	json_object_foreach(extra, name, token)
	{
		const json_t *content = content_of(token);

		if (!content)
			return rt_fail(err, RT_INVALID, "%s: %s must be a token", key, name);
		if (add_token(t, json_string_value(content), json_string_length(content), f,
			      json_is_object(token) ? token : NULL, -1, err) < 0)
			return -1;
	}
	return 0;
}

/* A token around every text would come out with an id that no model knows. */
static int check_known(const struct rt_legacy_tokens *t, enum rt_role role, struct rt_err *err)
{
	const char *text;
	size_t len;

	rt_legacy_role(t, role, &text, &len);
	if (!text)
		return rt_fail(err, RT_INVALID, "%s must not be null", role_keys[role]);
	if (!rt_legacy_id(t, text, len))
		return rt_fail(err, RT_INVALID, "the vocabulary has no %s '%.60s'", role_keys[role], text);
	return 0;
}

/* Tokens that the vocabulary itself wants to stay whole. */
static int add_symbols(struct rt_legacy_tokens *t, const json_t *symbols, struct rt_err *err)
{
	const json_t *symbol;
	size_t i;

	json_array_foreach(symbols, i, symbol)
	{
		const json_t *content = json_object_get(symbol, "content");
		const struct flags f = { .special = json_is_true(json_object_get(symbol, "special")) };

		if (add_token(t, json_string_value(content), json_string_length(content), f, NULL, -1, err) <
		    0)
			return -1;
	}
	return 0;
}

int rt_legacy_tokens_add(struct rt_legacy_tokens *t, const char *dir, const struct rt_legacy_vocab *vocab,
			 struct rt_err *err)
{
	json_t *decoder = json_object_get(t->config, "added_tokens_decoder"), *older = NULL;
	int rc;

	t->ids = vocab->ids;
	t->next_id = vocab->size;
	t->added = json_array();
	t->added_ids = json_object();
	if (!t->added || !t->added_ids)
		return no_memory(err);
	if (decoder && !json_is_object(decoder))
		return rt_fail(err, RT_INVALID, "added_tokens_decoder must be an object");
	if (!decoder && rt_legacy_object(dir, "added_tokens.json", &older, err) < 0)
		return -1;
	rc = add_declared(t, decoder ? decoder : older, decoder != NULL, err);
	json_decref(older);
	if (rc == 0 && t->defaults->frame != RT_FRAME_NONE)
		rc = check_known(t, RT_CLS, err) < 0 || check_known(t, RT_SEP, err) < 0 ? -1 : 0;
	for (int r = 0; r < RT_ROLES && rc == 0; r++) {
		struct flags f = { .special = true, .normalized = t->defaults->normalized[r] };
		const char *text;
		size_t len;

		rt_legacy_role(t, (enum rt_role)r, &text, &len);
		f.lstrip = r == RT_MASK && t->defaults->mask_lstrip;
		if (text)
			rc = add_token(t, text, len, f, json_is_object(t->roles[r]) ? t->roles[r] : NULL, -1,
				       err);
	}
	if (rc == 0)
		rc = add_extra(t, "additional_special_tokens", err);
	if (rc == 0)
		rc = add_extra(t, "extra_special_tokens", err);
	return rc < 0 ? -1 : add_symbols(t, vocab->symbols, err);
}

static json_t *place(const char *kind, const char *id, size_t len, int type_id)
{
	return json_pack("{s:{s:s%, s:i}}", kind, "id", id, len, "type_id", type_id);
}

static json_t *known_token(const char *text, size_t len, json_int_t id)
{
	return json_pack("{s:s%, s:[I], s:[s%]}", "id", text, len, "ids", id, "tokens", text, len);
}

json_t *rt_legacy_frame(const struct rt_legacy_tokens *t, bool trim_offsets, bool add_prefix_space)
{
	const bool bert = t->defaults->frame == RT_FRAME_BERT;
	const char *cls, *sep;
	size_t cls_len, sep_len;
	json_int_t cls_id, sep_id;
	json_t *pair;

	rt_legacy_role(t, RT_CLS, &cls, &cls_len);
	rt_legacy_role(t, RT_SEP, &sep, &sep_len);
	cls_id = json_integer_value(rt_legacy_id(t, cls, cls_len));
	sep_id = json_integer_value(rt_legacy_id(t, sep, sep_len));
	if (t->defaults->frame == RT_FRAME_ROBERTA)
		return json_pack("{s:s, s:[s%, I], s:[s%, I], s:b, s:b}", "type", "RobertaProcessing", "sep",
				 sep, sep_len, sep_id, "cls", cls, cls_len, cls_id, "trim_offsets",
				 trim_offsets, "add_prefix_space", add_prefix_space);
	pair = json_pack("[o, o, o]", place("SpecialToken", cls, cls_len, 0), place("Sequence", "A", 1, 0),
			 place("SpecialToken", sep, sep_len, 0));
	if (!bert)
		json_array_append_new(pair, place("SpecialToken", sep, sep_len, 0));
	json_array_append_new(pair, place("Sequence", "B", 1, bert));
	json_array_append_new(pair, place("SpecialToken", sep, sep_len, bert));
	if (json_array_size(pair) != (bert ? 5 : 6)) {
		json_decref(pair);
		return NULL;
	}
	return json_pack("{s:s, s:[o, o, o], s:o, s:{s%:o, s%:o}}", "type", "TemplateProcessing", "single",
			 place("SpecialToken", cls, cls_len, 0), place("Sequence", "A", 1, 0),
			 place("SpecialToken", sep, sep_len, 0), "pair", pair, "special_tokens", cls, cls_len,
			 known_token(cls, cls_len, cls_id), sep, sep_len, known_token(sep, sep_len, sep_id));
}
