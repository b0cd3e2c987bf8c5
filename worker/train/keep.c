/* SPDX-License-Identifier: Apache-2.0 */
/* What of a run is kept, and how one goes on from what another kept. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "worker/train/run_parts.h"

/* The events up to then, as the checkpoint's own runs/ folder. */
static int copy_tensorboard(const struct run *r, const char *dir, int64_t size, struct rt_err *err)
{
	char *from = rt_path_join(r->tb_dir, rt_tb_name(r->tb)), *runs = rt_path_join(dir, "runs");
	char *to = runs ? rt_path_join(runs, rt_tb_name(r->tb)) : NULL;
	struct rt_map map = { NULL, 0 };
	int rc = -1;

	if (!from || !to)
		rt_fail(err, RT_NO_MEMORY, "no memory for a checkpoint");
	else if (rt_map_open(from, &map, err) == 0 && rt_dir_make(runs, err) == 0)
		rc = rt_file_write(to, map.data, (size_t)size < map.size ? (size_t)size : map.size, err);
	rt_map_close(&map);
	free(from);
	free(runs);
	free(to);
	return rc;
}

/* On the saver's thread: reads what does not change while training goes on. */
static int write_checkpoint(void *ctx, const struct rt_tensor *weights, size_t n, struct rt_err *err)
{
	struct run *r = ctx;
	struct pending *p = &r->pending;
	char *path = rt_path_join(p->dir, "model.safetensors");
	int rc;

	if (!path)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a checkpoint");
	rc = rt_safetensors_write(path, weights, n, NULL, 0, err);
	free(path);
	if (rc < 0 || rt_export_checkpoint(&p->what, p->dir, err) < 0 ||
	    copy_tensorboard(r, p->dir, p->tb_bytes, err) < 0) {
		rt_checkpoints_abort(r->checkpoints);
		return rt_fail_in(err, "checkpoint of epoch %lld", (long long)p->epoch.epoch);
	}
	if (rt_checkpoints_commit(r->checkpoints, p->epoch.best, &p->info, err) < 0)
		return rt_fail_in(err, "checkpoint of epoch %lld", (long long)p->epoch.epoch);
	return 0;
}

static int64_t tensorboard_bytes(const struct run *r)
{
	char *path = rt_path_join(r->tb_dir, rt_tb_name(r->tb));
	struct stat st = { .st_size = 0 };

	if (path && stat(path, &st) < 0)
		st.st_size = 0;
	free(path);
	return (int64_t)st.st_size;
}

static void drop_pending(struct run *r)
{
	rt_checkpoint_info_release(&r->pending.info);
	free(r->pending.epochs);
	memset(&r->pending, 0, sizeof r->pending);
}

static int copy_epochs(const struct run *r, struct rt_epoch_record **ret, struct rt_err *err)
{
	struct rt_epoch_record *copy = calloc(r->epoch_count + 1, sizeof *copy);

	if (!copy)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the history");
	if (r->epoch_count > 0)
		memcpy(copy, r->epochs, r->epoch_count * sizeof *copy);
	*ret = copy;
	return 0;
}

/* Makes the folder and all that write_checkpoint needs. */
static int begin_checkpoint(struct run *r, const struct rt_epoch *e, struct rt_err *err)
{
	const struct rt_setup *s = r->setup;
	struct pending *p = &r->pending;

	drop_pending(r);
	if (rt_checkpoints_begin(r->checkpoints, &p->dir, &p->id, err) < 0 ||
	    copy_epochs(r, &p->epochs, err) < 0)
		return -1;
	p->epoch = *e;
	p->tb_bytes = tensorboard_bytes(r);
	snprintf(p->best_id, sizeof p->best_id, "%s", e->best ? p->id : rt_checkpoints_best(r->checkpoints));
	p->what = (struct rt_export){ .config = rt_model_config(s->student.model),
				      .architecture = rt_model_architecture(s->student.model),
				      .labels = s->labels,
				      .label_count = s->label_count,
				      .tokenizer_dir = r->spec.student_id,
				      .spec = &r->spec,
				      .epochs = p->epochs,
				      .epoch_count = r->epoch_count,
				      .max_steps = r->total_steps,
				      .best_checkpoint = p->best_id,
				      .best_metric = r->best_metric,
				      .train_rows = (int64_t)s->train.n,
				      .validation_rows = (int64_t)s->validation.n,
				      .precision = rt_spec_word("precision", s->precision) };
	return 0;
}

