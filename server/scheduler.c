/* SPDX-License-Identifier: Apache-2.0 */
#include "server/scheduler.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "server/journal.h"

#define RETRY_MS 5000 /* after a failure of the store */

char *rt_scheduler_path(const struct rt_scheduler *sch, const char *run_id, const char *name)
{
	char *dir = rt_path_join(sch->jobs->roots.runs_dir, run_id), *path;

	if (!dir || !name)
		return dir;
	path = rt_path_join(dir, name);
	free(dir);
	return path;
}

static struct rt_run *find(struct rt_scheduler *sch, const char *run_id)
{
	struct rt_run *run = sch->runs;

	while (run && strcmp(run->id, run_id) != 0)
		run = run->next;
	return run;
}

static struct rt_run *find_by_job(struct rt_scheduler *sch, const char *job_id)
{
	struct rt_run *run = sch->runs;

	while (run && strcmp(run->job_id, job_id) != 0)
		run = run->next;
	return run;
}

/* ---- timers on the heap: they outlive what they belong to until libuv has closed them ---- */

static void on_timer_closed(uv_handle_t *handle)
{
	free(handle);
}

static void drop_timer(uv_timer_t **timer)
{
	if (*timer)
		uv_close((uv_handle_t *)*timer, on_timer_closed);
	*timer = NULL;
}

static void set_timer(struct rt_scheduler *sch, uv_timer_t **timer, uv_timer_cb cb, void *arg, uint64_t ms)
{
	if (!*timer) {
		*timer = calloc(1, sizeof **timer);
		if (!*timer) {
			rt_log(RT_LOG_ERROR, "-", "no memory for a timer");
			return;
		}
		uv_timer_init(sch->loop, *timer);
	}
	(*timer)->data = arg;
	uv_timer_start(*timer, cb, ms, 0);
}

/* ---- telling a worker to stop ---- */

static void on_grace_over(uv_timer_t *timer)
{
	struct rt_run *run = timer->data;

	rt_log(RT_LOG_WARN, run->id, "the worker did not stop within %d s, killing it",
	       run->scheduler->stop_grace_s);
	rt_process_signal(&run->process, SIGKILL);
}

/* The first reason stays, except that a user's cancel outweighs the server's own wishes. */
static void stop_run(struct rt_run *run, enum rt_stop why)
{
	if (run->stop != RT_STOP_NONE) {
		if (why == RT_STOP_CANCEL && run->stop == RT_STOP_SHUTDOWN)
			run->stop = why;
		return;
	}
	run->stop = why;
	rt_process_signal(&run->process, SIGTERM);
	set_timer(run->scheduler, &run->grace, on_grace_over, run,
		  (uint64_t)run->scheduler->stop_grace_s * 1000);
}

static void on_deadline(uv_timer_t *timer)
{
	struct rt_run *run = timer->data;

	rt_log(RT_LOG_INFO, run->job_id, "max_runtime_s is over, stopping the worker");
	stop_run(run, RT_STOP_DEADLINE);
}

/* ---- the end of a run ---- */

static void remove_files(struct rt_scheduler *sch, const char *run_id)
{
	char *path = rt_scheduler_path(sch, run_id, NULL);

	if (path)
		rt_trash_add(sch->trash, path);
	free(path);
}

static void remove_files_of(void *arg, const struct rt_run_row *run)
{
	remove_files(arg, run->id);
}

static int remove_job(struct rt_scheduler *sch, const char *job_id, struct rt_err *err)
{
	if (rt_store_runs_list(sch->jobs->store, job_id, remove_files_of, sch, err) < 0)
		return -1;
	return rt_jobs_remove(sch->jobs, job_id, err);
}

/* What the job becomes when its run has ended as `end` says: RT_RUN_GOES_ON is a worker that went without a word. reason,
 * message, errors: of a failure. */
