/* SPDX-License-Identifier: Apache-2.0 */
/* The server: everything that is shared hangs from one struct rt_server, which main owns. One thread, one libuv loop.
 *
 * A turn of the loop: callbacks run (HTTP requests, workers that exit, timers); their writes collect in one transaction.
 * Before the loop waits again rt_server_flush commits it, and only then are the answers to those writes sent, the followers
 * of events woken and free slots filled. */
#ifndef RT_SERVER_SERVER_H
#define RT_SERVER_SERVER_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"
#include "server/disk.h"
#include "server/http.h"
#include "server/jobs.h"
#include "server/options.h"
#include "server/retention.h"
#include "server/predictor.h"
#include "server/scheduler.h"
#include "server/stream.h"
#include "server/trash.h"
#include "server/validator.h"

struct rt_server {
	uv_loop_t loop;
	bool loop_ready;
	const struct rt_options *options; /* borrowed from main */
	char *data_dir;			  /* real path */
	char *cache_dir;		  /* below it */
	int lock_fd;			  /* holds DATA/retort.lock */
	struct rt_store *store;
	struct rt_jobs jobs;
	struct rt_http http;
	struct rt_scheduler scheduler;
	struct rt_validator validator;
	struct rt_predictors predictors;
	struct rt_streams streams;
	struct rt_trash trash;
	struct rt_disk disk;
	struct rt_pruner pruner;
	char *worker; /* the program */
	uv_prepare_t prepare;
	uv_check_t check;
	uv_timer_t disk_timer;
	uv_signal_t signals[2];
	bool handles_ready;
	bool stopping;
	struct rt_req *answers, **answers_end; /* that wait for the commit */
};

/* Takes the data directory, opens the store, recovers what an earlier server left, and listens. */
int rt_server_open(struct rt_server *s, const struct rt_options *options, struct rt_err *err);
int rt_server_run(struct rt_server *s);	   /* until SIGTERM or SIGINT; 0 */
void rt_server_close(struct rt_server *s); /* a half-open one is fine */

/* For respond.c and http.c: an answer that waits for the commit, and one that must not any more. */
void rt_server_answer_after_commit(struct rt_server *s, struct rt_req *req);
void rt_server_forget_answer(struct rt_server *s, struct rt_req *req);
/* Commits the turn's writes and does what waits for that. */
void rt_server_flush(struct rt_server *s);

#endif
