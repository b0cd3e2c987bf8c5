/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/event.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/utf8.h"

struct rt_journal {
	int fd, out_fd;
	int64_t seq;
	int64_t size_bytes; /* of the file: whole lines only */
	bool broken;	    /* the file took no more: everything after it stays in memory, in order */
	struct rt_poster *poster;
	struct rt_buf line;
};

/* What others act on; a lost line of another type is only a lost line. */
static bool is_durable(const char *type)
{
	static const char *const types[] = { "run.started",	"run.resumed",	      "teacher.completed",
					     "epoch.completed", "checkpoint.written", "checkpoint.deleted",
					     "run.succeeded",	"run.failed",	      "run.cancelled",
					     "run.paused",	"run.stopped" };

	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		if (strcmp(types[i], type) == 0)
			return true;
	}
	return false;
}

int rt_journal_open(const struct rt_journal_options *o, struct rt_journal **ret, struct rt_err *err)
{
	struct rt_journal *j = calloc(1, sizeof *j);
	char *path = NULL;
	struct stat st;
	int rc = -1;

	if (!j)
		return rt_fail(err, RT_NO_MEMORY, "no memory to open the journal");
	j->fd = -1;
	j->out_fd = o->out_fd;
	if (rt_dir_make(o->dir, err) < 0)
		goto out;
	path = rt_path_join(o->dir, "events.ndjson");
	if (!path) {
		rt_fail(err, RT_NO_MEMORY, "no memory to open the journal");
		goto out;
	}
	j->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (j->fd < 0 || fstat(j->fd, &st) < 0) {
		rt_fail_errno(err, errno, "cannot open %s", path);
		goto out;
	}
	if (st.st_size > 0) {
		rt_fail(err, RT_CONFLICT,
			"%s holds the events of another run; give this run a folder of its own", path);
		goto out;
	}
	if (rt_dir_sync(o->dir, err) < 0)
		goto out;
	if (o->url && rt_poster_start(path, o->url, o->token, o->heartbeat_ms > 0 ? o->heartbeat_ms : 5000,
				      &j->poster, err) < 0)
		goto out;
	*ret = j;
	j = NULL;
	rc = 0;
out:
	free(path);
	rt_journal_close(j, 0);
	return rc;
}

static int to_file(struct rt_journal *j, bool durable, struct rt_err *err)
{
	if (j->broken)
		return rt_fail(err, RT_DISK_FULL, "events.ndjson takes no more lines");
	if (rt_fd_write_all(j->fd, j->line.data, j->line.len) < 0) {
		rt_fail_errno(err, errno, "cannot write events.ndjson");
		j->broken = true;
		/* half a line would spoil the file for its readers */
		if (ftruncate(j->fd, j->size_bytes) < 0)
			rt_fail_in(err, "and a half-written line stays");
		return -1;
	}
	j->size_bytes += (int64_t)j->line.len;
	if (durable && fsync(j->fd) < 0)
		return rt_fail_errno(err, errno, "cannot write events.ndjson");
	return 0;
}

/* The event's line. Names from a stranger's files may make it longer than anyone takes: then it is told that it is left out. */
static void make_line(struct rt_journal *j, const char *type, const char *level, const char *message,
		      const json_t *data)
{
	char instead[128];
	size_t len;

	rt_buf_clear(&j->line);
	rt_event_write(&j->line, j->seq + 1, type, level, rt_clock_now_ms(), message, data);
	len = j->line.len;
	if (len <= RT_EVENT_MAX_BYTES)
		return;
	snprintf(instead, sizeof instead, "an event %s of %zu bytes is left out: %d are allowed", type, len,
		 RT_EVENT_MAX_BYTES);
	rt_buf_clear(&j->line);
	rt_event_write(&j->line, j->seq + 1, "log", "warn", rt_clock_now_ms(), instead, NULL);
}

int rt_journal_write(struct rt_journal *j, const char *type, const char *level, json_t *data,
		     struct rt_err *err, const char *fmt, ...)
{
	bool durable = is_durable(type), in_file;
	char message[1024];
	va_list ap;
	int rc;

	va_start(ap, fmt);
	vsnprintf(message, sizeof message, fmt, ap);
	va_end(ap);
	message[rt_utf8_valid(message, strlen(message))] = '\0'; /* it may have been cut inside a character */
	make_line(j, type, level, message, data);
	json_decref(data);
	if (rt_buf_check(&j->line, err) < 0)
		return -1;
	j->seq++;
	in_file = !j->broken;
	rc = to_file(j, durable, err);
	in_file = in_file && !j->broken;
	/* A reader of stdout that went away is no reason to stop training. */
	if (j->out_fd >= 0 && rt_fd_write_all(j->out_fd, j->line.data, j->line.len) < 0 && errno != EAGAIN)
		j->out_fd = -1;
	if (j->poster && in_file)
		rt_poster_grown(j->poster, j->size_bytes, durable);
	else if (j->poster)
		rt_poster_extra(j->poster, j->line.data, j->line.len);
	return rc;
}

int64_t rt_journal_seq(const struct rt_journal *j)
{
	return j->seq;
}

enum rt_want rt_journal_want(struct rt_journal *j)
{
	return j->poster ? rt_poster_want(j->poster) : RT_WANT_CONTINUE;
}

void rt_journal_close(struct rt_journal *j, int64_t flush_ms)
{
	if (!j)
		return;
	rt_poster_stop(j->poster, flush_ms);
	if (j->fd >= 0)
		close(j->fd);
	rt_buf_release(&j->line);
	free(j);
}
