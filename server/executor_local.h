/* SPDX-License-Identifier: Apache-2.0 */
/* Worker processes of this machine: started, signalled, watched until they end. Knows nothing of jobs.
 *
 * A worker leads a process group of its own and survives the server; a later server adopts it by its pid. */
#ifndef RT_SERVER_EXECUTOR_LOCAL_H
#define RT_SERVER_EXECUTOR_LOCAL_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"

struct rt_process {
	uv_handle_t *
		handle; /* libuv's, on the heap: a uv_process_t, or a uv_timer_t that looks at an adopted one every second */
	int64_t pid, start_ticks;
	int64_t exit_status, exit_signal; /* after the end; -1 when not known */
	void (*on_exit)(void *arg);
	void (*on_poll)(void *arg); /* adopted ones: called at every look; may be NULL */
	void *arg;
};

struct rt_process_start {
	const char *program;	 /* a path, or a name in PATH */
	const char *const *argv; /* with argv[0], NULL at the end */
	int log_fd;		 /* becomes stderr; stdout goes to /dev/null. Stays the caller's */
	const char *secret;	 /* a line that the child reads from descriptor 3; NULL: none */
	const cpu_set_t *cpus;	 /* it and its threads run on these alone; NULL: on those of this process */
};

/* The CPUs that a process may use now; -1 where that is not known. */
int rt_process_cpus(const struct rt_process *p, cpu_set_t *ret);
/* The caller sets on_exit, on_poll and arg first. on_exit is called on the loop after the process has ended, once. Until then,
 * or rt_process_abandon, *p must stay. */
int rt_process_start(struct rt_process *p, uv_loop_t *loop, const struct rt_process_start *what,
		     struct rt_err *err);
/* RT_NOT_FOUND when there is no such process any more. */
int rt_process_adopt(struct rt_process *p, uv_loop_t *loop, int64_t pid, int64_t start_ticks,
		     struct rt_err *err);
/* Stops watching; the process goes on. A zeroed one, or one that has ended, is fine. */
void rt_process_abandon(struct rt_process *p);
void rt_process_signal(const struct rt_process *p, int number); /* to its whole group */
/* Lets the kernel take this process rather than others when memory is short. What cannot be set is left. */
void rt_process_offer(const struct rt_process *p);

/* When the process started, in clock ticks since boot; -1 when it is not there (or only its zombie). */
int64_t rt_process_start_ticks(int64_t pid);
/* A process of this machine that has arg among its arguments; -1: none. Looks at all of them. */
int64_t rt_process_find(const char *arg);

#endif
