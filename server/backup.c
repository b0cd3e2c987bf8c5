/* SPDX-License-Identifier: Apache-2.0 */
#include "server/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"

#define BUSY_TRIES   200
#define BUSY_WAIT_MS 50

static int fail_sql(sqlite3 *db, int rc, struct rt_err *err)
{
	if ((rc & 0xff) == SQLITE_FULL)
		return rt_fail(err, RT_DISK_FULL, "the backup: the disk is full");
	return rt_fail(err, RT_IO, "the backup: %s", db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
}

static int copy(sqlite3 *from, sqlite3 *to, struct rt_err *err)
{
	sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
	int rc = SQLITE_BUSY;

	if (!backup)
		return fail_sql(to, sqlite3_errcode(to), err);
	for (int i = 0; i < BUSY_TRIES && (rc == SQLITE_BUSY || rc == SQLITE_LOCKED); i++) {
		if (i > 0)
			sqlite3_sleep(BUSY_WAIT_MS);
		rc = sqlite3_backup_step(backup, -1); /* all pages in one go: one state */
	}
	sqlite3_backup_finish(backup);
	return rc == SQLITE_DONE ? 0 : fail_sql(to, rc, err);
}

static int is_sound(sqlite3 *db, struct rt_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &stmt, NULL);
	const char *words = "";

	if (rc == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
		words = (const char *)sqlite3_column_text(stmt, 0);
	rc = words && strcmp(words, "ok") == 0
		     ? 0
		     : rt_fail(err, RT_IO,
			       "the copy is not sound (%.100s): look at the original with --check",
			       words ? words : "");
	sqlite3_finalize(stmt);
	return rc;
}

static int sync_file(const char *path, struct rt_err *err)
{
	int fd = open(path, O_RDWR | O_CLOEXEC), rc;

	if (fd < 0)
		return rt_fail_errno(err, errno, "the backup");
	rc = fsync(fd) == 0 ? 0 : rt_fail_errno(err, errno, "the backup");
	close(fd);
	return rc;
}

static int sync_folder_of(const char *path, struct rt_err *err)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? strndup(path, slash > path ? (size_t)(slash - path) : 1) : strdup(".");
	int rc = dir ? rt_dir_sync(dir, err) : rt_fail(err, RT_NO_MEMORY, "no memory for a backup");

	free(dir);
	return rc;
}

int rt_backup_write(sqlite3 *from, const char *path, struct rt_err *err)
{
	struct rt_buf part = RT_BUF_INIT;
	sqlite3 *to = NULL;
	int rc = -1, opened;

	rt_buf_fmt(&part, "%s.part", path);
	if (rt_buf_check(&part, err) < 0)
		return -1;
	unlink(part.data);
	opened = sqlite3_open_v2(part.data, &to,
				 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (opened != SQLITE_OK) {
		rt_fail(err, opened == SQLITE_CANTOPEN ? RT_NOT_FOUND : RT_IO,
			"cannot write the backup %s: %s", path,
			to ? sqlite3_errmsg(to) : sqlite3_errstr(opened));
		goto out;
	}
	if (copy(from, to, err) < 0)
		goto out;
	/* one file that needs no others beside it */
	sqlite3_exec(to, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
	if (is_sound(to, err) < 0)
		goto out;
	sqlite3_close(to);
	to = NULL;
	if (sync_file(part.data, err) < 0)
		goto out;
	if (rename(part.data, path) < 0) {
		rt_fail_errno(err, errno, "the backup %s", path);
		goto out;
	}
	rc = sync_folder_of(path, err);
out:
	sqlite3_close(to);
	if (rc < 0)
		unlink(part.data);
	rt_buf_release(&part);
	return rc;
}

int rt_backup_run(const char *data_dir, const char *path, struct rt_err *err)
{
	char *source = rt_path_join(data_dir, "retort.db");
	sqlite3 *db = NULL;
	int rc = -1;

	if (!source)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a backup");
	if (!rt_file_exists(source))
		rt_fail(err, RT_NOT_FOUND,
			"--backup %s: there is no retort.db: it is not a data directory of retortd",
			data_dir);
	else if (sqlite3_open_v2(source, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
		rt_fail(err, RT_IO, "--backup %s: %s", data_dir, sqlite3_errmsg(db));
	else
		rc = rt_backup_write(db, path, err);
	sqlite3_close(db);
	free(source);
	return rc;
}
