/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/worker/runs/{run}/events: what a run's worker reports, with a token that is good for that run alone. */
#include <sodium.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "server/respond.h"
#include "server/routes.h"
#include "server/server.h"
#include "server/supervisor.h"

/* The answer to a wrong token and to an unknown run is the same. */
static int check_token(struct rt_req *req, struct rt_run_row *run, struct rt_err *err)
{
	const char *header = rt_req_header(req, "Authorization");
	char sha256[RT_SHA256_SIZE];

	if (header && strncasecmp(header, "Bearer ", 7) == 0) {
		rt_sha256(header + 7, strlen(header + 7), sha256);
		if (rt_store_run_get(req->server->store, req->params.value[0], run, err) < 0) {
			if (err->code != RT_NOT_FOUND)
				return -1;
		} else if (sodium_memcmp(sha256, run->token_sha256, sizeof sha256) == 0) {
			return 0;
		}
	}
	return rt_fail(err, RT_UNAUTHORIZED, "this needs the run's own token: Authorization: Bearer …");
}

int rt_route_worker_events(struct rt_req *req, struct rt_err *err)
{
	struct rt_scheduler *sch = &req->server->scheduler;
	struct rt_buf body = RT_BUF_INIT;
	struct rt_run_row run;

	if (check_token(req, &run, err) < 0) {
		if (err->code != RT_UNAUTHORIZED)
			return -1;
		rt_answer_error(req, err);
		rt_answer_header(req, "WWW-Authenticate", "Bearer realm=\"run\"");
		return 0;
	}
	if (rt_runs_report(sch, &run, rt_buf_text(&req->body), req->body.len, err) < 0) {
		if (!rt_store_is_open(req->server->store))
			return -1;
		rt_answer_error(req, err); /* what came before the mistake is kept */
		return rt_answer_after_commit(req);
	}
	rt_buf_fmt(&body, "{\"last_seq\":%lld,\"want\":\"%s\"}", (long long)run.last_seq,
		   rt_runs_want(sch, run.id));
	if (rt_answer_json(req, 200, &body, err) < 0)
		return -1;
	return rt_store_is_open(req->server->store) ? rt_answer_after_commit(req) : 0;
}
