/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

json_t *rt_json_parse(const char *text, size_t len, struct rt_err *err)
{
	json_error_t why;
	json_t *value =
		json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &why);

	if (!value && json_error_code(&why) == json_error_out_of_memory)
		rt_fail(err, RT_NO_MEMORY, "no memory to read the JSON");
	else if (!value)
		rt_fail(err, RT_INVALID, "not valid JSON at line %d, column %d: %s", why.line, why.column,
			why.text);
	return value;
}

json_t *rt_json_read(const char *path, size_t max_bytes, struct rt_err *err)
{
	struct rt_buf text = RT_BUF_INIT;
	json_t *value = NULL;

	if (rt_file_read(path, max_bytes, &text, err) == 0) {
		value = rt_json_parse(rt_buf_text(&text), text.len, err);
		if (!value)
			rt_fail_in(err, "%s", path);
	}
	rt_buf_release(&text);
	return value;
}

void rt_json_write_real(struct rt_buf *out, double v)
{
	char text[40];

	if (!isfinite(v)) {
		rt_buf_str(out, "null");
		return;
	}
	for (int digits = 1; digits <= 17; digits++) {
		/* most values of ours are short or need 15 and more: skip what cannot help */
		if (digits == 8)
			digits = 15;
		snprintf(text, sizeof text, "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	rt_buf_str(out, text);
	if (!strpbrk(text, ".e"))
		rt_buf_str(out, ".0"); /* a real stays a real for readers that tell them apart */
}

void rt_json_write_str(struct rt_buf *out, const char *s, size_t len)
{
	size_t start = 0;

	rt_buf_char(out, '"');
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];
		const char *plain = c == '"'	? "\\\""
				    : c == '\\' ? "\\\\"
				    : c == '\n' ? "\\n"
				    : c == '\r' ? "\\r"
				    : c == '\t' ? "\\t"
						: NULL;

		if (!plain && c >= 0x20 && c != 0x7F)
			continue;
		rt_buf_add(out, s + start, i - start);
		start = i + 1;
		if (plain)
			rt_buf_str(out, plain);
		else
			rt_buf_fmt(out, "\\u%04x", c);
	}
	rt_buf_add(out, s + start, len - start);
	rt_buf_char(out, '"');
}

static void new_line(struct rt_buf *out, int indent, int depth)
{
	if (indent > 0) {
		rt_buf_char(out, '\n');
		for (int i = 0; i < indent * depth; i++)
			rt_buf_char(out, ' ');
	}
}

static void write_value(struct rt_buf *out, const json_t *value, int indent, int depth)
{
	json_t *v = (json_t *)(uintptr_t)value; /* Jansson's iterators take no const */
	const char *key;
	size_t key_len, i;
	json_t *item;
	bool first = true;

	switch (json_typeof(value)) {
	case JSON_OBJECT:
		rt_buf_char(out, '{');
		for (void *it = json_object_iter(v); it; it = json_object_iter_next(v, it)) {
			key = json_object_iter_key(it);
			key_len = json_object_iter_key_len(it);
			if (!first)
				rt_buf_char(out, ',');
			first = false;
			new_line(out, indent, depth + 1);
			rt_json_write_str(out, key, key_len);
			rt_buf_str(out, indent > 0 ? ": " : ":");
			write_value(out, json_object_iter_value(it), indent, depth + 1);
		}
		if (!first)
			new_line(out, indent, depth);
		rt_buf_char(out, '}');
		break;
	case JSON_ARRAY:
		rt_buf_char(out, '[');
		json_array_foreach(v, i, item)
		{
			if (i > 0)
				rt_buf_char(out, ',');
			new_line(out, indent, depth + 1);
			write_value(out, item, indent, depth + 1);
		}
		if (json_array_size(v) > 0)
			new_line(out, indent, depth);
		rt_buf_char(out, ']');
		break;
	case JSON_STRING:
		rt_json_write_str(out, json_string_value(v), json_string_length(v));
		break;
	case JSON_INTEGER:
		rt_buf_fmt(out, "%lld", (long long)json_integer_value(v));
		break;
	case JSON_REAL:
		rt_json_write_real(out, json_real_value(v));
		break;
	case JSON_TRUE:
		rt_buf_str(out, "true");
		break;
	case JSON_FALSE:
		rt_buf_str(out, "false");
		break;
	case JSON_NULL:
		rt_buf_str(out, "null");
		break;
	}
}

void rt_json_write(struct rt_buf *out, const json_t *value, int indent)
{
	write_value(out, value, indent, 0);
}

/* The member, or NULL when it is missing or null. */
static const json_t *member(const json_t *object, const char *key)
{
	const json_t *v = json_object_get(object, key);

	return v && !json_is_null(v) ? v : NULL;
}

int rt_json_get_str(const json_t *object, const char *key, const char **ret, struct rt_err *err)
{
	const json_t *v = member(object, key);

	if (!v)
		return 0;
	if (!json_is_string(v))
		return rt_fail(err, RT_INVALID, "%s must be a string", key);
	if (strlen(json_string_value(v)) != json_string_length(v))
		return rt_fail(err, RT_INVALID, "%s must not hold U+0000", key);
	*ret = json_string_value(v);
	return 0;
}

int rt_json_get_i64(const json_t *object, const char *key, int64_t *ret, struct rt_err *err)
{
	const json_t *v = member(object, key);

	if (!v)
		return 0;
	if (!json_is_integer(v))
		return rt_fail(err, RT_INVALID, "%s must be an integer", key);
	*ret = (int64_t)json_integer_value(v);
	return 0;
}

int rt_json_get_real(const json_t *object, const char *key, double *ret, struct rt_err *err)
{
	const json_t *v = member(object, key);

	if (!v)
		return 0;
	if (!json_is_number(v))
		return rt_fail(err, RT_INVALID, "%s must be a number", key);
	*ret = json_number_value(v);
	return 0;
}

int rt_json_get_bool(const json_t *object, const char *key, bool *ret, struct rt_err *err)
{
	const json_t *v = member(object, key);

	if (!v)
		return 0;
	if (!json_is_boolean(v))
		return rt_fail(err, RT_INVALID, "%s must be true or false", key);
	*ret = json_is_true(v);
	return 0;
}
