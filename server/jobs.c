/* SPDX-License-Identifier: Apache-2.0 */
#include "server/jobs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"

/* {"status", "phase", "at", "message"} */
static void history_entry(struct rt_buf *out, enum rt_job_status status, const char *phase, int64_t now_ms,
			  const char *message)
{
	char at[RT_RFC3339_SIZE];

	rt_buf_fmt(out, "{\"status\":\"%s\",\"phase\":", rt_job_status_word(status));
	if (phase)
		rt_json_write_str(out, phase, strlen(phase));
	else
		rt_buf_str(out, "null");
	rt_buf_fmt(out, ",\"at\":\"%s\",\"message\":", rt_clock_rfc3339(now_ms, at));
	rt_json_write_str(out, message, strlen(message));
	rt_buf_char(out, '}');
}

static int add_event(struct rt_jobs *jobs, const struct rt_event_row *row, int64_t *ret_seq,
		     struct rt_err *err)
{
	if (rt_store_event_add(jobs->store, row, ret_seq, err) < 0)
		return -1;
	if (jobs->on_event)
		jobs->on_event(jobs->arg, row->job_id);
	return 0;
}

int rt_jobs_tell(struct rt_jobs *jobs, const char *job_id, const char *run_id, int64_t attempt,
		 const char *type, const char *level, const char *message, const json_t *data,
		 struct rt_err *err)
{
	struct rt_buf text = RT_BUF_INIT;
	char id[RT_ID_SIZE];
	int64_t seq;
	int rc = -1;

	if (data)
		rt_json_write(&text, data, 0);
	else
		rt_buf_str(&text, "{}");
	if (rt_buf_check(&text, err) == 0) {
		const struct rt_event_row row = {
			.id = rt_id_new("evt", id),
			.job_id = job_id,
			.run_id = run_id,
			.run_seq = RT_SQL_NO_INT,
			.attempt = attempt,
			.type = type,
			.level = level,
			.message = message,
			.data = text.data,
			.created_ms = rt_clock_now_ms(),
		};

		rc = add_event(jobs, &row, &seq, err);
	}
	rt_buf_release(&text);
	return rc;
}

/* "job.queued" and so on: {"status", "from", "reason"} */
static int tell_status(struct rt_jobs *jobs, const char *job_id, const char *run_id, int64_t attempt,
		       enum rt_job_status status, const char *from, const char *reason, const char *message,
		       struct rt_err *err)
{
	char type[32];
	json_t *data =
		json_pack("{ssss?ss?}", "status", rt_job_status_word(status), "from", from, "reason", reason);
	int rc;

	if (!data)
		return rt_fail(err, RT_NO_MEMORY, "no memory for an event");
	snprintf(type, sizeof type, "job.%s", rt_job_status_word(status));
	rc = rt_jobs_tell(jobs, job_id, run_id, attempt, type, status == RT_JOB_FAILED ? "error" : "info",
			  message, data, err);
	json_decref(data);
	return rc;
}

static int submit(struct rt_jobs *jobs, const struct rt_spec *spec, const char *original, const char *id,
		  struct rt_err *err)
{
	struct rt_buf spec_text = RT_BUF_INIT, loss_text = RT_BUF_INIT, history = RT_BUF_INIT;
	json_t *spec_json = rt_spec_json(spec), *loss_json = rt_spec_loss_json(spec);
	int64_t now = rt_clock_now_ms(), waiting = 0;
	int rc = -1;

	if (!spec_json || !loss_json) {
		rt_fail(err, RT_NO_MEMORY, "no memory for the job");
		goto out;
	}
	rt_json_write(&spec_text, spec_json, 0);
	rt_json_write(&loss_text, loss_json, 0);
	rt_buf_char(&history, '[');
	history_entry(&history, RT_JOB_QUEUED, NULL, now, "");
	rt_buf_char(&history, ']');
	if (rt_buf_check(&spec_text, err) < 0 || rt_buf_check(&loss_text, err) < 0 ||
	    rt_buf_check(&history, err) < 0)
		goto out;
	if (rt_store_jobs_count(jobs->store, RT_JOB_QUEUED, &waiting, err) < 0)
		goto out;
	if (waiting >= RT_JOBS_QUEUED_MAX) {
		rt_fail(err, RT_UNAVAILABLE,
			"%lld jobs are waiting, which is all that the queue takes; try again later",
			(long long)waiting);
		goto out;
	}
	{
		const struct rt_job job = {
			.id = (char *)(uintptr_t)id,
			.name = spec->name,
			.status = RT_JOB_QUEUED,
			.priority = spec->priority,
			.spec = spec_text.data,
			.original_spec = (char *)(uintptr_t)original,
			.loss = loss_text.data,
			.max_runtime_s = spec->max_runtime_s < 0 ? RT_SQL_NO_INT : spec->max_runtime_s,
			.history = history.data,
			.created_ms = now,
			.updated_ms = now,
			.total_epochs = spec->epochs,
		};

		if (rt_store_job_add(jobs->store, &job, spec->tags, spec->tag_count, err) < 0)
			goto out;
	}
	rc = tell_status(jobs, id, NULL, 0, RT_JOB_QUEUED, NULL, NULL, "", err);
out:
	json_decref(spec_json);
	json_decref(loss_json);
	rt_buf_release(&spec_text);
	rt_buf_release(&loss_text);
	rt_buf_release(&history);
	return rc;
}