/* All of a state but the numbers. checkpoint: one is begun, and the state will be written after it. */
static int describe_state(struct run *r, bool checkpoint, struct rt_resume *ret, struct rt_err *err)
{
	const struct rt_epoch *e = &r->pending.epoch;
	struct rt_resume s = { .train = *rt_trainer_state(r->trainer),
			       .run_seconds = rt_run_seconds(r),
			       .threads = r->threads,
			       .prints = r->prints,
			       .epoch_count = r->epoch_count,
			       .best_epoch = r->best_epoch,
			       .best_accuracy = r->best_accuracy,
			       .best_metric = r->best_metric,
			       .tb_bytes = tensorboard_bytes(r) };
	const char *best = rt_checkpoints_best(r->checkpoints);

	s.spec = rt_spec_json(&r->spec);
	if (!s.spec) {
		rt_fail(err, RT_NO_MEMORY, "no memory to save the training's state");
		goto fail;
	}
	if (copy_epochs(r, &s.epochs, err) < 0 ||
	    rt_checkpoints_will_keep(r->checkpoints, checkpoint && e->best, &s.checkpoints,
				     &s.checkpoint_count, err) < 0)
		goto fail;
	snprintf(s.torch, sizeof s.torch, "%s", tc_version());
	snprintf(s.best, sizeof s.best, "%s", checkpoint && e->best ? r->pending.id : best ? best : "");
	snprintf(s.tb_name, sizeof s.tb_name, "%s", rt_tb_name(r->tb));
	*ret = s;
	return 0;
fail:
	rt_resume_release(&s);
	return -1;
}

/* Begins to save where training is; e: with a checkpoint of that epoch. The saver is idle. */
static int begin_saving(struct run *r, const struct rt_epoch *e, struct rt_err *err)
{
	struct rt_saver_job job = { .ctx = r };

	/* the fingerprints are there then */
	if (rt_saver_ready(r->saver, err) < 0)
		return -1;
	if (e) {
		if (begin_checkpoint(r, e, err) < 0)
			return -1;
		job.checkpoint = write_checkpoint;
	}
	if (describe_state(r, e != NULL, &job.state, err) < 0)
		return -1;
	r->saved = job.state.train;
	r->saved_s = rt_clock_monotonic_s();
	return rt_saver_begin(r->saver, &job, err);
}

static int tell_checkpoint(struct run *r, const struct rt_checkpoint_info *info, const struct rt_epoch *e,
			   struct rt_err *err)
{
	json_t *files = json_array();
	char dir[RT_ID_SIZE + 20];

	for (size_t i = 0; i < info->file_count; i++)
		json_array_append_new(files, json_pack("{sssIss}", "name", info->files[i].name, "size_bytes",
						       (json_int_t)info->files[i].size_bytes, "sha256",
						       info->files[i].sha256));
	snprintf(dir, sizeof dir, "checkpoints/%s", info->id);
	return rt_journal_write(
		r->journal, "checkpoint.written", "info",
		json_pack("{ss ss sI sI sb sI so s{so so so}}", "checkpoint_id", info->id, "dir", dir, "step",
			  (json_int_t)e->step, "epoch", (json_int_t)e->epoch, "best", e->best, "size_bytes",
			  (json_int_t)info->size_bytes, "files", files, "metrics", "eval_loss",
			  rt_run_real(e->eval.loss), "eval_accuracy", rt_run_real(e->eval.accuracy),
			  "train_loss", rt_run_real(e->train_loss)),
		err, "checkpoint of epoch %lld%s", (long long)e->epoch, e->best ? ", the best so far" : "");
}

static int remove_surplus(struct run *r, struct rt_err *err)
{
	const char *surplus;

	while ((surplus = rt_checkpoints_surplus(r->checkpoints))) {
		char id[RT_ID_SIZE];

		snprintf(id, sizeof id, "%s", surplus);
		/* told first: nobody is pointed at a folder that is going away */
		if (rt_journal_write(r->journal, "checkpoint.deleted", "info",
				     json_pack("{ss}", "checkpoint_id", id), err,
				     "checkpoint removed, save_total_limit is %lld",
				     (long long)r->spec.save_total_limit) < 0 ||
		    rt_checkpoints_remove(r->checkpoints, id, err) < 0)
			return -1;
	}
	return 0;
}

