/* SPDX-License-Identifier: Apache-2.0 */
/* One process at a time has a data directory: a lock on DATA/retort.lock, which the kernel lets go when the process ends. */
#ifndef RT_SERVER_LOCK_H
#define RT_SERVER_LOCK_H

#include "base/err.h"

/* A descriptor that holds the lock, or -1. RT_CONFLICT names the process that has it. */
int rt_lock_take(const char *data_dir, struct rt_err *err);
void rt_lock_release(int fd); /* -1 is fine */

#endif
