/* SPDX-License-Identifier: Apache-2.0 */
/* retort-worker run: one job, with or without a server. */
#include "worker/cmd.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/train/run.h"

#define TOKEN_MAX 512

static volatile sig_atomic_t stop; /* a signal handler can reach nothing else */

static void on_signal(int number)
{
	(void)number;
	if (stop < 2)
		stop++;
}

static void catch_signals(void)
{
	struct sigaction end = { .sa_handler = on_signal }, ignore = { .sa_handler = SIG_IGN };

	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGINT, &end, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
}

/* One line from a descriptor, which is then closed: a token on the command line could be read by others. */
static int read_token(int fd, char out[TOKEN_MAX])
{
	size_t n = 0;
	ssize_t got;

	while (n < TOKEN_MAX - 1 &&
	       ((got = read(fd, out + n, TOKEN_MAX - 1 - n)) > 0 || (got < 0 && errno == EINTR))) {
		n += got > 0 ? (size_t)got : 0;
		if (memchr(out, '\n', n))
			break;
	}
	close(fd);
	out[n] = '\0';
	out[strcspn(out, "\r\n")] = '\0';
	return out[0] ? 0 : -1;
}

static int to_int(const char *text, int low, int high, int *ret)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(text, &end, 10);
	if (errno || end == text || *end || v < low || v > high)
		return -1;
	*ret = (int)v;
	return 0;
}

static int to_bytes(const char *text, int64_t *ret)
{
	char *end;
	long long v;

	errno = 0;
	v = strtoll(text, &end, 10);
	if (errno || end == text || *end || v < 0)
		return -1;
	*ret = v;
	return 0;
}

int rt_cmd_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "spec", required_argument, NULL, 's' },
		{ "dir", required_argument, NULL, 'd' },
		{ "threads", required_argument, NULL, 't' },
		{ "report", required_argument, NULL, 'r' },
		{ "token-fd", required_argument, NULL, 'f' },
		{ "models-root", required_argument, NULL, 'm' },
		{ "resume-from", required_argument, NULL, 'R' },
		{ "cache", required_argument, NULL, 'c' },
		{ "cache-max-bytes", required_argument, NULL, 'C' },
		{ NULL, 0, NULL, 0 },
	};
	const char *roots[64];
	struct rt_run_options o = { .roots = roots, .cache_max_bytes = RT_CACHE_MAX_BYTES, .stop = &stop };
	struct rt_err err = RT_ERR_INIT;
	enum rt_run_end end;
	char token[TOKEN_MAX];
	int fd = -1, c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's':
			o.spec_path = optarg;
			break;
		case 'd':
			o.dir = optarg;
			break;
		case 't':
			if (to_int(optarg, 1, 1024, &o.threads) < 0) {
				fprintf(stderr, "retort-worker run: --threads must be 1 to 1024 (got %s)\n",
					optarg);
				return 2;
			}
			break;
		case 'r':
			o.url = optarg;
			break;
		case 'f':
			if (to_int(optarg, 0, 1 << 20, &fd) < 0) {
				fprintf(stderr,
					"retort-worker run: --token-fd must be a descriptor (got %s)\n",
					optarg);
				return 2;
			}
			break;
		case 'm':
			if (o.root_count == sizeof roots / sizeof *roots) {
				fprintf(stderr, "retort-worker run: too many --models-root\n");
				return 2;
			}
			roots[o.root_count++] = optarg;
			break;
		case 'R':
			o.resume_from = optarg;
			break;
		case 'c':
			o.cache_dir = optarg;
			break;
		case 'C':
			if (to_bytes(optarg, &o.cache_max_bytes) < 0) {
				fprintf(stderr,
					"retort-worker run: --cache-max-bytes must be a whole number, 0 or "
					"more (got %s)\n",
					optarg);
				return 2;
			}
			break;
		default:
			return 2;
		}
	}
	if (!o.spec_path || !o.dir || optind < argc) {
		fprintf(stderr,
			"usage: retort-worker run --spec FILE --dir DIR [--resume-from DIR] [--threads N] "
			"[--cache DIR] [--cache-max-bytes N] [--report URL --token-fd N] [--models-root "
			"DIR]...\n");
		return 2;
	}
	if (o.url && (fd < 0 || read_token(fd, token) < 0)) {
		fprintf(stderr, "retort-worker run: --report needs a token: give --token-fd a descriptor "
				"with one line\n");
		return 2;
	}
	o.token = o.url ? token : NULL;
	catch_signals();
	if (rt_run(&o, &end, &err) < 0) {
		fprintf(stderr, "retort-worker run: %s\n", err.msg);
		return 1;
	}
	return (int)end;
}
