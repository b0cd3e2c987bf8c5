/* SPDX-License-Identifier: Apache-2.0 */
#include "server/resolve.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/id.h"
#include "server/store_checkpoints.h"
#include "server/store_jobs.h"

int rt_roots_add(struct rt_roots *roots, const char *path, struct rt_err *err)
{
	char *real;

	if (roots->n == RT_ROOTS_MAX)
		return rt_fail(err, RT_INVALID, "--models-root may be given at most %d times", RT_ROOTS_MAX);
	real = realpath(path, NULL);
	if (!real)
		return rt_fail_errno(err, errno, "--models-root %s", path);
	if (!rt_file_is_dir(real)) {
		free(real);
		return rt_fail(err, RT_INVALID, "--models-root %s is not a folder", path);
	}
	roots->paths[roots->n++] = real;
	return 0;
}

void rt_roots_release(struct rt_roots *roots)
{
	for (size_t i = 0; i < roots->n; i++)
		free(roots->paths[i]);
	free(roots->runs_dir);
	memset(roots, 0, sizeof *roots);
}

static bool below(const char *path, const char *root)
{
	size_t n = strlen(root);

	if (n == 1)
		return true; /* the root of all */
	return strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static bool allowed(const struct rt_roots *roots, const char *path)
{
	for (size_t i = 0; i < roots->n; i++) {
		if (below(path, roots->paths[i]))
			return true;
	}
	return roots->runs_dir && below(path, roots->runs_dir);
}

static const char *list_roots(const struct rt_roots *roots, char out[256])
{
	size_t n = 0;

	if (roots->n == 0)
		return strcpy(out, "none: start retortd with --models-root DIR");
	for (size_t i = 0; i < roots->n && n < 256; i++)
		n += (size_t)snprintf(out + n, 256 - n, "%s%s", i ? ", " : "", roots->paths[i]);
	return out;
}

static char *resolve_path(const struct rt_roots *roots, const char *field, const char *pointer,
			  const char *value, bool must_be_dir, struct rt_problems *p)
{
	char *real = realpath(value, NULL), list[256];
	int why = errno;

	/* What lies outside is not told apart from what is not there. */
	if (real ? !allowed(roots, real) : strstr(value, "/..") || !allowed(roots, value)) {
		rt_problems_add(p, pointer, NULL, "%s: '%.200s' is not below an allowed folder (allowed: %s)",
				field, value, list_roots(roots, list));
	} else if (!real) {
		rt_problems_add(p, pointer, NULL, "%s: cannot use '%.300s': %s", field, value, strerror(why));
	} else if (must_be_dir && !rt_file_is_dir(real)) {
		rt_problems_add(p, pointer, NULL,
				"%s: '%.300s' is a file; a model is a folder with config.json and weights",
				field, value);
	} else {
		return real;
	}
	free(real);
	return NULL;
}

static char *resolve_job(const struct rt_roots *roots, struct rt_store *st, const char *field,
			 const char *pointer, const char *id, struct rt_problems *p)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_job job;
	char *run = NULL, *folder, *path = NULL;
	struct rt_checkpoint best;

	if (rt_store_job_get(st, id, &job, &err) < 0) {
		rt_problems_add(p, pointer, NULL, "%s: %s", field, err.msg);
		return NULL;
	}
	if (!job.best_checkpoint_id) {
		rt_problems_add(p, pointer, NULL, "%s: %s is %s and has no checkpoint%s", field, id,
				rt_job_status_word(job.status),
				rt_job_status_is_final(job.status)
					? ""
					: " yet; wait until it has finished an epoch");
	} else {
		if (rt_store_checkpoint_get(st, job.id, job.best_checkpoint_id, &best, NULL) == 0) {
			run = rt_path_join(roots->runs_dir, best.run_id);
			rt_checkpoint_release(&best);
		}
		folder = run ? rt_path_join(run, "checkpoints") : NULL;
		path = folder ? rt_path_join(folder, job.best_checkpoint_id) : NULL;
		free(run);
		free(folder);
		if (!path || !rt_file_is_dir(path)) {
			rt_problems_add(p, pointer, NULL, "%s: the best checkpoint of %s is not there", field,
					id);
			free(path);
			path = NULL;
		}
	}
	rt_job_release(&job);
	return path;
}

static char *resolve_one(const struct rt_roots *roots, struct rt_store *st, const char *field,
			 const char *value, bool is_model, struct rt_problems *p)
{
	char pointer[40], list[256];

	if (!value)
		return NULL;
	snprintf(pointer, sizeof pointer, "/%s", field);
	if (value[0] == '/')
		return resolve_path(roots, field, pointer, value, is_model, p);
	if (rt_id_is(value, "job") && is_model)
		return resolve_job(roots, st, field, pointer, value, p);
	if (strncmp(value, "job_", 4) == 0)
		rt_problems_add(p, pointer, NULL,
				is_model ? "%s: '%.100s' is not a job's id"
					 : "%s: '%.100s' is a job; a job is a model, not a data set",
				field, value);
	else
		rt_problems_add(p, pointer, NULL,
				"%s: '%.100s' looks like a Hub id; fetching from the Hub comes in a later "
				"version. Download it and give "
				"its absolute path below an allowed folder (allowed: %s)%s",
				field, value, list_roots(roots, list),
				is_model ? ", or the id of a job" : "");
	return NULL;
}

int rt_resolve(const struct rt_roots *roots, struct rt_store *st, const struct rt_spec *spec,
	       struct rt_resolved *ret, struct rt_problems *problems, struct rt_err *err)
{
	struct rt_resolved r;

	problems->n = 0;
	r.teacher = resolve_one(roots, st, "teacher_id", spec->teacher_id, true, problems);
	r.student = resolve_one(roots, st, "student_id", spec->student_id, true, problems);
	r.dataset = resolve_one(roots, st, "dataset_id", spec->dataset_id, false, problems);
	if (problems->n > 0) {
		rt_resolved_release(&r);
		if (problems->n == 1)
			return rt_fail(err, RT_UNPROCESSABLE, "%s", problems->items[0].detail);
		return rt_fail(err, RT_UNPROCESSABLE, "%zu fields are wrong; the first: %s", problems->n,
			       problems->items[0].detail);
	}
	*ret = r;
	return 0;
}

char *rt_resolve_model(const struct rt_roots *roots, struct rt_store *st, const char *ref, struct rt_err *err)
{
	struct rt_problems *problems = calloc(1, sizeof *problems);
	char *dir;

	if (!problems) {
		rt_fail(err, RT_NO_MEMORY, "no memory to find the model");
		return NULL;
	}
	dir = resolve_one(roots, st, "model", ref, true, problems);
	if (!dir)
		rt_fail(err, RT_NOT_FOUND, "%s",
			problems->n > 0 ? problems->items[0].detail : "there is no such model");
	free(problems);
	return dir;
}

void rt_resolved_release(struct rt_resolved *r)
{
	free(r->teacher);
	free(r->student);
	free(r->dataset);
	memset(r, 0, sizeof *r);
}

json_t *rt_resolved_spec_json(const struct rt_spec *spec, const struct rt_resolved *r)
{
	json_t *json = rt_spec_json(spec);
	int rc = 0;

	if (!json)
		return NULL;
	if (r->teacher)
		rc |= json_object_set_new(json, "teacher_id", json_string(r->teacher));
	if (r->student)
		rc |= json_object_set_new(json, "student_id", json_string(r->student));
	if (r->dataset)
		rc |= json_object_set_new(json, "dataset_id", json_string(r->dataset));
	if (rc != 0) {
		json_decref(json);
		return NULL;
	}
	return json;
}
