/* SPDX-License-Identifier: Apache-2.0 */
/* Server-Sent Events. A follower holds a cursor, not a queue: whenever its connection can take more, the next events above
 * the cursor are read from the store, replay and live alike. So there is no gap between the two, and a slow reader costs one
 * buffer of bounded size however far it is behind. Only events whose commit went well are shown. */
#ifndef RT_SERVER_STREAM_H
#define RT_SERVER_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/id.h"
#include "server/http.h"

#define RT_STREAMS_MAX	   256
#define RT_STREAM_JOBS_MAX 64 /* in one ?jobs= */

struct rt_stream;

struct rt_streams {
	struct rt_http *http;
	struct rt_store *store;
	struct rt_stream *first;
	size_t n;
	bool closing;		      /* every stream ends when it has sent what is there */
	int64_t committed;	      /* the highest seq that is on disk */
	char touched[16][RT_ID_SIZE]; /* jobs with new events in this turn; more than that: all */
	size_t touched_count;
	uv_timer_t *timer; /* for the comments that keep connections alive */
};

int rt_streams_start(struct rt_streams *s, uv_loop_t *loop, struct rt_http *http, struct rt_store *store,
		     struct rt_err *err);
/* Lets every stream end; before rt_http_stop. A zeroed one is fine. */
void rt_streams_stop(struct rt_streams *s);

void rt_streams_touch(struct rt_streams *s, const char *job_id); /* an event was added in this turn */
void rt_streams_settle(struct rt_streams *s, bool committed);	 /* the turn's commit went well, or not */

struct rt_stream_start {
	const char *job_id;		/* NULL: all jobs, or ... */
	const char (*jobs)[RT_ID_SIZE]; /* ... these */
	size_t job_count;
	int64_t after; /* seq */
	const char *
		snapshot; /* JSON: a reset goes first, because the id that was given is unknown; NULL: none */
};
/* Answers the request with a stream. RT_UNAVAILABLE when there are too many. */
int rt_stream_answer(struct rt_streams *s, struct rt_req *req, const struct rt_stream_start *start,
		     struct rt_err *err);

#endif
