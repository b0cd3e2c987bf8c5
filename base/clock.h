/* SPDX-License-Identifier: Apache-2.0 */
/* Time: the wall clock for people, a monotonic one for durations, and RFC 3339 for the wire. */
#ifndef RT_BASE_CLOCK_H
#define RT_BASE_CLOCK_H

#include <stdint.h>

#include "base/err.h"

int64_t rt_clock_now_ms(void);	     /* milliseconds since 1970-01-01 UTC; may jump */
int64_t rt_clock_monotonic_ms(void); /* milliseconds since some start; never goes back */
double rt_clock_monotonic_s(void);

#define RT_RFC3339_SIZE 32
/* Writes "2026-11-24T03:43:53.123Z" into out (RT_RFC3339_SIZE bytes) and returns out. */
const char *rt_clock_rfc3339(int64_t unix_ms, char *out);

/* A test replaces the wall clock with its own; NULL puts the real one back. Not for threads. */
void rt_clock_set_source(int64_t (*now_ms)(void));

#endif
