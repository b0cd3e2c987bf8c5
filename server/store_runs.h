/* SPDX-License-Identifier: Apache-2.0 */
/* Runs in the store: attempts at a job by a worker process. */
#ifndef RT_SERVER_STORE_RUNS_H
#define RT_SERVER_STORE_RUNS_H

#include <stdint.h>

#include "base/file.h"
#include "base/id.h"
#include "server/store.h"

struct rt_run_row {
	char id[RT_ID_SIZE], job_id[RT_ID_SIZE];
	int64_t attempt;
	char token_sha256[RT_SHA256_SIZE];
	int64_t pid, pid_start; /* RT_SQL_NO_INT before the process is there */
	int64_t last_seq;	/* of the worker's events */
	int64_t from_step;	/* where its training began; RT_SQL_NO_INT: it did not yet */
	int64_t created_ms;
	int64_t ended_ms; /* RT_SQL_NO_INT while it runs */
};

int rt_store_run_add(struct rt_store *st, const struct rt_run_row *run, struct rt_err *err);
int rt_store_run_get(struct rt_store *st, const char *id, struct rt_run_row *ret,
		     struct rt_err *err); /* RT_NOT_FOUND */
int rt_store_run_set_pid(struct rt_store *st, const char *id, int64_t pid, int64_t pid_start,
			 struct rt_err *err);
int rt_store_run_set_seq(struct rt_store *st, const char *id, int64_t last_seq, struct rt_err *err);
int rt_store_run_set_from_step(struct rt_store *st, const char *id, int64_t from_step, struct rt_err *err);
/* When the run's last event came; RT_SQL_NO_INT: it said nothing. */
int rt_store_run_last_event(struct rt_store *st, const char *id, int64_t *ret_ms, struct rt_err *err);
/* exit_status, exit_signal: RT_SQL_NO_INT when not known. */
int rt_store_run_end(struct rt_store *st, const char *id, int64_t exit_status, int64_t exit_signal,
		     int64_t now_ms, struct rt_err *err);
/* Calls each() for the runs that have not ended (job_id NULL), or for all runs of a job. */
int rt_store_runs_list(struct rt_store *st, const char *job_id,
		       void (*each)(void *arg, const struct rt_run_row *run), void *arg, struct rt_err *err);

#endif
