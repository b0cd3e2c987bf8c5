/* SPDX-License-Identifier: Apache-2.0 */
/* What a spec's teacher_id, student_id and dataset_id stand for on this machine. In this version: an absolute path below an
 * allowed root (links followed first), or job_…: the best checkpoint of another job. Reads the file system and the store. */
#ifndef RT_SERVER_RESOLVE_H
#define RT_SERVER_RESOLVE_H

#include <stdbool.h>

#include "api/spec.h"
#include "server/store.h"

#define RT_ROOTS_MAX 32
struct rt_roots {
	char *paths[RT_ROOTS_MAX]; /* real paths, as given with --models-root */
	size_t n;
	char *runs_dir; /* real path of DATA/runs: allowed too, and where checkpoints lie */
};
int rt_roots_add(struct rt_roots *roots, const char *path, struct rt_err *err); /* a folder that is there */
void rt_roots_release(struct rt_roots *roots);

/* Real paths; each NULL where the spec has none. Owned. */
struct rt_resolved {
	char *teacher, *student, *dataset;
};
/* Adds one problem for every id that stands for nothing, and returns -1 with RT_UNPROCESSABLE if there was one. */
int rt_resolve(const struct rt_roots *roots, struct rt_store *st, const struct rt_spec *spec,
	       struct rt_resolved *ret, struct rt_problems *problems, struct rt_err *err);
/* One model by itself: its folder, a real path (free()), or NULL and RT_NOT_FOUND. */
char *rt_resolve_model(const struct rt_roots *roots, struct rt_store *st, const char *ref,
		       struct rt_err *err);
void rt_resolved_release(struct rt_resolved *r);

/* The spec as JSON with what its ids stand for in their place: what a worker gets. New reference, or NULL. */
json_t *rt_resolved_spec_json(const struct rt_spec *spec, const struct rt_resolved *r);

#endif
