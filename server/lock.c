/* SPDX-License-Identifier: Apache-2.0 */
#include "server/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"

int rt_lock_take(const char *data_dir, struct rt_err *err)
{
	char *path = rt_path_join(data_dir, "retort.lock"), pid[32] = "";
	int fd;
	ssize_t n;

	if (!path)
		return rt_fail(err, RT_NO_MEMORY, "no memory to open the data directory");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	free(path);
	if (fd < 0)
		return rt_fail_errno(err, errno, "cannot write in %s", data_dir);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		n = pread(fd, pid, sizeof pid - 1, 0);
		pid[n > 0 ? n : 0] = '\0';
		pid[strspn(pid, "0123456789")] = '\0';
		rt_fail(err, RT_CONFLICT, "another retortd (process %s) uses %s", pid[0] ? pid : "unknown",
			data_dir);
	} else {
		snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
		/* a full disk keeps the number out, not the lock */
		if (ftruncate(fd, 0) == 0 && pwrite(fd, pid, strlen(pid), 0) > 0)
			return fd;
		if (errno == ENOSPC || errno == EDQUOT)
			return fd;
		rt_fail_errno(err, errno, "cannot write in %s", data_dir);
	}
	close(fd);
	return -1;
}

void rt_lock_release(int fd)
{
	if (fd >= 0)
		close(fd);
}
