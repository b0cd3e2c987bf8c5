/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/jobs/{id}/events, /epochs, /logs, and /v1/events */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "server/render.h"
#include "server/respond.h"
#include "server/routes.h"
#include "server/server.h"
#include "server/store_views.h"

/* ---- a page of events ---- */

struct page {
	struct rt_render_list list;
	size_t limit;
	bool more;
	const struct rt_stream_start *which;
};

static bool is_wanted(const struct rt_stream_start *which, const char *job_id)
{
	for (size_t i = 0; i < which->job_count; i++) {
		if (strcmp(which->jobs[i], job_id) == 0)
			return true;
	}
	return which->job_count == 0;
}

static bool add_event(void *arg, const struct rt_event_row *row)
{
	struct page *page = arg;

	if (!is_wanted(page->which, row->job_id))
		return true;
	if (page->list.n == page->limit) {
		page->more = true;
		return false;
	}
	rt_render_list_item(&page->list, row->id);
	rt_render_event(&page->list.out, row);
	return true;
}

/* A parameter that is one of two words. */
static int either(const struct rt_target *t, const char *name, const char *no, const char *yes, bool *ret,
		  struct rt_err *err)
{
	const char *text = rt_target_param(t, name);

	if (text && strcmp(text, no) != 0 && strcmp(text, yes) != 0)
		return rt_fail(err, RT_INVALID, "%s must be %s or %s (got '%.64s')", name, no, yes, text);
	*ret = text && strcmp(text, yes) == 0;
	return 0;
}

static int answer_page(struct rt_req *req, const struct rt_stream_start *which, struct rt_err *err)
{
	struct rt_events_filter f = { .job_id = which->job_id, .limit = 100 };
	struct page page = { .which = which };
	int rc;

	if (rt_target_int(&req->target, "limit", 1, 1000, &f.limit, err) < 0 ||
	    rt_target_int(&req->target, "after", 0, INT64_MAX, &f.after, err) < 0 ||
	    either(&req->target, "order", "asc", "desc", &f.newest_first, err) < 0 ||
	    either(&req->target, "progress", "true", "false", &f.without_progress, err) < 0)
		return -1;
	page.limit = (size_t)f.limit;
	f.limit = which->job_count ? INT64_MAX : f.limit + 1;
	rt_render_list_begin(&page.list);
	rc = rt_store_events_list(req->server->store, &f, add_event, &page, err);
	rt_render_list_end(&page.list, page.more);
	if (rc == 0)
		rc = rt_answer_json(req, 200, &page.list.out, err);
	rt_buf_release(&page.list.out);
	return rc;
}

/* ---- a stream of events ---- */

/* Whether the Accept header names text/event-stream. */
static bool wants_stream(struct rt_req *req)
{
	static const char wanted[] = "text/event-stream";
	const char *p = rt_req_header(req, "Accept");
	size_t n = strlen(wanted);

	while (p && *p) {
		p += strspn(p, " \t,");
		if (strncasecmp(p, wanted, n) == 0 && strchr(" \t,;", p[n]))
			return true;
		p += strcspn(p, ",");
	}
	return false;
}

/* The id of the last event that the client has seen, or -1 when it gave none; -2 when it is none that we gave out. */
static int64_t last_event_id(struct rt_req *req)
{
	const char *text = rt_req_header(req, "Last-Event-ID");
	char *end;
	long long v;

	if (!text)
		text = rt_target_param(&req->target, "last_event_id");
	if (!text || !*text)
		return -1;
	errno = 0;
	v = strtoll(text, &end, 10);
	if (*end || errno || v < 0 || v > req->server->streams.committed ||
	    strspn(text, "0123456789") != strlen(text))
		return -2;
	return v;
}

static void add_snapshot_job(void *arg, const struct rt_job *job)
{
	struct rt_render_list *list = arg;

	rt_render_list_item(list, job->id);
	rt_render_job(&list->out, job);
}

static int answer_job_stream(struct rt_req *req, struct rt_job *job, struct rt_stream_start *start,
			     struct rt_err *err)
{
	int64_t last_id = last_event_id(req), last = 0;
	struct rt_buf snapshot = RT_BUF_INIT;
	int rc;

	if (rt_store_events_last(req->server->store, job->id, &last, err) < 0)
		return -1;
	if (last_id >= 0 && last_id >= last && rt_job_status_is_final(job->status))
		return rt_answer_empty(req, 204, err); /* tells an EventSource to stop coming back */
	start->after = last_id >= 0 ? last_id : 0;
	if (last_id == -2) {
		rt_render_job(&snapshot, job);
		if (rt_buf_check(&snapshot, err) < 0) {
			rt_buf_release(&snapshot);
			return -1;
		}
		start->snapshot = snapshot.data;
	}
	rc = rt_stream_answer(&req->server->streams, req, start, err);
	rt_buf_release(&snapshot);
	return rc;
}