static int conclude(struct rt_scheduler *sch, const char *job_id, const struct rt_run *run,
		    enum rt_job_status status, enum rt_run_end end, const char *reason, const char *message,
		    const json_t *errors, struct rt_err *err)
{
	enum rt_stop stop = run ? run->stop : RT_STOP_NONE;
	struct rt_jobs *jobs = sch->jobs;

	if (end == RT_RUN_SUCCEEDED)
		return rt_jobs_move(jobs, job_id, RT_MOVE_SUCCEED, message, NULL, NULL, err);
	if (status == RT_JOB_CANCELLING)
		return rt_jobs_move(jobs, job_id, RT_MOVE_STOPPED, "", NULL, NULL, err);
	switch (stop) {
	case RT_STOP_DEADLINE:
		return rt_jobs_fail(jobs, job_id, "deadline",
				    "the job ran longer than its max_runtime_s allows; its checkpoints are "
				    "kept. Allow it more, or ask "
				    "for fewer epochs",
				    NULL, err);
	case RT_STOP_NONSENSE:
		return rt_jobs_fail(jobs, job_id, "internal", run->why, NULL, err);
	case RT_STOP_SHUTDOWN:
		if (end != RT_RUN_FAILED)
			return rt_jobs_move(jobs, job_id, RT_MOVE_REQUEUE,
					    "the server was stopped; the job starts again when it is back",
					    NULL, NULL, err);
		break;
	default:
		break;
	}
	if (end == RT_RUN_CANCELLED)
		return rt_jobs_move(jobs, job_id, RT_MOVE_STOPPED, "someone stopped the worker", NULL, NULL,
				    err);
	return rt_jobs_fail(jobs, job_id, reason, message, errors, err);
}

/* The last words of a worker's log on one line, or "". */
static void last_words(struct rt_scheduler *sch, const char *run_id, char out[220])
{
	char *path = rt_scheduler_path(sch, run_id, "worker.log"), text[201];
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
	ssize_t n = size > 0 ? pread(fd, text, 200, size > 200 ? size - 200 : 0) : 0;
	char *start = text;

	out[0] = '\0';
	if (n > 0) {
		text[n] = '\0';
		while (n > 0 && (unsigned char)text[n - 1] <= ' ')
			text[--n] = '\0';
		for (char *p = text; *p; p++) {
			if ((unsigned char)*p < ' ' || (unsigned char)*p >= 0x7F)
				*p = *p == '\n' ? '|' : '?';
		}
		if (size > 200 && (start = strchr(text, '|')))
			start++;
		if (!start)
			start = text;
		if (*start)
			snprintf(out, 220, "; its log ends: %s", start);
	}
	if (fd >= 0)
		close(fd);
	free(path);
}

/* Nothing that the worker wrote says how it ended. */
static int conclude_lost(struct rt_scheduler *sch, const char *run_id, const char *job_id,
			 const struct rt_run *run, enum rt_job_status status, struct rt_err *err)
{
	char message[460], words[220];
	int64_t number = run ? run->process.exit_signal : -1, exited = run ? run->process.exit_status : -1;

	last_words(sch, run_id, words);
	if (number == SIGKILL && run->oom_kills >= 0 && rt_process_oom_kills() > run->oom_kills) {
		snprintf(message, sizeof message,
			 "the kernel killed the worker because memory ran short: ask for smaller batches or "
			 "a shorter max_length%s",
			 words);
		return conclude(sch, job_id, run, status, RT_RUN_GOES_ON, "out_of_memory", message, NULL,
				err);
	}
	if (number > 0)
		snprintf(message, sizeof message, "the worker was killed by signal %d (%s)%s", (int)number,
			 strsignal((int)number), words);
	else if (exited >= 0)
		snprintf(message, sizeof message,
			 "the worker exited with status %d without saying how the run ended%s", (int)exited,
			 words);
	else
		snprintf(message, sizeof message, "the worker went away while the server was down%s", words);
	return conclude(sch, job_id, run, status, RT_RUN_GOES_ON, "worker_lost", message, NULL, err);
}

/* One event of a worker, and the job's end if it is the last. */
static int take_event(struct rt_scheduler *sch, struct rt_run_row *row, const struct rt_event *event,
		      bool *ret_over, struct rt_err *err)
{
	enum rt_run_end end;
	struct rt_job job;
	int rc;

	*ret_over = false;
	if (rt_store_begin(sch->jobs->store, err) < 0)
		return -1;
	rc = rt_jobs_ingest(sch->jobs, row, event, &end, err);
	if (rc == 0 && end != RT_RUN_GOES_ON) {
		rc = rt_store_job_get(sch->jobs->store, row->job_id, &job, err);
		if (rc == 0) {
			const char *reason = json_string_value(json_object_get(event->data, "reason"));

			rc = conclude(sch, row->job_id, find(sch, row->id), job.status, end, reason,
				      event->message, json_object_get(event->data, "errors"), err);
			rt_job_release(&job);
			*ret_over = true;
		}
	}
	return rt_store_end(sch->jobs->store, rc == 0, err) < 0 ? -1 : rc;
}

