/* SPDX-License-Identifier: Apache-2.0 */
/* retortd's command line. */
#ifndef RT_SERVER_OPTIONS_H
#define RT_SERVER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "server/resolve.h"

struct rt_options {
	const char *data;   /* all strings are argv's */
	const char *listen; /* ADDR:PORT */
	const char *worker; /* NULL: beside this program, or in PATH */
	const char *models_roots[RT_ROOTS_MAX];
	size_t models_root_count;
	int slots;
	int stop_grace_s; /* between SIGTERM and SIGKILL for a worker */
	bool verbose, help, version;
};

/* RT_INVALID names the option. */
int rt_options_parse(int argc, char **argv, struct rt_options *ret, struct rt_err *err);
extern const char rt_options_help[];

#endif
