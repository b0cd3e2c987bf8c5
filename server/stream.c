/* SPDX-License-Identifier: Apache-2.0 */
#include "server/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "server/render.h"
#include "server/respond.h"
#include "server/store_events.h"

#define BATCH_BYTES  (32 << 10) /* read from the store at once, about */
#define BATCH_EVENTS 64
#define SCAN_EVENTS  512 /* looked at in one go where a filter leaves most of them out */
#define KEEPALIVE_MS 15000
#define LOOK_MS	     5000
#define BLOCK_BYTES  (16 << 10)

struct rt_stream {
	struct rt_streams *owner;
	struct MHD_Connection *conn;
	char job_id[RT_ID_SIZE]; /* "": all */
	char (*jobs)[RT_ID_SIZE];
	size_t job_count;
	int64_t cursor; /* the last seq that was looked at */
	struct rt_buf out;
	size_t out_at;	/* bytes of out that are gone */
	bool suspended; /* libmicrohttpd waits for rt_streams_settle or the timer */
	bool more;	/* the last look ended before the events did */
	bool ended;	/* nothing comes after what is in out */
	int64_t sent_ms;
	struct rt_stream *next, **link;
};

/* ---- what is sent ---- */

static bool is_followed(const struct rt_stream *s, const char *job_id)
{
	if (s->job_id[0])
		return strcmp(s->job_id, job_id) == 0;
	for (size_t i = 0; i < s->job_count; i++) {
		if (strcmp(s->jobs[i], job_id) == 0)
			return true;
	}
	return s->job_count == 0;
}

/* The status that a final event leaves a job in, or NULL. */
static const char *final_status(const char *type)
{
	static const char *const types[] = { "job.succeeded", "job.failed", "job.cancelled", "job.deleted" };

	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		if (strcmp(types[i], type) == 0)
			return types[i] + 4;
	}
	return NULL;
}

/* A job that was retried has more to tell after a final event. */
static bool is_last(const struct rt_stream *s, int64_t seq)
{
	int64_t last = 0;

	return rt_store_events_last(s->owner->store, s->job_id, &last, NULL) == 0 && last <= seq;
}

static bool add_event(void *arg, const struct rt_event_row *row)
{
	struct rt_stream *s = arg;
	const char *status;

	if (row->seq > s->owner->committed) {
		s->more = false;
		return false;
	}
	s->cursor = row->seq;
	if (!is_followed(s, row->job_id))
		return true;
	rt_buf_fmt(&s->out, "id: %lld\nevent: %s\ndata: ", (long long)row->seq, row->type);
	rt_render_event(&s->out, row);
	rt_buf_str(&s->out, "\n\n");
	status = s->job_id[0] ? final_status(row->type) : NULL;
	if (status && is_last(s, row->seq)) {
		rt_buf_fmt(&s->out, "event: end\ndata: {\"status\":\"%s\"}\n\n", status);
		s->ended = true;
		return false;
	}
	return s->out.len < BATCH_BYTES;
}

/* Reads the next events. -1: the stream breaks off, and the client comes back. */
static int fill(struct rt_stream *s)
{
	int64_t before = s->cursor, limit = s->job_id[0] ? BATCH_EVENTS : SCAN_EVENTS;

	rt_buf_clear(&s->out);
	s->out_at = 0;
	do {
		before = s->cursor;
		s->more = true;
		if (rt_store_events_read(s->owner->store, s->job_id[0] ? s->job_id : NULL, s->cursor, limit,
					 add_event, s, NULL) < 0)
			return -1;
		s->more = s->more && s->cursor > before;
	} while (s->more && s->out.len == 0 && !s->ended && s->cursor - before < SCAN_EVENTS);
	return rt_buf_check(&s->out, NULL);
}

static ssize_t on_read(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct rt_stream *s = cls;
	size_t n;

	(void)pos;
	if (s->out_at == s->out.len && !s->ended && fill(s) < 0)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	n = s->out.len - s->out_at;
	if (n > 0) {
		n = n < max ? n : max;
		memcpy(buf, s->out.data + s->out_at, n);
		s->out_at += n;
		s->sent_ms = rt_clock_monotonic_ms();
		return (ssize_t)n;
	}
	if (!s->ended && s->owner->closing) {
		s->ended = true;
		n = (size_t)snprintf(buf, max, ": the server is going down; come back\n\n");
		if (n < max)
			return (ssize_t)n;
	}
	if (s->ended)
		return MHD_CONTENT_READER_END_OF_STREAM;
	s->suspended = true;
	MHD_suspend_connection(s->conn);
	return 0;
}

static void on_free(void *cls)
{
	struct rt_stream *s = cls;

	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	s->owner->n--;
	rt_buf_release(&s->out);
	free(s->jobs);
	free(s);
}

static void wake(struct rt_stream *s)
{
	if (!s->suspended)
		return;
	s->suspended = false;
	MHD_resume_connection(s->conn);
	s->owner->http->woken = true;
}

/* ---- followers ---- */

