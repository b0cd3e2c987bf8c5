/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the source tree that are compiled into retortd (written by embed.py at build time). */
#ifndef RT_SERVER_EMBEDDED_H
#define RT_SERVER_EMBEDDED_H

#include <stddef.h>

struct rt_embedded {
	const char *name; /* base name; NULL ends a table */
	const char *data; /* with a NUL behind it that size does not count */
	size_t size;	  /* bytes */
};

extern const struct rt_embedded rt_migrations[]; /* migrations/NNNN_*.sql in order */
extern const struct rt_embedded rt_api_files[];	 /* openapi.json, when api/openapi.yaml is there */

#endif
