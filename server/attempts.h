/* SPDX-License-Identifier: Apache-2.0 */
/* Attempts of one job that go on from each other: what an earlier one said of steps that a later one does again is superseded.
 * It stays in the history and counts no more; nothing stands twice. Writes into the turn's transaction. */
#ifndef RT_SERVER_ATTEMPTS_H
#define RT_SERVER_ATTEMPTS_H

#include <jansson.h>

#include "server/jobs.h"

/* The run's training begins behind from_step (0: from nothing). Events, epochs and checkpoints of earlier attempts with a later
 * step are superseded, and so are checkpoints that are not in listed (ids; NULL: all are meant). Those that the run's folder
 * holds now belong to the run. The job's best and last become what they were at from_step; while there was none, they stay. */
int rt_attempt_begin(struct rt_jobs *jobs, struct rt_run_row *run, int64_t from_step, const json_t *listed,
		     int64_t now_ms, struct rt_err *err);
/* Removes checkpoints that are superseded, but not the best and the last while nothing stands in their places. */
int rt_attempt_drop_superseded(struct rt_jobs *jobs, const char *job_id, int64_t now_ms, struct rt_err *err);

#endif
