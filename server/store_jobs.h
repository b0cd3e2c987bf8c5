/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs in the store: rows in and out. Which changes are allowed is life.h's business, not this module's. */
#ifndef RT_SERVER_STORE_JOBS_H
#define RT_SERVER_STORE_JOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"
#include "server/life.h"
#include "server/store.h"

/* Strings may be NULL where the column may; integers are RT_SQL_NO_INT and reals NaN when not known. */
struct rt_job {
	char *id, *name, *notes;
	enum rt_job_status status;
	char *phase;
	int64_t priority;
	char *spec, *original_spec, *loss; /* JSON */
	int64_t max_runtime_s;
	int64_t attempt; /* runs so far */
	char *run_id;	 /* the latest */
	int64_t revision, restarts, ran_ms;
	char *wait_reason; /* what it waits for by itself; NULL: nothing */
	int64_t wait_until_ms, wait_bytes;
	bool delete_wanted;
	char *error;   /* JSON */
	char *history; /* JSON list */
	int64_t created_ms, updated_ms, started_ms, finished_ms;
	int64_t progress_ms;
	double percent;
	int64_t epoch, total_epochs;
	double eta_s;
	int64_t best_epoch;
	double best_accuracy;
	char *best_checkpoint_id, *last_checkpoint_id;
};

/* Adds the job with its tags. All strings are copied. */
int rt_store_job_add(struct rt_store *st, const struct rt_job *job, char *const *tags, size_t tag_count,
		     struct rt_err *err);
/* RT_NOT_FOUND names the id. The caller releases *ret. */
int rt_store_job_get(struct rt_store *st, const char *id, struct rt_job *ret, struct rt_err *err);
void rt_job_release(struct rt_job *job); /* a zeroed one is fine */

struct rt_jobs_filter {
	unsigned statuses;	 /* bit per enum rt_job_status; 0: all */
	const char *const *tags; /* a job must have them all */
	size_t tag_count;	 /* up to RT_JOBS_FILTER_TAGS */
	const char *const
		*words; /* its id, name, models, data set and tags must hold them all; case (ASCII) is one */
	size_t word_count;
	const char *after; /* an id, or NULL */
	bool oldest_first;
	int64_t limit;
};
#define RT_JOBS_FILTER_TAGS 16
/* For store_*.c: "SELECT what FROM jobs" under the filter, with its order and limit, or with `tail` in their place. */
sqlite3_stmt *rt_store_jobs_select(struct rt_store *st, const char *what, const struct rt_jobs_filter *filter,
				   const char *tail, struct rt_err *err);
/* Calls each() for every job in order; the job and its strings are borrowed for that call. */
int rt_store_jobs_list(struct rt_store *st, const struct rt_jobs_filter *filter,
		       void (*each)(void *arg, const struct rt_job *job), void *arg, struct rt_err *err);
int rt_store_jobs_count(struct rt_store *st, enum rt_job_status status, int64_t *ret, struct rt_err *err);

/* No job waits longer than this for its next try, whatever its row says: clocks jump. */
#define RT_WAIT_MAX_MS (60 * 60 * INT64_C(1000))

/* The queued job whose turn it is: priority, then age; not those that wait, nor those that skip() does not want. 1 and
 * ret_id, 0 when there is none, -1. */
int rt_store_job_next(struct rt_store *st, int64_t now_ms, bool (*skip)(void *arg, const char *id), void *arg,
		      char ret_id[RT_ID_SIZE], struct rt_err *err);
/* When the first of the queued jobs that wait has waited enough; RT_SQL_NO_INT: none waits. */
int rt_store_jobs_next_wait(struct rt_store *st, int64_t now_ms, int64_t *ret_ms, struct rt_err *err);
/* Calls each() for the paused jobs that wait for reason by themselves, the one with the highest priority first. */
int rt_store_jobs_waiting(struct rt_store *st, const char *reason,
			  void (*each)(void *arg, const char *id, int64_t bytes), void *arg,
			  struct rt_err *err);

/* What a move changes. entry: JSON {status, phase, at, message}, appended to the history. error: JSON; NULL: none. What the
 * job waited for is over. */
int rt_store_job_set_status(struct rt_store *st, const char *id, enum rt_job_status status, const char *phase,
			    const char *entry, const char *error, int64_t now_ms, struct rt_err *err);
int rt_store_job_set_run(struct rt_store *st, const char *id, const char *run_id, int64_t attempt,
			 int64_t now_ms, struct rt_err *err);
int rt_store_job_set_phase(struct rt_store *st, const char *id, const char *phase, const char *entry,
			   int64_t now_ms, struct rt_err *err);
/* Values that are not known (RT_SQL_NO_INT, NaN) leave percent and epoch as they are and clear eta_s. */
int rt_store_job_set_progress(struct rt_store *st, const char *id, double percent, int64_t epoch,
			      double eta_s, int64_t now_ms, struct rt_err *err);
/* A later attempt goes on from before the end of an earlier one. NaN and RT_SQL_NO_INT: not known. */
int rt_store_job_reset_progress(struct rt_store *st, const char *id, double percent, int64_t epoch,
				struct rt_err *err);
int rt_store_job_set_wait(struct rt_store *st, const char *id, const char *reason, int64_t until_ms,
			  int64_t bytes, struct rt_err *err);
int rt_store_job_set_restarts(struct rt_store *st, const char *id, int64_t restarts, struct rt_err *err);
int rt_store_job_add_ran(struct rt_store *st, const char *id, int64_t ms, struct rt_err *err);
/* What a user may change: name, notes, priority, max_runtime_s, spec of *job, and the tags. */
int rt_store_job_edit(struct rt_store *st, const struct rt_job *job, char *const *tags, size_t tag_count,
		      int64_t now_ms, struct rt_err *err);
int rt_store_job_set_best(struct rt_store *st, const char *id, int64_t epoch, double accuracy,
			  const char *checkpoint_id, struct rt_err *err);
int rt_store_job_set_last(struct rt_store *st, const char *id, const char *checkpoint_id, struct rt_err *err);
int rt_store_job_want_delete(struct rt_store *st, const char *id, struct rt_err *err);
/* Removes the job and all rows that belong to it. */
int rt_store_job_delete(struct rt_store *st, const char *id, struct rt_err *err);

#endif
