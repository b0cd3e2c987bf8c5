/* SPDX-License-Identifier: Apache-2.0 */
/* What run.c and keep.c share: a run under way. For those two alone. */
#ifndef RT_WORKER_TRAIN_RUN_PARTS_H
#define RT_WORKER_TRAIN_RUN_PARTS_H

#include <jansson.h>
#include <math.h>

#include "base/clock.h"
#include "worker/export/export.h"
#include "worker/export/tb.h"
#include "worker/train/checkpoints.h"
#include "worker/train/classes.h"
#include "worker/train/journal.h"
#include "worker/train/resume.h"
#include "worker/train/run.h"
#include "worker/train/saver.h"
#include "worker/train/setup.h"
#include "worker/train/teacher.h"
#include "worker/train/trainer.h"

/* A checkpoint while the saver makes it. */
struct pending {
	struct rt_epoch epoch;
	struct rt_export what;
	struct rt_epoch_record *epochs; /* its own copy: training goes on meanwhile */
	const char *dir, *id;		/* the checkpoints' until commit */
	char best_id[RT_ID_SIZE];
	int64_t tb_bytes;
	struct rt_checkpoint_info info; /* once it is there */
	bool told;
};

struct run {
	const struct rt_run_options *o;
	struct rt_journal *journal;
	struct rt_spec spec;
	bool has_spec;
	int threads;
	double start_s;
	double before_s; /* seconds of the attempts before this one, up to the state that it goes on from */
	const char *reason;	/* of the failure, where the error's code does not say it */
	enum rt_run_end ending; /* how a run that somebody ends is called */

	struct rt_problems *problems, *warnings;
	struct rt_setup *setup;
	struct rt_soft soft;
	struct rt_trainer *trainer;
	struct rt_checkpoints *checkpoints;
	struct rt_resume_file *resumed; /* what the run goes on from; NULL: the beginning */
	struct rt_resume_prints prints;
	struct rt_saver *saver;
	struct pending pending;
	double saved_s;		     /* when the last state was begun */
	struct rt_train_state saved; /* of which state; step -1: none yet */
	struct rt_tb *tb;
	char *tb_dir;
	int64_t total_steps;

	struct rt_epoch_record *epochs; /* all so far */
	size_t epoch_count;
	int64_t best_epoch;
	double best_accuracy, best_metric;

	const char *phase; /* the last one told */
	int64_t told_ms;   /* of the last progress event */
	/* of the time since the last progress event */
	int64_t recent_rows, recent_steps;
	double recent_s;
	double step_s, eval_s; /* seconds a step (smoothed), an evaluation; 0: not known yet */
	int64_t evaluating;    /* the epoch that is evaluated */
};

/* A number, or null when it is none. */
static inline json_t *rt_run_real(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

/* Of the job: this attempt and, as far as its state knows, those before. */
static inline double rt_run_seconds(const struct run *r)
{
	return r->before_s + rt_clock_monotonic_s() - r->start_s;
}

/* ---- keep.c: checkpoints and states, both written beside training ---- */

/* Finds the state to go on from in resume_from, and makes it this run's. r->resumed stays NULL where there is none. */
int rt_run_find_state(struct run *r, struct rt_err *err);
/* Are models and data still what the state was trained with? After the set up. RT_CONFLICT, and the fields in r->problems. */
int rt_run_check_state(struct run *r, struct rt_err *err);
/* Opens checkpoints, TensorBoard file and trainer's state as they were, or for a beginning; then the saver. */
int rt_run_open_outputs(struct run *r, struct rt_err *err);
int rt_run_go_on(struct run *r, struct rt_err *err);
/* Saves the state, if it is time for one and the saver is free. */
int rt_run_save_in_time(struct run *r, struct rt_err *err);
/* Begins to write the checkpoint of an epoch, and then the state. The saver is idle. */
int rt_run_save_epoch(struct run *r, const struct rt_epoch *e, struct rt_err *err);
/* Takes notice of what the saver has done; block: of all that it still has to do. */
int rt_run_settle(struct run *r, bool block, struct rt_err *err);
/* Saves where the run is, if that can be done and has not been. What goes wrong is told; an older state is still there. */
void rt_run_save_for_later(struct run *r);
/* Nobody will go on from the states of a run that is done. */
void rt_run_remove_states(const struct run *r);
void rt_run_release_kept(struct run *r);

#endif
