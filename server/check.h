/* SPDX-License-Identifier: Apache-2.0 */
/* retortd --check DIR [--repair]: is a data directory whole? The database's own integrity, rows without their job, jobs whose
 * run is not there, folders that no row names, and every file of every checkpoint against its manifest. Prints a line for each
 * finding to stdout. Blocks; reads all checkpoints. */
#ifndef RT_SERVER_CHECK_H
#define RT_SERVER_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct rt_check_result {
	size_t found, repaired;
	size_t checkpoints, files; /* that were read */
};

/* 0 when it could look, whatever it found. RT_CONFLICT: a server runs there (a check needs it to rest), or a newer one wrote
 * it. repair: what nobody owns is removed, what is damaged is no longer offered, and jobs that hang are queued again. */
int rt_check_run(const char *data_dir, bool repair, struct rt_check_result *ret, struct rt_err *err);

#endif
