/* SPDX-License-Identifier: Apache-2.0 */
/* JSON row by row: the outer brackets are walked here and only one row at a time becomes a tree, which for a whole file
 * would take many times its size. */
#include <ctype.h>
#include <jansson.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "worker/data/table.h"

struct walk {
	const char *start, *at, *end;
};

static size_t line_of(const struct walk *w, const char *at)
{
	size_t line = 1;

	for (const char *p = w->start; p < at && (p = memchr(p, '\n', (size_t)(at - p))); p++)
		line++;
	return line;
}

static int bad(const struct walk *w, struct rt_err *err, const char *why)
{
	return rt_fail(err, RT_INVALID, "line %zu: not valid JSON: %s", line_of(w, w->at), why);
}

static void skip_space(struct walk *w)
{
	while (w->at < w->end && (*w->at == ' ' || *w->at == '\t' || *w->at == '\n' || *w->at == '\r'))
		w->at++;
}

static bool take(struct walk *w, char want)
{
	skip_space(w);
	if (w->at == w->end || *w->at != want)
		return false;
	w->at++;
	return true;
}

/* The next value, whatever it is. New reference. */
static json_t *take_value(struct walk *w, struct rt_err *err)
{
	json_error_t why;
	json_t *value;

	skip_space(w);
	value = json_loadb(w->at, (size_t)(w->end - w->at),
			   JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK,
			   &why);
	if (!value && json_error_code(&why) == json_error_out_of_memory)
		rt_fail(err, RT_NO_MEMORY, "no memory for the dataset");
	else if (!value)
		rt_fail(err, RT_INVALID, "line %zu: not valid JSON: %s",
			line_of(w, w->at) + (why.line > 0 ? (size_t)why.line - 1 : 0), why.text);
	else
		w->at += why.position;
	return value;
}

static int add_value(struct rt_table *t, int column, const json_t *v, struct rt_err *err)
{
	switch (json_typeof(v)) {
	case JSON_STRING:
		return rt_table_text(t, column, json_string_value(v), json_string_length(v), err);
	case JSON_INTEGER:
		return rt_table_value(t, column, RT_CELL_INT, json_integer_value(v), err);
	case JSON_NULL:
		return rt_table_value(t, column, RT_CELL_NULL, 0, err);
	default:
		return rt_table_value(t, column, RT_CELL_OTHER, 0, err);
	}
}

/* A row is an object of columns or a pair [text, label]; in an oos_ list a text alone will do. */
static int add_row(struct rt_table *t, json_t *row, int file, int split, size_t line, bool oos,
		   struct rt_err *err)
{
	static const char *const pair[] = { "text", "label" };
	json_t *value;
	size_t i;

	if (rt_table_row(t, file, split, line, err) < 0)
		return -1;
	t->rows[t->row_count - 1].oos = oos;
	if (json_is_object(row)) {
		for (void *it = json_object_iter(row); it; it = json_object_iter_next(row, it)) {
			int column = rt_table_column(t, json_object_iter_key(it),
						     json_object_iter_key_len(it), err);

			if (column < 0 || add_value(t, column, json_object_iter_value(it), err) < 0)
				return -1;
		}
		return 0;
	}
	if (oos && json_is_string(row)) {
		int column = rt_table_column(t, "text", 4, err);

		return column < 0 ? -1 : add_value(t, column, row, err);
	}
	if (!json_is_array(row) || json_array_size(row) != 2)
		return rt_fail(err, RT_INVALID, "a row must be an object or a pair [text, label]");
	json_array_foreach(row, i, value)
	{
		int column = rt_table_column(t, pair[i], strlen(pair[i]), err);

		if (column < 0 || add_value(t, column, value, err) < 0)
			return -1;
	}
	return 0;
}

/* Behind '['. what: the list's name, for messages. */
static int read_list(struct walk *w, struct rt_table *t, int file, int split, bool oos, const char *what,
		     struct rt_err *err)
{
	size_t n = 0;

	if (take(w, ']'))
		return 0;
	do {
		size_t line;
		json_t *row;
		int rc;

		skip_space(w);
		row = take_value(w, err);
		if (!row)
			return -1;
		line = ++n;
		rc = add_row(t, row, file, split, line, oos, err);
		json_decref(row);
		if (rc < 0)
			return rt_fail_in(err, "row %zu%s%s", line, what ? " of " : "", what ? what : "");
	} while (take(w, ','));
	return take(w, ']') ? 0 : bad(w, err, "',' or ']' is missing behind a row");
}

/* Is what follows '[' a list of rows (objects or arrays), or in an oos_ list of texts? */
static bool rows_follow(struct walk w, bool oos)
{
	skip_space(&w);
	return w.at < w.end && (*w.at == '{' || *w.at == '[' || *w.at == ']' || (oos && *w.at == '"'));
}

/* "oos_train" belongs to "train"; whether that is a split is decided when all are known. */
static bool is_oos(const char *key)
{
	return strncmp(key, "oos_", 4) == 0 && key[4];
}

