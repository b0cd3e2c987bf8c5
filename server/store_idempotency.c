/* SPDX-License-Identifier: Apache-2.0 */
#include "server/store_idempotency.h"

#include <stdio.h>

int rt_store_idempotent_get(struct rt_store *st, const char *key, const char *route, int64_t now_ms,
			    struct rt_idempotent *ret, struct rt_err *err)
{
	sqlite3_stmt *stmt = rt_sql(st, err,
				    "SELECT body_sha256, status, location, answer FROM idempotency"
				    " WHERE key = ? AND route = ? AND created_ms > ?",
				    "tti", key, route, now_ms - RT_IDEMPOTENCY_MS);
	struct rt_buf answer = RT_BUF_INIT;
	int rc;

	if (!stmt)
		return -1;
	rc = rt_sql_step(st, stmt, err);
	if (rc == 1) {
		rt_buf_str(&answer, rt_sql_text(stmt, 3));
		if (rt_buf_check(&answer, err) < 0) {
			rt_buf_release(&answer);
			rc = -1;
		} else {
			snprintf(ret->body_sha256, sizeof ret->body_sha256, "%s", rt_sql_text(stmt, 0));
			ret->status = rt_sql_int(stmt, 1);
			snprintf(ret->location, sizeof ret->location, "%s", rt_sql_text(stmt, 2));
			ret->answer = answer;
		}
	}
	rt_sql_done(st, stmt);
	return rc;
}

int rt_store_idempotent_put(struct rt_store *st, const char *key, const char *route,
			    const struct rt_idempotent *what, int64_t now_ms, struct rt_err *err)
{
	if (rt_sql_run(st, err, "DELETE FROM idempotency WHERE created_ms <= ?", "i",
		       now_ms - RT_IDEMPOTENCY_MS) < 0)
		return -1;
	return rt_sql_run(st, err,
			  "INSERT INTO idempotency (key, route, body_sha256, status, location, answer, "
			  "created_ms)"
			  " VALUES (?,?,?,?,?,?,?)",
			  "tttitti", key, route, what->body_sha256, what->status, what->location,
			  rt_buf_text(&what->answer), now_ms) < 0
		       ? -1
		       : 0;
}
