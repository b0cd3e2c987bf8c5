/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "worker/torch/machine.h"
#include "worker/train/run_parts.h"

#define SPEC_MAX_BYTES	 (1 << 20)
#define NAMES_TOLD	 200 /* of each list of tensors in model.loaded */
#define NAME_TOLD_BYTES	 256
#define PROGRESS_MS	 500   /* at most one train.progress or teacher.progress in that time */
#define FLUSH_MS	 30000 /* the server may be away for that long when the run ends */
#define FLUSH_STOPPED_MS 5000  /* somebody is waiting for the process to go */

static int tell(struct run *r, const char *type, json_t *data, struct rt_err *err, const char *words)
{
	return rt_journal_write(r->journal, type, "info", data, err, "%s", words);
}

static int enter(struct run *r, const char *phase, struct rt_err *err)
{
	if (r->phase && strcmp(r->phase, phase) == 0)
		return 0;
	r->phase = phase;
	return tell(r, "run.phase", json_pack("{ss}", "phase", phase), err, phase);
}

static int stop_as(struct run *r, enum rt_run_end ending, struct rt_err *err, const char *words)
{
	r->ending = ending;
	return rt_fail(err, RT_CANCELLED, "%s", words);
}

/* Somebody wants the run to end, or its time is over. Between two batches of anything. */
static int should_go_on(void *ctx, struct rt_err *err)
{
	struct run *r = ctx;

	switch (rt_journal_want(r->journal)) {
	case RT_WANT_CANCEL:
		return stop_as(r, RT_RUN_CANCELLED, err, "cancelled by the server");
	case RT_WANT_GONE:
		return stop_as(r, RT_RUN_CANCELLED, err, "the server no longer knows this run");
	case RT_WANT_PAUSE:
		return stop_as(r, RT_RUN_PAUSED, err, "paused by the server");
	case RT_WANT_CONTINUE:
		break;
	}
	if (r->o->stop && *r->o->stop)
		return stop_as(r, RT_RUN_STOPPED, err, "stopped by a signal");
	if (r->has_spec && r->spec.max_runtime_s > 0 && rt_run_seconds(r) > (double)r->spec.max_runtime_s) {
		r->reason = "deadline";
		return rt_fail(err, RT_UNAVAILABLE,
			       "max_runtime_s (%lld) is over; the best checkpoint so far is kept",
			       (long long)r->spec.max_runtime_s);
	}
	return r->saver ? rt_run_settle(r, false, err) : 0;
}

static json_t *problems_json(const struct rt_problems *p)
{
	struct rt_buf text = RT_BUF_INIT;
	json_t *list;

	rt_problems_write(&text, p);
	list = rt_json_parse(rt_buf_text(&text), text.len, NULL);
	rt_buf_release(&text);
	return list ? list : json_array();
}

/* ---- before training ---- */

static int read_spec(struct run *r, struct rt_err *err)
{
	json_t *json = rt_json_read(r->o->spec_path, SPEC_MAX_BYTES, err);
	int rc;

	if (!json)
		return -1;
	rc = rt_spec_parse(json, &r->spec, r->problems, err);
	r->has_spec = rc == 0;
	json_decref(json);
	return rc;
}

static int tell_started(struct run *r, struct rt_err *err)
{
	struct rt_machine m;
	int student, teacher;
	json_t *data;

	if (rt_machine_check(r->o->dir, &m, err) < 0)
		return -1;
	/* a precision this machine does not have is refused in a moment, with its field; here stands what was asked for */
	if (rt_setup_precision("precision", r->spec.precision, r->spec.gpus > 0, &student, NULL) < 0)
		student = r->spec.precision;
	if (rt_setup_precision("teacher_precision", r->spec.teacher_precision, r->spec.gpus > 0, &teacher,
			       NULL) < 0)
		teacher = r->spec.teacher_precision;
	data = json_pack("{si si sI ss ss ss ss ss so so so}", "pid", (int)getpid(), "threads", r->threads,
			 "seed", (json_int_t)r->spec.seed, "precision", rt_spec_word("precision", student),
			 "teacher_precision", rt_spec_word("teacher_precision", teacher), "version",
			 RT_VERSION, "torch", tc_version(), "blas", m.blas, "matmul_gflops",
			 rt_run_real(m.fp32_gflops), "spec", rt_spec_json(&r->spec), "loss",
			 rt_spec_loss_json(&r->spec));
	if (rt_journal_write(r->journal, "run.started", "info", data, err,
			     "retort-worker %s, libtorch %s, %d threads", RT_VERSION, tc_version(),
			     r->threads) < 0)
		return -1;
	for (size_t i = 0; i < m.advice_count; i++) {
		if (rt_journal_write(r->journal, "log", "warn", NULL, err, "%s", m.advice[i]) < 0)
			return -1;
	}
	return 0;
}