int rt_jobs_submit(struct rt_jobs *jobs, const struct rt_spec *spec, const char *original,
		   char ret_id[RT_ID_SIZE], struct rt_err *err)
{
	char id[RT_ID_SIZE];
	int rc;

	if (rt_store_begin(jobs->store, err) < 0)
		return -1;
	rc = submit(jobs, spec, original, rt_id_new("job", id), err);
	if (rt_store_end(jobs->store, rc == 0, err) < 0 || rc < 0)
		return -1;
	memcpy(ret_id, id, sizeof id);
	return 0;
}

static int set_wait(struct rt_jobs *jobs, const struct rt_job *job, const struct rt_wait *wait,
		    struct rt_err *err)
{
	if (rt_store_job_set_wait(jobs->store, job->id, wait->reason, wait->until_ms, wait->bytes, err) < 0)
		return -1;
	return wait->is_restart ? rt_store_job_set_restarts(jobs->store, job->id, job->restarts + 1, err) : 0;
}

static int move(struct rt_jobs *jobs, const struct rt_job *job, enum rt_job_move how, const char *message,
		const json_t *error, const struct rt_wait *wait, enum rt_job_status *ret_status,
		struct rt_err *err)
{
	struct rt_buf entry = RT_BUF_INIT, error_text = RT_BUF_INIT;
	int64_t now = rt_clock_now_ms();
	enum rt_job_status to;
	const char *reason = NULL;
	int rc = -1;

	if (rt_life_move(job->status, how, &to, err) < 0)
		return -1;
	*ret_status = to;
	if (to == job->status) { /* asked twice: nothing to tell, but a user's pause does not end by itself */
		if (how != RT_MOVE_PAUSE || !job->wait_reason)
			return 0;
		return rt_store_job_set_wait(jobs->store, job->id, NULL, RT_SQL_NO_INT, RT_SQL_NO_INT, err);
	}
	if (error)
		reason = json_string_value(json_object_get(error, "reason"));
	else if (wait)
		reason = wait->reason;
	history_entry(&entry, to, NULL, now, message);
	if (error)
		rt_json_write(&error_text, error, 0);
	if (rt_buf_check(&entry, err) == 0 && rt_buf_check(&error_text, err) == 0 &&
	    rt_store_job_set_status(jobs->store, job->id, to, NULL, entry.data, error_text.data, now, err) ==
		    0 &&
	    (to != RT_JOB_SUCCEEDED ||
	     rt_store_job_set_progress(jobs->store, job->id, 100, RT_SQL_NO_INT, NAN, now, err) == 0) &&
	    (!wait || set_wait(jobs, job, wait, err) == 0) &&
	    ((how != RT_MOVE_RETRY && (how != RT_MOVE_RESUME || job->wait_reason)) ||
	     rt_store_job_set_restarts(jobs->store, job->id, 0, err) == 0))
		rc = tell_status(jobs, job->id, job->run_id, job->attempt, to,
				 rt_job_status_word(job->status), reason, message, err);
	rt_buf_release(&entry);
	rt_buf_release(&error_text);
	return rc;
}

static int get_and_move(struct rt_jobs *jobs, const char *job_id, enum rt_job_move how, const char *message,
			const json_t *error, const struct rt_wait *wait, enum rt_job_status *ret_status,
			struct rt_err *err)
{
	enum rt_job_status to;
	struct rt_job job;
	int rc;

	if (rt_store_job_get(jobs->store, job_id, &job, err) < 0)
		return -1;
	if (rt_store_begin(jobs->store, err) < 0) {
		rt_job_release(&job);
		return -1;
	}
	rc = move(jobs, &job, how, message, error, wait, &to, err);
	rt_job_release(&job);
	if (rt_store_end(jobs->store, rc == 0, err) < 0 || rc < 0)
		return -1;
	if (ret_status)
		*ret_status = to;
	return 0;
}

int rt_jobs_move(struct rt_jobs *jobs, const char *job_id, enum rt_job_move how, const char *message,
		 const json_t *error, enum rt_job_status *ret_status, struct rt_err *err)
{
	return get_and_move(jobs, job_id, how, message, error, NULL, ret_status, err);
}

int rt_jobs_wait(struct rt_jobs *jobs, const char *job_id, enum rt_job_move how, const struct rt_wait *wait,
		 const char *message, struct rt_err *err)
{
	return get_and_move(jobs, job_id, how, message, NULL, wait, NULL, err);
}

