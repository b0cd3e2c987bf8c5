/* SPDX-License-Identifier: Apache-2.0 */
/* Events in the store: appended, read in order of seq. */
#ifndef RT_SERVER_STORE_EVENTS_H
#define RT_SERVER_STORE_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/store.h"

struct rt_event_row {
	int64_t seq;
	const char *id, *job_id;
	const char *run_id; /* NULL: the server's own event */
	int64_t run_seq;    /* RT_SQL_NO_INT likewise */
	int64_t attempt;
	const char *type, *level, *message;
	const char *data; /* JSON object on one line */
	int64_t created_ms;
	bool superseded; /* a later attempt went on from before it */
};

/* The columns of table events that make a row, in its order. */
#define RT_EVENT_COLUMNS                                                                                     \
	"seq, id, job_id, run_id, run_seq, attempt, type, level, message, data, created_ms, superseded"

/* Calls each() for every row of stmt, which selects RT_EVENT_COLUMNS, until it returns false. stmt: given. */
int rt_store_event_rows(struct rt_store *st, sqlite3_stmt *stmt,
			bool (*each)(void *arg, const struct rt_event_row *row), void *arg,
			struct rt_err *err);

/* seq of the row is ignored. RT_CONFLICT when the run's event of that number is there already. */
int rt_store_event_add(struct rt_store *st, const struct rt_event_row *row, int64_t *ret_seq,
		       struct rt_err *err);
/* Calls each() for up to limit events above `after` of the job (NULL: of all), in order, until it returns false. The row is
 * borrowed for that call. */
int rt_store_events_read(struct rt_store *st, const char *job_id, int64_t after, int64_t limit,
			 bool (*each)(void *arg, const struct rt_event_row *row), void *arg,
			 struct rt_err *err);
/* The highest seq of the job (NULL: of all, deleted ones too); 0 when there is none. */
int rt_store_events_last(struct rt_store *st, const char *job_id, int64_t *ret, struct rt_err *err);

/* What attempts before `attempt` said of steps after from_step counts no more: their progress, epochs and checkpoints stay in
 * the history, marked. */
int rt_store_events_supersede(struct rt_store *st, const char *job_id, int64_t attempt, int64_t from_step,
			      struct rt_err *err);

struct rt_epoch_row {
	int64_t epoch, attempt, step, event_seq;
	bool superseded;
	double eval_accuracy;
	const char *data; /* JSON object: epoch.completed's */
	int64_t created_ms;
};
/* The same epoch of an earlier attempt is superseded by it. */
int rt_store_epoch_put(struct rt_store *st, const char *job_id, const struct rt_epoch_row *row,
		       struct rt_err *err);
/* In order of epoch, then attempt; those that are superseded only if all. */
int rt_store_epochs_read(struct rt_store *st, const char *job_id, bool all,
			 void (*each)(void *arg, const struct rt_epoch_row *row), void *arg,
			 struct rt_err *err);
int rt_store_epochs_supersede(struct rt_store *st, const char *job_id, int64_t attempt, int64_t from_step,
			      struct rt_err *err);
/* The last epoch that counts; RT_SQL_NO_INT: none. */
int rt_store_epochs_last(struct rt_store *st, const char *job_id, int64_t *ret, struct rt_err *err);
/* NaN when the epoch is not there. */
int rt_store_epoch_accuracy(struct rt_store *st, const char *job_id, int64_t epoch, double *ret,
			    struct rt_err *err);

#endif
