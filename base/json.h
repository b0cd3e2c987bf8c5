/* SPDX-License-Identifier: Apache-2.0 */
/* JSON: strict reading through Jansson, and a writer of our own with shortest round-trip numbers.
 * Reading refuses duplicate keys, anything after the value, broken UTF-8 and lone surrogates; strings may hold
 * U+0000, so take json_string_length with json_string_value. */
#ifndef RT_BASE_JSON_H
#define RT_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Any JSON value, also a bare scalar. New reference (json_decref), or NULL and RT_INVALID with line and column. */
json_t *rt_json_parse(const char *text, size_t len, struct rt_err *err);
/* A whole file of up to max_bytes. The error names the path. */
json_t *rt_json_read(const char *path, size_t max_bytes, struct rt_err *err);

/* Appends value as JSON. indent: spaces a level, 0 for one line. Numbers in their shortest form that reads back
 * the same; a real that is not finite is written as null. Object keys keep their order. */
void rt_json_write(struct rt_buf *out, const json_t *value, int indent);

/* Pieces for writers that build text directly. */
void rt_json_write_str(struct rt_buf *out, const char *s, size_t len); /* quoted and escaped; s is UTF-8 */
void rt_json_write_real(struct rt_buf *out, double v);		       /* shortest; null when not finite */

/* Object members by key; borrowed. The word in front of "must be" is the key. All return -1 and RT_INVALID when the
 * member has another type. A missing member (or null) leaves *ret as it is and returns 0: set the default first. */
int rt_json_get_str(const json_t *object, const char *key, const char **ret, struct rt_err *err);
int rt_json_get_i64(const json_t *object, const char *key, int64_t *ret, struct rt_err *err);
int rt_json_get_real(const json_t *object, const char *key, double *ret, struct rt_err *err); /* ints too */
int rt_json_get_bool(const json_t *object, const char *key, bool *ret, struct rt_err *err);

#endif
