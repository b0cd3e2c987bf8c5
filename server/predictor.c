/* SPDX-License-Identifier: Apache-2.0 */
#include "server/predictor.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "server/respond.h"

#define ANSWER_MAX (4U << 20) /* bytes of a line of logits */
#define WORDS_MAX  2048	      /* bytes of stderr that are kept, the last ones */
#define CONFIG_MAX (16U << 20)
#define HANDLES	   5

struct ask {
	struct rt_req *req; /* NULL: the client has gone */
	char *line;	    /* {"text":…} and a newline */
	size_t line_len;
	int (*done)(struct rt_req *, const struct rt_prediction *, void *, struct rt_err *);
	void *arg;
	bool again; /* it had a process already, which died */
	struct ask *next;
};

/* One life of a process. Its handles outlast it, so it is on its own. */
struct process {
	struct rt_predictor *of;
	uv_process_t process;
	uv_pipe_t in, out, words;
	uv_timer_t timer;
	uv_write_t write;
	int open; /* handles that libuv has not closed */
	char chunk[4096];
	struct rt_buf got, said;
	int64_t status;
	int number;	  /* signal */
	int64_t answered; /* texts */
	bool timed_out, too_long;
	bool retired;	   /* it was told to go: it gets no more texts */
	char trouble[120]; /* why it could not be started */
};

struct rt_predictor {
	struct rt_predictors *owner;
	char *dir;
	json_t *config; /* the model's; NULL when it cannot be read */
	struct process *process;
	bool busy; /* the first of the queue is being worked on */
	struct ask *queue, **queue_end;
	size_t waiting;
	int64_t used_ms;
	struct rt_predictor *next, **link;
};

static void pump(struct rt_predictor *p);

/* ---- the queue ---- */

static void free_ask(struct ask *a)
{
	free(a->line);
	free(a->arg);
	free(a);
}

static struct ask *take_first(struct rt_predictor *p)
{
	struct ask *a = p->queue;

	p->queue = a->next;
	if (!p->queue)
		p->queue_end = &p->queue;
	p->waiting--;
	p->busy = false;
	p->used_ms = rt_clock_monotonic_ms();
	return a;
}

/* Gives the request its answer: what `done` makes of got, or err. */
static void settle(struct ask *a, const struct rt_prediction *got, struct rt_err *err)
{
	if (a->req) {
		a->req->abandon = NULL;
		if (!got || a->done(a->req, got, a->arg, err) < 0)
			rt_answer_error(a->req, err);
		if (a->req->response)
			rt_req_resume(a->req);
	}
	free_ask(a);
}

static void on_abandon(struct rt_req *req)
{
	struct ask *a = req->work;

	a->req = NULL; /* its turn comes and is passed over; a text that is being read is read to its end */
}

static void free_predictor(struct rt_predictor *p)
{
	while (p->queue) {
		struct rt_err err = RT_ERR_INIT;

		rt_fail(&err, RT_UNAVAILABLE, "the server is going down");
		settle(take_first(p), NULL, &err);
	}
	*p->link = p->next;
	if (p->next)
		p->next->link = p->link;
	p->owner->n--;
	json_decref(p->config);
	free(p->dir);
	free(p);
}

/* ---- a process ---- */

static void kill_process(struct process *s)
{
	if (s->process.pid > 0 && !uv_is_closing((uv_handle_t *)&s->process))
		kill(-s->process.pid, SIGKILL);
}

/* The last line that it wrote, without its own name in front. */
static const char *last_words(struct process *s)
{
	static const char name[] = "retort-worker logits: ";
	char *text, *line;

	while (s->said.len > 0 &&
	       (s->said.data[s->said.len - 1] == '\n' || s->said.data[s->said.len - 1] == ' '))
		s->said.data[--s->said.len] = '\0';
	if (s->said.len == 0)
		return "it said nothing";
	text = s->said.data;
	line = strrchr(text, '\n');
	line = line ? line + 1 : text;
	return strncmp(line, name, strlen(name)) == 0 ? line + strlen(name) : line;
}

