/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/reading.h"

#include <string.h>

enum { TEXTS_BETWEEN_TICKS = 4096 };

static const char *const part_names[RT_TOKENIZER_PARTS] = {
	[RT_TOKENIZER_NORMALIZER] = "normalizer", [RT_TOKENIZER_PRETOKENIZER] = "pre_tokenizer",
	[RT_TOKENIZER_MODEL] = "model",		  [RT_TOKENIZER_VOCABULARY] = "vocabulary",
	[RT_TOKENIZER_ADDED] = "added_tokens",	  [RT_TOKENIZER_POSTPROCESSOR] = "post_processor",
};

void rt_reading_add(struct rt_reading *r, const struct rt_tokenizer *tok, const struct rt_encoding *e,
		    bool pair)
{
	size_t special = rt_tokenizer_special_count(tok, pair);
	int32_t unknown = rt_tokenizer_unknown_id(tok);

	r->texts++;
	r->truncated += e->truncated;
	r->tokens += e->n > special ? e->n - special : 0;
	for (size_t i = 0; unknown >= 0 && i < e->n; i++)
		r->unknown += e->ids[i] == unknown;
}

double rt_reading_unknown_share(const struct rt_reading *r)
{
	return r->tokens > 0 ? (double)r->unknown / (double)r->tokens : 0;
}

json_t *rt_reading_json(const struct rt_reading *r)
{
	return json_pack("{sI sI sI sI}", "texts", (json_int_t)r->texts, "truncated_texts",
			 (json_int_t)r->truncated, "tokens", (json_int_t)r->tokens, "unknown_tokens",
			 (json_int_t)r->unknown);
}

static bool same_ids(const struct rt_encoding *a, const struct rt_encoding *b, bool types)
{
	return a->n == b->n && memcmp(a->ids, b->ids, a->n * sizeof *a->ids) == 0 &&
	       (!types || memcmp(a->type_ids, b->type_ids, a->n * sizeof *a->type_ids) == 0);
}

static int compare_split(const struct rt_tokenizer *teacher, const struct rt_tokenizer *student,
			 const struct rt_split *split, const struct rt_likeness_options *o,
			 struct rt_likeness_check *c, struct rt_err *err)
{
	for (size_t i = 0; i < split->n; i++) {
		const struct rt_row *row = &split->rows[i];
		struct rt_encoding a = { 0 }, b = { 0 };
		int rc = 0;

		if (i % TEXTS_BETWEEN_TICKS == 0 && o->tick)
			rc = o->tick(o->ctx, err);
		if (rc == 0)
			rc = rt_tokenizer_encode_ids(teacher, row->text, row->len, row->pair, row->pair_len,
						     o->max_length, &a, err);
		if (rc == 0)
			rc = rt_tokenizer_encode_ids(student, row->text, row->len, row->pair, row->pair_len,
						     o->max_length, &b, err);
		if (rc == 0) {
			c->texts++;
			c->differing += !same_ids(&a, &b, o->types);
		}
		rt_encoding_release(&a);
		rt_encoding_release(&b);
		if (rc < 0)
			return -1;
	}
	return 0;
}

int rt_likeness_find(const struct rt_tokenizer *teacher, const struct rt_tokenizer *student,
		     const struct rt_dataset *d, const struct rt_likeness_options *o,
		     struct rt_likeness_check *ret, struct rt_err *err)
{
	struct rt_likeness_check c = { .likeness = RT_TOKENIZERS_SAME, .max_length = o->max_length };

	for (int part = 0; part < RT_TOKENIZER_PARTS; part++)
		c.same_part[part] = rt_tokenizer_same_part(teacher, student, (enum rt_tokenizer_part)part);
	c.shared_tokens = rt_tokenizer_shared_tokens(teacher, student, &c.teacher_tokens);
	rt_tokenizer_shared_tokens(student, teacher, &c.student_tokens);
	if (strcmp(rt_tokenizer_fingerprint(teacher), rt_tokenizer_fingerprint(student)) != 0) {
		if (compare_split(teacher, student, &d->train, o, &c, err) < 0 ||
		    compare_split(teacher, student, &d->validation, o, &c, err) < 0 ||
		    compare_split(teacher, student, &d->test, o, &c, err) < 0)
			return -1;
		c.likeness =
			c.differing == 0 && c.texts > 0 ? RT_TOKENIZERS_COMPATIBLE : RT_TOKENIZERS_DIFFERENT;
	}
	*ret = c;
	return 0;
}

const char *rt_likeness_word(enum rt_likeness likeness)
{
	return likeness == RT_TOKENIZERS_SAME	      ? "same"
	       : likeness == RT_TOKENIZERS_COMPATIBLE ? "compatible"
						      : "different";
}

static void list_parts(const struct rt_likeness_check *c, struct rt_buf *out)
{
	const char *before = "";

	for (int part = 0; part < RT_TOKENIZER_PARTS; part++)
		if (!c->same_part[part]) {
			rt_buf_fmt(out, "%s%s", before, part_names[part]);
			before = ", ";
		}
}

static double per_text(const struct rt_reading *r)
{
	return r->texts > 0 ? (double)r->tokens / (double)r->texts : 0;
}

static void explain_side(const char *who, const struct rt_reading *r, struct rt_buf *out)
{
	rt_buf_fmt(out, "%s %.1f tokens a text, %.1f %% of them unknown, %zu of %zu texts cut", who,
		   per_text(r), 100 * rt_reading_unknown_share(r), r->truncated, r->texts);
}

void rt_likeness_explain(const struct rt_likeness_check *c, const struct rt_reading *teacher,
			 const struct rt_reading *student, struct rt_buf *out)
{
	if (c->likeness == RT_TOKENIZERS_SAME) {
		rt_buf_str(out,
			   "the tokenizers of teacher and student are the same: the same ids for every text");
		return;
	}
	rt_buf_fmt(out, "the tokenizers of teacher and student are %s (not the same: ",
		   rt_likeness_word(c->likeness));
	list_parts(c, out);
	if (c->likeness == RT_TOKENIZERS_COMPATIBLE) {
		rt_buf_fmt(out,
			   "): all %zu texts of this job give the same ids in both, over their first %zu "
			   "tokens; other texts "
			   "may not",
			   c->texts, c->max_length);
		return;
	}
	rt_buf_fmt(out,
		   "): %zu of %zu texts give other ids. The loss compares classes and not tokens, so this is "
		   "fine: each "
		   "model reads every text with its own tokenizer. ",
		   c->differing, c->texts);
	explain_side("Teacher:", teacher, out);
	explain_side("; student:", student, out);
}

json_t *rt_likeness_json(const struct rt_likeness_check *c, const struct rt_reading *teacher,
			 const struct rt_reading *student)
{
	struct rt_buf words = RT_BUF_INIT;
	json_t *parts = json_array(), *json;

	for (int part = 0; part < RT_TOKENIZER_PARTS; part++)
		if (!c->same_part[part])
			json_array_append_new(parts, json_string(part_names[part]));
	rt_likeness_explain(c, teacher, student, &words);
	json = json_pack("{ss ss so sI sI sI sI sI}", "likeness", rt_likeness_word(c->likeness), "means",
			 rt_buf_text(&words), "differs_in", parts, "teacher_tokens",
			 (json_int_t)c->teacher_tokens, "student_tokens", (json_int_t)c->student_tokens,
			 "shared_tokens", (json_int_t)c->shared_tokens, "texts_compared",
			 (json_int_t)c->texts, "texts_that_differ", (json_int_t)c->differing);
	rt_buf_release(&words);
	return json;
}
