/* SPDX-License-Identifier: Apache-2.0 */
#include "server/validator.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "server/respond.h"
#include "server/resolve.h"

#define REPORT_MAX (4U << 20) /* bytes */
#define LIMIT_MS   120000

struct rt_validation {
	struct rt_validator *owner;
	struct rt_req *req; /* NULL: the client has gone */
	json_t *user_spec;
	char *path; /* of the spec */
	uv_process_t process;
	uv_pipe_t pipe;
	uv_timer_t timer;
	int open; /* handles that libuv has not closed */
	char chunk[4096];
	struct rt_buf report;
	bool too_long, timed_out;
	struct rt_validation *next, **link;
};

/* The worker saw paths; the client sees what it sent. */
static void put_users_ids(json_t *report, const json_t *user_spec)
{
	static const char *const ids[] = { "teacher_id", "student_id", "dataset_id" };
	json_t *resolved = json_object_get(report, "resolved");

	for (size_t i = 0; i < sizeof ids / sizeof *ids && json_is_object(resolved); i++) {
		json_t *value = json_object_get(user_spec, ids[i]);

		if (value)
			json_object_set(resolved, ids[i], value);
	}
}

static int answer(struct rt_validation *v, struct rt_err *err)
{
	struct rt_err why = RT_ERR_INIT;
	struct rt_buf body = RT_BUF_INIT;
	json_t *report;

	if (v->timed_out)
		return rt_fail(err, RT_UNAVAILABLE, "the check took longer than %d s and was stopped",
			       LIMIT_MS / 1000);
	if (v->too_long)
		return rt_fail(err, RT_INTERNAL, "the worker's report is too long");
	report = rt_json_parse(rt_buf_text(&v->report), v->report.len, &why);
	if (!report || !json_is_boolean(json_object_get(report, "valid"))) {
		json_decref(report);
		return rt_fail(err, RT_INTERNAL, "the worker could not check the spec: it gave no report");
	}
	put_users_ids(report, v->user_spec);
	rt_json_write(&body, report, 0);
	json_decref(report);
	return rt_answer_json(v->req, 200, &body, err);
}

static void on_closed(uv_handle_t *handle)
{
	struct rt_validation *v = handle->data;
	struct rt_err err = RT_ERR_INIT;

	if (--v->open > 0)
		return;
	if (v->req) {
		v->req->abandon = NULL;
		if (answer(v, &err) < 0)
			rt_answer_error(v->req, &err);
		if (v->req->response)
			rt_req_resume(v->req);
	}
	unlink(v->path);
	*v->link = v->next;
	if (v->next)
		v->next->link = v->link;
	v->owner->n--;
	json_decref(v->user_spec);
	rt_buf_release(&v->report);
	free(v->path);
	free(v);
}

static void close_handle(uv_handle_t *handle)
{
	if (!uv_is_closing(handle))
		uv_close(handle, on_closed);
}

static void on_worker_exit(uv_process_t *process, int64_t status, int number)
{
	struct rt_validation *v = process->data;

	(void)status;
	(void)number;
	close_handle((uv_handle_t *)process);
	close_handle((uv_handle_t *)&v->timer);
}

static void kill_worker(struct rt_validation *v)
{
	if (!uv_is_closing((uv_handle_t *)&v->process))
		kill(-v->process.pid, SIGKILL);
	close_handle((uv_handle_t *)&v->pipe);
}

static void on_abandon(struct rt_req *req)
{
	struct rt_validation *v = req->work;

	v->req = NULL;
	kill_worker(v);
}

static void on_timer(uv_timer_t *timer)
{
	struct rt_validation *v = timer->data;

	v->timed_out = true;
	kill_worker(v);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct rt_validation *v = handle->data;

	(void)suggested;
	*buf = uv_buf_init(v->chunk, sizeof v->chunk);
}

static void on_report(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct rt_validation *v = stream->data;

	if (n > 0) {
		rt_buf_add(&v->report, buf->base, (size_t)n);
		if (v->report.len > REPORT_MAX) {
			v->too_long = true;
			kill_worker(v);
		}
	} else if (n < 0) {
		close_handle((uv_handle_t *)stream);
	}
}

