/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/data/dataset.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "worker/data/table.h"

#define UNSAID (-1)

struct rt_dataset_memory {
	struct rt_arena arena;
};

/* One split on its way: which of the table's rows, in order. */
struct part {
	const char *role; /* "train", "validation", "test" */
	int split;	  /* index in the table's splits; UNSAID: all rows, the table has no splits */
	bool used;
	size_t *rows; /* indexes into the table */
	size_t n;
	bool unlabelled;     /* test without any label */
	struct rt_row *made; /* the result, in the arena */
};

/* All that goes on while a dataset is opened. */
struct opening {
	const struct rt_dataset_options *o;
	struct rt_table t;
	struct rt_columns columns;
	struct part parts[3];	  /* train, validation, test */
	const char *const *names; /* from the folder's labels file, or NULL */
	size_t name_count;
	struct rt_dataset *ds;
};

/* ---- splits ---- */

static const char *list_splits(const struct rt_table *t, char out[256])
{
	struct rt_buf b = RT_BUF_INIT;

	for (size_t i = 0; i < t->split_count && b.len < 160; i++)
		rt_buf_fmt(&b, "%s'%.40s'", i ? ", " : "", t->splits[i]);
	snprintf(out, 256, "%s%s", rt_buf_text(&b), b.len >= 160 ? ", …" : "");
	rt_buf_release(&b);
	return out;
}

/* Rows that carry their split in a column of that name. Files and lists that say it go before. */
static int split_by_column(struct opening *w, struct rt_err *err)
{
	struct rt_table *t = &w->t;
	char where[RT_TABLE_WHERE_SIZE];
	int column = UNSAID;

	for (size_t i = 0; i < t->row_count; i++) {
		if (t->rows[i].split >= 0)
			return 0;
	}
	if (t->split_count > 0)
		return 0;
	for (size_t i = 0; i < t->column_count; i++) {
		if (strcasecmp(t->columns[i], "split") == 0)
			column = (int)i;
	}
	if (column < 0 || (w->o->text_column && strcmp(w->o->text_column, t->columns[column]) == 0) ||
	    (w->o->label_column && strcmp(w->o->label_column, t->columns[column]) == 0))
		return 0;
	for (size_t i = 0; i < t->row_count; i++) {
		const struct rt_cell *cell = rt_table_cell(t, &t->rows[i], column);
		int split;

		if (!cell || cell->kind != RT_CELL_TEXT || cell->len == 0)
			return rt_fail(err, RT_INVALID, "%s: the column '%s' does not say the row's split",
				       rt_table_where(t, &t->rows[i], where), t->columns[column]);
		split = rt_table_split(t, cell->s, cell->len, err);
		if (split < 0)
			return -1;
		t->rows[i].split = (int16_t)split;
	}
	return 0;
}

/* The split of a role: the one the user named, or the one whose name says it. UNSAID when there is none. */
static int pick_split(struct opening *w, const char *field, const char *given, enum rt_split_kind kind,
		      int *ret, struct rt_err *err)
{
	struct rt_table *t = &w->t;
	char splits[256];
	int found = UNSAID;

	for (size_t i = 0; i < t->split_count; i++) {
		if (given ? strcmp(t->splits[i], given) != 0 : rt_split_kind(t->splits[i]) != kind)
			continue;
		for (int k = 0; !given && k < 3; k++) {
			if (w->parts[k].used && w->parts[k].split == (int)i)
				goto next; /* the user gave it another role */
		}
		if (found != UNSAID)
			return rt_fail(err, RT_INVALID, "both '%s' and '%s' could be the %.*s split; set %s",
				       t->splits[found], t->splits[i], (int)(strlen(field) - 6), field,
				       field);
		found = (int)i;
	next:;
	}
	if (given && found == UNSAID)
		return rt_fail(err, RT_INVALID, "%s '%s' is not there: the dataset has %s%s", field, given,
			       t->split_count ? "the splits " : "no splits",
			       t->split_count ? list_splits(t, splits) : "");
	*ret = found;
	return 0;
}

