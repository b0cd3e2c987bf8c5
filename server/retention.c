/* SPDX-License-Identifier: Apache-2.0 */
#include "server/retention.h"

#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "server/jobs.h"
#include "server/lock.h"
#include "server/store.h"

#define DAY_MS (24 * 3600 * INT64_C(1000))

/* Bytes of the disk below a folder. A file with several links (a checkpoint that a later run took over) is shared among them. */
static int64_t size_of(const char *path)
{
	char *const paths[] = { (char *)(uintptr_t)path, NULL };
	FTS *fts = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	int64_t sum = 0;
	FTSENT *e;

	while (fts && (e = fts_read(fts))) {
		if (e->fts_info == FTS_F || e->fts_info == FTS_D || e->fts_info == FTS_SL ||
		    e->fts_info == FTS_DEFAULT)
			sum += (int64_t)e->fts_statp->st_blocks * 512 /
			       (e->fts_info == FTS_D || e->fts_statp->st_nlink < 1
					? 1
					: (int64_t)e->fts_statp->st_nlink);
	}
	if (fts)
		fts_close(fts);
	return sum;
}

static int64_t size_of_job(struct rt_store *st, const char *runs_dir, const char *job_id, struct rt_err *err)
{
	sqlite3_stmt *stmt = rt_sql(st, err, "SELECT id FROM runs WHERE job_id = ?", "t", job_id);
	int64_t sum = 0;
	int rc = -1;

	while (stmt && (rc = rt_sql_step(st, stmt, err)) == 1) {
		char *path = rt_path_join(runs_dir, rt_sql_text(stmt, 0));

		sum += path ? size_of(path) : 0;
		free(path);
	}
	rt_sql_done(st, stmt);
	return rc < 0 ? -1 : sum;
}

static int add_item(struct rt_retention_plan *plan, const struct rt_retention_item *item, struct rt_err *err)
{
	if (plan->n == plan->cap) {
		size_t cap = plan->cap ? 2 * plan->cap : 32;
		struct rt_retention_item *items = realloc(plan->items, cap * sizeof *items);

		if (!items)
			return rt_fail(err, RT_NO_MEMORY, "no memory to plan what goes");
		plan->items = items;
		plan->cap = cap;
	}
	plan->items[plan->n++] = *item;
	return 0;
}

static int make_plan(struct rt_store *st, const char *runs_dir, const struct rt_retention_policy *policy,
		     struct rt_retention_plan *plan, struct rt_err *err)
{
	/* oldest first; whether a job that is not finished stands on it */
	sqlite3_stmt *stmt = rt_sql_once(
		st, err,
		"WITH needed (id) AS (SELECT json_extract(spec, '$.teacher_id') FROM jobs WHERE finished_ms "
		"IS NULL"
		" UNION SELECT json_extract(spec, '$.student_id') FROM jobs WHERE finished_ms IS NULL)"
		" SELECT id, finished_ms, EXISTS (SELECT 1 FROM needed WHERE needed.id = jobs.id) FROM jobs"
		" WHERE finished_ms IS NOT NULL AND delete_wanted = 0 ORDER BY finished_ms, id");
	int64_t now = rt_clock_now_ms(), before = INT64_MIN;
	int rc = -1;

	if (policy->keep_days >= 0)
		before = now - policy->keep_days * DAY_MS;
	plan->total_bytes = size_of(runs_dir);
	while (stmt && (rc = rt_sql_step(st, stmt, err)) == 1) {
		struct rt_retention_item item = { .finished_ms = rt_sql_int(stmt, 1) };

		if (item.finished_ms < before)
			item.why = "keep_days";
		else if (policy->max_bytes >= 0 && plan->total_bytes - plan->freed_bytes > policy->max_bytes)
			item.why = "max_bytes";
		else
			continue; /* younger ones follow, but one of them may be needed and another too large */
		if (rt_sql_int(stmt, 2)) {
			plan->needed++;
			continue;
		}
		snprintf(item.job_id, sizeof item.job_id, "%s", rt_sql_text(stmt, 0));
		item.bytes = size_of_job(st, runs_dir, item.job_id, err);
		if (item.bytes < 0 || add_item(plan, &item, err) < 0) {
			rc = -1;
			break;
		}
		plan->freed_bytes += item.bytes;
	}
	rt_sql_done(st, stmt);
	return rc;
}

int rt_retention_plan(const char *data_dir, const struct rt_retention_policy *policy,
		      struct rt_retention_plan *ret, struct rt_err *err)
{
	char *db = rt_path_join(data_dir, "retort.db"), *runs = rt_path_join(data_dir, "runs");
	struct rt_retention_plan plan = { .n = 0 };
	struct rt_store *st = NULL;
	int rc = -1;

	if (!db || !runs)
		rt_fail(err, RT_NO_MEMORY, "no memory to plan what goes");
	else if (!rt_file_exists(db))
		rt_fail(err, RT_NOT_FOUND, "%s: there is no retort.db: it is not a data directory of retortd",
			data_dir);
	else if (rt_store_open_as_is(db, &st, err) == 0)
		rc = make_plan(st, runs, policy, &plan, err);
	rt_store_close(st);
	free(db);
	free(runs);
	if (rc < 0)
		rt_retention_release(&plan);
	else
		*ret = plan;
	return rc;
}