static int tell_warnings(struct run *r, struct rt_err *err)
{
	for (size_t i = 0; i < r->warnings->n && i < RT_PROBLEM_MAX; i++) {
		const struct rt_problem_item *w = &r->warnings->items[i];

		if (rt_journal_write(r->journal, "log", "warn", json_pack("{ss}", "pointer", w->pointer), err,
				     "%s", w->detail) < 0)
			return -1;
	}
	return 0;
}

static int tell_data(struct run *r, struct rt_err *err)
{
	const struct rt_dataset *d = r->setup->data;
	json_t *labels = json_array();

	for (size_t i = 0; i < r->setup->label_count; i++)
		json_array_append_new(labels, json_string(r->setup->labels[i]));
	return rt_journal_write(
		r->journal, "data.loaded", "info",
		json_pack("{sIsIsIsIs{ssssss?}s{ssssss?}so*so*}", "train_rows", (json_int_t)d->train.n,
			  "validation_rows", (json_int_t)d->validation.n, "test_rows", (json_int_t)d->test.n,
			  "truncated_rows", (json_int_t)rt_setup_truncated(r->setup), "columns", "text",
			  d->text_column, "label", d->label_column, "pair", d->pair_column, "splits", "train",
			  d->train.name, "validation", d->validation.name, "test", d->test.name, "labels",
			  labels, "tokenizers", rt_setup_tokenizers(r->setup)),
		err, "%zu training and %zu validation rows, %zu classes", d->train.n, d->validation.n,
		r->setup->label_count);
}

/* In words, for those who read along. */
static int tell_tokenizers(struct run *r, struct rt_err *err)
{
	const struct rt_setup *s = r->setup;
	struct rt_buf words = RT_BUF_INIT;
	int rc;

	if (!s->teacher.model)
		return 0;
	rt_likeness_explain(&s->tokenizers, &s->teacher.reading, &s->student.reading, &words);
	rc = rt_journal_write(r->journal, "log", "info", NULL, err, "%s", rt_buf_text(&words));
	rt_buf_release(&words);
	return rc;
}

/* An event has a limit, and a stranger's file may have a million tensors with names of any length: the first names, cut, and
 * how many there are. */
static void add_names(json_t *data, const char *key, const char *count_key, char *const *names, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n && i < NAMES_TOLD; i++) {
		size_t len = strlen(names[i]);

		if (len > NAME_TOLD_BYTES)
			len = rt_utf8_valid(names[i], NAME_TOLD_BYTES); /* at a character's edge */
		json_array_append_new(list, json_stringn(names[i], len));
	}
	json_object_set_new(data, key, list);
	json_object_set_new(data, count_key, json_integer((json_int_t)n));
}

static int tell_model(struct run *r, const char *role, const struct rt_setup_model *m, struct rt_err *err)
{
	const struct rt_model_report *report = &m->report;
	json_t *data =
		json_pack("{sssIsssI}", "role", role, "parameters", (json_int_t)report->parameters, "family",
			  rt_model_family(m->model), "max_length", (json_int_t)m->max_length);

	add_names(data, "missing", "missing_count", report->missing, report->missing_count);
	add_names(data, "unexpected", "unexpected_count", report->unexpected, report->unexpected_count);
	add_names(data, "initialised", "initialised_count", report->initialised, report->initialised_count);
	return rt_journal_write(r->journal, "model.loaded", "info", data, err, "%s: %s, %.1f M parameters",
				role, rt_model_family(m->model), (double)m->report.parameters / 1e6);
}

