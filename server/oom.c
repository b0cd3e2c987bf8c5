/* SPDX-License-Identifier: Apache-2.0 */
#include "server/oom.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

/* The number behind `name ` at the start of a line; -1. */
static int64_t counter(const char *path, const char *name)
{
	struct rt_buf text = RT_BUF_INIT;
	size_t n = strlen(name);
	int64_t value = -1;

	if (*path && rt_file_read(path, 1 << 16, &text, NULL) == 0) {
		for (const char *p = rt_buf_text(&text); *p;) {
			if (strncmp(p, name, n) == 0 && p[n] == ' ')
				value = strtoll(p + n, NULL, 10);
			p += strcspn(p, "\n");
			p += *p == '\n';
		}
	}
	rt_buf_release(&text);
	return value;
}

void rt_oom_find_sources(struct rt_oom_sources *ret)
{
	struct rt_buf text = RT_BUF_INIT;
	const char *p = NULL;

	*ret = (struct rt_oom_sources){ .vmstat = "/proc/vmstat", .kmsg = "/dev/kmsg" };
	if (rt_file_read("/proc/self/cgroup", 1 << 16, &text, NULL) == 0) {
		/* cgroup v2 has the line 0::/path */
		p = strncmp(rt_buf_text(&text), "0::", 3) == 0 ? text.data
							       : strstr(rt_buf_text(&text), "\n0::");
		p = p ? strchr(p, '/') : NULL;
	}
	if (p && snprintf(ret->cgroup_events, sizeof ret->cgroup_events, "/sys/fs/cgroup%.*s/memory.events",
			  (int)strcspn(p, "\n"), p) >= (int)sizeof ret->cgroup_events)
		ret->cgroup_events[0] = '\0'; /* a path cut short is another's */
	rt_buf_release(&text);
}

struct rt_oom_counts rt_oom_count(const struct rt_oom_sources *from)
{
	return (struct rt_oom_counts){
		.machine = counter(from->vmstat, "oom_kill"),
		.group = counter(from->cgroup_events, "oom_kill"),
	};
}

/* 1: the log names the process, 0: it does not, -1: it cannot be read. */
static int look_in_log(const char *path, int64_t pid)
{
	int fd = *path ? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1, found = 0;
	char words[40], record[8192];
	ssize_t n;

	if (fd < 0)
		return -1;
	snprintf(words, sizeof words, "Killed process %lld ", (long long)pid);
	/* one record a read; EPIPE: one was overwritten meanwhile */
	while ((n = read(fd, record, sizeof record - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		if (n < 0)
			continue;
		record[n] = '\0';
		if (strstr(record, words))
			found = 1;
	}
	if (n < 0 && errno != EAGAIN)
		found = found ? 1 : -1;
	close(fd);
	return found;
}

enum rt_oom rt_oom_judge(const struct rt_oom_sources *from, const struct rt_oom_counts *before, int64_t pid)
{
	struct rt_oom_counts now = rt_oom_count(from);
	bool group = before->group >= 0 && now.group > before->group;
	bool machine = before->machine >= 0 && now.machine > before->machine;

	switch (look_in_log(from->kmsg, pid)) {
	case 1:
		return RT_OOM_SURE;
	case 0:
		/* the log was read and holds no such line: in a container, where pids have other names, only the group's own
		 * counter still speaks */
		return group ? RT_OOM_LIKELY : RT_OOM_NO;
	default:
		return group || machine ? RT_OOM_LIKELY : RT_OOM_NO;
	}
}
