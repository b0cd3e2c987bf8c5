/* SPDX-License-Identifier: Apache-2.0 */
/* Checksums of large files that do not change, remembered: a teacher of 1.4 GB takes most of a second to hash, and every job that
 * asks it needs its checksum. A file is the same while path, inode, size and times of modification and of change are.
 *
 * DIR/files/<SHA-256 of the path>: one line, "1 <size> <mtime> <ctime> <inode> <SHA-256>", times in nanoseconds. Written whole or
 * not at all; one that cannot be read or understood is as good as none. */
#ifndef RT_WORKER_TRAIN_KNOWN_FILES_H
#define RT_WORKER_TRAIN_KNOWN_FILES_H

#include "base/err.h"
#include "base/sha256.h"

/* SHA-256 of the file at path, remembered below dir; dir NULL: computed. A file that changed in the last two seconds is not
 * remembered, as another change may leave the same times. */
int rt_known_sha256(const char *dir, const char *path, char ret_hex[RT_SHA256_SIZE], struct rt_err *err);

/* Forgets what was remembered longest ago until at most `most` files are. */
void rt_known_trim(const char *dir, size_t most);

#endif
