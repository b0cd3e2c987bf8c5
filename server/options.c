/* SPDX-License-Identifier: Apache-2.0 */
#include "server/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

const char rt_options_help[] =
	"usage: retortd --data DIR [OPTION...]\n"
	"       retortd --data DIR --prune [--dry-run] [--keep-days N] [--max-bytes N]\n"
	"       retortd --check DIR [--repair]\n"
	"       retortd --backup DIR --to FILE\n"
	"\n"
	"Distils text classifiers as a service.\n"
	"\n"
	"  --data DIR          where jobs, events and checkpoints are kept; made if it is not there\n"
	"  --listen ADDR:PORT  where to listen: a loopback address; port 0 picks one (127.0.0.1:8080)\n"
	"  --slots N           runs at the same time (1)\n"
	"  --models-root DIR   models and data sets below DIR may be named in jobs; may be repeated\n"
	"  --worker PATH       the worker program (retort-worker beside this program, or in PATH)\n"
	"  --stop-grace S      seconds between asking a worker to stop and killing it, at most (what each "
	"job allows)\n"
	"  --worker-timeout S  seconds without a sign of life after which a worker is killed and replaced "
	"(60)\n"
	"  --restart-delay S   seconds before the job of a lost worker is started again; doubles each time "
	"(5)\n"
	"  --cache-max-bytes N  how much of the teachers' logits is kept in DIR/cache for other jobs; 0: "
	"none "
	"(10737418240)\n"
	"  --min-free-bytes N  start nothing while the disk has less room than this (268435456)\n"
	"  --keep-days N       remove jobs N days after they finished (never)\n"
	"  --max-bytes N       remove finished jobs, the oldest first, while all runs together take more (no "
	"limit)\n"
	"\n"
	"  --prune             remove now what --keep-days and --max-bytes say, and end; no server may run "
	"on the directory ...\n"
	"  --dry-run           ... or only say what would go\n"
	"  --check DIR         look whether a data directory is whole: database, folders, checksums; no "
	"server may run on it\n"
	"  --repair            with --check: remove what nobody owns, withdraw what is damaged\n"
	"  --backup DIR        copy the database of a data directory, also while a server runs on it ...\n"
	"  --to FILE           ... to this file, whole or not at all\n"
	"\n"
	"  --verbose           log more\n"
	"  --version, --help\n";

static int big_number(const char *name, const char *text, int64_t low, int64_t high, int64_t *ret,
		      struct rt_err *err)
{
	char *end;
	long long v;

	errno = 0;
	v = strtoll(text, &end, 10);
	if (end == text || *end || errno || v < low || v > high)
		return rt_fail(err, RT_INVALID,
			       "--%s must be a whole number between %lld and %lld (got '%.40s')", name,
			       (long long)low, (long long)high, text);
	*ret = v;
	return 0;
}

static int number(const char *name, const char *text, int low, int high, int *ret, struct rt_err *err)
{
	int64_t v = 0;

	if (big_number(name, text, low, high, &v, err) < 0)
		return -1;
	*ret = (int)v;
	return 0;
}

