/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/retention, /healthz, /readyz, /version, /openapi.json */
#include <microhttpd.h>
#include <sqlite3.h>
#include <uv.h>

#include "server/embedded.h"
#include "server/respond.h"
#include "server/routes.h"
#include "server/server.h"

int rt_route_healthz(struct rt_req *req, struct rt_err *err)
{
	struct rt_buf body = RT_BUF_INIT;

	const struct rt_disk *disk = &req->server->disk;

	rt_buf_fmt(&body, "{\"status\":\"%s\",\"disk\":{\"status\":\"%s\",\"free_bytes\":",
		   disk->low ? "degraded" : "ok", disk->low ? "low" : "ok");
	if (disk->free_bytes < 0)
		rt_buf_str(&body, "null");
	else
		rt_buf_fmt(&body, "%lld", (long long)disk->free_bytes);
	rt_buf_fmt(&body, ",\"low_bytes\":%lld,\"high_bytes\":%lld}}", (long long)disk->low_bytes,
		   (long long)disk->high_bytes);
	return rt_answer_json(req, 200, &body, err);
}

/* What would go now under the server's policy, or under another that the query gives. */
int rt_route_retention(struct rt_req *req, struct rt_err *err)
{
	static const char *const known[] = { "keep_days", "max_bytes", NULL };
	struct rt_retention_policy policy = req->server->pruner.policy;

	if (rt_target_only(&req->target, known, err) < 0 ||
	    rt_target_int(&req->target, "keep_days", 1, 36500, &policy.keep_days, err) < 0 ||
	    rt_target_int(&req->target, "max_bytes", 0, INT64_C(1) << 60, &policy.max_bytes, err) < 0)
		return -1;
	return rt_pruner_answer(&req->server->pruner, req, &policy, err);
}

int rt_route_readyz(struct rt_req *req, struct rt_err *err)
{
	struct rt_buf body = RT_BUF_INIT;

	if (req->server->stopping)
		return rt_fail(err, RT_UNAVAILABLE, "the server is going down");
	if (rt_store_check(req->server->store, err) < 0) {
		err->code = RT_UNAVAILABLE;
		return -1;
	}
	rt_buf_str(&body, "{\"status\":\"ready\"}");
	return rt_answer_json(req, 200, &body, err);
}

int rt_route_version(struct rt_req *req, struct rt_err *err)
{
	struct rt_buf body = RT_BUF_INIT;

	rt_buf_fmt(&body,
		   "{\"name\":\"retortd\",\"version\":\"%s\",\"api\":\"v1\",\"sqlite\":\"%s\",\"libuv\":\"%"
		   "s\",\"libmicrohttpd\":\"%s\"}",
		   RT_VERSION, sqlite3_libversion(), uv_version_string(), MHD_get_version());
	return rt_answer_json(req, 200, &body, err);
}

int rt_route_openapi(struct rt_req *req, struct rt_err *err)
{
	const struct rt_embedded *file = rt_api_files;

	if (!file->name)
		return rt_fail(err, RT_NOT_FOUND, "this retortd was built without the API description");
	return rt_answer_static(req, 200, "application/json", file->data, file->size, err);
}
