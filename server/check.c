/* SPDX-License-Identifier: Apache-2.0 */
#include "server/check.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/id.h"
#include "base/json.h"
#include "server/lock.h"
#include "server/manifest.h"
#include "server/store.h"

struct check {
	struct rt_store *store;
	char *runs_dir;
	bool repair;
	struct rt_check_result result;
};

/* One finding; it is repaired when repaired says so. */
static void finding(struct check *c, bool repaired, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void finding(struct check *c, bool repaired, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("%s\n", repaired ? " (repaired)" : "");
	c->result.found++;
	c->result.repaired += repaired;
}

static int run_sql(struct check *c, struct rt_err *err, const char *sql)
{
	sqlite3_stmt *stmt = rt_sql_once(c->store, err, sql);
	int rc = stmt ? rt_sql_step(c->store, stmt, err) : -1;

	rt_sql_done(c->store, stmt);
	return rc < 0 ? -1 : 0;
}

/* ---- the database ---- */

static void tell_to_restore(void)
{
	printf("put back a backup of the database (retortd --backup makes them)\n");
}

/* False when nothing else in it can be relied on. */
static bool check_integrity(struct check *c, struct rt_err *err)
{
	bool sound = true;

	/* an index that disagrees with its table can be made again; what a table has lost cannot */
	for (int round = 0; round < 2; round++) {
		sqlite3_stmt *stmt = rt_sql_once(c->store, err, "PRAGMA integrity_check(20)");
		bool last = round == 1 || !c->repair;

		sound = true;
		while (stmt && rt_sql_step(c->store, stmt, err) == 1) {
			const char *words = rt_sql_text(stmt, 0);

			if (!words || strcmp(words, "ok") == 0)
				continue;
			sound = false;
			if (last)
				finding(c, false, "database: %s", words);
		}
		sound = sound && stmt;
		rt_sql_done(c->store, stmt);
		if (sound || last)
			break;
		if (run_sql(c, err, "REINDEX") == 0)
			finding(c, true, "database: indexes that disagree with their tables");
	}
	if (!sound)
		tell_to_restore();
	return sound;
}

static int check_orphan_rows(struct check *c, struct rt_err *err)
{
	/* "job.deleted" outlives its job on purpose */
	static const struct {
		const char *table, *also;
	} tables[] = { { "job_tags", "" },  { "runs", "" },	   { "events", " AND type <> 'job.deleted'" },
		       { "epochs", "" },    { "evaluations", "" }, { "checkpoints", "" },
		       { "job_search", "" } };

	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		char where[200], sql[320];
		sqlite3_stmt *stmt;
		int64_t n = 0;

		snprintf(where, sizeof where, "FROM %s WHERE job_id NOT IN (SELECT id FROM jobs)%s",
			 tables[i].table, tables[i].also);
		snprintf(sql, sizeof sql, "SELECT count(*) %s", where);
		stmt = rt_sql_once(c->store, err, sql);
		if (!stmt || rt_sql_step(c->store, stmt, err) < 0) {
			rt_sql_done(c->store, stmt);
			return -1;
		}
		n = rt_sql_int(stmt, 0);
		rt_sql_done(c->store, stmt);
		if (n == 0)
			continue;
		snprintf(sql, sizeof sql, "DELETE %s", where);
		if (c->repair && run_sql(c, err, sql) < 0)
			return -1;
		finding(c, c->repair, "database: %lld rows of %s belong to no job", (long long)n,
			tables[i].table);
	}
	return 0;
}

