/* SPDX-License-Identifier: Apache-2.0 */
/* A request's target as strangers send it, taken apart: decoded path segments and query parameters. */
#ifndef RT_SERVER_TARGET_H
#define RT_SERVER_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define RT_TARGET_SEGMENTS 16
#define RT_TARGET_PARAMS   64

struct rt_target {
	char *text;				  /* what all other pointers point into */
	const char *path;			  /* as sent, without the query; ASCII, safe to show */
	const char *segments[RT_TARGET_SEGMENTS]; /* "/v1/jobs/" has two: a slash at the end adds none */
	size_t segment_count;
	struct {
		const char *name, *value; /* value "" when there is no '=' */
	} params[RT_TARGET_PARAMS];
	size_t param_count;
};

/* RT_INVALID: a broken percent escape, a NUL, broken UTF-8, or too many parts. On success the caller releases *ret. */
int rt_target_parse(const char *uri, struct rt_target *ret, struct rt_err *err);
void rt_target_release(struct rt_target *t); /* a zeroed one is fine */

/* The parameter's only value; NULL when it is not there. */
const char *rt_target_param(const struct rt_target *t, const char *name);
/* A whole number within [low, high]. *ret stays when the parameter is missing. RT_INVALID names it. */
int rt_target_int(const struct rt_target *t, const char *name, int64_t low, int64_t high, int64_t *ret,
		  struct rt_err *err);
/* RT_INVALID if a parameter is not among names (NULL ends them), or one is there twice that is not named with a '*' in
 * front. */
int rt_target_only(const struct rt_target *t, const char *const *names, struct rt_err *err);

#endif
