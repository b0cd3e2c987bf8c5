/* SPDX-License-Identifier: Apache-2.0 */
#include "server/supervisor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "server/journal.h"
#include "server/store_checkpoints.h"

#define TICK_MS	   1000
#define EXIT_MS	   30000 /* from a worker's last event to its exit */
#define LOG_LINES  20	 /* of a lost worker's log are kept with the job */
#define LOG_BYTES  4000
#define FULL_BYTES (INT64_C(1) << 20)
#define RETRY_MS   1000
#define ROOM_MIN   (INT64_C(4) << 20) /* a job that found no room waits for at least so much more */

struct rt_run *rt_run_find(struct rt_scheduler *sch, const char *run_id)
{
	struct rt_run *run = sch->runs;

	while (run && strcmp(run->id, run_id) != 0)
		run = run->next;
	return run;
}

struct rt_run *rt_run_find_by_job(struct rt_scheduler *sch, const char *job_id)
{
	struct rt_run *run = sch->runs;

	while (run && strcmp(run->job_id, job_id) != 0)
		run = run->next;
	return run;
}

/* ---- timers ---- */

static void on_timer_closed(uv_handle_t *handle)
{
	free(handle);
}

void rt_timer_drop(uv_timer_t **timer)
{
	if (*timer)
		uv_close((uv_handle_t *)*timer, on_timer_closed);
	*timer = NULL;
}

void rt_timer_set(uv_loop_t *loop, uv_timer_t **timer, uv_timer_cb cb, void *arg, uint64_t ms)
{
	if (!*timer) {
		*timer = calloc(1, sizeof **timer);
		if (!*timer) {
			rt_log(RT_LOG_ERROR, "-", "no memory for a timer");
			return;
		}
		uv_timer_init(loop, *timer);
	}
	(*timer)->data = arg;
	uv_timer_start(*timer, cb, ms, 0);
}

/* ---- telling a worker to stop ---- */

static void on_grace_over(uv_timer_t *timer)
{
	struct rt_run *run = timer->data;

	rt_log(RT_LOG_WARN, run->id, "the worker did not stop in time, killing it");
	run->grace_over = true;
	rt_process_signal(&run->process, SIGKILL);
}

static uint64_t grace_ms(const struct rt_run *run)
{
	int64_t s = run->stop_grace_s < run->scheduler->stop_grace_s ? run->stop_grace_s
								     : run->scheduler->stop_grace_s;

	return (uint64_t)s * 1000;
}

void rt_run_stop(struct rt_run *run, enum rt_stop why)
{
	if (run->stop != RT_STOP_NONE) {
		if (why == RT_STOP_CANCEL)
			run->stop = why;
		return;
	}
	run->stop = why;
	if (why == RT_STOP_HUNG) {
		rt_process_signal(&run->process, SIGKILL); /* it has shown that it does not listen */
		return;
	}
	rt_process_signal(&run->process, SIGTERM);
	rt_timer_set(run->scheduler->loop, &run->grace, on_grace_over, run, grace_ms(run));
}

static void on_deadline(uv_timer_t *timer)
{
	struct rt_run *run = timer->data;

	rt_log(RT_LOG_INFO, run->job_id, "max_runtime_s is over, stopping the worker");
	rt_run_stop(run, RT_STOP_DEADLINE);
}

void rt_run_limit(struct rt_run *run, int64_t left_ms)
{
	rt_timer_set(run->scheduler->loop, &run->deadline, on_deadline, run,
		     left_ms > 0 ? (uint64_t)left_ms : 0);
}

/* ---- signs of life ---- */

static int64_t journal_size(struct rt_scheduler *sch, const char *run_id)
{
	char *path = rt_scheduler_path(sch, run_id, "events.ndjson");
	struct stat st;
	int64_t size = path && stat(path, &st) == 0 ? (int64_t)st.st_size : -1;

	free(path);
	return size;
}

