/* SPDX-License-Identifier: Apache-2.0 */
/* Ids: a prefix and a ULID (48 bits of milliseconds, 80 random bits, Crockford base 32), so that they sort by
 * age: "job_01J…". Within one process two ids of the same millisecond also sort in the order of the calls. */
#ifndef RT_BASE_ID_H
#define RT_BASE_ID_H

#include <stdbool.h>

#define RT_ID_SIZE 40 /* room for a prefix of up to 12 characters, '_', 26 characters and the NUL */

/* Writes prefix, '_' and a new ULID into out and returns out. prefix: up to 12 lower-case letters.
 * Not for threads: a process makes its ids on one thread. */
const char *rt_id_new(const char *prefix, char out[RT_ID_SIZE]);

/* True if s is prefix, '_' and 26 characters of Crockford base 32 that fit in 128 bits. */
bool rt_id_is(const char *s, const char *prefix);

#endif
