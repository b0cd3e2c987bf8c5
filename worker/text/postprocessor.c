/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/postprocessor.h"

#include <stdlib.h>
#include <string.h>

#include "worker/text/component.h"
#include "worker/text/tokenizer.h"
#include "worker/text/unicode.h"

enum { SPECIAL_MAX = 1000 }; /* each is added to every text */
enum kind { SEQUENCE, BERT, ROBERTA, BYTE_LEVEL, TEMPLATE };

/* A place in a template: the text, the pair, or special tokens. */
struct place {
	enum { TEXT, PAIR, SPECIAL } what;
	int32_t type_id;
	struct rt_seq special; /* values are the post-processor's */
};
struct template
{
	struct place *places;
	size_t n;
};

struct rt_postprocessor {
	enum kind kind;
	struct rt_postprocessor **parts; /* SEQUENCE */
	size_t part_count;
	bool trim_offsets, add_prefix_space;
	struct rt_token sep, cls;     /* BERT, ROBERTA */
	struct template single, pair; /* TEMPLATE */
	json_t *json;		      /* keeps the strings */
};

static const struct {
	const char *type;
	enum kind kind;
} kinds[] = {
	{ "Sequence", SEQUENCE },    { "BertProcessing", BERT },	 { "RobertaProcessing", ROBERTA },
	{ "ByteLevel", BYTE_LEVEL }, { "TemplateProcessing", TEMPLATE },
};

static void release_template(struct template *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->places[i].special.list);
	free(t->places);
}

void rt_postprocessor_free(struct rt_postprocessor *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->part_count; i++)
		rt_postprocessor_free(p->parts[i]);
	free(p->parts);
	release_template(&p->single);
	release_template(&p->pair);
	json_decref(p->json);
	free(p);
}

void rt_seq_add(struct rt_seq *s, struct rt_token token)
{
	if (s->n == s->cap && !s->failed) {
		size_t cap = s->cap ? s->cap * 2 : 32;
		struct rt_token *list = realloc(s->list, cap * sizeof *list);

		if (list) {
			s->list = list;
			s->cap = cap;
		} else {
			s->failed = true;
		}
	}
	if (!s->failed)
		s->list[s->n++] = token;
}

void rt_segments_release(struct rt_segments *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->list[i].list);
	s->n = 0;
}

static int set_token(const json_t *text, const json_t *id, struct rt_token *ret, struct rt_err *err)
{
	if (!json_is_string(text) || !json_is_integer(id) || json_integer_value(id) < 0 ||
	    json_integer_value(id) > RT_TOKENIZER_ID_MAX)
		return rt_fail(err, RT_INVALID, "needs a token and an id from 0 to %d", RT_TOKENIZER_ID_MAX);
	*ret = (struct rt_token){ .id = (int32_t)json_integer_value(id),
				  .value = json_string_value(text),
				  .value_len = json_string_length(text) };
	return 0;
}

/* "sep": ["</s>", 2] */
static int read_special(const json_t *json, const char *key, struct rt_token *ret, struct rt_err *err)
{
	const json_t *v = json_object_get(json, key);

	if (set_token(json_array_get(v, 0), json_array_get(v, 1), ret, err) < 0)
		return rt_fail_in(err, "%s", key);
	return 0;
}

static int read_type_id(const json_t *json, int32_t *ret, struct rt_err *err)
{
	int64_t type_id = 0;

	if (rt_json_get_i64(json, "type_id", &type_id, err) < 0)
		return -1;
	if (type_id < 0 || type_id > INT32_MAX)
		return rt_fail(err, RT_INVALID, "type_id must be from 0 to %d", INT32_MAX);
	*ret = (int32_t)type_id;
	return 0;
}

static int read_place(const json_t *json, const json_t *specials, struct place *ret, struct rt_err *err)
{
	const json_t *text = json_object_get(json, "Sequence"),
		     *special = json_object_get(json, "SpecialToken");
	const json_t *known, *ids, *tokens;
	const char *id = NULL;

	if (!text == !special)
		return rt_fail(err, RT_INVALID, "must be a Sequence or a SpecialToken");
	if (rt_json_get_str(text ? text : special, "id", &id, err) < 0 ||
	    read_type_id(text ? text : special, &ret->type_id, err) < 0)
		return -1;
	if (!id)
		return rt_fail(err, RT_INVALID, "has no id");
	if (text) {
		ret->what = strcmp(id, "B") == 0 ? PAIR : TEXT;
		return strcmp(id, "A") == 0 || strcmp(id, "B") == 0
			       ? 0
			       : rt_fail(err, RT_INVALID, "the Sequence's id must be A or B (got '%s')", id);
	}
	ret->what = SPECIAL;
	known = json_object_get(specials, id);
	ids = json_object_get(known, "ids");
	tokens = json_object_get(known, "tokens");
	if (!known || json_array_size(ids) != json_array_size(tokens))
		return rt_fail(err, RT_INVALID, "special_tokens has no '%s' with as many ids as tokens", id);
	for (size_t i = 0; i < json_array_size(ids); i++) {
		struct rt_token token;

		if (set_token(json_array_get(tokens, i), json_array_get(ids, i), &token, err) < 0)
			return rt_fail_in(err, "special token '%s'", id);
		token.type_id = ret->type_id;
		rt_seq_add(&ret->special, token);
	}
	return ret->special.failed ? rt_fail(err, RT_NO_MEMORY, "no memory for a template") : 0;
}

