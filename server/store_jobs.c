/* SPDX-License-Identifier: Apache-2.0 */
#include "server/store_jobs.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define COLUMNS                                                                                              \
	"id, name, status, phase, priority, spec, original_spec, loss, max_runtime_s, attempt, run_id, "     \
	"delete_wanted, error, history, created_ms, updated_ms, started_ms, finished_ms, progress_ms, "      \
	"percent, epoch, total_epochs, eta_s, best_epoch, best_accuracy, best_checkpoint_id, "               \
	"last_checkpoint_id, notes, revision, restarts, ran_ms, wait_reason, wait_until_ms, wait_bytes"

static const size_t strings[] = {
	offsetof(struct rt_job, id),
	offsetof(struct rt_job, name),
	offsetof(struct rt_job, phase),
	offsetof(struct rt_job, spec),
	offsetof(struct rt_job, original_spec),
	offsetof(struct rt_job, loss),
	offsetof(struct rt_job, run_id),
	offsetof(struct rt_job, error),
	offsetof(struct rt_job, history),
	offsetof(struct rt_job, best_checkpoint_id),
	offsetof(struct rt_job, last_checkpoint_id),
	offsetof(struct rt_job, notes),
	offsetof(struct rt_job, wait_reason),
};

static char **string_at(struct rt_job *job, size_t i)
{
	return (char **)(void *)((char *)job + strings[i]);
}

static char *text(sqlite3_stmt *stmt, int column)
{
	return (char *)(uintptr_t)rt_sql_text(stmt, column);
}

/* Strings stay SQLite's: borrowed until the next step. */
static int from_row(sqlite3_stmt *stmt, struct rt_job *job, struct rt_err *err)
{
	const char *status = rt_sql_text(stmt, 2);
	int c = 0;

	memset(job, 0, sizeof *job);
	job->id = text(stmt, c++);
	job->name = text(stmt, c++);
	if (!status || rt_job_status_parse(status, &job->status) < 0)
		return rt_fail(err, RT_INTERNAL, "the job store holds a job with an unknown status");
	c++;
	job->phase = text(stmt, c++);
	job->priority = rt_sql_int(stmt, c++);
	job->spec = text(stmt, c++);
	job->original_spec = text(stmt, c++);
	job->loss = text(stmt, c++);
	job->max_runtime_s = rt_sql_int(stmt, c++);
	job->attempt = rt_sql_int(stmt, c++);
	job->run_id = text(stmt, c++);
	job->delete_wanted = rt_sql_int(stmt, c++) != 0;
	job->error = text(stmt, c++);
	job->history = text(stmt, c++);
	job->created_ms = rt_sql_int(stmt, c++);
	job->updated_ms = rt_sql_int(stmt, c++);
	job->started_ms = rt_sql_int(stmt, c++);
	job->finished_ms = rt_sql_int(stmt, c++);
	job->progress_ms = rt_sql_int(stmt, c++);
	job->percent = rt_sql_real(stmt, c++);
	job->epoch = rt_sql_int(stmt, c++);
	job->total_epochs = rt_sql_int(stmt, c++);
	job->eta_s = rt_sql_real(stmt, c++);
	job->best_epoch = rt_sql_int(stmt, c++);
	job->best_accuracy = rt_sql_real(stmt, c++);
	job->best_checkpoint_id = text(stmt, c++);
	job->last_checkpoint_id = text(stmt, c++);
	job->notes = text(stmt, c++);
	job->revision = rt_sql_int(stmt, c++);
	job->restarts = rt_sql_int(stmt, c++);
	job->ran_ms = rt_sql_int(stmt, c++);
	job->wait_reason = text(stmt, c++);
	job->wait_until_ms = rt_sql_int(stmt, c++);
	job->wait_bytes = rt_sql_int(stmt, c++);
	return 0;
}

