/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint's manifest: [{name, size_bytes, sha256}]. Comes from a worker and names the only files that are served. */
#ifndef RT_SERVER_MANIFEST_H
#define RT_SERVER_MANIFEST_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"

#define RT_MANIFEST_FILES_MAX 64
#define RT_MANIFEST_NAME_MAX  100 /* bytes, so that it fits in any archive */

/* RT_INVALID unless it is a list of at most RT_MANIFEST_FILES_MAX files whose names are relative, printable ASCII, at most
 * two folders deep and without "." and "..", each once, with a size and a SHA-256. */
int rt_manifest_check(const json_t *files, struct rt_err *err);

struct rt_manifest_file {
	const char *name; /* borrowed from the manifest */
	int64_t size_bytes;
	const char *sha256; /* 64 lower-case hexadecimal digits */
};
/* The file at i of a manifest that was checked. */
struct rt_manifest_file rt_manifest_at(const json_t *files, size_t i);
/* RT_NOT_FOUND, with the names that are there when they are few. */
int rt_manifest_find(const json_t *files, const char *name, struct rt_manifest_file *ret, struct rt_err *err);

#endif