static bool is_under_way(const struct rt_job *job, const char *run_id)
{
	return !rt_job_status_is_final(job->status) && job->status != RT_JOB_QUEUED &&
	       job->status != RT_JOB_PAUSED && job->run_id && strcmp(job->run_id, run_id) == 0;
}

/* Reads the events that the worker wrote and did not get to post. */
static void catch_up(struct rt_scheduler *sch, struct rt_run_row *row)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_journal journal;
	struct rt_event event;
	char *path = rt_scheduler_path(sch, row->id, "events.ndjson");
	bool over = false;
	int rc;

	if (!path || rt_journal_open(path, row->last_seq, &journal, &err) < 0) {
		if (err.code != RT_NOT_FOUND && err.code != RT_OK)
			rt_log(RT_LOG_WARN, row->id, "%s, ignoring", err.msg);
		free(path);
		return;
	}
	while (!over && (rc = rt_journal_next(&journal, &event, &err)) == 1) {
		rc = take_event(sch, row, &event, &over, &err);
		rt_event_release(&event);
		if (rc < 0)
			break;
	}
	if (err.code != RT_OK)
		rt_log(RT_LOG_WARN, row->id, "the worker's journal: %s, ignoring the rest", err.msg);
	rt_journal_close(&journal);
	free(path);
}

/* The process is gone. run is NULL when that happened while no server was looking. */
static int end_run(struct rt_scheduler *sch, const char *run_id, const struct rt_run *run, struct rt_err *err)
{
	struct rt_store *st = sch->jobs->store;
	struct rt_run_row row;
	struct rt_job job;
	int64_t now = rt_clock_now_ms();
	int rc = 0;

	if (rt_store_run_get(st, run_id, &row, err) < 0)
		return -1;
	catch_up(sch, &row);
	if (rt_store_job_get(st, row.job_id, &job, err) < 0)
		return -1;
	if (rt_store_begin(st, err) < 0) {
		rt_job_release(&job);
		return -1;
	}
	rc = rt_store_run_end(
		st, run_id, run && run->process.exit_status >= 0 ? run->process.exit_status : RT_SQL_NO_INT,
		run && run->process.exit_signal > 0 ? run->process.exit_signal : RT_SQL_NO_INT, now, err);
	if (rc == 0 && is_under_way(&job, run_id))
		rc = conclude_lost(sch, run_id, row.job_id, run, job.status, err);
	if (rc == 0 && job.delete_wanted)
		rc = remove_job(sch, row.job_id, err);
	rt_job_release(&job);
	return rt_store_end(st, rc == 0, err) < 0 ? -1 : rc;
}

static void on_run_exit(void *arg)
{
	struct rt_run *run = arg, **at;
	struct rt_scheduler *sch = run->scheduler;
	struct rt_err err = RT_ERR_INIT;

	if (end_run(sch, run->id, run, &err) < 0)
		rt_log(RT_LOG_ERROR, run->id, "%s", err.msg);
	for (at = &sch->runs; *at != run; at = &(*at)->next)
		;
	*at = run->next;
	sch->run_count--;
	sch->wanted = true;
	drop_timer(&run->deadline);
	drop_timer(&run->grace);
	free(run);
}

/* ---- starting ---- */

static struct rt_run *new_run(struct rt_scheduler *sch, const char *id, const char *job_id)
{
	struct rt_run *run = calloc(1, sizeof *run);

	if (!run)
		return NULL;
	run->scheduler = sch;
	snprintf(run->id, sizeof run->id, "%s", id);
	snprintf(run->job_id, sizeof run->job_id, "%s", job_id);
	run->oom_kills = rt_process_oom_kills();
	run->process.on_exit = on_run_exit;
	run->process.arg = run;
	return run;
}

