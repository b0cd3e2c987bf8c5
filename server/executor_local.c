/* SPDX-License-Identifier: Apache-2.0 */
#include "server/executor_local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"

#define POLL_MS 1000

int64_t rt_process_start_ticks(int64_t pid)
{
	struct rt_buf text = RT_BUF_INIT;
	char path[40], *p;
	int64_t ticks = -1;

	snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
	if (rt_file_read(path, 4096, &text, NULL) == 0) {
		p = strrchr(text.data, ')'); /* the name before it may hold anything */
		if (p && p[1] == ' ' && p[2] != 'Z' && p[2] != 'X') {
			p += 2; /* field 3; the start is field 22 */
			for (int field = 3; p && field < 22; field++) {
				p = strchr(p, ' ');
				p = p ? p + 1 : NULL;
			}
			if (p)
				ticks = strtoll(p, NULL, 10);
		}
	}
	rt_buf_release(&text);
	return ticks;
}

/* Arguments are NUL-terminated strings one after the other. */
static bool has_argument(const struct rt_buf *cmdline, const char *arg)
{
	for (size_t at = 0; at < cmdline->len; at += strlen(cmdline->data + at) + 1) {
		if (strcmp(cmdline->data + at, arg) == 0)
			return true;
	}
	return false;
}

int64_t rt_process_find(const char *arg)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	int64_t found = -1;

	while (dir && found < 0 && (entry = readdir(dir))) {
		struct rt_buf cmdline = RT_BUF_INIT;
		char path[300];

		if (strspn(entry->d_name, "0123456789") != strlen(entry->d_name))
			continue;
		snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
		if (rt_file_read(path, 1 << 20, &cmdline, NULL) == 0 && has_argument(&cmdline, arg))
			found = strtoll(entry->d_name, NULL, 10);
		rt_buf_release(&cmdline);
	}
	if (dir)
		closedir(dir);
	return found;
}

void rt_process_offer(const struct rt_process *p)
{
	char path[48];
	int fd;

	snprintf(path, sizeof path, "/proc/%lld/oom_score_adj", (long long)p->pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	rt_fd_write_all(fd, "500", 3);
	close(fd);
}

static void on_closed(uv_handle_t *handle)
{
	struct rt_process *p = handle->data; /* NULL: nobody waits any more */

	free(handle);
	if (p) {
		p->handle = NULL;
		p->on_exit(p->arg);
	}
}

static void on_child_exit(uv_process_t *child, int64_t status, int number)
{
	struct rt_process *p = child->data;

	if (p) {
		p->exit_status = number ? -1 : status;
		p->exit_signal = number ? number : -1;
	}
	uv_close((uv_handle_t *)child, on_closed);
}

/* A pipe that holds the secret already; the child gets its end for reading. */
static int secret_pipe(const char *secret, struct rt_err *err)
{
	int fds[2];
	size_t n = strlen(secret);

	if (pipe2(fds, O_CLOEXEC) < 0)
		return rt_fail_errno(err, errno, "cannot make a pipe");
	if (write(fds[1], secret, n) != (ssize_t)n || write(fds[1], "\n", 1) != 1) {
		close(fds[0]);
		close(fds[1]);
		return rt_fail(err, RT_IO, "cannot write to a pipe");
	}
	close(fds[1]);
	return fds[0];
}

int rt_process_cpus(const struct rt_process *p, cpu_set_t *ret)
{
	return p->pid > 1 && sched_getaffinity((pid_t)p->pid, sizeof *ret, ret) == 0 ? 0 : -1;
}

/* A child has its parent's CPUs from its first instruction on, so the parent goes to them for that moment. Where the system does not
 * allow it (CPUs that went offline), the child runs on all: slower, not wrong. */
static int spawn_on(uv_loop_t *loop, uv_process_t *child, const uv_process_options_t *options,
		    const cpu_set_t *cpus)
{
	cpu_set_t before;
	bool moved = cpus && sched_getaffinity(0, sizeof before, &before) == 0 &&
		     sched_setaffinity(0, sizeof *cpus, cpus) == 0;
	int rc = uv_spawn(loop, child, options);

	if (moved)
		sched_setaffinity(0, sizeof before, &before);
	return rc;
}

int rt_process_start(struct rt_process *p, uv_loop_t *loop, const struct rt_process_start *what,
		     struct rt_err *err)
{
	uv_stdio_container_t stdio[4] = {
		{ .flags = UV_IGNORE },
		{ .flags = UV_IGNORE },
		{ .flags = UV_INHERIT_FD, .data.fd = what->log_fd },
		{ .flags = UV_IGNORE },
	};
	uv_process_options_t options = {
		.exit_cb = on_child_exit,
		.file = what->program,
		.args = (char **)(uintptr_t)what->argv,
		.flags = UV_PROCESS_DETACHED,
		.stdio = stdio,
		.stdio_count = what->secret ? 4 : 3,
	};
	uv_process_t *child = calloc(1, sizeof *child);
	int rc, fd = -1;

	if (!child)
		return rt_fail(err, RT_NO_MEMORY, "no memory to start a worker");
	if (what->secret) {
		fd = secret_pipe(what->secret, err);
		if (fd < 0) {
			free(child);
			return -1;
		}
		stdio[3].flags = UV_INHERIT_FD;
		stdio[3].data.fd = fd;
	}
	rc = spawn_on(loop, child, &options, what->cpus);
	if (fd >= 0)
		close(fd);
	if (rc < 0) {
		uv_close((uv_handle_t *)child, on_closed); /* the loop has the handle although nothing runs */
		return rt_fail(err, rc == UV_ENOENT ? RT_NOT_FOUND : RT_INTERNAL,
			       "cannot start the worker '%s': %s", what->program, uv_strerror(rc));
	}
	child->data = p;
	p->handle = (uv_handle_t *)child;
	p->exit_status = p->exit_signal = -1;
	p->pid = child->pid;
	p->start_ticks = rt_process_start_ticks(p->pid);
	return 0;
}

static void on_poll(uv_timer_t *timer)
{
	struct rt_process *p = timer->data;

	if (rt_process_start_ticks(p->pid) != p->start_ticks) {
		uv_close((uv_handle_t *)timer, on_closed);
		return;
	}
	if (p->on_poll)
		p->on_poll(p->arg);
}

int rt_process_adopt(struct rt_process *p, uv_loop_t *loop, int64_t pid, int64_t start_ticks,
		     struct rt_err *err)
{
	uv_timer_t *timer;

	if (start_ticks < 0 || rt_process_start_ticks(pid) != start_ticks)
		return rt_fail(err, RT_NOT_FOUND, "the worker's process is not there any more");
	timer = calloc(1, sizeof *timer);
	if (!timer)
		return rt_fail(err, RT_NO_MEMORY, "no memory to watch a worker");
	uv_timer_init(loop, timer);
	uv_timer_start(timer, on_poll, POLL_MS, POLL_MS);
	timer->data = p;
	p->handle = (uv_handle_t *)timer;
	p->exit_status = p->exit_signal = -1;
	p->pid = pid;
	p->start_ticks = start_ticks;
	return 0;
}

void rt_process_abandon(struct rt_process *p)
{
	if (!p->handle)
		return;
	p->handle->data = NULL;
	if (!uv_is_closing(p->handle))
		uv_close(p->handle, on_closed);
	p->handle = NULL;
}

void rt_process_signal(const struct rt_process *p, int number)
{
	if (p->handle && p->pid > 1)
		kill((pid_t)-p->pid, number);
}