static int read_template(const json_t *json, const char *key, bool pair, struct template *ret,
			 struct rt_err *err)
{
	const json_t *list = json_object_get(json, key);
	size_t n = json_array_size(list);

	if (!json_is_array(list))
		return rt_fail(err, RT_INVALID, "%s must be an array", key);
	if (n > RT_SEGMENTS_MAX)
		return rt_fail(err, RT_TOO_LARGE, "%s has more than %d places", key, RT_SEGMENTS_MAX);
	ret->places = calloc(n + 1, sizeof *ret->places);
	if (!ret->places)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a template");
	for (size_t i = 0; i < n; i++) {
		ret->n++;
		if (read_place(json_array_get(list, i), json_object_get(json, "special_tokens"),
			       &ret->places[i], err) < 0)
			return rt_fail_in(err, "%s, place %zu", key, i);
		if (!pair && ret->places[i].what == PAIR)
			return rt_fail(err, RT_INVALID, "%s uses the second text", key);
		/* then no limit on tokens would hold */
		for (size_t k = 0; k < i && ret->places[i].what != SPECIAL; k++)
			if (ret->places[k].what == ret->places[i].what)
				return rt_fail(err, RT_UNSUPPORTED,
					       "%s uses a text twice, which is not supported", key);
	}
	return 0;
}

static int read_postprocessor(const json_t *json, int depth, size_t *templates, struct rt_postprocessor **ret,
			      struct rt_err *err);

static int read_parts(struct rt_postprocessor *p, const json_t *json, int depth, size_t *templates,
		      struct rt_err *err)
{
	const json_t *list;
	size_t count;

	if (rt_component_list(json, "processors", &list, err) < 0)
		return -1;
	count = json_array_size(list);
	p->parts = calloc(count + 1, sizeof(struct rt_postprocessor *));
	if (!p->parts)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a post-processor");
	for (size_t i = 0; i < count; i++) {
		if (read_postprocessor(json_array_get(list, i), depth + 1, templates, &p->parts[i], err) < 0)
			return -1;
		p->part_count++;
	}
	return 0;
}

static int read_fields(struct rt_postprocessor *p, const json_t *json, int depth, size_t *templates,
		       struct rt_err *err)
{
	switch (p->kind) {
	case SEQUENCE:
		return read_parts(p, json, depth, templates, err);
	case BERT:
	case ROBERTA:
		if (++*templates > 1)
			return rt_fail(err, RT_UNSUPPORTED,
				       "special tokens are added twice, which is not supported");
		if (read_special(json, "sep", &p->sep, err) < 0 ||
		    read_special(json, "cls", &p->cls, err) < 0)
			return -1;
		break;
	case TEMPLATE:
		if (++*templates > 1)
			return rt_fail(err, RT_UNSUPPORTED,
				       "special tokens are added twice, which is not supported");
		if (read_template(json, "single", false, &p->single, err) < 0 ||
		    read_template(json, "pair", true, &p->pair, err) < 0)
			return -1;
		break;
	default:
		break;
	}
	if (rt_json_get_bool(json, "trim_offsets", &p->trim_offsets, err) < 0)
		return -1;
	return rt_json_get_bool(json, "add_prefix_space", &p->add_prefix_space, err);
}

static int read_postprocessor(const json_t *json, int depth, size_t *templates, struct rt_postprocessor **ret,
			      struct rt_err *err)
{
	struct rt_postprocessor *p;
	const char *type;
	size_t k = 0;

	if (rt_component_type(json, "post-processor", &type, err) < 0)
		return -1;
	while (k < sizeof kinds / sizeof *kinds && strcmp(kinds[k].type, type) != 0)
		k++;
	if (k == sizeof kinds / sizeof *kinds)
		return rt_fail(err, RT_UNSUPPORTED, "unknown post-processor '%s'", type);
	if (depth > RT_COMPONENT_DEPTH)
		return rt_fail(err, RT_INVALID, "post-processors are nested more than %d deep",
			       RT_COMPONENT_DEPTH);
	p = calloc(1, sizeof *p);
	if (!p)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a post-processor");
	p->kind = kinds[k].kind;
	p->trim_offsets = p->add_prefix_space = true;
	if (read_fields(p, json, depth, templates, err) < 0) {
		if (p->kind != SEQUENCE)
			rt_fail_in(err, "post-processor %s", type);
		rt_postprocessor_free(p);
		return -1;
	}
	p->json = json_incref((json_t *)(uintptr_t)json);
	*ret = p;
	return 0;
}

