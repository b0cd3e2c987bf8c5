/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint as one POSIX tar (ustar) that is never written anywhere: where each byte comes from follows from the
 * manifest, so its length is known, it is the same every time, and it can be read from any offset. */
#ifndef RT_SERVER_TAR_H
#define RT_SERVER_TAR_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct rt_tar;

/* The manifest's files below dir, as members folder/name. Opens them all. mtime_ms: of every member. RT_GONE when one is
 * missing or has another size. RT_TOO_LARGE above 8 GiB, which ustar cannot say. */
int rt_tar_open(const char *dir, const char *folder, const json_t *manifest, int64_t mtime_ms,
		struct rt_tar **ret, struct rt_err *err);
void rt_tar_close(struct rt_tar *tar);
int64_t rt_tar_size(const struct rt_tar *tar); /* bytes */
/* Up to n bytes from offset on; how many there are, 0 at the end, -1 when a file can no longer be read. */
ssize_t rt_tar_read(const struct rt_tar *tar, int64_t offset, char *out, size_t n);

#endif