static int read_member(struct walk *w, struct rt_table *t, int file, int split, const char *key, size_t len,
		       bool *ret_rows, struct rt_err *err)
{
	static const char *const plain[] = { "data", "rows", "examples" };
	bool oos = is_oos(key), is_plain = false;
	struct walk before = *w;
	int into;
	json_t *value;

	if (!take(w, '[') || !rows_follow(*w, oos)) {
		*w = before;
		value = take_value(w, err); /* version, names…: of no use here, but it must be JSON */
		json_decref(value);
		return value ? 0 : -1;
	}
	for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
		is_plain = is_plain || strcmp(plain[i], key) == 0;
	if (is_plain) {
		into = split;
	} else if (split >= 0) {
		return rt_fail(err, RT_INVALID,
			       "it holds the list '%s', though its name already says the split '%s'", key,
			       t->splits[split]);
	} else {
		into = rt_table_split(t, oos ? key + 4 : key, oos ? len - 4 : len, err);
		if (into < 0)
			return -1;
	}
	*ret_rows = true;
	return read_list(w, t, file, into, oos, key, err);
}

/* Behind '{'. */
static int read_object(struct walk *w, struct rt_table *t, int file, int split, struct rt_err *err)
{
	json_t *seen = json_object();
	bool rows = false;
	int rc = -1;

	if (!seen)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the dataset");
	if (!take(w, '}')) {
		do {
			char quoted[RT_UTF8_QUOTE_SIZE];
			const char *name;
			json_t *key;

			skip_space(w);
			if (w->at == w->end || *w->at != '"') {
				bad(w, err, "a name is missing");
				goto out;
			}
			key = take_value(w, err);
			if (!key)
				goto out;
			name = json_string_value(key);
			if (strlen(name) != json_string_length(key) || json_object_get(seen, name)) {
				rt_fail(err, RT_INVALID,
					"line %zu: the name '%s' stands twice or holds U+0000",
					line_of(w, w->at),
					rt_utf8_quote(name, json_string_length(key), quoted));
				json_decref(key);
				goto out;
			}
			if (json_object_set_new(seen, name, key) < 0) {
				rt_fail(err, RT_NO_MEMORY, "no memory for the dataset");
				goto out;
			}
			if (!take(w, ':')) {
				bad(w, err, "':' is missing");
				goto out;
			}
			if (read_member(w, t, file, split, name, strlen(name), &rows, err) < 0)
				goto out;
		} while (take(w, ','));
		if (!take(w, '}')) {
			bad(w, err, "',' or '}' is missing");
			goto out;
		}
	}
	if (!rows) {
		rt_fail(err, RT_INVALID,
			"it has no list of rows: wanted an array of objects, or an object with lists such as "
			"train, "
			"validation, test or data");
		goto out;
	}
	rc = 0;
out:
	json_decref(seen);
	return rc;
}

/* One object or pair a line? Then the first line is whole and more follows it. */
static bool is_lines(const char *bytes, size_t n)
{
	const char *newline = memchr(bytes, '\n', n), *p = newline;
	json_t *first;

	while (p && p < bytes + n && isspace((unsigned char)*p))
		p++;
	if (!p || p == bytes + n)
		return false;
	first = json_loadb(bytes, (size_t)(newline - bytes), JSON_ALLOW_NUL, NULL);
	json_decref(first);
	return first != NULL;
}

int rt_json_rows_read(struct rt_table *t, const char *bytes, size_t n, int file, int split,
		      struct rt_err *err)
{
	struct walk w = { bytes, bytes, bytes + n };
	int rc;

	skip_space(&w);
	if (w.at == w.end)
		return rt_fail(err, RT_INVALID, "it is empty");
	if (*w.at == '{' && is_lines(w.at, (size_t)(w.end - w.at)))
		return rt_jsonl_read(t, bytes, n, file, split, err);
	t->files[file].by_line = false;
	if (take(&w, '['))
		rc = read_list(&w, t, file, split, false, NULL, err);
	else if (take(&w, '{'))
		rc = read_object(&w, t, file, split, err);
	else
		return bad(&w, err, "it must start with '[' or '{'");
	if (rc < 0)
		return -1;
	skip_space(&w);
	return w.at == w.end ? 0 : bad(&w, err, "something follows the end of the list");
}

int rt_jsonl_read(struct rt_table *t, const char *bytes, size_t n, int file, int split, struct rt_err *err)
{
	const char *end = bytes + n, *at = bytes;

	t->files[file].by_line = true;
	for (size_t line = 1; at < end; line++) {
		const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
		struct rt_err why = RT_ERR_INIT;
		const char *p = at;
		json_t *row;
		int rc;

		while (p < stop && isspace((unsigned char)*p))
			p++;
		if (p < stop) {
			json_error_t at_fault;

			row = json_loadb(at, (size_t)(stop - at),
					 JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY,
					 &at_fault);
			if (!row)
				return rt_fail(err, RT_INVALID, "line %zu, column %d: not valid JSON: %s",
					       line, at_fault.column, at_fault.text);
			rc = add_row(t, row, file, split, line, false, &why);
			json_decref(row);
			if (rc < 0)
				return rt_fail(err, why.code, "line %zu: %s", line, why.msg);
		}
		at = stop + 1;
	}
	return 0;
}
