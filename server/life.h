/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a job: its states and the moves between them. Knows no SQL and no HTTP.
 *
 *   submit                accept             take                   succeed
 *  --------> VALIDATING ----------> QUEUED --------> RUNNING -----------------> SUCCEEDED
 *                |                  ^ |  ^            | |  |`------ fail -----> FAILED
 *                |          resume  | |  `- requeue --' |  |                      ^
 *                |                  | v pause           |  `-- pause              |
 *                |             PAUSED <--- paused --- PAUSING ------ fail --------'
 *                |                | |                 |
 *                `--- cancel ---. | |      cancel     | cancel
 *                               v v v                 v
 *                             CANCELLED <--stopped-- CANCELLING   (also QUEUED: cancelled at once)
 *
 *   FAILED, CANCELLED -- retry --> QUEUED: the job goes on from what its last attempt saved.
 *
 * VALIDATING and QUEUED may fail too (what a job needs has gone before it runs). RUNNING may be stopped (someone ended the
 * worker) and paused (it waits for room on the disk), CANCELLING and PAUSING may succeed (the work was done before the word
 * arrived). A new job is QUEUED at once while all that POST checks fits in a request; VALIDATING is for checks that take
 * longer. */
#ifndef RT_SERVER_LIFE_H
#define RT_SERVER_LIFE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum rt_job_status {
	RT_JOB_VALIDATING,
	RT_JOB_QUEUED,
	RT_JOB_RUNNING,
	RT_JOB_PAUSING,
	RT_JOB_PAUSED,
	RT_JOB_CANCELLING,
	RT_JOB_SUCCEEDED, /* this one and those below are final */
	RT_JOB_FAILED,
	RT_JOB_CANCELLED,
};
#define RT_JOB_STATUS_COUNT (RT_JOB_CANCELLED + 1)

enum rt_job_move {
	RT_MOVE_ACCEPT,	 /* the checks are done */
	RT_MOVE_TAKE,	 /* a slot is free */
	RT_MOVE_REQUEUE, /* its worker has gone, through no wish of a user: the job runs again */
	RT_MOVE_PAUSE,	 /* a user asks; again is fine */
	RT_MOVE_PAUSED,	 /* the worker has stopped, or there is no room for what it writes */
	RT_MOVE_RESUME,	 /* a user asks */
	RT_MOVE_CANCEL,	 /* a user asks; again is fine */
	RT_MOVE_RETRY,	 /* a user asks */
	RT_MOVE_STOPPED, /* the worker has stopped and keeps what it has */
	RT_MOVE_SUCCEED,
	RT_MOVE_FAIL,
};
#define RT_MOVE_COUNT (RT_MOVE_FAIL + 1)

const char *rt_job_status_word(enum rt_job_status status);	    /* "queued"; static */
int rt_job_status_parse(const char *word, enum rt_job_status *ret); /* -1: no such status */
bool rt_job_status_is_final(enum rt_job_status status);
const char *rt_job_move_word(enum rt_job_move move); /* "cancel"; static */

/* What a user may ask for in this status, the n-th of it from 0: "pause", "cancel", "delete"… NULL after the last. Static.
 * What would change nothing is left out. */
const char *rt_life_action(enum rt_job_status status, size_t n);

/* Where move leads from there. RT_CONFLICT names the status and what a user may do instead. */
int rt_life_move(enum rt_job_status from, enum rt_job_move move, enum rt_job_status *ret, struct rt_err *err);

#endif
