/* SPDX-License-Identifier: Apache-2.0 */
#include "server/store_runs.h"

#include <stdio.h>

#define COLUMNS "id, job_id, attempt, token_sha256, pid, pid_start, last_seq, created_ms, ended_ms, from_step"

static void from_row(sqlite3_stmt *stmt, struct rt_run_row *run)
{
	snprintf(run->id, sizeof run->id, "%s", rt_sql_text(stmt, 0));
	snprintf(run->job_id, sizeof run->job_id, "%s", rt_sql_text(stmt, 1));
	run->attempt = rt_sql_int(stmt, 2);
	snprintf(run->token_sha256, sizeof run->token_sha256, "%s", rt_sql_text(stmt, 3));
	run->pid = rt_sql_int(stmt, 4);
	run->pid_start = rt_sql_int(stmt, 5);
	run->last_seq = rt_sql_int(stmt, 6);
	run->created_ms = rt_sql_int(stmt, 7);
	run->ended_ms = rt_sql_int(stmt, 8);
	run->from_step = rt_sql_int(stmt, 9);
}

static int changed(int rows, const char *id, struct rt_err *err)
{
	if (rows == 0)
		return rt_fail(err, RT_NOT_FOUND, "no run has the id '%.64s'", id);
	return rows < 0 ? -1 : 0;
}

int rt_store_run_add(struct rt_store *st, const struct rt_run_row *run, struct rt_err *err)
{
	return rt_sql_run(
		       st, err,
		       "INSERT INTO runs (id, job_id, attempt, token_sha256, created_ms) VALUES (?,?,?,?,?)",
		       "ttiti", run->id, run->job_id, run->attempt, run->token_sha256, run->created_ms) < 0
		       ? -1
		       : 0;
}

int rt_store_run_get(struct rt_store *st, const char *id, struct rt_run_row *ret, struct rt_err *err)
{
	sqlite3_stmt *stmt = rt_sql(st, err, "SELECT " COLUMNS " FROM runs WHERE id = ?", "t", id);
	int rc;

	if (!stmt)
		return -1;
	rc = rt_sql_step(st, stmt, err);
	if (rc == 1)
		from_row(stmt, ret);
	rt_sql_done(st, stmt);
	if (rc == 0)
		return rt_fail(err, RT_NOT_FOUND, "no run has the id '%.64s'", id);
	return rc < 0 ? -1 : 0;
}

int rt_store_run_set_pid(struct rt_store *st, const char *id, int64_t pid, int64_t pid_start,
			 struct rt_err *err)
{
	return changed(rt_sql_run(st, err, "UPDATE runs SET pid = ?, pid_start = ? WHERE id = ?", "iit", pid,
				  pid_start, id),
		       id, err);
}

int rt_store_run_set_seq(struct rt_store *st, const char *id, int64_t last_seq, struct rt_err *err)
{
	return changed(rt_sql_run(st, err, "UPDATE runs SET last_seq = ? WHERE id = ?", "it", last_seq, id),
		       id, err);
}

int rt_store_run_set_from_step(struct rt_store *st, const char *id, int64_t from_step, struct rt_err *err)
{
	return changed(rt_sql_run(st, err, "UPDATE runs SET from_step = ? WHERE id = ?", "it", from_step, id),
		       id, err);
}

int rt_store_run_last_event(struct rt_store *st, const char *id, int64_t *ret_ms, struct rt_err *err)
{
	sqlite3_stmt *stmt = rt_sql(
		st, err, "SELECT created_ms FROM events WHERE run_id = ? ORDER BY run_seq DESC LIMIT 1", "t",
		id);
	int rc;

	if (!stmt)
		return -1;
	rc = rt_sql_step(st, stmt, err);
	if (rc >= 0)
		*ret_ms = rc == 1 ? rt_sql_int(stmt, 0) : RT_SQL_NO_INT;
	rt_sql_done(st, stmt);
	return rc < 0 ? -1 : 0;
}

int rt_store_run_end(struct rt_store *st, const char *id, int64_t exit_status, int64_t exit_signal,
		     int64_t now_ms, struct rt_err *err)
{
	return changed(
		rt_sql_run(st, err,
			   "UPDATE runs SET ended_ms = ?, exit_status = ?, exit_signal = ? WHERE id = ?",
			   "iiit", now_ms, exit_status, exit_signal, id),
		id, err);
}

int rt_store_runs_list(struct rt_store *st, const char *job_id,
		       void (*each)(void *arg, const struct rt_run_row *run), void *arg, struct rt_err *err)
{
	sqlite3_stmt *stmt =
		job_id ? rt_sql(st, err, "SELECT " COLUMNS " FROM runs WHERE job_id = ? ORDER BY attempt",
				"t", job_id)
		       : rt_sql(st, err, "SELECT " COLUMNS " FROM runs WHERE ended_ms IS NULL ORDER BY id",
				"");
	struct rt_run_row run;
	int rc;

	if (!stmt)
		return -1;
	while ((rc = rt_sql_step(st, stmt, err)) == 1) {
		from_row(stmt, &run);
		each(arg, &run);
	}
	rt_sql_done(st, stmt);
	return rc;
}
