/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from a worker's event (rt_jobs_ingest in jobs.h). */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "server/attempts.h"
#include "server/jobs.h"
#include "server/manifest.h"
#include "server/store_checkpoints.h"
#include "server/store_views.h"

struct ingest {
	struct rt_jobs *jobs;
	struct rt_run_row *run;
	const struct rt_event *event;
	const char *data;    /* event->data as text */
	int64_t now_ms, seq; /* of the stored event */
	enum rt_run_end end;
};

static double real_of(const struct ingest *in, const char *key)
{
	const json_t *v = json_object_get(in->event->data, key);

	return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

static int64_t int_of(const struct ingest *in, const char *key)
{
	return (int64_t)json_integer_value(json_object_get(in->event->data, key));
}

static const char *str_of(const struct ingest *in, const char *key)
{
	const char *s = json_string_value(json_object_get(in->event->data, key));

	return s ? s : "";
}

static int on_resumed(struct ingest *in, struct rt_err *err)
{
	const json_t *listed = json_object_get(in->event->data, "checkpoints");

	if (in->run->from_step != RT_SQL_NO_INT)
		return rt_fail(err, RT_INVALID, "event run.resumed: the run's training has begun already");
	return rt_attempt_begin(in->jobs, in->run, int_of(in, "from_step"),
				json_is_array(listed) ? listed : NULL, in->now_ms, err);
}

/* Events of training that were not led in by run.resumed: the run begins with step 0. */
static int need_training(struct ingest *in, struct rt_err *err)
{
	if (in->run->from_step != RT_SQL_NO_INT)
		return 0;
	return rt_attempt_begin(in->jobs, in->run, 0, NULL, in->now_ms, err);
}

/* ---- one event ---- */

static int on_phase(struct ingest *in, struct rt_err *err)
{
	struct rt_buf entry = RT_BUF_INIT;
	char at[RT_RFC3339_SIZE];
	const char *phase = str_of(in, "phase");
	struct rt_job job;
	int rc = -1;

	if (rt_store_job_get(in->jobs->store, in->run->job_id, &job, err) < 0)
		return -1;
	rt_buf_fmt(&entry, "{\"status\":\"%s\",\"phase\":", rt_job_status_word(job.status));
	rt_json_write_str(&entry, phase, strlen(phase));
	rt_buf_fmt(&entry, ",\"at\":\"%s\",\"message\":", rt_clock_rfc3339(in->now_ms, at));
	rt_json_write_str(&entry, in->event->message, strlen(in->event->message));
	rt_buf_char(&entry, '}');
	if (rt_buf_check(&entry, err) == 0 && (!job.phase || strcmp(job.phase, phase) != 0))
		rc = rt_store_job_set_phase(in->jobs->store, job.id, phase, entry.data, in->now_ms, err);
	else if (!entry.failed)
		rc = 0; /* the phase it is in already */
	rt_buf_release(&entry);
	rt_job_release(&job);
	return rc;
}

static int on_progress(struct ingest *in, struct rt_err *err)
{
	double total = real_of(in, "total_steps"), percent = (double)NAN;

	if (need_training(in, err) < 0)
		return -1;
	if (total > 0)
		percent = fmin(100.0, fmax(0.0, 100.0 * real_of(in, "step") / total));
	return rt_store_job_set_progress(in->jobs->store, in->run->job_id, percent, RT_SQL_NO_INT,
					 real_of(in, "eta_s"), in->now_ms, err);
}

static int on_epoch(struct ingest *in, struct rt_err *err)
{
	const struct rt_epoch_row row = {
		.epoch = int_of(in, "epoch"),
		.attempt = in->run->attempt,
		.step = int_of(in, "step"),
		.event_seq = in->seq,
		.eval_accuracy = real_of(in, "eval_accuracy"),
		.data = in->data,
		.created_ms = in->now_ms,
	};
	struct rt_job job;
	double percent;

	if (row.epoch < 1)
		return rt_fail(err, RT_INVALID, "event epoch.completed: data.epoch must be at least 1");
	if (need_training(in, err) < 0 ||
	    rt_store_epoch_put(in->jobs->store, in->run->job_id, &row, err) < 0 ||
	    rt_store_job_get(in->jobs->store, in->run->job_id, &job, err) < 0)
		return -1;
	percent = job.total_epochs > 0 ? fmin(100.0, 100.0 * (double)row.epoch / (double)job.total_epochs)
				       : (double)NAN;
	rt_job_release(&job);
	return rt_store_job_set_progress(in->jobs->store, in->run->job_id, percent, row.epoch,
					 real_of(in, "eta_s"), in->now_ms, err);
}

static bool is_count(const json_t *object, const char *name)
{
	const json_t *v = json_object_get(object, name);

	return json_is_integer(v) && json_integer_value(v) >= 0;
}

/* Kept as it came, so what a reader relies on is checked here. */
static int check_classes(const json_t *data, struct rt_err *err)
{
	const json_t *one;
	size_t i;

	if (!is_count(data, "rows") || !is_count(data, "correct") || !is_count(data, "classes_total"))
		return rt_fail(err, RT_INVALID,
			       "event eval.classes: rows, correct and classes_total must be counts");
	json_array_foreach(json_object_get(data, "classes"), i, one)
	{
		if (!json_is_string(json_object_get(one, "label")) || !is_count(one, "count") ||
		    !is_count(one, "predicted") || !is_count(one, "correct"))
			return rt_fail(err, RT_INVALID,
				       "event eval.classes: classes[%zu] must have label, count, predicted "
				       "and correct",
				       i);
	}
	json_array_foreach(json_object_get(data, "confused"), i, one)
	{
		if (!json_is_string(json_object_get(one, "label")) ||
		    !json_is_string(json_object_get(one, "predicted")) || !is_count(one, "count"))
			return rt_fail(
				err, RT_INVALID,
				"event eval.classes: confused[%zu] must have label, predicted and count", i);
	}
	return 0;
}

static int on_classes(struct ingest *in, struct rt_err *err)
{
	const struct rt_evaluation_row row = {
		.epoch = int_of(in, "epoch"),
		.attempt = in->run->attempt,
		.event_seq = in->seq,
		.data = in->data,
		.created_ms = in->now_ms,
	};

	if (row.epoch < 1)
		return rt_fail(err, RT_INVALID, "event eval.classes: data.epoch must be at least 1");
	if (check_classes(in->event->data, err) < 0)
		return -1;
	return rt_store_evaluation_put(in->jobs->store, in->run->job_id, &row, err);
}

static int on_checkpoint(struct ingest *in, struct rt_err *err)
{
	const char *id = str_of(in, "checkpoint_id"), *dir = str_of(in, "dir");
	const json_t *files = json_object_get(in->event->data, "files");
	const json_t *metrics = json_object_get(in->event->data, "metrics"), *accuracy;
	struct rt_buf files_text = RT_BUF_INIT, metrics_text = RT_BUF_INIT;
	struct rt_checkpoint c = {
		.id = (char *)(uintptr_t)id,
		.job_id = in->run->job_id,
		.run_id = in->run->id,
		.attempt = in->run->attempt,
		.epoch = int_of(in, "epoch"),
		.step = int_of(in, "step"),
		.size_bytes = int_of(in, "size_bytes"),
		.was_best = json_is_true(json_object_get(in->event->data, "best")),
		.created_ms = in->now_ms,
	};
	double best_accuracy;
	int rc = -1;

	if (need_training(in, err) < 0)
		return -1;

	/* Where its files lie follows from its id, so that nothing a worker says leads out of the run's folder. */
	if (!rt_id_is(id, "ckpt"))
		return rt_fail(err, RT_INVALID, "event checkpoint.written: '%.64s' is not a checkpoint's id",
			       id);
	if (strncmp(dir, "checkpoints/", 12) != 0 || strcmp(dir + 12, id) != 0)
		return rt_fail(err, RT_INVALID, "event checkpoint.written: dir must be checkpoints/%s", id);
	if (rt_manifest_check(files, err) < 0)
		return -1;
	rt_json_write(&files_text, files, 0);
	if (json_is_object(metrics))
		rt_json_write(&metrics_text, metrics, 0);
	if (rt_buf_check(&files_text, err) < 0 || rt_buf_check(&metrics_text, err) < 0)
		goto out;
	c.files = files_text.data;
	c.metrics = metrics_text.data;
	if (rt_store_checkpoint_add(in->jobs->store, &c, err) < 0) {
		if (err->code == RT_CONFLICT)
			err->code = RT_INVALID; /* the worker's mistake; a conflict would mean a gap */
		goto out;
	}
	if (rt_store_job_set_last(in->jobs->store, c.job_id, c.id, err) < 0)
		goto out;
	if (c.was_best) {
		accuracy = json_object_get(metrics, "eval_accuracy");
		best_accuracy = json_number_value(accuracy);
		if (!json_is_number(accuracy) &&
		    rt_store_epoch_accuracy(in->jobs->store, c.job_id, c.epoch, &best_accuracy, err) < 0)
			goto out;
		if (rt_store_job_set_best(in->jobs->store, c.job_id, c.epoch, best_accuracy, c.id, err) < 0)
			goto out;
	}
	rc = rt_attempt_drop_superseded(in->jobs, c.job_id, in->now_ms, err);
out:
	rt_buf_release(&files_text);
	rt_buf_release(&metrics_text);
	return rc;
}

static int on_checkpoint_deleted(struct ingest *in, struct rt_err *err)
{
	int rc = rt_store_checkpoint_deleted(in->jobs->store, in->run->job_id, str_of(in, "checkpoint_id"),
					     in->now_ms, err);

	if (rc < 0 && err->code == RT_NOT_FOUND)
		err->code = RT_INVALID; /* the worker's mistake, not a missing job */
	return rc;
}

static int on_end(struct ingest *in, struct rt_err *err)
{
	static const char *const reasons[] = { RT_REASONS };
	static const struct {
		const char *type;
		enum rt_run_end end;
	} stopped[] = {
		{ "run.cancelled", RT_RUN_CANCELLED },
		{ "run.paused", RT_RUN_PAUSED },
		{ "run.stopped", RT_RUN_STOPPED },
	};
	const char *type = in->event->type, *reason = str_of(in, "reason");
	struct rt_checkpoint c;

	for (size_t i = 0; i < sizeof stopped / sizeof *stopped; i++) {
		if (strcmp(type, stopped[i].type) == 0) {
			in->end = stopped[i].end;
			return 0;
		}
	}
	if (strcmp(type, "run.succeeded") == 0) {
		in->end = RT_RUN_SUCCEEDED;
		if (rt_store_checkpoint_get(in->jobs->store, in->run->job_id,
					    str_of(in, "best_checkpoint_id"), &c, err) < 0) {
			if (err->code == RT_NOT_FOUND)
				err->code = RT_INVALID;
			return rt_fail_in(err, "event run.succeeded");
		}
		rt_checkpoint_release(&c);
		return 0;
	}
	in->end = RT_RUN_FAILED;
	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
		if (strcmp(reasons[i], reason) == 0)
			return 0;
	}
	return rt_fail(err, RT_INVALID, "event run.failed: unknown reason '%.64s'", reason);
}