int rt_options_parse(int argc, char **argv, struct rt_options *ret, struct rt_err *err)
{
	enum {
		DATA = 256,
		LISTEN,
		SLOTS,
		ROOT,
		WORKER,
		GRACE,
		TIMEOUT,
		DELAY,
		MIN_FREE,
		CACHE_MAX,
		KEEP_DAYS,
		MAX_BYTES,
		PRUNE,
		DRY_RUN,
		CHECK,
		REPAIR,
		BACKUP,
		TO,
		VERBOSE,
		VERSION,
		HELP
	};
	static const struct option known[] = {
		{ "data", required_argument, NULL, DATA },
		{ "listen", required_argument, NULL, LISTEN },
		{ "slots", required_argument, NULL, SLOTS },
		{ "models-root", required_argument, NULL, ROOT },
		{ "worker", required_argument, NULL, WORKER },
		{ "stop-grace", required_argument, NULL, GRACE },
		{ "worker-timeout", required_argument, NULL, TIMEOUT },
		{ "restart-delay", required_argument, NULL, DELAY },
		{ "min-free-bytes", required_argument, NULL, MIN_FREE },
		{ "cache-max-bytes", required_argument, NULL, CACHE_MAX },
		{ "keep-days", required_argument, NULL, KEEP_DAYS },
		{ "max-bytes", required_argument, NULL, MAX_BYTES },
		{ "prune", no_argument, NULL, PRUNE },
		{ "dry-run", no_argument, NULL, DRY_RUN },
		{ "check", required_argument, NULL, CHECK },
		{ "repair", no_argument, NULL, REPAIR },
		{ "backup", required_argument, NULL, BACKUP },
		{ "to", required_argument, NULL, TO },
		{ "verbose", no_argument, NULL, VERBOSE },
		{ "version", no_argument, NULL, VERSION },
		{ "help", no_argument, NULL, HELP },
		{ NULL, 0, NULL, 0 },
	};
	struct rt_options o = { .listen = "127.0.0.1:8080",
				.slots = 1,
				.stop_grace_s = 3600,
				.worker_timeout_s = 60,
				.restart_delay_s = 5,
				.cache_max_bytes = INT64_C(10) << 30,
				.min_free_bytes = 256 << 20,
				.retention = { .keep_days = -1, .max_bytes = -1 } };
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (c) {
		case DATA:
			o.data = optarg;
			break;
		case LISTEN:
			o.listen = optarg;
			break;
		case SLOTS:
			if (number("slots", optarg, 1, 64, &o.slots, err) < 0)
				return -1;
			break;
		case ROOT:
			if (o.models_root_count == RT_ROOTS_MAX)
				return rt_fail(err, RT_INVALID, "--models-root may be given at most %d times",
					       RT_ROOTS_MAX);
			o.models_roots[o.models_root_count++] = optarg;
			break;
		case WORKER:
			o.worker = optarg;
			break;
		case GRACE:
			if (number("stop-grace", optarg, 0, 3600, &o.stop_grace_s, err) < 0)
				return -1;
			break;
		case TIMEOUT:
			if (number("worker-timeout", optarg, 1, 86400, &o.worker_timeout_s, err) < 0)
				return -1;
			break;
		case DELAY:
			if (number("restart-delay", optarg, 0, 300, &o.restart_delay_s, err) < 0)
				return -1;
			break;
		case CACHE_MAX:
			if (big_number("cache-max-bytes", optarg, 0, INT64_C(1) << 50, &o.cache_max_bytes,
				       err) < 0)
				return -1;
			break;
		case MIN_FREE:
			if (big_number("min-free-bytes", optarg, 0, INT64_C(1) << 50, &o.min_free_bytes,
				       err) < 0)
				return -1;
			break;
		case KEEP_DAYS:
			if (big_number("keep-days", optarg, 1, 36500, &o.retention.keep_days, err) < 0)
				return -1;
			break;
		case MAX_BYTES:
			if (big_number("max-bytes", optarg, 0, INT64_C(1) << 60, &o.retention.max_bytes,
				       err) < 0)
				return -1;
			break;
		case PRUNE:
			o.prune = true;
			break;
		case DRY_RUN:
			o.dry_run = true;
			break;
		case CHECK:
			o.check = optarg;
			break;
		case REPAIR:
			o.repair = true;
			break;
		case BACKUP:
			o.backup = optarg;
			break;
		case TO:
			o.backup_to = optarg;
			break;
		case VERBOSE:
			o.verbose = true;
			break;
		case VERSION:
			o.version = true;
			break;
		case HELP:
			o.help = true;
			break;
		default:
			return rt_fail(err, RT_INVALID, "cannot use the option %s (see --help)",
				       argv[optind - 1]);
		}
	}
	if (optind < argc)
		return rt_fail(err, RT_INVALID, "unexpected argument '%.100s' (see --help)", argv[optind]);
	if (!!o.data + !!o.check + !!o.backup > 1)
		return rt_fail(err, RT_INVALID,
			       "--data, --check and --backup exclude each other (see --help)");
	if (o.repair && !o.check)
		return rt_fail(err, RT_INVALID, "--repair goes with --check DIR");
	if (o.dry_run && !o.prune)
		return rt_fail(err, RT_INVALID, "--dry-run goes with --prune");
	if (o.prune && (!o.data || (o.retention.keep_days < 0 && o.retention.max_bytes < 0)))
		return rt_fail(err, RT_INVALID,
			       "--prune needs --data DIR, and --keep-days N or --max-bytes N");
	if (!o.backup != !o.backup_to)
		return rt_fail(err, RT_INVALID, "--backup DIR and --to FILE go together");
	if (!o.data && !o.check && !o.backup && !o.help && !o.version)
		return rt_fail(err, RT_INVALID, "--data DIR is required (see --help)");
	*ret = o;
	return 0;
}
