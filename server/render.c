/* SPDX-License-Identifier: Apache-2.0 */
#include "server/render.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"

static void key(struct rt_buf *out, const char *name)
{
	rt_buf_fmt(out, ",\"%s\":", name);
}

static void text(struct rt_buf *out, const char *name, const char *value)
{
	key(out, name);
	if (value)
		rt_json_write_str(out, value, strlen(value));
	else
		rt_buf_str(out, "null");
}

static void raw(struct rt_buf *out, const char *name, const char *json)
{
	key(out, name);
	rt_buf_str(out, json ? json : "null");
}

static void integer(struct rt_buf *out, const char *name, int64_t value)
{
	key(out, name);
	if (value == RT_SQL_NO_INT)
		rt_buf_str(out, "null");
	else
		rt_buf_fmt(out, "%lld", (long long)value);
}

static void real(struct rt_buf *out, const char *name, double value)
{
	key(out, name);
	rt_json_write_real(out, value);
}

static void when(struct rt_buf *out, const char *name, int64_t ms)
{
	char at[RT_RFC3339_SIZE];

	key(out, name);
	if (ms == RT_SQL_NO_INT)
		rt_buf_str(out, "null");
	else
		rt_buf_fmt(out, "\"%s\"", rt_clock_rfc3339(ms, at));
}

static void progress(struct rt_buf *out, const struct rt_job *job)
{
	key(out, "progress");
	rt_buf_str(out, "{\"percent\":");
	rt_json_write_real(out, job->percent);
	integer(out, "epoch", job->epoch);
	integer(out, "total_epochs", job->total_epochs);
	real(out, "eta_s", job->eta_s);
	when(out, "updated_at", job->progress_ms);
	key(out, "best");
	if (job->best_checkpoint_id) {
		rt_buf_fmt(out, "{\"epoch\":%lld", (long long)job->best_epoch);
		real(out, "accuracy", job->best_accuracy);
		text(out, "checkpoint_id", job->best_checkpoint_id);
		rt_buf_char(out, '}');
	} else {
		rt_buf_str(out, "null");
	}
	rt_buf_char(out, '}');
}

static void links(struct rt_buf *out, const struct rt_job *job)
{
	static const char *const names[] = { "events", "epochs", "logs", "checkpoints" };

	key(out, "links");
	rt_buf_fmt(out, "{\"self\":\"/v1/jobs/%s\"", job->id);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		rt_buf_fmt(out, ",\"%s\":\"/v1/jobs/%s/%s\"", names[i], job->id, names[i]);
	if (job->best_checkpoint_id)
		rt_buf_fmt(out, ",\"best_checkpoint\":\"/v1/jobs/%s/checkpoints/best\"", job->id);
	else
		rt_buf_str(out, ",\"best_checkpoint\":null");
	rt_buf_char(out, '}');
}

static void actions(struct rt_buf *out, const struct rt_job *job)
{
	const char *word;

	key(out, "actions");
	for (size_t i = 0; (word = rt_life_action(job->status, i)); i++)
		rt_buf_fmt(out, "%s\"%s\"", i ? "," : "[", word);
	rt_buf_char(out, ']');
}

/* What the job waits for by itself. */
static void waiting(struct rt_buf *out, const struct rt_job *job)
{
	key(out, "waiting");
	if (!job->wait_reason) {
		rt_buf_str(out, "null");
		return;
	}
	rt_buf_fmt(out, "{\"reason\":\"%s\"", job->wait_reason);
	when(out, "until", job->wait_until_ms);
	integer(out, "needs_bytes", job->wait_bytes);
	rt_buf_char(out, '}');
}

void rt_render_job(struct rt_buf *out, const struct rt_job *job)
{
	rt_buf_str(out, "{\"object\":\"job\"");
	text(out, "id", job->id);
	text(out, "name", job->name);
	text(out, "status", rt_job_status_word(job->status));
	text(out, "phase", job->phase);
	actions(out, job);
	waiting(out, job);
	integer(out, "priority", job->priority);
	text(out, "notes", job->notes);
	integer(out, "revision", job->revision);
	integer(out, "attempt", job->attempt);
	integer(out, "restarts", job->restarts);
	integer(out, "ran_s", job->ran_ms / 1000);
	progress(out, job);
	raw(out, "error", job->error);
	raw(out, "spec", job->spec);
	raw(out, "original_spec", job->original_spec);
	raw(out, "loss", job->loss);
	when(out, "created_at", job->created_ms);
	when(out, "updated_at", job->updated_ms);
	when(out, "started_at", job->started_ms);
	when(out, "finished_at", job->finished_ms);
	raw(out, "status_history", job->history);
	links(out, job);
	rt_buf_char(out, '}');
}

void rt_render_event(struct rt_buf *out, const struct rt_event_row *row)
{
	rt_buf_str(out, "{\"object\":\"job.event\"");
	text(out, "id", row->id);
	integer(out, "seq", row->seq);
	text(out, "job_id", row->job_id);
	text(out, "run_id", row->run_id);
	integer(out, "attempt", row->attempt);
	text(out, "trial_id", NULL);
	when(out, "created_at", row->created_ms);
	text(out, "type", row->type);
	text(out, "level", row->level);
	text(out, "message", row->message);
	raw(out, "superseded", row->superseded ? "true" : "false");
	raw(out, "data", row->data);
	rt_buf_char(out, '}');
}

/* The members of an event's data beside the common ones: {"epoch":1,"step":…} */
static void with_data(struct rt_buf *out, const char *job_id, int64_t attempt, int64_t event_seq,
		      int64_t created_ms, const char *data)
{
	text(out, "job_id", job_id);
	integer(out, "attempt", attempt);
	integer(out, "event_seq", event_seq);
	when(out, "created_at", created_ms);
	if (strlen(data) > 2) {
		rt_buf_char(out, ',');
		rt_buf_str(out, data + 1);
	} else {
		rt_buf_char(out, '}');
	}
}