static int set_up(struct run *r, struct rt_err *err)
{
	struct rt_setup_options o = {
		.roots = r->o->roots, .root_count = r->o->root_count, .tick = should_go_on, .ctx = r
	};

	if (enter(r, "validating", err) < 0)
		return -1;
	if (rt_setup_open(&r->spec, &o, &r->setup, r->problems, r->warnings, err) < 0)
		return -1;
	if (tell_warnings(r, err) < 0 || tell_data(r, err) < 0 || tell_tokenizers(r, err) < 0)
		return -1;
	if (r->setup->teacher.model && tell_model(r, "teacher", &r->setup->teacher, err) < 0)
		return -1;
	if (tell_model(r, "student", &r->setup->student, err) < 0)
		return -1;
	return rt_model_load(r->setup->student.model, err);
}

/* ---- the teacher ---- */

static bool is_time_to_tell(struct run *r)
{
	int64_t now = rt_clock_monotonic_ms();

	if (now - r->told_ms < PROGRESS_MS)
		return false;
	r->told_ms = now;
	return true;
}

struct asking {
	struct run *r;
	double start_s;
	bool waited; /* told */
};

static int teacher_tick(void *ctx, const struct rt_soft_progress *p, struct rt_err *err)
{
	struct asking *a = ctx;
	double seconds = rt_clock_monotonic_s() - a->start_s,
	       speed = p->computed > 0 && seconds > 0 ? (double)p->computed / seconds : NAN;

	if (should_go_on(a->r, err) < 0)
		return -1;
	if (p->waiting && !a->waited &&
	    rt_journal_write(a->r->journal, "log", "info", NULL, err,
			     "another job is computing the last %zu of the teacher's logits, waiting",
			     p->total - p->done) < 0)
		return -1;
	a->waited |= p->waiting;
	if (!is_time_to_tell(a->r) && p->done < p->total)
		return 0;
	return rt_journal_write(a->r->journal, "teacher.progress", "info",
				json_pack("{sIsIsIsbsoso}", "done", (json_int_t)p->done, "total",
					  (json_int_t)p->total, "cached", (json_int_t)(p->done - p->computed),
					  "waiting", p->waiting, "texts_per_s", rt_run_real(speed), "eta_s",
					  rt_run_real((double)(p->total - p->done) / speed)),
				err, "teacher: %zu of %zu texts", p->done, p->total);
}

static int teacher_no_cache(void *ctx, const char *why, struct rt_err *err)
{
	struct asking *a = ctx;

	return rt_journal_write(a->r->journal, "log", "warn", NULL, err,
				"the teacher's logits are no longer cached, the job goes on without: %s",
				why);
}

/* *ret stays NULL where there is no cache, which is no reason to fail. */
static int open_cache(struct run *r, struct rt_logit_cache **ret, struct rt_err *err)
{
	struct rt_logit_cache_options o = { .dir = r->o->cache_dir, .max_bytes = r->o->cache_max_bytes };
	const struct rt_setup *s = r->setup;
	char name[RT_SHA256_SIZE];
	struct rt_err why = RT_ERR_INIT;

	if (!o.dir || o.max_bytes <= 0)
		return rt_journal_write(r->journal, "log", "info", NULL, err,
					"no cache for the teacher's logits: all are computed (--cache)");
	/* of a run that goes on it is known by now */
	if (!r->prints.teacher[0] &&
	    rt_resume_print_model(r->spec.teacher_id, o.dir, r->prints.teacher, &why) < 0)
		return rt_fail(err, why.code, "%s", why.msg);
	o.classes = rt_model_label_count(s->teacher.model);
	rt_logit_cache_name(r->prints.teacher, rt_spec_word("precision", s->teacher_precision), o.classes,
			    name);
	o.name = name;
	if (rt_logit_cache_open(&o, ret, &why) == 0)
		return 0;
	return rt_journal_write(r->journal, "log", "warn", NULL, err,
				"the teacher's logits are not cached, all are computed: %s", why.msg);
}

