/* SPDX-License-Identifier: Apache-2.0 */
/* Equal texts are found by sorting: no hash that a stranger's texts could be made to collide in. */
#include <stdlib.h>
#include <string.h>

#include "worker/data/dataset.h"

struct seen {
	const struct rt_row *row;
	int split; /* 0 train, 1 validation, 2 test */
	size_t at; /* place in the split */
};

static int compare_text(const struct rt_row *x, const struct rt_row *y)
{
	int order;

	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	if (x->pair_len != y->pair_len)
		return x->pair_len < y->pair_len ? -1 : 1;
	order = memcmp(x->text, y->text, x->len);
	return order || x->pair_len == 0 ? order : memcmp(x->pair, y->pair, x->pair_len);
}

static int by_text(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;
	int order = compare_text(x->row, y->row);

	if (order || x->split != y->split)
		return order ? order : x->split - y->split;
	return x->at < y->at ? -1 : x->at > y->at;
}

/* One text's rows: all[0..n), train first. */
static void count_group(const struct seen *all, size_t n, struct rt_dataset_stats *st)
{
	size_t rows[3] = { 0, 0, 0 };

	for (size_t i = 0; i < n; i++) {
		if (all[i].split == 0 && i > 0 && all[i].row->label != all[0].row->label)
			st->train_conflicts++;
		rows[all[i].split]++;
	}
	if (rows[0] > 1)
		st->train_duplicates += rows[0] - 1;
	if (rows[0] > 0)
		st->validation_leaks += rows[1];
	if (rows[0] + rows[1] > 0)
		st->test_leaks += rows[2];
}

int rt_dataset_stats(const struct rt_dataset *ds, struct rt_dataset_stats *ret, struct rt_err *err)
{
	const struct rt_split *splits[] = { &ds->train, &ds->validation, &ds->test };
	struct rt_dataset_stats st = { .train_rows = ds->train.n,
				       .validation_rows = ds->validation.n,
				       .test_rows = ds->test.n };
	size_t n = st.train_rows + st.validation_rows + st.test_rows, at = 0;
	struct seen *all = calloc(n + 1, sizeof *all);

	st.label_rows = calloc(ds->label_count + 1, sizeof *st.label_rows);
	if (!all || !st.label_rows) {
		free(all);
		free(st.label_rows);
		return rt_fail(err, RT_NO_MEMORY, "no memory to look through the dataset");
	}
	for (int k = 0; k < 3; k++) {
		for (size_t i = 0; i < splits[k]->n; i++)
			all[at++] = (struct seen){ &splits[k]->rows[i], k, i };
	}
	if (n > 0)
		qsort(all, n, sizeof *all, by_text);
	for (size_t from = 0; from < n;) {
		size_t to = from + 1;

		while (to < n && compare_text(all[from].row, all[to].row) == 0)
			to++;
		count_group(all + from, to - from, &st);
		from = to;
	}
	free(all);
	for (size_t i = 0; i < ds->train.n; i++)
		st.label_rows[ds->train.rows[i].label]++;
	for (size_t i = 0; i < ds->label_count; i++) {
		size_t rows = st.label_rows[i];

		if (rows == 0) {
			st.labels_without_row++;
			continue;
		}
		if (st.smallest_class == 0 || rows < st.smallest_class)
			st.smallest_class = rows;
		if (rows > st.largest_class)
			st.largest_class = rows;
	}
	*ret = st;
	return 0;
}
