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
#include "server/supervisor.h"

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

/* ---- what a run begins with ---- */

struct start {
	struct rt_job job;
	struct rt_spec spec;
	json_t *worker_spec; /* with paths in the place of ids */
	char token[65], token_sha256[RT_SHA256_SIZE];
	char resume_from[RT_ID_SIZE]; /* the run whose saved state is gone on from; "": none */
	int64_t resume_attempt;
	int64_t left_ms; /* of max_runtime_s; -1: no limit */
	struct rt_run_row row;
};

/* The running time that is left. The worker counts by itself, from what its state says of earlier attempts. */
static void limit_time(struct start *s)
{
	s->left_ms = -1;
	if (s->spec.max_runtime_s <= 0 || s->spec.max_runtime_s >= INT64_MAX / 1000)
		return;
	s->left_ms = s->spec.max_runtime_s * 1000 - s->job.ran_ms;
	if (s->left_ms < 0)
		s->left_ms = 0;
}

/* A state is a file state-…; what is still being written has another name. */
static bool has_state(const char *path)
{
	DIR *dir = path ? opendir(path) : NULL;
	struct dirent *entry;
	bool found = false;

	while (dir && !found && (entry = readdir(dir)))
		found = strncmp(entry->d_name, "state-", 6) == 0;
	if (dir)
		closedir(dir);
	return found;
}

struct resume {
	struct rt_scheduler *sch;
	struct start *s;
};

/* The newest run that left a state; called in order of attempts. */
static void look_for_state(void *arg, const struct rt_run_row *run)
{
	struct resume *r = arg;
	char *path = rt_scheduler_path(r->sch, run->id, "resume");

	if (has_state(path)) {
		snprintf(r->s->resume_from, sizeof r->s->resume_from, "%s", run->id);
		r->s->resume_attempt = run->attempt;
	}
	free(path);
}