/* Silence is counted in ticks of our own, so that a server that was itself stopped for a while accuses nobody. */
static void on_tick(uv_timer_t *timer)
{
	struct rt_scheduler *sch = timer->data;
	int64_t now = rt_clock_monotonic_ms(), elapsed = now - sch->tick_ms;

	if (elapsed > 2 * TICK_MS)
		elapsed = 2 * TICK_MS;
	sch->tick_ms = now;
	for (struct rt_run *run = sch->runs; run; run = run->next) {
		int64_t size;

		if (run->gone || run->stop != RT_STOP_NONE)
			continue;
		run->silent_ms += elapsed;
		if (run->silent_ms < (int64_t)sch->worker_timeout_s * 1000 / 2)
			continue;
		/* its posts may not reach us: the journal speaks too */
		size = journal_size(sch, run->id);
		if (size != run->journal_size) {
			run->journal_size = size;
			run->silent_ms = 0;
		} else if (run->silent_ms >= (int64_t)sch->worker_timeout_s * 1000) {
			snprintf(run->why, sizeof run->why,
				 "the worker gave no sign of life for %d s and was killed",
				 sch->worker_timeout_s);
			rt_log(RT_LOG_WARN, run->id, "%s", run->why);
			rt_run_stop(run, RT_STOP_HUNG);
		}
	}
	if (sch->runs)
		rt_timer_set(sch->loop, &sch->tick, on_tick, sch, TICK_MS);
}

/* ---- the list ---- */

static void on_run_exit(void *arg);

struct rt_run *rt_run_new(struct rt_scheduler *sch, const char *id, const char *job_id)
{
	struct rt_run *run = calloc(1, sizeof *run);

	if (!run)
		return NULL;
	run->scheduler = sch;
	snprintf(run->id, sizeof run->id, "%s", id);
	snprintf(run->job_id, sizeof run->job_id, "%s", job_id);
	run->oom = rt_oom_count(&sch->oom);
	run->start_ms = rt_clock_monotonic_ms();
	run->stop_grace_s = sch->stop_grace_s;
	run->journal_size = -1;
	run->process.exit_status = run->process.exit_signal = -1;
	run->process.on_exit = on_run_exit;
	run->process.arg = run;
	return run;
}

void rt_run_free(struct rt_run *run)
{
	rt_timer_drop(&run->deadline);
	rt_timer_drop(&run->grace);
	free(run);
}

void rt_run_keep(struct rt_run *run)
{
	struct rt_scheduler *sch = run->scheduler;

	run->next = sch->runs;
	sch->runs = run;
	sch->run_count++;
	if (!run->next) {
		sch->tick_ms = rt_clock_monotonic_ms();
		rt_timer_set(sch->loop, &sch->tick, on_tick, sch, TICK_MS);
	}
	if (run->start_failed != RT_OK) {
		run->gone = true;
		rt_runs_end_gone(sch);
	}
}

/* ---- what is left of a run ---- */

static void remove_files(struct rt_scheduler *sch, const char *run_id, const char *name)
{
	char *path = rt_scheduler_path(sch, run_id, name);

	if (path)
		rt_trash_add(sch->trash, path);
	free(path);
}

static void remove_files_of(void *arg, const struct rt_run_row *run)
{
	remove_files(arg, run->id, NULL);
}

int rt_runs_remove_job(struct rt_scheduler *sch, const char *job_id, const char *reason, struct rt_err *err)
{
	if (rt_store_runs_list(sch->jobs->store, job_id, remove_files_of, sch, err) < 0)
		return -1;
	return rt_jobs_remove(sch->jobs, job_id, reason, err);
}

struct thinning {
	struct rt_scheduler *sch;
	int64_t before;
	const char *run_id; /* whose checkpoints are looked for */
	bool holds;
};

static void look_where(void *arg, const struct rt_checkpoint *c)
{
	struct thinning *t = arg;

	t->holds = t->holds || strcmp(c->run_id, t->run_id) == 0;
}

