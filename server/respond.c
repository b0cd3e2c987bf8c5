/* SPDX-License-Identifier: Apache-2.0 */
#include "server/respond.h"

#include <stdlib.h>

#include "server/server.h"

void rt_answer_response(struct rt_req *req, unsigned status, struct MHD_Response *response)
{
	if (req->response)
		MHD_destroy_response(req->response);
	req->response = response;
	req->status = status;
	MHD_add_response_header(response, "X-Request-Id", req->id);
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
}

void rt_answer_header(struct rt_req *req, const char *name, const char *value)
{
	if (req->response)
		MHD_add_response_header(req->response, name, value);
}

int rt_answer_static(struct rt_req *req, unsigned status, const char *content_type, const char *data,
		     size_t size, struct rt_err *err)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(size, (void *)(uintptr_t)data, MHD_RESPMEM_PERSISTENT);

	if (!response)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the answer");
	rt_answer_response(req, status, response);
	if (content_type)
		rt_answer_header(req, "Content-Type", content_type);
	return 0;
}

int rt_answer(struct rt_req *req, unsigned status, const char *content_type, struct rt_buf *body,
	      struct rt_err *err)
{
	struct MHD_Response *response = NULL;
	size_t n = body->len;
	char *bytes = rt_buf_check(body, NULL) == 0 ? rt_buf_take(body) : NULL;

	if (bytes)
		response = MHD_create_response_from_buffer(n, bytes, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(bytes);
		rt_buf_release(body);
		return rt_fail(err, RT_NO_MEMORY, "no memory for the answer");
	}
	rt_answer_response(req, status, response);
	rt_answer_header(req, "Content-Type", content_type);
	return 0;
}

int rt_answer_json(struct rt_req *req, unsigned status, struct rt_buf *body, struct rt_err *err)
{
	if (rt_answer(req, status, "application/json", body, err) < 0)
		return -1;
	rt_answer_header(req, "Cache-Control", "no-store");
	return 0;
}

int rt_answer_empty(struct rt_req *req, unsigned status, struct rt_err *err)
{
	return rt_answer_static(req, status, NULL, "", 0, err);
}

int rt_answer_redirect(struct rt_req *req, const char *location, struct rt_err *err)
{
	if (rt_answer_empty(req, 307, err) < 0)
		return -1;
	rt_answer_header(req, "Location", location);
	rt_answer_header(req, "Cache-Control", "no-store");
	return 0;
}

void rt_answer_error(struct rt_req *req, const struct rt_err *err)
{
	struct rt_buf body = RT_BUF_INIT;
	enum rt_code code = err->code == RT_OK ? RT_INTERNAL : err->code;
	struct rt_err no_memory = RT_ERR_INIT;

	if (req->response) {
		MHD_destroy_response(req->response);
		req->response = NULL;
	}
	rt_problem_write(&body, code,
			 err->code == RT_OK ? "the request failed for an unknown reason" : err->msg,
			 req->target.path, req->id, req->problems);
	if (rt_answer(req, (unsigned)rt_code_http(code), "application/problem+json", &body, &no_memory) < 0)
		return;
	rt_answer_header(req, "Cache-Control", "no-store");
	if (rt_code_http(code) == 503)
		rt_answer_header(req, "Retry-After", "5");
}

int rt_answer_after_commit(struct rt_req *req)
{
	rt_req_suspend(req);
	rt_server_answer_after_commit(req->server, req);
	return 0;
}
