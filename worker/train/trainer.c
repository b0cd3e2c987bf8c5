/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/spec.h"
#include "base/clock.h"
#include "worker/train/loss.h"
#include "worker/train/teacher.h"

struct rt_trainer {
	struct rt_model *model; /* borrowed */
	struct rt_train_options o;
	struct rt_train_split train, validation; /* validation.rows NULL: none */
	struct rt_schedule schedule;
	struct rt_train_state state;

	/* the optimizer: one entry per parameter */
	size_t params;
	struct tc_scope *scope; /* owns the moments' handles */
	struct tc_tensor **moment1, **moment2;

	/* memory used again in every step */
	uint32_t *order; /* (train rows) of the epoch that runs */
	struct rt_collator collator;
	int64_t *labels; /* (batch) */
	float *soft;	 /* (batch, classes) */
};

static int check_split(const struct rt_trainer *t, const struct rt_train_split *split, const char *name,
		       double alpha, struct rt_err *err)
{
	if (split->rows->n == 0)
		return rt_fail(err, RT_INVALID, "the %s split is empty", name);
	if (alpha < 1 && !split->soft)
		return rt_fail(err, RT_INVALID, "alpha below 1 needs a teacher");
	for (size_t i = 0; i < split->rows->n; i++) {
		int32_t label = split->rows->labels[i];

		if (label >= (int32_t)rt_model_label_count(t->model))
			return rt_fail(err, RT_INVALID, "row %zu of the %s split has class %d of %zu", i + 1,
				       name, label, rt_model_label_count(t->model));
		if (label < 0 && alpha > 0)
			return rt_fail(err, RT_INVALID, "row %zu of the %s split has no label", i + 1, name);
	}
	return 0;
}

static int open_optimizer(struct rt_trainer *t, struct rt_err *err)
{
	struct tc_params *all = rt_model_params(t->model);

	t->params = rt_model_param_count(t->model);
	t->scope = tc_scope_open(NULL, TC_NO_GRAD | rt_model_scope_flags(t->model));
	t->moment1 = calloc(t->params, sizeof *t->moment1);
	t->moment2 = calloc(t->params, sizeof *t->moment2);
	if (!t->moment1 || !t->moment2)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the optimizer");
	for (size_t i = 0; i < t->params; i++) {
		t->moment1[i] = tc_params_moment(t->scope, all, i, 1);
		t->moment2[i] = tc_params_moment(t->scope, all, i, 2);
	}
	return tc_check(t->scope, err);
}

int rt_trainer_open(struct rt_model *model, const struct rt_train_options *o,
		    const struct rt_train_split *train, const struct rt_train_split *validation,
		    struct rt_trainer **ret, struct rt_err *err)
{
	struct rt_trainer *t = calloc(1, sizeof *t);
	size_t classes = rt_model_label_count(model), batch = (size_t)o->plan.batch;
	int rc = -1;

	if (!t)
		return rt_fail(err, RT_NO_MEMORY, "no memory to train");
	t->model = model;
	t->o = *o;
	t->train = *train;
	if (validation)
		t->validation = *validation;
	t->o.plan.rows = (int64_t)train->rows->n;
	if (check_split(t, train, "training", o->alpha, err) < 0 ||
	    (validation && check_split(t, validation, "validation", o->alpha, err) < 0))
		goto out;
	rt_schedule_init(&t->schedule, o->lr_scheduler, o->learning_rate, rt_plan_total(&t->o.plan),
			 o->warmup_ratio);
	t->order = reallocarray(NULL, train->rows->n, sizeof *t->order);
	t->labels = reallocarray(NULL, batch, sizeof *t->labels);
	t->soft = reallocarray(NULL, batch, classes * sizeof *t->soft);
	if (!t->order || !t->labels || !t->soft) {
		rt_fail(err, RT_NO_MEMORY, "no memory to train");
		goto out;
	}
	if (open_optimizer(t, err) < 0)
		goto out;
	*ret = t;
	t = NULL;
	rc = 0;
out:
	rt_trainer_close(t);
	return rc;
}

void rt_trainer_close(struct rt_trainer *t)
{
	if (!t)
		return;
	tc_scope_close(t->scope);
	free(t->moment1);
	free(t->moment2);
	free(t->order);
	free(t->labels);
	free(t->soft);
	rt_collator_release(&t->collator);
	free(t);
}

const struct rt_train_state *rt_trainer_state(const struct rt_trainer *t)
{
	return &t->state;
}