int rt_postprocessor_new(const json_t *json, struct rt_postprocessor **ret, struct rt_err *err)
{
	struct rt_postprocessor *p = NULL;
	size_t templates = 0, added;

	if (!json || json_is_null(json)) {
		*ret = NULL;
		return 0;
	}
	if (read_postprocessor(json, 0, &templates, &p, err) < 0)
		return -1;
	added = rt_postprocessor_added(p, true) + rt_postprocessor_added(p, false);
	if (added > SPECIAL_MAX) {
		rt_postprocessor_free(p);
		return rt_fail(
			err, RT_UNSUPPORTED,
			"the post-processor adds %zu special tokens to a text and a pair, more than %d",
			added, SPECIAL_MAX);
	}
	*ret = p;
	return 0;
}

size_t rt_postprocessor_added(const struct rt_postprocessor *p, bool pair)
{
	const struct template *t;
	size_t n = 0;

	if (!p)
		return 0;
	if (p->kind == BERT)
		return pair ? 3 : 2;
	if (p->kind == ROBERTA)
		return pair ? 4 : 2;
	for (size_t i = 0; i < p->part_count; i++)
		n += rt_postprocessor_added(p->parts[i], pair);
	t = pair ? &p->pair : &p->single;
	for (size_t i = 0; i < t->n; i++)
		n += t->places[i].special.n;
	return n;
}

static int32_t template_max_id(const struct template *t)
{
	int32_t max = -1;

	for (size_t i = 0; i < t->n; i++)
		for (size_t k = 0; k < t->places[i].special.n; k++)
			max = t->places[i].special.list[k].id > max ? t->places[i].special.list[k].id : max;
	return max;
}

int32_t rt_postprocessor_max_id(const struct rt_postprocessor *p)
{
	int32_t max = -1, part;

	if (!p)
		return -1;
	if (p->kind == BERT || p->kind == ROBERTA)
		return p->sep.id > p->cls.id ? p->sep.id : p->cls.id;
	for (size_t i = 0; i < p->part_count; i++) {
		part = rt_postprocessor_max_id(p->parts[i]);
		max = part > max ? part : max;
	}
	part = template_max_id(&p->single);
	max = part > max ? part : max;
	part = template_max_id(&p->pair);
	return part > max ? part : max;
}

static bool is_space(uint32_t cp)
{
	return cp == 0x120 /* a space in the byte-level alphabet */ || rt_uc_in(&rt_uc_white, cp);
}

/* Characters of white space at the token's beginning and at its end; of a token of spaces only, all count twice. */
static void count_spaces(const struct rt_token *t, int32_t *ret_leading, int32_t *ret_trailing)
{
	size_t end = t->value_len;
	unsigned len;

	*ret_leading = *ret_trailing = 0;
	for (size_t i = 0; i < t->value_len && is_space(rt_uc_next(t->value + i, &len)); i += len)
		++*ret_leading;
	while (end > 0) {
		do
			end--;
		while (!rt_uc_is_start(t->value[end]));
		if (!is_space(rt_uc_next(t->value + end, &len)))
			break;
		++*ret_trailing;
	}
}

static void trim(const struct rt_postprocessor *p, struct rt_segments *s)
{
	for (size_t k = 0; k < s->n; k++)
		for (size_t i = 0; i < s->list[k].n; i++) {
			struct rt_token *t = &s->list[k].list[i];
			int32_t leading, trailing;

			count_spaces(t, &leading, &trailing);
			/* a single space at the beginning is the one that was put there */
			if (leading == 1 && p->add_prefix_space && (i == 0 || t->offset[0] == 0))
				leading = 0;
			t->offset[0] += leading;
			if (t->offset[0] > t->offset[1])
				t->offset[0] = t->offset[1];
			if (trailing > 0 && t->offset[1] >= trailing) {
				t->offset[1] -= trailing;
				if (t->offset[1] < t->offset[0])
					t->offset[1] = t->offset[0];
			}
		}
}

/* cls A sep, first B sep */
static void frame(struct rt_seq *s, struct rt_token first, struct rt_token last)
{
	rt_seq_add(s, last);
	rt_seq_add(s, last); /* room for one more, too */
	if (s->failed)
		return;
	memmove(s->list + 1, s->list, (s->n - 2) * sizeof *s->list);
	s->list[0] = first;
}