static int add_tags(struct rt_store *st, const char *id, char *const *tags, size_t n, struct rt_err *err)
{
	for (size_t i = 0; i < n; i++) {
		if (rt_sql_run(st, err, "INSERT OR IGNORE INTO job_tags (tag, job_id) VALUES (?,?)", "tt",
			       tags[i], id) < 0)
			return -1;
	}
	return 0;
}

int rt_store_job_add(struct rt_store *st, const struct rt_job *job, char *const *tags, size_t tag_count,
		     struct rt_err *err)
{
	if (rt_sql_run(st, err,
		       "INSERT INTO jobs (id, name, status, phase, priority, spec, original_spec, loss, "
		       "max_runtime_s, history,"
		       " created_ms, updated_ms, total_epochs) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
		       "ttttittti"
		       "tiii",
		       job->id, job->name, rt_job_status_word(job->status), job->phase, job->priority,
		       job->spec, job->original_spec, job->loss, job->max_runtime_s, job->history,
		       job->created_ms, job->updated_ms, job->total_epochs) < 0)
		return -1;
	return add_tags(st, job->id, tags, tag_count, err);
}

int rt_store_job_get(struct rt_store *st, const char *id, struct rt_job *ret, struct rt_err *err)
{
	sqlite3_stmt *stmt = rt_sql(st, err, "SELECT " COLUMNS " FROM jobs WHERE id = ?", "t", id);
	struct rt_job job;
	int rc;

	if (!stmt)
		return -1;
	rc = rt_sql_step(st, stmt, err);
	if (rc == 0)
		rc = rt_fail(err, RT_NOT_FOUND, "no job has the id '%.64s'", id);
	else if (rc == 1)
		rc = from_row(stmt, &job, err);
	for (size_t i = 0; rc == 0 && i < sizeof strings / sizeof *strings; i++) {
		char **s = string_at(&job, i);

		if (!*s)
			continue;
		*s = strdup(*s);
		if (*s)
			continue;
		for (size_t k = i + 1; k < sizeof strings / sizeof *strings; k++)
			*string_at(&job, k) = NULL; /* these are still SQLite's */
		rt_job_release(&job);
		rc = rt_fail(err, RT_NO_MEMORY, "no memory to read the job");
	}
	rt_sql_done(st, stmt);
	if (rc == 0)
		*ret = job;
	return rc;
}

void rt_job_release(struct rt_job *job)
{
	for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
		free(*string_at(job, i));
	memset(job, 0, sizeof *job);
}

/* The statement's text and values follow the filter; both go through this one list of conditions. */
sqlite3_stmt *rt_store_jobs_select(struct rt_store *st, const char *what, const struct rt_jobs_filter *f,
				   const char *tail, struct rt_err *err)
{
	struct rt_buf sql = RT_BUF_INIT;
	sqlite3_stmt *stmt = NULL;
	int at = 1, rc = SQLITE_OK;

	rt_buf_fmt(&sql, "%s FROM jobs WHERE 1", what);
	if (f->statuses) {
		rt_buf_str(&sql, " AND status IN (''");
		for (int i = 0; i < RT_JOB_STATUS_COUNT; i++) {
			if (f->statuses & 1U << i)
				rt_buf_fmt(&sql, ",'%s'", rt_job_status_word((enum rt_job_status)i));
		}
		rt_buf_char(&sql, ')');
	}
	for (size_t i = 0; i < f->tag_count; i++)
		rt_buf_str(&sql, " AND id IN (SELECT job_id FROM job_tags WHERE tag = ?)");
	for (size_t i = 0; i < f->word_count; i++)
		rt_buf_fmt(&sql, "%s instr(words, lower(?)) > 0%s",
			   i ? " AND" : " AND id IN (SELECT job_id FROM job_search WHERE",
			   i + 1 < f->word_count ? "" : ")");
	if (f->after)
		rt_buf_fmt(&sql, " AND id %c ?", f->oldest_first ? '>' : '<');
	if (tail)
		rt_buf_fmt(&sql, " %s", tail);
	else
		rt_buf_fmt(&sql, " ORDER BY id %s LIMIT ?", f->oldest_first ? "ASC" : "DESC");
	if (rt_buf_check(&sql, err) == 0)
		stmt = rt_sql_once(st, err, sql.data);
	rt_buf_release(&sql);
	if (!stmt)
		return NULL;
	for (size_t i = 0; i < f->tag_count && rc == SQLITE_OK; i++)
		rc = sqlite3_bind_text(stmt, at++, f->tags[i], -1, SQLITE_STATIC);
	for (size_t i = 0; i < f->word_count && rc == SQLITE_OK; i++)
		rc = sqlite3_bind_text(stmt, at++, f->words[i], -1, SQLITE_STATIC);
	if (f->after && rc == SQLITE_OK)
		rc = sqlite3_bind_text(stmt, at++, f->after, -1, SQLITE_STATIC);
	if (!tail && rc == SQLITE_OK)
		rc = sqlite3_bind_int64(stmt, at, f->limit);
	if (rc != SQLITE_OK) {
		rt_sql_done(st, stmt);
		rt_fail(err, RT_NO_MEMORY, "no memory to list the jobs");
		return NULL;
	}
	return stmt;
}

