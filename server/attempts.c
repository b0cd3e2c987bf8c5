/* SPDX-License-Identifier: Apache-2.0 */
#include "server/attempts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "server/store_checkpoints.h"
#include "server/store_events.h"
#include "server/store_views.h"

struct kept {
	struct rt_jobs *jobs;
	const struct rt_run_row *run;
	int64_t from_step;
	const json_t *listed; /* ids that the run has taken over; NULL: it does not say */
	char best_id[RT_ID_SIZE], last_id[RT_ID_SIZE];
	int64_t best_epoch, best_step, last_step;
	double best_accuracy;
	struct {
		char id[RT_ID_SIZE];
		bool keep;
	} * rows;
	size_t n, cap;
	bool failed;
};

static bool is_listed(const json_t *list, const char *id)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *s = json_string_value(json_array_get(list, i));

		if (s && strcmp(s, id) == 0)
			return true;
	}
	return false;
}

static double accuracy_of(const char *metrics)
{
	json_t *json = metrics ? rt_json_parse(metrics, strlen(metrics), NULL) : NULL;
	const json_t *accuracy = json_object_get(json, "eval_accuracy");
	double v = json_is_number(accuracy) ? json_number_value(accuracy) : (double)NAN;

	json_decref(json);
	return v;
}

static void look_at_checkpoint(void *arg, const struct rt_checkpoint *c)
{
	struct kept *k = arg;
	bool keep = c->step <= k->from_step && (!k->listed || is_listed(k->listed, c->id));

	if (c->attempt >= k->run->attempt || c->superseded)
		return;
	if (k->n == k->cap) {
		size_t cap = k->cap ? 2 * k->cap : 8;
		void *rows = realloc(k->rows, cap * sizeof *k->rows);

		if (!rows) {
			k->failed = true;
			return;
		}
		k->rows = rows;
		k->cap = cap;
	}
	snprintf(k->rows[k->n].id, RT_ID_SIZE, "%s", c->id);
	k->rows[k->n++].keep = keep;
	if (!keep)
		return;
	if (c->was_best && c->step >= k->best_step) {
		snprintf(k->best_id, sizeof k->best_id, "%s", c->id);
		k->best_step = c->step;
		k->best_epoch = c->epoch;
		k->best_accuracy = accuracy_of(c->metrics);
	}
	if (c->step >= k->last_step) {
		snprintf(k->last_id, sizeof k->last_id, "%s", c->id);
		k->last_step = c->step;
	}
}

static bool is_in_folder_of(const struct kept *k, const char *checkpoint_id)
{
	char *run = k->jobs->roots.runs_dir ? rt_path_join(k->jobs->roots.runs_dir, k->run->id) : NULL;
	char *all = run ? rt_path_join(run, "checkpoints") : NULL;
	char *path = all ? rt_path_join(all, checkpoint_id) : NULL;
	bool found = path && rt_file_is_dir(path);

	free(run);
	free(all);
	free(path);
	return found;
}

struct sweep {
	const char *best_id, *last_id;
	char ids[64][RT_ID_SIZE], runs[64][RT_ID_SIZE];
	size_t n;
};

static void find_superseded(void *arg, const struct rt_checkpoint *c)
{
	struct sweep *s = arg;

	if (!c->superseded || s->n == sizeof s->ids / sizeof *s->ids ||
	    (s->best_id && strcmp(s->best_id, c->id) == 0) || (s->last_id && strcmp(s->last_id, c->id) == 0))
		return;
	snprintf(s->ids[s->n], RT_ID_SIZE, "%s", c->id);
	snprintf(s->runs[s->n++], RT_ID_SIZE, "%s", c->run_id);
}

int rt_attempt_drop_superseded(struct rt_jobs *jobs, const char *job_id, int64_t now_ms, struct rt_err *err)
{
	struct sweep s = { .n = 0 };
	struct rt_job job;
	int rc;

	if (rt_store_job_get(jobs->store, job_id, &job, err) < 0)
		return -1;
	s.best_id = job.best_checkpoint_id;
	s.last_id = job.last_checkpoint_id;
	rc = rt_store_checkpoints_read(jobs->store, job.id, find_superseded, &s, err);
	for (size_t i = 0; i < s.n && rc == 0; i++) {
		rc = rt_store_checkpoint_deleted(jobs->store, job.id, s.ids[i], now_ms, err);
		if (rc == 0 && jobs->on_drop)
			jobs->on_drop(jobs->arg, s.runs[i], s.ids[i]);
	}
	rt_job_release(&job);
	return rc;
}

static int settle_checkpoints(struct kept *k, int64_t now_ms, struct rt_err *err)
{
	struct rt_store *st = k->jobs->store;
	const char *job_id = k->run->job_id;

	for (size_t i = 0; i < k->n; i++) {
		if (!k->rows[i].keep) {
			if (rt_store_checkpoint_supersede(st, k->rows[i].id, err) < 0)
				return -1;
		} else if (is_in_folder_of(k, k->rows[i].id) &&
			   rt_store_checkpoint_set_run(st, k->rows[i].id, k->run->id, err) < 0) {
			return -1;
		}
	}
	if (k->best_id[0]) {
		if (isnan(k->best_accuracy) &&
		    rt_store_epoch_accuracy(st, job_id, k->best_epoch, &k->best_accuracy, err) < 0)
			return -1;
		if (rt_store_job_set_best(st, job_id, k->best_epoch, k->best_accuracy, k->best_id, err) < 0)
			return -1;
	}
	if (k->last_id[0] && rt_store_job_set_last(st, job_id, k->last_id, err) < 0)
		return -1;
	return rt_attempt_drop_superseded(k->jobs, job_id, now_ms, err);
}

int rt_attempt_begin(struct rt_jobs *jobs, struct rt_run_row *run, int64_t from_step, const json_t *listed,
		     int64_t now_ms, struct rt_err *err)
{
	struct rt_store *st = jobs->store;
	struct kept k = { .jobs = jobs,
			  .run = run,
			  .from_step = from_step,
			  .listed = listed,
			  .best_step = -1,
			  .last_step = -1,
			  .best_accuracy = (double)NAN };
	int64_t attempt = run->attempt, epoch = RT_SQL_NO_INT;
	const char *job_id = run->job_id;
	double percent = (double)NAN;
	struct rt_job job;
	int rc = -1;

	if (rt_store_run_set_from_step(st, run->id, from_step, err) < 0)
		return -1;
	run->from_step = from_step;
	if (attempt <= 1)
		return 0;
	if (rt_store_events_supersede(st, job_id, attempt, from_step, err) < 0 ||
	    rt_store_epochs_supersede(st, job_id, attempt, from_step, err) < 0 ||
	    rt_store_epochs_last(st, job_id, &epoch, err) < 0 ||
	    rt_store_evaluations_drop(st, job_id, attempt, epoch == RT_SQL_NO_INT ? 0 : epoch, err) < 0 ||
	    rt_store_checkpoints_read(st, job_id, look_at_checkpoint, &k, err) < 0)
		goto out;
	if (k.failed) {
		rt_fail(err, RT_NO_MEMORY, "no memory to go on from an earlier attempt");
		goto out;
	}
	if (rt_store_job_get(st, job_id, &job, err) < 0)
		goto out;
	if (epoch != RT_SQL_NO_INT && job.total_epochs > 0)
		percent = fmin(100.0, 100.0 * (double)epoch / (double)job.total_epochs);
	rt_job_release(&job);
	if (rt_store_job_reset_progress(st, job_id, percent, epoch, err) == 0)
		rc = settle_checkpoints(&k, now_ms, err);
out:
	free(k.rows);
	return rc;
}