static int tell_teacher(struct run *r, int64_t rows, double seconds, struct rt_err *err)
{
	const struct rt_soft *soft = &r->soft;
	double accuracy = rt_soft_accuracy(soft, 1, r->setup->validation.labels, r->setup->validation.n);
	/* against a teacher that is asked in every step and every evaluation */
	int64_t avoided = rows * r->spec.epochs - (int64_t)soft->computed;

	if (soft->damaged > 0 &&
	    rt_journal_write(r->journal, "log", "warn", NULL, err,
			     "%zu of the cached logits were damaged (checksum); they were computed anew",
			     soft->damaged) < 0)
		return -1;
	return rt_journal_write(
		r->journal, "teacher.completed", "info",
		json_pack("{sIsIsIsIsoso}", "forwards_done", (json_int_t)soft->computed, "forwards_cached",
			  (json_int_t)(soft->unique - soft->computed), "forwards_avoided",
			  (json_int_t)avoided, "rows", (json_int_t)rows, "seconds", rt_run_real(seconds),
			  "accuracy", rt_run_real(accuracy)),
		err,
		"teacher: accuracy %.4f on validation; %zu texts computed, %zu from the cache, %lld "
		"forwards avoided",
		accuracy, soft->computed, soft->unique - soft->computed, (long long)avoided);
}

/* Every distinct text once; the model goes when its logits are there. */
static int ask_teacher(struct run *r, struct rt_err *err)
{
	struct rt_setup *s = r->setup;
	const struct rt_rows *train = rt_setup_teacher_rows(s, false),
			     *validation = rt_setup_teacher_rows(s, true);
	const struct rt_rows *const splits[] = { train, validation };
	struct asking asking = { .r = r, .start_s = rt_clock_monotonic_s() };
	struct rt_soft_options o = { .splits = splits,
				     .count = 2,
				     .class_of = s->class_of_teacher,
				     .batch = r->spec.per_device_eval_batch_size,
				     .progress = teacher_tick,
				     .no_cache = teacher_no_cache,
				     .ctx = &asking };
	int rc;

	if (enter(r, "caching_teacher", err) < 0 || open_cache(r, &o.cache, err) < 0)
		return -1;
	rc = rt_soft_compute(s->teacher.model, &o, &r->soft, err);
	rt_logit_cache_close(o.cache);
	if (rc < 0)
		return -1;
	rt_model_close(s->teacher.model);
	s->teacher.model = NULL;
	return tell_teacher(r, (int64_t)(train->n + validation->n), rt_clock_monotonic_s() - asking.start_s,
			    err);
}

/* ---- training ---- */

/* Seconds until the run's end as it looks now; NAN while there is nothing to go by. */
static double eta(const struct run *r, int64_t step, int64_t epoch)
{
	if (r->step_s <= 0)
		return NAN;
	return r->step_s * (double)(r->total_steps - step) + r->eval_s * (double)(r->spec.epochs - epoch);
}

static int tell_progress(struct run *r, const struct rt_step *s, double speed, struct rt_err *err)
{
	json_t *data = json_pack("{sI sI sI so so so so so so so}", "step", (json_int_t)s->step,
				 "total_steps", (json_int_t)r->total_steps, "epoch", (json_int_t)s->epoch,
				 "loss", rt_run_real(s->loss), "ce_loss", rt_run_real(s->ce_loss), "kd_loss",
				 rt_run_real(s->kd_loss), "learning_rate", rt_run_real(s->learning_rate),
				 "grad_norm", rt_run_real(s->grad_norm), "samples_per_s", rt_run_real(speed),
				 "eta_s", rt_run_real(eta(r, s->step, s->epoch - 1)));

	return rt_journal_write(r->journal, "train.progress", "info", data, err,
				"step %lld of %lld: loss %.4f", (long long)s->step, (long long)r->total_steps,
				s->loss);
}

