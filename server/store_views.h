/* SPDX-License-Identifier: Apache-2.0 */
/* What pages ask of the store beside single things: how many jobs there are, a job's steps thinned out, its other events
 * from the newest, its evaluations. Reads, but for rt_store_evaluation_put. */
#ifndef RT_SERVER_STORE_VIEWS_H
#define RT_SERVER_STORE_VIEWS_H

#include "server/store_events.h"
#include "server/store_jobs.h"

/* How many jobs of each status meet the filter's tags and words; its other members do not count. */
int rt_store_jobs_counts(struct rt_store *st, const struct rt_jobs_filter *filter,
			 int64_t ret[RT_JOB_STATUS_COUNT], struct rt_err *err);

/* At most `points` of the job's train.progress events that are not superseded, evenly, the last always among them, oldest
 * first. */
int rt_store_steps_read(struct rt_store *st, const char *job_id, int64_t points,
			bool (*each)(void *arg, const struct rt_event_row *row), void *arg,
			struct rt_err *err);

struct rt_events_filter {
	const char *job_id; /* NULL: all jobs */
	int64_t after;	    /* seq; with newest_first only events below it, 0: all */
	bool newest_first;
	bool without_progress; /* neither train.progress nor teacher.progress */
	int64_t limit;
};
/* As rt_store_events_read. */
int rt_store_events_list(struct rt_store *st, const struct rt_events_filter *f,
			 bool (*each)(void *arg, const struct rt_event_row *row), void *arg,
			 struct rt_err *err);

struct rt_evaluation_row {
	int64_t epoch, attempt, event_seq;
	const char *data; /* JSON object: eval.classes's */
	int64_t created_ms;
};
/* A later attempt's takes the place of an earlier one's. */
int rt_store_evaluation_put(struct rt_store *st, const char *job_id, const struct rt_evaluation_row *row,
			    struct rt_err *err);
/* Forgets those of attempts before `attempt` of epochs that are done again. */
int rt_store_evaluations_drop(struct rt_store *st, const char *job_id, int64_t attempt, int64_t after_epoch,
			      struct rt_err *err);
/* Calls each() with the evaluation of the epoch (RT_SQL_NO_INT: the last). 1 when there is one, 0, -1. */
int rt_store_evaluation_get(struct rt_store *st, const char *job_id, int64_t epoch,
			    int (*each)(void *arg, const struct rt_evaluation_row *row, struct rt_err *err),
			    void *arg, struct rt_err *err);

#endif