/* A job under way has a run that has not ended; the next server would otherwise never look at it. */
static int check_jobs(struct check *c, struct rt_err *err)
{
	static const char sql[] =
		"SELECT id, status FROM jobs WHERE status IN ('running', 'pausing', 'cancelling') AND"
		" NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = jobs.run_id AND ended_ms IS NULL)";
	sqlite3_stmt *stmt = rt_sql_once(c->store, err, sql);
	int rc = -1;

	while (stmt && (rc = rt_sql_step(c->store, stmt, err)) == 1)
		finding(c, c->repair, "job %s is %s and has no run that could end it", rt_sql_text(stmt, 0),
			rt_sql_text(stmt, 1));
	rt_sql_done(c->store, stmt);
	if (rc == 0 && c->repair)
		rc = run_sql(
			c, err,
			"UPDATE jobs SET status = CASE status WHEN 'running' THEN 'queued' WHEN 'pausing' "
			"THEN 'paused' "
			"ELSE 'cancelled' END, phase = NULL, revision = revision + 1, history = "
			"json_insert(history, "
			"'$[#]', json_object('status', CASE status WHEN 'running' THEN 'queued' WHEN "
			"'pausing' THEN "
			"'paused' ELSE 'cancelled' END, 'phase', NULL, 'at', strftime('%Y-%m-%dT%H:%M:%fZ', "
			"'now'), "
			"'message', 'repaired: the job had no run')) WHERE status IN ('running', 'pausing', "
			"'cancelling') AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = jobs.run_id AND "
			"ended_ms IS "
			"NULL)");
	return rc;
}

/* ---- checkpoints ---- */

/* "" when the file is as the manifest says. */
static void look_at_file(struct check *c, const char *dir, const struct rt_manifest_file *f, char out[200])
{
	char *path = rt_path_join(dir, f->name), sha256[RT_SHA256_SIZE];
	struct rt_err err = RT_ERR_INIT;
	int64_t size = -1;

	out[0] = '\0';
	c->result.files++;
	if (!path || rt_file_sha256(path, sha256, &size, &err) < 0)
		snprintf(out, 200, "%.100s cannot be read", f->name);
	else if (size != f->size_bytes)
		snprintf(out, 200, "%.100s has %lld bytes instead of %lld", f->name, (long long)size,
			 (long long)f->size_bytes);
	else if (strcmp(sha256, f->sha256) != 0)
		snprintf(out, 200, "%.100s is not what was written (SHA-256)", f->name);
	free(path);
}

static int withdraw(struct check *c, const char *id, struct rt_err *err)
{
	return rt_sql_run(c->store, err, "UPDATE checkpoints SET deleted_ms = ? WHERE id = ?", "it",
			  rt_clock_now_ms(), id) < 0
		       ? -1
		       : 0;
}

static int check_checkpoint(struct check *c, const char *id, const char *job_id, const char *run_id,
			    const char *files, struct rt_err *err)
{
	char *run = rt_path_join(c->runs_dir, run_id), *all = run ? rt_path_join(run, "checkpoints") : NULL;
	char *dir = all ? rt_path_join(all, id) : NULL, words[200] = "";
	json_t *list = rt_json_parse(files, strlen(files), NULL);
	int rc = 0;

	c->result.checkpoints++;
	if (!list || rt_manifest_check(list, NULL) < 0)
		snprintf(words, sizeof words, "its manifest makes no sense");
	else if (!dir || !rt_file_is_dir(dir))
		snprintf(words, sizeof words, "its folder is not there");
	for (size_t i = 0; !words[0] && i < json_array_size(list); i++) {
		struct rt_manifest_file f = rt_manifest_at(list, i);

		look_at_file(c, dir, &f, words);
	}
	if (words[0]) {
		if (c->repair)
			rc = withdraw(c, id, err);
		finding(c, c->repair && rc == 0, "checkpoint %s of %s: %s", id, job_id, words);
	}
	json_decref(list);
	free(dir);
	free(all);
	free(run);
	return rc;
}

struct row {
	char id[RT_ID_SIZE], job_id[RT_ID_SIZE], run_id[RT_ID_SIZE];
	char *files;
};

