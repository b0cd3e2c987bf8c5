/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the route for a method and a path in a table. */
#ifndef RT_SERVER_ROUTER_H
#define RT_SERVER_ROUTER_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "server/target.h"

struct rt_req;

#define RT_ROUTE_PARAMS 4

struct rt_route {
	const char *method; /* GET routes answer HEAD too */
	/* "/v1/jobs/{}/files/{*}": {} is one segment, "{}.tar" one that ends so, {*} at the end one or more. */
	const char *pattern;
	/* Runs on the loop once the body is whole. Answers with respond.h and returns 0; or returns -1, and err (with
	 * req->problems, if made) becomes the answer. */
	int (*handle)(struct rt_req *req, struct rt_err *err);
	size_t body_max;	  /* bytes; 0: no body is expected */
	const char *content_type; /* what a body must be; NULL: anything */
};

/* Values of {} in order. {*} is joined by '/' and owned by the caller's buffer. */
struct rt_route_params {
	const char *value[RT_ROUTE_PARAMS];
	char rest[512];
};

/* The route, or NULL: RT_NOT_FOUND, or RT_METHOD with ret_allow such as "GET, HEAD, POST". routes ends with a zeroed one. */
const struct rt_route *rt_route_find(const struct rt_route *routes, const char *method,
				     const struct rt_target *target, struct rt_route_params *ret,
				     char ret_allow[64], struct rt_err *err);

#endif