static void run_roberta(const struct rt_postprocessor *p, struct rt_segments *s)
{
	for (size_t k = 0; k < s->n; k++) {
		for (size_t i = 0; i < s->list[k].n; i++)
			s->list[k].list[i].type_id = 0;
		frame(&s->list[k], k == 0 ? p->cls : p->sep, p->sep);
	}
}

static void run_bert(const struct rt_postprocessor *p, struct rt_segments *s)
{
	for (size_t k = 0; k < s->n; k++) {
		struct rt_token sep = p->sep;

		if (k == 0) {
			frame(&s->list[k], p->cls, sep);
		} else {
			sep.type_id = 1;
			rt_seq_add(&s->list[k], sep);
		}
	}
}

static int run_template(const struct rt_postprocessor *p, struct rt_segments *s, struct rt_err *err)
{
	const struct template *t = s->n > 1 ? &p->pair : &p->single;
	struct rt_segments out = { .n = 0 };
	bool failed = false;

	for (size_t i = 0; i < t->n; i++) {
		const struct place *place = &t->places[i];
		const struct rt_seq *from =
			place->what == SPECIAL ? &place->special : &s->list[place->what == PAIR];
		struct rt_seq *to = &out.list[out.n++];

		*to = (struct rt_seq){ 0 };
		for (size_t k = 0; k < from->n; k++) {
			struct rt_token token = from->list[k];

			token.type_id = place->type_id;
			rt_seq_add(to, token);
		}
		failed = failed || to->failed;
	}
	if (failed) {
		rt_segments_release(&out);
		return rt_fail(err, RT_NO_MEMORY, "no memory to tokenize a text");
	}
	rt_segments_release(s);
	for (size_t i = 0; i < out.n; i++)
		s->list[i] = out.list[i];
	s->n = out.n;
	return 0;
}

int rt_postprocessor_run(const struct rt_postprocessor *p, struct rt_segments *s, bool with_offsets,
			 struct rt_err *err)
{
	int rc = 0;

	if (!p)
		return 0;
	if (with_offsets && p->trim_offsets && (p->kind == BYTE_LEVEL || p->kind == ROBERTA))
		trim(p, s);
	switch (p->kind) {
	case SEQUENCE:
		for (size_t i = 0; i < p->part_count && rc == 0; i++)
			rc = rt_postprocessor_run(p->parts[i], s, with_offsets, err);
		break;
	case ROBERTA:
		run_roberta(p, s);
		break;
	case BERT:
		run_bert(p, s);
		break;
	case TEMPLATE:
		rc = run_template(p, s, err);
		break;
	case BYTE_LEVEL:
		break;
	}
	for (size_t i = 0; i < s->n && rc == 0; i++)
		if (s->list[i].failed)
			rc = rt_fail(err, RT_NO_MEMORY, "no memory to tokenize a text");
	return rc;
}

static void describe_template(const struct template *t, struct rt_buf *out)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct place *place = &t->places[i];

		for (size_t k = 0; k < place->special.n; k++)
			rt_buf_fmt(out, "%d:%d ", (int)place->special.list[k].id, (int)place->type_id);
		if (place->what != SPECIAL)
			rt_buf_fmt(out, "%c:%d ", place->what == TEXT ? 'A' : 'B', (int)place->type_id);
	}
	rt_buf_char(out, '\n');
}

/* The part that adds tokens; there is one at most. */
static const struct rt_postprocessor *find_adding(const struct rt_postprocessor *p)
{
	const struct rt_postprocessor *found = NULL;

	if (!p || p->kind == BYTE_LEVEL)
		return NULL;
	if (p->kind != SEQUENCE)
		return p;
	for (size_t i = 0; i < p->part_count && !found; i++)
		found = find_adding(p->parts[i]);
	return found;
}

void rt_postprocessor_describe(const struct rt_postprocessor *p, struct rt_buf *out)
{
	const struct rt_postprocessor *adding = find_adding(p);
	int cls, sep;

	if (!adding) {
		rt_buf_str(out, "A:0 \nA:0 B:1 \n");
		return;
	}
	cls = (int)adding->cls.id;
	sep = (int)adding->sep.id;
	if (adding->kind == BERT) {
		rt_buf_fmt(out, "%d:0 A:0 %d:0 \n%d:0 A:0 %d:0 B:1 %d:1 \n", cls, sep, cls, sep, sep);
	} else if (adding->kind == ROBERTA) {
		rt_buf_fmt(out, "%d:0 A:0 %d:0 \n%d:0 A:0 %d:0 %d:0 B:0 %d:0 \n", cls, sep, cls, sep, sep,
			   sep);
	} else {
		describe_template(&adding->single, out);
		describe_template(&adding->pair, out);
	}
}
