/* SPDX-License-Identifier: Apache-2.0 */
/* The checkpoints of a run: folders DIR/checkpoints/<ckpt_…> that are never changed once they are there, and two relative
 * links, `best` and `last`. It knows nothing of what is in a checkpoint.
 *
 *   begin                    commit                              trim
 *   ------> .tmp-ckpt_… ---------------> ckpt_…, links moved -----------> .old-ckpt_… removed
 *             | abort (or found by the next open: removed)
 *
 * Commit makes every file and folder durable (fsync) before the rename, and the rename before it returns. What is kept is
 * what the Hugging Face Trainer keeps: the best, the last, and the newest others up to the limit; with limit 1 and a best that
 * is not the last that makes two. One thread. */
#ifndef RT_WORKER_TRAIN_CHECKPOINTS_H
#define RT_WORKER_TRAIN_CHECKPOINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/id.h"

struct rt_checkpoints;

struct rt_checkpoint_file {
	char *name; /* below the checkpoint's folder: "model.safetensors", "runs/events.out…" */
	int64_t size_bytes;
	char sha256[RT_SHA256_SIZE];
};

struct rt_checkpoint_info {
	char id[RT_ID_SIZE];
	struct rt_checkpoint_file *files; /* by name */
	size_t file_count;
	int64_t size_bytes; /* of all files */
};
void rt_checkpoint_info_release(struct rt_checkpoint_info *info); /* a zeroed one is fine */

/* dir: the run's folder; copied. limit: save_total_limit, at least 1. Removes what an interrupted commit or trim left. */
int rt_checkpoints_open(const char *dir, int64_t limit, struct rt_checkpoints **ret, struct rt_err *err);
void rt_checkpoints_close(struct rt_checkpoints *c);

/* Makes an empty folder to fill, and the id it will have; both are borrowed until commit or abort. One at a time. */
int rt_checkpoints_begin(struct rt_checkpoints *c, const char **ret_path, const char **ret_id,
			 struct rt_err *err);

/* Makes the folder a checkpoint: `last` points at it, and `best` if best. The caller releases *ret.
 * On failure nothing of it is left and the links are as they were. RT_DISK_FULL, RT_IO, RT_NO_MEMORY. */
int rt_checkpoints_commit(struct rt_checkpoints *c, bool best, struct rt_checkpoint_info *ret,
			  struct rt_err *err);
void rt_checkpoints_abort(struct rt_checkpoints *c); /* nothing begun is fine */

/* The id of the next checkpoint to remove, or NULL when no more are kept than allowed. Borrowed until it is removed. */
const char *rt_checkpoints_surplus(const struct rt_checkpoints *c);
/* Removes the one that surplus names. */
int rt_checkpoints_remove(struct rt_checkpoints *c, const char *id, struct rt_err *err);

/* Goes on with checkpoints that are in the folder already, oldest first: they are the ones kept, best ("" for none) and the last
 * get their links. Right after open. ids: copied. */
int rt_checkpoints_restore(struct rt_checkpoints *c, const char (*ids)[RT_ID_SIZE], size_t n,
			   const char *best, struct rt_err *err);
/* The ids that will be kept, oldest first, once the checkpoint that is begun (if one is) is committed and the surplus removed;
 * best: it will be the best. New array, free(). */
int rt_checkpoints_will_keep(const struct rt_checkpoints *c, bool best, char (**ret)[RT_ID_SIZE],
			     size_t *ret_n, struct rt_err *err);

const char *rt_checkpoints_best(const struct rt_checkpoints *c); /* id, or NULL; borrowed */

#endif
