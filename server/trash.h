/* SPDX-License-Identifier: Apache-2.0 */
/* Folders that go once the rows that named them are gone for good: removed by libuv's pool after the turn's commit. */
#ifndef RT_SERVER_TRASH_H
#define RT_SERVER_TRASH_H

#include <stdbool.h>
#include <uv.h>

struct rt_trash_item;
struct rt_trash {
	struct rt_trash_item *waiting; /* for the commit */
};

/* path is copied. Without memory nothing happens: the next start finds the folder without its row. */
void rt_trash_add(struct rt_trash *trash, const char *path);
/* The turn's commit went well (remove) or not (keep). */
void rt_trash_settle(struct rt_trash *trash, uv_loop_t *loop, bool remove);

#endif