static int on_step(void *ctx, const struct rt_step *s, struct rt_err *err)
{
	struct run *r = ctx;
	double seconds, step_s;

	if (enter(r, "training", err) < 0 || rt_tb_scalar(r->tb, "train/loss", s->step, s->loss, err) < 0 ||
	    rt_tb_scalar(r->tb, "train/learning_rate", s->step, s->learning_rate, err) < 0 ||
	    rt_tb_scalar(r->tb, "train/grad_norm", s->step, s->grad_norm, err) < 0)
		return -1;
	r->recent_rows += s->rows;
	r->recent_steps++;
	if (rt_run_save_in_time(r, err) < 0)
		return -1;
	if (!is_time_to_tell(r) && s->step < r->total_steps)
		return 0;
	seconds = rt_clock_monotonic_s() - r->recent_s;
	step_s = seconds / (double)r->recent_steps;
	r->step_s = r->step_s > 0 ? 0.7 * r->step_s + 0.3 * step_s : step_s;
	if (tell_progress(r, s, (double)r->recent_rows / seconds, err) < 0)
		return -1;
	r->recent_rows = r->recent_steps = 0;
	r->recent_s = rt_clock_monotonic_s();
	return 0;
}

static int on_evaluating(void *ctx, int64_t epoch, struct rt_err *err)
{
	struct run *r = ctx;

	r->evaluating = epoch;
	return enter(r, "evaluating", err);
}

static int on_answers(void *ctx, const struct rt_answers *a, struct rt_err *err)
{
	struct run *r = ctx;
	json_t *data = rt_classes_json(a, (const char *const *)r->setup->labels, r->setup->label_count,
				       r->evaluating, err);

	return data ? tell(r, "eval.classes", data, err, "") : -1;
}

static int tell_epoch(struct run *r, const struct rt_epoch *e, struct rt_err *err)
{
	const char *const tags[] = { "eval/loss",    "eval/accuracy", "eval/ce_loss",
				     "eval/kd_loss", "train/ce_loss", "train/kd_loss" };
	const double values[] = { e->eval.loss,	   e->eval.accuracy, e->eval.ce_loss,
				  e->eval.kd_loss, e->train_ce_loss, e->train_kd_loss };
	json_t *data = json_pack(
		"{sI sI so so so so so so so so so so so sb}", "epoch", (json_int_t)e->epoch, "step",
		(json_int_t)e->step, "train_loss", rt_run_real(e->train_loss), "train_ce_loss",
		rt_run_real(e->train_ce_loss), "train_kd_loss", rt_run_real(e->train_kd_loss), "eval_loss",
		rt_run_real(e->eval.loss), "eval_ce_loss", rt_run_real(e->eval.ce_loss), "eval_kd_loss",
		rt_run_real(e->eval.kd_loss), "eval_accuracy", rt_run_real(e->eval.accuracy), "learning_rate",
		rt_run_real(e->learning_rate), "samples_per_s", rt_run_real((double)e->rows / e->seconds),
		"seconds", rt_run_real(e->seconds + e->eval.seconds), "eta_s",
		rt_run_real(e->last ? 0 : eta(r, e->step, e->epoch)), "best", e->best);

	for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
		if (!isnan(values[i]) && rt_tb_scalar(r->tb, tags[i], e->step, values[i], err) < 0) {
			json_decref(data);
			return -1;
		}
	}
	return rt_journal_write(r->journal, "epoch.completed", "info", data, err,
				"epoch %lld: train_loss %.4f, eval_loss %.4f, accuracy %.4f%s",
				(long long)e->epoch, e->train_loss, e->eval.loss, e->eval.accuracy,
				e->best ? ", the best so far" : "");
}

static int remember_epoch(struct run *r, const struct rt_epoch *e, struct rt_err *err)
{
	struct rt_epoch_record *grown = reallocarray(r->epochs, r->epoch_count + 1, sizeof *grown);

	if (!grown)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the history");
	r->epochs = grown;
	grown[r->epoch_count++] = (struct rt_epoch_record){ .epoch = e->epoch,
							    .step = e->step,
							    .train_loss = e->train_loss,
							    .train_ce_loss = e->train_ce_loss,
							    .train_kd_loss = e->train_kd_loss,
							    .eval_loss = e->eval.loss,
							    .eval_ce_loss = e->eval.ce_loss,
							    .eval_kd_loss = e->eval.kd_loss,
							    .eval_accuracy = e->eval.accuracy,
							    .learning_rate = e->learning_rate,
							    .seconds = e->seconds + e->eval.seconds };
	if (e->best) {
		r->best_epoch = e->epoch;
		r->best_accuracy = e->eval.accuracy;
		r->best_metric =
			r->spec.metric_for_best_model == RT_METRIC_LOSS ? e->eval.loss : e->eval.accuracy;
	}
	return 0;
}

