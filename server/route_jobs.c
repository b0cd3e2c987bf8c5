/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/jobs, /v1/jobs/{id} and its moves, validate */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "server/range.h"
#include "server/render.h"
#include "server/respond.h"
#include "server/routes.h"
#include "server/server.h"
#include "server/store_idempotency.h"
#include "server/store_views.h"

#define KEY_MAX 255

/* ---- POST /v1/jobs ---- */

/* Idempotency-Key: "key" (a structured-field string) or the key without quotes. out: KEY_MAX + 1 bytes; "" when there is
 * no such header. */
static int idempotency_key(struct rt_req *req, char out[KEY_MAX + 1], struct rt_err *err)
{
	const char *text = rt_req_header(req, "Idempotency-Key");
	size_t n = 0;
	bool quoted;

	out[0] = '\0';
	if (!text)
		return 0;
	quoted = text[0] == '"';
	for (text += quoted; *text && !(quoted && *text == '"'); text++) {
		if (quoted && *text == '\\' && (text[1] == '"' || text[1] == '\\'))
			text++;
		if (n == KEY_MAX || (unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7F)
			return rt_fail(err, RT_INVALID,
				       "Idempotency-Key must be 1 to %d printable ASCII characters", KEY_MAX);
		out[n++] = *text;
	}
	out[n] = '\0';
	if (n == 0 || (quoted && strcmp(text, "\"") != 0))
		return rt_fail(
			err, RT_INVALID,
			"Idempotency-Key must be a string such as \"8e03978e-40d5-43dd-bc93-6894a57f9324\"");
	return 0;
}

/* Answers from what the key's first request was told. 1 when it did, 0 when the key is new. */
static int replay(struct rt_req *req, const char *key, const char *body_sha256, struct rt_err *err)
{
	struct rt_idempotent before;
	int rc = rt_store_idempotent_get(req->server->store, key, req->route->pattern, rt_clock_now_ms(),
					 &before, err);

	if (rc <= 0)
		return rc;
	if (strcmp(before.body_sha256, body_sha256) != 0) {
		rt_buf_release(&before.answer);
		return rt_fail(err, RT_UNPROCESSABLE,
			       "the Idempotency-Key was used for another body; a key stands for one request");
	}
	if (rt_answer_json(req, (unsigned)before.status, &before.answer, err) < 0)
		return -1;
	rt_answer_header(req, "Location", before.location);
	rt_answer_header(req, "Idempotent-Replayed", "true");
	rt_answer_after_commit(req); /* the first request may be of this very turn */
	return 1;
}

/* Both are the caller's to release on success. -1 with RT_UNPROCESSABLE: req->problems says what is wrong. */
static int parse_and_resolve(struct rt_req *req, struct rt_spec *spec, struct rt_resolved *resolved,
			     struct rt_err *err)
{
	struct rt_problems *problems = rt_req_problems(req);
	json_t *json;
	int rc;

	if (!problems)
		return rt_fail(err, RT_NO_MEMORY, "no memory to check the job");
	json = rt_json_parse(rt_buf_text(&req->body), req->body.len, err);
	if (!json)
		return -1;
	rc = rt_spec_parse(json, spec, problems, err);
	json_decref(json);
	if (rc < 0)
		return -1;
	if (rt_resolve(&req->server->jobs.roots, req->server->store, spec, resolved, problems, err) < 0) {
		rt_spec_release(spec);
		return -1;
	}
	return 0;
}

/* Inside a savepoint: the job and the key's row stay or go together. */
static int make_job(struct rt_req *req, const struct rt_spec *spec, const char *key, const char *body_sha256,
		    char location[128], struct rt_buf *ret_body, struct rt_err *err)
{
	struct rt_server *s = req->server;
	char id[RT_ID_SIZE];
	struct rt_job job;

	if (rt_jobs_submit(&s->jobs, spec, rt_buf_text(&req->body), id, err) < 0 ||
	    rt_store_job_get(s->store, id, &job, err) < 0)
		return -1;
	rt_render_job(ret_body, &job);
	rt_job_release(&job);
	snprintf(location, 128, "/v1/jobs/%s", id);
	if (rt_buf_check(ret_body, err) < 0)
		return -1;
	if (key[0]) {
		struct rt_idempotent row = { .status = 201, .answer = *ret_body };

		snprintf(row.body_sha256, sizeof row.body_sha256, "%s", body_sha256);
		snprintf(row.location, sizeof row.location, "%s", location);
		return rt_store_idempotent_put(s->store, key, req->route->pattern, &row, rt_clock_now_ms(),
					       err);
	}
	return 0;
}

int rt_route_jobs_post(struct rt_req *req, struct rt_err *err)
{
	char key[KEY_MAX + 1], body_sha256[RT_SHA256_SIZE], location[128];
	struct rt_store *st = req->server->store;
	struct rt_buf body = RT_BUF_INIT;
	struct rt_resolved resolved;
	struct rt_spec spec;
	int rc;

	if (req->server->disk.full)
		return rt_fail(err, RT_DISK_FULL,
			       "the server's disk is full; it takes no new jobs until there is room");
	if (idempotency_key(req, key, err) < 0)
		return -1;
	rt_sha256(rt_buf_text(&req->body), req->body.len, body_sha256);
	if (key[0]) {
		rc = replay(req, key, body_sha256, err);
		if (rc != 0)
			return rc < 0 ? -1 : 0;
	}
	if (parse_and_resolve(req, &spec, &resolved, err) < 0)
		return -1;
	rt_resolved_release(&resolved); /* resolved again when the job runs */
	rc = rt_store_begin(st, err);
	if (rc == 0) {
		rc = make_job(req, &spec, key, body_sha256, location, &body, err);
		if (rt_store_end(st, rc == 0, err) < 0)
			rc = -1;
	}
	rt_spec_release(&spec);
	if (rc == 0)
		rc = rt_answer_json(req, 201, &body, err);
	rt_buf_release(&body);
	if (rc < 0)
		return -1;
	rt_answer_header(req, "Location", location);
	req->server->scheduler.wanted = true;
	return rt_answer_after_commit(req);
}

/* ---- POST /v1/jobs:validate ---- */

/* What is wrong already without the worker is a report too. */
static int answer_not_valid(struct rt_req *req, struct rt_err *err)
{
	struct rt_buf body = RT_BUF_INIT;

	rt_buf_str(&body, "{\"valid\":false,\"errors\":");
	rt_problems_write(&body, req->problems);
	rt_buf_str(&body, ",\"warnings\":[],\"resolved\":null,\"facts\":null}");
	return rt_answer_json(req, 200, &body, err);
}

int rt_route_jobs_validate(struct rt_req *req, struct rt_err *err)
{
	json_t *worker_spec, *user_spec;
	struct rt_resolved resolved;
	struct rt_spec spec;
	int rc = -1;

	if (parse_and_resolve(req, &spec, &resolved, err) < 0) {
		if (err->code == RT_UNPROCESSABLE && req->problems && req->problems->n > 0)
			return answer_not_valid(req, err);
		return -1;
	}
	worker_spec = rt_resolved_spec_json(&spec, &resolved);
	user_spec = rt_spec_json(&spec);
	if (worker_spec && user_spec)
		rc = rt_validator_run(&req->server->validator, req, worker_spec, user_spec, err);
	else
		rt_fail(err, RT_NO_MEMORY, "no memory to check the spec");
	json_decref(worker_spec);
	json_decref(user_spec);
	rt_resolved_release(&resolved);
	rt_spec_release(&spec);
	return rc;
}

/* ---- GET /v1/jobs, GET /v1/jobs:counts ---- */

#define QUERY_MAX 200 /* bytes of q */
#define WORDS_MAX 8

struct filter {
	struct rt_jobs_filter f;
	const char *tags[RT_JOBS_FILTER_TAGS], *words[WORDS_MAX];
	char query[QUERY_MAX + 1]; /* cut into words */
};

static int parse_query(const char *text, struct filter *ret, struct rt_err *err)
{
	char *save = NULL;

	if (strlen(text) > QUERY_MAX)
		return rt_fail(err, RT_INVALID, "q must be at most %d bytes (got %zu)", QUERY_MAX,
			       strlen(text));
	strcpy(ret->query, text);
	for (char *word = strtok_r(ret->query, " \t", &save); word; word = strtok_r(NULL, " \t", &save)) {
		if (ret->f.word_count == WORDS_MAX)
			return rt_fail(err, RT_INVALID, "q may hold at most %d words", WORDS_MAX);
		ret->words[ret->f.word_count++] = word;
	}
	ret->f.words = ret->words;
	return 0;
}

/* What both addresses take: q and tag. */
static int parse_words_and_tags(const struct rt_target *t, struct filter *ret, struct rt_err *err)
{
	const char *query = rt_target_param(t, "q");

	if (query && parse_query(query, ret, err) < 0)
		return -1;
	ret->f.tags = ret->tags;
	for (size_t i = 0; i < t->param_count; i++) {
		if (strcmp(t->params[i].name, "tag") != 0)
			continue;
		if (ret->f.tag_count == RT_JOBS_FILTER_TAGS)
			return rt_fail(err, RT_INVALID, "tag may be given at most %d times",
				       RT_JOBS_FILTER_TAGS);
		ret->tags[ret->f.tag_count++] = t->params[i].value;
	}
	return 0;
}

static int parse_filter(struct rt_req *req, struct filter *ret, struct rt_err *err)
{
	static const char *const known[] = { "limit", "after", "order", "q", "*status", "*tag", NULL };
	const struct rt_target *t = &req->target;
	const char *order = rt_target_param(t, "order");
	struct rt_jobs_filter *f = &ret->f;

	if (rt_target_only(t, known, err) < 0 || rt_target_int(t, "limit", 1, 100, &f->limit, err) < 0 ||
	    parse_words_and_tags(t, ret, err) < 0)
		return -1;
	f->after = rt_target_param(t, "after");
	if (f->after && !rt_id_is(f->after, "job"))
		return rt_fail(err, RT_INVALID, "after must be a job's id (got '%.64s')", f->after);
	if (order && strcmp(order, "asc") != 0 && strcmp(order, "desc") != 0)
		return rt_fail(err, RT_INVALID, "order must be asc or desc (got '%.64s')", order);
	f->oldest_first = order && strcmp(order, "asc") == 0;
	for (size_t i = 0; i < t->param_count; i++) {
		enum rt_job_status status;

		if (strcmp(t->params[i].name, "status") != 0)
			continue;
		if (rt_job_status_parse(t->params[i].value, &status) < 0)
			return rt_fail(err, RT_INVALID,
				       "status must be one of validating, queued, running, pausing, "
				       "paused, cancelling, succeeded, "
				       "failed, cancelled (got '%.64s')",
				       t->params[i].value);
		f->statuses |= 1U << status;
	}
	return 0;
}

struct page {
	struct rt_render_list list;
	size_t limit;
	bool more;
};

static void add_job(void *arg, const struct rt_job *job)
{
	struct page *page = arg;

	if (page->list.n == page->limit) {
		page->more = true;
		return;
	}
	rt_render_list_item(&page->list, job->id);
	rt_render_job(&page->list.out, job);
}

int rt_route_jobs_list(struct rt_req *req, struct rt_err *err)
{
	struct filter filter = { .f.limit = 20 };
	struct page page = { .more = false };
	int rc;

	if (parse_filter(req, &filter, err) < 0)
		return -1;
	page.limit = (size_t)filter.f.limit++; /* one more shows that there is more */
	rt_render_list_begin(&page.list);
	rc = rt_store_jobs_list(req->server->store, &filter.f, add_job, &page, err);
	rt_render_list_end(&page.list, page.more);
	if (rc == 0)
		rc = rt_answer_json(req, 200, &page.list.out, err);
	rt_buf_release(&page.list.out);
	return rc;
}

int rt_route_jobs_counts(struct rt_req *req, struct rt_err *err)
{
	static const char *const known[] = { "q", "*tag", NULL };
	struct filter filter = { .f.limit = 0 };
	int64_t counts[RT_JOB_STATUS_COUNT], total = 0;
	struct rt_buf body = RT_BUF_INIT;

	if (rt_target_only(&req->target, known, err) < 0 ||
	    parse_words_and_tags(&req->target, &filter, err) < 0 ||
	    rt_store_jobs_counts(req->server->store, &filter.f, counts, err) < 0)
		return -1;
	rt_buf_str(&body, "{\"object\":\"job.counts\",\"status\":{");
	for (int i = 0; i < RT_JOB_STATUS_COUNT; i++) {
		total += counts[i];
		rt_buf_fmt(&body, "%s\"%s\":%lld", i ? "," : "", rt_job_status_word((enum rt_job_status)i),
			   (long long)counts[i]);
	}
	rt_buf_fmt(&body, "},\"total\":%lld}", (long long)total);
	return rt_answer_json(req, 200, &body, err);
}

/* ---- /v1/jobs/{id} ---- */

/* The job, with its revision as ETag. */
static int answer_job(struct rt_req *req, unsigned status, struct rt_err *err)
{
	struct rt_buf body = RT_BUF_INIT;
	struct rt_job job;
	char etag[32];

	if (rt_store_job_get(req->server->store, req->params.value[0], &job, err) < 0)
		return -1;
	rt_render_job(&body, &job);
	snprintf(etag, sizeof etag, "\"%lld\"", (long long)job.revision);
	rt_job_release(&job);
	if (rt_answer_json(req, status, &body, err) < 0)
		return -1;
	rt_answer_header(req, "ETag", etag);
	return 0;
}

int rt_route_job_get(struct rt_req *req, struct rt_err *err)
{
	return answer_job(req, 200, err);
}

/* 0 when there is no If-Match, or it names the job's revision. */
static int check_match(struct rt_req *req, struct rt_err *err)
{
	const char *match = rt_req_header(req, "If-Match");
	struct rt_job job;
	char etag[32];

	if (!match)
		return 0;
	if (rt_store_job_get(req->server->store, req->params.value[0], &job, err) < 0)
		return -1;
	snprintf(etag, sizeof etag, "\"%lld\"", (long long)job.revision);
	rt_job_release(&job);
	if (rt_etag_listed(match, etag))
		return 0;
	return rt_fail(
		err, RT_PRECONDITION,
		"the job has changed: If-Match is %.64s and its ETag is %s; get it again and decide anew",
		match, etag);
}

int rt_route_job_patch(struct rt_req *req, struct rt_err *err)
{
	struct rt_problems *problems = rt_req_problems(req);
	json_t *patch;
	int rc;

	if (!problems)
		return rt_fail(err, RT_NO_MEMORY, "no memory to change the job");
	if (check_match(req, err) < 0)
		return -1;
	patch = rt_json_parse(rt_buf_text(&req->body), req->body.len, err);
	if (!patch)
		return -1;
	rc = rt_jobs_edit(&req->server->jobs, req->params.value[0], patch, problems, err);
	json_decref(patch);
	if (rc < 0 || answer_job(req, 200, err) < 0)
		return -1;
	return rt_answer_after_commit(req);
}

/* What all moves have in common: 202 while the job is still on its way to where the move leads. */
static int answer_move(struct rt_req *req, enum rt_job_status status, struct rt_err *err)
{
	bool on_its_way = status == RT_JOB_CANCELLING || status == RT_JOB_PAUSING;

	if (answer_job(req, on_its_way ? 202 : 200, err) < 0)
		return -1;
	return rt_answer_after_commit(req);
}

int rt_route_job_cancel(struct rt_req *req, struct rt_err *err)
{
	enum rt_job_status status;

	if (rt_scheduler_cancel(&req->server->scheduler, req->params.value[0], &status, err) < 0)
		return -1;
	return answer_move(req, status, err);
}

int rt_route_job_pause(struct rt_req *req, struct rt_err *err)
{
	enum rt_job_status status;

	if (rt_scheduler_pause(&req->server->scheduler, req->params.value[0], &status, err) < 0)
		return -1;
	return answer_move(req, status, err);
}

int rt_route_job_resume(struct rt_req *req, struct rt_err *err)
{
	enum rt_job_status status;

	if (rt_scheduler_resume(&req->server->scheduler, req->params.value[0], &status, err) < 0)
		return -1;
	return answer_move(req, status, err);
}

int rt_route_job_retry(struct rt_req *req, struct rt_err *err)
{
	enum rt_job_status status;

	if (rt_scheduler_retry(&req->server->scheduler, req->params.value[0], &status, err) < 0)
		return -1;
	return answer_move(req, status, err);
}

int rt_route_job_delete(struct rt_req *req, struct rt_err *err)
{
	bool gone;

	if (rt_scheduler_remove(&req->server->scheduler, req->params.value[0], "user", &gone, err) < 0 ||
	    (gone ? rt_answer_empty(req, 204, err) : answer_job(req, 202, err)) < 0)
		return -1;
	return rt_answer_after_commit(req);
}