void rt_render_epoch(struct rt_buf *out, const char *job_id, const struct rt_epoch_row *row)
{
	rt_buf_fmt(out, "{\"object\":\"job.epoch\",\"superseded\":%s", row->superseded ? "true" : "false");
	with_data(out, job_id, row->attempt, row->event_seq, row->created_ms, row->data);
}

void rt_render_step(struct rt_buf *out, const struct rt_event_row *row)
{
	rt_buf_str(out, "{\"object\":\"job.step\"");
	with_data(out, row->job_id, row->attempt, row->seq, row->created_ms, row->data);
}

/* a of b; not known where b is 0 */
static double share(int64_t a, int64_t b)
{
	return b > 0 ? (double)a / (double)b : (double)NAN;
}

static int64_t count_of(const json_t *object, const char *name)
{
	return (int64_t)json_integer_value(json_object_get(object, name));
}

/* F1 as scikit-learn has it: 0 where nothing was right, not known where the class neither is nor is said. */
static double render_class(struct rt_buf *out, const json_t *c)
{
	int64_t count = count_of(c, "count"), predicted = count_of(c, "predicted"),
		correct = count_of(c, "correct");
	double f1 = share(2 * correct, count + predicted);
	const json_t *label = json_object_get(c, "label");

	rt_buf_str(out, "{\"label\":");
	rt_json_write_str(out, json_string_value(label), json_string_length(label));
	integer(out, "count", count);
	integer(out, "predicted", predicted);
	integer(out, "correct", correct);
	real(out, "precision", share(correct, predicted));
	real(out, "recall", share(correct, count));
	real(out, "f1", f1);
	rt_buf_char(out, '}');
	return f1;
}

int rt_render_evaluation(struct rt_buf *out, const char *job_id, const struct rt_evaluation_row *row,
			 struct rt_err *err)
{
	json_t *data = rt_json_parse(row->data, strlen(row->data), err), *c;
	int64_t known = 0;
	double sum = 0;
	size_t i;

	if (!data)
		return -1;
	rt_buf_str(out, "{\"object\":\"job.evaluation\"");
	text(out, "job_id", job_id);
	integer(out, "epoch", row->epoch);
	integer(out, "attempt", row->attempt);
	integer(out, "event_seq", row->event_seq);
	when(out, "created_at", row->created_ms);
	integer(out, "rows", count_of(data, "rows"));
	real(out, "accuracy", share(count_of(data, "correct"), count_of(data, "rows")));
	real(out, "agreement",
	     json_is_integer(json_object_get(data, "agreed"))
		     ? share(count_of(data, "agreed"), count_of(data, "rows"))
		     : (double)NAN);
	integer(out, "classes_total", count_of(data, "classes_total"));
	key(out, "classes");
	rt_buf_char(out, '[');
	json_array_foreach(json_object_get(data, "classes"), i, c)
	{
		double f1;

		rt_buf_str(out, i ? "," : "");
		f1 = render_class(out, c);
		if (!isnan(f1)) {
			sum += f1;
			known++;
		}
	}
	rt_buf_char(out, ']');
	real(out, "macro_f1", known > 0 ? sum / (double)known : (double)NAN);
	key(out, "confused");
	rt_json_write(out, json_object_get(data, "confused"), 0);
	rt_buf_char(out, '}');
	json_decref(data);
	return rt_buf_check(out, err);
}

void rt_render_checkpoint(struct rt_buf *out, const struct rt_checkpoint *c, const char *best_id,
			  const char *last_id)
{
	rt_buf_str(out, "{\"object\":\"checkpoint\"");
	text(out, "id", c->id);
	text(out, "job_id", c->job_id);
	text(out, "run_id", c->run_id);
	integer(out, "attempt", c->attempt);
	integer(out, "epoch", c->epoch);
	integer(out, "step", c->step);
	raw(out, "best", best_id && strcmp(best_id, c->id) == 0 ? "true" : "false");
	raw(out, "last", last_id && strcmp(last_id, c->id) == 0 ? "true" : "false");
	integer(out, "size_bytes", c->size_bytes);
	when(out, "created_at", c->created_ms);
	raw(out, "metrics", c->metrics);
	raw(out, "files", c->files);
	key(out, "links");
	rt_buf_fmt(out,
		   "{\"self\":\"/v1/jobs/%s/checkpoints/%s\",\"files\":\"/v1/jobs/%s/checkpoints/%s/files/"
		   "{name}\","
		   "\"archive\":\"/v1/jobs/%s/checkpoints/%s.tar\"}}",
		   c->job_id, c->id, c->job_id, c->id, c->job_id, c->id);
}

void rt_render_list_begin(struct rt_render_list *list)
{
	memset(list, 0, sizeof *list);
	rt_buf_str(&list->out, "{\"object\":\"list\",\"data\":[");
}

void rt_render_list_item(struct rt_render_list *list, const char *id)
{
	if (list->n++ > 0)
		rt_buf_char(&list->out, ',');
	else
		snprintf(list->first_id, sizeof list->first_id, "%s", id);
	snprintf(list->last_id, sizeof list->last_id, "%s", id);
}

void rt_render_list_end(struct rt_render_list *list, bool has_more)
{
	rt_buf_char(&list->out, ']');
	text(&list->out, "first_id", list->n ? list->first_id : NULL);
	text(&list->out, "last_id", list->n ? list->last_id : NULL);
	raw(&list->out, "has_more", has_more ? "true" : "false");
	rt_buf_char(&list->out, '}');
}