int rt_trainer_restore(struct rt_trainer *t, const struct rt_train_state *state, struct rt_err *err)
{
	const struct rt_plan *p = &t->o.plan;
	int64_t steps = (state->batch + p->accumulate - 1) / p->accumulate;

	if (state->epoch < 0 || state->epoch > p->epochs || state->batch < 0 ||
	    state->batch > rt_plan_batches(p) || (state->epoch == p->epochs && state->batch > 0) ||
	    state->epoch_steps != steps || state->step != state->epoch * rt_plan_steps(p) + steps)
		return rt_fail(err, RT_CONFLICT,
			       "the saved state (step %lld, epoch %lld, batch %lld) is none of a training "
			       "with %lld epochs of %lld batches",
			       (long long)state->step, (long long)state->epoch, (long long)state->batch,
			       (long long)p->epochs, (long long)rt_plan_batches(p));
	if (tc_params_ready(t->scope, rt_model_params(t->model), err) < 0)
		return -1;
	t->state = *state;
	return 0;
}

void rt_trainer_moments(const struct rt_trainer *t, size_t param, struct tc_tensor **ret_exp_avg,
			struct tc_tensor **ret_exp_avg_sq)
{
	*ret_exp_avg = t->moment1[param];
	*ret_exp_avg_sq = t->moment2[param];
}

int64_t rt_trainer_total_steps(const struct rt_trainer *t)
{
	return rt_plan_total(&t->o.plan);
}

static const float *soft_row(const struct rt_train_split *split, size_t i, size_t classes)
{
	return split->soft + (split->soft_of ? split->soft_of[i] : i) * classes;
}

struct losses {
	double all, hard, soft;
};

/* Forward and backward of one batch, whose gradients are added to those already there, times weight. */
static int run_batch(struct rt_trainer *t, const uint32_t *which, size_t n, double weight, struct losses *ret,
		     struct rt_err *err)
{
	size_t classes = rt_model_label_count(t->model);
	const int64_t rows = (int64_t)n, soft_shape[] = { rows, (int64_t)classes };
	struct tc_tensor *logits, *hard = NULL, *soft = NULL, *loss;
	bool labelled = true;
	struct tc_scope *s;
	int rc = -1;

	if (rt_collate(&t->collator, t->train.rows, which, n, rt_model_pad_id(t->model), err) < 0)
		return -1;
	for (size_t k = 0; k < n; k++) {
		t->labels[k] = t->train.rows->labels[which[k]];
		labelled = labelled && t->labels[k] >= 0;
		if (t->train.soft)
			memcpy(t->soft + k * classes, soft_row(&t->train, which[k], classes),
			       classes * sizeof *t->soft);
	}
	s = tc_scope_open(NULL, rt_model_scope_flags(t->model));
	logits = rt_model_forward(s, t->model, &t->collator.batch, true); /* (n, classes) */
	if (labelled)
		hard = rt_loss_hard(s, logits, tc_from_borrowed(s, TC_I64, 1, &rows, t->labels));
	if (t->train.soft)
		soft = rt_loss_soft(s, logits, tc_from_borrowed(s, TC_F32, 2, soft_shape, t->soft),
				    t->o.temperature);
	loss = rt_loss_mix(s, hard, soft, t->o.alpha);
	*ret = (struct losses){ NAN, NAN, NAN };
	if (tc_item_f64(s, loss, &ret->all, err) < 0 || (hard && tc_item_f64(s, hard, &ret->hard, err) < 0) ||
	    (soft && tc_item_f64(s, soft, &ret->soft, err) < 0))
		goto out;
	if (isfinite(ret->all) && tc_backward(s, weight == 1 ? loss : tc_scale(s, loss, weight), err) < 0)
		goto out;
	rc = 0;
out:
	tc_scope_close(s);
	return rc;
}

static int diverged(const struct rt_trainer *t, const char *what, double value, struct rt_err *err)
{
	return rt_fail(err, RT_DIVERGED,
		       "%s is not a number any more at step %lld (%g); try a lower learning_rate (now %g), a "
		       "warmup_ratio "
		       "such as 0.1, or precision fp32",
		       what, (long long)t->state.step + 1, value, t->o.learning_rate);
}

