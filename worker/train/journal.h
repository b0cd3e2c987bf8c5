/* SPDX-License-Identifier: Apache-2.0 */
/* The journal of a run: every event goes to DIR/events.ndjson first, then to stdout, then (by a rt_poster of its own thread)
 * to the server. It numbers the events. It does not decide what is worth an event.
 *
 * Events that others rely on (epoch, checkpoint, end of the run) are on disk (fsync) before rt_journal_write returns. When the
 * disk takes no more, the write fails and the line is kept in memory for stdout and the server, so the run can still say why
 * it ended. Used from one thread; the poster reads the file through its own descriptor. */
#ifndef RT_WORKER_TRAIN_JOURNAL_H
#define RT_WORKER_TRAIN_JOURNAL_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"
#include "worker/train/poster.h"

struct rt_journal;

struct rt_journal_options {
	const char *dir;      /* the run's folder; made if it is not there */
	int out_fd;	      /* lines go here as well; -1: nowhere. Borrowed */
	const char *url;      /* where to post; NULL: nowhere */
	const char *token;    /* bearer token for url */
	int64_t heartbeat_ms; /* 0: 5,000 */
};

/* Makes DIR/events.ndjson. RT_CONFLICT when it is there and not empty: the folder holds another run. */
int rt_journal_open(const struct rt_journal_options *o, struct rt_journal **ret, struct rt_err *err);

/* Writes one event. level: "info", "warn", "error". data: given (may be NULL for {}), also on failure. One above
 * RT_EVENT_MAX_BYTES becomes a "log" that says so.
 * RT_DISK_FULL or RT_IO when the file did not take it; RT_NO_MEMORY. */
int rt_journal_write(struct rt_journal *j, const char *type, const char *level, json_t *data,
		     struct rt_err *err, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

int64_t rt_journal_seq(const struct rt_journal *j); /* of the last event; 0 before the first */

/* What the server asked for last; RT_WANT_CONTINUE without a server. Cheap; does not block. */
enum rt_want rt_journal_want(struct rt_journal *j);

/* Gives the poster up to flush_ms to deliver the rest, then closes. The file holds everything in any case. */
void rt_journal_close(struct rt_journal *j, int64_t flush_ms);

#endif