int rt_route_job_events(struct rt_req *req, struct rt_err *err)
{
	static const char *const known[] = { "limit", "after", "order", "progress", "last_event_id", NULL };
	struct rt_stream_start start = { .job_id = req->params.value[0] };
	struct rt_job job;
	int rc;

	if (rt_target_only(&req->target, known, err) < 0 ||
	    rt_store_job_get(req->server->store, start.job_id, &job, err) < 0)
		return -1;
	rc = wants_stream(req) ? answer_job_stream(req, &job, &start, err) : answer_page(req, &start, err);
	rt_job_release(&job);
	return rc;
}

/* "job_…,job_…" */
static int parse_jobs(const char *text, char jobs[RT_STREAM_JOBS_MAX][RT_ID_SIZE], size_t *ret_n,
		      struct rt_err *err)
{
	size_t n = 0;

	for (const char *p = text; p && *p; n++) {
		size_t len = strcspn(p, ",");

		if (n == RT_STREAM_JOBS_MAX)
			return rt_fail(err, RT_INVALID, "jobs may name at most %d jobs", RT_STREAM_JOBS_MAX);
		snprintf(jobs[n], RT_ID_SIZE, "%.*s", (int)(len < RT_ID_SIZE ? len : RT_ID_SIZE - 1), p);
		if (len >= RT_ID_SIZE || !rt_id_is(jobs[n], "job"))
			return rt_fail(err, RT_INVALID,
				       "jobs must be ids of jobs separated by commas (got '%.64s')", jobs[n]);
		p += len;
		p += *p == ',';
	}
	*ret_n = n;
	return 0;
}

int rt_route_events(struct rt_req *req, struct rt_err *err)
{
	static const char *const known[] = { "limit",	      "after", "order", "progress",
					     "last_event_id", "jobs",  NULL };
	struct rt_jobs_filter newest = { .limit = 100 };
	struct rt_render_list snapshot = { .n = 0 };
	char jobs[RT_STREAM_JOBS_MAX][RT_ID_SIZE];
	struct rt_stream_start start = { .jobs = (const char(*)[RT_ID_SIZE])jobs };
	int64_t last_id;
	int rc = 0;

	if (rt_target_only(&req->target, known, err) < 0 ||
	    parse_jobs(rt_target_param(&req->target, "jobs"), jobs, &start.job_count, err) < 0)
		return -1;
	if (!wants_stream(req))
		return answer_page(req, &start, err);
	last_id = last_event_id(req);
	start.after = last_id >= 0 ? last_id : req->server->streams.committed;
	if (last_id == -2) {
		rt_render_list_begin(&snapshot);
		rc = rt_store_jobs_list(req->server->store, &newest, add_snapshot_job, &snapshot, err);
		rt_render_list_end(&snapshot, false);
		start.snapshot = rt_buf_text(&snapshot.out);
		if (rc == 0)
			rc = rt_buf_check(&snapshot.out, err);
	}
	if (rc == 0)
		rc = rt_stream_answer(&req->server->streams, req, &start, err);
	rt_buf_release(&snapshot.out);
	return rc;
}

/* ---- /v1/jobs/{id}/epochs ---- */

struct epochs {
	struct rt_render_list list;
	const char *job_id;
};

static void add_epoch(void *arg, const struct rt_epoch_row *row)
{
	struct epochs *e = arg;
	char id[24];

	snprintf(id, sizeof id, "%lld", (long long)row->epoch);
	rt_render_list_item(&e->list, id);
	rt_render_epoch(&e->list.out, e->job_id, row);
}

int rt_route_job_epochs(struct rt_req *req, struct rt_err *err)
{
	static const char *const known[] = { "superseded", NULL };
	struct epochs e = { .job_id = req->params.value[0] };
	struct rt_job job;
	bool all = false;
	int rc;

	if (rt_target_only(&req->target, known, err) < 0 ||
	    either(&req->target, "superseded", "false", "true", &all, err) < 0 ||
	    rt_store_job_get(req->server->store, e.job_id, &job, err) < 0)
		return -1;
	rt_job_release(&job);
	rt_render_list_begin(&e.list);
	rc = rt_store_epochs_read(req->server->store, e.job_id, all, add_epoch, &e, err);
	rt_render_list_end(&e.list, false);
	if (rc == 0)
		rc = rt_answer_json(req, 200, &e.list.out, err);
	rt_buf_release(&e.list.out);
	return rc;
}

/* ---- /v1/jobs/{id}/steps ---- */

static bool add_step(void *arg, const struct rt_event_row *row)
{
	struct epochs *e = arg;

	rt_render_list_item(&e->list, row->id);
	rt_render_step(&e->list.out, row);
	return true;
}

