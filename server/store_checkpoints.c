/* SPDX-License-Identifier: Apache-2.0 */
#include "server/store_checkpoints.h"

#include <stdlib.h>
#include <string.h>

#define COLUMNS                                                                                              \
	"id, job_id, run_id, attempt, epoch, step, size_bytes, files, metrics, created_ms, deleted_ms, "     \
	"was_best, superseded"

static char *text(sqlite3_stmt *stmt, int column)
{
	return (char *)(uintptr_t)rt_sql_text(stmt, column);
}

static void from_row(sqlite3_stmt *stmt, struct rt_checkpoint *c)
{
	*c = (struct rt_checkpoint){
		.id = text(stmt, 0),
		.job_id = text(stmt, 1),
		.run_id = text(stmt, 2),
		.attempt = rt_sql_int(stmt, 3),
		.epoch = rt_sql_int(stmt, 4),
		.step = rt_sql_int(stmt, 5),
		.size_bytes = rt_sql_int(stmt, 6),
		.files = text(stmt, 7),
		.metrics = text(stmt, 8),
		.created_ms = rt_sql_int(stmt, 9),
		.deleted_ms = rt_sql_int(stmt, 10),
		.was_best = rt_sql_int(stmt, 11) != 0,
		.superseded = rt_sql_int(stmt, 12) != 0,
	};
}

int rt_store_checkpoint_add(struct rt_store *st, const struct rt_checkpoint *c, struct rt_err *err)
{
	int rc = rt_sql_run(st, err,
			    "INSERT INTO checkpoints (id, job_id, run_id, attempt, epoch, step, size_bytes, "
			    "files, metrics, created_ms, was_best)"
			    " VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
			    "tttiiiittii", c->id, c->job_id, c->run_id, c->attempt, c->epoch, c->step,
			    c->size_bytes, c->files, c->metrics, c->created_ms, (int64_t)c->was_best);

	if (rc == 0)
		return rt_fail(err, RT_CONFLICT, "checkpoint %s is there already", c->id);
	return rc < 0 ? -1 : 0;
}

int rt_store_checkpoint_get(struct rt_store *st, const char *job_id, const char *id,
			    struct rt_checkpoint *ret, struct rt_err *err)
{
	sqlite3_stmt *stmt = rt_sql(
		st, err, "SELECT " COLUMNS " FROM checkpoints WHERE id = ? AND job_id = ?", "tt", id, job_id);
	struct rt_checkpoint c;
	char **copies[] = { &c.id, &c.job_id, &c.run_id, &c.files, &c.metrics };
	bool failed = false;
	int rc;

	if (!stmt)
		return -1;
	rc = rt_sql_step(st, stmt, err);
	if (rc == 1) {
		from_row(stmt, &c);
		for (size_t i = 0; i < sizeof copies / sizeof *copies; i++) {
			bool wanted = *copies[i] != NULL;

			*copies[i] = wanted && !failed ? strdup(*copies[i]) : NULL;
			failed = failed || (wanted && !*copies[i]);
		}
	}
	rt_sql_done(st, stmt);
	if (rc < 0)
		return -1;
	if (rc == 0)
		return rt_fail(err, RT_NOT_FOUND, "the job has no checkpoint with the id '%.64s'", id);
	if (failed) {
		rt_checkpoint_release(&c);
		return rt_fail(err, RT_NO_MEMORY, "no memory to read the checkpoint");
	}
	*ret = c;
	return 0;
}

void rt_checkpoint_release(struct rt_checkpoint *c)
{
	free(c->id);
	free(c->job_id);
	free(c->run_id);
	free(c->files);
	free(c->metrics);
	memset(c, 0, sizeof *c);
}

int rt_store_checkpoints_read(struct rt_store *st, const char *job_id,
			      void (*each)(void *arg, const struct rt_checkpoint *c), void *arg,
			      struct rt_err *err)
{
	sqlite3_stmt *stmt = rt_sql(st, err,
				    "SELECT " COLUMNS
				    " FROM checkpoints WHERE job_id = ? AND deleted_ms IS NULL ORDER BY id",
				    "t", job_id);
	int rc;

	if (!stmt)
		return -1;
	while ((rc = rt_sql_step(st, stmt, err)) == 1) {
		struct rt_checkpoint c;

		from_row(stmt, &c);
		each(arg, &c);
	}
	rt_sql_done(st, stmt);
	return rc;
}

int rt_store_checkpoint_set_run(struct rt_store *st, const char *id, const char *run_id, struct rt_err *err)
{
	return rt_sql_run(st, err, "UPDATE checkpoints SET run_id = ? WHERE id = ?", "tt", run_id, id) < 0
		       ? -1
		       : 0;
}

int rt_store_checkpoint_supersede(struct rt_store *st, const char *id, struct rt_err *err)
{
	return rt_sql_run(st, err, "UPDATE checkpoints SET superseded = 1 WHERE id = ?", "t", id) < 0 ? -1
												      : 0;
}

int rt_store_checkpoint_deleted(struct rt_store *st, const char *job_id, const char *id, int64_t now_ms,
				struct rt_err *err)
{
	int rc = rt_sql_run(st, err, "UPDATE checkpoints SET deleted_ms = ? WHERE id = ? AND job_id = ?",
			    "itt", now_ms, id, job_id);

	if (rc == 0)
		return rt_fail(err, RT_NOT_FOUND, "the job has no checkpoint with the id '%.64s'", id);
	return rc < 0 ? -1 : 0;
}
