/* SPDX-License-Identifier: Apache-2.0 */
#include "server/routes.h"

#define JSON "application/json"

const struct rt_route rt_routes[] = {
	{ "POST", "/v1/jobs", rt_route_jobs_post, RT_SPEC_BODY_MAX, JSON },
	{ "GET", "/v1/jobs", rt_route_jobs_list, 0, NULL },
	{ "GET", "/v1/jobs:counts", rt_route_jobs_counts, 0, NULL },
	{ "POST", "/v1/jobs:validate", rt_route_jobs_validate, RT_SPEC_BODY_MAX, JSON },
	{ "GET", "/v1/jobs/{}", rt_route_job_get, 0, NULL },
	{ "PATCH", "/v1/jobs/{}", rt_route_job_patch, RT_SPEC_BODY_MAX, JSON },
	{ "DELETE", "/v1/jobs/{}", rt_route_job_delete, 0, NULL },
	{ "POST", "/v1/jobs/{}/cancel", rt_route_job_cancel, RT_SPEC_BODY_MAX, NULL },
	{ "POST", "/v1/jobs/{}/pause", rt_route_job_pause, RT_SPEC_BODY_MAX, NULL },
	{ "POST", "/v1/jobs/{}/resume", rt_route_job_resume, RT_SPEC_BODY_MAX, NULL },
	{ "POST", "/v1/jobs/{}/retry", rt_route_job_retry, RT_SPEC_BODY_MAX, NULL },

	{ "GET", "/v1/jobs/{}/events", rt_route_job_events, 0, NULL },
	{ "GET", "/v1/jobs/{}/epochs", rt_route_job_epochs, 0, NULL },
	{ "GET", "/v1/jobs/{}/steps", rt_route_job_steps, 0, NULL },
	{ "GET", "/v1/jobs/{}/evaluations/{}", rt_route_job_evaluation, 0, NULL },
	{ "GET", "/v1/jobs/{}/logs", rt_route_job_logs, 0, NULL },
	{ "GET", "/v1/events", rt_route_events, 0, NULL },

	{ "GET", "/v1/jobs/{}/checkpoints", rt_route_checkpoints_list, 0, NULL },
	{ "GET", "/v1/jobs/{}/checkpoints/{}.tar", rt_route_checkpoint_archive, 0, NULL },
	{ "GET", "/v1/jobs/{}/checkpoints/{}", rt_route_checkpoint_get, 0, NULL },
	{ "GET", "/v1/jobs/{}/checkpoints/{}/files/{*}", rt_route_checkpoint_file, 0, NULL },

	{ "POST", "/v1/models/{}/soft-labels", rt_route_model_soft_labels, RT_TEXT_BODY_MAX, JSON },

	{ "POST", "/v1/worker/runs/{}/events", rt_route_worker_events, RT_EVENTS_BODY_MAX, NULL },

	{ "GET", "/v1/retention", rt_route_retention, 0, NULL },

	{ "GET", "/healthz", rt_route_healthz, 0, NULL },
	{ "GET", "/readyz", rt_route_readyz, 0, NULL },
	{ "GET", "/version", rt_route_version, 0, NULL },
	{ "GET", "/openapi.json", rt_route_openapi, 0, NULL },

	{ "GET", "", rt_route_web_page, 0, NULL }, /* the root */
	{ "GET", "/jobs", rt_route_web_page, 0, NULL },
	{ "GET", "/jobs/{*}", rt_route_web_page, 0, NULL },
	{ "GET", "/new", rt_route_web_page, 0, NULL },
	{ "GET", "/compare", rt_route_web_page, 0, NULL },
	{ "GET", "/temperature", rt_route_web_page, 0, NULL },
	{ "GET", "/favicon.svg", rt_route_web_file, 0, NULL },
	{ "GET", "/assets/{}", rt_route_web_file, 0, NULL },
	{ 0 },
};
