/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over every file of a folder, with any compiler: what once was found stays found.
 * Usage: replay FOLDER. 0 when the target came back from every file, 1 when there is none to read. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The target sees an allocation of the exact size, so that a sanitizer sees a byte too far. */
static int run_one(const char *dir, const char *name)
{
	struct rt_buf bytes = RT_BUF_INIT;
	struct rt_err err = RT_ERR_INIT;
	char *path = rt_path_join(dir, name);
	uint8_t *copy = NULL;
	int rc = -1;

	if (!path || rt_file_read(path, (size_t)64 << 20, &bytes, &err) < 0)
		goto out;
	copy = malloc(bytes.len ? bytes.len : 1);
	if (!copy)
		goto out;
	if (bytes.len)
		memcpy(copy, bytes.data, bytes.len);
	LLVMFuzzerTestOneInput(copy, bytes.len);
	rc = 0;
out:
	if (rc < 0)
		fprintf(stderr, "%s/%s: %s\n", dir, name, err.msg);
	free(copy);
	free(path);
	rt_buf_release(&bytes);
	return rc;
}

int main(int argc, char **argv)
{
	struct dirent **names = NULL;
	int n = argc == 2 ? scandir(argv[1], &names, NULL, alphasort) : -1, done = 0, failed = 0;

	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.') {
			failed += run_one(argv[1], names[i]->d_name) < 0;
			done++;
		}
		free(names[i]);
	}
	free(names);
	printf("%d files\n", done);
	return done == 0 || failed > 0;
}
