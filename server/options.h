/* SPDX-License-Identifier: Apache-2.0 */
/* retortd's command line. */
#ifndef RT_SERVER_OPTIONS_H
#define RT_SERVER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "server/resolve.h"
#include "server/retention.h"

struct rt_options {
	const char *data;   /* all strings are argv's */
	const char *listen; /* ADDR:PORT */
	const char *worker; /* NULL: beside this program, or in PATH */
	const char *models_roots[RT_ROOTS_MAX];
	size_t models_root_count;
	int slots;
	int stop_grace_s;     /* between SIGTERM and SIGKILL for a worker, at most */
	int restart_delay_s;  /* before a lost worker's job is started again, the first time */
	int worker_timeout_s; /* without a sign of life */
	struct rt_retention_policy retention;
	int64_t cache_max_bytes; /* of the teachers' logits that jobs share; 0: none are kept */
	int64_t min_free_bytes;	 /* of the disk, below which nothing is started */
	/* instead of serving: */
	bool prune, dry_run;
	const char *check; /* a data directory to look at */
	bool repair;
	const char *backup, *backup_to; /* a data directory, and where the copy of its store goes */
	bool verbose, help, version;
};

/* RT_INVALID names the option. */
int rt_options_parse(int argc, char **argv, struct rt_options *ret, struct rt_err *err);
extern const char rt_options_help[];

#endif