int rt_store_jobs_list(struct rt_store *st, const struct rt_jobs_filter *filter,
		       void (*each)(void *arg, const struct rt_job *job), void *arg, struct rt_err *err)
{
	sqlite3_stmt *stmt = rt_store_jobs_select(st, "SELECT " COLUMNS, filter, NULL, err);
	struct rt_job job;
	int rc;

	if (!stmt)
		return -1;
	while ((rc = rt_sql_step(st, stmt, err)) == 1) {
		rc = from_row(stmt, &job, err);
		if (rc < 0)
			break;
		each(arg, &job);
	}
	rt_sql_done(st, stmt);
	return rc;
}

int rt_store_jobs_count(struct rt_store *st, enum rt_job_status status, int64_t *ret, struct rt_err *err)
{
	sqlite3_stmt *stmt = rt_sql(st, err, "SELECT count(*) FROM jobs WHERE status = ?", "t",
				    rt_job_status_word(status));
	int rc;

	if (!stmt)
		return -1;
	rc = rt_sql_step(st, stmt, err);
	if (rc == 1) {
		*ret = rt_sql_int(stmt, 0);
		rc = 0;
	}
	rt_sql_done(st, stmt);
	return rc;
}

int rt_store_job_next(struct rt_store *st, int64_t now_ms, bool (*skip)(void *arg, const char *id), void *arg,
		      char ret_id[RT_ID_SIZE], struct rt_err *err)
{
	sqlite3_stmt *stmt = rt_sql(st, err,
				    "SELECT id FROM jobs WHERE status = 'queued' AND"
				    " (wait_until_ms IS NULL OR wait_until_ms <= ? OR wait_until_ms > ?)"
				    " ORDER BY priority DESC, id",
				    "ii", now_ms, now_ms + RT_WAIT_MAX_MS);
	int rc;

	if (!stmt)
		return -1;
	while ((rc = rt_sql_step(st, stmt, err)) == 1) {
		strncpy(ret_id, rt_sql_text(stmt, 0), RT_ID_SIZE - 1);
		ret_id[RT_ID_SIZE - 1] = '\0';
		if (!skip(arg, ret_id))
			break;
	}
	rt_sql_done(st, stmt);
	return rc;
}

int rt_store_jobs_next_wait(struct rt_store *st, int64_t now_ms, int64_t *ret_ms, struct rt_err *err)
{
	sqlite3_stmt *stmt =
		rt_sql(st, err,
		       "SELECT min(wait_until_ms) FROM jobs WHERE status = 'queued' AND wait_until_ms > ?"
		       " AND wait_until_ms <= ?",
		       "ii", now_ms, now_ms + RT_WAIT_MAX_MS);
	int rc;

	if (!stmt)
		return -1;
	rc = rt_sql_step(st, stmt, err);
	if (rc == 1)
		*ret_ms = rt_sql_int(stmt, 0);
	rt_sql_done(st, stmt);
	return rc < 0 ? -1 : 0;
}

