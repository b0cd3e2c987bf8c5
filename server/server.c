/* SPDX-License-Identifier: Apache-2.0 */
#include "server/server.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "server/lock.h"
#include "server/respond.h"
#include "server/routes.h"
#include "server/supervisor.h"

static void finish(struct rt_server *s);

#define DISK_MS	   2000 /* between looks at the room on the disk */
#define ROUNDS_MAX 8	/* of requests in one turn, before the loop looks at its other handles */

/* ---- the end of a turn ---- */

void rt_server_answer_after_commit(struct rt_server *s, struct rt_req *req)
{
	req->next_commit = NULL;
	*s->answers_end = req;
	s->answers_end = &req->next_commit;
}

void rt_server_forget_answer(struct rt_server *s, struct rt_req *req)
{
	for (struct rt_req **at = &s->answers; *at; at = &(*at)->next_commit) {
		if (*at != req)
			continue;
		*at = req->next_commit;
		if (s->answers_end == &req->next_commit)
			s->answers_end = at;
		return;
	}
}

static void commit_and_answer(struct rt_server *s)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_req *req;
	bool failed = rt_store_commit(s->store, &err) < 0;

	if (failed)
		rt_log(RT_LOG_ERROR, "-", "%s", err.msg);
	if (failed && err.code == RT_DISK_FULL)
		rt_disk_give_up_reserve(&s->disk);
	rt_runs_settle(&s->scheduler, !failed);
	rt_streams_settle(&s->streams, !failed);
	rt_trash_settle(&s->trash, &s->loop, !failed);
	while ((req = s->answers)) {
		s->answers = req->next_commit;
		if (!s->answers)
			s->answers_end = &s->answers;
		if (failed || !req->response)
			rt_answer_error(req, &err);
		if (req->response)
			rt_req_resume(req);
	}
}

void rt_server_flush(struct rt_server *s)
{
	/* Sending an answer lets the connection's next request in, which may write and wait in its turn. */
	for (int round = 0; round < ROUNDS_MAX; round++) {
		commit_and_answer(s);
		if (s->scheduler.wanted)
			rt_scheduler_fill(&s->scheduler);
		else if (!s->http.woken)
			break;
		if (s->http.woken)
			rt_http_run(&s->http);
	}
	commit_and_answer(s);
	if (s->http.woken)
		rt_http_run_soon(&s->http);
	if (s->stopping && rt_scheduler_has_stopped(&s->scheduler))
		finish(s);
}

static void on_prepare(uv_prepare_t *handle)
{
	rt_server_flush(handle->data);
}

static void on_check(uv_check_t *handle)
{
	rt_server_flush(handle->data);
}

/* ---- stopping ---- */

/* Ends all that keeps the loop going. */
static void finish(struct rt_server *s)
{
	if (!s->handles_ready)
		return;
	s->handles_ready = false;
	commit_and_answer(s);
	rt_validator_stop(&s->validator);
	rt_predictors_stop(&s->predictors);
	rt_pruner_stop(&s->pruner);
	rt_scheduler_release(&s->scheduler);
	rt_streams_stop(&s->streams);
	rt_http_stop(&s->http);
	uv_close((uv_handle_t *)&s->prepare, NULL);
	uv_close((uv_handle_t *)&s->check, NULL);
	uv_close((uv_handle_t *)&s->disk_timer, NULL);
	for (int i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&s->signals[i], NULL);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct rt_server *s = handle->data;

	(void)number;
	s->stopping = true;
	rt_log(RT_LOG_INFO, "-", "stopping; %d workers run", s->scheduler.run_count);
	rt_scheduler_stop(&s->scheduler); /* rt_server_flush sees when the last has gone */
}

/* ---- opening ---- */

static int open_data_dir(struct rt_server *s, struct rt_err *err)
{
	char *db = NULL, *runs = NULL;
	int rc = -1;

	if (rt_dir_make(s->options->data, err) < 0)
		return rt_fail_in(err, "--data %s", s->options->data);
	s->data_dir = realpath(s->options->data, NULL);
	if (!s->data_dir)
		return rt_fail_errno(err, errno, "--data %s", s->options->data);
	s->lock_fd = rt_lock_take(s->data_dir, err);
	if (s->lock_fd < 0)
		return rt_fail_in(err, "--data %s", s->options->data);
	db = rt_path_join(s->data_dir, "retort.db");
	runs = rt_path_join(s->data_dir, "runs");
	if (!db || !runs) {
		rt_fail(err, RT_NO_MEMORY, "no memory to open the data directory");
		goto out;
	}
	if (rt_dir_make(runs, err) < 0 || rt_store_open(db, &s->store, err) < 0)
		goto out;
	s->jobs.roots.runs_dir = runs;
	runs = NULL;
	rc = 0;
out:
	free(db);
	free(runs);
	return rc;
}

static void on_drop(void *arg, const char *run_id, const char *checkpoint_id)
{
	struct rt_server *s = arg;
	char *all = rt_scheduler_path(&s->scheduler, run_id, "checkpoints");
	char *path = all ? rt_path_join(all, checkpoint_id) : NULL;

	if (path)
		rt_trash_add(&s->trash, path);
	free(all);
	free(path);
}

static void on_disk_timer(uv_timer_t *timer)
{
	struct rt_server *s = timer->data;

	if (rt_disk_look(&s->disk))
		rt_log(RT_LOG_WARN, "-",
		       s->disk.low ? "the disk has %lld bytes left, starting nothing until there are more"
				   : "the disk has room again: %lld bytes",
		       (long long)s->disk.free_bytes);
	rt_scheduler_disk_looked(&s->scheduler);
}

static void on_event(void *arg, const char *job_id)
{
	struct rt_server *s = arg;

	rt_streams_touch(&s->streams, job_id);
}

