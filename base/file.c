/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int rt_file_read(const char *path, size_t max_bytes, struct rt_buf *out, struct rt_err *err)
{
	size_t start = out->len;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int rc = -1;

	if (fd < 0)
		return rt_fail_errno(err, errno, "cannot open %s", path);
	if (fstat(fd, &st) < 0) {
		rt_fail_errno(err, errno, "cannot read %s", path);
		goto out;
	}
	if (S_ISDIR(st.st_mode)) {
		rt_fail(err, RT_INVALID, "cannot read %s: it is a folder", path);
		goto out;
	}
	for (;;) {
		char *to = rt_buf_room(out, 1 << 16);
		ssize_t n;

		if (!to) {
			rt_fail(err, RT_NO_MEMORY, "no memory to read %s", path);
			goto out;
		}
		n = read(fd, to, 1 << 16);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			rt_fail_errno(err, errno, "cannot read %s", path);
			goto out;
		}
		if (n == 0)
			break;
		out->len += (size_t)n;
		if (out->len - start > max_bytes) {
			rt_fail(err, RT_TOO_LARGE, "%s is larger than the %zu bytes allowed", path,
				max_bytes);
			goto out;
		}
	}
	out->data[out->len] = '\0';
	rc = 0;
out:
	if (rc < 0 && out->data) {
		out->len = start;
		out->data[start] = '\0';
	}
	close(fd);
	return rc;
}

