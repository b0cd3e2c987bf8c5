/* SPDX-License-Identifier: Apache-2.0 */
/* The dashboard's files, compiled into retortd by web/build; an empty table with -Dweb=disabled. */
#ifndef RT_SERVER_ROUTE_WEB_H
#define RT_SERVER_ROUTE_WEB_H

#include <stdbool.h>
#include <stddef.h>

struct rt_web_body {
	const char *data; /* NULL: not kept in this form, because it would save nothing */
	size_t size;	  /* bytes */
};

struct rt_web_file {
	const char *path; /* "/index.html", "/assets/index-4fJ2.js"; NULL ends the table */
	const char *type; /* Content-Type */
	const char *hash; /* of the plain bytes, for the ETag */
	bool immutable;	  /* the name holds a hash of the content */
	struct rt_web_body plain, gzip, brotli;
};

extern const struct rt_web_file rt_web_files[];

#endif
