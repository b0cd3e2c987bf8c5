/* SPDX-License-Identifier: Apache-2.0 */
/* Logging: one line per event to stderr: time, level, id, words. Only mains, routes and supervisors log;
 * code below them returns errors. Control characters in the words are escaped, so a line stays a line. */
#ifndef RT_BASE_LOG_H
#define RT_BASE_LOG_H

enum rt_level {
	RT_LOG_DEBUG,
	RT_LOG_INFO,
	RT_LOG_WARN,
	RT_LOG_ERROR,
};

void rt_log_set_level(enum rt_level least); /* RT_LOG_INFO at start */
/* id: what the line is about (a job, a request, "-" for nothing). */
void rt_log(enum rt_level level, const char *id, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
