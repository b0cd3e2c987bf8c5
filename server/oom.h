/* SPDX-License-Identifier: Apache-2.0 */
/* Was a process that died of SIGKILL killed by the kernel because memory was short? The signal does not say.
 *
 * Without privileges three things can be read, the best last:
 *   /proc/vmstat oom_kill           kills on the whole machine, containers too
 *   memory.events of our cgroup     kills in the group that the workers share with the server (cgroup v2)
 *   /dev/kmsg                       the kernel's log names the process; readable only where kernel.dmesg_restrict is 0
 * A counter that went up while the worker ran makes it likely; only the log makes it sure, and where it can be read and does
 * not name the process, it was somebody else's. */
#ifndef RT_SERVER_OOM_H
#define RT_SERVER_OOM_H

#include <stdint.h>

#include "server/verdict.h"

struct rt_oom_sources {
	/* "" or not readable: that source is silent */
	char vmstat[64], cgroup_events[512], kmsg[64];
};
struct rt_oom_counts {
	int64_t machine, group; /* -1: not known */
};

/* The sources of this machine. Reads /proc/self/cgroup. */
void rt_oom_find_sources(struct rt_oom_sources *ret);
struct rt_oom_counts rt_oom_count(const struct rt_oom_sources *from);
/* before: the counts when the process started. */
enum rt_oom rt_oom_judge(const struct rt_oom_sources *from, const struct rt_oom_counts *before, int64_t pid);

#endif