static void thin(void *arg, const struct rt_run_row *run)
{
	struct thinning *t = arg;

	if (run->attempt >= t->before)
		return;
	t->run_id = run->id;
	t->holds = false;
	remove_files(t->sch, run->id, "resume");
	if (rt_store_checkpoints_read(t->sch->jobs->store, run->job_id, look_where, t, NULL) == 0 &&
	    !t->holds)
		remove_files(t->sch, run->id, "checkpoints");
}

int rt_runs_thin(struct rt_scheduler *sch, const char *job_id, int64_t before, struct rt_err *err)
{
	struct thinning t = { .sch = sch, .before = before };

	return rt_store_runs_list(sch->jobs->store, job_id, thin, &t, err);
}

/* ---- how a run ended ---- */

/* The last lines of a worker's log, as a JSON list of strings. */
static json_t *last_lines(struct rt_scheduler *sch, const char *run_id)
{
	char *path = rt_scheduler_path(sch, run_id, "worker.log"), text[LOG_BYTES + 1], *p = text;
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
	ssize_t n = size > 0 ? pread(fd, text, LOG_BYTES, size > LOG_BYTES ? size - LOG_BYTES : 0) : 0;
	json_t *list = json_array();

	if (fd >= 0)
		close(fd);
	free(path);
	text[n > 0 ? n : 0] = '\0';
	if (size > LOG_BYTES && (p = strchr(text, '\n')))
		p++; /* the first line is not whole */
	while (p && *p) {
		size_t len = strcspn(p, "\n"), fine = rt_utf8_valid(p, len);
		char quoted[RT_UTF8_QUOTE_SIZE];

		if (len > 0)
			json_array_append_new(list, fine == len
							    ? json_stringn(p, len)
							    : json_string(rt_utf8_quote(p, fine, quoted)));
		if (json_array_size(list) > LOG_LINES)
			json_array_remove(list, 0);
		p += len;
		p += *p == '\n';
	}
	return list;
}

/* {"exit_status", "signal", "out_of_memory", "log"} of a worker that went without a word. */
static json_t *lost_json(struct rt_scheduler *sch, const char *run_id, const struct rt_ending *e)
{
	static const char *const oom[] = { "no", "likely", "sure" };
	json_t *exit_status = e->exit_status >= 0 ? json_integer(e->exit_status) : json_null();
	json_t *number = e->exit_signal > 0 ? json_integer(e->exit_signal) : json_null();

	return json_pack("{sosossso}", "exit_status", exit_status, "signal", number, "out_of_memory",
			 oom[e->oom], "log", last_lines(sch, run_id));
}

static int64_t room_for(struct rt_scheduler *sch, const struct rt_job *job)
{
	struct rt_checkpoint c;
	int64_t more = sch->disk->low_bytes / 4;

	rt_disk_look(sch->disk);
	/* the weights, and three times as much for the state of the optimizer */
	if (job->last_checkpoint_id &&
	    rt_store_checkpoint_get(sch->jobs->store, job->id, job->last_checkpoint_id, &c, NULL) == 0) {
		more = c.size_bytes > more / 4 ? 4 * c.size_bytes : more;
		rt_checkpoint_release(&c);
	}
	if (more < ROOM_MIN)
		more = ROOM_MIN;
	return sch->disk->free_bytes > 0 ? sch->disk->free_bytes + more : more;
}

static int fail_job(struct rt_scheduler *sch, const char *job_id, const struct rt_verdict *v,
		    const json_t *errors, const json_t *lost, struct rt_err *err)
{
	json_t *error = rt_jobs_error_json(v->reason, v->message, errors);
	int rc;

	if (!error || (lost && json_object_update(error, (json_t *)(uintptr_t)lost) < 0)) {
		json_decref(error);
		return rt_fail(err, RT_NO_MEMORY, "no memory to tell why the job failed");
	}
	rc = rt_jobs_move(sch->jobs, job_id, RT_MOVE_FAIL, v->message, error, NULL, err);
	json_decref(error);
	return rc;
}

