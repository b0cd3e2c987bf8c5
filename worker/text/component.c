/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/component.h"

/* JSON is nested 2048 deep at most: Jansson's own limit. */
static size_t count_parts(const json_t *json)
{
	static const char *const lists[] = { "normalizers", "pretokenizers", "processors" };
	size_t n = 1;

	for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) {
		const json_t *list = json_object_get(json, lists[k]);

		for (size_t i = 0; i < json_array_size(list); i++)
			n += count_parts(json_array_get(list, i));
	}
	return n;
}

int rt_component_check_parts(const json_t *json, const char *what, struct rt_err *err)
{
	size_t n = count_parts(json);

	if (n > RT_COMPONENT_PARTS)
		return rt_fail(err, RT_UNSUPPORTED, "the %s has %zu parts, more than %d", what, n,
			       RT_COMPONENT_PARTS);
	return 0;
}

int rt_component_type(const json_t *json, const char *what, const char **ret, struct rt_err *err)
{
	const char *type = NULL;

	if (!json_is_object(json))
		return rt_fail(err, RT_INVALID, "the %s must be an object or null", what);
	if (rt_json_get_str(json, "type", &type, err) < 0)
		return rt_fail_in(err, "%s", what);
	if (!type)
		return rt_fail(err, RT_INVALID, "the %s has no type", what);
	*ret = type;
	return 0;
}

int rt_component_text(const json_t *json, const char *key, const char **ret_text, size_t *ret_len,
		      struct rt_err *err)
{
	const json_t *v = json_object_get(json, key);

	if (!v || json_is_null(v))
		return *ret_text ? 0 : rt_fail(err, RT_INVALID, "%s is missing", key);
	if (!json_is_string(v))
		return rt_fail(err, RT_INVALID, "%s must be a string", key);
	*ret_text = json_string_value(v);
	*ret_len = json_string_length(v);
	return 0;
}

int rt_component_pattern(const json_t *json, struct rt_regex **ret, struct rt_err *err)
{
	const json_t *v = json_object_get(json, "pattern");
	const json_t *literal = json_is_string(v) ? v : json_object_get(v, "String"),
		     *regex = json_object_get(v, "Regex");
	const json_t *text = literal ? literal : regex;

	if (!v)
		return rt_fail(err, RT_INVALID, "pattern is missing");
	if (!text || !json_is_string(text))
		return rt_fail(err, RT_INVALID, "pattern must be {\"String\": \"…\"} or {\"Regex\": \"…\"}");
	return rt_regex_new(json_string_value(text), json_string_length(text), literal != NULL, ret, err);
}

int rt_component_list(const json_t *json, const char *key, const json_t **ret, struct rt_err *err)
{
	const json_t *v = json_object_get(json, key);

	if (!json_is_array(v))
		return rt_fail(err, RT_INVALID, "%s must be an array", key);
	*ret = v;
	return 0;
}
