/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a job when its run has ended: one table of reasons and policies. Pure: no store, no processes, no clock.
 *
 *   reason            what the server does
 *   worker_lost       starts the job again from its last saved state, after a growing pause, up to max_restarts times
 *   internal          the same
 *   hub_unavailable   the same
 *   disk_full         pauses the job and resumes it when there is room
 *   out_of_memory     fails the job: the same batch would need the same memory
 *   deadline          fails it: its time is used up
 *   diverged          fails it: the same numbers would come out
 *   bad_input         fails it: the same input would be refused
 * Nonsense from a worker fails the job too: the next worker would be the same program. */
#ifndef RT_SERVER_VERDICT_H
#define RT_SERVER_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "server/jobs.h"
#include "server/life.h"

/* Why a worker was told to stop. */
enum rt_stop {
	RT_STOP_NONE,
	RT_STOP_CANCEL,	  /* a user wants it */
	RT_STOP_PAUSE,	  /* a user wants it */
	RT_STOP_DEADLINE, /* max_runtime_s is over */
	RT_STOP_SHUTDOWN, /* the server goes down */
	RT_STOP_NONSENSE, /* it sent what makes no sense */
	RT_STOP_HUNG,	  /* it gave no sign of life */
};

/* Was it the kernel that killed the worker, because memory was short? */
enum rt_oom {
	RT_OOM_NO,
	RT_OOM_LIKELY, /* it was killed, and the kernel counted such a kill meanwhile; which process is not known */
	RT_OOM_SURE, /* the kernel's log names it */
};

struct rt_ending {
	enum rt_job_status status; /* of the job */
	enum rt_stop stop;
	const char *why;		  /* of RT_STOP_NONSENSE and RT_STOP_HUNG: a sentence */
	enum rt_run_end end;		  /* RT_RUN_GOES_ON: it went without a word */
	const char *reason, *message;	  /* of RT_RUN_FAILED; message of any */
	int64_t exit_status, exit_signal; /* without a word: -1 when not known */
	bool was_away;			  /* without a word: it happened while no server looked */
	bool adopted;	 /* an earlier server started it, so the kernel tells us nothing of its end */
	bool grace_over; /* it did not stop in time and was killed by us */
	enum rt_oom oom;
	int64_t restarts, max_restarts;
	int64_t delay_s; /* before the first restart; doubles with each */
};

struct rt_verdict {
	enum rt_job_move move; /* SUCCEED, STOPPED, PAUSED, REQUEUE or FAIL */
	const char *reason;    /* of a failure, or of what the server makes good; NULL: somebody's wish */
	bool is_restart;       /* REQUEUE: counts for max_restarts */
	bool waits_for_disk;   /* PAUSED: until there is room */
	int64_t delay_s;       /* REQUEUE */
	char message[700];     /* what happened and what to do; may be "" */
};

void rt_verdict_of(const struct rt_ending *e, struct rt_verdict *ret);

#define RT_RESTART_DELAY_MAX_S 300

#endif
