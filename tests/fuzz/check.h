/* SPDX-License-Identifier: Apache-2.0 */
/* What holds for every reader, and a folder for those that read files by name. */
#ifndef RT_TESTS_FUZZ_CHECK_H
#define RT_TESTS_FUZZ_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/utf8.h"

/* A refusal has a code and says why, in words that can stand in JSON. */
static inline void check_refusal(const struct rt_err *err)
{
	size_t len = strlen(err->msg);

	if (err->code == RT_OK || len == 0 || rt_utf8_valid(err->msg, len) < len)
		abort();
}

static char fuzz_dir[64];

static inline void remove_fuzz_dir(void)
{
	rt_dir_remove(fuzz_dir, NULL);
}

/* The process's own folder, removed when it ends; in memory where the system has such a place. */
static inline const char *get_fuzz_dir(void)
{
	if (fuzz_dir[0])
		return fuzz_dir;
	snprintf(fuzz_dir, sizeof fuzz_dir, "%s/rt_fuzz_XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(fuzz_dir) || atexit(remove_fuzz_dir) != 0)
		abort();
	return fuzz_dir;
}

static inline void write_fuzz_file(const char *name, const void *bytes, size_t n)
{
	char path[160];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", get_fuzz_dir(), name);
	f = fopen(path, "wb");
	if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
		abort();
}

#endif
