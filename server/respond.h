/* SPDX-License-Identifier: Apache-2.0 */
/* Answers to requests. A handler makes one answer; a later one replaces it. */
#ifndef RT_SERVER_RESPOND_H
#define RT_SERVER_RESPOND_H

#include "server/http.h"

/* The bytes of body are given: it is empty afterwards, on failure too. */
int rt_answer(struct rt_req *req, unsigned status, const char *content_type, struct rt_buf *body,
	      struct rt_err *err);
int rt_answer_json(struct rt_req *req, unsigned status, struct rt_buf *body, struct rt_err *err);
int rt_answer_static(struct rt_req *req, unsigned status, const char *content_type, const char *data,
		     size_t size, struct rt_err *err); /* data stays where it is */
int rt_answer_empty(struct rt_req *req, unsigned status, struct rt_err *err);
int rt_answer_redirect(struct rt_req *req, const char *location, struct rt_err *err); /* 307 */
/* response is given. */
void rt_answer_response(struct rt_req *req, unsigned status, struct MHD_Response *response);
/* A problem document from err and req->problems. */
void rt_answer_error(struct rt_req *req, const struct rt_err *err);
void rt_answer_header(struct rt_req *req, const char *name,
		      const char *value); /* for the answer that is there */

/* Holds the answer back until the writes of this turn are on disk; if they fail the answer becomes that problem. Called at
 * the end of a handler, with or without an answer made. Returns 0. */
int rt_answer_after_commit(struct rt_req *req);

#endif
