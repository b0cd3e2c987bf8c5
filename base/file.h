/* SPDX-License-Identifier: Apache-2.0 */
/* Files: read whole, write whole or not at all, map, hash, make and remove folders.
 * All block. Paths are C strings; an error names the path as the caller gave it. */
#ifndef RT_BASE_FILE_H
#define RT_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sha256.h"

/* Appends the whole file to out. RT_NOT_FOUND, RT_TOO_LARGE above max_bytes, RT_IO. On failure out is as before. */
int rt_file_read(const char *path, size_t max_bytes, struct rt_buf *out, struct rt_err *err);

/* Writes the file whole or not at all: temporary name beside it, fsync, rename, fsync of the folder. */
int rt_file_write(const char *path, const void *bytes, size_t n, struct rt_err *err);

/* Writes all n bytes to a descriptor, however many calls that takes. 0, or -1 with errno as write(2) left it. */
int rt_fd_write_all(int fd, const void *bytes, size_t n);

/* A read-only mapping of a whole regular file. data is NULL for an empty file. */
struct rt_map {
	const unsigned char *data;
	size_t size; /* bytes */
};
int rt_map_open(const char *path, struct rt_map *ret, struct rt_err *err);
void rt_map_close(struct rt_map *map); /* NULL and a zeroed one are fine */

/* SHA-256 of a file's bytes as 64 lower-case hexadecimal digits and a NUL; ret_size may be NULL. */
int rt_file_sha256(const char *path, char ret_hex[RT_SHA256_SIZE], int64_t *ret_size, struct rt_err *err);
void rt_sha256(const void *bytes, size_t n, char ret_hex[RT_SHA256_SIZE]);

bool rt_file_exists(const char *path); /* of any kind, links followed */
bool rt_file_is_dir(const char *path);
/* Makes the folder and those above it, mode 0755 less the umask; one that is there is fine. */
int rt_dir_make(const char *path, struct rt_err *err);
/* Removes a file, or a folder with all that is in it; links are removed, never followed. One that is missing is fine. */
int rt_dir_remove(const char *path, struct rt_err *err);
int rt_dir_sync(const char *path, struct rt_err *err); /* fsync of a folder */

/* Joins folder and name with one '/'. Returns a new string (free()) or NULL without memory. */
char *rt_path_join(const char *dir, const char *name);

#endif