static void keep_run(struct rt_scheduler *sch, struct rt_run *run)
{
	run->next = sch->runs;
	sch->runs = run;
	sch->run_count++;
}

struct start {
	struct rt_job job;
	struct rt_spec spec;
	json_t *worker_spec; /* with paths in the place of ids */
	char token[65], token_sha256[RT_SHA256_SIZE];
	struct rt_run_row row;
};

/* Reads the job and what its ids stand for now. -1 with RT_UNPROCESSABLE: the job cannot run; problems says why. */
static int prepare(struct rt_scheduler *sch, const char *job_id, struct start *s,
		   struct rt_problems *problems, struct rt_err *err)
{
	struct rt_resolved resolved;
	unsigned char random[32];
	json_t *json;
	int rc;

	if (rt_store_job_get(sch->jobs->store, job_id, &s->job, err) < 0)
		return -1;
	json = rt_json_parse(s->job.spec, strlen(s->job.spec), err);
	if (!json)
		return -1;
	rc = rt_spec_parse(json, &s->spec, problems, err);
	json_decref(json);
	if (rc < 0 || rt_resolve(&sch->jobs->roots, sch->jobs->store, &s->spec, &resolved, problems, err) < 0)
		return -1;
	s->worker_spec = rt_resolved_spec_json(&s->spec, &resolved);
	rt_resolved_release(&resolved);
	if (!s->worker_spec)
		return rt_fail(err, RT_NO_MEMORY, "no memory to start the job");
	randombytes_buf(random, sizeof random);
	sodium_bin2hex(s->token, sizeof s->token, random, sizeof random);
	rt_sha256(s->token, strlen(s->token), s->token_sha256);
	return 0;
}

static int write_spec(struct rt_scheduler *sch, const struct start *s, struct rt_err *err)
{
	char *dir = rt_scheduler_path(sch, s->row.id, NULL),
	     *path = rt_scheduler_path(sch, s->row.id, "spec.json");
	struct rt_buf text = RT_BUF_INIT;
	int rc = -1;

	rt_json_write(&text, s->worker_spec, 2);
	rt_buf_char(&text, '\n');
	if (!dir || !path || rt_buf_check(&text, err) < 0)
		rt_fail(err, RT_NO_MEMORY, "no memory to start the job");
	else if (rt_dir_make(dir, err) == 0)
		rc = rt_file_write(path, text.data, text.len, err);
	free(dir);
	free(path);
	rt_buf_release(&text);
	return rc;
}

static int spawn(struct rt_scheduler *sch, const struct start *s, struct rt_run *run, struct rt_err *err)
{
	char *dir = rt_scheduler_path(sch, run->id, NULL),
	     *spec = rt_scheduler_path(sch, run->id, "spec.json");
	char *log = rt_scheduler_path(sch, run->id, "worker.log"), url[200], threads[24];
	const char *argv[] = { sch->worker, "run",	"--spec", spec,		"--dir", dir, "--threads",
			       threads,	    "--report", url,	  "--token-fd", "3",	 NULL };
	struct rt_process_start start = {
		.program = sch->worker, .argv = argv, .secret = s->token, .log_fd = -1
	};
	int rc = -1;

	snprintf(url, sizeof url, "%s/v1/worker/runs/%s/events", sch->url, run->id);
	snprintf(threads, sizeof threads, "%lld",
		 (long long)(s->spec.threads > 0 ? s->spec.threads : sch->threads));
	if (!dir || !spec || !log) {
		rt_fail(err, RT_NO_MEMORY, "no memory to start the job");
		goto out;
	}
	start.log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (start.log_fd < 0) {
		rt_fail_errno(err, errno, "cannot write the worker's log");
		goto out;
	}
	rc = rt_process_start(&run->process, sch->loop, &start, err);
out:
	if (start.log_fd >= 0)
		close(start.log_fd);
	free(dir);
	free(spec);
	free(log);
	return rc;
}