static int apply(struct rt_scheduler *sch, const struct rt_job *job, const struct rt_verdict *v,
		 const json_t *errors, const json_t *lost, struct rt_err *err)
{
	struct rt_wait wait = { .reason = v->reason,
				.until_ms = RT_SQL_NO_INT,
				.bytes = RT_SQL_NO_INT,
				.is_restart = v->is_restart };

	if (v->move == RT_MOVE_FAIL)
		return fail_job(sch, job->id, v, errors, lost, err);
	if (v->move == RT_MOVE_REQUEUE && v->delay_s > 0)
		wait.until_ms = rt_clock_now_ms() + v->delay_s * 1000;
	if (v->waits_for_disk)
		wait.bytes = room_for(sch, job);
	if (v->move == RT_MOVE_REQUEUE || v->waits_for_disk)
		return rt_jobs_wait(sch->jobs, job->id, v->move, &wait, v->message, err);
	return rt_jobs_move(sch->jobs, job->id, v->move, v->message, NULL, NULL, err);
}

/* What the job becomes. e: what is known of the end; the rest is filled in here. lost: of a worker without a last word. */
static int conclude(struct rt_scheduler *sch, const struct rt_job *job, const struct rt_run *run,
		    struct rt_ending *e, const json_t *errors, const json_t *lost, struct rt_err *err)
{
	struct rt_verdict verdict;
	struct rt_spec spec;

	if (rt_jobs_spec(job, &spec, err) < 0)
		return -1;
	e->max_restarts = spec.max_restarts;
	rt_spec_release(&spec);
	e->status = job->status;
	e->stop = run ? run->stop : RT_STOP_NONE;
	e->why = run ? run->why : "";
	e->grace_over = run && run->grace_over;
	e->restarts = job->restarts;
	e->delay_s = sch->restart_delay_s;
	rt_verdict_of(e, &verdict);
	if (lost && (e->stop == RT_STOP_NONE || e->stop == RT_STOP_HUNG) &&
	    rt_jobs_tell(sch->jobs, job->id, job->run_id, job->attempt, "run.lost", "error", verdict.message,
			 lost, err) < 0)
		return -1;
	return apply(sch, job, &verdict, errors, lost, err);
}

static bool is_under_way(const struct rt_job *job, const char *run_id)
{
	return (job->status == RT_JOB_RUNNING || job->status == RT_JOB_PAUSING ||
		job->status == RT_JOB_CANCELLING) &&
	       job->run_id && strcmp(job->run_id, run_id) == 0;
}

/* Nothing that the worker wrote says how it ended. run is NULL when no server was looking. */
static int conclude_lost(struct rt_scheduler *sch, const struct rt_job *job, const char *run_id,
			 const struct rt_run *run, struct rt_err *err)
{
	struct rt_ending e = { .end = RT_RUN_GOES_ON,
			       .exit_status = run ? run->process.exit_status : -1,
			       .exit_signal = run ? run->process.exit_signal : -1,
			       .was_away = !run,
			       .adopted = run && run->adopted };
	json_t *lost;
	int rc;

	if (run && run->start_failed != RT_OK) {
		e.end = RT_RUN_FAILED;
		e.reason = run->start_failed == RT_DISK_FULL ? "disk_full" : "internal";
		e.message = run->why;
		return conclude(sch, job, run, &e, NULL, NULL, err);
	}
	if (e.exit_signal == SIGKILL || e.adopted)
		e.oom = rt_oom_judge(&sch->oom, &run->oom, run->process.pid);
	if (e.exit_status > 0) {
		rt_disk_look(sch->disk);
		if (sch->disk->free_bytes >= 0 && sch->disk->free_bytes < FULL_BYTES) {
			e.end = RT_RUN_FAILED; /* it could not even write that down */
			e.reason = "disk_full";
			e.message = "the disk is full and the worker ended";
		}
	}
	lost = lost_json(sch, run_id, &e);
	rc = conclude(sch, job, run, &e, NULL, lost, err);
	json_decref(lost);
	return rc;
}