int rt_store_jobs_waiting(struct rt_store *st, const char *reason,
			  void (*each)(void *arg, const char *id, int64_t bytes), void *arg,
			  struct rt_err *err)
{
	sqlite3_stmt *stmt =
		rt_sql(st, err,
		       "SELECT id, wait_bytes FROM jobs WHERE status = 'paused' AND wait_reason = ?"
		       " ORDER BY priority DESC, id",
		       "t", reason);
	int rc;

	if (!stmt)
		return -1;
	while ((rc = rt_sql_step(st, stmt, err)) == 1)
		each(arg, rt_sql_text(stmt, 0), rt_sql_int(stmt, 1));
	rt_sql_done(st, stmt);
	return rc;
}

/* A statement that must meet exactly the job: none changed is the id's fault. */
static int changed(int rows, const char *id, struct rt_err *err)
{
	if (rows == 0)
		return rt_fail(err, RT_NOT_FOUND, "no job has the id '%.64s'", id);
	return rows < 0 ? -1 : 0;
}

int rt_store_job_set_status(struct rt_store *st, const char *id, enum rt_job_status status, const char *phase,
			    const char *entry, const char *error, int64_t now_ms, struct rt_err *err)
{
	int64_t started = status == RT_JOB_RUNNING ? now_ms : RT_SQL_NO_INT;
	int64_t finished = rt_job_status_is_final(status) ? now_ms : RT_SQL_NO_INT;

	return changed(rt_sql_run(st, err,
				  "UPDATE jobs SET status = ?, phase = ?, history = json_insert(history, "
				  "'$[#]', json(?)),"
				  " error = ?, updated_ms = ?, started_ms = "
				  "coalesce(started_ms, ?), finished_ms = ?,"
				  " eta_s = NULL, revision = revision + 1, wait_reason = NULL, wait_until_ms "
				  "= NULL, wait_bytes = NULL WHERE id = ?",
				  "ttttiiit", rt_job_status_word(status), phase, entry, error, now_ms,
				  started, finished, id),
		       id, err);
}

int rt_store_job_set_run(struct rt_store *st, const char *id, const char *run_id, int64_t attempt,
			 int64_t now_ms, struct rt_err *err)
{
	return changed(rt_sql_run(st, err,
				  "UPDATE jobs SET run_id = ?, attempt = ?, updated_ms = ? WHERE id = ?",
				  "tiit", run_id, attempt, now_ms, id),
		       id, err);
}

int rt_store_job_set_phase(struct rt_store *st, const char *id, const char *phase, const char *entry,
			   int64_t now_ms, struct rt_err *err)
{
	return changed(rt_sql_run(st, err,
				  "UPDATE jobs SET phase = ?, history = json_insert(history, '$[#]', "
				  "json(?)), updated_ms = ?"
				  " WHERE id = ?",
				  "ttit", phase, entry, now_ms, id),
		       id, err);
}

int rt_store_job_set_progress(struct rt_store *st, const char *id, double percent, int64_t epoch,
			      double eta_s, int64_t now_ms, struct rt_err *err)
{
	return changed(rt_sql_run(st, err,
				  "UPDATE jobs SET percent = coalesce(?, percent), epoch = coalesce(?, "
				  "epoch), eta_s = ?,"
				  " progress_ms = ?, updated_ms = ? WHERE id = ?",
				  "ririit", percent, epoch, eta_s, now_ms, now_ms, id),
		       id, err);
}

