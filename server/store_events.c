/* SPDX-License-Identifier: Apache-2.0 */
#include "server/store_events.h"

#include <math.h>

int rt_store_event_add(struct rt_store *st, const struct rt_event_row *row, int64_t *ret_seq,
		       struct rt_err *err)
{
	int rc = rt_sql_run(st, err,
			    "INSERT INTO events (id, job_id, run_id, run_seq, attempt, type, level, message, "
			    "data, created_ms)"
			    " VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
			    "tttiitttti", row->id, row->job_id, row->run_id, row->run_seq, row->attempt,
			    row->type, row->level, row->message, row->data, row->created_ms);

	if (rc < 0)
		return -1;
	if (rc == 0)
		return rt_fail(err, RT_CONFLICT, "event %lld of the run is there already",
			       (long long)row->run_seq);
	*ret_seq = rt_sql_last_id(st);
	return 0;
}

int rt_store_event_rows(struct rt_store *st, sqlite3_stmt *stmt,
			bool (*each)(void *arg, const struct rt_event_row *row), void *arg,
			struct rt_err *err)
{
	int rc;

	while ((rc = rt_sql_step(st, stmt, err)) == 1) {
		const struct rt_event_row row = {
			.seq = rt_sql_int(stmt, 0),
			.id = rt_sql_text(stmt, 1),
			.job_id = rt_sql_text(stmt, 2),
			.run_id = rt_sql_text(stmt, 3),
			.run_seq = rt_sql_int(stmt, 4),
			.attempt = rt_sql_int(stmt, 5),
			.type = rt_sql_text(stmt, 6),
			.level = rt_sql_text(stmt, 7),
			.message = rt_sql_text(stmt, 8),
			.data = rt_sql_text(stmt, 9),
			.created_ms = rt_sql_int(stmt, 10),
			.superseded = rt_sql_int(stmt, 11) != 0,
		};

		if (!each(arg, &row)) {
			rc = 0;
			break;
		}
	}
	rt_sql_done(st, stmt);
	return rc;
}

int rt_store_events_read(struct rt_store *st, const char *job_id, int64_t after, int64_t limit,
			 bool (*each)(void *arg, const struct rt_event_row *row), void *arg,
			 struct rt_err *err)
{
	static const char of_job[] =
		"SELECT " RT_EVENT_COLUMNS " FROM events WHERE job_id = ? AND seq > ? ORDER BY seq LIMIT ?";
	static const char of_all[] =
		"SELECT " RT_EVENT_COLUMNS " FROM events WHERE seq > ? ORDER BY seq LIMIT ?";
	sqlite3_stmt *stmt = job_id ? rt_sql(st, err, of_job, "tii", job_id, after, limit)
				    : rt_sql(st, err, of_all, "ii", after, limit);

	return stmt ? rt_store_event_rows(st, stmt, each, arg, err) : -1;
}

int rt_store_events_last(struct rt_store *st, const char *job_id, int64_t *ret, struct rt_err *err)
{
	sqlite3_stmt *stmt =
		job_id ? rt_sql(st, err, "SELECT coalesce(max(seq), 0) FROM events WHERE job_id = ?", "t",
				job_id)
		       : rt_sql(st, err,
				"SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'",
				"");
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

int rt_store_events_supersede(struct rt_store *st, const char *job_id, int64_t attempt, int64_t from_step,
			      struct rt_err *err)
{
	return rt_sql_run(
		       st, err,
		       "UPDATE events SET superseded = 1 WHERE job_id = ? AND attempt < ? AND superseded = 0"
		       " AND type IN ('train.progress', 'epoch.completed', 'checkpoint.written')"
		       " AND json_extract(data, '$.step') > ?",
		       "tii", job_id, attempt, from_step) < 0
		       ? -1
		       : 0;
}

int rt_store_epoch_put(struct rt_store *st, const char *job_id, const struct rt_epoch_row *row,
		       struct rt_err *err)
{
	if (rt_sql_run(st, err,
		       "UPDATE epochs SET superseded = 1 WHERE job_id = ? AND epoch = ? AND attempt < ?",
		       "tii", job_id, row->epoch, row->attempt) < 0)
		return -1;
	return rt_sql_run(st, err,
			  "INSERT OR REPLACE INTO epochs (job_id, epoch, attempt, step, event_seq, "
			  "eval_accuracy, data, created_ms)"
			  " VALUES (?,?,?,?,?,?,?,?)",
			  "tiiiirti", job_id, row->epoch, row->attempt, row->step, row->event_seq,
			  row->eval_accuracy, row->data, row->created_ms) < 0
		       ? -1
		       : 0;
}

int rt_store_epochs_supersede(struct rt_store *st, const char *job_id, int64_t attempt, int64_t from_step,
			      struct rt_err *err)
{
	return rt_sql_run(st, err,
			  "UPDATE epochs SET superseded = 1 WHERE job_id = ? AND attempt < ? AND step > ?",
			  "tii", job_id, attempt, from_step) < 0
		       ? -1
		       : 0;
}

int rt_store_epochs_last(struct rt_store *st, const char *job_id, int64_t *ret, struct rt_err *err)
{
	sqlite3_stmt *stmt = rt_sql(
		st, err, "SELECT max(epoch) FROM epochs WHERE job_id = ? AND superseded = 0", "t", job_id);
	int rc;

	if (!stmt)
		return -1;
	rc = rt_sql_step(st, stmt, err);
	if (rc == 1)
		*ret = rt_sql_int(stmt, 0);
	rt_sql_done(st, stmt);
	return rc < 0 ? -1 : 0;
}

int rt_store_epochs_read(struct rt_store *st, const char *job_id, bool all,
			 void (*each)(void *arg, const struct rt_epoch_row *row), void *arg,
			 struct rt_err *err)
{
	sqlite3_stmt *stmt =
		rt_sql(st, err,
		       "SELECT epoch, attempt, event_seq, eval_accuracy, data, created_ms, step, superseded"
		       " FROM epochs WHERE job_id = ? AND superseded <= ? ORDER BY epoch, attempt",
		       "ti", job_id, (int64_t)all);
	int rc;

	if (!stmt)
		return -1;
	while ((rc = rt_sql_step(st, stmt, err)) == 1) {
		struct rt_epoch_row row = {
			.epoch = rt_sql_int(stmt, 0),
			.attempt = rt_sql_int(stmt, 1),
			.event_seq = rt_sql_int(stmt, 2),
			.eval_accuracy = rt_sql_real(stmt, 3),
			.data = rt_sql_text(stmt, 4),
			.created_ms = rt_sql_int(stmt, 5),
			.step = rt_sql_int(stmt, 6),
			.superseded = rt_sql_int(stmt, 7) != 0,
		};

		each(arg, &row);
	}
	rt_sql_done(st, stmt);
	return rc;
}

int rt_store_epoch_accuracy(struct rt_store *st, const char *job_id, int64_t epoch, double *ret,
			    struct rt_err *err)
{
	sqlite3_stmt *stmt = rt_sql(
		st, err,
		"SELECT eval_accuracy FROM epochs WHERE job_id = ? AND epoch = ? ORDER BY attempt DESC "
		"LIMIT 1",
		"ti", job_id, epoch);
	int rc;

	if (!stmt)
		return -1;
	rc = rt_sql_step(st, stmt, err);
	if (rc >= 0)
		*ret = rc == 1 ? rt_sql_real(stmt, 0) : (double)NAN;
	rt_sql_done(st, stmt);
	return rc < 0 ? -1 : 0;
}
