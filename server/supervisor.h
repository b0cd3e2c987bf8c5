/* SPDX-License-Identifier: Apache-2.0 */
/* Sees runs from their start to their end: what a worker says, that it falls silent, that it is told to stop and killed when it
 * does not, that it exits, and what becomes of its job then (verdict.h).
 *
 *   rt_run_new ---> ALIVE ---- process ends ----> GONE ---- the job's move is committed ----> freed
 *                     |  the worker's last event moves the job already             ^ fails: again later
 *                     `- silent, stop: SIGTERM, after the grace SIGKILL            `--'
 */
#ifndef RT_SERVER_SUPERVISOR_H
#define RT_SERVER_SUPERVISOR_H

#include "server/executor_local.h"
#include "server/scheduler.h"
#include "server/verdict.h"

struct rt_run {
	struct rt_scheduler *scheduler;
	char id[RT_ID_SIZE], job_id[RT_ID_SIZE];
	struct rt_process process;
	uv_timer_t *deadline, *grace; /* on the heap, NULL before they are set */
	int64_t stop_grace_s;	      /* of the job's spec */
	enum rt_stop stop;
	char why[512];		   /* RT_STOP_NONSENSE, RT_STOP_HUNG: what it was; a failed start: why */
	enum rt_code start_failed; /* RT_OK: it did not */
	struct rt_oom_counts oom;  /* when it started */
	int64_t start_ms;	   /* monotonic; may lie before this server's start */
	int64_t silent_ms;
	int64_t journal_size, journal_at; /* bytes that were seen, and read */
	bool adopted;
	bool grace_over; /* it was killed because it did not stop in time */
	bool gone;	 /* its process has ended, or never was */
	bool settling;	 /* its end is in the turn's transaction */
	struct rt_run *next;
};

/* Not in the list yet. NULL without memory. */
struct rt_run *rt_run_new(struct rt_scheduler *sch, const char *id, const char *job_id);
/* Into the list. The process runs, or the start failed (start_failed and why are set): then its end follows in this turn. */
void rt_run_keep(struct rt_run *run);
void rt_run_free(struct rt_run *run); /* one that is not in the list */
struct rt_run *rt_run_find(struct rt_scheduler *sch, const char *run_id);
struct rt_run *rt_run_find_by_job(struct rt_scheduler *sch, const char *job_id);
/* The job's running time ends in left_ms. */
void rt_run_limit(struct rt_run *run, int64_t left_ms);
/* Tells the worker to stop. The first reason stays, but a user's cancel outweighs all others. */
void rt_run_stop(struct rt_run *run, enum rt_stop why);

/* Takes lines of events from a run's worker. row: its row, brought up to date. RT_GONE when the run is over. RT_INVALID: the
 * worker makes no sense and is stopped; the events before the one in question are kept. A gap is no error. */
int rt_runs_report(struct rt_scheduler *sch, struct rt_run_row *row, const char *lines, size_t len,
		   struct rt_err *err);
/* What a run's worker is to do: "continue", "pause" or "cancel". */
const char *rt_runs_want(struct rt_scheduler *sch, const char *run_id);

/* After a restart: adopts workers that are alive, reads what others left in their journals, ends their runs. */
int rt_runs_recover(struct rt_scheduler *sch, struct rt_err *err);
/* The turn's commit went well, or not: ends that are on disk are forgotten, others are tried again. */
void rt_runs_settle(struct rt_scheduler *sch, bool committed);
/* Tries ends again that could not be written. */
void rt_runs_end_gone(struct rt_scheduler *sch);

/* Removes the job with the files of all its runs once the turn is committed. */
int rt_runs_remove_job(struct rt_scheduler *sch, const char *job_id, const char *reason, struct rt_err *err);
/* Removes what nobody will need from the folders of the job's runs before an attempt: saved states, and checkpoints unless a
 * row says that one lies there. Logs and journals stay. */
int rt_runs_thin(struct rt_scheduler *sch, const char *job_id, int64_t before, struct rt_err *err);

/* Timers on the heap: they outlive what they belong to until libuv has closed them. */
void rt_timer_set(uv_loop_t *loop, uv_timer_t **timer, uv_timer_cb cb, void *arg, uint64_t ms);
void rt_timer_drop(uv_timer_t **timer);

#endif