static void fail_start(struct rt_scheduler *sch, const struct start *s, const struct rt_err *why)
{
	struct rt_err err = RT_ERR_INIT;

	rt_log(RT_LOG_ERROR, s->job.id, "%s", why->msg);
	if (rt_jobs_fail(sch->jobs, s->job.id, why->code == RT_DISK_FULL ? "disk_full" : "internal", why->msg,
			 NULL, &err) < 0 ||
	    rt_store_run_end(sch->jobs->store, s->row.id, RT_SQL_NO_INT, RT_SQL_NO_INT, rt_clock_now_ms(),
			     &err) < 0)
		rt_log(RT_LOG_ERROR, s->job.id, "%s", err.msg);
}

/* The job is running in the store, for good: now for its process. */
static void launch(struct rt_scheduler *sch, const struct start *s)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_run *run = new_run(sch, s->row.id, s->row.job_id);

	if (!run) {
		rt_fail(&err, RT_NO_MEMORY, "no memory to start the job");
		fail_start(sch, s, &err);
		return;
	}
	if (write_spec(sch, s, &err) < 0 || spawn(sch, s, run, &err) < 0) {
		free(run);
		fail_start(sch, s, &err);
		return;
	}
	keep_run(sch, run);
	if (s->spec.max_runtime_s > 0 && s->spec.max_runtime_s < INT64_MAX / 1000)
		set_timer(sch, &run->deadline, on_deadline, run, (uint64_t)s->spec.max_runtime_s * 1000);
	if (rt_store_run_set_pid(sch->jobs->store, run->id, run->process.pid, run->process.start_ticks,
				 &err) < 0)
		rt_log(RT_LOG_WARN, run->id, "%s, ignoring", err.msg);
	rt_log(RT_LOG_INFO, run->job_id, "%s started, process %lld", run->id, (long long)run->process.pid);
}

/* Takes one job from the queue. 1 when there may be more to do, 0 when not, -1 when the store fails. */
static int start_next(struct rt_scheduler *sch, struct rt_problems *problems)
{
	struct rt_err err = RT_ERR_INIT;
	struct start s = { .worker_spec = NULL };
	char job_id[RT_ID_SIZE];
	int rc = rt_store_job_next(sch->jobs->store, job_id, &err);

	if (rc == 1) {
		problems->n = 0;
		if (prepare(sch, job_id, &s, problems, &err) == 0) {
			rc = rt_jobs_take(sch->jobs, job_id, s.token_sha256, &s.row, &err);
			if (rc == 0)
				rc = rt_store_commit(sch->jobs->store, &err);
			if (rc == 0) {
				launch(sch, &s);
				rc = 1;
			}
		} else if (err.code == RT_UNPROCESSABLE && s.job.id) {
			/* what it needs has gone since it was posted */
			struct rt_buf text = RT_BUF_INIT;
			json_t *errors;

			rt_problems_write(&text, problems);
			errors = rt_json_parse(rt_buf_text(&text), text.len, NULL);
			rt_buf_release(&text);
			rc = rt_jobs_fail(sch->jobs, job_id, "bad_input", err.msg, errors, &err) < 0 ? -1 : 1;
			json_decref(errors);
		} else {
			rc = -1;
		}
	}
	if (rc < 0)
		rt_log(RT_LOG_ERROR, "-", "cannot start a job: %s, retrying", err.msg);
	sodium_memzero(s.token, sizeof s.token);
	json_decref(s.worker_spec);
	rt_spec_release(&s.spec);
	rt_job_release(&s.job);
	return rc;
}

static void on_retry(uv_timer_t *timer)
{
	struct rt_scheduler *sch = timer->data;

	sch->wanted = true;
}

void rt_scheduler_fill(struct rt_scheduler *sch)
{
	struct rt_problems *problems;
	int rc = 1;

	sch->wanted = false;
	if (sch->stopping || sch->run_count >= sch->slots)
		return;
	problems = malloc(sizeof *problems);
	while (problems && rc == 1 && sch->run_count < sch->slots)
		rc = start_next(sch, problems);
	free(problems);
	if (!problems || rc < 0)
		set_timer(sch, &sch->retry, on_retry, sch, RETRY_MS);
}

/* ---- what users ask for ---- */

int rt_scheduler_cancel(struct rt_scheduler *sch, const char *job_id, enum rt_job_status *ret,
			struct rt_err *err)
{
	struct rt_run *run;

