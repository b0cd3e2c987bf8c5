/* SPDX-License-Identifier: Apache-2.0 */
/* OMP_WAIT_POLICY=PASSIVE, before any library starts. OpenMP reads it when libgomp is loaded, so setenv in main comes too
 * late; and threads that spin while another process (or OpenBLAS's own threads) needs the core cost several times
 * the step. A program's .preinit_array runs before its libraries' constructors: starting over from there costs
 * the relocations again, a third of a start from main. A user's own setting stays. */
#include <string.h>
#include <unistd.h>

#define VARIABLES_MAX 4096

static char *variables[VARIABLES_MAX + 2];

/* Nothing of libc that needs its own start, and no sanitizer: neither has run yet. */
__attribute__((no_sanitize("address", "undefined", "thread"))) static void early(int argc, char **argv,
										 char **envp)
{
	static char passive[] = "OMP_WAIT_POLICY=PASSIVE";
	size_t n = 0;

	(void)argc;
	for (; envp[n]; n++) {
		static const char name[] = "OMP_WAIT_POLICY=";
		size_t i = 0;

		while (name[i] && envp[n][i] == name[i])
			i++;
		if (!name[i] || n == VARIABLES_MAX)
			return;
		variables[n] = envp[n];
	}
	variables[n] = passive;
	execve("/proc/self/exe", argv, variables); /* when it fails, the program goes on as it was */
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char **, char **) = early;
