/* SPDX-License-Identifier: Apache-2.0 */
/* retortd: options, open, run until told to stop, close; or a look at a data directory. */
#include <sodium.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/log.h"
#include "server/backup.h"
#include "server/check.h"
#include "server/options.h"
#include "server/server.h"

/* Every connection and every worker takes descriptors; the soft limit is often 1024. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int serve(const struct rt_options *options)
{
	static struct rt_server server; /* large; the only one */
	struct rt_err err = RT_ERR_INIT;
	int rc = 1;

	if (rt_server_open(&server, options, &err) < 0) {
		fprintf(stderr, "retortd: %s\n", err.msg);
	} else {
		printf("listening on %s\n", server.http.url);
		fflush(stdout);
		rc = rt_server_run(&server) == 0 ? 0 : 1;
	}
	rt_server_close(&server);
	return rc;
}

/* 0: the directory is whole, or is now. */
static int check(const struct rt_options *options)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_check_result r;

	if (rt_check_run(options->check, options->repair, &r, &err) < 0) {
		fprintf(stderr, "retortd: %s\n", err.msg);
		return 1;
	}
	printf("%zu checkpoints with %zu files read; %zu problems, %zu repaired\n", r.checkpoints, r.files,
	       r.found, r.repaired);
	return r.found > r.repaired;
}

static int prune(const struct rt_options *options)
{
	struct rt_err err = RT_ERR_INIT;

	if (rt_retention_run(options->data, &options->retention, options->dry_run, &err) == 0)
		return 0;
	fprintf(stderr, "retortd: %s\n", err.msg);
	return 1;
}

static int backup(const struct rt_options *options)
{
	struct rt_err err = RT_ERR_INIT;

	if (rt_backup_run(options->backup, options->backup_to, &err) == 0)
		return 0;
	fprintf(stderr, "retortd: %s\n", err.msg);
	return 1;
}

int main(int argc, char **argv)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_options options;

	if (rt_options_parse(argc, argv, &options, &err) < 0) {
		fprintf(stderr, "retortd: %s\n", err.msg);
		return 2;
	}
	if (options.help || options.version) {
		if (options.help)
			fputs(rt_options_help, stdout);
		else
			printf("retortd %s\n", RT_VERSION);
		return 0;
	}
	if (sodium_init() < 0) {
		fprintf(stderr, "retortd: libsodium cannot be used on this machine\n");
		return 1;
	}
	if (options.verbose)
		rt_log_set_level(RT_LOG_DEBUG);
	signal(SIGPIPE, SIG_IGN);
	umask(077); /* specs, models and events are the owner's alone */
	if (options.check)
		return check(&options);
	if (options.prune)
		return prune(&options);
	if (options.backup)
		return backup(&options);
	raise_descriptor_limit();
	return serve(&options);
}