static int check_checkpoints(struct check *c, struct rt_err *err)
{
	sqlite3_stmt *stmt = rt_sql_once(
		c->store, err,
		"SELECT id, job_id, run_id, files FROM checkpoints WHERE deleted_ms IS NULL ORDER BY id");
	struct row *rows = NULL;
	size_t n = 0, cap = 0;
	int rc = -1;

	/* the list first: what is found changes the table */
	while (stmt && (rc = rt_sql_step(c->store, stmt, err)) == 1) {
		if (n == cap) {
			struct row *more = realloc(rows, (cap ? 2 * cap : 64) * sizeof *rows);

			if (!more) {
				rc = rt_fail(err, RT_NO_MEMORY, "no memory to check the checkpoints");
				break;
			}
			rows = more;
			cap = cap ? 2 * cap : 64;
		}
		snprintf(rows[n].id, RT_ID_SIZE, "%s", rt_sql_text(stmt, 0));
		snprintf(rows[n].job_id, RT_ID_SIZE, "%s", rt_sql_text(stmt, 1));
		snprintf(rows[n].run_id, RT_ID_SIZE, "%s", rt_sql_text(stmt, 2));
		rows[n].files = strdup(rt_sql_text(stmt, 3));
		n += rows[n].files != NULL;
	}
	rt_sql_done(c->store, stmt);
	for (size_t i = 0; i < n; i++) {
		if (rc == 0)
			rc = check_checkpoint(c, rows[i].id, rows[i].job_id, rows[i].run_id, rows[i].files,
					      err);
		free(rows[i].files);
	}
	free(rows);
	return rc;
}

/* best and last of a job must be checkpoints that are there. */
static int check_pointers(struct check *c, struct rt_err *err)
{
	static const char *const columns[] = { "best_checkpoint_id", "last_checkpoint_id" };

	for (size_t i = 0; i < 2; i++) {
		char sql[700];
		sqlite3_stmt *stmt;
		int rc = -1;

		snprintf(sql, sizeof sql,
			 "SELECT id, %s FROM jobs WHERE %s IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "
			 "checkpoints WHERE "
			 "checkpoints.id = jobs.%s AND deleted_ms IS NULL)",
			 columns[i], columns[i], columns[i]);
		stmt = rt_sql_once(c->store, err, sql);
		while (stmt && (rc = rt_sql_step(c->store, stmt, err)) == 1)
			finding(c, c->repair, "job %s: its %s checkpoint %s is not there",
				rt_sql_text(stmt, 0), i ? "last" : "best", rt_sql_text(stmt, 1));
		rt_sql_done(c->store, stmt);
		if (rc < 0)
			return -1;
		snprintf(sql, sizeof sql,
			 "UPDATE jobs SET %s = (SELECT id FROM checkpoints WHERE job_id = jobs.id AND "
			 "deleted_ms IS NULL%s "
			 "ORDER BY step DESC LIMIT 1) WHERE %s IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "
			 "checkpoints WHERE "
			 "checkpoints.id = jobs.%s AND deleted_ms IS NULL)",
			 columns[i], i ? "" : " AND was_best = 1 AND superseded = 0", columns[i], columns[i]);
		if (c->repair && run_sql(c, err, sql) < 0)
			return -1;
	}
	if (!c->repair)
		return 0;
	return run_sql(
		c, err,
		"UPDATE jobs SET best_epoch = (SELECT epoch FROM checkpoints WHERE id = best_checkpoint_id), "
		"best_accuracy = (SELECT json_extract(metrics, '$.eval_accuracy') FROM checkpoints WHERE id "
		"= "
		"best_checkpoint_id) WHERE best_epoch IS NOT (SELECT epoch FROM checkpoints WHERE id = "
		"best_checkpoint_id)");
}

/* ---- folders ---- */

static int64_t count(struct check *c, const char *sql, const char *id)
{
	sqlite3_stmt *stmt = rt_sql(c->store, NULL, sql, "t", id);
	int64_t n = stmt && rt_sql_step(c->store, stmt, NULL) == 1 ? rt_sql_int(stmt, 0) : -1;

	rt_sql_done(c->store, stmt);
	return n;
}

