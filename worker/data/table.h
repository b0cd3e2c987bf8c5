/* SPDX-License-Identifier: Apache-2.0 */
/* Rows as a file has them, before anyone decides which column is the text: what the readers (CSV, JSON) fill and
 * dataset.c takes apart. For this folder only. Everything lives in one arena that goes with the dataset. */
#ifndef RT_WORKER_DATA_TABLE_H
#define RT_WORKER_DATA_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define RT_TABLE_COLUMNS_MAX 1000
#define RT_TABLE_SPLITS_MAX  100
#define RT_TABLE_ROWS_MAX    100000000

enum rt_cell_kind {
	RT_CELL_NULL,
	RT_CELL_TEXT,
	RT_CELL_INT,
	RT_CELL_OTHER, /* a real, true, false, an array or an object: no text and no label */
};

struct rt_cell {
	const char *s; /* text: in the arena, with a NUL that is not counted */
	size_t len;
	int64_t i;
	uint16_t column;
	uint8_t kind; /* enum rt_cell_kind */
};

struct rt_table_row {
	size_t cell;	     /* the first of its cells */
	uint32_t cell_count; /* those with a value; a column may be missing */
	uint32_t line;	     /* line in the file, or number of the row, from 1 */
	uint16_t file;
	int16_t split; /* index in splits; -1: not said */
	bool oos;      /* from an oos_… list */
};

struct rt_table_file {
	const char *name; /* for messages */
	bool by_line;	  /* rows are named by line */
};

struct rt_arena_chunk;
struct rt_arena {
	struct rt_arena_chunk *chunks; /* the newest first */
};
void *rt_arena_take(struct rt_arena *a, size_t n, struct rt_err *err); /* aligned for anything */
char *rt_arena_text(struct rt_arena *a, const char *s, size_t len, struct rt_err *err); /* a copy and a NUL */
void rt_arena_release(struct rt_arena *a);

struct rt_table {
	struct rt_arena arena;
	const char **columns;
	size_t column_count;
	const char **splits;
	size_t split_count;
	struct rt_table_file *files;
	size_t file_count;
	struct rt_cell *cells;
	size_t cell_count, cell_cap;
	struct rt_table_row *rows;
	size_t row_count, row_cap;
};

void rt_table_release(struct rt_table *t); /* a zeroed one is fine */

/* Index of the file, column or split of that name; a new one if there is none. -1 and err. */
int rt_table_file(struct rt_table *t, const char *name, bool by_line, struct rt_err *err);
int rt_table_column(struct rt_table *t, const char *name, size_t len, struct rt_err *err);
int rt_table_split(struct rt_table *t, const char *name, size_t len, struct rt_err *err);

/* Opens a row; the cells that follow are its own. split: -1 when it is not known. */
int rt_table_row(struct rt_table *t, int file, int split, size_t line, struct rt_err *err);
/* Adds a cell to the newest row; s is copied. */
int rt_table_text(struct rt_table *t, int column, const char *s, size_t len, struct rt_err *err);
int rt_table_value(struct rt_table *t, int column, enum rt_cell_kind kind, int64_t i, struct rt_err *err);

/* The row's cell in that column, or NULL where it has none or null. */
const struct rt_cell *rt_table_cell(const struct rt_table *t, const struct rt_table_row *row, int column);

/* "data.csv, line 7" or "data.json, row 7 of train". Returns out. */
#define RT_TABLE_WHERE_SIZE 400
const char *rt_table_where(const struct rt_table *t, const struct rt_table_row *row, char *out);

/* The readers. bytes: the whole file, checked to be UTF-8 and without its byte order mark. file: from rt_table_file.
 * split: what the file's place says, or -1. The message of an error lacks the file's name: the caller puts it before. */
int rt_csv_read(struct rt_table *t, const char *bytes, size_t n, char separator, int file, int split,
		struct rt_err *err);
int rt_jsonl_read(struct rt_table *t, const char *bytes, size_t n, int file, int split, struct rt_err *err);
/* An array of rows, an object of arrays of rows, or lines of objects. Sets the file's by_line. */
int rt_json_rows_read(struct rt_table *t, const char *bytes, size_t n, int file, int split,
		      struct rt_err *err);

/* Which split a name means: "val", "dev-00000-of-00001", "eval"… */
enum rt_split_kind { RT_SPLIT_NONE, RT_SPLIT_TRAIN, RT_SPLIT_VALIDATION, RT_SPLIT_TEST, RT_SPLIT_SEVERAL };
enum rt_split_kind rt_split_kind(const char *name); /* the whole name is the keyword, in any case */
/* A keyword in a part of a path, between '-', '.', '_', ' ', digits or its ends. *ret_at, *ret_len: where. */
enum rt_split_kind rt_split_kind_in(const char *part, size_t len, size_t *ret_at, size_t *ret_len);

/* Reads a file, or a folder's files, into the table. wanted: up to wanted_count names of splits (NULLs are skipped) that a
 * file may carry beside the usual ones. *ret_names: what a labels.txt or labels.json in the folder says (arena; stays NULL
 * without one). */
int rt_files_read(struct rt_table *t, const char *path, const char *const *wanted, size_t wanted_count,
		  size_t max_bytes, const char *const **ret_names, size_t *ret_name_count,
		  struct rt_err *err);

/* Columns by name; pair is -1 when there is none. */
struct rt_columns {
	int text, pair, label;
};
int rt_columns_find(const struct rt_table *t, const char *text_column, const char *label_column,
		    struct rt_columns *ret, struct rt_err *err);

#endif