static const struct {
	const char *type;
	int (*apply)(struct ingest *in, struct rt_err *err);
} handlers[] = {
	{ "run.phase", on_phase },
	{ "run.resumed", on_resumed },
	{ "train.progress", on_progress },
	{ "epoch.completed", on_epoch },
	{ "eval.classes", on_classes },
	{ "checkpoint.written", on_checkpoint },
	{ "checkpoint.deleted", on_checkpoint_deleted },
	{ "run.succeeded", on_end },
	{ "run.failed", on_end },
	{ "run.cancelled", on_end },
	{ "run.paused", on_end },
	{ "run.stopped", on_end },
};

static int store_and_apply(struct ingest *in, struct rt_err *err)
{
	const struct rt_event *e = in->event;
	char id[RT_ID_SIZE];
	const struct rt_event_row row = {
		.id = rt_id_new("evt", id),
		.job_id = in->run->job_id,
		.run_id = in->run->id,
		.run_seq = e->seq,
		.attempt = in->run->attempt,
		.type = e->type,
		.level = e->level,
		.message = e->message,
		.data = in->data,
		.created_ms = in->now_ms,
	};

	if (rt_store_event_add(in->jobs->store, &row, &in->seq, err) < 0 ||
	    rt_store_run_set_seq(in->jobs->store, in->run->id, e->seq, err) < 0)
		return -1;
	if (in->jobs->on_event)
		in->jobs->on_event(in->jobs->arg, in->run->job_id);
	for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
		if (strcmp(handlers[i].type, e->type) == 0)
			return handlers[i].apply(in, err);
	}
	return 0;
}

int rt_jobs_ingest(struct rt_jobs *jobs, struct rt_run_row *run, const struct rt_event *event,
		   enum rt_run_end *ret_end, struct rt_err *err)
{
	struct ingest in = { .jobs = jobs, .run = run, .event = event, .now_ms = rt_clock_now_ms() };
	struct rt_buf data = RT_BUF_INIT;
	int64_t from_step = run->from_step;
	int rc = -1;

	*ret_end = RT_RUN_GOES_ON;
	if (event->seq <= run->last_seq)
		return 0;
	if (event->seq > run->last_seq + 1)
		return rt_fail(err, RT_CONFLICT, "event %lld is the next of this run, not %lld",
			       (long long)run->last_seq + 1, (long long)event->seq);
	rt_json_write(&data, event->data, 0);
	if (rt_buf_check(&data, err) < 0 || rt_store_begin(jobs->store, err) < 0)
		goto out;
	in.data = data.data;
	rc = store_and_apply(&in, err);
	if (rt_store_end(jobs->store, rc == 0, err) < 0)
		rc = -1;
	if (rc == 0) {
		run->last_seq = event->seq;
		*ret_end = in.end;
	} else {
		run->from_step = from_step;
	}
out:
	rt_buf_release(&data);
	return rc;
}