static int why_it_ended(struct process *s, struct rt_err *err)
{
	if (s->trouble[0])
		return rt_fail(err, RT_UNAVAILABLE, "cannot start the worker: %s", s->trouble);
	if (s->timed_out)
		return rt_fail(err, RT_UNAVAILABLE, "the model took longer than %d s and was stopped",
			       RT_PREDICTOR_LIMIT_S);
	if (s->too_long)
		return rt_fail(err, RT_INTERNAL, "the model's answer is too long");
	if (s->number)
		return rt_fail(err, RT_INTERNAL, "the worker that ran the model was ended by signal %d",
			       s->number);
	return rt_fail(err, RT_UNPROCESSABLE, "the model cannot be asked: %.400s", last_words(s));
}

/* All of it is closed. The text it had fails; those behind it get a new process. */
static void on_gone(struct process *s)
{
	struct rt_predictor *p = s->of;

	p->process = NULL;
	if (p->busy && s->answered > 0 && !s->timed_out && !p->queue->again) {
		/* It may have died while nobody asked, so the text gets a process of its own to die in. */
		p->queue->again = true;
		p->busy = false;
	} else if (p->busy) {
		struct rt_err err = RT_ERR_INIT;

		why_it_ended(s, &err);
		settle(take_first(p), NULL, &err);
	}
	rt_buf_release(&s->got);
	rt_buf_release(&s->said);
	free(s);
	pump(p);
}

static void on_closed(uv_handle_t *handle)
{
	struct process *s = handle->data;

	if (--s->open == 0)
		on_gone(s);
}

static void close_handle(uv_handle_t *handle)
{
	if (!uv_is_closing(handle))
		uv_close(handle, on_closed);
}

static void on_exit_of(uv_process_t *process, int64_t status, int number)
{
	struct process *s = process->data;

	s->status = status;
	s->number = number;
	close_handle((uv_handle_t *)process);
	close_handle((uv_handle_t *)&s->in);
	close_handle((uv_handle_t *)&s->timer);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct process *s = handle->data;

	(void)suggested;
	*buf = uv_buf_init(s->chunk, sizeof s->chunk);
}

static void on_words(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct process *s = stream->data;

	if (n < 0) {
		close_handle((uv_handle_t *)stream);
		return;
	}
	rt_buf_add(&s->said, buf->base, (size_t)n);
	if (s->said.len > 2 * WORDS_MAX) {
		memmove(s->said.data, s->said.data + s->said.len - WORDS_MAX, WORDS_MAX);
		s->said.len = WORDS_MAX;
		s->said.data[WORDS_MAX] = '\0';
	}
}

static void read_answer(struct rt_predictor *p, struct ask *a, const char *line, size_t len)
{
	struct rt_err err = RT_ERR_INIT;
	json_t *json = rt_json_parse(line, len, &err), *list = json_object_get(json, "logits");
	size_t n = json_array_size(list);
	double *logits = calloc(n + 1, sizeof *logits);
	const char **labels = calloc(n + 1, sizeof *labels);
	char(*made)[32] = calloc(n + 1, sizeof *made), key[32];
	const json_t *names = json_object_get(p->config, "id2label");
	struct rt_prediction got = { logits, labels, n };

	if (!logits || !labels || !made) {
		rt_fail(&err, RT_NO_MEMORY, "no memory for %zu classes", n);
	} else if (n == 0) {
		rt_fail(&err, RT_INTERNAL, "the worker gave no logits");
	} else {
		for (size_t i = 0; i < n; i++) {
			snprintf(key, sizeof key, "%zu", i);
			snprintf(made[i], sizeof *made, "LABEL_%zu", i);
			logits[i] = json_number_value(json_array_get(list, i));
			labels[i] = json_string_value(json_object_get(names, key));
			if (!labels[i])
				labels[i] = made[i];
		}
	}
	settle(a, n > 0 && logits && labels && made ? &got : NULL, &err);
	json_decref(json);
	free(logits);
	free(labels);
	free(made);
}

static void on_timer(uv_timer_t *timer)
{
	struct process *s = timer->data;

	s->timed_out = s->of->busy;
	s->retired = true; /* idle for long enough, if nothing else */
	kill_process(s);
}

