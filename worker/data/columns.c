/* SPDX-License-Identifier: Apache-2.0 */
/* Which column is the text and which the label, by name. More than one that could be it is an error: the user says which. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "worker/data/table.h"

static const char *const text_names[] = { "text",    "sentence", "utterance", "query", "question",
					  "content", "review",	 "document",  "input", "message",
					  "comment", "tweet",	 "title",     NULL };
static const char *const label_names[] = { "label",  "labels",	  "intent",  "intents", "class", "category",
					   "target", "sentiment", "emotion", "topic",	NULL };
/* names of labels that stand beside the ids of the same labels: only where nothing above is there */
static const char *const label_name_names[] = { "label_text", "label_name", "class_name", "intent_name",
						NULL };
static const char *const pair_names[][2] = {
	{ "sentence1", "sentence2" }, { "sentence_1", "sentence_2" }, { "text1", "text2" },
	{ "text_1", "text_2" },	      { "question1", "question2" },   { "premise", "hypothesis" },
	{ "question", "sentence" },   { "text", "text_pair" },	      { "sentence", "sentence_pair" },
};

static int find(const struct rt_table *t, const char *name)
{
	for (size_t i = 0; i < t->column_count; i++) {
		if (strcasecmp(t->columns[i], name) == 0)
			return (int)i;
	}
	return -1;
}

static int find_exact(const struct rt_table *t, const char *name)
{
	for (size_t i = 0; i < t->column_count; i++) {
		if (strcmp(t->columns[i], name) == 0)
			return (int)i;
	}
	return -1;
}

/* "'a', 'b', 'c'": all columns, or those marked. */
static const char *list(const struct rt_table *t, const bool *marked, char out[256])
{
	struct rt_buf b = RT_BUF_INIT;
	size_t shown = 0;

	for (size_t i = 0; i < t->column_count && b.len < 160; i++) {
		if (!marked || marked[i])
			rt_buf_fmt(&b, "%s'%.40s'", shown++ ? ", " : "", t->columns[i]);
	}
	if (b.len >= 160)
		rt_buf_str(&b, ", …");
	strncpy(out, rt_buf_text(&b), 255);
	out[255] = '\0';
	rt_buf_release(&b);
	return out;
}

static int override(const struct rt_table *t, const char *field, const char *name, int *ret,
		    struct rt_err *err)
{
	char columns[256];

	*ret = find_exact(t, name);
	if (*ret < 0)
		return rt_fail(err, RT_INVALID, "%s '%s' is not there: the columns are %s", field, name,
			       list(t, NULL, columns));
	return 0;
}

/* Marks the columns of the list that are there; returns how many, the last one in *ret. */
static size_t mark(const struct rt_table *t, const char *const *names, int except, bool *marked, int *ret)
{
	size_t n = 0;

	for (; *names; names++) {
		int i = find(t, *names);

		if (i >= 0 && i != except && !marked[i]) {
			marked[i] = true;
			*ret = i;
			n++;
		}
	}
	return n;
}

static int find_label(const struct rt_table *t, int text, bool *marked, struct rt_columns *ret,
		      struct rt_err *err)
{
	char columns[256];
	size_t n = mark(t, label_names, text, marked, &ret->label);

	if (n == 0)
		n = mark(t, label_name_names, text, marked, &ret->label);
	if (n == 0)
		return rt_fail(err, RT_INVALID,
			       "no column is known as the label: the columns are %s; set label_column to one "
			       "of them",
			       list(t, NULL, columns));
	if (n > 1)
		return rt_fail(err, RT_INVALID,
			       "more than one column could be the label: %s; set label_column to one of them",
			       list(t, marked, columns));
	return 0;
}

/* Two columns that belong together. *ret_count: how many such pairs are there. */
static void find_pair(const struct rt_table *t, int label, struct rt_columns *ret, size_t *ret_count)
{
	*ret_count = 0;
	for (size_t i = 0; i < sizeof pair_names / sizeof *pair_names; i++) {
		int a = find(t, pair_names[i][0]), b = find(t, pair_names[i][1]);

		if (a < 0 || b < 0 || a == label || b == label)
			continue;
		ret->text = a;
		ret->pair = b;
		(*ret_count)++;
	}
}

static int find_text(const struct rt_table *t, bool *marked, struct rt_columns *ret, struct rt_err *err)
{
	struct rt_columns pair = { -1, -1, -1 };
	size_t singles = mark(t, text_names, ret->label, marked, &ret->text), pairs;
	char columns[256];

	find_pair(t, ret->label, &pair, &pairs);
	if (pairs == 1) {
		size_t others = singles - (marked[pair.text] ? 1 : 0) - (marked[pair.pair] ? 1 : 0);

		if (others == 0) {
			ret->text = pair.text;
			ret->pair = pair.pair;
			return 0;
		}
		marked[pair.text] = marked[pair.pair] = true;
		singles = others + 2;
	}
	if (singles == 1 && pairs == 0)
		return 0;
	if (singles == 0 && pairs == 0)
		return rt_fail(
			err, RT_INVALID,
			"no column is known as the text: the columns are %s; set text_column to one of them",
			list(t, NULL, columns));
	return rt_fail(err, RT_INVALID,
		       "more than one column could be the text: %s; set text_column to one of them",
		       list(t, pairs > 1 ? NULL : marked, columns));
}

int rt_columns_find(const struct rt_table *t, const char *text_column, const char *label_column,
		    struct rt_columns *ret, struct rt_err *err)
{
	struct rt_columns found = { -1, -1, -1 };
	bool *marked = calloc(2 * t->column_count + 2, sizeof *marked);
	int rc = -1;

	if (!marked)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the dataset");
	if (text_column && override(t, "text_column", text_column, &found.text, err) < 0)
		goto out;
	if (label_column && override(t, "label_column", label_column, &found.label, err) < 0)
		goto out;
	if (found.label < 0 && find_label(t, found.text, marked, &found, err) < 0)
		goto out;
	if (found.text < 0 && find_text(t, marked + t->column_count + 1, &found, err) < 0)
		goto out;
	if (found.text == found.label || found.pair == found.label) {
		rt_fail(err, RT_INVALID, "text_column and label_column are both '%s'",
			t->columns[found.label]);
		goto out;
	}
	*ret = found;
	rc = 0;
out:
	free(marked);
	return rc;
}
