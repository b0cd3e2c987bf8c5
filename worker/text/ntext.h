/* SPDX-License-Identifier: Apache-2.0 */
/* A text under way: its bytes, and for each byte the range of the original text that it stands for. Normalizers and
 * pre-tokenizers make a new one from the last; pieces are ranges of it. Failures are sticky (rt_ntext_check).
 *
 * The reference counts changes character by character, and where it does so oddly, offsets depend on it; so a change
 * is described in its way: 0 replaces the next old character, 1 comes from nowhere, -n replaces one and drops the n
 * that follow. */
#ifndef RT_TEXT_NTEXT_H
#define RT_TEXT_NTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct rt_range {
	uint32_t first, end; /* bytes of the original text */
};

struct rt_change {
	uint32_t cp;
	int32_t change;
};

struct rt_ntext {
	char *bytes;
	struct rt_range *align; /* one a byte; NULL and unused when not aligned */
	size_t len, cap, max;	/* max: more bytes than that fail */
	uint32_t base;		/* where in the original this text begins */
	bool aligned;		/* ids alone are wanted: no alignment is kept */
	enum rt_code failed;	/* RT_OK, RT_NO_MEMORY or RT_TOO_LARGE */
};

/* What a text of n bytes may grow to while it is normalized and split. Places in it are 32 bits wide. */
static inline size_t rt_ntext_most(size_t n)
{
	size_t most = 64 * n + ((size_t)1 << 20);

	return n > UINT32_MAX / 64 || most > UINT32_MAX ? UINT32_MAX : most;
}
void rt_ntext_init(struct rt_ntext *t, bool aligned, size_t max_bytes);
void rt_ntext_release(struct rt_ntext *t);
void rt_ntext_clear(struct rt_ntext *t, uint32_t base);
bool rt_ntext_room(struct rt_ntext *t, size_t n); /* false (and failed) when n more bytes cannot be had */
void rt_ntext_add(struct rt_ntext *t, const char *bytes, const struct rt_range *align, size_t n);
void rt_ntext_add_all(struct rt_ntext *t, const char *bytes, struct rt_range align,
		      size_t n); /* one range for all */
void rt_ntext_add_cp(struct rt_ntext *t, uint32_t cp, struct rt_range align);
/* The original text itself: byte i of it stands for its own character. at: where bytes lie in the original. */
void rt_ntext_add_raw(struct rt_ntext *t, const char *bytes, size_t n, uint32_t at);
int rt_ntext_check(const struct rt_ntext *t, struct rt_err *err);

static inline struct rt_range rt_ntext_align(const struct rt_ntext *t, size_t byte)
{
	return t->aligned ? t->align[byte] : (struct rt_range){ 0, 0 };
}

/* Appends to out what the changes make of in; removed: old characters dropped at the beginning. */
void rt_ntext_change(struct rt_ntext *out, const struct rt_ntext *in, const struct rt_change *changes,
		     size_t n, size_t removed);

/* A growing list of changes. */
struct rt_changes {
	struct rt_change *list;
	size_t n, cap;
	bool failed;
};
void rt_changes_add(struct rt_changes *c, uint32_t cp, int32_t change);

#endif