int rt_store_job_reset_progress(struct rt_store *st, const char *id, double percent, int64_t epoch,
				struct rt_err *err)
{
	return changed(rt_sql_run(st, err,
				  "UPDATE jobs SET percent = ?, epoch = ?, eta_s = NULL WHERE id = ?", "rit",
				  percent, epoch, id),
		       id, err);
}

int rt_store_job_set_wait(struct rt_store *st, const char *id, const char *reason, int64_t until_ms,
			  int64_t bytes, struct rt_err *err)
{
	return changed(
		rt_sql_run(st, err,
			   "UPDATE jobs SET wait_reason = ?, wait_until_ms = ?, wait_bytes = ? WHERE id = ?",
			   "tiit", reason, until_ms, bytes, id),
		id, err);
}

int rt_store_job_set_restarts(struct rt_store *st, const char *id, int64_t restarts, struct rt_err *err)
{
	return changed(rt_sql_run(st, err, "UPDATE jobs SET restarts = ? WHERE id = ?", "it", restarts, id),
		       id, err);
}

int rt_store_job_add_ran(struct rt_store *st, const char *id, int64_t ms, struct rt_err *err)
{
	return changed(rt_sql_run(st, err, "UPDATE jobs SET ran_ms = ran_ms + ? WHERE id = ?", "it", ms, id),
		       id, err);
}

int rt_store_job_edit(struct rt_store *st, const struct rt_job *job, char *const *tags, size_t tag_count,
		      int64_t now_ms, struct rt_err *err)
{
	if (changed(rt_sql_run(
			    st, err,
			    "UPDATE jobs SET name = ?, notes = ?, priority = ?, max_runtime_s = ?, spec = ?,"
			    " updated_ms = ?, revision = revision + 1 WHERE id = ?",
			    "ttiitit", job->name, job->notes, job->priority, job->max_runtime_s, job->spec,
			    now_ms, job->id),
		    job->id, err) < 0 ||
	    rt_sql_run(st, err, "DELETE FROM job_tags WHERE job_id = ?", "t", job->id) < 0)
		return -1;
	return add_tags(st, job->id, tags, tag_count, err);
}

int rt_store_job_set_best(struct rt_store *st, const char *id, int64_t epoch, double accuracy,
			  const char *checkpoint_id, struct rt_err *err)
{
	return changed(rt_sql_run(st, err,
				  "UPDATE jobs SET best_epoch = ?, best_accuracy = ?, best_checkpoint_id = ? "
				  "WHERE id = ?",
				  "irtt", epoch, accuracy, checkpoint_id, id),
		       id, err);
}

int rt_store_job_set_last(struct rt_store *st, const char *id, const char *checkpoint_id, struct rt_err *err)
{
	return changed(rt_sql_run(st, err, "UPDATE jobs SET last_checkpoint_id = ? WHERE id = ?", "tt",
				  checkpoint_id, id),
		       id, err);
}

int rt_store_job_want_delete(struct rt_store *st, const char *id, struct rt_err *err)
{
	return changed(rt_sql_run(st, err, "UPDATE jobs SET delete_wanted = 1 WHERE id = ?", "t", id), id,
		       err);
}

int rt_store_job_delete(struct rt_store *st, const char *id, struct rt_err *err)
{
	if (rt_sql_run(st, err, "DELETE FROM job_tags WHERE job_id = ?", "t", id) < 0 ||
	    rt_sql_run(st, err, "DELETE FROM epochs WHERE job_id = ?", "t", id) < 0 ||
	    rt_sql_run(st, err, "DELETE FROM checkpoints WHERE job_id = ?", "t", id) < 0 ||
	    rt_sql_run(st, err, "DELETE FROM events WHERE job_id = ?", "t", id) < 0 ||
	    rt_sql_run(st, err, "DELETE FROM runs WHERE job_id = ?", "t", id) < 0)
		return -1;
	return changed(rt_sql_run(st, err, "DELETE FROM jobs WHERE id = ?", "t", id), id, err);
}
