/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <malloc.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "worker/cmd.h"

static const struct rt_cmd commands[] = {
	{ "doctor", "[--json] [--threads N] [--dir DIR]",
	  "what this machine can do, and what is wrong with it", rt_cmd_doctor },
	{ "run", "--spec FILE --dir DIR [--threads N] [--report URL --token-fd N] [--models-root DIR]...",
	  "trains one job; events on stdout and in DIR/events.ndjson, checkpoints in DIR/checkpoints",
	  rt_cmd_run },
	{ "validate", "--spec FILE [--models-root DIR]...",
	  "says as JSON what is wrong with a job, and what it would cost, before it runs", rt_cmd_validate },
	{ "encode", "--model DIR [--max-length N]",
	  "tokens of texts: a line {\"text\": …, \"pair\"?: …} in, {\"ids\", \"type_ids\", \"tokens\", "
	  "\"offsets\"} out",
	  rt_cmd_encode },
	{ "logits", "--model DIR [--precision fp32|bf16] [--batch N]",
	  "a model's answers: a line {\"text\"} or {\"input_ids\", \"token_type_ids\"?} in, {\"logits\"} out",
	  rt_cmd_logits },
	{ NULL, NULL, NULL, NULL },
};

static void usage(FILE *to)
{
	fprintf(to, "usage: retort-worker COMMAND [OPTION...]\n\n");
	for (const struct rt_cmd *c = commands; c->name; c++)
		fprintf(to, "  %s %s\n      %s\n", c->name, c->usage, c->help);
}

int main(int argc, char **argv)
{
	/* Tensors come and go by the megabyte: keep their memory instead of giving it back to the system after each
	 * and faulting it in again, page by page (five times fewer faults in a training step). */
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
	if (sodium_init() < 0) {
		fprintf(stderr, "retort-worker: libsodium cannot be used on this machine\n");
		return 1;
	}
	if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
		printf("retort-worker %s\n", RT_VERSION);
		return 0;
	}
	if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		usage(stdout);
		return 0;
	}
	for (const struct rt_cmd *c = commands; argc >= 2 && c->name; c++) {
		if (strcmp(c->name, argv[1]) == 0)
			return c->run(argc - 1, argv + 1);
	}
	if (argc >= 2)
		fprintf(stderr, "retort-worker: unknown command '%s'\n\n", argv[1]);
	usage(stderr);
	return 2;
}