static int pick_splits(struct opening *w, struct rt_err *err)
{
	static const char *const fields[] = { "train_split", "validation_split", "test_split" };
	static const enum rt_split_kind kinds[] = { RT_SPLIT_TRAIN, RT_SPLIT_VALIDATION, RT_SPLIT_TEST };
	const char *const given[] = { w->o->train_split, w->o->validation_split, w->o->test_split };
	struct rt_table *t = &w->t;
	char splits[256], where[RT_TABLE_WHERE_SIZE];

	/* what the user said first, so that a name is not taken for another role */
	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < 3; i++) {
			if ((given[i] != NULL) != (pass == 0))
				continue;
			if (pick_split(w, fields[i], given[i], kinds[i], &w->parts[i].split, err) < 0)
				return -1;
			w->parts[i].used = w->parts[i].split != UNSAID;
		}
	}
	if (t->split_count == 0) {
		w->parts[0].used = true;
	} else {
		for (size_t i = 0; i < t->row_count; i++) {
			if (t->rows[i].split < 0)
				return rt_fail(err, RT_INVALID, "%s is in no split, where others are",
					       rt_table_where(t, &t->rows[i], where));
		}
	}
	if (!w->parts[0].used)
		return rt_fail(err, RT_INVALID,
			       "no train split: the dataset has the splits %s; set train_split",
			       list_splits(t, splits));
	if (!w->parts[1].used && !w->o->validation_optional) {
		if (t->split_count == 0)
			return rt_fail(err, RT_INVALID,
				       "no validation split: the dataset is one list of %zu rows; give it a "
				       "column 'split', or a "
				       "file for each split (train.csv, validation.csv) in one folder",
				       t->row_count);
		return rt_fail(err, RT_INVALID,
			       "no validation split: the dataset has the splits %s; set validation_split",
			       list_splits(t, splits));
	}
	return 0;
}

/* The rows of a part: those in scope first, then those of the oos_… list. */
static int gather_part(struct opening *w, struct part *p, struct rt_err *err)
{
	const struct rt_table *t = &w->t;

	if (!p->used)
		return 0;
	for (int pass = 0; pass < 3; pass++) {
		size_t n = 0;

		for (size_t i = 0; i < t->row_count; i++) {
			if (p->split != UNSAID && t->rows[i].split != p->split)
				continue;
			if (pass == 0)
				p->n++;
			else if (t->rows[i].oos == (pass == 2))
				p->rows[(pass == 2 ? p->n : 0) + n++] = i;
		}
		if (pass == 0) {
			p->rows = calloc(p->n + 1, sizeof *p->rows);
			if (!p->rows)
				return rt_fail(err, RT_NO_MEMORY, "no memory for the dataset");
			if (p->n == 0)
				return rt_fail(err, RT_INVALID, "the %s split%s%s%s is empty", p->role,
					       p->split != UNSAID ? " '" : "",
					       p->split != UNSAID ? t->splits[p->split] : "",
					       p->split != UNSAID ? "'" : "");
		} else if (pass == 1) {
			p->n = n; /* the second list starts here */
		} else {
			p->n += n;
		}
	}
	return 0;
}

/* ---- texts ---- */

/* White space only? By Unicode's White_Space, and U+FEFF. */
static bool is_blank(const char *s, size_t len)
{
	const unsigned char *u = (const unsigned char *)s;

	for (size_t i = 0; i < len;) {
		unsigned v;

		if (u[i] == ' ' || (u[i] >= 9 && u[i] <= 13)) {
			i++;
			continue;
		}
		if (u[i] == 0xC2 && (u[i + 1] == 0x85 || u[i + 1] == 0xA0)) {
			i += 2;
			continue;
		}
		if (u[i] < 0xE1 || u[i] > 0xEF)
			return false;
		v = (unsigned)(u[i] & 15) << 12 | (unsigned)(u[i + 1] & 63) << 6 | (u[i + 2] & 63);
		if (v != 0x1680 && !(v >= 0x2000 && v <= 0x200A) && v != 0x2028 && v != 0x2029 &&
		    v != 0x202F && v != 0x205F && v != 0x3000 && v != 0xFEFF)
			return false;
		i += 3;
	}
	return true;
}

static int take_text(struct opening *w, const struct rt_table_row *row, int column, const char **ret,
		     size_t *ret_len, struct rt_err *err)
{
	const struct rt_cell *cell = rt_table_cell(&w->t, row, column);
	char where[RT_TABLE_WHERE_SIZE];

	if (!cell)
		return rt_fail(err, RT_INVALID, "%s: no text (column '%s' is missing or null)",
			       rt_table_where(&w->t, row, where), w->t.columns[column]);
	if (cell->kind != RT_CELL_TEXT)
		return rt_fail(err, RT_INVALID, "%s: column '%s' holds something that is no text",
			       rt_table_where(&w->t, row, where), w->t.columns[column]);
	*ret = cell->s;
	*ret_len = cell->len;
	return 0;
}

