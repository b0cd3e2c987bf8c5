/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a run's events.ndjson from behind a sequence number on. Blocks on the disk, a line at a time. */
#ifndef RT_SERVER_JOURNAL_H
#define RT_SERVER_JOURNAL_H

#include <stdint.h>
#include <stdio.h>

#include "api/event.h"
#include "base/err.h"

struct rt_journal {
	FILE *file;
	char *line;
	size_t cap;
	int64_t after;
	int64_t at; /* bytes: behind the last line that was whole */
};

/* from: bytes to leave out, the `at` of an earlier reading. RT_NOT_FOUND. */
int rt_journal_open(const char *path, int64_t after_seq, int64_t from, struct rt_journal *ret,
		    struct rt_err *err);
/* 1 and the next event (rt_event_release), 0 at the end (a line without its newline is not there yet), -1 RT_INVALID. */
int rt_journal_next(struct rt_journal *j, struct rt_event *ret, struct rt_err *err);
void rt_journal_close(struct rt_journal *j);

#endif
