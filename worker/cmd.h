/* SPDX-License-Identifier: Apache-2.0 */
/* retort-worker's commands, one file each (cmd_<name>.c). argv[0] is the command's own name.
 * Each returns an exit status: 0 done, 1 failed (said on stderr or as an event), 2 wrong use of the command line. */
#ifndef RT_WORKER_CMD_H
#define RT_WORKER_CMD_H

struct rt_cmd {
	const char *name, *usage, *help;
	int (*run)(int argc, char **argv);
};

int rt_cmd_doctor(int argc, char **argv);
int rt_cmd_encode(int argc, char **argv);
int rt_cmd_logits(int argc, char **argv);
int rt_cmd_run(int argc, char **argv);
int rt_cmd_validate(int argc, char **argv);

#endif
