/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 4180 to the letter: a quote stands around a whole field or doubled inside one, every record has as many fields as
 * the header. What other readers guess about is an error with its line here. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "worker/data/table.h"

struct csv {
	const char *at, *end;
	char separator;
	size_t line;	     /* where `at` stands, from 1 */
	struct rt_buf field; /* the field just read */
	bool quoted;	     /* it had quotes */
	bool last;	     /* it ended its record */
};

static int bad(size_t line, struct rt_err *err, const char *why)
{
	return rt_fail(err, RT_INVALID, "line %zu: %s", line, why);
}

/* Behind a field: a separator, the end of the record, or the end of the file. */
static int end_field(struct csv *c, struct rt_err *err)
{
	c->last = true;
	if (c->at == c->end)
		return 0;
	if (*c->at == c->separator) {
		c->at++;
		c->last = false;
		return 0;
	}
	if (*c->at == '\r')
		c->at++;
	if (c->at == c->end || *c->at != '\n')
		return c->at[-1] == '\r'
			       ? bad(c->line, err, "a carriage return without a line feed")
			       : bad(c->line, err,
				     "a broken quote: something follows the closing quote of a field (a "
				     "quote inside a field is written twice)");
	c->at++;
	c->line++;
	return 0;
}

static int quoted_field(struct csv *c, struct rt_err *err)
{
	size_t opened = c->line;

	c->at++;
	for (;;) {
		const char *from = c->at, *quote = memchr(from, '"', (size_t)(c->end - from));

		if (!quote)
			return bad(opened, err, "a broken quote: it is opened here and never closed");
		for (const char *p = from; (p = memchr(p, '\n', (size_t)(quote - p))); p++)
			c->line++;
		rt_buf_add(&c->field, from, (size_t)(quote - from));
		c->at = quote + 1;
		if (c->at == c->end || *c->at != '"')
			return end_field(c, err);
		rt_buf_char(&c->field, '"');
		c->at++;
	}
}

static int plain_field(struct csv *c, struct rt_err *err)
{
	const char *from = c->at;

	while (c->at < c->end && *c->at != c->separator && *c->at != '\n' && *c->at != '\r' && *c->at != '"')
		c->at++;
	if (c->at < c->end && *c->at == '"')
		return bad(c->line, err,
			   "a broken quote: it stands inside a field without quotes (put the whole field in "
			   "quotes and "
			   "write this one twice)");
	rt_buf_add(&c->field, from, (size_t)(c->at - from));
	return end_field(c, err);
}

static int next_field(struct csv *c, struct rt_err *err)
{
	rt_buf_clear(&c->field);
	c->quoted = c->at < c->end && *c->at == '"';
	if ((c->quoted ? quoted_field(c, err) : plain_field(c, err)) < 0)
		return -1;
	return rt_buf_check(&c->field, err);
}

/* Skips lines with nothing on them. */
static void skip_blank(struct csv *c)
{
	for (;;) {
		if (c->at < c->end && *c->at == '\n')
			c->at++;
		else if (c->end - c->at >= 2 && c->at[0] == '\r' && c->at[1] == '\n')
			c->at += 2;
		else
			return;
		c->line++;
	}
}

static int read_header(struct csv *c, struct rt_table *t, int *columns, size_t *ret_count, struct rt_err *err)
{
	char quoted[RT_UTF8_QUOTE_SIZE];
	size_t n = 0, line = c->line;

	do {
		if (next_field(c, err) < 0)
			return -1;
		if (n == RT_TABLE_COLUMNS_MAX)
			return bad(line, err, "the header has more than 1000 columns");
		columns[n] = rt_table_column(t, rt_buf_text(&c->field), c->field.len, err);
		if (columns[n] < 0)
			return rt_fail_in(err, "line %zu", line);
		for (size_t i = 0; i < n; i++) {
			if (columns[i] == columns[n])
				return rt_fail(err, RT_INVALID,
					       "line %zu: the column '%s' stands twice in the header", line,
					       rt_utf8_quote(rt_buf_text(&c->field), c->field.len, quoted));
		}
		n++;
	} while (!c->last);
	*ret_count = n;
	return 0;
}

static int read_record(struct csv *c, struct rt_table *t, int file, int split, const int *columns,
		       size_t count, struct rt_err *err)
{
	size_t line = c->line, n = 0;

	if (rt_table_row(t, file, split, line, err) < 0)
		return -1;
	do {
		if (next_field(c, err) < 0)
			return -1;
		if (n < count && rt_table_text(t, columns[n], rt_buf_text(&c->field), c->field.len, err) < 0)
			return -1;
		n++;
	} while (!c->last);
	if (n != count)
		return rt_fail(err, RT_INVALID, "line %zu has %zu field%s where the header has %zu", line, n,
			       n == 1 ? "" : "s", count);
	return 0;
}

int rt_csv_read(struct rt_table *t, const char *bytes, size_t n, char separator, int file, int split,
		struct rt_err *err)
{
	struct csv c = { .at = bytes, .end = bytes + n, .separator = separator, .line = 1 };
	int *columns = calloc(RT_TABLE_COLUMNS_MAX, sizeof *columns);
	size_t count = 0;
	int rc = -1;

	if (!columns)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the dataset");
	skip_blank(&c);
	if (c.at == c.end) {
		rt_fail(err, RT_INVALID, "it is empty: the first line must name the columns");
		goto out;
	}
	if (read_header(&c, t, columns, &count, err) < 0)
		goto out;
	for (skip_blank(&c); c.at < c.end; skip_blank(&c)) {
		if (read_record(&c, t, file, split, columns, count, err) < 0)
			goto out;
	}
	rc = 0;
out:
	rt_buf_release(&c.field);
	free(columns);
	return rc;
}
