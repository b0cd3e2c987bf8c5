/* SPDX-License-Identifier: Apache-2.0 */
/* Writes what a run keeps, beside training: the training thread copies the numbers into memory of the saver's and goes on; a
 * thread of the saver's, with less claim to the processor, hashes and writes. One job at a time:
 *
 *   begin          (the checkpoint is there)  poll says it   go_on          poll says it
 *   -----> COPIED -------------------------> CHECKPOINT ------------> STATE -------------> idle
 *             `--- no checkpoint asked for ------------------------------^
 *
 * The stop in the middle is for the caller's event: a state may name a checkpoint only when others have been told of it.
 * All functions but the job's own are for the training thread. */
#ifndef RT_WORKER_TRAIN_SAVER_H
#define RT_WORKER_TRAIN_SAVER_H

#include <stdbool.h>

#include "base/err.h"
#include "worker/train/resume.h"
#include "worker/weights/weights.h"

struct rt_saver;

struct rt_saver_options {
	const char *dir; /* the run's folder */
	/* Both borrowed until rt_saver_close; read only in rt_saver_begin. */
	const struct rt_model *model;
	const struct rt_trainer *trainer;
	/* Called once on the saver's thread, beside training, before anything is written; rt_saver_ready waits for it. Or NULL. */
	int (*prepare)(void *ctx, struct rt_err *err);
	void *ctx; /* borrowed */
};

int rt_saver_open(const struct rt_saver_options *o, struct rt_saver **ret, struct rt_err *err);
/* Gives up what is being written, and waits for that. NULL is fine. */
void rt_saver_close(struct rt_saver *s);

/* Waits until prepare is done; -1 with its error. */
int rt_saver_ready(struct rt_saver *s, struct rt_err *err);

struct rt_saver_job {
	/* On the saver's thread. weights: the parameters as they were, with names and shapes. NULL: no checkpoint. */
	int (*checkpoint)(void *ctx, const struct rt_tensor *weights, size_t n, struct rt_err *err);
	void *ctx;		/* borrowed until the job is over */
	struct rt_resume state; /* given */
};

/* Copies parameters and moments and hands the job over. The saver must be idle. job->state is taken in any case. */
int rt_saver_begin(struct rt_saver *s, struct rt_saver_job *job, struct rt_err *err);

enum rt_saver_news {
	RT_SAVER_IDLE,
	RT_SAVER_BUSY,
	RT_SAVER_CHECKPOINT, /* written; the saver waits for rt_saver_go_on */
	RT_SAVER_STATE,	     /* told once: the state is on disk and the job is over */
};
/* block: waits while it would be busy. -1 and err: the job failed and is over; told once. */
int rt_saver_poll(struct rt_saver *s, bool block, enum rt_saver_news *ret, struct rt_err *err);
void rt_saver_go_on(struct rt_saver *s);

#endif