static int write_spec(struct rt_validation *v, const json_t *spec, struct rt_err *err)
{
	struct rt_buf text = RT_BUF_INIT;
	char id[RT_ID_SIZE + 8];
	int rc = -1;

	rt_id_new("val", id);
	strcat(id, ".json");
	v->path = rt_path_join(v->owner->dir, id);
	rt_json_write(&text, spec, 2);
	if (!v->path || rt_buf_check(&text, err) < 0)
		rt_fail(err, RT_NO_MEMORY, "no memory to check the spec");
	else if (rt_dir_make(v->owner->dir, err) == 0)
		rc = rt_file_write(v->path, text.data, text.len, err);
	rt_buf_release(&text);
	return rc;
}

static int spawn(struct rt_validation *v, struct rt_err *err)
{
	const struct rt_roots *roots = v->owner->roots;
	const char *argv[5 + 2 * (RT_ROOTS_MAX + 1)];
	uv_stdio_container_t stdio[3] = {
		{ .flags = UV_IGNORE },
		{ .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&v->pipe },
		{ .flags = UV_IGNORE },
	};
	uv_process_options_t options = {
		.exit_cb = on_worker_exit,
		.file = v->owner->worker,
		.args = (char **)(uintptr_t)argv,
		.flags = UV_PROCESS_DETACHED,
		.stdio = stdio,
		.stdio_count = 3,
	};
	size_t n = 0;
	int rc;

	argv[n++] = v->owner->worker;
	argv[n++] = "validate";
	argv[n++] = "--spec";
	argv[n++] = v->path;
	for (size_t i = 0; i <= roots->n; i++) {
		argv[n++] = "--models-root";
		argv[n++] = i < roots->n ? roots->paths[i] : roots->runs_dir;
	}
	argv[n] = NULL;
	uv_pipe_init(v->owner->loop, &v->pipe, 0);
	uv_timer_init(v->owner->loop, &v->timer);
	v->process.data = v->pipe.data = v->timer.data = v;
	v->open = 3;
	rc = uv_spawn(v->owner->loop, &v->process, &options);
	if (rc < 0)
		return rt_fail(err, RT_UNAVAILABLE, "cannot start the worker '%s': %s", v->owner->worker,
			       uv_strerror(rc));
	uv_timer_start(&v->timer, on_timer, LIMIT_MS, 0);
	uv_read_start((uv_stream_t *)&v->pipe, on_alloc, on_report);
	return 0;
}

int rt_validator_run(struct rt_validator *owner, struct rt_req *req, const json_t *worker_spec,
		     const json_t *user_spec, struct rt_err *err)
{
	struct rt_validation *v;

	if (owner->n >= RT_VALIDATIONS_MAX)
		return rt_fail(err, RT_UNAVAILABLE, "%d specs are being checked; try again in a moment",
			       RT_VALIDATIONS_MAX);
	v = calloc(1, sizeof *v);
	if (!v)
		return rt_fail(err, RT_NO_MEMORY, "no memory to check the spec");
	v->owner = owner;
	if (write_spec(v, worker_spec, err) < 0) {
		free(v->path);
		free(v);
		return -1;
	}
	v->user_spec = json_incref((json_t *)(uintptr_t)user_spec);
	v->next = owner->first;
	if (v->next)
		v->next->link = &v->next;
	v->link = &owner->first;
	owner->first = v;
	owner->n++;
	if (spawn(v, err) < 0) {
		/* libuv has all three handles; the request is answered by whoever called */
		close_handle((uv_handle_t *)&v->process);
		close_handle((uv_handle_t *)&v->pipe);
		close_handle((uv_handle_t *)&v->timer);
		return -1;
	}
	v->req = req;
	req->work = v;
	req->abandon = on_abandon;
	rt_req_suspend(req);
	return 0;
}

void rt_validator_stop(struct rt_validator *v)
{
	for (struct rt_validation *one = v->first; one; one = one->next)
		kill_worker(one);
}
