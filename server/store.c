/* SPDX-License-Identifier: Apache-2.0 */
#include "server/store.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "server/backup.h"
#include "server/embedded.h"

#define STATEMENTS_MAX 192

struct rt_store {
	sqlite3 *db;
	bool open; /* a transaction is open */
	int depth; /* begins without their end */
	struct {
		const char *sql;
		sqlite3_stmt *stmt;
	} kept[STATEMENTS_MAX];
	size_t kept_count;
	int (*step)(sqlite3_stmt *);
};

static int fail_sql(struct rt_store *st, int rc, struct rt_err *err, const char *doing)
{
	if ((rc & 0xff) == SQLITE_FULL)
		return rt_fail(err, RT_DISK_FULL, "%s: the disk is full", doing);
	if ((rc & 0xff) == SQLITE_NOMEM)
		return rt_fail(err, RT_NO_MEMORY, "%s: out of memory", doing);
	return rt_fail(err, RT_INTERNAL, "%s: %s", doing,
		       st->db ? sqlite3_errmsg(st->db) : sqlite3_errstr(rc));
}

static int exec(struct rt_store *st, const char *sql, const char *doing, struct rt_err *err)
{
	int rc = sqlite3_exec(st->db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : fail_sql(st, rc, err, doing);
}

/* ---- statements ---- */

static int bind(sqlite3_stmt *stmt, const char *types, va_list ap)
{
	int rc = SQLITE_OK;

	for (int i = 1; *types && rc == SQLITE_OK; types++, i++) {
		const char *text;
		int64_t integer;
		double real;

		switch (*types) {
		case 't':
			text = va_arg(ap, const char *);
			rc = text ? sqlite3_bind_text(stmt, i, text, -1, SQLITE_STATIC)
				  : sqlite3_bind_null(stmt, i);
			break;
		case 'i':
			integer = va_arg(ap, int64_t);
			rc = integer != RT_SQL_NO_INT ? sqlite3_bind_int64(stmt, i, integer)
						      : sqlite3_bind_null(stmt, i);
			break;
		case 'r':
			real = va_arg(ap, double);
			rc = isfinite(real) ? sqlite3_bind_double(stmt, i, real) : sqlite3_bind_null(stmt, i);
			break;
		default:
			assert(false && "a type letter that bind does not know");
		}
	}
	return rc;
}

static sqlite3_stmt *prepare(struct rt_store *st, struct rt_err *err, const char *sql)
{
	sqlite3_stmt *stmt = NULL;
	size_t i;
	int rc;

	for (i = 0; i < st->kept_count; i++) {
		if (st->kept[i].sql == sql)
			return st->kept[i].stmt;
	}
	assert(i < STATEMENTS_MAX);
	rc = sqlite3_prepare_v3(st->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL);
	if (rc != SQLITE_OK) {
		fail_sql(st, rc, err, "the job store refused a statement");
		return NULL;
	}
	st->kept[i].sql = sql;
	st->kept[i].stmt = stmt;
	st->kept_count++;
	return stmt;
}

static sqlite3_stmt *prepare_and_bind(struct rt_store *st, struct rt_err *err, const char *sql,
				      const char *types, va_list ap)
{
	sqlite3_stmt *stmt = prepare(st, err, sql);
	int rc;

	if (!stmt)
		return NULL;
	assert(!sqlite3_stmt_busy(
		stmt)); /* one user at a time: a statement is not used inside its own loop */
	rc = bind(stmt, types, ap);
	if (rc != SQLITE_OK) {
		fail_sql(st, rc, err, "the job store refused a value");
		rt_sql_done(st, stmt);
		return NULL;
	}
	return stmt;
}

sqlite3_stmt *rt_sql(struct rt_store *st, struct rt_err *err, const char *sql, const char *types, ...)
{
	sqlite3_stmt *stmt;
	va_list ap;

	va_start(ap, types);
	stmt = prepare_and_bind(st, err, sql, types, ap);
	va_end(ap);
	return stmt;
}

sqlite3_stmt *rt_sql_once(struct rt_store *st, struct rt_err *err, const char *sql)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(st->db, sql, -1, &stmt, NULL);

	if (rc != SQLITE_OK)
		fail_sql(st, rc, err, "the job store refused a statement");
	return stmt;
}

int rt_sql_step(struct rt_store *st, sqlite3_stmt *stmt, struct rt_err *err)
{
	int rc = st->step(stmt);

	if (rc == SQLITE_ROW)
		return 1;
	if (rc == SQLITE_DONE)
		return 0;
	return fail_sql(st, rc, err, "the job store failed");
}

