/* SPDX-License-Identifier: Apache-2.0 */
/* The entries of a zip file whose entries are stored, not compressed, as PyTorch writes them: found by the central
 * directory (with zip64), every offset checked, no byte copied. Not a general unzipper: encrypted and split archives are
 * refused, and so is a compressed entry when it is asked for. Checksums are not compared, as PyTorch does not compare them either. */
#ifndef RT_WORKER_WEIGHTS_ZIP_H
#define RT_WORKER_WEIGHTS_ZIP_H

#include <stddef.h>

#include "base/err.h"
#include "worker/weights/budget.h"

struct rt_zip_entry {
	const char *name; /* in the file's bytes, no NUL behind it; holds none, and is UTF-8 */
	size_t name_len;
	const unsigned char *data; /* in the file's bytes */
	size_t size;		   /* bytes in the file */
	unsigned method;	   /* 0: stored, data is what was put in; see rt_zip_check_stored */
};

struct rt_zip {
	struct rt_zip_entry *entries; /* by name; no name stands twice */
	size_t count;
	struct rt_zip_entry first; /* the one that comes first in the file's own directory, when count > 0 */
};

/* bytes: the whole file, borrowed until rt_zip_release. RT_INVALID for a file that is cut short or lies, RT_UNSUPPORTED
 * for what is not read. The table's memory comes out of the budget. */
int rt_zip_open(const unsigned char *bytes, size_t n, struct rt_budget *budget, struct rt_zip *ret,
		struct rt_err *err);
void rt_zip_release(struct rt_zip *zip); /* a zeroed one is fine */

/* RT_UNSUPPORTED, with the entry's name, when its data are compressed. */
int rt_zip_check_stored(const struct rt_zip_entry *e, struct rt_err *err);

const struct rt_zip_entry *rt_zip_find(const struct rt_zip *zip, const char *name, size_t len); /* or NULL */

#endif
