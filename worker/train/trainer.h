/* SPDX-License-Identifier: Apache-2.0 */
/* The epoch loop: steps, evaluation, which epoch is best, when to stop. Over tokenized rows and a model; knows no files,
 * events, servers or teachers (only their logits). The meaning of every number is the Hugging Face Trainer's:
 *
 *   train_loss   plain mean over the epoch's optimizer steps; a partial last batch counts as a full one
 *   eval_loss    mean over the rows of the validation split of the same mixture that is trained
 *   learning_rate  the one used in that step; grad_norm: before clipping
 *   best         a strict improvement; of equals the first
 *
 * Everything random in a step is a function of seed and the step's number, and the learning rate too, so struct
 * rt_train_state, the weights and the optimizer's moments are the whole state of a run: with them it goes on from any step.
 * One thread, the model's. */
#ifndef RT_WORKER_TRAIN_TRAINER_H
#define RT_WORKER_TRAIN_TRAINER_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/train/classes.h"
#include "worker/train/plan.h"
#include "worker/train/rows.h"
#include "worker/train/schedule.h"

struct rt_train_options {
	double alpha, temperature;
	double learning_rate;
	int lr_scheduler; /* enum rt_lr_scheduler */
	double warmup_ratio, weight_decay;
	double max_grad_norm; /* 0: no clipping */
	int accumulation;     /* enum rt_accumulation */
	int metric;	      /* enum rt_metric: what best means */
	int64_t eval_batch;
	int64_t patience;    /* epochs without improvement after which it stops; -1: never */
	struct rt_plan plan; /* .rows is set by rt_trainer_open */
};

/* A split with the teacher's logits. All borrowed for the trainer's life. */
struct rt_train_split {
	const struct rt_rows *rows;
	const float *soft;	 /* (u, classes) logits, or NULL: no teacher */
	const uint32_t *soft_of; /* (rows->n) row of soft; NULL: row i is i */
};

struct rt_train_state {
	int64_t step;  /* optimizer steps done */
	int64_t epoch; /* epochs done */
	int64_t batch; /* batches done in the epoch that runs */
	/* of the epoch that runs */
	int64_t epoch_steps;
	double loss_sum, ce_sum, kd_sum;
	double epoch_seconds; /* of its steps so far */
	/* of all epochs so far */
	bool has_best;
	double best;	    /* the metric's best value */
	int64_t best_epoch; /* from 1 */
	int64_t since_best; /* epochs */
};

/* What a step or an epoch has no value for is NAN: the soft loss without a teacher, the hard one without labels. */
struct rt_step {
	int64_t step, epoch; /* from 1 */
	double learning_rate, loss, ce_loss, kd_loss, grad_norm;
	int64_t rows;
};

struct rt_eval {
	double loss, ce_loss, kd_loss, accuracy;
	int64_t rows;
	double seconds;
};

struct rt_epoch {
	int64_t epoch, step; /* from 1 */
	double train_loss, train_ce_loss, train_kd_loss;
	double learning_rate; /* of the last step */
	double seconds;	      /* training alone */
	int64_t rows;
	struct rt_eval eval;
	bool best; /* better than all before it */
	bool last; /* no other epoch follows */
};

/* Each returns 0, or -1 with err filled: training ends with that error. Any may be NULL. */
struct rt_train_hooks {
	void *ctx;
	int (*step)(void *ctx, const struct rt_step *step, struct rt_err *err);
	int (*evaluating)(void *ctx, int64_t epoch, struct rt_err *err); /* an evaluation begins */
	int (*epoch)(void *ctx, const struct rt_epoch *epoch, struct rt_err *err);
	int (*tick)(void *ctx, struct rt_err *err); /* between batches: the place to stop */
	int (*answers)(void *ctx, const struct rt_answers *a,
		       struct rt_err *err); /* what an evaluation said */
};

struct rt_trainer;

/* model: trainable; borrowed. validation may be NULL: no evaluation, and every epoch is best. With alpha below 1 both splits
 * need soft logits, with alpha above 0 the training rows need labels: RT_INVALID. */
int rt_trainer_open(struct rt_model *model, const struct rt_train_options *o,
		    const struct rt_train_split *train, const struct rt_train_split *validation,
		    struct rt_trainer **ret, struct rt_err *err);
void rt_trainer_close(struct rt_trainer *t);

/* All epochs from the present state on. RT_DIVERGED: a loss or gradient was not finite (the message says at which step and
 * what to do); the model is then as after the step before. Otherwise what a hook or the memory said. */
int rt_trainer_run(struct rt_trainer *t, const struct rt_train_hooks *hooks, struct rt_err *err);

/* One pass over a split without dropout. */
int rt_trainer_evaluate(struct rt_trainer *t, const struct rt_train_split *split,
			const struct rt_train_hooks *hooks, struct rt_eval *ret, struct rt_err *err);

const struct rt_train_state *rt_trainer_state(const struct rt_trainer *t);
/* Goes on from a state that rt_trainer_state gave in another process; before rt_trainer_run. The caller has put back the
 * parameters (rt_model_param) and the moments as well. RT_CONFLICT: the state is not one of this plan. */
int rt_trainer_restore(struct rt_trainer *t, const struct rt_train_state *state, struct rt_err *err);
/* AdamW's moments of rt_model_param(model, param): f32, of its shape, contiguous; borrowed until rt_trainer_close. They change
 * in every step, and writing to them changes the optimizer. param: below rt_model_param_count. */
void rt_trainer_moments(const struct rt_trainer *t, size_t param, struct tc_tensor **ret_exp_avg,
			struct tc_tensor **ret_exp_avg_sq);
int64_t rt_trainer_total_steps(const struct rt_trainer *t);

#endif
