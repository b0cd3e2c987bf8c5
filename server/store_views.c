/* SPDX-License-Identifier: Apache-2.0 */
#include "server/store_views.h"

#include <string.h>

#include "base/buf.h"

int rt_store_jobs_counts(struct rt_store *st, const struct rt_jobs_filter *filter,
			 int64_t ret[RT_JOB_STATUS_COUNT], struct rt_err *err)
{
	struct rt_jobs_filter f = { .tags = filter->tags,
				    .tag_count = filter->tag_count,
				    .words = filter->words,
				    .word_count = filter->word_count };
	sqlite3_stmt *stmt = rt_store_jobs_select(st, "SELECT status, count(*)", &f, "GROUP BY status", err);
	int rc;

	if (!stmt)
		return -1;
	memset(ret, 0, RT_JOB_STATUS_COUNT * sizeof *ret);
	while ((rc = rt_sql_step(st, stmt, err)) == 1) {
		enum rt_job_status status;

		if (rt_job_status_parse(rt_sql_text(stmt, 0), &status) == 0)
			ret[status] = rt_sql_int(stmt, 1);
	}
	rt_sql_done(st, stmt);
	return rc;
}

int rt_store_steps_read(struct rt_store *st, const char *job_id, int64_t points,
			bool (*each)(void *arg, const struct rt_event_row *row), void *arg,
			struct rt_err *err)
{
	/* Counted from the newest, in the index alone; only the rows that are chosen are read. */
	static const char sql[] =
		"WITH numbered AS (SELECT seq AS s, row_number() OVER (ORDER BY seq DESC) "
		"- 1 AS n, count(*) OVER () AS total"
		" FROM events WHERE job_id = ?1 AND type = 'train.progress' AND superseded = 0)"
		" SELECT " RT_EVENT_COLUMNS " FROM numbered JOIN events ON seq = s"
		" WHERE n % ((total + ?2 - 1) / ?2) = 0 ORDER BY seq";
	sqlite3_stmt *stmt = rt_sql(st, err, sql, "ti", job_id, points);

	return stmt ? rt_store_event_rows(st, stmt, each, arg, err) : -1;
}

int rt_store_events_list(struct rt_store *st, const struct rt_events_filter *f,
			 bool (*each)(void *arg, const struct rt_event_row *row), void *arg,
			 struct rt_err *err)
{
	struct rt_buf sql = RT_BUF_INIT;
	sqlite3_stmt *stmt = NULL;
	int at = 1, rc = SQLITE_OK;

	rt_buf_str(&sql, "SELECT " RT_EVENT_COLUMNS " FROM events WHERE 1");
	if (f->job_id)
		rt_buf_str(&sql, " AND job_id = ?");
	if (f->after > 0 || !f->newest_first)
		rt_buf_fmt(&sql, " AND seq %c ?", f->newest_first ? '<' : '>');
	if (f->without_progress)
		rt_buf_str(&sql, " AND type NOT IN ('train.progress', 'teacher.progress')");
	rt_buf_fmt(&sql, " ORDER BY seq %s LIMIT ?", f->newest_first ? "DESC" : "ASC");
	if (rt_buf_check(&sql, err) == 0)
		stmt = rt_sql_once(st, err, sql.data);
	rt_buf_release(&sql);
	if (!stmt)
		return -1;
	if (f->job_id)
		rc = sqlite3_bind_text(stmt, at++, f->job_id, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK && (f->after > 0 || !f->newest_first))
		rc = sqlite3_bind_int64(stmt, at++, f->after);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(stmt, at, f->limit);
	if (rc != SQLITE_OK) {
		rt_sql_done(st, stmt);
		return rt_fail(err, RT_NO_MEMORY, "no memory to list the events");
	}
	return rt_store_event_rows(st, stmt, each, arg, err);
}

int rt_store_evaluation_put(struct rt_store *st, const char *job_id, const struct rt_evaluation_row *row,
			    struct rt_err *err)
{
	return rt_sql_run(st, err,
			  "INSERT OR REPLACE INTO evaluations (job_id, epoch, attempt, event_seq, data, "
			  "created_ms)"
			  " VALUES (?,?,?,?,?,?)",
			  "tiiiti", job_id, row->epoch, row->attempt, row->event_seq, row->data,
			  row->created_ms) < 0
		       ? -1
		       : 0;
}

int rt_store_evaluations_drop(struct rt_store *st, const char *job_id, int64_t attempt, int64_t after_epoch,
			      struct rt_err *err)
{
	return rt_sql_run(st, err, "DELETE FROM evaluations WHERE job_id = ? AND attempt < ? AND epoch > ?",
			  "tii", job_id, attempt, after_epoch) < 0
		       ? -1
		       : 0;
}

int rt_store_evaluation_get(struct rt_store *st, const char *job_id, int64_t epoch,
			    int (*each)(void *arg, const struct rt_evaluation_row *row, struct rt_err *err),
			    void *arg, struct rt_err *err)
{
	sqlite3_stmt *stmt =
		rt_sql(st, err,
		       "SELECT epoch, attempt, event_seq, data, created_ms FROM evaluations"
		       " WHERE job_id = ?1 AND epoch = coalesce(?2, epoch) ORDER BY epoch DESC LIMIT 1",
		       "ti", job_id, epoch);
	int rc;

	if (!stmt)
		return -1;
	rc = rt_sql_step(st, stmt, err);
	if (rc == 1) {
		const struct rt_evaluation_row row = {
			.epoch = rt_sql_int(stmt, 0),
			.attempt = rt_sql_int(stmt, 1),
			.event_seq = rt_sql_int(stmt, 2),
			.data = rt_sql_text(stmt, 3),
			.created_ms = rt_sql_int(stmt, 4),
		};

		rc = each(arg, &row, err) < 0 ? -1 : 1;
	}
	rt_sql_done(st, stmt);
	return rc;
}