static int make_rows(struct opening *w, struct part *p, struct rt_err *err)
{
	char where[RT_TABLE_WHERE_SIZE];

	if (!p->used)
		return 0;
	p->made = rt_arena_take(&w->t.arena, p->n * sizeof *p->made, err);
	if (!p->made)
		return -1;
	for (size_t i = 0; i < p->n; i++) {
		const struct rt_table_row *row = &w->t.rows[p->rows[i]];
		struct rt_row *made = &p->made[i];

		memset(made, 0, sizeof *made);
		made->label = -1;
		made->line = row->line;
		if (take_text(w, row, w->columns.text, &made->text, &made->len, err) < 0)
			return -1;
		if (is_blank(made->text, made->len))
			return rt_fail(err, RT_INVALID, "%s: the text is empty (column '%s')",
				       rt_table_where(&w->t, row, where), w->t.columns[w->columns.text]);
		if (w->columns.pair >= 0) {
			if (take_text(w, row, w->columns.pair, &made->pair, &made->pair_len, err) < 0)
				return -1;
			if (made->pair_len == 0)
				made->pair = NULL;
		}
	}
	return 0;
}

/* ---- labels ---- */

/* A row's label as a word; NULL when it has none. Ids become decimal words. Words without a place of their own (ids) are
 * made in the arena. */
static int label_word(struct opening *w, const struct rt_table_row *row, const char **ret, struct rt_err *err)
{
	const struct rt_cell *cell = rt_table_cell(&w->t, row, w->columns.label);
	char where[RT_TABLE_WHERE_SIZE], quoted[RT_UTF8_QUOTE_SIZE], number[24];
	const char *column = w->t.columns[w->columns.label];

	if (row->oos) {
		if (cell && (cell->kind != RT_CELL_TEXT || strcmp(cell->s, "oos") != 0))
			return rt_fail(err, RT_INVALID,
				       "%s: the label is not 'oos', though the row is in an oos_ list",
				       rt_table_where(&w->t, row, where));
		*ret = "oos";
		return 0;
	}
	*ret = NULL;
	if (!cell || (cell->kind == RT_CELL_TEXT && cell->len == 0) ||
	    (cell->kind == RT_CELL_INT && cell->i == -1))
		return 0;
	if (cell->kind == RT_CELL_OTHER || (cell->kind == RT_CELL_INT && cell->i < 0))
		return rt_fail(err, RT_INVALID,
			       "%s: the label (column '%s') must be a name or a whole number of at least 0",
			       rt_table_where(&w->t, row, where), column);
	if (cell->kind == RT_CELL_INT) {
		snprintf(number, sizeof number, "%" PRId64, cell->i);
		*ret = rt_arena_text(&w->t.arena, number, strlen(number), err);
		return *ret ? 0 : -1;
	}
	if (strlen(cell->s) != cell->len)
		return rt_fail(err, RT_INVALID, "%s: the label '%s' holds U+0000",
			       rt_table_where(&w->t, row, where), rt_utf8_quote(cell->s, cell->len, quoted));
	*ret = cell->s;
	return 0;
}

/* Every row's word into p->words; a row without one is an error, but for a test split without any. */
static int label_words(struct opening *w, struct part *p, const char **words, struct rt_err *err)
{
	char where[RT_TABLE_WHERE_SIZE];
	size_t missing = 0, first = 0;

	for (size_t i = 0; i < p->n; i++) {
		if (label_word(w, &w->t.rows[p->rows[i]], &words[i], err) < 0)
			return -1;
		if (!words[i] && missing++ == 0)
			first = i;
	}
	p->unlabelled = missing == p->n && p == &w->parts[2];
	if (missing > 0 && !p->unlabelled)
		return rt_fail(err, RT_INVALID,
			       "%s: no label (column '%s'); %zu of the %zu %s rows have none",
			       rt_table_where(&w->t, &w->t.rows[p->rows[first]], where),
			       w->t.columns[w->columns.label], missing, p->n, p->role);
	return 0;
}