/* The worker has said its last word: it has some time to go. */
static void expect_exit(struct rt_run *run)
{
	if (!run || run->gone)
		return;
	rt_timer_drop(&run->deadline);
	rt_timer_set(run->scheduler->loop, &run->grace, on_grace_over, run, EXIT_MS);
}

/* One event of a worker, and the job's move if it is the last. */
static int take_event(struct rt_scheduler *sch, struct rt_run_row *row, const struct rt_event *event,
		      bool *ret_over, struct rt_err *err)
{
	struct rt_run *run = rt_run_find(sch, row->id);
	struct rt_ending e = { .message = event->message, .exit_status = -1, .exit_signal = -1 };
	struct rt_job job;
	int rc;

	*ret_over = false;
	if (rt_store_begin(sch->jobs->store, err) < 0)
		return -1;
	rc = rt_jobs_ingest(sch->jobs, row, event, &e.end, err);
	if (rc == 0 && e.end != RT_RUN_GOES_ON) {
		rc = rt_store_job_get(sch->jobs->store, row->job_id, &job, err);
		if (rc == 0) {
			e.reason = json_string_value(json_object_get(event->data, "reason"));
			if (is_under_way(&job, row->id))
				rc = conclude(sch, &job, run, &e, json_object_get(event->data, "errors"),
					      NULL, err);
			rt_job_release(&job);
			*ret_over = rc == 0;
		}
	}
	if (rt_store_end(sch->jobs->store, rc == 0, err) < 0)
		rc = -1;
	if (rc == 0 && *ret_over)
		expect_exit(run);
	return rc;
}

/* Reads the events that the worker wrote and did not get to post. run may be NULL. */
static int catch_up(struct rt_scheduler *sch, struct rt_run *run, struct rt_run_row *row, struct rt_err *err)
{
	struct rt_err why = RT_ERR_INIT;
	struct rt_journal journal;
	struct rt_event event;
	char *path = rt_scheduler_path(sch, row->id, "events.ndjson");
	bool over = false;
	int rc;

	if (!path)
		return rt_fail(err, RT_NO_MEMORY, "no memory to read a run's journal");
	rc = rt_journal_open(path, row->last_seq, run ? run->journal_at : 0, &journal, &why);
	free(path);
	if (rc < 0) {
		if (why.code != RT_NOT_FOUND)
			rt_log(RT_LOG_WARN, row->id, "%s, ignoring", why.msg);
		return 0;
	}
	while (!over && (rc = rt_journal_next(&journal, &event, &why)) == 1) {
		rc = take_event(sch, row, &event, &over, &why);
		rt_event_release(&event);
		if (rc < 0)
			break;
	}
	if (run && rc >= 0)
		run->journal_at = journal.at;
	rt_journal_close(&journal);
	if (rc < 0 && why.code != RT_INVALID && why.code != RT_TOO_LARGE && why.code != RT_CONFLICT) {
		*err = why; /* the store's trouble, not the journal's: again later */
		return -1;
	}
	if (rc < 0)
		rt_log(RT_LOG_WARN, row->id, "the worker's journal: %s, ignoring the rest", why.msg);
	return 0;
}

static int64_t ran_ms(struct rt_scheduler *sch, const struct rt_run *run, const struct rt_run_row *row)
{
	int64_t last = RT_SQL_NO_INT;

	if (run)
		return run->start_failed == RT_OK ? rt_clock_monotonic_ms() - run->start_ms : 0;
	/* nobody looked: until its last word */
	if (rt_store_run_last_event(sch->jobs->store, row->id, &last, NULL) < 0 || last == RT_SQL_NO_INT ||
	    last < row->created_ms)
		return 0;
	return last - row->created_ms;
}

