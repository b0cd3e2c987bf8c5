/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of the job store, whole or not at all, while others write to it (SQLite's backup interface). Block. */
#ifndef RT_SERVER_BACKUP_H
#define RT_SERVER_BACKUP_H

#include <sqlite3.h>

#include "base/err.h"

/* Copies the database behind from into a new file at path: under another name first, checked, synced, then renamed. A file
 * that is there is replaced. The copy is one consistent state. */
int rt_backup_write(sqlite3 *from, const char *path, struct rt_err *err);

/* retortd --backup DIR --to FILE: the store of a data directory, with or without a server that runs on it. */
int rt_backup_run(const char *data_dir, const char *path, struct rt_err *err);

#endif
