/* SPDX-License-Identifier: Apache-2.0 */
#include "server/target.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/problem.h"
#include "base/utf8.h"

static int hex(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* In place; never longer. */
static int decode(char *s, bool plus_is_space, struct rt_err *err)
{
	char *to = s, *start = s;

	for (; *s; s++) {
		if (*s == '%') {
			int high = hex(s[1]), low = high < 0 ? -1 : hex(s[2]);

			if (low < 0)
				return rt_fail(err, RT_INVALID, "the address has a broken percent escape");
			if (high == 0 && low == 0)
				return rt_fail(err, RT_INVALID, "the address holds a NUL");
			*to++ = (char)(high << 4 | low);
			s += 2;
		} else {
			*to++ = *s == '+' && plus_is_space ? ' ' : *s;
		}
	}
	*to = '\0';
	if (rt_utf8_valid(start, (size_t)(to - start)) < (size_t)(to - start))
		return rt_fail(err, RT_INVALID, "the address is not valid UTF-8");
	return 0;
}

static int parse_path(struct rt_target *t, char *path, struct rt_err *err)
{
	for (const char *p = path; *p; p++) {
		if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7F)
			return rt_fail(err, RT_INVALID,
				       "the address holds a character that must be percent-encoded");
	}
	if (path[0] != '/')
		return rt_fail(err, RT_INVALID, "the address must begin with '/'");
	for (char *p = path + 1; p && *p;) {
		char *slash = strchr(p, '/');

		if (slash)
			*slash = '\0';
		if (t->segment_count == RT_TARGET_SEGMENTS)
			return rt_fail(err, RT_NOT_FOUND, "the address has too many parts");
		if (decode(p, false, err) < 0)
			return -1;
		t->segments[t->segment_count++] = p;
		p = slash ? slash + 1 : NULL;
	}
	return 0;
}

static int parse_query(struct rt_target *t, char *query, struct rt_err *err)
{
	for (char *p = query; p && *p;) {
		char *amp = strchr(p, '&'), *equals;

		if (amp)
			*amp = '\0';
		equals = strchr(p, '=');
		if (equals)
			*equals = '\0';
		if (*p || equals) {
			if (t->param_count == RT_TARGET_PARAMS)
				return rt_fail(err, RT_INVALID, "the address has more than %d parameters",
					       RT_TARGET_PARAMS);
			if (decode(p, true, err) < 0 || (equals && decode(equals + 1, true, err) < 0))
				return -1;
			t->params[t->param_count].name = p;
			t->params[t->param_count].value = equals ? equals + 1 : "";
			t->param_count++;
		}
		p = amp ? amp + 1 : NULL;
	}
	return 0;
}

int rt_target_parse(const char *uri, struct rt_target *ret, struct rt_err *err)
{
	struct rt_target t = { 0 };
	size_t n = strlen(uri), path_len = strcspn(uri, "?");
	char *path, *query;

	t.text = malloc(path_len + n + 2);
	if (!t.text)
		return rt_fail(err, RT_NO_MEMORY, "no memory to read the address");
	memcpy(t.text, uri, path_len);
	t.text[path_len] = '\0';
	path = t.text + path_len + 1;
	memcpy(path, uri, n + 1);
	path[path_len] = '\0';
	query = path_len < n ? path + path_len + 1 : NULL;
	t.path = t.text;
	if (parse_path(&t, path, err) < 0 || parse_query(&t, query, err) < 0) {
		rt_target_release(&t);
		return -1;
	}
	*ret = t;
	return 0;
}

void rt_target_release(struct rt_target *t)
{
	free(t->text);
	memset(t, 0, sizeof *t);
}

const char *rt_target_param(const struct rt_target *t, const char *name)
{
	for (size_t i = 0; i < t->param_count; i++) {
		if (strcmp(t->params[i].name, name) == 0)
			return t->params[i].value;
	}
	return NULL;
}

int rt_target_int(const struct rt_target *t, const char *name, int64_t low, int64_t high, int64_t *ret,
		  struct rt_err *err)
{
	const char *text = rt_target_param(t, name);
	char *end;
	long long v;

	if (!text)
		return 0;
	errno = 0;
	v = strtoll(text, &end, 10);
	if (end == text || *end || errno || strspn(text, "-0123456789") != strlen(text) || v < low ||
	    v > high)
		return rt_fail(err, RT_INVALID,
			       "%s must be a whole number between %lld and %lld (got '%.64s')", name,
			       (long long)low, (long long)high, text);
	*ret = v;
	return 0;
}

int rt_target_only(const struct rt_target *t, const char *const *names, struct rt_err *err)
{
	const char *known[16], *near;
	size_t n = 0;

	for (; names[n]; n++)
		known[n] = names[n][0] == '*' ? names[n] + 1 : names[n];
	for (size_t i = 0; i < t->param_count; i++) {
		size_t k = 0;

		while (k < n && strcmp(known[k], t->params[i].name) != 0)
			k++;
		if (k == n) {
			near = rt_nearest(t->params[i].name, known, n);
			if (near)
				return rt_fail(err, RT_INVALID,
					       "unknown parameter '%.64s'; did you mean '%s'?",
					       t->params[i].name, near);
			return rt_fail(err, RT_INVALID, "unknown parameter '%.64s'", t->params[i].name);
		}
		for (size_t before = 0; before < i && names[k][0] != '*'; before++) {
			if (strcmp(t->params[before].name, known[k]) == 0)
				return rt_fail(err, RT_INVALID, "the parameter '%s' may be given only once",
					       known[k]);
		}
	}
	return 0;
}
