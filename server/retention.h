/* SPDX-License-Identifier: Apache-2.0 */
/* Which finished jobs go, so that the data directory does not grow for ever: those that ended more than keep_days ago, then the
 * oldest until what the runs take (checkpoints, states, logs) is at most max_bytes. A job that others which are not finished
 * name as their teacher or student stays. Making a plan changes nothing. */
#ifndef RT_SERVER_RETENTION_H
#define RT_SERVER_RETENTION_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/id.h"

struct rt_retention_policy {
	int64_t keep_days, max_bytes; /* -1: no limit */
};

struct rt_retention_item {
	char job_id[RT_ID_SIZE];
	const char *why; /* "keep_days" or "max_bytes"; static */
	int64_t bytes, finished_ms;
};
struct rt_retention_plan {
	struct rt_retention_item *items; /* in the order in which they go */
	size_t n, cap;
	int64_t total_bytes; /* of all runs */
	int64_t freed_bytes; /* by the plan */
	size_t needed;	     /* jobs that would go if no other job needed them */
};

/* Blocks: looks at every file below data_dir/runs, through a connection of its own. The caller releases *ret. */
int rt_retention_plan(const char *data_dir, const struct rt_retention_policy *policy,
		      struct rt_retention_plan *ret, struct rt_err *err);
void rt_retention_release(struct rt_retention_plan *plan); /* a zeroed one is fine */
/* {"object":"retention", …} */
void rt_retention_render(struct rt_buf *out, const struct rt_retention_policy *policy,
			 const struct rt_retention_plan *plan);

/* retortd --data DIR --prune [--dry-run]: says what goes, and unless dry removes it. A server that runs there is RT_CONFLICT
 * unless dry. */
int rt_retention_run(const char *data_dir, const struct rt_retention_policy *policy, bool dry,
		     struct rt_err *err);

/* ---- in the server: once after the start, then every hour, beside the loop ---- */

struct rt_server;
struct rt_req;
struct rt_pruner {
	struct rt_server *server;
	struct rt_retention_policy policy;
	uv_timer_t *timer;
	int busy; /* plans being made */
};
int rt_pruner_start(struct rt_pruner *p, struct rt_server *server, const struct rt_retention_policy *policy,
		    struct rt_err *err);
void rt_pruner_stop(struct rt_pruner *p); /* a zeroed one is fine */
/* Answers the request later with what would go under this policy. RT_UNAVAILABLE when many ask at once. */
int rt_pruner_answer(struct rt_pruner *p, struct rt_req *req, const struct rt_retention_policy *policy,
		     struct rt_err *err);

#endif
