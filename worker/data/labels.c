/* SPDX-License-Identifier: Apache-2.0 */
/* A dataset's classes and a model's, by name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "worker/data/dataset.h"

struct name {
	const char *word;
	int32_t id;
	bool used;
};

static int by_word(const void *a, const void *b)
{
	const struct name *x = a, *y = b;
	int order = strcmp(x->word, y->word);

	return order ? order : (x->id < y->id ? -1 : x->id > y->id);
}

static struct name *find(struct name *names, size_t n, const char *word)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (strcmp(names[mid].word, word) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low < n && strcmp(names[low].word, word) == 0 ? &names[low] : NULL;
}

/* "2 only in the model ('a', 'b')": the first few of those that the other side lacks. */
static void add_side(struct rt_buf *b, const char *side, const char *const *few, size_t few_count, size_t n)
{
	char quoted[RT_UTF8_QUOTE_SIZE];

	rt_buf_fmt(b, "%zu only in the %s", n, side);
	for (size_t i = 0; i < few_count; i++)
		rt_buf_fmt(b, "%s'%.32s'", i ? ", " : " (", rt_utf8_quote(few[i], strlen(few[i]), quoted));
	if (n > 0)
		rt_buf_str(b, n > few_count ? ", …)" : ")");
}

#define FEW 4

static int refuse(const struct name *names, size_t model_count, const struct rt_dataset *ds,
		  const int32_t *map, struct rt_err *err)
{
	const char *model_few[FEW], *data_few[FEW];
	size_t model_only = 0, data_only = 0;
	struct rt_buf b = RT_BUF_INIT;
	bool generic = model_count > 0;

	for (size_t i = 0; i < model_count; i++) {
		generic = generic && strncmp(names[i].word, "LABEL_", 6) == 0;
		if (!names[i].used && model_only++ < FEW)
			model_few[model_only - 1] = names[i].word;
	}
	for (size_t i = 0; i < ds->label_count; i++) {
		if (map[i] < 0 && data_only++ < FEW)
			data_few[data_only - 1] = ds->labels[i];
	}
	add_side(&b, "model", model_few, model_only < FEW ? model_only : FEW, model_only);
	rt_buf_str(&b, ", ");
	add_side(&b, "dataset", data_few, data_only < FEW ? data_only : FEW, data_only);
	rt_fail(err, b.failed ? RT_NO_MEMORY : RT_INVALID, "the labels do not match by name: %s%s",
		rt_buf_text(&b),
		generic ? "; the model was saved without names (LABEL_0…): put them into its config.json as "
			  "id2label"
			: "");
	rt_buf_release(&b);
	return -1;
}

/* Ids without names are taken as they are when the model has a class for each. */
static int match_ids(size_t model_count, const struct rt_dataset *ds, int32_t *map, struct rt_err *err)
{
	for (size_t i = 0; i < ds->label_count; i++) {
		long id = strtol(ds->labels[i], NULL, 10);

		if ((size_t)id >= model_count)
			return rt_fail(err, RT_INVALID,
				       "the dataset's labels are numbers up to %s, but the model has %zu "
				       "classes (0 to %zu)",
				       ds->labels[ds->label_count - 1], model_count, model_count - 1);
		map[i] = (int32_t)id;
	}
	return 0;
}

int rt_labels_match(const char *const *model, size_t model_count, const struct rt_dataset *ds, int32_t *map,
		    bool *ret_by_id, struct rt_err *err)
{
	struct name *names = calloc(model_count + 1, sizeof *names);
	int32_t *found = calloc(ds->label_count + 1, sizeof *found);
	size_t matched = 0;
	int rc = -1;

	if (!names || !found) {
		rt_fail(err, RT_NO_MEMORY, "no memory to match the labels");
		goto out;
	}
	for (size_t i = 0; i < model_count; i++)
		names[i] = (struct name){ model[i], (int32_t)i, false };
	if (model_count > 0)
		qsort(names, model_count, sizeof *names, by_word);
	for (size_t i = 1; i < model_count; i++) {
		char quoted[RT_UTF8_QUOTE_SIZE];

		if (strcmp(names[i - 1].word, names[i].word) == 0) {
			rt_fail(err, RT_INVALID, "the model has the label '%s' twice",
				rt_utf8_quote(names[i].word, strlen(names[i].word), quoted));
			goto out;
		}
	}
	for (size_t i = 0; i < ds->label_count; i++) {
		struct name *name = find(names, model_count, ds->labels[i]);

		found[i] = name ? name->id : -1;
		if (name)
			name->used = true;
		matched += name != NULL;
	}
	if (matched != ds->label_count || matched != model_count) {
		if ((ds->labels_are_ids && matched == 0 ? match_ids(model_count, ds, found, err)
							: refuse(names, model_count, ds, found, err)) < 0)
			goto out;
	}
	memcpy(map, found, ds->label_count * sizeof *map);
	if (ret_by_id)
		*ret_by_id = ds->labels_are_ids;
	rc = 0;
out:
	free(names);
	free(found);
	return rc;
}
