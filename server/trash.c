/* SPDX-License-Identifier: Apache-2.0 */
#include "server/trash.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"

struct rt_trash_item {
	uv_work_t work;
	struct rt_trash_item *next;
	struct rt_err err;
	char path[];
};

void rt_trash_add(struct rt_trash *trash, const char *path)
{
	struct rt_trash_item *item = calloc(1, sizeof *item + strlen(path) + 1);

	if (!item)
		return;
	strcpy(item->path, path);
	item->next = trash->waiting;
	trash->waiting = item;
}

static void work(uv_work_t *work)
{
	struct rt_trash_item *item = work->data;

	rt_dir_remove(item->path, &item->err);
}

static void done(uv_work_t *work, int status)
{
	struct rt_trash_item *item = work->data;

	(void)status;
	if (item->err.code != RT_OK)
		rt_log(RT_LOG_WARN, "-", "%s, ignoring", item->err.msg);
	free(item);
}

void rt_trash_settle(struct rt_trash *trash, uv_loop_t *loop, bool remove)
{
	struct rt_trash_item *item;

	while ((item = trash->waiting)) {
		trash->waiting = item->next;
		item->work.data = item;
		if (!remove || uv_queue_work(loop, &item->work, work, done) < 0)
			free(item);
	}
}