static void on_answer(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct process *s = stream->data;
	struct rt_predictor *p = s->of;
	char *end;

	if (n < 0) {
		close_handle((uv_handle_t *)stream);
		return;
	}
	rt_buf_add(&s->got, buf->base, (size_t)n);
	if (s->got.failed || s->got.len > ANSWER_MAX) {
		s->too_long = true;
		kill_process(s);
		return;
	}
	end = s->got.len ? memchr(s->got.data, '\n', s->got.len) : NULL;
	if (!end || !p->busy)
		return;
	s->answered++;
	read_answer(p, take_first(p), s->got.data, (size_t)(end - s->got.data));
	rt_buf_clear(&s->got); /* it answers one line at a time, so nothing is behind it */
	if (!uv_is_closing((uv_handle_t *)&s->timer))
		uv_timer_start(&s->timer, on_timer, RT_PREDICTOR_IDLE_S * 1000, 0);
	pump(p);
}

static void start_process(struct rt_predictor *p)
{
	struct rt_predictors *owner = p->owner;
	struct process *s = calloc(1, sizeof *s);
	char threads[16];
	const char *argv[] = { owner->worker, "logits",	   "--model", p->dir, "--batch",
			       "1",	      "--threads", threads,   NULL };
	uv_stdio_container_t stdio[3];
	uv_process_options_t options = {
		.exit_cb = on_exit_of,
		.file = owner->worker,
		.args = (char **)(uintptr_t)argv,
		.flags = UV_PROCESS_DETACHED,
		.stdio = stdio,
		.stdio_count = 3,
	};
	int rc;

	if (!s) {
		struct rt_err err = RT_ERR_INIT;

		rt_fail(&err, RT_NO_MEMORY, "no memory to ask the model");
		settle(take_first(p), NULL, &err);
		return;
	}
	snprintf(threads, sizeof threads, "%d", owner->threads);
	stdio[0] = (uv_stdio_container_t){ .flags = UV_CREATE_PIPE | UV_READABLE_PIPE,
					   .data.stream = (uv_stream_t *)&s->in };
	stdio[1] = (uv_stdio_container_t){ .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
					   .data.stream = (uv_stream_t *)&s->out };
	stdio[2] = (uv_stdio_container_t){ .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
					   .data.stream = (uv_stream_t *)&s->words };
	s->of = p;
	s->process.data = s->in.data = s->out.data = s->words.data = s->timer.data = s;
	uv_pipe_init(owner->loop, &s->in, 0);
	uv_pipe_init(owner->loop, &s->out, 0);
	uv_pipe_init(owner->loop, &s->words, 0);
	uv_timer_init(owner->loop, &s->timer);
	s->open = HANDLES;
	p->process = s;
	rc = uv_spawn(owner->loop, &s->process, &options);
	if (rc < 0) {
		snprintf(s->trouble, sizeof s->trouble, "%s", uv_strerror(rc));
		close_handle((uv_handle_t *)&s->process);
		close_handle((uv_handle_t *)&s->in);
		close_handle((uv_handle_t *)&s->out);
		close_handle((uv_handle_t *)&s->words);
		close_handle((uv_handle_t *)&s->timer);
		return;
	}
	uv_read_start((uv_stream_t *)&s->out, on_alloc, on_answer);
	uv_read_start((uv_stream_t *)&s->words, on_alloc, on_words);
}

/* Sends the next text, if there is one and the process is free for it. */
static void pump(struct rt_predictor *p)
{
	struct process *s;
	uv_buf_t line;

	if (p->busy)
		return;
	while (p->queue && (!p->queue->req || p->owner->stopping)) {
		if (p->queue->req)
			p->queue->req->abandon = NULL;
		free_ask(take_first(p));
	}
	if (!p->queue) {
		if (!p->process)
			free_predictor(p);
		return;
	}
	if (!p->process)
		start_process(p);
	s = p->process;
	if (!s) {
		pump(p); /* no memory: the first has its answer */
		return;
	}
	if (s->trouble[0])
		p->busy = true; /* fails when what there is of it is closed */
	if (s->retired || uv_is_closing((uv_handle_t *)&s->in))
		return; /* when it is gone there will be another */
	p->busy = true;
	line = uv_buf_init(p->queue->line, (unsigned)p->queue->line_len);
	uv_timer_start(&s->timer, on_timer, RT_PREDICTOR_LIMIT_S * 1000, 0);
	if (uv_write(&s->write, (uv_stream_t *)&s->in, &line, 1, NULL) < 0)
		kill_process(s);
}