/* The end of a run in the store. Inside a savepoint. */
static int write_end(struct rt_scheduler *sch, const struct rt_run_row *row, const struct rt_run *run,
		     const struct rt_job *job, struct rt_err *err)
{
	struct rt_store *st = sch->jobs->store;
	int64_t status = run && run->process.exit_status >= 0 ? run->process.exit_status : RT_SQL_NO_INT;
	int64_t number = run && run->process.exit_signal > 0 ? run->process.exit_signal : RT_SQL_NO_INT;

	if (rt_store_run_end(st, row->id, status, number, rt_clock_now_ms(), err) < 0 ||
	    rt_store_job_add_ran(st, job->id, ran_ms(sch, run, row), err) < 0)
		return -1;
	if (is_under_way(job, row->id) && conclude_lost(sch, job, row->id, run, err) < 0)
		return -1;
	if (job->delete_wanted)
		return rt_runs_remove_job(sch, row->job_id, "user", err);
	if (job->status == RT_JOB_SUCCEEDED) { /* nothing goes on from here */
		remove_files(sch, row->id, "resume");
		return rt_runs_thin(sch, row->job_id, row->attempt, err);
	}
	return 0;
}

/* The process is gone. run is NULL when that happened while no server was looking. */
static int end_run(struct rt_scheduler *sch, const char *run_id, struct rt_run *run, struct rt_err *err)
{
	struct rt_store *st = sch->jobs->store;
	struct rt_run_row row;
	struct rt_job job;
	int rc;

	if (rt_store_run_get(st, run_id, &row, err) < 0)
		return -1;
	if (run)
		run->journal_at =
			0; /* all of it once more: it may be the end of a turn whose commit failed */
	if (catch_up(sch, run, &row, err) < 0 || rt_store_job_get(st, row.job_id, &job, err) < 0)
		return -1;
	rc = rt_store_begin(st, err);
	if (rc == 0) {
		rc = write_end(sch, &row, run, &job, err);
		if (rt_store_end(st, rc == 0, err) < 0)
			rc = -1;
	}
	rt_job_release(&job);
	return rc;
}

static void on_retry(uv_timer_t *timer)
{
	rt_runs_end_gone(timer->data);
}

void rt_runs_end_gone(struct rt_scheduler *sch)
{
	bool failed = false;

	for (struct rt_run *run = sch->runs; run; run = run->next) {
		struct rt_err err = RT_ERR_INIT;

		if (!run->gone || run->settling)
			continue;
		if (end_run(sch, run->id, run, &err) < 0 && err.code != RT_NOT_FOUND) {
			rt_log(RT_LOG_ERROR, run->id, "the end of the run cannot be written: %s, retrying",
			       err.msg);
			failed = true;
		} else {
			if (err.code ==
			    RT_NOT_FOUND) /* the job was removed, and its process may have written since */
				remove_files(sch, run->id, NULL);
			run->settling = true;
		}
	}
	if (failed)
		rt_timer_set(sch->loop, &sch->retry_end, on_retry, sch, RETRY_MS);
}

void rt_runs_settle(struct rt_scheduler *sch, bool committed)
{
	struct rt_run **at = &sch->runs, *run;
	bool again = false;

	while ((run = *at)) {
		if (!committed)
			run->journal_at = 0; /* what was read may be undone */
		if (!run->settling) {
			at = &run->next;
		} else if (!committed) {
			run->settling = false;
			again = true;
			at = &run->next;
		} else {
			*at = run->next;
			sch->run_count--;
			sch->wanted = true;
			rt_run_free(run);
		}
	}
	if (again)
		rt_timer_set(sch->loop, &sch->retry_end, on_retry, sch, RETRY_MS);
}

