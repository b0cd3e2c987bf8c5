/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints in the store: manifests of what lies below DATA/runs/<run>/checkpoints/<id>. */
#ifndef RT_SERVER_STORE_CHECKPOINTS_H
#define RT_SERVER_STORE_CHECKPOINTS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/store.h"

struct rt_checkpoint {
	char *id, *job_id;
	char *run_id; /* the run whose folder holds it: that which wrote it, or a later one that took it over */
	int64_t attempt; /* that wrote it */
	int64_t epoch, step, size_bytes;
	bool was_best;	 /* when it was written */
	bool superseded; /* a later attempt went on from before it */
	char *files;	 /* JSON [{name, size_bytes, sha256}] */
	char *metrics;	 /* JSON, or NULL */
	int64_t created_ms;
	int64_t deleted_ms; /* RT_SQL_NO_INT: its files are there */
};

int rt_store_checkpoint_add(struct rt_store *st, const struct rt_checkpoint *c, struct rt_err *err);
/* Also one that is deleted. RT_NOT_FOUND. The caller releases *ret. */
int rt_store_checkpoint_get(struct rt_store *st, const char *job_id, const char *id,
			    struct rt_checkpoint *ret, struct rt_err *err);
void rt_checkpoint_release(struct rt_checkpoint *c); /* a zeroed one is fine */
/* Those that are there, oldest first; the row is borrowed for the call. */
int rt_store_checkpoints_read(struct rt_store *st, const char *job_id,
			      void (*each)(void *arg, const struct rt_checkpoint *c), void *arg,
			      struct rt_err *err);
int rt_store_checkpoint_set_run(struct rt_store *st, const char *id, const char *run_id, struct rt_err *err);
int rt_store_checkpoint_supersede(struct rt_store *st, const char *id, struct rt_err *err);
int rt_store_checkpoint_deleted(struct rt_store *st, const char *job_id, const char *id, int64_t now_ms,
				struct rt_err *err);

#endif
