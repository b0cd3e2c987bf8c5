/* SPDX-License-Identifier: Apache-2.0 */
#include "api/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

void rt_problems_add(struct rt_problems *p, const char *pointer, const char *suggestion, const char *fmt, ...)
{
	struct rt_problem_item *item;
	struct rt_err cut = RT_ERR_INIT; /* its message is cut at a character's edge */
	va_list ap;
	char detail[1024];

	if (p->n++ >= RT_PROBLEM_MAX)
		return;
	item = &p->items[p->n - 1];
	va_start(ap, fmt);
	vsnprintf(detail, sizeof detail, fmt, ap);
	va_end(ap);
	rt_fail(&cut, RT_INVALID, "%s", detail);
	snprintf(item->detail, sizeof item->detail, "%s", cut.msg);
	snprintf(item->pointer, sizeof item->pointer, "%s", pointer);
	snprintf(item->suggestion, sizeof item->suggestion, "%s", suggestion ? suggestion : "");
}

static void member(struct rt_buf *out, const char *key, const char *value)
{
	rt_buf_fmt(out, "\"%s\":", key);
	rt_json_write_str(out, value, strlen(value));
}

void rt_problems_write(struct rt_buf *out, const struct rt_problems *p)
{
	rt_buf_char(out, '[');
	for (size_t i = 0; i < p->n && i < RT_PROBLEM_MAX; i++) {
		const struct rt_problem_item *item = &p->items[i];

		rt_buf_str(out, i ? ",{" : "{");
		member(out, "pointer", item->pointer);
		rt_buf_char(out, ',');
		member(out, "detail", item->detail);
		if (item->suggestion[0]) {
			rt_buf_char(out, ',');
			member(out, "suggestion", item->suggestion);
		}
		rt_buf_char(out, '}');
	}
	rt_buf_char(out, ']');
}

const char *rt_problem_title(enum rt_code code)
{
	switch (code) {
	case RT_INVALID:
		return "The request is not valid";
	case RT_UNAUTHORIZED:
		return "Not authorised";
	case RT_FORBIDDEN:
		return "Not allowed";
	case RT_NOT_FOUND:
		return "Not found";
	case RT_METHOD:
		return "Method not allowed";
	case RT_CONFLICT:
		return "The state does not allow this";
	case RT_PRECONDITION:
		return "It has changed meanwhile";
	case RT_GONE:
		return "No longer there";
	case RT_TOO_LARGE:
		return "Too large";
	case RT_MEDIA:
		return "Unsupported media type";
	case RT_RANGE:
		return "Range not satisfiable";
	case RT_UNPROCESSABLE:
	case RT_UNSUPPORTED:
		return "The request cannot be carried out";
	case RT_UNAVAILABLE:
	case RT_NO_MEMORY:
		return "Not available now";
	case RT_DISK_FULL:
		return "The disk is full";
	default:
		return "Internal error";
	}
}

void rt_problem_write(struct rt_buf *out, enum rt_code code, const char *detail, const char *instance,
		      const char *request_id, const struct rt_problems *p)
{
	rt_buf_fmt(out, "{\"type\":\"/problems/%s\",", rt_code_word(code));
	member(out, "title", rt_problem_title(code));
	rt_buf_fmt(out, ",\"status\":%d,", rt_code_http(code));
	member(out, "detail", detail);
	if (instance) {
		rt_buf_char(out, ',');
		member(out, "instance", instance);
	}
	rt_buf_fmt(out, ",\"code\":\"%s\"", rt_code_word(code));
	if (request_id) {
		rt_buf_char(out, ',');
		member(out, "request_id", request_id);
	}
	if (p && p->n > 0) {
		rt_buf_str(out, ",\"errors\":");
		rt_problems_write(out, p);
	}
	rt_buf_char(out, '}');
}

#define LONGEST 48 /* longer words are not suggested for */

/* Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours. */
static size_t distance(const char *a, const char *b)
{
	size_t d[LONGEST + 1][LONGEST + 1], na = strlen(a), nb = strlen(b);

	for (size_t i = 0; i <= na; i++)
		d[i][0] = i;
	for (size_t j = 0; j <= nb; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= na; i++) {
		for (size_t j = 1; j <= nb; j++) {
			size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

			if (d[i - 1][j] + 1 < best)
				best = d[i - 1][j] + 1;
			if (d[i][j - 1] + 1 < best)
				best = d[i][j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < best)
				best = d[i - 2][j - 2] + 1;
			d[i][j] = best;
		}
	}
	return d[na][nb];
}

const char *rt_nearest(const char *word, const char *const *words, size_t n)
{
	size_t len = strlen(word), limit = len / 3 > 3 ? 3 : len / 3 < 1 ? 1 : len / 3, best = limit + 1;
	const char *nearest = NULL;

	if (len > LONGEST)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t far;

		if (strlen(words[i]) > LONGEST)
			continue;
		far = distance(word, words[i]);
		if (far < best) {
			best = far;
			nearest = words[i];
		}
	}
	return nearest;
}
