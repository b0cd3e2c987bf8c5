/* SPDX-License-Identifier: Apache-2.0 */
/* Watches the room on the data directory's disk. Below `low` bytes the server is degraded: it starts no more runs until there
 * are `high` bytes again, so that it does not flutter. A reserve file holds room for the store: when the disk is full
 * it is given up, so that what happened can still be written down; it is made again when there is room. */
#ifndef RT_SERVER_DISK_H
#define RT_SERVER_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define RT_DISK_RESERVE_BYTES (INT64_C(8) << 20)

struct rt_disk {
	char *dir, *reserve; /* owned */
	int64_t low_bytes, high_bytes;
	int64_t free_bytes; /* when last looked at; -1: not known */
	bool low;
	bool has_reserve;
	bool full; /* the reserve was given up: what is left of it is for the jobs that are there */
};

/* low_bytes 0: never degraded. */
int rt_disk_open(struct rt_disk *d, const char *dir, int64_t low_bytes, struct rt_err *err);
void rt_disk_close(struct rt_disk *d); /* a zeroed one is fine; the reserve stays */
/* Looks again. True when `low` changed. */
bool rt_disk_look(struct rt_disk *d);
/* The store found no room: gives up the reserve. True when there was one: trying again is worth it. */
bool rt_disk_give_up_reserve(struct rt_disk *d);

#endif
