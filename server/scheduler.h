/* SPDX-License-Identifier: Apache-2.0 */
/* Gives queued jobs a slot and a worker, and sees every run to its end: what the worker says, that it exits, that it is told
 * to stop (cancelled, out of time, the server goes down) and killed when it does not.
 *
 * The store is the truth, this module's memory only holds what is alive: a run's process and its timers. What a job's state
 * is follows from the store at every step, so a commit that fails loses no decision. */
#ifndef RT_SERVER_SCHEDULER_H
#define RT_SERVER_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "server/executor_local.h"
#include "server/jobs.h"
#include "server/trash.h"

/* Why a worker was told to stop; decides what its job becomes. */
enum rt_stop {
	RT_STOP_NONE,
	RT_STOP_CANCEL,	  /* a user wants it: cancelled */
	RT_STOP_DEADLINE, /* max_runtime_s is over: failed */
	RT_STOP_SHUTDOWN, /* the server goes down: queued again */
	RT_STOP_NONSENSE, /* it sent what makes no sense: failed */
};

struct rt_run {
	struct rt_scheduler *scheduler;
	char id[RT_ID_SIZE], job_id[RT_ID_SIZE];
	struct rt_process process;
	uv_timer_t *deadline, *grace; /* on the heap, NULL before they are set */
	enum rt_stop stop;
	char why[512];	   /* RT_STOP_NONSENSE: what it was */
	int64_t oom_kills; /* of the machine when it started */
	struct rt_run *next;
};

struct rt_scheduler {
	uv_loop_t *loop;
	struct rt_jobs *jobs;
	struct rt_trash *trash;
	const char *worker; /* the program */
	const char *url;    /* where workers report, without the path */
	int slots, threads; /* threads: a worker's share of the machine's cores */
	int stop_grace_s;
	struct rt_run *runs; /* whose process is alive */
	int run_count;
	bool wanted;   /* something may be ready to start: rt_scheduler_fill at the end of the turn */
	bool stopping; /* start nothing more */
	uv_timer_t *retry;
};

/* After a restart: adopts workers that are alive, reads what others left in their journals, ends their runs. */
int rt_scheduler_recover(struct rt_scheduler *sch, struct rt_err *err);
/* Starts workers while slots are free and jobs wait. Commits by itself what it writes before a start. */
void rt_scheduler_fill(struct rt_scheduler *sch);

/* Cancels a job in any state that allows it. 0 and the new status. */
int rt_scheduler_cancel(struct rt_scheduler *sch, const char *job_id, enum rt_job_status *ret,
			struct rt_err *err);
/* Removes the job with its files: now (*ret_gone), or when its worker has stopped. */
int rt_scheduler_delete(struct rt_scheduler *sch, const char *job_id, bool *ret_gone, struct rt_err *err);

/* Takes lines of events from a run's worker. run: its row, brought up to date. RT_GONE when the run is over. RT_INVALID: the
 * worker makes no sense and is stopped; the events before the one in question are kept. A gap is no error. */
int rt_scheduler_report(struct rt_scheduler *sch, struct rt_run_row *run, const char *lines, size_t len,
			struct rt_err *err);
/* What a run's worker is to do: "continue" or "cancel". */
const char *rt_scheduler_want(struct rt_scheduler *sch, const char *run_id);

/* Tells all workers to stop; the jobs are queued again. run_count is 0 when all have. Again: kills them. */
void rt_scheduler_stop(struct rt_scheduler *sch);
void rt_scheduler_release(struct rt_scheduler *sch); /* forgets what is alive */

/* DATA/runs/<run> or a file below it (name NULL: the folder). New string, or NULL. */
char *rt_scheduler_path(const struct rt_scheduler *sch, const char *run_id, const char *name);

#endif