void rt_sql_done(struct rt_store *st, sqlite3_stmt *stmt)
{
	if (!stmt)
		return;
	for (size_t i = 0; i < st->kept_count; i++) {
		if (st->kept[i].stmt == stmt) {
			sqlite3_reset(stmt);
			sqlite3_clear_bindings(stmt);
			return;
		}
	}
	sqlite3_finalize(stmt);
}

int rt_sql_run(struct rt_store *st, struct rt_err *err, const char *sql, const char *types, ...)
{
	sqlite3_stmt *stmt;
	va_list ap;
	int rc;

	va_start(ap, types);
	stmt = prepare_and_bind(st, err, sql, types, ap);
	va_end(ap);
	if (!stmt)
		return -1;
	while ((rc = rt_sql_step(st, stmt, err)) == 1)
		;
	if (rc == 0)
		rc = sqlite3_changes(st->db);
	rt_sql_done(st, stmt);
	return rc;
}

int64_t rt_sql_last_id(const struct rt_store *st)
{
	return sqlite3_last_insert_rowid(st->db);
}

const char *rt_sql_text(sqlite3_stmt *stmt, int column)
{
	return (const char *)sqlite3_column_text(stmt, column);
}

int64_t rt_sql_int(sqlite3_stmt *stmt, int column)
{
	return sqlite3_column_type(stmt, column) == SQLITE_NULL ? RT_SQL_NO_INT
								: sqlite3_column_int64(stmt, column);
}

double rt_sql_real(sqlite3_stmt *stmt, int column)
{
	return sqlite3_column_type(stmt, column) == SQLITE_NULL ? (double)NAN
								: sqlite3_column_double(stmt, column);
}

void rt_store_set_step(struct rt_store *st, int (*step)(sqlite3_stmt *))
{
	st->step = step ? step : sqlite3_step;
}

/* ---- transactions ---- */

int rt_store_begin(struct rt_store *st, struct rt_err *err)
{
	if (!st->open) {
		assert(st->depth == 0);
		if (rt_sql_run(st, err, "BEGIN IMMEDIATE", "") < 0)
			return -1;
		st->open = true;
	}
	if (rt_sql_run(st, err, "SAVEPOINT part", "") < 0)
		return -1;
	st->depth++;
	return 0;
}

/* SQLite undoes the whole transaction by itself after some failures (a full disk, for one). */
static void notice_lost_transaction(struct rt_store *st)
{
	if (st->open && sqlite3_get_autocommit(st->db))
		st->open = false;
}

int rt_store_end(struct rt_store *st, bool keep, struct rt_err *err)
{
	int rc = 0;

	assert(st->depth > 0);
	st->depth--;
	notice_lost_transaction(st);
	if (!st->open)
		return keep ? rt_fail(err, RT_INTERNAL, "the job store lost the transaction") : 0;
	if (keep && rt_sql_run(st, err, "RELEASE part", "") >= 0)
		return 0;
	if (keep)
		rc = -1;
	/* Past the seam of the tests: undoing must not fail by order. */
	sqlite3_exec(st->db, "ROLLBACK TO part", NULL, NULL, NULL);
	sqlite3_exec(st->db, "RELEASE part", NULL, NULL, NULL);
	return rc;
}

int rt_store_commit(struct rt_store *st, struct rt_err *err)
{
	assert(st->depth == 0);
	notice_lost_transaction(st);
	if (!st->open)
		return 0;
	st->open = false;
	if (rt_sql_run(st, err, "COMMIT", "") >= 0)
		return 0;
	if (!sqlite3_get_autocommit(st->db))
		sqlite3_exec(st->db, "ROLLBACK", NULL, NULL, NULL);
	return rt_fail_in(err, "nothing was saved");
}

bool rt_store_is_open(const struct rt_store *st)
{
	return st->open;
}

int rt_store_check(struct rt_store *st, struct rt_err *err)
{
	return rt_sql_run(st, err, "SELECT 1 FROM jobs LIMIT 1", "") < 0 ? -1 : 0;
}

/* ---- opening ---- */

static int schema_version(struct rt_store *st, int *ret, struct rt_err *err)
{
	sqlite3_stmt *stmt = rt_sql_once(st, err, "PRAGMA user_version");
	int rc = -1;

	if (stmt && rt_sql_step(st, stmt, err) == 1) {
		*ret = sqlite3_column_int(stmt, 0);
		rc = 0;
	}
	rt_sql_done(st, stmt);
	return rc;
}

