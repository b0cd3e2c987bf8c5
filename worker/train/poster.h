/* SPDX-License-Identifier: Apache-2.0 */
/* Posts the lines of an events file to the server, from a thread of its own, so that training never waits for a server.
 *
 * The thread reads the file by offset (a server that is away costs no memory), posts whole lines in batches of up to 256 KiB,
 * and goes on behind the sequence number that the answer names. Nothing new for a while: an empty post, the heartbeat.
 *   200            {"last_seq": N, "want": "continue"|"cancel"|"pause"}
 *   403, 404, 408, 429, 5xx, no connection   again, after 0.25 s doubling to 15 s
 *   401, 410       the run is over for the server: stops posting for good (RT_WANT_GONE)
 *   any other      this batch is refused: its lines go one by one, a line that is refused alone is left out
 * Redirects are not followed and no proxy is used: the token is for that server alone. */
#ifndef RT_WORKER_TRAIN_POSTER_H
#define RT_WORKER_TRAIN_POSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum rt_want {
	RT_WANT_CONTINUE,
	RT_WANT_CANCEL,
	RT_WANT_PAUSE,
	RT_WANT_GONE, /* the server no longer knows the run */
};

struct rt_poster;

/* path: the events file; url and token: copied. The thread starts at once. */
int rt_poster_start(const char *path, const char *url, const char *token, int64_t heartbeat_ms,
		    struct rt_poster **ret, struct rt_err *err);

/* The file holds whole lines up to size_bytes. urgent: post now instead of gathering for a moment. Does not block. */
void rt_poster_grown(struct rt_poster *p, int64_t size_bytes, bool urgent);

/* A line (with its newline) that the file did not take; posted after all that is in the file. Copied. */
void rt_poster_extra(struct rt_poster *p, const char *line, size_t len);

enum rt_want rt_poster_want(struct rt_poster *p);
int64_t rt_poster_posted(struct rt_poster *p); /* the server's last_seq as last heard */

/* Waits up to flush_ms until all is posted, then ends the thread and frees the poster. NULL is fine. */
void rt_poster_stop(struct rt_poster *p, int64_t flush_ms);

#endif
