/* SPDX-License-Identifier: Apache-2.0 */
/* Labelled texts from a file or a folder: JSON Lines, JSON, CSV and TSV, with their splits and columns found by name.
 * Knows no tokenizer and no model; labels become small numbers here, and meet a model's labels by name
 * (rt_labels_match).
 *
 * A file is data from a stranger: a text may hold anything but broken UTF-8, U+0000 too (take its length), and whatever
 * is wrong is refused with the file, the split and the line or row. Nothing is skipped, nothing is guessed. */
#ifndef RT_WORKER_DATA_DATASET_H
#define RT_WORKER_DATA_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Largest file, bytes; a folder's files count together. */
#define RT_DATASET_MAX_BYTES ((size_t)1 << 30)
/* Most classes. */
#define RT_DATASET_MAX_LABELS 10000

struct rt_row {
	const char *
		text; /* UTF-8, at least one character that is not white space; ends with a NUL that is not counted */
	size_t len;	  /* bytes */
	const char *pair; /* second text, or NULL */
	size_t pair_len;
	int32_t label; /* index in the dataset's labels; -1: none (test split only) */
	uint32_t
		line; /* where it stands: line of a line format (JSONL, CSV), number of the row in JSON; from 1 */
};

struct rt_split {
	char *name; /* as the file or the column spells it: "val"; NULL when there is none */
	struct rt_row *rows;
	size_t n;
};

struct rt_dataset {
	struct rt_split train, validation, test; /* test.n is 0 when there is none */
	/* The classes. Rows that carry names: sorted by code point over train (and, where class_names has them, over the other
	 * splits). Rows that carry ids: class_names in their order, or else the ids as decimal words, by number.
	 * A labels.txt or labels.json in the folder goes before both: its names, in its order. */
	char **labels;
	size_t label_count;
	bool labels_are_ids; /* the rows carry ids and the data has no names for them: they are class_names', or "0", "1"… */
	char *text_column, *pair_column,
		*label_column; /* used; pair_column may be NULL; "text" and "label" for rows that are pairs */
	struct rt_dataset_memory *memory; /* owns everything above */
};

/* Strings are borrowed for the call; NULL: found by name. */
struct rt_dataset_options {
	const char *text_column, *label_column;
	const char *train_split, *validation_split, *test_split;
	/* Class names in id order, e.g. the model's id2label. They name rows that carry ids, and allow a class that stands in
	 * validation or test alone. */
	const char *const *class_names;
	size_t class_name_count;
	bool validation_optional; /* a dataset without validation split is fine */
	size_t max_bytes;	  /* 0: RT_DATASET_MAX_BYTES */
};

/* Reads all of it. path: a file, or a folder whose files carry a split's name (train, validation, test and their usual
 * spellings). o may be NULL. RT_NOT_FOUND, RT_TOO_LARGE, RT_UNSUPPORTED (a format that is not read), RT_INVALID (what,
 * where). Close with rt_dataset_close. Blocks. */
int rt_dataset_open(const char *path, const struct rt_dataset_options *o, struct rt_dataset **ret,
		    struct rt_err *err);
void rt_dataset_close(struct rt_dataset *ds); /* NULL is fine */

/* Fills map[ds->label_count] with the model's class of each of the dataset's, by name. Both sides must hold the same
 * classes; else RT_INVALID and a message that lists those of one side only. Where the dataset has ids and no names
 * (labels_are_ids) ids 0 to n-1 are taken as they are and *ret_by_id is true: the caller should warn. model: names in id
 * order. ret_by_id may be NULL. */
int rt_labels_match(const char *const *model, size_t model_count, const struct rt_dataset *ds, int32_t *map,
		    bool *ret_by_id, struct rt_err *err);

/* What a reader should know before paying for a training. Texts are compared byte by byte, pair included. */
struct rt_dataset_stats {
	size_t train_rows, validation_rows, test_rows;
	size_t train_duplicates;	      /* rows of train whose text stood in train before */
	size_t train_conflicts;		      /* of those: with another label */
	size_t validation_leaks;	      /* rows of validation whose text stands in train */
	size_t test_leaks;		      /* rows of test whose text stands in train or validation */
	size_t labels_without_row;	      /* classes that no row of train has */
	size_t smallest_class, largest_class; /* rows of train, over the classes that have any */
	size_t *label_rows;		      /* rows of train of each class; label_count numbers; free() */
};
int rt_dataset_stats(const struct rt_dataset *ds, struct rt_dataset_stats *ret, struct rt_err *err);

#endif