/* ---- asking ---- */

static struct rt_predictor *find(struct rt_predictors *owner, const char *dir)
{
	for (struct rt_predictor *p = owner->first; p; p = p->next) {
		if (strcmp(p->dir, dir) == 0)
			return p;
	}
	return NULL;
}

/* Room for another model: the one that has been idle for longest goes. */
static int make_room(struct rt_predictors *owner, struct rt_err *err)
{
	struct rt_predictor *oldest = NULL;

	if (owner->n < RT_PREDICTORS_MAX)
		return 0;
	for (struct rt_predictor *p = owner->first; p; p = p->next) {
		if (!p->queue && p->process && (!oldest || p->used_ms < oldest->used_ms))
			oldest = p;
	}
	if (!oldest || owner->n > RT_PREDICTORS_MAX)
		return rt_fail(err, RT_UNAVAILABLE,
			       "%d models are being asked, which is all at a time; try again in a moment",
			       RT_PREDICTORS_MAX);
	oldest->process->retired = true;
	kill_process(oldest->process);
	return 0;
}

static struct rt_predictor *new_predictor(struct rt_predictors *owner, const char *dir, struct rt_err *err)
{
	struct rt_predictor *p;
	char *path;

	if (make_room(owner, err) < 0)
		return NULL;
	p = calloc(1, sizeof *p);
	path = rt_path_join(dir, "config.json");
	if (p)
		p->dir = strdup(dir);
	if (!p || !path || !p->dir) {
		rt_fail(err, RT_NO_MEMORY, "no memory to ask the model");
		free(path);
		if (p)
			free(p->dir);
		free(p);
		return NULL;
	}
	p->config =
		rt_json_read(path, CONFIG_MAX, NULL); /* only for the names; the worker says what is wrong */
	free(path);
	p->owner = owner;
	p->queue_end = &p->queue;
	p->next = owner->first;
	if (p->next)
		p->next->link = &p->next;
	p->link = &owner->first;
	owner->first = p;
	owner->n++;
	return p;
}

static struct ask *new_ask(const char *text, size_t text_len, void *arg)
{
	struct ask *a = calloc(1, sizeof *a);
	struct rt_buf line = RT_BUF_INIT;

	if (!a)
		return NULL;
	rt_buf_str(&line, "{\"text\":");
	rt_json_write_str(&line, text, text_len);
	rt_buf_str(&line, "}\n");
	a->line_len = line.len;
	a->line = rt_buf_check(&line, NULL) == 0 ? rt_buf_take(&line) : NULL;
	a->arg = arg;
	if (a->line)
		return a;
	rt_buf_release(&line);
	free(a);
	return NULL;
}

int rt_predictor_ask(struct rt_predictors *owner, struct rt_req *req, const char *dir, const char *text,
		     size_t text_len,
		     int (*done)(struct rt_req *req, const struct rt_prediction *got, void *arg,
				 struct rt_err *err),
		     void *arg, struct rt_err *err)
{
	struct rt_predictor *p = find(owner, dir);
	struct ask *a;

	if (p && p->waiting >= RT_PREDICTOR_QUEUE) {
		free(arg);
		return rt_fail(err, RT_UNAVAILABLE, "%d texts wait for this model; try again in a moment",
			       RT_PREDICTOR_QUEUE);
	}
	if (!p)
		p = new_predictor(owner, dir, err);
	a = p ? new_ask(text, text_len, arg) : NULL;
	if (!a) {
		free(arg);
		if (p && !p->queue && !p->process)
			free_predictor(p);
		return p ? rt_fail(err, RT_NO_MEMORY, "no memory to ask the model") : -1;
	}
	a->req = req;
	a->done = done;
	*p->queue_end = a;
	p->queue_end = &a->next;
	p->waiting++;
	req->work = a;
	req->abandon = on_abandon;
	rt_req_suspend(req);
	pump(p);
	return 0;
}

void rt_predictors_stop(struct rt_predictors *owner)
{
	owner->stopping = true;
	for (struct rt_predictor *p = owner->first; p; p = p->next) {
		if (p->process)
			kill_process(p->process);
	}
}