static void on_run_exit(void *arg)
{
	struct rt_run *run = arg;

	run->gone = true;
	rt_timer_drop(&run->deadline);
	rt_timer_drop(&run->grace);
	rt_runs_end_gone(run->scheduler);
}

/* ---- what workers say ---- */

static void stop_nonsense(struct rt_scheduler *sch, const struct rt_run_row *row, const struct rt_err *err)
{
	struct rt_run *run = rt_run_find(sch, row->id);

	rt_log(RT_LOG_ERROR, row->id, "the worker makes no sense, stopping it: %s", err->msg);
	if (!run || run->stop != RT_STOP_NONE)
		return;
	snprintf(run->why, sizeof run->why, "the worker sent an event that makes no sense: %.400s", err->msg);
	rt_run_stop(run, RT_STOP_NONSENSE);
}

int rt_runs_report(struct rt_scheduler *sch, struct rt_run_row *row, const char *lines, size_t len,
		   struct rt_err *err)
{
	struct rt_run *run = rt_run_find(sch, row->id);
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
	if (run)
		run->silent_ms = 0;
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

const char *rt_runs_want(struct rt_scheduler *sch, const char *run_id)
{
	struct rt_run *run = rt_run_find(sch, run_id);

	switch (run ? run->stop : RT_STOP_NONE) {
	case RT_STOP_NONE:
		return "continue";
	case RT_STOP_PAUSE:
	case RT_STOP_DEADLINE:
	case RT_STOP_SHUTDOWN:
		return "pause";
	default:
		return "cancel";
	}
}

/* ---- after a restart ---- */

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
	struct rt_err err = RT_ERR_INIT;
	struct rt_run_row row;
	struct rt_job job;
	bool under_way;

	/* The port may have changed since the worker learnt it: its journal is as good. */
	if (journal_size(run->scheduler, run->id) == run->journal_at ||
	    rt_store_run_get(run->scheduler->jobs->store, run->id, &row, NULL) < 0 ||
	    rt_store_job_get(run->scheduler->jobs->store, run->job_id, &job, NULL) < 0)
		return;
	under_way = is_under_way(&job, run->id);
	rt_job_release(&job);
	run->silent_ms = 0;
	if (under_way && catch_up(run->scheduler, run, &row, &err) < 0)
		rt_log(RT_LOG_WARN, run->id, "%s, retrying", err.msg);
}

/* The server may have died between the start of a worker and the commit that says so. */
static int find_process(struct rt_scheduler *sch, struct rt_run_row *row)
{
	char *dir = rt_scheduler_path(sch, row->id, NULL);
	int64_t pid = dir ? rt_process_find(dir) : -1;

	free(dir);
	if (pid < 0)
		return -1;
	row->pid = pid;
	row->pid_start = rt_process_start_ticks(pid);
	return rt_store_run_set_pid(sch->jobs->store, row->id, row->pid, row->pid_start, NULL);
}

static void watch_adopted(struct rt_run *run, const struct rt_job *job, const struct rt_spec *spec,
			  const struct rt_run_row *row)
{
	int64_t ran = rt_clock_now_ms() - row->created_ms;

	run->stop_grace_s = spec->stop_grace_s;
	run->start_ms -= ran > 0 ? ran : 0;
	if (job->status == RT_JOB_CANCELLING || job->delete_wanted)
		rt_run_stop(run, RT_STOP_CANCEL);
	else if (job->status == RT_JOB_PAUSING)
		rt_run_stop(run, RT_STOP_PAUSE);
	else if (!is_under_way(job, run->id))
		expect_exit(run);
	else if (job->max_runtime_s != RT_SQL_NO_INT && job->max_runtime_s < INT64_MAX / 1000)
		rt_run_limit(run, job->max_runtime_s * 1000 - job->ran_ms - (ran > 0 ? ran : 0));
}

