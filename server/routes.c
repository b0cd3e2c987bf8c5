/* SPDX-License-Identifier: Apache-2.0 */
#include "server/routes.h"

#define JSON "application/json"

const struct rt_route rt_routes[] = {
	{ "POST", "/v1/jobs", rt_route_jobs_post, RT_SPEC_BODY_MAX, JSON },
	{ "GET", "/v1/jobs", rt_route_jobs_list, 0, NULL },
	{ "GET", "/v1/jobs/{}", rt_route_job_get, 0, NULL },

	{ "GET", "/healthz", rt_route_healthz, 0, NULL },
	{ "GET", "/readyz", rt_route_readyz, 0, NULL },
	{ "GET", "/version", rt_route_version, 0, NULL },
	{ "GET", "/openapi.json", rt_route_openapi, 0, NULL },
	{ 0 },
};