int rt_jobs_spec(const struct rt_job *job, struct rt_spec *ret, struct rt_err *err)
{
	struct rt_problems *problems = malloc(sizeof *problems);
	json_t *json = problems ? rt_json_parse(job->spec, strlen(job->spec), err) : NULL;
	int rc = -1;

	if (!problems)
		rt_fail(err, RT_NO_MEMORY, "no memory to read the job's spec");
	if (json)
		rc = rt_spec_parse(json, ret, problems, err);
	json_decref(json);
	free(problems);
	return rc;
}

/* What kind of problem a reason is, for clients that know only problem documents. */
static enum rt_code code_of_reason(const char *reason)
{
	static const struct {
		const char *reason;
		enum rt_code code;
	} rows[] = {
		{ "bad_input", RT_UNPROCESSABLE },     { "out_of_memory", RT_NO_MEMORY },
		{ "disk_full", RT_DISK_FULL },	       { "diverged", RT_DIVERGED },
		{ "deadline", RT_CANCELLED },	       { "worker_lost", RT_UNAVAILABLE },
		{ "hub_unavailable", RT_UNAVAILABLE },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (strcmp(rows[i].reason, reason) == 0)
			return rows[i].code;
	}
	return RT_INTERNAL;
}

json_t *rt_jobs_error_json(const char *reason, const char *message, const json_t *errors)
{
	struct rt_buf text = RT_BUF_INIT;
	json_t *problem = NULL, *whole = json_pack("{ssss}", "reason", reason, "message", message);
	int rc = -1;

	rt_problem_write(&text, code_of_reason(reason), message, NULL, NULL, NULL);
	if (rt_buf_check(&text, NULL) == 0)
		problem = rt_json_parse(text.data, text.len, NULL);
	if (whole && problem)
		rc = json_object_update(whole, problem);
	if (rc == 0 && errors && json_array_size(errors) > 0)
		rc = json_object_set(whole, "errors", (json_t *)(uintptr_t)errors);
	json_decref(problem);
	rt_buf_release(&text);
	if (rc == 0)
		return whole;
	json_decref(whole);
	return NULL;
}

int rt_jobs_fail(struct rt_jobs *jobs, const char *job_id, const char *reason, const char *message,
		 const json_t *errors, struct rt_err *err)
{
	json_t *error = rt_jobs_error_json(reason, message, errors);
	int rc;

	if (!error)
		return rt_fail(err, RT_NO_MEMORY, "no memory to tell why the job failed");
	rc = rt_jobs_move(jobs, job_id, RT_MOVE_FAIL, message, error, NULL, err);
	json_decref(error);
	return rc;
}

static int take(struct rt_jobs *jobs, struct rt_job *job, struct rt_run_row *run, struct rt_err *err)
{
	enum rt_job_status to;
	int rc;
	char *run_before = job->run_id;

	if (rt_store_run_add(jobs->store, run, err) < 0 ||
	    rt_store_job_set_run(jobs->store, job->id, run->id, run->attempt, run->created_ms, err) < 0)
		return -1;
	job->run_id = run->id; /* for the event */
	job->attempt = run->attempt;
	rc = move(jobs, job, RT_MOVE_TAKE, "", NULL, NULL, &to, err);
	job->run_id = run_before;
	return rc;
}

int rt_jobs_take(struct rt_jobs *jobs, const char *job_id, const char *token_sha256, struct rt_run_row *ret,
		 struct rt_err *err)
{
	struct rt_run_row run = { .pid = RT_SQL_NO_INT,
				  .pid_start = RT_SQL_NO_INT,
				  .ended_ms = RT_SQL_NO_INT,
				  .from_step = RT_SQL_NO_INT };
	struct rt_job job;
	int rc;

	if (rt_store_job_get(jobs->store, job_id, &job, err) < 0)
		return -1;
	if (rt_store_begin(jobs->store, err) < 0) {
		rt_job_release(&job);
		return -1;
	}
	rt_id_new("run", run.id);
	snprintf(run.job_id, sizeof run.job_id, "%s", job.id);
	snprintf(run.token_sha256, sizeof run.token_sha256, "%s", token_sha256);
	run.attempt = job.attempt + 1;
	run.created_ms = rt_clock_now_ms();
	rc = take(jobs, &job, &run, err);
	rt_job_release(&job);
	if (rt_store_end(jobs->store, rc == 0, err) < 0 || rc < 0)
		return -1;
	*ret = run;
	return 0;
}

int rt_jobs_remove(struct rt_jobs *jobs, const char *job_id, const char *reason, struct rt_err *err)
{
	json_t *data = json_pack("{ss}", "reason", reason);
	int rc;

	if (!data)
		return rt_fail(err, RT_NO_MEMORY, "no memory for an event");
	if (rt_store_begin(jobs->store, err) < 0) {
		json_decref(data);
		return -1;
	}
	rc = rt_store_job_delete(jobs->store, job_id, err);
	if (rc == 0) /* followers of all jobs learn of it; the job's own events are gone */
		rc = rt_jobs_tell(jobs, job_id, NULL, 0, "job.deleted", "info", "", data, err);
	json_decref(data);
	if (rt_store_end(jobs->store, rc == 0, err) < 0)
		return -1;
	return rc;
}
