/* SPDX-License-Identifier: Apache-2.0 */
/* Gives queued jobs a slot and a worker, and does what users ask for. What happens between a worker's start and its end is
 * supervisor.h's.
 *
 * The store is the truth, this module's memory only holds what is alive: a run's process and its timers. What a job's state
 * is follows from the store at every step, so a commit that fails loses no decision. */
#ifndef RT_SERVER_SCHEDULER_H
#define RT_SERVER_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "server/cores.h"
#include "server/disk.h"
#include "server/jobs.h"
#include "server/oom.h"
#include "server/trash.h"

struct rt_run;

struct rt_scheduler {
	uv_loop_t *loop;
	struct rt_jobs *jobs;
	struct rt_trash *trash;
	struct rt_disk *disk;
	const char *worker;    /* the program */
	const char *cache_dir; /* what workers share */
	int64_t cache_max_bytes;
	const char *url; /* where workers report, without the path */
	int slots;
	struct rt_cores cores; /* divided between the slots */
	int stop_grace_s;      /* at most, whatever a job's spec allows */
	int restart_delay_s;
	int worker_timeout_s; /* a worker that gives no sign of life for so long is killed */
	struct rt_oom_sources oom;
	struct rt_run *runs; /* whose process is alive, or whose end is not on disk yet */
	int run_count;
	bool wanted;   /* something may be ready to start: rt_scheduler_fill at the end of the turn */
	bool stopping; /* start nothing more */
	uv_timer_t *retry, *retry_end, *wake, *tick;
	int64_t tick_ms; /* when the last tick was */
};

/* Starts workers while slots are free and jobs wait. Commits by itself what it writes before a start. */
void rt_scheduler_fill(struct rt_scheduler *sch);
/* The room on the disk was looked at: resumes jobs that waited for it. */
void rt_scheduler_disk_looked(struct rt_scheduler *sch);

/* Each: 0 and the new status, or -1 with RT_CONFLICT where the job's status does not allow it. */
int rt_scheduler_cancel(struct rt_scheduler *sch, const char *job_id, enum rt_job_status *ret,
			struct rt_err *err);
int rt_scheduler_pause(struct rt_scheduler *sch, const char *job_id, enum rt_job_status *ret,
		       struct rt_err *err);
int rt_scheduler_resume(struct rt_scheduler *sch, const char *job_id, enum rt_job_status *ret,
			struct rt_err *err);
/* RT_CONFLICT too when its running time is used up. */
int rt_scheduler_retry(struct rt_scheduler *sch, const char *job_id, enum rt_job_status *ret,
		       struct rt_err *err);
/* Removes the job with its files: now (*ret_gone), or when its worker has stopped. */
int rt_scheduler_remove(struct rt_scheduler *sch, const char *job_id, const char *reason, bool *ret_gone,
			struct rt_err *err);

/* Tells all workers to save their state and stop; the jobs are queued again. Again: kills them. */
void rt_scheduler_stop(struct rt_scheduler *sch);
bool rt_scheduler_has_stopped(const struct rt_scheduler *sch); /* no process is left */
void rt_scheduler_release(struct rt_scheduler *sch);	       /* forgets what is alive */

/* DATA/runs/<run> or a file below it (name NULL: the folder). New string, or NULL. */
char *rt_scheduler_path(const struct rt_scheduler *sch, const char *run_id, const char *name);

#endif