	if (rt_jobs_move(sch->jobs, job_id, RT_MOVE_CANCEL, "", NULL, ret, err) < 0)
		return -1;
	run = *ret == RT_JOB_CANCELLING ? find_by_job(sch, job_id) : NULL;
	if (run)
		stop_run(run, RT_STOP_CANCEL);
	return 0;
}

int rt_scheduler_delete(struct rt_scheduler *sch, const char *job_id, bool *ret_gone, struct rt_err *err)
{
	struct rt_run *run = find_by_job(sch, job_id);
	enum rt_job_status status;
	struct rt_job job;
	bool final;

	if (rt_store_job_get(sch->jobs->store, job_id, &job, err) < 0)
		return -1;
	final = rt_job_status_is_final(job.status);
	rt_job_release(&job);
	if (!run) {
		if (remove_job(sch, job_id, err) < 0)
			return -1;
		*ret_gone = true;
		return 0;
	}
	if (rt_store_begin(sch->jobs->store, err) < 0)
		return -1;
	if (rt_store_job_want_delete(sch->jobs->store, job_id, err) < 0 ||
	    (!final && rt_jobs_move(sch->jobs, job_id, RT_MOVE_CANCEL, "the job is being deleted", NULL,
				    &status, err) < 0)) {
		rt_store_end(sch->jobs->store, false, NULL);
		return -1;
	}
	if (rt_store_end(sch->jobs->store, true, err) < 0)
		return -1;
	stop_run(run, RT_STOP_CANCEL);
	*ret_gone = false;
	return 0;
}

/* ---- what workers say ---- */

static void stop_nonsense(struct rt_scheduler *sch, const struct rt_run_row *row, const struct rt_err *err)
{
	struct rt_run *run = find(sch, row->id);

	rt_log(RT_LOG_ERROR, row->id, "the worker makes no sense, stopping it: %s", err->msg);
	if (!run)
		return;
	snprintf(run->why, sizeof run->why, "the worker sent an event that makes no sense: %.400s", err->msg);
	stop_run(run, RT_STOP_NONSENSE);
}

int rt_scheduler_report(struct rt_scheduler *sch, struct rt_run_row *row, const char *lines, size_t len,
			struct rt_err *err)
{
	struct rt_event event;
	struct rt_job job;
	bool over;

	if (row->ended_ms != RT_SQL_NO_INT)
		return rt_fail(err, RT_GONE, "the run has ended");
	if (rt_store_job_get(sch->jobs->store, row->job_id, &job, err) < 0)
		return -1;
	over = !is_under_way(&job, row->id);
	rt_job_release(&job);
	if (over)
		return rt_fail(err, RT_GONE, "the run is over");
	for (const char *p = lines, *end = lines + len; p < end && !over;) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		size_t n = newline ? (size_t)(newline - p) : (size_t)(end - p);

		if (n > 0) {
			int rc = rt_event_parse(p, n, &event, err);

			if (rc == 0) {
				rc = take_event(sch, row, &event, &over, err);
				rt_event_release(&event);
			}
			if (rc < 0 &&
			    err->code == RT_CONFLICT) /* a gap: last_seq in the answer says where to go on */
				return 0;
			if (rc < 0 && (err->code == RT_INVALID || err->code == RT_TOO_LARGE))
				stop_nonsense(sch, row, err);
			if (rc < 0)
				return -1;
		}
		p += n + (newline != NULL);
	}
	return 0;
}

const char *rt_scheduler_want(struct rt_scheduler *sch, const char *run_id)
{
	struct rt_run *run = find(sch, run_id);

	return run && run->stop != RT_STOP_NONE ? "cancel" : "continue";
}

/* ---- the server's own life ---- */

struct open_runs {
	struct rt_run_row *rows;
	size_t n, cap;
};

static void add_open_run(void *arg, const struct rt_run_row *row)
{
	struct open_runs *open = arg;

	if (open->n == open->cap) {
		size_t cap = open->cap ? 2 * open->cap : 16;
		struct rt_run_row *rows = realloc(open->rows, cap * sizeof *rows);

		if (!rows)
			return; /* the next start sees it again */
		open->rows = rows;
		open->cap = cap;
	}
	open->rows[open->n++] = *row;
}