static void remove_orphan(struct check *c, const char *dir, const char *name, const char *what)
{
	char *path = rt_path_join(dir, name);
	bool gone = c->repair && path && rt_dir_remove(path, NULL) == 0;

	finding(c, gone, "%s: %s", path ? path : name, what);
	free(path);
}

static void check_checkpoint_folders(struct check *c, const char *run_dir, bool run_has_ended)
{
	char *all = rt_path_join(run_dir, "checkpoints");
	DIR *dir = all ? opendir(all) : NULL;
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		const char *name = entry->d_name;

		if (rt_id_is(name, "ckpt") &&
		    count(c, "SELECT count(*) FROM checkpoints WHERE id = ? AND deleted_ms IS NULL", name) ==
			    0 &&
		    run_has_ended)
			remove_orphan(c, all, name, "a checkpoint that no row names");
		else if ((strncmp(name, ".tmp-", 5) == 0 || strncmp(name, ".old-", 5) == 0) && run_has_ended)
			remove_orphan(c, all, name, "left over from a checkpoint that was not finished");
	}
	if (dir)
		closedir(dir);
	free(all);
}

static void check_run_folders(struct check *c)
{
	DIR *dir = opendir(c->runs_dir);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		const char *name = entry->d_name;
		char *path;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		if (!rt_id_is(name, "run")) {
			finding(c, false, "%s/%s: not a run's folder; remove it if it is not yours",
				c->runs_dir, name);
			continue;
		}
		if (count(c, "SELECT count(*) FROM runs WHERE id = ?", name) == 0) {
			remove_orphan(c, c->runs_dir, name, "a run that no row names");
			continue;
		}
		path = rt_path_join(c->runs_dir, name);
		if (path)
			check_checkpoint_folders(
				c, path,
				count(c, "SELECT count(*) FROM runs WHERE id = ? AND ended_ms IS NOT NULL",
				      name) == 1);
		free(path);
	}
	if (dir)
		closedir(dir);
}

static int check_all(struct check *c, struct rt_err *err)
{
	if (!check_integrity(c, err))
		return 0;
	if (check_orphan_rows(c, err) < 0 || check_jobs(c, err) < 0 || check_checkpoints(c, err) < 0 ||
	    check_pointers(c, err) < 0)
		return -1;
	check_run_folders(c);
	return 0;
}

static int open_and_check(struct check *c, const char *db, struct rt_err *err)
{
	int rc;

	if (rt_store_open_as_is(db, &c->store, err) < 0) {
		if (err->code != RT_INTERNAL)
			return -1;
		finding(c, false, "database: %s", err->msg);
		tell_to_restore();
		return 0;
	}
	if (rt_store_begin(c->store, err) < 0)
		return -1;
	rc = check_all(c, err);
	if (rt_store_end(c->store, rc == 0 && c->repair, err) < 0 || rt_store_commit(c->store, err) < 0)
		rc = -1;
	return rc;
}

int rt_check_run(const char *data_dir, bool repair, struct rt_check_result *ret, struct rt_err *err)
{
	struct check c = { .repair = repair };
	char *db = rt_path_join(data_dir, "retort.db");
	int rc = -1, lock = -1;

	c.runs_dir = rt_path_join(data_dir, "runs");
	if (!db || !c.runs_dir)
		rt_fail(err, RT_NO_MEMORY, "no memory to check %s", data_dir);
	else if (!rt_file_exists(db))
		rt_fail(err, RT_NOT_FOUND, "%s: there is no retort.db: it is not a data directory of retortd",
			data_dir);
	else
		lock = rt_lock_take(data_dir, err);
	if (lock >= 0)
		rc = open_and_check(&c, db, err);
	rt_store_close(c.store);
	rt_lock_release(lock);
	free(db);
	free(c.runs_dir);
	if (rc == 0)
		*ret = c.result;
	return rc;
}