static int on_epoch(void *ctx, const struct rt_epoch *e, struct rt_err *err)
{
	struct run *r = ctx;

	r->eval_s = e->eval.seconds;
	/* a short epoch may be over before the files of the last one are written */
	if (rt_run_settle(r, true, err) < 0 || remember_epoch(r, e, err) < 0 || tell_epoch(r, e, err) < 0 ||
	    rt_run_save_epoch(r, e, err) < 0 || (e->last && rt_run_settle(r, true, err) < 0))
		return -1;
	if (e->last && e->epoch < r->spec.epochs &&
	    rt_journal_write(r->journal, "log", "info", NULL, err,
			     "stopped early: no improvement in %lld epochs (early_stopping_patience)",
			     (long long)r->spec.early_stopping_patience) < 0)
		return -1;
	/* evaluation and checkpoint are not training time, nor are the steps before them */
	r->recent_rows = r->recent_steps = 0;
	r->recent_s = rt_clock_monotonic_s();
	return 0;
}

static struct rt_train_options train_options(const struct rt_spec *spec)
{
	return (struct rt_train_options){
		.alpha = spec->alpha,
		.temperature = spec->temperature,
		.learning_rate = spec->learning_rate,
		.lr_scheduler = spec->lr_scheduler,
		.warmup_ratio = spec->warmup_ratio,
		.weight_decay = spec->weight_decay,
		.max_grad_norm = spec->max_grad_norm,
		.accumulation = spec->gradient_accumulation,
		.metric = spec->metric_for_best_model,
		.eval_batch = spec->per_device_eval_batch_size,
		.patience = spec->early_stopping_patience,
		.plan = { .batch = spec->per_device_train_batch_size,
			  .accumulate = spec->gradient_accumulation_steps,
			  .epochs = spec->epochs,
			  .seed = (uint64_t)spec->seed,
			  .shuffle = spec->shuffle },
	};
}

static int train(struct run *r, struct rt_err *err)
{
	struct rt_train_options o = train_options(&r->spec);
	struct rt_train_split train = { &r->setup->train, r->soft.logits, r->soft.of[0] };
	struct rt_train_split validation = { &r->setup->validation, r->soft.logits, r->soft.of[1] };
	struct rt_train_hooks hooks = { r, on_step, on_evaluating, on_epoch, should_go_on, on_answers };

	if (rt_run_open_outputs(r, err) < 0 ||
	    rt_trainer_open(r->setup->student.model, &o, &train, &validation, &r->trainer, err) < 0 ||
	    rt_run_go_on(r, err) < 0)
		return -1;
	r->total_steps = rt_trainer_total_steps(r->trainer);
	r->recent_s = rt_clock_monotonic_s();
	if (rt_trainer_run(r->trainer, &hooks, err) < 0)
		return -1;
	return rt_tb_end(r->tb, RT_TB_SUCCESS, err);
}

/* ---- the end ---- */

static const char *reason_of(const struct run *r, const struct rt_err *err)
{
	if (r->reason)
		return r->reason;
	if (rt_code_is_input(err->code))
		return "bad_input";
	switch (err->code) {
	case RT_NO_MEMORY:
		return "out_of_memory";
	case RT_DISK_FULL:
		return "disk_full";
	case RT_DIVERGED:
		return "diverged";
	default:
		return "internal";
	}
}

static const char *advice_of(const char *reason)
{
	if (strcmp(reason, "out_of_memory") == 0)
		return "; a smaller per_device_train_batch_size or max_length needs less memory";
	if (strcmp(reason, "disk_full") == 0)
		return "; free some space, or lower save_total_limit, and send the job again";
	return "";
}

/* Somebody wanted the run to end. */
static enum rt_run_end finish_stopped(struct run *r, const struct rt_err *why)
{
	static const char *const types[] = { [RT_RUN_CANCELLED] = "run.cancelled",
					     [RT_RUN_PAUSED] = "run.paused",
					     [RT_RUN_STOPPED] = "run.stopped" };
	json_t *data = json_object();