/* One optimizer step over the next batches of the epoch. */
static int run_step(struct rt_trainer *t, struct rt_step *ret, struct rt_err *err)
{
	const struct rt_plan *plan = &t->o.plan;
	int64_t first = t->state.batch * plan->batch, end = first + plan->batch * plan->accumulate;
	double rate = rt_schedule_rate(&t->schedule, t->state.step);
	struct tc_params *params = rt_model_params(t->model);
	struct tc_adamw how = { .lr = rate,
				.beta1 = 0.9,
				.beta2 = 0.999,
				.eps = 1e-8,
				.weight_decay = t->o.weight_decay,
				.grad_scale = 1,
				.step = t->state.step + 1 };
	struct losses sum = { 0, 0, 0 };
	struct tc_scope *s;
	double norm = 0;
	int64_t batches = 0;
	int rc = -1;

	end = end < plan->rows ? end : plan->rows;
	/* what is drawn in a step depends on its number alone, so any step can be repeated */
	if (tc_rng_seed(rt_model_rng(t->model), rt_mix(plan->seed + 1, (uint64_t)t->state.step), err) < 0)
		return -1;
	tc_params_begin(params);
	for (int64_t at = first; at < end; at += plan->batch, batches++) {
		int64_t n = end - at < plan->batch ? end - at : plan->batch;
		double weight =
			t->o.accumulation == RT_ACCUMULATE_SUM ? 1 : (double)n / (double)(end - first);
		struct losses l;

		if (run_batch(t, t->order + at, (size_t)n, weight, &l, err) < 0)
			return rt_fail_in(err, "step %lld", (long long)t->state.step + 1);
		sum.all += weight * l.all;
		sum.hard += weight * l.hard;
		sum.soft += weight * l.soft;
	}
	s = tc_scope_open(NULL, TC_NO_GRAD | rt_model_scope_flags(t->model));
	if (!isfinite(sum.all)) {
		diverged(t, "the training loss", sum.all, err);
		goto out;
	}
	if (tc_params_grad_norm(s, params, &norm, err) < 0)
		goto out;
	if (!isfinite(norm)) {
		diverged(t, "the gradient", norm, err);
		goto out;
	}
	/* as torch.nn.utils.clip_grad_norm_ */
	if (t->o.max_grad_norm > 0 && t->o.max_grad_norm < norm + 1e-6)
		how.grad_scale = t->o.max_grad_norm / (norm + 1e-6);
	if (tc_params_adamw(s, params, &how, err) < 0) {
		rt_fail_in(err, "step %lld", (long long)t->state.step + 1);
		goto out;
	}
	t->state.step++;
	t->state.batch += batches;
	t->state.epoch_steps++;
	t->state.loss_sum += sum.all;
	t->state.ce_sum += sum.hard;
	t->state.kd_sum += sum.soft;
	*ret = (struct rt_step){ .step = t->state.step,
				 .epoch = t->state.epoch + 1,
				 .learning_rate = rate,
				 .loss = sum.all,
				 .ce_loss = sum.hard,
				 .kd_loss = sum.soft,
				 .grad_norm = norm,
				 .rows = end - first };
	rc = 0;
out:
	tc_scope_close(s);
	return rc;
}

static int tick(void *ctx, size_t done, size_t total, struct rt_err *err)
{
	const struct rt_train_hooks *hooks = ctx;

	(void)done, (void)total;
	return hooks && hooks->tick ? hooks->tick(hooks->ctx, err) : 0;
}

/* Hands what was said to the hook: the highest logit of student and teacher in each row. */
static int tell_answers(const struct rt_trainer *t, const struct rt_train_split *split, const float *logits,
			const struct rt_train_hooks *hooks, struct rt_err *err)
{
	size_t classes = rt_model_label_count(t->model), n = split->rows->n;
	int32_t *said;
	int rc;

	if (!hooks || !hooks->answers)
		return 0;
	said = reallocarray(NULL, n, 2 * sizeof *said);
	if (!said)
		return rt_fail(err, RT_NO_MEMORY, "no memory to evaluate %zu rows", n);
	for (size_t i = 0; i < n; i++) {
		said[i] = (int32_t)rt_argmax(logits + i * classes, classes);
		said[n + i] = split->soft ? (int32_t)rt_argmax(soft_row(split, i, classes), classes) : -1;
	}
	rc = hooks->answers(
		hooks->ctx,
		&(struct rt_answers){ n, split->rows->labels, said, split->soft ? said + n : NULL }, err);
	free(said);
	return rc;
}

int rt_trainer_evaluate(struct rt_trainer *t, const struct rt_train_split *split,
			const struct rt_train_hooks *hooks, struct rt_eval *ret, struct rt_err *err)
{
	size_t classes = rt_model_label_count(t->model), n = split->rows->n, right = 0;
	struct rt_tick each = { tick, (void *)(uintptr_t)hooks };
	float *logits = reallocarray(NULL, n, classes * sizeof *logits);
	double start = rt_clock_monotonic_s();
	struct losses sum = { 0, 0, 0 };
	int rc = -1;

	if (!logits)
		return rt_fail(err, RT_NO_MEMORY, "no memory to evaluate %zu rows", n);
	if (rt_rows_logits(split->rows, t->model, t->o.eval_batch, &each, logits, err) < 0)
		goto out;
	for (size_t i = 0; i < n; i++) {
		const float *row = logits + i * classes;
		int32_t label = split->rows->labels[i];

		sum.hard += label >= 0 ? rt_loss_hard_row(row, classes, label) : NAN;
		sum.soft += split->soft ? rt_loss_soft_row(row, soft_row(split, i, classes), classes,
							   t->o.temperature)
					: NAN;
		right += label >= 0 && rt_argmax(row, classes) == (size_t)label;
	}
	*ret = (struct rt_eval){ .ce_loss = sum.hard / (double)n,
				 .kd_loss = sum.soft / (double)n,
				 .accuracy = (double)right / (double)n,
				 .rows = (int64_t)n };
	ret->loss = (t->o.alpha > 0 ? t->o.alpha * ret->ce_loss : 0) +
		    (t->o.alpha < 1 ? (1 - t->o.alpha) * ret->kd_loss : 0);
	ret->seconds = rt_clock_monotonic_s() - start;
	rc = tell_answers(t, split, logits, hooks, err);
out:
	free(logits);
	return rc;
}