int rt_run_settle(struct run *r, bool block, struct rt_err *err)
{
	for (;;) {
		enum rt_saver_news news;

		if (rt_saver_poll(r->saver, block, &news, err) < 0)
			return -1;
		switch (news) {
		case RT_SAVER_CHECKPOINT:
			/* told before a state names it: a run that goes on from that state does not tell it again */
			if (r->pending.told) /* in vain */
				return 0;
			r->pending.told = true;
			if (tell_checkpoint(r, &r->pending.info, &r->pending.epoch, err) < 0)
				return -1;
			rt_saver_go_on(r->saver);
			break;
		case RT_SAVER_STATE:
			/* not before: an older state needs what is removed now */
			if (remove_surplus(r, err) < 0)
				return -1;
			drop_pending(r);
			break;
		case RT_SAVER_BUSY:
		case RT_SAVER_IDLE:
			return 0;
		}
	}
}

static bool is_saved(const struct run *r)
{
	const struct rt_train_state *now = rt_trainer_state(r->trainer);

	return r->saved.step == now->step && r->saved.epoch == now->epoch;
}

/* In a step: a state now and then, where the epochs are long. */
int rt_run_save_in_time(struct run *r, struct rt_err *err)
{
	enum rt_saver_news news;

	if (rt_clock_monotonic_s() - r->saved_s < (double)r->spec.checkpoint_interval_s)
		return 0;
	if (rt_saver_poll(r->saver, false, &news, err) < 0)
		return -1;
	/* news other than that are settle's, before the next step */
	return news == RT_SAVER_IDLE ? begin_saving(r, NULL, err) : 0;
}

int rt_run_find_state(struct run *r, struct rt_err *err)
{
	struct rt_buf why = RT_BUF_INIT;
	int rc = -1;

	if (rt_resume_find(r->o->resume_from, &r->resumed, &why, err) < 0)
		goto out;
	if (why.len > 0 &&
	    rt_journal_write(r->journal, "log", "warn", NULL, err,
			     r->resumed ? "a newer state could not be used, an older one is: %s"
					: "no state to go on from, the run begins anew: %s",
			     why.data) < 0)
		goto out;
	rc = r->resumed ? rt_resume_take_over(r->resumed, r->o->resume_from, r->o->dir, err) : 0;
	if (rc == 0 && r->resumed)
		r->before_s = r->resumed->state.run_seconds;
out:
	rt_buf_release(&why);
	return rc;
}

int rt_run_check_state(struct run *r, struct rt_err *err)
{
	if (rt_resume_prints_of(r->setup, &r->prints, err) < 0)
		return -1;
	if (!r->resumed)
		return 0;
	if (rt_resume_prints_models(&r->spec, r->o->cache_dir, &r->prints, err) < 0)
		return -1;
	return rt_resume_check(&r->resumed->state, &r->spec, &r->prints, r->problems, err);
}

static int begin_tensorboard(struct run *r, struct rt_err *err)
{
	json_t *hparams;
	int rc;

	if (r->resumed && r->resumed->state.tb_name[0] &&
	    rt_tb_continue(r->tb_dir, r->resumed->state.tb_name, &r->tb, NULL) == 0)
		return 0;
	if (rt_tb_open(r->tb_dir, &r->tb, err) < 0)
		return -1;
	hparams = rt_spec_json(&r->spec);
	json_object_del(hparams, "tags");
	json_object_del(hparams, "resources");
	rc = rt_tb_hparams(r->tb, hparams, err);
	json_decref(hparams);
	return rc;
}

int rt_run_open_outputs(struct run *r, struct rt_err *err)
{
	if (rt_checkpoints_open(r->o->dir, r->spec.save_total_limit, &r->checkpoints, err) < 0)
		return -1;
	r->tb_dir = rt_path_join(r->o->dir, "runs");
	if (!r->tb_dir)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the run");
	return begin_tensorboard(r, err);
}