/* --worker, or retort-worker in the folder beside this program's, as in the build tree, or beside it, or in PATH. */
static char *find_worker(const char *given)
{
	static const char *const places[] = { "/../worker/retort-worker", "/retort-worker" };
	char self[PATH_MAX], *path, *real;
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 32);
	char *slash;

	if (given)
		return strdup(given);
	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
		strcpy(slash, places[i]);
		path = self;
		real = access(path, X_OK) == 0 ? realpath(path, NULL) : NULL;
		if (real)
			return real;
	}
	return strdup("retort-worker");
}

/* A worker's share of the cores that this process may use. */
static int threads_of_a_slot(int slots)
{
	cpu_set_t set;
	int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
								: (int)sysconf(_SC_NPROCESSORS_ONLN);

	return cores / slots > 1 ? cores / slots : 1;
}

static int start_parts(struct rt_server *s, struct rt_err *err)
{
	s->worker = find_worker(s->options->worker);
	s->validator.dir = rt_path_join(s->data_dir, "tmp");
	s->cache_dir = rt_path_join(s->data_dir, "cache");
	if (!s->worker || !s->validator.dir || !s->cache_dir)
		return rt_fail(err, RT_NO_MEMORY, "no memory to start");
	if (strchr(s->worker, '/') && access(s->worker, X_OK) < 0)
		return rt_fail_errno(err, errno, "--worker %s", s->worker);
	s->scheduler.loop = s->validator.loop = s->predictors.loop = &s->loop;
	s->scheduler.jobs = &s->jobs;
	s->scheduler.trash = &s->trash;
	s->scheduler.worker = s->validator.worker = s->predictors.worker = s->worker;
	s->scheduler.cache_dir = s->cache_dir;
	s->scheduler.cache_max_bytes = s->options->cache_max_bytes;
	s->scheduler.url = s->http.url;
	s->scheduler.slots = s->options->slots;
	s->predictors.threads = threads_of_a_slot(s->options->slots);
	rt_cores_look(&s->scheduler.cores, s->options->slots);
	s->scheduler.disk = &s->disk;
	s->scheduler.stop_grace_s = s->options->stop_grace_s;
	s->scheduler.restart_delay_s = s->options->restart_delay_s;
	s->scheduler.worker_timeout_s = s->options->worker_timeout_s;
	rt_oom_find_sources(&s->scheduler.oom);
	s->validator.roots = &s->jobs.roots;
	rt_dir_remove(s->validator.dir, NULL); /* what a server that died left there */
	if (rt_streams_start(&s->streams, &s->loop, &s->http, s->store, err) < 0 ||
	    rt_http_start(&s->http, s, rt_routes, s->options->listen, err) < 0 ||
	    rt_runs_recover(&s->scheduler, err) < 0 ||
	    rt_pruner_start(&s->pruner, s, &s->options->retention, err) < 0)
		return -1;
	return rt_store_commit(s->store, err);
}

static int start_handles(struct rt_server *s, struct rt_err *err)
{
	static const int numbers[2] = { SIGTERM, SIGINT };
	int rc = uv_loop_init(&s->loop);

	if (rc < 0)
		return rt_fail(err, RT_INTERNAL, "cannot make a loop: %s", uv_strerror(rc));
	s->loop_ready = true;
	uv_prepare_init(&s->loop, &s->prepare);
	uv_check_init(&s->loop, &s->check);
	uv_timer_init(&s->loop, &s->disk_timer);
	s->prepare.data = s->check.data = s->disk_timer.data = s;
	for (int i = 0; i < 2; i++) {
		uv_signal_init(&s->loop, &s->signals[i]);
		s->signals[i].data = s;
	}
	s->handles_ready = true;
	uv_prepare_start(&s->prepare, on_prepare);
	uv_check_start(&s->check, on_check);
	uv_timer_start(&s->disk_timer, on_disk_timer, DISK_MS, DISK_MS);
	for (int i = 0; i < 2; i++) {
		rc = uv_signal_start(&s->signals[i], on_signal, numbers[i]);
		if (rc < 0)
			return rt_fail(err, RT_INTERNAL, "cannot watch signals: %s", uv_strerror(rc));
	}
	return 0;
}

int rt_server_open(struct rt_server *s, const struct rt_options *options, struct rt_err *err)
{
	memset(s, 0, sizeof *s);
	s->options = options;
	s->lock_fd = -1;
	s->answers_end = &s->answers;
	for (size_t i = 0; i < options->models_root_count; i++) {
		if (rt_roots_add(&s->jobs.roots, options->models_roots[i], err) < 0)
			return -1;
	}
	if (open_data_dir(s, err) < 0 ||
	    rt_disk_open(&s->disk, s->data_dir, options->min_free_bytes, err) < 0 ||
	    start_handles(s, err) < 0)
		return -1;
	s->jobs.store = s->store;
	s->jobs.on_event = on_event;
	s->jobs.on_drop = on_drop;
	s->jobs.arg = s;
	return start_parts(s, err);
}

int rt_server_run(struct rt_server *s)
{
	return uv_run(&s->loop, UV_RUN_DEFAULT) == 0 ? 0 : -1;
}

void rt_server_close(struct rt_server *s)
{
	finish(s);
	if (s->loop_ready) {
		uv_run(&s->loop, UV_RUN_DEFAULT); /* the close callbacks */
		uv_loop_close(&s->loop);
	}
	rt_store_close(s->store);
	rt_disk_close(&s->disk);
	rt_roots_release(&s->jobs.roots);
	free(s->validator.dir);
	free(s->worker);
	free(s->cache_dir);
	free(s->data_dir);
	rt_lock_release(s->lock_fd);
}