int rt_route_job_steps(struct rt_req *req, struct rt_err *err)
{
	static const char *const known[] = { "points", NULL };
	struct epochs e = { .job_id = req->params.value[0] };
	int64_t points = 1000;
	struct rt_job job;
	int rc;

	if (rt_target_only(&req->target, known, err) < 0 ||
	    rt_target_int(&req->target, "points", 1, 10000, &points, err) < 0 ||
	    rt_store_job_get(req->server->store, e.job_id, &job, err) < 0)
		return -1;
	rt_job_release(&job);
	rt_render_list_begin(&e.list);
	rc = rt_store_steps_read(req->server->store, e.job_id, points, add_step, &e, err);
	rt_render_list_end(&e.list, false);
	if (rc == 0)
		rc = rt_answer_json(req, 200, &e.list.out, err);
	rt_buf_release(&e.list.out);
	return rc;
}

/* ---- /v1/jobs/{id}/evaluations/{epoch} ---- */

struct evaluation {
	const char *job_id;
	struct rt_buf body;
};

static int add_evaluation(void *arg, const struct rt_evaluation_row *row, struct rt_err *err)
{
	struct evaluation *e = arg;

	return rt_render_evaluation(&e->body, e->job_id, row, err);
}

/* "best", "last" or a number. best of a job without one: what is not there. */
static int parse_epoch(const char *text, const struct rt_job *job, int64_t *ret, struct rt_err *err)
{
	char *end;
	long long v;

	*ret = RT_SQL_NO_INT;
	if (strcmp(text, "last") == 0)
		return 0;
	if (strcmp(text, "best") == 0) {
		*ret = job->best_checkpoint_id ? job->best_epoch : 0;
		return 0;
	}
	errno = 0;
	v = strtoll(text, &end, 10);
	if (*end || errno || v < 1 || strspn(text, "0123456789") != strlen(text))
		return rt_fail(err, RT_NOT_FOUND,
			       "an evaluation is named by its epoch, by best or by last (got '%.64s')", text);
	*ret = v;
	return 0;
}

int rt_route_job_evaluation(struct rt_req *req, struct rt_err *err)
{
	static const char *const known[] = { NULL };
	struct evaluation e = { .job_id = req->params.value[0] };
	const char *which = req->params.value[1];
	struct rt_job job;
	int64_t epoch;
	int rc;

	if (rt_target_only(&req->target, known, err) < 0 ||
	    rt_store_job_get(req->server->store, e.job_id, &job, err) < 0)
		return -1;
	rc = parse_epoch(which, &job, &epoch, err);
	rt_job_release(&job);
	if (rc == 0)
		rc = rt_store_evaluation_get(req->server->store, e.job_id, epoch, add_evaluation, &e, err);
	else
		rc = -1;
	if (rc == 0)
		rc = rt_fail(err, RT_NOT_FOUND, "the job has no evaluation by class of epoch %.20s", which);
	else if (rc == 1)
		rc = rt_answer_json(req, 200, &e.body, err);
	rt_buf_release(&e.body);
	return rc;
}

/* ---- /v1/jobs/{id}/logs ---- */

#define LOG_MAX_BYTES (1 << 20)

/* Keeps the last `lines` lines of text. Returns where they begin. */
static size_t tail_start(const char *text, size_t len, int64_t lines)
{
	size_t at = len;

	if (at > 0 && text[at - 1] == '\n')
		at--;
	for (; at > 0; at--) {
		if (text[at - 1] == '\n' && --lines == 0)
			break;
	}
	return at;
}

/* The end of a file, at most LOG_MAX_BYTES and `lines` lines; nothing when there is none. */
static void read_tail(const char *path, int64_t lines, struct rt_buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct rt_buf text = RT_BUF_INIT;
	off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
	size_t want = size > LOG_MAX_BYTES ? LOG_MAX_BYTES : size > 0 ? (size_t)size : 0, start;
	char *to = want ? rt_buf_room(&text, want) : NULL;
	ssize_t n = to ? pread(fd, to, want, size - (off_t)want) : 0;

	if (n > 0) {
		text.len = (size_t)n;
		start = tail_start(text.data, text.len, lines);
		rt_buf_add(out, text.data + start, text.len - start);
	}
	rt_buf_release(&text);
	if (fd >= 0)
		close(fd);
}

int rt_route_job_logs(struct rt_req *req, struct rt_err *err)
{
	static const char *const known[] = { "tail", NULL };
	struct rt_buf body = RT_BUF_INIT;
	int64_t lines = INT64_MAX;
	struct rt_job job;
	char *path;

	if (rt_target_only(&req->target, known, err) < 0 ||
	    rt_target_int(&req->target, "tail", 1, 100000, &lines, err) < 0 ||
	    rt_store_job_get(req->server->store, req->params.value[0], &job, err) < 0)
		return -1;
	rt_buf_str(&body, "");
	path = job.run_id ? rt_scheduler_path(&req->server->scheduler, job.run_id, "worker.log") : NULL;
	if (path)
		read_tail(path, lines, &body);
	free(path);
	rt_job_release(&job);
	if (rt_answer(req, 200, "text/plain; charset=utf-8", &body, err) < 0)
		return -1;
	rt_answer_header(req, "Cache-Control", "no-store");
	return 0;
}
