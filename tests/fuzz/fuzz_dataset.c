/* SPDX-License-Identifier: Apache-2.0 */
/* A dataset's file: the first byte picks the format (c CSV, t TSV, l JSON Lines, f a folder, others JSON) and, in its case, whether
 * class names come from outside. */
#include <stdint.h>

#include "base/utf8.h"
#include "tests/fuzz/check.h"
#include "worker/data/dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_split(const struct rt_dataset *ds, const struct rt_split *split)
{
	if (split->n > 0 && !split->name)
		abort();
	for (size_t i = 0; i < split->n; i++) {
		const struct rt_row *r = &split->rows[i];

		if (r->len == 0 || r->text[r->len] || rt_utf8_valid(r->text, r->len) < r->len || r->line == 0)
			abort();
		if (r->pair && (r->pair_len == 0 || r->pair[r->pair_len]))
			abort();
		if (r->label >= (int64_t)ds->label_count || r->label < (split == &ds->test ? -1 : 0))
			abort();
	}
}

static void check(const struct rt_dataset *ds)
{
	int32_t *map = malloc((ds->label_count + 1) * sizeof *map);
	struct rt_dataset_stats st;

	if (ds->train.n == 0 || ds->label_count == 0 || !map)
		abort();
	check_split(ds, &ds->train);
	check_split(ds, &ds->validation);
	check_split(ds, &ds->test);
	if (rt_labels_match((const char *const *)ds->labels, ds->label_count, ds, map, NULL, NULL) < 0)
		abort();
	for (size_t i = 0; i < ds->label_count; i++) {
		if (map[i] != (int32_t)i)
			abort();
	}
	free(map);
	if (rt_dataset_stats(ds, &st, NULL) < 0 || st.train_duplicates >= ds->train.n ||
	    st.validation_leaks > ds->validation.n || st.test_leaks > ds->test.n)
		abort();
	free(st.label_rows);
}

/* A file's place in the folder; of no bytes: it is not there. */
static void put_file(const char *name, const uint8_t *bytes, size_t n)
{
	char path[160];

	snprintf(path, sizeof path, "%s/%s", get_fuzz_dir(), name);
	if (n > 0)
		write_fuzz_file(name, bytes, n);
	else
		unlink(path);
}

/* The folder's files, one behind the other with a byte 0xFF between them, which no text holds. */
static void put_folder(const uint8_t *data, size_t size)
{
	static const char *const names[] = { "labels.txt", "labels.json", "train.csv", "dev.jsonl",
					     "test.json" };
	const uint8_t *end = data + size;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const uint8_t *stop = data < end ? memchr(data, 0xFF, (size_t)(end - data)) : NULL;

		put_file(names[i], data, (size_t)((stop ? stop : end) - data));
		data = stop ? stop + 1 : end;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const classes[] = { "x", "y", "oos" };
	struct rt_dataset_options o = { .validation_optional = true };
	struct rt_err err = RT_ERR_INIT;
	struct rt_dataset *ds;
	char name[16], path[128];
	int kind;

	if (size == 0)
		return 0;
	kind = data[0] | 0x20;
	if (data[0] >= 'A' && data[0] <= 'Z') {
		o.class_names = classes;
		o.class_name_count = 3;
	}
	if (kind == 'f') {
		put_folder(data + 1, size - 1);
		snprintf(path, sizeof path, "%s", get_fuzz_dir());
	} else {
		snprintf(name, sizeof name, "data.%s",
			 kind == 'c'   ? "csv"
			 : kind == 't' ? "tsv"
			 : kind == 'l' ? "jsonl"
				       : "json");
		write_fuzz_file(name, data + 1, size - 1);
		snprintf(path, sizeof path, "%s/%s", get_fuzz_dir(), name);
	}
	if (rt_dataset_open(path, &o, &ds, &err) < 0) {
		check_refusal(&err);
	} else {
		check(ds);
		rt_dataset_close(ds);
	}
	if (kind != 'f')
		put_file(name, NULL, 0); /* not there when the folder is the data set */
	return 0;
}
