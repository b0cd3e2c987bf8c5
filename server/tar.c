/* SPDX-License-Identifier: Apache-2.0 */
#include "server/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "server/manifest.h"

#define BLOCK	       512
#define END	       (2 * BLOCK) /* two empty blocks */
#define SIZE_MAX_BYTES ((INT64_C(1) << 33) - 1)

struct member {
	char header[BLOCK];
	int64_t start; /* of the header */
	int64_t size;  /* of the file, without padding */
	int fd;
};

struct rt_tar {
	int64_t size;
	size_t n;
	struct member members[];
};

static int64_t padded(int64_t size)
{
	return (size + BLOCK - 1) / BLOCK * BLOCK;
}

/* POSIX.1-1988 ustar. All fields are octal text. */
static void write_header(char h[BLOCK], const char *folder, const char *name, int64_t size, int64_t mtime_s)
{
	unsigned sum = 0;

	memset(h, 0, BLOCK);
	memcpy(h, name, strlen(name)); /* at most 100 bytes, which need no NUL */
	memcpy(h + 100, "0000644", 7);
	memcpy(h + 108, "0000000", 7);
	memcpy(h + 116, "0000000", 7);
	snprintf(h + 124, 12, "%011llo", (unsigned long long)size);
	snprintf(h + 136, 12, "%011llo", (unsigned long long)mtime_s);
	memset(h + 148, ' ', 8);
	h[156] = '0';
	memcpy(h + 257, "ustar", 6);
	memcpy(h + 263, "00", 2);
	snprintf(h + 345, 155, "%s", folder);
	for (int i = 0; i < BLOCK; i++)
		sum += (unsigned char)h[i];
	snprintf(h + 148, 7, "%06o", sum);
	h[155] = ' ';
}

static int open_member(const char *dir, const struct rt_manifest_file *f, struct member *m,
		       struct rt_err *err)
{
	char *path = rt_path_join(dir, f->name);
	struct stat st;

	m->fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	free(path);
	if (m->fd < 0 || fstat(m->fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size != f->size_bytes)
		return rt_fail(err, RT_GONE, "the checkpoint's file '%s' is not there as it was written",
			       f->name);
	return 0;
}

int rt_tar_open(const char *dir, const char *folder, const json_t *manifest, int64_t mtime_ms,
		struct rt_tar **ret, struct rt_err *err)
{
	size_t n = json_array_size(manifest);
	struct rt_tar *tar = calloc(1, sizeof *tar + n * sizeof *tar->members);

	if (!tar)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the archive");
	for (size_t i = 0; i < n; i++) {
		struct rt_manifest_file f = rt_manifest_at(manifest, i);
		struct member *m = &tar->members[tar->n++];

		m->fd = -1;
		if (f.size_bytes > SIZE_MAX_BYTES) {
			rt_fail(err, RT_TOO_LARGE,
				"'%s' is larger than a tar can hold: fetch the files one by one", f.name);
			rt_tar_close(tar);
			return -1;
		}
		if (open_member(dir, &f, m, err) < 0) {
			rt_tar_close(tar);
			return -1;
		}
		write_header(m->header, folder, f.name, f.size_bytes, mtime_ms / 1000);
		m->start = tar->size;
		m->size = f.size_bytes;
		tar->size += BLOCK + padded(f.size_bytes);
	}
	tar->size += END;
	*ret = tar;
	return 0;
}

void rt_tar_close(struct rt_tar *tar)
{
	if (!tar)
		return;
	for (size_t i = 0; i < tar->n; i++) {
		if (tar->members[i].fd >= 0)
			close(tar->members[i].fd);
	}
	free(tar);
}

int64_t rt_tar_size(const struct rt_tar *tar)
{
	return tar->size;
}

/* Bytes of one member from `at` (counted from its header); stops where the next kind of byte begins. */
static ssize_t read_member(const struct member *m, int64_t at, char *out, size_t n)
{
	int64_t left;

	if (at < BLOCK) {
		left = BLOCK - at;
		n = (int64_t)n < left ? n : (size_t)left;
		memcpy(out, m->header + at, n);
		return (ssize_t)n;
	}
	at -= BLOCK;
	if (at < m->size) {
		ssize_t got;

		left = m->size - at;
		do
			got = pread(m->fd, out, (int64_t)n < left ? n : (size_t)left, at);
		while (got < 0 && errno == EINTR);
		return got > 0 ? got : -1; /* a file that has become shorter is an error, not an end */
	}
	left = padded(m->size) - at;
	n = (int64_t)n < left ? n : (size_t)left;
	memset(out, 0, n);
	return (ssize_t)n;
}

ssize_t rt_tar_read(const struct rt_tar *tar, int64_t offset, char *out, size_t n)
{
	if (offset >= tar->size)
		return 0;
	for (size_t i = 0; i < tar->n; i++) {
		const struct member *m = &tar->members[i];

		if (offset < m->start + BLOCK + padded(m->size))
			return read_member(m, offset - m->start, out, n);
	}
	n = (int64_t)n < tar->size - offset ? n : (size_t)(tar->size - offset);
	memset(out, 0, n);
	return (ssize_t)n;
}
