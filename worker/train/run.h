/* SPDX-License-Identifier: Apache-2.0 */
/* One run of a job from its spec to its last event: sets up, asks the teacher, trains, writes checkpoints, reports.
 * README.md traces one. What happens goes to the journal; nothing is printed elsewhere. */
#ifndef RT_WORKER_TRAIN_RUN_H
#define RT_WORKER_TRAIN_RUN_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define RT_CACHE_MAX_BYTES ((int64_t)10 << 30) /* where nobody says otherwise */

struct rt_run_options {
	const char *spec_path;
	const char *dir; /* the run's folder: events.ndjson, checkpoints/, resume/, runs/ */
	const char *
		resume_from; /* the folder of the run before, to go on from its newest state; NULL: a new job */
	int threads;	     /* 0: the spec's, or all this process may use */
	const char *cache_dir;	  /* what jobs share: teachers' logits, checksums of files; NULL: none */
	int64_t cache_max_bytes;  /* of the logits there */
	const char *url;	  /* where to post events; NULL: nowhere */
	const char *token;	  /* of the run; NULL without url */
	const char *const *roots; /* as in rt_setup_options */
	size_t root_count;
	/* Counted up by a signal handler. 1: save the state and end; 2: end without saving. Borrowed */
	const volatile sig_atomic_t *stop;
};

enum rt_run_end {
	RT_RUN_SUCCEEDED = 0,
	RT_RUN_FAILED = 1,
	RT_RUN_CANCELLED = 3, /* the server asked: the best checkpoint stays */
	RT_RUN_PAUSED = 4,    /* the server asked: the state is saved */
	RT_RUN_STOPPED = 5,   /* by a signal: the state is saved */
};

/* -1 and err only when there is no journal to say it in: the folder cannot be written, or holds another run. */
int rt_run(const struct rt_run_options *o, enum rt_run_end *ret, struct rt_err *err);

#endif
