/* SPDX-License-Identifier: Apache-2.0 */
/* Two variables of the environment that libraries read when they are loaded, so that setenv in main comes too late:
 *   OMP_WAIT_POLICY=PASSIVE     waiting OpenMP threads sleep
 *   OPENBLAS_THREAD_TIMEOUT=4   OpenBLAS's own idle threads sleep at once, not after 2^26 cycles
 * Otherwise the two kinds of threads take the cores from each other and from other processes: on two busy cores a bf16
 * product took 5 ms instead of 0.1, and a training step 155 ms instead of 118.
 *
 * A program's .preinit_array runs before its libraries' constructors; starting over from there costs the relocations
 * again, a third of what starting over from main does. A user's own setting stays. */
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#define VARIABLES_MAX 4096
#define WANTED	      2

static char *variables[VARIABLES_MAX + WANTED + 1];

/* Is line a setting of what wanted ("NAME=value") sets? */
__attribute__((no_sanitize("address", "undefined", "thread"))) static bool sets(const char *line,
										const char *wanted)
{
	for (; *line == *wanted && *wanted; line++, wanted++) {
		if (*wanted == '=')
			return true;
	}
	return false;
}

/* Nothing of libc that needs its own start, and no sanitizer: neither has run yet. */
__attribute__((no_sanitize("address", "undefined", "thread"))) static void early(int argc, char **argv,
										 char **envp)
{
	static char wanted[WANTED][32] = { "OMP_WAIT_POLICY=PASSIVE", "OPENBLAS_THREAD_TIMEOUT=4" };
	bool given[WANTED] = { false };
	size_t n = 0, missing = 0;

	(void)argc;
	for (; envp[n]; n++) {
		if (n == VARIABLES_MAX)
			return;
		variables[n] = envp[n];
		for (size_t i = 0; i < WANTED; i++)
			given[i] |= sets(envp[n], wanted[i]);
	}
	for (size_t i = 0; i < WANTED; i++) {
		if (!given[i])
			variables[n + missing++] = wanted[i];
	}
	if (missing)
		execve("/proc/self/exe", argv, variables); /* when it fails, the program goes on as it was */
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char **, char **) = early;
