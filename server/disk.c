/* SPDX-License-Identifier: Apache-2.0 */
#include "server/disk.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"

static int64_t free_bytes(const char *dir)
{
	struct statvfs v;

	if (statvfs(dir, &v) < 0)
		return -1;
	return (int64_t)v.f_bavail * (int64_t)v.f_frsize;
}

static void make_reserve(struct rt_disk *d)
{
	int fd = open(d->reserve, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return;
	d->has_reserve = posix_fallocate(fd, 0, RT_DISK_RESERVE_BYTES) == 0;
	close(fd);
	if (!d->has_reserve)
		unlink(d->reserve); /* a part of it is no help */
}

int rt_disk_open(struct rt_disk *d, const char *dir, int64_t low_bytes, struct rt_err *err)
{
	memset(d, 0, sizeof *d);
	d->dir = strdup(dir);
	d->reserve = rt_path_join(dir, "reserve");
	if (!d->dir || !d->reserve)
		return rt_fail(err, RT_NO_MEMORY, "no memory to watch the disk");
	d->low_bytes = low_bytes;
	d->high_bytes = low_bytes + low_bytes / 4;
	d->free_bytes = -1;
	rt_disk_look(d);
	return 0;
}

void rt_disk_close(struct rt_disk *d)
{
	free(d->dir);
	free(d->reserve);
	memset(d, 0, sizeof *d);
}

bool rt_disk_look(struct rt_disk *d)
{
	bool was = d->low;

	d->free_bytes = free_bytes(d->dir);
	if (d->free_bytes < 0)
		return false; /* what cannot be seen changes nothing */
	d->low = d->free_bytes < (d->low ? d->high_bytes : d->low_bytes);
	if (d->full && !d->low && d->free_bytes > RT_DISK_RESERVE_BYTES)
		d->full = false;
	if (!d->has_reserve && !d->low && d->free_bytes > 2 * RT_DISK_RESERVE_BYTES)
		make_reserve(d);
	return d->low != was;
}

bool rt_disk_give_up_reserve(struct rt_disk *d)
{
	bool had = d->has_reserve;

	if (had)
		unlink(d->reserve);
	d->has_reserve = false;
	d->full = true;
	return had;
}
