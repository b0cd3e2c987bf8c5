/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"

static enum rt_level least_level = RT_LOG_INFO; /* set once by main */

void rt_log_set_level(enum rt_level least)
{
	least_level = least;
}

void rt_log(enum rt_level level, const char *id, const char *fmt, ...)
{
	static const char *const names[] = { "debug", "info", "warn", "error" };
	char at[RT_RFC3339_SIZE], words[2048], line[4600];
	size_t n;
	va_list ap;

	if (level < least_level)
		return;
	va_start(ap, fmt);
	vsnprintf(words, sizeof words, fmt, ap);
	va_end(ap);
	n = (size_t)snprintf(line, 256, "%s %-5s %.64s ", rt_clock_rfc3339(rt_clock_now_ms(), at),
			     names[level], id);
	for (const char *p = words; *p && n < sizeof line - 8; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7F)
			n += (size_t)snprintf(line + n, 8, "\\x%02x", (unsigned)*p & 0xFF);
		else
			line[n++] = *p;
	}
	line[n++] = '\n';
	fwrite(line, 1, n, stderr); /* one call: stderr is unbuffered, lines of processes do not mix */
}
