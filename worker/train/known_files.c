/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/known_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define LINE_MAX_BYTES 256
#define YOUNG_MS       2000
#define MOST_FILES     10000

/* All that must be the same, as text. False: it cannot be looked at, which whoever reads the file will say. */
static bool describe(const char *path, char out[LINE_MAX_BYTES], int64_t *ret_changed_ms)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return false;
	snprintf(out, LINE_MAX_BYTES, "1 %lld %lld%09ld %lld%09ld %llu ", (long long)st.st_size,
		 (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec,
		 st.st_ctim.tv_nsec, (unsigned long long)st.st_ino);
	*ret_changed_ms = (int64_t)st.st_ctim.tv_sec * 1000 + st.st_ctim.tv_nsec / 1000000;
	return true;
}

/* Where it is remembered. New, or NULL. */
static char *place(const char *dir, const char *path)
{
	char real[PATH_MAX], name[RT_SHA256_SIZE], *files, *at;

	if (!realpath(path, real))
		return NULL;
	rt_sha256(real, strlen(real), name);
	files = rt_path_join(dir, "files");
	at = files && rt_dir_make(files, NULL) == 0 ? rt_path_join(files, name) : NULL;
	free(files);
	return at;
}

static bool recall(const char *at, const char *what, char ret_hex[RT_SHA256_SIZE])
{
	struct rt_buf line = RT_BUF_INIT;
	size_t n = strlen(what);
	bool found = rt_file_read(at, LINE_MAX_BYTES, &line, NULL) == 0 && line.len == n + RT_SHA256_SIZE &&
		     memcmp(line.data, what, n) == 0 && line.data[line.len - 1] == '\n' &&
		     strspn(line.data + n, "0123456789abcdef") == RT_SHA256_SIZE - 1;

	if (found) {
		memcpy(ret_hex, line.data + n, RT_SHA256_SIZE - 1);
		ret_hex[RT_SHA256_SIZE - 1] = '\0';
	}
	rt_buf_release(&line);
	return found;
}

int rt_known_sha256(const char *dir, const char *path, char ret_hex[RT_SHA256_SIZE], struct rt_err *err)
{
	char before[LINE_MAX_BYTES], after[LINE_MAX_BYTES], line[2 * LINE_MAX_BYTES];
	char *at = dir ? place(dir, path) : NULL;
	int64_t changed_ms;
	int rc;

	if (!at || !describe(path, before, &changed_ms)) {
		free(at);
		return rt_file_sha256(path, ret_hex, NULL, err);
	}
	if (recall(at, before, ret_hex)) {
		free(at);
		return 0;
	}
	rc = rt_file_sha256(path, ret_hex, NULL, err);
	if (rc == 0 && describe(path, after, &changed_ms) && strcmp(before, after) == 0 &&
	    rt_clock_now_ms() - changed_ms > YOUNG_MS) {
		snprintf(line, sizeof line, "%s%s\n", before, ret_hex);
		rt_file_write(at, line, strlen(line), NULL); /* it is only slower without */
		rt_known_trim(dir, MOST_FILES);
	}
	free(at);
	return rc;
}

struct entry {
	char name[RT_SHA256_SIZE];
	struct timespec at;
};

static int by_time(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->at.tv_sec != y->at.tv_sec)
		return x->at.tv_sec < y->at.tv_sec ? -1 : 1;
	return (x->at.tv_nsec > y->at.tv_nsec) - (x->at.tv_nsec < y->at.tv_nsec);
}

void rt_known_trim(const char *dir, size_t most)
{
	char *files = rt_path_join(dir, "files");
	DIR *d = files ? opendir(files) : NULL;
	struct entry *list = NULL;
	size_t n = 0, cap = 0;
	struct dirent *e;
	struct stat st;

	while (d && (e = readdir(d))) {
		if (strlen(e->d_name) != RT_SHA256_SIZE - 1 ||
		    fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (n == cap) {
			struct entry *grown = reallocarray(list, cap ? 2 * cap : 64, sizeof *list);

			if (!grown)
				break;
			list = grown;
			cap = cap ? 2 * cap : 64;
		}
		list[n].at = st.st_mtim;
		memcpy(list[n++].name, e->d_name, RT_SHA256_SIZE);
	}
	if (n > most)
		qsort(list, n, sizeof *list, by_time);
	for (size_t i = 0; n > most && i < n - most; i++)
		unlinkat(dirfd(d), list[i].name, 0);
	if (d)
		closedir(d);
	free(list);
	free(files);
}