static int tell_adopted(struct rt_scheduler *sch, const struct rt_job *job, const struct rt_run_row *row,
			struct rt_err *err)
{
	json_t *data = json_pack("{sI}", "pid", (json_int_t)row->pid);
	int rc = rt_jobs_tell(sch->jobs, job->id, row->id, row->attempt, "run.adopted", "info",
			      "the server is back; the worker went on meanwhile", data, err);

	json_decref(data);
	return rc;
}

static int adopt(struct rt_scheduler *sch, struct rt_run_row *row, struct rt_err *err)
{
	struct rt_spec spec;
	struct rt_run *run;
	struct rt_job job;
	int rc = -1;

	if (row->pid == RT_SQL_NO_INT && find_process(sch, row) < 0)
		return rt_fail(err, RT_NOT_FOUND, "the run never had a process");
	if (rt_store_job_get(sch->jobs->store, row->job_id, &job, err) < 0)
		return -1;
	run = rt_run_new(sch, row->id, row->job_id);
	if (!run)
		rt_fail(err, RT_NO_MEMORY, "no memory to adopt a worker");
	else if (rt_jobs_spec(&job, &spec, err) == 0) {
		run->adopted = true;
		run->process.on_poll = on_adopted_poll;
		rc = rt_process_adopt(&run->process, sch->loop, row->pid, row->pid_start, err);
		if (rc == 0) {
			rt_run_keep(run);
			rt_log(RT_LOG_INFO, row->job_id, "%s goes on, process %lld", row->id,
			       (long long)row->pid);
			watch_adopted(run, &job, &spec, row);
			if (is_under_way(&job, row->id))
				rc = tell_adopted(sch, &job, row, err);
			run = NULL;
		}
		rt_spec_release(&spec);
	}
	if (run)
		rt_run_free(run);
	rt_job_release(&job);
	return rc;
}

/* What nobody goes on from any more, of a job that is done. */
static void thin_again(struct rt_scheduler *sch, const struct rt_run_row *run)
{
	struct thinning t = { .sch = sch, .before = INT64_MAX };
	struct rt_job job;

	if (rt_store_job_get(sch->jobs->store, run->job_id, &job, NULL) < 0)
		return;
	if (job.status == RT_JOB_SUCCEEDED)
		thin(&t, run);
	rt_job_release(&job);
}

/* A spec that an earlier server was writing when it died: never renamed, so nobody's. */
static void remove_half_spec(struct rt_scheduler *sch, const char *run_id)
{
	static const char begin[] = "spec.json.", end[] = ".tmp";
	char *path = rt_scheduler_path(sch, run_id, NULL);
	DIR *dir = path ? opendir(path) : NULL;
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		size_t n = strlen(entry->d_name);

		if (strncmp(entry->d_name, begin, sizeof begin - 1) == 0 && n > sizeof end - 1 &&
		    strcmp(entry->d_name + n - (sizeof end - 1), end) == 0)
			unlinkat(dirfd(dir), entry->d_name, 0);
	}
	if (dir)
		closedir(dir);
	free(path);
}

/* Folders of runs that no row names, and what a job that is done has left: a server died between a commit and the removal that
 * belongs to it. */
static void find_orphans(struct rt_scheduler *sch)
{
	DIR *dir = opendir(sch->jobs->roots.runs_dir);
	struct dirent *entry;
	struct rt_run_row row;

	while (dir && (entry = readdir(dir))) {
		struct rt_err err = RT_ERR_INIT;

		if (!rt_id_is(entry->d_name, "run"))
			continue;
		remove_half_spec(sch, entry->d_name);
		if (rt_store_run_get(sch->jobs->store, entry->d_name, &row, &err) == 0)
			thin_again(sch, &row);
		else if (err.code == RT_NOT_FOUND)
			remove_files(sch, entry->d_name, NULL);
	}
	if (dir)
		closedir(dir);
}

int rt_runs_recover(struct rt_scheduler *sch, struct rt_err *err)
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