static void on_adopted_poll(void *arg)
{
	struct rt_run *run = arg;
	struct rt_run_row row;
	struct rt_job job;
	bool under_way;

	/* The port may have changed since the worker learnt it: its journal is as good. */
	if (rt_store_run_get(run->scheduler->jobs->store, run->id, &row, NULL) < 0 ||
	    rt_store_job_get(run->scheduler->jobs->store, run->job_id, &job, NULL) < 0)
		return;
	under_way = is_under_way(&job, run->id);
	rt_job_release(&job);
	if (under_way)
		catch_up(run->scheduler, &row);
}

static int adopt(struct rt_scheduler *sch, const struct rt_run_row *row, struct rt_err *err)
{
	struct rt_run *run;
	struct rt_job job;
	int64_t left;

	if (row->pid == RT_SQL_NO_INT)
		return rt_fail(err, RT_NOT_FOUND, "the run never had a process");
	run = new_run(sch, row->id, row->job_id);
	if (!run)
		return rt_fail(err, RT_NO_MEMORY, "no memory to adopt a worker");
	run->process.on_poll = on_adopted_poll;
	if (rt_store_job_get(sch->jobs->store, row->job_id, &job, err) < 0) {
		free(run);
		return -1;
	}
	if (rt_process_adopt(&run->process, sch->loop, row->pid, row->pid_start, err) < 0) {
		rt_job_release(&job);
		free(run);
		return -1;
	}
	keep_run(sch, run);
	rt_log(RT_LOG_INFO, row->job_id, "%s goes on, process %lld", row->id, (long long)row->pid);
	if (job.status == RT_JOB_CANCELLING || job.delete_wanted) {
		stop_run(run, RT_STOP_CANCEL);
	} else if (job.max_runtime_s != RT_SQL_NO_INT && job.max_runtime_s < INT64_MAX / 1000) {
		left = row->created_ms + job.max_runtime_s * 1000 - rt_clock_now_ms();
		set_timer(sch, &run->deadline, on_deadline, run, left > 0 ? (uint64_t)left : 0);
	}
	rt_job_release(&job);
	return 0;
}

/* Folders of runs that no row names: a server died between the two steps of a deletion. */
static void find_orphans(struct rt_scheduler *sch)
{
	DIR *dir = opendir(sch->jobs->roots.runs_dir);
	struct dirent *entry;
	struct rt_run_row row;

	while (dir && (entry = readdir(dir))) {
		struct rt_err err = RT_ERR_INIT;

		if (rt_id_is(entry->d_name, "run") &&
		    rt_store_run_get(sch->jobs->store, entry->d_name, &row, &err) < 0 &&
		    err.code == RT_NOT_FOUND)
			remove_files(sch, entry->d_name);
	}
	if (dir)
		closedir(dir);
}

int rt_scheduler_recover(struct rt_scheduler *sch, struct rt_err *err)
{
	struct open_runs open = { .n = 0 };
	int rc = rt_store_runs_list(sch->jobs->store, NULL, add_open_run, &open, err);

	for (size_t i = 0; i < open.n && rc == 0; i++) {
		struct rt_err why = RT_ERR_INIT;

		if (adopt(sch, &open.rows[i], &why) == 0)
			continue;
		rc = end_run(sch, open.rows[i].id, NULL, err);
		if (rc < 0 && err->code == RT_NOT_FOUND)
			rc = 0; /* a run without its job: nothing to end */
	}
	free(open.rows);
	if (rc == 0)
		find_orphans(sch);
	sch->wanted = true;
	return rc;
}

void rt_scheduler_stop(struct rt_scheduler *sch)
{
	bool again = sch->stopping;

	sch->stopping = true;
	for (struct rt_run *run = sch->runs; run; run = run->next) {
		if (again)
			rt_process_signal(&run->process, SIGKILL);
		else
			stop_run(run, RT_STOP_SHUTDOWN);
	}
}

void rt_scheduler_release(struct rt_scheduler *sch)
{
	struct rt_run *run;

	while ((run = sch->runs)) {
		sch->runs = run->next;
		rt_process_abandon(&run->process);
		drop_timer(&run->deadline);
		drop_timer(&run->grace);
		free(run);
	}
	sch->run_count = 0;
	if (sch->loop)
		drop_timer(&sch->retry);
}
