/* SPDX-License-Identifier: Apache-2.0 */
#include "server/manifest.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool name_is_safe(const char *name)
{
	int folders = 0;

	if (!*name || strlen(name) > RT_MANIFEST_NAME_MAX)
		return false;
	for (const char *p = name; *p;) {
		size_t n = strcspn(p, "/");

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		for (size_t i = 0; i < n; i++) {
			if (p[i] <= 0x20 || p[i] >= 0x7F || strchr("\\\"%?#", p[i]))
				return false;
		}
		p += n;
		if (*p == '/' && (++folders > 2 || !*++p))
			return false;
	}
	return true;
}

static bool is_sha256(const char *s)
{
	return s && strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

int rt_manifest_check(const json_t *files, struct rt_err *err)
{
	size_t n = json_array_size(files);

	if (!json_is_array(files) || n == 0 || n > RT_MANIFEST_FILES_MAX)
		return rt_fail(err, RT_INVALID, "a checkpoint must have 1 to %d files (got %zu)",
			       RT_MANIFEST_FILES_MAX, n);
	for (size_t i = 0; i < n; i++) {
		const json_t *f = json_array_get(files, i);
		const json_t *name = json_object_get(f, "name"), *size = json_object_get(f, "size_bytes");

		if (!json_is_string(name) || strlen(json_string_value(name)) != json_string_length(name) ||
		    !name_is_safe(json_string_value(name)))
			return rt_fail(err, RT_INVALID,
				       "a checkpoint's file has a name that is not allowed: '%.64s'",
				       json_is_string(name) ? json_string_value(name) : "");
		if (!json_is_integer(size) || json_integer_value(size) < 0)
			return rt_fail(err, RT_INVALID, "a checkpoint's file '%s' has no size",
				       json_string_value(name));
		if (!is_sha256(json_string_value(json_object_get(f, "sha256"))))
			return rt_fail(err, RT_INVALID, "a checkpoint's file '%s' has no SHA-256",
				       json_string_value(name));
		for (size_t k = 0; k < i; k++) {
			if (strcmp(rt_manifest_at(files, k).name, json_string_value(name)) == 0)
				return rt_fail(err, RT_INVALID, "a checkpoint lists '%s' twice",
					       json_string_value(name));
		}
	}
	return 0;
}

struct rt_manifest_file rt_manifest_at(const json_t *files, size_t i)
{
	const json_t *f = json_array_get(files, i);

	return (struct rt_manifest_file){
		.name = json_string_value(json_object_get(f, "name")),
		.size_bytes = (int64_t)json_integer_value(json_object_get(f, "size_bytes")),
		.sha256 = json_string_value(json_object_get(f, "sha256")),
	};
}

int rt_manifest_find(const json_t *files, const char *name, struct rt_manifest_file *ret, struct rt_err *err)
{
	char list[300] = "";
	size_t len = 0;

	for (size_t i = 0; i < json_array_size(files); i++) {
		struct rt_manifest_file f = rt_manifest_at(files, i);

		if (strcmp(f.name, name) == 0) {
			*ret = f;
			return 0;
		}
		if (len < sizeof list)
			len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", i ? ", " : "", f.name);
	}
	return rt_fail(err, RT_NOT_FOUND, "the checkpoint has no file '%.100s'; it has %s", name, list);
}