/* On the saver's thread. */
static int read_models(void *ctx, struct rt_err *err)
{
	struct run *r = ctx;

	return r->resumed ? 0 : rt_resume_prints_models(&r->spec, r->o->cache_dir, &r->prints, err);
}

/* Puts everything back as it was when the state was saved. */
static int restore(struct run *r, struct rt_err *err)
{
	const struct rt_resume *s = &r->resumed->state;

	if (rt_resume_restore(r->resumed, r->setup->student.model, r->trainer, err) < 0 ||
	    rt_checkpoints_restore(r->checkpoints, (const char(*)[RT_ID_SIZE])s->checkpoints,
				   s->checkpoint_count, s->best, err) < 0)
		return -1;
	r->epochs = calloc(s->epoch_count + 1, sizeof *r->epochs);
	if (!r->epochs)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the history");
	memcpy(r->epochs, s->epochs, s->epoch_count * sizeof *r->epochs);
	r->epoch_count = s->epoch_count;
	r->best_epoch = s->best_epoch;
	r->best_accuracy = s->best_accuracy;
	r->best_metric = s->best_metric;
	r->saved = s->train;
	return 0;
}

static int tell_resumed(struct run *r, struct rt_err *err)
{
	const struct rt_resume *s = r->resumed ? &r->resumed->state : NULL;
	json_t *ids = json_array();

	for (size_t i = 0; s && i < s->checkpoint_count; i++)
		json_array_append_new(ids, json_string(s->checkpoints[i]));
	if (!s)
		return rt_journal_write(r->journal, "run.resumed", "info",
					json_pack("{sI sI so}", "from_step", (json_int_t)0, "from_epoch",
						  (json_int_t)0, "checkpoints", ids),
					err, "begins anew");
	if ((s->threads != r->threads || strcmp(s->torch, tc_version()) != 0) &&
	    rt_journal_write(r->journal, "log", "warn", NULL, err,
			     "the state was saved with %d threads and libtorch %s, the run goes on with %d "
			     "and %s: the last bits of the weights may differ from an uninterrupted run's",
			     s->threads, s->torch, r->threads, tc_version()) < 0) {
		json_decref(ids);
		return -1;
	}
	return rt_journal_write(r->journal, "run.resumed", "info",
				json_pack("{sI sI ss so}", "from_step", (json_int_t)s->train.step,
					  "from_epoch", (json_int_t)s->train.epoch, "state", r->resumed->name,
					  "checkpoints", ids),
				err, "goes on behind step %lld, %lld epochs are done",
				(long long)s->train.step, (long long)s->train.epoch);
}

void rt_run_save_for_later(struct run *r)
{
	struct rt_err err = RT_ERR_INIT;

	if (!r->saver || (r->o->stop && *r->o->stop > 1))
		return;
	if (rt_run_settle(r, true, &err) == 0 &&
	    (is_saved(r) || (begin_saving(r, NULL, &err) == 0 && rt_run_settle(r, true, &err) == 0)))
		return;
	r->saved.step = -1;
	rt_journal_write(r->journal, "log", "error", NULL, NULL,
			 "the state of the run could not be saved, it goes on from an older one: %s",
			 err.msg);
}

void rt_run_remove_states(const struct run *r)
{
	char *path = rt_path_join(r->o->dir, "resume");

	if (path)
		rt_dir_remove(path, NULL);
	free(path);
}

int rt_run_go_on(struct run *r, struct rt_err *err)
{
	struct rt_saver_options save = { .dir = r->o->dir,
					 .model = r->setup->student.model,
					 .trainer = r->trainer,
					 .prepare = read_models,
					 .ctx = r };

	if ((r->resumed && restore(r, err) < 0) || (r->o->resume_from && tell_resumed(r, err) < 0))
		return -1;
	r->saved_s = rt_clock_monotonic_s();
	return rt_saver_open(&save, &r->saver, err);
}

int rt_run_save_epoch(struct run *r, const struct rt_epoch *e, struct rt_err *err)
{
	return begin_saving(r, e, err);
}

void rt_run_release_kept(struct run *r)
{
	rt_saver_close(r->saver);
	drop_pending(r);
	rt_checkpoints_close(r->checkpoints);
	rt_resume_file_close(r->resumed);
}