void rt_retention_release(struct rt_retention_plan *plan)
{
	free(plan->items);
	memset(plan, 0, sizeof *plan);
}

static void limit(struct rt_buf *out, const char *name, int64_t value)
{
	if (value < 0)
		rt_buf_fmt(out, ",\"%s\":null", name);
	else
		rt_buf_fmt(out, ",\"%s\":%lld", name, (long long)value);
}

void rt_retention_render(struct rt_buf *out, const struct rt_retention_policy *policy,
			 const struct rt_retention_plan *plan)
{
	char at[RT_RFC3339_SIZE];

	rt_buf_str(out, "{\"object\":\"retention\"");
	limit(out, "keep_days", policy->keep_days);
	limit(out, "max_bytes", policy->max_bytes);
	rt_buf_fmt(out, ",\"total_bytes\":%lld,\"freed_bytes\":%lld,\"needed_jobs\":%zu,\"jobs\":[",
		   (long long)plan->total_bytes, (long long)plan->freed_bytes, plan->needed);
	for (size_t i = 0; i < plan->n; i++) {
		const struct rt_retention_item *item = &plan->items[i];

		rt_buf_fmt(out,
			   "%s{\"job_id\":\"%s\",\"reason\":\"%s\",\"bytes\":%lld,\"finished_at\":\"%s\"}",
			   i ? "," : "", item->job_id, item->why, (long long)item->bytes,
			   rt_clock_rfc3339(item->finished_ms, at));
	}
	rt_buf_str(out, "]}");
}

/* ---- from the command line ---- */

struct removal {
	const char *runs_dir;
	char **paths;
	size_t n, cap;
	bool failed;
};

static void note_folder(void *arg, const struct rt_run_row *run)
{
	struct removal *r = arg;
	char *path = rt_path_join(r->runs_dir, run->id);

	if (r->n == r->cap) {
		size_t cap = r->cap ? 2 * r->cap : 32;
		char **paths = realloc(r->paths, cap * sizeof *paths);

		if (!paths) {
			r->failed = true;
			free(path);
			return;
		}
		r->paths = paths;
		r->cap = cap;
	}
	r->failed = r->failed || !path;
	if (path)
		r->paths[r->n++] = path;
}

/* Rows first, for good; then the files that nothing names any more. */
static int remove_all(const char *data_dir, const struct rt_retention_plan *plan, struct rt_err *err)
{
	char *db = rt_path_join(data_dir, "retort.db"), *runs = rt_path_join(data_dir, "runs");
	struct removal removal = { .runs_dir = runs };
	struct rt_jobs jobs = { .store = NULL };
	int rc = -1;

	if (db && runs && rt_store_open_as_is(db, &jobs.store, err) == 0) {
		rc = 0;
		for (size_t i = 0; i < plan->n && rc == 0; i++) {
			rc = rt_store_runs_list(jobs.store, plan->items[i].job_id, note_folder, &removal,
						err);
			if (rc == 0)
				rc = rt_jobs_remove(&jobs, plan->items[i].job_id, plan->items[i].why, err);
		}
		if (removal.failed)
			rc = rt_fail(err, RT_NO_MEMORY, "no memory to remove jobs");
		if (rc == 0)
			rc = rt_store_commit(jobs.store, err);
	} else if (!db || !runs) {
		rt_fail(err, RT_NO_MEMORY, "no memory to remove jobs");
	}
	for (size_t i = 0; i < removal.n; i++) {
		if (rc == 0)
			rc = rt_dir_remove(removal.paths[i], err);
		free(removal.paths[i]);
	}
	free(removal.paths);
	rt_store_close(jobs.store);
	free(db);
	free(runs);
	return rc;
}

int rt_retention_run(const char *data_dir, const struct rt_retention_policy *policy, bool dry,
		     struct rt_err *err)
{
	int lock = dry ? -1 : rt_lock_take(data_dir, err), rc;
	struct rt_retention_plan plan;
	char at[RT_RFC3339_SIZE];

	if (!dry && lock < 0)
		return rt_fail_in(
			err, "a server that runs with --keep-days or --max-bytes removes jobs by itself");
	rc = rt_retention_plan(data_dir, policy, &plan, err);
	if (rc == 0) {
		for (size_t i = 0; i < plan.n; i++)
			printf("%s  finished %s  %12lld bytes  %s\n", plan.items[i].job_id,
			       rt_clock_rfc3339(plan.items[i].finished_ms, at),
			       (long long)plan.items[i].bytes, plan.items[i].why);
		if (!dry)
			rc = remove_all(data_dir, &plan, err);
		if (rc == 0)
			printf("%zu jobs with %lld of %lld bytes %s; %zu more are needed by jobs that are "
			       "not finished\n",
			       plan.n, (long long)plan.freed_bytes, (long long)plan.total_bytes,
			       dry ? "would go" : "are gone", plan.needed);
		rt_retention_release(&plan);
	}
	rt_lock_release(lock);
	return rc;
}