/* Reads the job and what its ids stand for now. -1 with RT_UNPROCESSABLE: the job cannot run; problems says why. */
static int prepare(struct rt_scheduler *sch, const char *job_id, struct start *s,
		   struct rt_problems *problems, struct rt_err *err)
{
	struct resume resume = { .sch = sch, .s = s };
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
	limit_time(s);
	if (s->job.attempt > 0 &&
	    rt_store_runs_list(sch->jobs->store, job_id, look_for_state, &resume, err) < 0)
		return -1;
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

/* The part of the machine that the fewest workers run on; the kernel knows where they run, those from before a restart too. The number
 * of its CPUs. */
static int free_part(const struct rt_scheduler *sch, cpu_set_t *ret)
{
	cpu_set_t *in_use = calloc((size_t)sch->run_count + 1, sizeof *in_use);
	size_t n = 0;

	for (const struct rt_run *run = sch->runs; in_use && run && n < (size_t)sch->run_count;
	     run = run->next) {
		if (!run->gone && rt_process_cpus(&run->process, &in_use[n]) == 0)
			n++;
	}
	rt_cores_part(&sch->cores, rt_cores_pick(&sch->cores, in_use, n), ret);
	free(in_use);
	return CPU_COUNT(ret) > 0 ? CPU_COUNT(ret) : 1;
}

static int spawn(struct rt_scheduler *sch, const struct start *s, struct rt_run *run, struct rt_err *err)
{
	char *dir = rt_scheduler_path(sch, run->id, NULL),
	     *spec = rt_scheduler_path(sch, run->id, "spec.json"),
	     *log = rt_scheduler_path(sch, run->id, "worker.log"),
	     *before = s->resume_from[0] ? rt_scheduler_path(sch, s->resume_from, NULL) : NULL;
	char url[200], threads[24], cache_max[24];
	const char *argv[] = { sch->worker,
			       "run",
			       "--spec",
			       spec,
			       "--dir",
			       dir,
			       "--threads",
			       threads,
			       "--cache",
			       sch->cache_dir,
			       "--cache-max-bytes",
			       cache_max,
			       "--report",
			       url,
			       "--token-fd",
			       "3",
			       before ? "--resume-from" : NULL,
			       before,
			       NULL };
	struct rt_process_start start = {
		.program = sch->worker, .argv = argv, .secret = s->token, .log_fd = -1
	};
	cpu_set_t part;
	int rc = -1, share = free_part(sch, &part);

	snprintf(url, sizeof url, "%s/v1/worker/runs/%s/events", sch->url, run->id);
	snprintf(threads, sizeof threads, "%lld", (long long)(s->spec.threads > 0 ? s->spec.threads : share));
	/* who asks for more threads than a share has cores may use all of them */
	if (sch->slots > 1 && s->spec.threads <= share && CPU_COUNT(&part) > 0)
		start.cpus = &part;
	snprintf(cache_max, sizeof cache_max, "%lld", (long long)sch->cache_max_bytes);
	if (!dir || !spec || !log || (s->resume_from[0] && !before)) {
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
	free(before);
	return rc;
}

/* The job is running in the store, for good: now for its process. */
static void launch(struct rt_scheduler *sch, const struct start *s, struct rt_run *run)
{
	struct rt_err err = RT_ERR_INIT;

	snprintf(run->id, sizeof run->id, "%s", s->row.id);
	snprintf(run->job_id, sizeof run->job_id, "%s", s->row.job_id);
	run->stop_grace_s = s->spec.stop_grace_s;
	if (write_spec(sch, s, &err) < 0 || spawn(sch, s, run, &err) < 0) {
		rt_log(RT_LOG_ERROR, s->job.id, "%s", err.msg);
		run->start_failed = err.code;
		snprintf(run->why, sizeof run->why, "%s", err.msg);
		rt_run_keep(run);
		return;
	}
	rt_run_keep(run);
	rt_process_offer(&run->process);
	if (s->left_ms >= 0)
		rt_run_limit(run, s->left_ms);
	if (rt_store_run_set_pid(sch->jobs->store, run->id, run->process.pid, run->process.start_ticks,
				 &err) < 0 ||
	    (s->resume_from[0] && rt_runs_thin(sch, run->job_id, s->resume_attempt, &err) < 0))
		rt_log(RT_LOG_WARN, run->id, "%s, ignoring", err.msg);
	rt_log(RT_LOG_INFO, run->job_id, "%s started, process %lld%s%s", run->id, (long long)run->process.pid,
	       s->resume_from[0] ? ", from the state of " : "", s->resume_from);
}

/* ---- the queue ---- */

/* A job whose last worker has not quite gone, or whose running time is used up, is not taken. */
static bool is_not_ready(void *arg, const char *job_id)
{
	return rt_run_find_by_job(arg, job_id) != NULL;
}

static int take(struct rt_scheduler *sch, const char *job_id, struct start *s, struct rt_err *err)
{
	struct rt_run *run;

	if (s->left_ms == 0)
		return rt_jobs_fail(
			sch->jobs, job_id, "deadline",
			"the job's running time (max_runtime_s) is used up; allow it more with PATCH "
			"max_runtime_s and POST …/retry",
			NULL, err);
	run = rt_run_new(sch, "", ""); /* before the row: a job that is running must have one */
	if (!run)
		return rt_fail(err, RT_NO_MEMORY, "no memory to start the job");
	if (rt_jobs_take(sch->jobs, job_id, s->token_sha256, &s->row, err) < 0 ||
	    rt_store_commit(sch->jobs->store, err) < 0) {
		rt_run_free(run);
		return -1;
	}
	launch(sch, s, run);
	return 0;
}

/* Takes one job from the queue. 1 when there may be more to do, 0 when not, -1 when the store fails. */
static int start_next(struct rt_scheduler *sch, struct rt_problems *problems)
{
	struct rt_err err = RT_ERR_INIT;
	struct start s = { .worker_spec = NULL };
	char job_id[RT_ID_SIZE];
	int rc = rt_store_job_next(sch->jobs->store, rt_clock_now_ms(), is_not_ready, sch, job_id, &err);

	if (rc == 1) {
		problems->n = 0;
		if (prepare(sch, job_id, &s, problems, &err) == 0) {
			rc = take(sch, job_id, &s, &err) < 0 ? -1 : 1;
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

static void on_wanted(uv_timer_t *timer)
{
	struct rt_scheduler *sch = timer->data;

	sch->wanted = true;
}

/* Comes back when the first of the jobs that wait for their next try has waited enough. */
static void set_wake(struct rt_scheduler *sch)
{
	int64_t now = rt_clock_now_ms(), at = RT_SQL_NO_INT;

	if (rt_store_jobs_next_wait(sch->jobs->store, now, &at, NULL) == 0 && at != RT_SQL_NO_INT)
		rt_timer_set(sch->loop, &sch->wake, on_wanted, sch, (uint64_t)(at - now) + 1);
}

void rt_scheduler_fill(struct rt_scheduler *sch)
{
	struct rt_problems *problems;
	int rc = 1;

	sch->wanted = false;
	if (sch->stopping || sch->run_count >= sch->slots || sch->disk->low)
		return;
	problems = malloc(sizeof *problems);
	while (problems && rc == 1 && sch->run_count < sch->slots)
		rc = start_next(sch, problems);
	free(problems);
	if (!problems || rc < 0)
		rt_timer_set(sch->loop, &sch->retry, on_wanted, sch, RETRY_MS);
	set_wake(sch);
}

/* ---- room on the disk ---- */

struct room {
	int64_t free_bytes;
	char (*ids)[RT_ID_SIZE];
	size_t n, cap;
};

static void add_if_room(void *arg, const char *id, int64_t bytes)
{
	struct room *room = arg;
	int64_t need = bytes == RT_SQL_NO_INT ? 0 : bytes;

	if (need > room->free_bytes)
		return;
	if (room->n == room->cap) {
		size_t cap = room->cap ? 2 * room->cap : 16;
		void *ids = realloc(room->ids, cap * sizeof *room->ids);

		if (!ids)
			return; /* the next look finds it again */
		room->ids = ids;
		room->cap = cap;
	}
	snprintf(room->ids[room->n++], RT_ID_SIZE, "%s", id);
}

void rt_scheduler_disk_looked(struct rt_scheduler *sch)
{
	struct room room = { .free_bytes = sch->disk->free_bytes };
	struct rt_err err = RT_ERR_INIT;

	if (sch->disk->low || sch->stopping)
		return;
	sch->wanted = true;
	if (rt_store_jobs_waiting(sch->jobs->store, "disk_full", add_if_room, &room, &err) < 0)
		rt_log(RT_LOG_WARN, "-", "%s, retrying", err.msg);
	for (size_t i = 0; i < room.n; i++) {
		if (rt_jobs_move(sch->jobs, room.ids[i], RT_MOVE_RESUME, "there is room on the disk again",
				 NULL, NULL, &err) < 0)
			rt_log(RT_LOG_WARN, room.ids[i], "%s, retrying", err.msg);
	}
	free(room.ids);
}

/* ---- what users ask for ---- */

int rt_scheduler_cancel(struct rt_scheduler *sch, const char *job_id, enum rt_job_status *ret,
			struct rt_err *err)
{
	struct rt_run *run;

	if (rt_jobs_move(sch->jobs, job_id, RT_MOVE_CANCEL, "", NULL, ret, err) < 0)
		return -1;
	run = *ret == RT_JOB_CANCELLING ? rt_run_find_by_job(sch, job_id) : NULL;
	if (run)
		rt_run_stop(run, RT_STOP_CANCEL);
	return 0;
}

int rt_scheduler_pause(struct rt_scheduler *sch, const char *job_id, enum rt_job_status *ret,
		       struct rt_err *err)
{
	struct rt_run *run;

	if (rt_jobs_move(sch->jobs, job_id, RT_MOVE_PAUSE, "", NULL, ret, err) < 0)
		return -1;
	run = *ret == RT_JOB_PAUSING ? rt_run_find_by_job(sch, job_id) : NULL;
	if (run)
		rt_run_stop(run, RT_STOP_PAUSE);
	return 0;
}

int rt_scheduler_resume(struct rt_scheduler *sch, const char *job_id, enum rt_job_status *ret,
			struct rt_err *err)
{
	if (rt_jobs_move(sch->jobs, job_id, RT_MOVE_RESUME, "", NULL, ret, err) < 0)
		return -1;
	sch->wanted = true;
	return 0;
}

int rt_scheduler_retry(struct rt_scheduler *sch, const char *job_id, enum rt_job_status *ret,
		       struct rt_err *err)
{
	enum rt_job_status to;
	struct rt_job job;
	int rc;

	if (rt_store_job_get(sch->jobs->store, job_id, &job, err) < 0)
		return -1;
	rc = rt_life_move(job.status, RT_MOVE_RETRY, &to, err);
	if (rc == 0 && job.delete_wanted)
		rc = rt_fail(err, RT_CONFLICT, "the job is being deleted");
	if (rc == 0 && job.max_runtime_s != RT_SQL_NO_INT && job.ran_ms / 1000 >= job.max_runtime_s)
		rc = rt_fail(err, RT_CONFLICT,
			     "the job has run for %lld s and max_runtime_s allows %lld; allow it more first: "
			     "PATCH "
			     "/v1/jobs/%s {\"max_runtime_s\": …}",
			     (long long)(job.ran_ms / 1000), (long long)job.max_runtime_s, job.id);
	rt_job_release(&job);
	if (rc < 0 || rt_jobs_move(sch->jobs, job_id, RT_MOVE_RETRY, "", NULL, ret, err) < 0)
		return -1;
	sch->wanted = true;
	return 0;
}

int rt_scheduler_remove(struct rt_scheduler *sch, const char *job_id, const char *reason, bool *ret_gone,
			struct rt_err *err)
{
	struct rt_run *run = rt_run_find_by_job(sch, job_id);
	enum rt_job_status status;
	struct rt_job job;
	bool final;

	if (rt_store_job_get(sch->jobs->store, job_id, &job, err) < 0)
		return -1;
	final = rt_job_status_is_final(job.status);
	rt_job_release(&job);
	if (run && final && !run->gone)
		rt_process_signal(&run->process,
				  SIGKILL); /* it has said its last word and has nothing left to do */
	if (!run || run->settling || final) {
		if (rt_runs_remove_job(sch, job_id, reason, err) < 0)
			return -1;
		*ret_gone = true;
		return 0;
	}
	if (rt_store_begin(sch->jobs->store, err) < 0)
		return -1;
	if (rt_store_job_want_delete(sch->jobs->store, job_id, err) < 0 ||
	    rt_jobs_move(sch->jobs, job_id, RT_MOVE_CANCEL, "the job is being deleted", NULL, &status, err) <
		    0) {
		rt_store_end(sch->jobs->store, false, NULL);
		return -1;
	}
	if (rt_store_end(sch->jobs->store, true, err) < 0)
		return -1;
	rt_run_stop(run, RT_STOP_CANCEL);
	*ret_gone = false;
	return 0;
}

/* ---- the server's own life ---- */

void rt_scheduler_stop(struct rt_scheduler *sch)
{
	bool again = sch->stopping;

	sch->stopping = true;
	for (struct rt_run *run = sch->runs; run; run = run->next) {
		if (run->gone)
			continue;
		if (again)
			rt_process_signal(&run->process, SIGKILL);
		else
			rt_run_stop(run, RT_STOP_SHUTDOWN);
	}
}

bool rt_scheduler_has_stopped(const struct rt_scheduler *sch)
{
	for (const struct rt_run *run = sch->runs; run; run = run->next) {
		if (!run->gone)
			return false;
	}
	return true;
}

void rt_scheduler_release(struct rt_scheduler *sch)
{
	struct rt_run *run;

	while ((run = sch->runs)) {
		sch->runs = run->next;
		rt_process_abandon(&run->process);
		rt_run_free(run);
	}
	sch->run_count = 0;
	if (sch->loop) {
		rt_timer_drop(&sch->retry);
		rt_timer_drop(&sch->retry_end);
		rt_timer_drop(&sch->wake);
		rt_timer_drop(&sch->tick);
	}
}
