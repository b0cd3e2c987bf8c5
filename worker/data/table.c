/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/data/table.h"

#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

/* chunks double from the first size to the last */
#define CHUNK_FIRST ((size_t)16 << 10)
#define CHUNK_LAST  ((size_t)1 << 20)

struct rt_arena_chunk {
	struct rt_arena_chunk *next;
	size_t used, size;
	alignas(max_align_t) unsigned char bytes[];
};

static void *take(struct rt_arena *a, size_t n, size_t align, struct rt_err *err)
{
	struct rt_arena_chunk *c = a->chunks;
	size_t at = c ? (c->used + align - 1) / align * align : 0;

	if (!c || at > c->size || c->size - at < n) {
		size_t size = !c ? CHUNK_FIRST : c->size < CHUNK_LAST ? c->size * 2 : CHUNK_LAST;

		if (size < n)
			size = n;
		c = malloc(sizeof *c + size);
		if (!c) {
			rt_fail(err, RT_NO_MEMORY, "no memory for the dataset");
			return NULL;
		}
		c->size = size;
		c->next = a->chunks;
		a->chunks = c;
		at = 0;
	}
	c->used = at + n;
	return c->bytes + at;
}

void *rt_arena_take(struct rt_arena *a, size_t n, struct rt_err *err)
{
	return take(a, n, alignof(max_align_t), err);
}

char *rt_arena_text(struct rt_arena *a, const char *s, size_t len, struct rt_err *err)
{
	char *copy = take(a, len + 1, 1, err);

	if (copy) {
		memcpy(copy, s, len);
		copy[len] = '\0';
	}
	return copy;
}

void rt_arena_release(struct rt_arena *a)
{
	while (a->chunks) {
		struct rt_arena_chunk *next = a->chunks->next;

		free(a->chunks);
		a->chunks = next;
	}
}

void rt_table_release(struct rt_table *t)
{
	rt_arena_release(&t->arena);
	free(t->columns);
	free(t->splits);
	free(t->files);
	free(t->cells);
	free(t->rows);
	memset(t, 0, sizeof *t);
}

/* Index of name in a list that grows; -2 when it may not grow any more. */
static int name_index(struct rt_table *t, const char ***list, size_t *count, size_t max, const char *name,
		      size_t len, struct rt_err *err)
{
	const char **grown;
	char *copy;

	for (size_t i = 0; i < *count; i++) {
		if (strlen((*list)[i]) == len && memcmp((*list)[i], name, len) == 0)
			return (int)i;
	}
	if (*count == max)
		return -2;
	grown = reallocarray(*list, *count + 1, sizeof *grown);
	if (!grown)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the dataset");
	*list = grown;
	copy = rt_arena_text(&t->arena, name, len, err);
	if (!copy)
		return -1;
	grown[*count] = copy;
	return (int)(*count)++;
}

int rt_table_column(struct rt_table *t, const char *name, size_t len, struct rt_err *err)
{
	char quoted[RT_UTF8_QUOTE_SIZE];
	int i;

	if (memchr(name, '\0', len))
		return rt_fail(err, RT_INVALID, "the column '%s' has U+0000 in its name",
			       rt_utf8_quote(name, len, quoted));
	i = name_index(t, &t->columns, &t->column_count, RT_TABLE_COLUMNS_MAX, name, len, err);
	return i == -2 ? rt_fail(err, RT_INVALID, "more than %d columns", RT_TABLE_COLUMNS_MAX) : i;
}

int rt_table_split(struct rt_table *t, const char *name, size_t len, struct rt_err *err)
{
	char quoted[RT_UTF8_QUOTE_SIZE];
	int i;

	if (memchr(name, '\0', len))
		return rt_fail(err, RT_INVALID, "the split '%s' has U+0000 in its name",
			       rt_utf8_quote(name, len, quoted));
	i = name_index(t, &t->splits, &t->split_count, RT_TABLE_SPLITS_MAX, name, len, err);
	return i == -2 ? rt_fail(err, RT_INVALID, "more than %d splits", RT_TABLE_SPLITS_MAX) : i;
}