int rt_fd_write_all(int fd, const void *bytes, size_t n)
{
	const char *at = bytes;

	while (n > 0) {
		ssize_t done = write(fd, at, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -1;
		at += done;
		n -= (size_t)done;
	}
	return 0;
}

/* The folder part of a path: "." for a bare name. New string, or NULL. */
static char *parent_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

int rt_file_write(const char *path, const void *bytes, size_t n, struct rt_err *err)
{
	struct rt_buf tmp = RT_BUF_INIT;
	char *dir = parent_of(path);
	int fd = -1, rc = -1;
	bool made = false;

	rt_buf_fmt(&tmp, "%s.%ld.tmp", path, (long)getpid());
	if (!dir || rt_buf_check(&tmp, err) < 0) {
		rt_fail(err, RT_NO_MEMORY, "no memory to write %s", path);
		goto out;
	}
	fd = open(tmp.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	made = fd >= 0;
	if (fd < 0 || rt_fd_write_all(fd, bytes, n) < 0 || fsync(fd) < 0) {
		rt_fail_errno(err, errno, "cannot write %s", path);
		goto out;
	}
	if (close(fd) < 0) {
		fd = -1;
		rt_fail_errno(err, errno, "cannot write %s", path);
		goto out;
	}
	fd = -1;
	if (rename(tmp.data, path) < 0) {
		rt_fail_errno(err, errno, "cannot write %s", path);
		goto out;
	}
	made = false;
	rc = rt_dir_sync(dir, err);
out:
	if (fd >= 0)
		close(fd);
	if (made)
		unlink(tmp.data);
	rt_buf_release(&tmp);
	free(dir);
	return rc;
}

int rt_map_open(const char *path, struct rt_map *ret, struct rt_err *err)
{
	struct stat st;
	void *at = NULL;
	int fd = open(path,
		      O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not keep us: it is refused below */

	if (fd < 0)
		return rt_fail_errno(err, errno, "cannot open %s", path);
	if (fstat(fd, &st) < 0) {
		int why = errno;

		close(fd);
		return rt_fail_errno(err, why, "cannot read %s", path);
	}
	if (!S_ISREG(st.st_mode)) {
		close(fd);
		return rt_fail(err, RT_INVALID, "%s is not a regular file", path);
	}
	if (st.st_size > 0) {
		at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (at == MAP_FAILED) {
			int why = errno;

			close(fd);
			return rt_fail_errno(err, why, "cannot map %s", path);
		}
	}
	close(fd);
	ret->data = at;
	ret->size = (size_t)st.st_size;
	return 0;
}

void rt_map_close(struct rt_map *map)
{
	if (!map || !map->data)
		return;
	munmap((void *)(uintptr_t)map->data, map->size);
	*map = (struct rt_map){ NULL, 0 };
}

int rt_file_sha256(const char *path, char ret_hex[RT_SHA256_SIZE], int64_t *ret_size, struct rt_err *err)
{
	struct rt_sha256_state *state = NULL;
	unsigned char *chunk = malloc(1 << 20);
	int rc = -1, fd = open(path, O_RDONLY | O_CLOEXEC);
	int64_t size = 0;

	if (fd < 0 || !chunk) {
		rt_fail_errno(err, chunk ? errno : ENOMEM, "cannot open %s", path);
		goto out;
	}
	if (rt_sha256_new(&state, err) < 0)
		goto out;
	for (;;) {
		ssize_t n = read(fd, chunk, 1 << 20);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			rt_fail_errno(err, errno, "cannot read %s", path);
			goto out;
		}
		if (n == 0)
			break;
		rt_sha256_add(state, chunk, (size_t)n);
		size += n;
	}
	if (rt_sha256_end(state, ret_hex, err) < 0)
		goto out;
	if (ret_size)
		*ret_size = size;
	rc = 0;
out:
	if (fd >= 0)
		close(fd);
	rt_sha256_free(state);
	free(chunk);
	return rc;
}

void rt_sha256(const void *bytes, size_t n, char ret_hex[RT_SHA256_SIZE])
{
	unsigned char digest[crypto_hash_sha256_BYTES];

	crypto_hash_sha256(digest, bytes, n);
	sodium_bin2hex(ret_hex, RT_SHA256_SIZE, digest, sizeof digest);
}

bool rt_file_exists(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

bool rt_file_is_dir(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int rt_dir_make(const char *path, struct rt_err *err)
{
	char *copy = strdup(path);

	if (!copy)
		return rt_fail(err, RT_NO_MEMORY, "no memory to make %s", path);
	for (char *p = copy + 1;; p++) {
		char was = *p;
		int why;

		if (was != '/' && was != '\0')
			continue;
		*p = '\0';
		why = mkdir(copy, 0755) < 0 ? errno : 0; /* the look has an error of its own */
		if (why && why != EEXIST && !rt_file_is_dir(copy)) {
			rt_fail_errno(err, why, "cannot make the folder %s", path);
			free(copy);
			return -1;
		}
		if (was == '\0')
			break;
		*p = was;
	}
	free(copy);
	if (!rt_file_is_dir(path))
		return rt_fail(err, RT_CONFLICT, "cannot make the folder %s: a file is in its place", path);
	return 0;
}

/* Removes name below the folder dirfd. Depth-first; recursion is as deep as the tree. */
static int remove_at(int dirfd, const char *name)
{
	int fd, failed = 0;
	struct dirent *entry;
	DIR *dir;

	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -1;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -1;
	}
	while (!failed && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			failed = remove_at(fd, entry->d_name);
	}
	closedir(dir);
	if (failed)
		return -1;
	return unlinkat(dirfd, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -1;
}

int rt_dir_remove(const char *path, struct rt_err *err)
{
	if (remove_at(AT_FDCWD, path) < 0)
		return rt_fail_errno(err, errno, "cannot remove %s", path);
	return 0;
}

int rt_dir_sync(const char *path, struct rt_err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return rt_fail_errno(err, errno, "cannot open the folder %s", path);
	rc = fsync(fd);
	if (rc < 0)
		rt_fail_errno(err, errno, "cannot sync the folder %s", path);
	close(fd);
	return rc;
}

char *rt_path_join(const char *dir, const char *name)
{
	size_t n = strlen(dir);
	char *joined = malloc(n + strlen(name) + 2);

	if (!joined)
		return NULL;
	memcpy(joined, dir, n);
	if (n == 0 || dir[n - 1] != '/')
		joined[n++] = '/';
	strcpy(joined + n, name);
	return joined;
}