/* The rest of the steps of the epoch that runs. */
static int run_steps(struct rt_trainer *t, const struct rt_train_hooks *hooks, struct rt_err *err)
{
	double from = rt_clock_monotonic_s(), now;

	while (t->state.batch < rt_plan_batches(&t->o.plan)) {
		struct rt_step step;

		if (tick((void *)(uintptr_t)hooks, 0, 0, err) < 0 || run_step(t, &step, err) < 0)
			return -1;
		now = rt_clock_monotonic_s();
		t->state.epoch_seconds += now - from;
		from = now;
		if (hooks && hooks->step && hooks->step(hooks->ctx, &step, err) < 0)
			return -1;
	}
	return 0;
}

static bool improves(struct rt_trainer *t, const struct rt_eval *eval)
{
	double value = t->o.metric == RT_METRIC_LOSS ? eval->loss : eval->accuracy;

	if (!t->validation.rows)
		return true;
	if (t->state.has_best &&
	    !(t->o.metric == RT_METRIC_LOSS ? value < t->state.best : value > t->state.best))
		return false;
	t->state.has_best = true;
	t->state.best = value;
	return true;
}

static bool is_over(const struct rt_trainer *t)
{
	return t->state.epoch >= t->o.plan.epochs ||
	       (t->o.patience > 0 && t->state.since_best >= t->o.patience);
}

/* One epoch: the steps that are left of it, the evaluation, the bookkeeping. */
static int run_epoch(struct rt_trainer *t, const struct rt_train_hooks *hooks, struct rt_epoch *ret,
		     struct rt_err *err)
{
	double steps;

	memset(ret, 0, sizeof *ret);
	rt_plan_order(&t->o.plan, t->state.epoch, t->order);
	if (run_steps(t, hooks, err) < 0)
		return -1;
	/* not from the last step: after a restore there may have been none left */
	ret->learning_rate = rt_schedule_rate(&t->schedule, t->state.step - 1);
	ret->seconds = t->state.epoch_seconds;
	steps = (double)t->state.epoch_steps;
	ret->epoch = t->state.epoch + 1;
	ret->step = t->state.step;
	ret->rows = t->o.plan.rows;
	ret->train_loss = t->state.loss_sum / steps;
	ret->train_ce_loss = t->state.ce_sum / steps;
	ret->train_kd_loss = t->state.kd_sum / steps;
	ret->eval = (struct rt_eval){ NAN, NAN, NAN, NAN, 0, 0 };
	if (t->validation.rows) {
		if (hooks && hooks->evaluating && hooks->evaluating(hooks->ctx, ret->epoch, err) < 0)
			return -1;
		if (rt_trainer_evaluate(t, &t->validation, hooks, &ret->eval, err) < 0)
			return -1;
		if (!isfinite(ret->eval.loss))
			return diverged(t, "the validation loss", ret->eval.loss, err);
	}
	ret->best = improves(t, &ret->eval);
	if (ret->best)
		t->state.best_epoch = ret->epoch;
	t->state.since_best = ret->best ? 0 : t->state.since_best + 1;
	t->state.epoch++;
	t->state.batch = 0;
	t->state.epoch_steps = 0;
	t->state.loss_sum = t->state.ce_sum = t->state.kd_sum = t->state.epoch_seconds = 0;
	ret->last = is_over(t);
	return 0;
}

int rt_trainer_run(struct rt_trainer *t, const struct rt_train_hooks *hooks, struct rt_err *err)
{
	struct rt_epoch epoch = { .last = is_over(t) };

	while (!epoch.last) {
		if (run_epoch(t, hooks, &epoch, err) < 0 ||
		    (hooks && hooks->epoch && hooks->epoch(hooks->ctx, &epoch, err) < 0))
			return -1;
	}
	return 0;
}
