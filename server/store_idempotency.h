/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that were given to writes with an Idempotency-Key, kept for 24 hours. */
#ifndef RT_SERVER_STORE_IDEMPOTENCY_H
#define RT_SERVER_STORE_IDEMPOTENCY_H

#include <stdint.h>

#include "base/buf.h"
#include "base/file.h"
#include "server/store.h"

#define RT_IDEMPOTENCY_MS (24 * 3600 * INT64_C(1000))

struct rt_idempotent {
	char body_sha256[RT_SHA256_SIZE];
	int64_t status;
	char location[128];
	struct rt_buf answer;
};

/* 1 and *ret (the caller releases ret->answer), 0 when the key is not known or too old, -1. */
int rt_store_idempotent_get(struct rt_store *st, const char *key, const char *route, int64_t now_ms,
			    struct rt_idempotent *ret, struct rt_err *err);
/* Keeps an answer and forgets those that are too old. */
int rt_store_idempotent_put(struct rt_store *st, const char *key, const char *route,
			    const struct rt_idempotent *what, int64_t now_ms, struct rt_err *err);

#endif
