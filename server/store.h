/* SPDX-License-Identifier: Apache-2.0 */
/* The job store: one SQLite file in WAL mode with synchronous=FULL, one connection, one thread. This header opens it,
 * migrates it, and groups writes; store_jobs.h, store_events.h, store_runs.h, store_checkpoints.h and
 * store_idempotency.h hold the statements. No HTTP, no job logic.
 *
 * Group commit. All writes of one turn of the loop share one transaction and one sync:
 *
 *   rt_store_begin ... writes ... rt_store_end(keep)     any number of times, may nest; a savepoint each
 *   rt_store_commit                                      once at the end of the turn
 *
 * What was kept by rt_store_end is visible to reads at once and durable after rt_store_commit has returned 0. */
#ifndef RT_SERVER_STORE_H
#define RT_SERVER_STORE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct rt_store;

/* Opens or makes the file and brings its schema up to date, all in one transaction; a store that is there is copied first, to
 * <path>.schema-<number>.bak. RT_CONFLICT when a newer retortd has written it. */
int rt_store_open(const char *path, struct rt_store **ret, struct rt_err *err);
/* Opens a file that must be there and have this version's schema: for a look that changes nothing by itself. */
int rt_store_open_as_is(const char *path, struct rt_store **ret, struct rt_err *err);
void rt_store_close(struct rt_store *st); /* what was not committed is lost; NULL is fine */

int rt_store_begin(struct rt_store *st, struct rt_err *err);
/* keep: the writes since the matching begin stay. Otherwise they are undone; those around them stay. Returns 0, or -1
 * when they could not be kept and are undone. */
int rt_store_end(struct rt_store *st, bool keep, struct rt_err *err);
/* Commits what is open. Nothing open is fine. On -1 all writes of the turn are undone: RT_DISK_FULL or RT_INTERNAL. */
int rt_store_commit(struct rt_store *st, struct rt_err *err);
bool rt_store_is_open(const struct rt_store *st); /* there is something to commit */

/* A read that shows the file can be used. */
int rt_store_check(struct rt_store *st, struct rt_err *err);

/* ---- for store_*.c only ---- */

#define RT_SQL_NO_INT INT64_MIN /* an integer column that is NULL */

/* The prepared statement for sql, bound and ready to step, or NULL. sql must be a string that stays (a literal): statements
 * are kept by its address. types has a letter a value: 't' const char * (NULL: null), 'i' int64_t (RT_SQL_NO_INT: null),
 * 'r' double (not finite: null). Strings are borrowed until rt_sql_done. */
sqlite3_stmt *rt_sql(struct rt_store *st, struct rt_err *err, const char *sql, const char *types, ...);
/* The same for text that changes; finalized by rt_sql_done. */
sqlite3_stmt *rt_sql_once(struct rt_store *st, struct rt_err *err, const char *sql);
int rt_sql_step(struct rt_store *st, sqlite3_stmt *stmt, struct rt_err *err); /* 1 a row, 0 done, -1 */
void rt_sql_done(struct rt_store *st, sqlite3_stmt *stmt);		      /* NULL is fine */
/* Binds, steps to the end and resets. Returns the number of rows changed, or -1. */
int rt_sql_run(struct rt_store *st, struct rt_err *err, const char *sql, const char *types, ...);
int64_t rt_sql_last_id(const struct rt_store *st); /* rowid of the last insert */

const char *rt_sql_text(sqlite3_stmt *stmt, int column); /* borrowed until the next step; NULL for null */
int64_t rt_sql_int(sqlite3_stmt *stmt, int column);	 /* RT_SQL_NO_INT for null */
double rt_sql_real(sqlite3_stmt *stmt, int column);	 /* NaN for null */

/* Tests replace the step function to make the n-th one fail. NULL puts sqlite3_step back. */
void rt_store_set_step(struct rt_store *st, int (*step)(sqlite3_stmt *));

#endif