static bool is_decimal(const char *s)
{
	size_t n = strspn(s, "0123456789");

	return n > 0 && s[n] == '\0' && (n == 1 || s[0] != '0') && n < 10;
}

static int by_word(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int by_number(const void *a, const void *b)
{
	const char *x = *(const char *const *)a, *y = *(const char *const *)b;
	size_t n = strlen(x), m = strlen(y);

	return n != m ? (n < m ? -1 : 1) : strcmp(x, y);
}

/* A sorted set of words. */
struct words {
	const char **at;
	size_t n;
};

static bool has(const struct words *set, const char *word)
{
	return set->n && bsearch(&word, set->at, set->n, sizeof *set->at, by_word);
}

static void sort_unique(struct words *set)
{
	size_t kept = 0;

	if (set->n == 0)
		return;
	qsort(set->at, set->n, sizeof *set->at, by_word);
	for (size_t i = 0; i < set->n; i++) {
		if (kept == 0 || strcmp(set->at[kept - 1], set->at[i]) != 0)
			set->at[kept++] = set->at[i];
	}
	set->n = kept;
}

/* Sets the dataset's labels to the given names, copied. */
static int set_labels(struct opening *w, const char *const *names, size_t n, struct rt_err *err)
{
	struct rt_dataset *ds = w->ds;

	if (n > RT_DATASET_MAX_LABELS)
		return rt_fail(
			err, RT_INVALID,
			"column '%s' holds %zu different labels, more than the %d allowed: is it the label?",
			w->t.columns[w->columns.label], n, RT_DATASET_MAX_LABELS);
	ds->labels = rt_arena_take(&w->t.arena, (n + 1) * sizeof *ds->labels, err);
	if (!ds->labels)
		return -1;
	for (size_t i = 0; i < n; i++) {
		ds->labels[i] = rt_arena_text(&w->t.arena, names[i], strlen(names[i]), err);
		if (!ds->labels[i])
			return -1;
	}
	ds->label_count = n;
	return 0;
}

/* What all labelled rows together look like. */
struct survey {
	struct words train;		 /* sorted, each once */
	bool decimal;			 /* every word is a whole number */
	bool in_names;			 /* every word is one of the folder's names */
	bool in_class_names;		 /* every word is one of the option's */
	struct words names, class_names; /* sorted */
	size_t odd_part, odd_row;	 /* a row that is not in_names */
};

static int sorted_copy(struct rt_table *t, const char *const *from, size_t n, struct words *ret,
		       struct rt_err *err)
{
	ret->at = rt_arena_take(&t->arena, (n + 1) * sizeof *ret->at, err);
	if (!ret->at)
		return -1;
	if (n > 0)
		memcpy(ret->at, from, n * sizeof *ret->at);
	ret->n = n;
	sort_unique(ret);
	return 0;
}

static int survey(struct opening *w, const char **words[3], struct survey *s, struct rt_err *err)
{
	memset(s, 0, sizeof *s);
	if (sorted_copy(&w->t, words[0], w->parts[0].n, &s->train, err) < 0 ||
	    sorted_copy(&w->t, w->names, w->name_count, &s->names, err) < 0 ||
	    sorted_copy(&w->t, w->o->class_names, w->o->class_name_count, &s->class_names, err) < 0)
		return -1;
	s->decimal = s->in_names = s->in_class_names = true;
	for (size_t k = 0; k < 3; k++) {
		for (size_t i = 0; i < w->parts[k].n && !w->parts[k].unlabelled; i++) {
			const char *word = words[k][i];

			s->decimal = s->decimal && is_decimal(word);
			s->in_class_names = s->in_class_names && has(&s->class_names, word);
			if (s->in_names && !has(&s->names, word)) {
				s->in_names = false;
				s->odd_part = k;
				s->odd_row = i;
			}
		}
	}
	return 0;
}

/* JSON numbers among names: one of the two is a mistake. */
static int refuse_mixed(struct opening *w, struct rt_err *err)
{
	char where[RT_TABLE_WHERE_SIZE];

	for (size_t k = 0; k < 3; k++) {
		for (size_t i = 0; i < w->parts[k].n; i++) {
			const struct rt_table_row *row = &w->t.rows[w->parts[k].rows[i]];
			const struct rt_cell *cell = rt_table_cell(&w->t, row, w->columns.label);

			if (!row->oos && cell && cell->kind == RT_CELL_INT && cell->i >= 0)
				return rt_fail(err, RT_INVALID,
					       "%s: the label is the number %" PRId64
					       ", where others are names",
					       rt_table_where(&w->t, row, where), cell->i);
		}
	}
	return 0;
}

/* Decides what the classes are. *ret_by_id: words are numbers of labels, else their names. */
static int choose_labels(struct opening *w, const char **words[3], struct survey *s, bool *ret_by_id,
			 struct rt_err *err)
{
	char where[RT_TABLE_WHERE_SIZE], quoted[RT_UTF8_QUOTE_SIZE];

	*ret_by_id = false;
	if (w->names) {
		*ret_by_id = !s->in_names;
		if (!s->in_names && !s->decimal) {
			const char *word = words[s->odd_part][s->odd_row];

			return rt_fail(err, RT_INVALID,
				       "%s: the label '%s' is not in the dataset's own list of labels",
				       rt_table_where(&w->t,
						      &w->t.rows[w->parts[s->odd_part].rows[s->odd_row]],
						      where),
				       rt_utf8_quote(word, strlen(word), quoted));
		}
		return set_labels(w, w->names, w->name_count, err);
	}
	if (s->decimal && w->o->class_names && !s->in_class_names) {
		*ret_by_id = w->ds->labels_are_ids = true;
		return set_labels(w, w->o->class_names, w->o->class_name_count, err);
	}
	if (s->decimal && !w->o->class_names) {
		w->ds->labels_are_ids = true;
		qsort(s->train.at, s->train.n, sizeof *s->train.at, by_number);
		return set_labels(w, s->train.at, s->train.n, err);
	}
	if (!s->decimal && refuse_mixed(w, err) < 0)
		return -1;
	if (w->o->class_names) {
		/* a class that only validation or test shows is fine when the model knows it */
		struct words all;
		size_t n = w->parts[0].n + w->parts[1].n + w->parts[2].n;

		all.at = rt_arena_take(&w->t.arena, (n + 1) * sizeof *all.at, err);
		if (!all.at)
			return -1;
		memcpy(all.at, s->train.at, s->train.n * sizeof *all.at);
		all.n = s->train.n;
		for (size_t k = 1; k < 3; k++) {
			for (size_t i = 0; i < w->parts[k].n && !w->parts[k].unlabelled; i++) {
				if (has(&s->class_names, words[k][i]))
					all.at[all.n++] = words[k][i];
			}
		}
		sort_unique(&all);
		s->train = all;
	}
	return set_labels(w, s->train.at, s->train.n, err);
}

struct numbered {
	const char *word;
	int32_t label;
};

static int by_numbered(const void *a, const void *b)
{
	return strcmp(((const struct numbered *)a)->word, ((const struct numbered *)b)->word);
}

static int number_rows(struct opening *w, struct part *p, const char *const *words,
		       const struct numbered *index, bool by_id, struct rt_err *err)
{
	char where[RT_TABLE_WHERE_SIZE], quoted[RT_UTF8_QUOTE_SIZE];
	size_t n = w->ds->label_count;

	for (size_t i = 0; i < p->n && !p->unlabelled; i++) {
		struct numbered key = { words[i], 0 };
		const struct numbered *found;

		if (by_id) {
			long id = strtol(words[i], NULL, 10);

			if ((size_t)id >= n)
				return rt_fail(err, RT_INVALID,
					       "%s: the label %ld is not below the number of classes, %zu",
					       rt_table_where(&w->t, &w->t.rows[p->rows[i]], where), id, n);
			p->made[i].label = (int32_t)id;
			continue;
		}
		found = bsearch(&key, index, n, sizeof *index, by_numbered);
		if (!found)
			return rt_fail(err, RT_INVALID,
				       "%s: the label '%s' does not stand in the train split",
				       rt_table_where(&w->t, &w->t.rows[p->rows[i]], where),
				       rt_utf8_quote(words[i], strlen(words[i]), quoted));
		p->made[i].label = found->label;
	}
	return 0;
}

static int number_labels(struct opening *w, struct rt_err *err)
{
	const char **words[3];
	struct numbered *index;
	struct survey s;
	bool by_id;

	for (int k = 0; k < 3; k++) {
		words[k] = rt_arena_take(&w->t.arena, (w->parts[k].n + 1) * sizeof *words[k], err);
		if (!words[k] || label_words(w, &w->parts[k], words[k], err) < 0)
			return -1;
	}
	if (survey(w, words, &s, err) < 0 || choose_labels(w, words, &s, &by_id, err) < 0)
		return -1;
	index = rt_arena_take(&w->t.arena, (w->ds->label_count + 1) * sizeof *index, err);
	if (!index)
		return -1;
	for (size_t i = 0; i < w->ds->label_count; i++)
		index[i] = (struct numbered){ w->ds->labels[i], (int32_t)i };
	qsort(index, w->ds->label_count, sizeof *index, by_numbered);
	for (int k = 0; k < 3; k++) {
		if (number_rows(w, &w->parts[k], words[k], index, by_id, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- open ---- */

static int keep_name(struct opening *w, const char *name, char **ret, struct rt_err *err)
{
	*ret = rt_arena_text(&w->t.arena, name, strlen(name), err);
	return *ret ? 0 : -1;
}

static int finish(struct opening *w, struct rt_err *err)
{
	struct rt_dataset *ds = w->ds;
	struct rt_split *splits[] = { &ds->train, &ds->validation, &ds->test };

	for (int k = 0; k < 3; k++) {
		const struct part *p = &w->parts[k];

		if (!p->used)
			continue;
		if (keep_name(w, p->split != UNSAID ? w->t.splits[p->split] : p->role, &splits[k]->name,
			      err) < 0)
			return -1;
		splits[k]->rows = p->made;
		splits[k]->n = p->n;
	}
	if (keep_name(w, w->t.columns[w->columns.text], &ds->text_column, err) < 0 ||
	    keep_name(w, w->t.columns[w->columns.label], &ds->label_column, err) < 0 ||
	    (w->columns.pair >= 0 && keep_name(w, w->t.columns[w->columns.pair], &ds->pair_column, err) < 0))
		return -1;
	ds->memory->arena = w->t.arena;
	w->t.arena.chunks = NULL;
	return 0;
}

int rt_dataset_open(const char *path, const struct rt_dataset_options *o, struct rt_dataset **ret,
		    struct rt_err *err)
{
	static const struct rt_dataset_options none = { 0 };
	struct opening w = { .o = o ? o : &none,
			     .parts = { { .role = "train", .split = UNSAID },
					{ .role = "validation", .split = UNSAID },
					{ .role = "test", .split = UNSAID } } };
	const char *const wanted[] = { w.o->train_split, w.o->validation_split, w.o->test_split };
	int rc = -1;

	w.ds = calloc(1, sizeof *w.ds);
	if (w.ds)
		w.ds->memory = calloc(1, sizeof *w.ds->memory);
	if (!w.ds || !w.ds->memory) {
		rt_fail(err, RT_NO_MEMORY, "no memory for the dataset");
		goto out;
	}
	if (rt_files_read(&w.t, path, wanted, 3, w.o->max_bytes ? w.o->max_bytes : RT_DATASET_MAX_BYTES,
			  &w.names, &w.name_count, err) < 0)
		goto out;
	if (w.t.row_count == 0) {
		rt_fail(err, RT_INVALID, "%s: the dataset has no rows", path);
		goto out;
	}
	if (split_by_column(&w, err) < 0 || pick_splits(&w, err) < 0 ||
	    rt_columns_find(&w.t, w.o->text_column, w.o->label_column, &w.columns, err) < 0) {
		rt_fail_in(err, "%s", path);
		goto out;
	}
	for (int k = 0; k < 3; k++) {
		if (gather_part(&w, &w.parts[k], err) < 0) {
			rt_fail_in(err, "%s", path);
			goto out;
		}
	}
	for (int k = 0; k < 3; k++) {
		if (make_rows(&w, &w.parts[k], err) < 0)
			goto out;
	}
	if (number_labels(&w, err) < 0 || finish(&w, err) < 0)
		goto out;
	*ret = w.ds;
	w.ds = NULL;
	rc = 0;
out:
	for (int k = 0; k < 3; k++)
		free(w.parts[k].rows);
	rt_table_release(&w.t);
	rt_dataset_close(w.ds);
	return rc;
}

void rt_dataset_close(struct rt_dataset *ds)
{
	if (!ds)
		return;
	if (ds->memory)
		rt_arena_release(&ds->memory->arena);
	free(ds->memory);
	free(ds);
}