/* data: of an SSE frame is one line, and JSON may hold line breaks only between its tokens. */
static void add_line(struct rt_buf *out, const char *json)
{
	for (; *json; json++)
		rt_buf_char(out, *json == '\n' || *json == '\r' ? ' ' : *json);
}

static struct rt_stream *new_stream(struct rt_streams *owner, struct rt_req *req,
				    const struct rt_stream_start *start)
{
	struct rt_stream *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->owner = owner;
	s->conn = req->conn;
	s->cursor = start->after;
	s->sent_ms = rt_clock_monotonic_ms();
	if (start->job_id)
		snprintf(s->job_id, sizeof s->job_id, "%s", start->job_id);
	if (start->job_count > 0) {
		s->jobs = malloc(start->job_count * sizeof *s->jobs);
		if (!s->jobs) {
			free(s);
			return NULL;
		}
		memcpy(s->jobs, start->jobs, start->job_count * sizeof *s->jobs);
		s->job_count = start->job_count;
	}
	/* The id goes first: a client that is cut off before the first event goes on from here too. */
	rt_buf_fmt(&s->out, "retry: 3000\nid: %lld\n\n", (long long)start->after);
	if (start->snapshot) {
		rt_buf_str(&s->out, "event: reset\ndata: {\"reason\":\"unknown_event_id\",\"snapshot\":");
		add_line(&s->out, start->snapshot);
		rt_buf_str(&s->out, "}\n\n");
	}
	s->next = owner->first;
	if (s->next)
		s->next->link = &s->next;
	s->link = &owner->first;
	owner->first = s;
	owner->n++;
	return s;
}

int rt_stream_answer(struct rt_streams *owner, struct rt_req *req, const struct rt_stream_start *start,
		     struct rt_err *err)
{
	struct MHD_Response *response;
	struct rt_stream *s;

	if (owner->n >= RT_STREAMS_MAX)
		return rt_fail(err, RT_UNAVAILABLE,
			       "%d streams are open, which is all that this server serves; try again later",
			       RT_STREAMS_MAX);
	s = new_stream(owner, req, start);
	if (!s)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a stream");
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, on_read, s, on_free);
	if (!response) {
		on_free(s);
		return rt_fail(err, RT_NO_MEMORY, "no memory for a stream");
	}
	rt_answer_response(req, 200, response);
	rt_answer_header(req, "Content-Type", "text/event-stream");
	rt_answer_header(req, "Cache-Control", "no-store");
	rt_answer_header(req, "X-Accel-Buffering", "no");
	return 0;
}

/* ---- new events ---- */

void rt_streams_touch(struct rt_streams *s, const char *job_id)
{
	size_t room = sizeof s->touched / sizeof *s->touched;

	for (size_t i = 0; i < s->touched_count && i < room; i++) {
		if (strcmp(s->touched[i], job_id) == 0)
			return;
	}
	if (s->touched_count < room)
		snprintf(s->touched[s->touched_count], sizeof *s->touched, "%s", job_id);
	s->touched_count++;
}

static bool is_touched(const struct rt_streams *s, const struct rt_stream *stream)
{
	if (s->touched_count > sizeof s->touched / sizeof *s->touched)
		return true;
	for (size_t i = 0; i < s->touched_count; i++) {
		if (is_followed(stream, s->touched[i]))
			return true;
	}
	return false;
}

void rt_streams_settle(struct rt_streams *s, bool committed)
{
	if (s->touched_count == 0)
		return;
	if (committed && rt_store_events_last(s->store, NULL, &s->committed, NULL) == 0) {
		for (struct rt_stream *stream = s->first; stream; stream = stream->next) {
			if (is_touched(s, stream))
				wake(stream);
		}
	}
	s->touched_count = 0;
}

static void on_timer(uv_timer_t *timer)
{
	struct rt_streams *s = timer->data;
	int64_t now = rt_clock_monotonic_ms();

	for (struct rt_stream *stream = s->first; stream; stream = stream->next) {
		if (!stream->suspended || now - stream->sent_ms < KEEPALIVE_MS)
			continue;
		rt_buf_clear(&stream->out);
		stream->out_at = 0;
		rt_buf_str(&stream->out, ": keepalive\n\n");
		wake(stream);
	}
}

int rt_streams_start(struct rt_streams *s, uv_loop_t *loop, struct rt_http *http, struct rt_store *store,
		     struct rt_err *err)
{
	s->http = http;
	s->store = store;
	if (rt_store_events_last(store, NULL, &s->committed, err) < 0)
		return -1;
	s->timer = calloc(1, sizeof *s->timer);
	if (!s->timer)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a timer");
	uv_timer_init(loop, s->timer);
	s->timer->data = s;
	uv_timer_start(s->timer, on_timer, LOOK_MS, LOOK_MS);
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

void rt_streams_stop(struct rt_streams *s)
{
	s->closing = true;
	for (struct rt_stream *stream = s->first; stream; stream = stream->next)
		wake(stream);
	if (s->timer)
		uv_close((uv_handle_t *)s->timer, on_closed);
	s->timer = NULL;
}