static int newest_schema(void)
{
	int n = 0;

	while (rt_migrations[n].name)
		n++;
	return n;
}

static int refuse_newer(int have, struct rt_err *err)
{
	return rt_fail(err, RT_CONFLICT,
		       "the job store has schema %d and this retortd knows up to %d: start the newer "
		       "retortd that wrote it",
		       have, newest_schema());
}

/* Before anything is changed: the store as it was, beside it. */
static int keep_old(struct rt_store *st, const char *path, int have, struct rt_err *err)
{
	struct rt_buf copy = RT_BUF_INIT;
	int rc;

	rt_buf_fmt(&copy, "%s.schema-%d.bak", path, have);
	rc = rt_buf_check(&copy, err);
	if (rc == 0)
		rc = rt_backup_write(st->db, copy.data, err);
	rt_buf_release(&copy);
	return rc;
}

static int apply_migrations(struct rt_store *st, int have, struct rt_err *err)
{
	char version[64];

	if (exec(st, "BEGIN IMMEDIATE", "migrating", err) < 0)
		return -1;
	for (int i = have; i < newest_schema(); i++) {
		if (exec(st, rt_migrations[i].data, rt_migrations[i].name, err) < 0)
			return -1;
	}
	snprintf(version, sizeof version, "PRAGMA user_version = %d", newest_schema());
	return exec(st, version, "migrating", err) < 0 ? -1 : exec(st, "COMMIT", "migrating", err);
}

static int migrate(struct rt_store *st, const char *path, struct rt_err *err)
{
	int have;

	if (schema_version(st, &have, err) < 0)
		return -1;
	if (have > newest_schema())
		return refuse_newer(have, err);
	if (have == newest_schema())
		return 0;
	if ((have > 0 && keep_old(st, path, have, err) < 0) || apply_migrations(st, have, err) < 0) {
		sqlite3_exec(st->db, "ROLLBACK", NULL, NULL, NULL);
		return rt_fail_in(err, "the job store cannot be brought up to date");
	}
	return 0;
}

static struct rt_store *open_file(const char *path, int flags, struct rt_err *err)
{
	struct rt_store *st = calloc(1, sizeof *st);
	int opened;

	if (!st) {
		rt_fail(err, RT_NO_MEMORY, "no memory to open the job store");
		return NULL;
	}
	st->step = sqlite3_step;
	opened = sqlite3_open_v2(path, &st->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | flags, NULL);
	if (opened != SQLITE_OK) {
		fail_sql(st, opened, err, "cannot open the job store");
		rt_store_close(st);
		return NULL;
	}
	sqlite3_extended_result_codes(st->db, 1);
	if (exec(st,
		 "PRAGMA busy_timeout = 2000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
		 "PRAGMA foreign_keys = ON; PRAGMA cache_size = -4096; PRAGMA journal_size_limit = 16777216;"
		 "PRAGMA temp_store = MEMORY",
		 "cannot open the job store", err) < 0) {
		rt_store_close(st);
		return NULL;
	}
	return st;
}

int rt_store_open(const char *path, struct rt_store **ret, struct rt_err *err)
{
	struct rt_store *st = open_file(path, SQLITE_OPEN_CREATE, err);

	if (!st)
		return -1;
	if (migrate(st, path, err) < 0) {
		rt_store_close(st);
		return -1;
	}
	*ret = st;
	return 0;
}

int rt_store_open_as_is(const char *path, struct rt_store **ret, struct rt_err *err)
{
	struct rt_store *st = open_file(path, 0, err);
	int have, rc;

	if (!st)
		return -1;
	rc = schema_version(st, &have, err);
	if (rc == 0 && have > newest_schema())
		rc = refuse_newer(have, err);
	else if (rc == 0 && have < newest_schema())
		rc = rt_fail(err, RT_CONFLICT,
			     "the job store has schema %d, older than this retortd's %d: start retortd once, "
			     "which "
			     "brings it up to date",
			     have, newest_schema());
	if (rc < 0) {
		rt_store_close(st);
		return -1;
	}
	*ret = st;
	return 0;
}

void rt_store_close(struct rt_store *st)
{
	if (!st)
		return;
	for (size_t i = 0; i < st->kept_count; i++)
		sqlite3_finalize(st->kept[i].stmt);
	sqlite3_close(st->db);
	free(st);
}