int rt_table_file(struct rt_table *t, const char *name, bool by_line, struct rt_err *err)
{
	struct rt_table_file *grown;
	char *copy = rt_arena_text(&t->arena, name, strlen(name), err);

	if (!copy)
		return -1;
	if (t->file_count == UINT16_MAX)
		return rt_fail(err, RT_INVALID, "more than %d files", UINT16_MAX);
	grown = reallocarray(t->files, t->file_count + 1, sizeof *grown);
	if (!grown)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the dataset");
	t->files = grown;
	grown[t->file_count] = (struct rt_table_file){ copy, by_line };
	return (int)t->file_count++;
}

/* Doubles an array that is full. */
static int grow(void **array, size_t count, size_t *cap, size_t size, struct rt_err *err)
{
	size_t more = *cap ? *cap * 2 : 256;
	void *grown;

	if (count < *cap)
		return 0;
	grown = reallocarray(*array, more, size);
	if (!grown)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the dataset");
	*array = grown;
	*cap = more;
	return 0;
}

int rt_table_row(struct rt_table *t, int file, int split, size_t line, struct rt_err *err)
{
	void *rows = t->rows;

	if (t->row_count == RT_TABLE_ROWS_MAX)
		return rt_fail(err, RT_TOO_LARGE, "more than %d rows", RT_TABLE_ROWS_MAX);
	if (grow(&rows, t->row_count, &t->row_cap, sizeof *t->rows, err) < 0)
		return -1;
	t->rows = rows;
	t->rows[t->row_count++] = (struct rt_table_row){
		.cell = t->cell_count,
		.line = line > UINT32_MAX ? UINT32_MAX : (uint32_t)line,
		.file = (uint16_t)file,
		.split = (int16_t)split,
	};
	return 0;
}

static int add_cell(struct rt_table *t, const struct rt_cell *cell, struct rt_err *err)
{
	void *cells = t->cells;

	if (grow(&cells, t->cell_count, &t->cell_cap, sizeof *t->cells, err) < 0)
		return -1;
	t->cells = cells;
	t->cells[t->cell_count++] = *cell;
	t->rows[t->row_count - 1].cell_count++;
	return 0;
}

int rt_table_text(struct rt_table *t, int column, const char *s, size_t len, struct rt_err *err)
{
	struct rt_cell cell = { .len = len, .column = (uint16_t)column, .kind = RT_CELL_TEXT };

	cell.s = rt_arena_text(&t->arena, s, len, err);
	return cell.s ? add_cell(t, &cell, err) : -1;
}

int rt_table_value(struct rt_table *t, int column, enum rt_cell_kind kind, int64_t i, struct rt_err *err)
{
	struct rt_cell cell = { .i = i, .column = (uint16_t)column, .kind = (uint8_t)kind };

	return add_cell(t, &cell, err);
}

const struct rt_cell *rt_table_cell(const struct rt_table *t, const struct rt_table_row *row, int column)
{
	for (uint32_t i = 0; i < row->cell_count; i++) {
		const struct rt_cell *cell = &t->cells[row->cell + i];

		if (cell->column == column)
			return cell->kind == RT_CELL_NULL ? NULL : cell;
	}
	return NULL;
}

const char *rt_table_where(const struct rt_table *t, const struct rt_table_row *row, char *out)
{
	const struct rt_table_file *file = &t->files[row->file];
	const char *name = row->split >= 0 ? t->splits[row->split] : NULL;

	snprintf(out, RT_TABLE_WHERE_SIZE, "%.300s, %s %u%s%.60s", file->name, file->by_line ? "line" : "row",
		 row->line, name ? file->by_line ? ", split " : " of " : "", name ? name : "");
	return out;
}
