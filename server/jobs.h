/* SPDX-License-Identifier: Apache-2.0 */
/* What can be done to a job: submitted, moved through its life, told what its worker says, removed. Joins life.h with the
 * store: every function writes into the turn's transaction (store.h), so its effect is durable after the turn's commit. No
 * HTTP, no processes. */
#ifndef RT_SERVER_JOBS_H
#define RT_SERVER_JOBS_H

#include "api/event.h"
#include "api/spec.h"
#include "base/id.h"
#include "server/resolve.h"
#include "server/store.h"
#include "server/store_events.h"
#include "server/store_jobs.h"
#include "server/store_runs.h"

/* Jobs that may wait at once; more are refused with RT_UNAVAILABLE. */
#define RT_JOBS_QUEUED_MAX 10000

struct rt_jobs {
	struct rt_store *store; /* borrowed */
	struct rt_roots roots;	/* owned by who made this */
	/* Told of every event that was added, before the commit. May be NULL. */
	void (*on_event)(void *arg, const char *job_id);
	/* Told of every checkpoint whose files may go once the turn is committed. May be NULL. */
	void (*on_drop)(void *arg, const char *run_id, const char *checkpoint_id);
	void *arg;
};

/* A new job from a spec that was parsed and resolved. original: what the client sent. */
int rt_jobs_submit(struct rt_jobs *jobs, const struct rt_spec *spec, const char *original,
		   char ret_id[RT_ID_SIZE], struct rt_err *err);

/* Makes a move (life.h) with its history entry and its event. message: a sentence for people, or "". error: the problem of
 * a job that fails (rt_jobs_error_json), or NULL. RT_NOT_FOUND, RT_CONFLICT. ret_status may be NULL. */
int rt_jobs_move(struct rt_jobs *jobs, const char *job_id, enum rt_job_move move, const char *message,
		 const json_t *error, enum rt_job_status *ret_status, struct rt_err *err);

/* Why the server, not a user, moves a job to queued or paused, and what it waits for there. */
struct rt_wait {
	const char *reason; /* RT_REASONS */
	int64_t until_ms;   /* queued: not before; RT_SQL_NO_INT: at once */
	int64_t bytes;	    /* paused: until so much of the disk is free; RT_SQL_NO_INT */
	bool is_restart;    /* counts for max_restarts */
};
/* RT_MOVE_REQUEUE or RT_MOVE_PAUSED with such a reason. */
int rt_jobs_wait(struct rt_jobs *jobs, const char *job_id, enum rt_job_move move, const struct rt_wait *wait,
		 const char *message, struct rt_err *err);

/* Changes what a user may change: patch is an object with some of name, notes, tags, priority, max_runtime_s, max_restarts,
 * stop_grace_s, resources. RT_UNPROCESSABLE: problems says what is wrong. RT_CONFLICT: not in this status. */
int rt_jobs_edit(struct rt_jobs *jobs, const char *job_id, const json_t *patch, struct rt_problems *problems,
		 struct rt_err *err);

/* The job's spec as it is stored. The caller releases *ret. */
int rt_jobs_spec(const struct rt_job *job, struct rt_spec *ret, struct rt_err *err);

/* {"reason", "message", and a problem document's members}. errors: a list [{pointer, detail, suggestion?}], or NULL. */
json_t *rt_jobs_error_json(const char *reason, const char *message, const json_t *errors);
/* RT_MOVE_FAIL with such an error. */
int rt_jobs_fail(struct rt_jobs *jobs, const char *job_id, const char *reason, const char *message,
		 const json_t *errors, struct rt_err *err);

/* A queued job becomes a running one, with a new run whose row is *ret. token_sha256: what the run's token hashes to. */
int rt_jobs_take(struct rt_jobs *jobs, const char *job_id, const char *token_sha256, struct rt_run_row *ret,
		 struct rt_err *err);

/* An event of the server's own. data may be NULL. */
int rt_jobs_tell(struct rt_jobs *jobs, const char *job_id, const char *run_id, int64_t attempt,
		 const char *type, const char *level, const char *message, const json_t *data,
		 struct rt_err *err);

/* How a run's worker said that it ended. */
enum rt_run_end {
	RT_RUN_GOES_ON,
	RT_RUN_SUCCEEDED,
	RT_RUN_FAILED,
	RT_RUN_CANCELLED,
	RT_RUN_PAUSED,	/* its state is saved: a user wanted a pause */
	RT_RUN_STOPPED, /* its state is saved: it was told to end by a signal */
};

/* Stores one event of a worker and what follows from it. run->last_seq moves on. An event that is stored already is left
 * out; one that leaves a gap is RT_CONFLICT and the worker has to send from last_seq + 1. RT_INVALID: the event makes no
 * sense. The end itself (ret_end) moves no job: why the worker was stopped is the scheduler's knowledge. */
int rt_jobs_ingest(struct rt_jobs *jobs, struct rt_run_row *run, const struct rt_event *event,
		   enum rt_run_end *ret_end, struct rt_err *err);

/* Removes a job and all its rows. Its files are the caller's. reason: "user", "keep_days" or "max_bytes", for those who follow
 * all jobs. */
int rt_jobs_remove(struct rt_jobs *jobs, const char *job_id, const char *reason, struct rt_err *err);

#endif
