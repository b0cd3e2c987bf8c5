/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP on the loop: libmicrohttpd with its own epoll descriptor, which libuv watches. No threads.
 *
 * A request goes through these stages:
 *   READING   headers, then the body, up to the route's limit
 *   WAITING   the handler has run and answers later (rt_answer_after_commit, rt_answer_later): the connection is suspended
 *   READY     the answer is made: libmicrohttpd sends it
 * A response whose body comes piece by piece (stream.h) lives on after that; libmicrohttpd calls its reader. */
#ifndef RT_SERVER_HTTP_H
#define RT_SERVER_HTTP_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "api/problem.h"
#include "base/buf.h"
#include "base/id.h"
#include "server/router.h"
#include "server/target.h"

struct rt_server;

struct rt_http {
	struct rt_server *server;
	const struct rt_route *routes;
	struct MHD_Daemon *daemon;
	uv_poll_t poll;
	uv_timer_t timer;
	bool watching;		/* poll and timer are initialised */
	char url[80];		/* http://ADDR:PORT */
	struct rt_req *waiting; /* suspended before their answer */
	bool woken; /* a connection was resumed: rt_http_run must be called before the loop waits */
};

enum rt_req_stage { RT_REQ_NEW, RT_REQ_READING, RT_REQ_WAITING, RT_REQ_READY };

struct rt_req {
	struct rt_server *server;
	struct MHD_Connection *conn;
	enum rt_req_stage stage;
	char id[RT_ID_SIZE]; /* req_… */
	const char *method;  /* libmicrohttpd's, as long as the request */
	struct rt_target target;
	struct rt_err bad; /* what is wrong with the request before its handler could run */
	char allow[64];	   /* for 405 */
	const struct rt_route *route;
	struct rt_route_params params;
	struct rt_buf body;
	uint64_t body_seen;	      /* bytes, kept or not */
	struct rt_problems *problems; /* for a 422; made by rt_req_problems */

	struct MHD_Response *response; /* the answer, once there is one */
	unsigned status;
	bool suspended;
	struct rt_req *next, **link; /* in rt_http.waiting while suspended */
	struct rt_req *next_commit;  /* in rt_server's list of answers that wait for the commit */

	void *work;			     /* of a handler that answers later ... */
	void (*abandon)(struct rt_req *req); /* ... and is told when the request goes first; may be NULL */
};

/* Binds and starts. listen: "ADDR:PORT", "[ADDR]:PORT"; anything but a loopback address is refused. Port 0 picks one. */
int rt_http_start(struct rt_http *h, struct rt_server *server, const struct rt_route *routes,
		  const char *listen, struct rt_err *err);
/* Ends every connection. The loop must run once more for the handles to close. A zeroed one is fine. */
void rt_http_stop(struct rt_http *h);

/* Lets libmicrohttpd work on what is there. Without threads of its own it does not notice a resumed connection by itself. */
void rt_http_run(struct rt_http *h);
void rt_http_run_soon(struct rt_http *h); /* in the loop's next turn, without waiting */

/* The request header, or NULL; borrowed. */
const char *rt_req_header(struct rt_req *req, const char *name);
/* Room for wrong fields, owned by the request; NULL without memory. */
struct rt_problems *rt_req_problems(struct rt_req *req);
/* Suspends from within a handler; rt_req_resume lets libmicrohttpd send the answer that is there by then. */
void rt_req_suspend(struct rt_req *req);
void rt_req_resume(struct rt_req *req);

#endif