	if (r->ending != RT_RUN_CANCELLED)
		rt_run_save_for_later(r);
	if (r->ending != RT_RUN_CANCELLED && r->trainer && r->saved.step >= 0) {
		json_object_set_new(data, "step", json_integer((json_int_t)r->saved.step));
		json_object_set_new(data, "epoch", json_integer((json_int_t)r->saved.epoch));
	}
	rt_journal_write(r->journal, types[r->ending], "info", data, NULL, "%s", why->msg);
	return r->ending;
}

/* The last event. A journal that takes no more still carries it to stdout and the server. */
static enum rt_run_end finish(struct run *r, int rc, const struct rt_err *why)
{
	struct rt_err err = RT_ERR_INIT;
	const char *reason;

	if (rc == 0) {
		const char *best = rt_checkpoints_best(r->checkpoints);
		int told = rt_journal_write(r->journal, "run.succeeded", "info",
					    json_pack("{ss so sI so}", "best_checkpoint_id", best, "seconds",
						      rt_run_real(rt_run_seconds(r)), "best_epoch",
						      (json_int_t)r->best_epoch, "best_accuracy",
						      rt_run_real(r->best_accuracy)),
					    &err, "done in %.1f s: accuracy %.4f in epoch %lld",
					    rt_run_seconds(r), r->best_accuracy, (long long)r->best_epoch);

		if (told == 0) {
			rt_run_remove_states(r);
			return RT_RUN_SUCCEEDED;
		}
		why = &err;
	}
	if (why->code == RT_CANCELLED && r->ending)
		return finish_stopped(r, why);
	/* a checkpoint that is written already is told; what else the saver has to say, the failure below says */
	if (r->saver)
		rt_run_settle(r, true, &err);
	if (r->tb)
		rt_tb_end(r->tb, RT_TB_FAILURE, NULL);
	reason = reason_of(r, why);
	rt_journal_write(r->journal, "run.failed", "error",
			 json_pack("{ss so so}", "reason", reason, "errors", problems_json(r->problems),
				   "seconds", rt_run_real(rt_run_seconds(r))),
			 NULL, "%s%s", why->msg, advice_of(reason));
	return RT_RUN_FAILED;
}

static int run_all(struct run *r, struct rt_err *err)
{
	if (read_spec(r, err) < 0)
		return -1;
	r->threads = r->o->threads > 0	   ? r->o->threads
		     : r->spec.threads > 0 ? (int)r->spec.threads
					   : rt_machine_cpus();
	if (tc_set_threads(r->threads, err) < 0 || tell_started(r, err) < 0 ||
	    (r->o->resume_from && rt_run_find_state(r, err) < 0) || set_up(r, err) < 0 ||
	    rt_run_check_state(r, err) < 0)
		return -1;
	if (r->setup->teacher.model && ask_teacher(r, err) < 0)
		return -1;
	return train(r, err);
}

int rt_run(const struct rt_run_options *o, enum rt_run_end *ret, struct rt_err *err)
{
	struct rt_journal_options how = {
		.dir = o->dir, .out_fd = STDOUT_FILENO, .url = o->url, .token = o->token
	};
	struct run r = { .o = o,
			 .start_s = rt_clock_monotonic_s(),
			 .best_metric = NAN,
			 .best_accuracy = NAN,
			 .saved = { .step = -1 } };
	struct rt_err why = RT_ERR_INIT;
	int rc = -1;

	r.problems = calloc(1, sizeof *r.problems);
	r.warnings = calloc(1, sizeof *r.warnings);
	if (!r.problems || !r.warnings)
		rt_fail(err, RT_NO_MEMORY, "no memory to run");
	else
		rc = rt_journal_open(&how, &r.journal, err);
	if (rc == 0) {
		*ret = finish(&r, run_all(&r, &why), &why);
		rt_journal_close(r.journal, o->stop && *o->stop ? FLUSH_STOPPED_MS : FLUSH_MS);
	}
	rt_run_release_kept(&r);
	rt_trainer_close(r.trainer);
	rt_tb_close(r.tb);
	rt_soft_release(&r.soft);
	rt_setup_close(r.setup);
	if (r.has_spec)
		rt_spec_release(&r.spec);
	free(r.tb_dir);
	free(r.epochs);
	free(r.problems);
	free(r.warnings);
	return rc;
}
