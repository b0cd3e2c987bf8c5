/* SPDX-License-Identifier: Apache-2.0 */
#include "server/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int rt_journal_open(const char *path, int64_t after_seq, int64_t from, struct rt_journal *ret,
		    struct rt_err *err)
{
	FILE *file = fopen(path, "re");

	if (!file)
		return rt_fail_errno(err, errno, "cannot open the run's journal");
	if (fseeko(file, from, SEEK_SET) < 0) {
		fclose(file);
		return rt_fail_errno(err, errno, "cannot read the run's journal");
	}
	*ret = (struct rt_journal){ .file = file, .after = after_seq, .at = from };
	return 0;
}

int rt_journal_next(struct rt_journal *j, struct rt_event *ret, struct rt_err *err)
{
	for (;;) {
		ssize_t n = getline(&j->line, &j->cap, j->file);

		if (n <= 0 || j->line[n - 1] != '\n')
			return 0;
		j->at += n;
		/* Lines begin {"seq":N, so what is known is skipped without parsing it. */
		if (strncmp(j->line, "{\"seq\":", 7) == 0 && strtoll(j->line + 7, NULL, 10) <= j->after)
			continue;
		return rt_event_parse(j->line, (size_t)n - 1, ret, err) < 0 ? -1 : 1;
	}
}

void rt_journal_close(struct rt_journal *j)
{
	fclose(j->file);
	free(j->line);
	memset(j, 0, sizeof *j);
}
