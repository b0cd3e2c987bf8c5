/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/normal_form.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "worker/text/unicode.h"

enum { DECOMPOSITION_MAX = 18 }; /* code points of the longest one, U+FDFA's */

bool rt_form_is_plain(enum rt_form form, const char *s, size_t n)
{
	if (form != RT_NFC)
		return rt_uc_ascii(s, n);
	/* below U+0300 everything is composed and stands in order: two bytes that begin with less than 0xCC */
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] >= 0xCC)
			return false;
	return true;
}

static unsigned combining_class(uint32_t cp)
{
	if (cp < 0x300 || rt_uc_in(&rt_uc_unnormal, cp))
		return 0;
	return (unsigned)utf8proc_get_property((utf8proc_int32_t)cp)->combining_class;
}

static void decompose(bool compatible, uint32_t cp, struct rt_changes *out)
{
	utf8proc_int32_t parts[DECOMPOSITION_MAX];
	int last_boundclass = 0;
	utf8proc_ssize_t n = 0;

	if (cp >= 0xA0 && !rt_uc_in(&rt_uc_unnormal, cp))
		n = utf8proc_decompose_char(
			(utf8proc_int32_t)cp, parts, DECOMPOSITION_MAX,
			(utf8proc_option_t)(UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0)),
			&last_boundclass);
	if (n < 1 || n > DECOMPOSITION_MAX) {
		parts[0] = (utf8proc_int32_t)cp;
		n = 1;
	}
	for (utf8proc_ssize_t i = 0; i < n; i++)
		rt_changes_add(out, (uint32_t)parts[i], i > 0);
}

/* One character of a run of marks, while it is sorted. */
struct mark {
	unsigned class;
	size_t order;
	struct rt_change change;
};

static int by_class(const void *a, const void *b)
{
	const struct mark *x = a, *y = b;

	if (x->class != y->class)
		return x->class < y->class ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* Puts every run of marks in order of combining class; within a class they keep their order. */
static void reorder(struct rt_changes *c, size_t from)
{
	for (size_t i = from; i < c->n;) {
		size_t end = i;
		bool sorted = true;
		unsigned last = 0, class;
		struct mark *marks;

		while (end < c->n && (class = combining_class(c->list[end].cp)) > 0) {
			sorted = sorted && class >= last;
			last = class;
			end++;
		}
		if (!sorted) {
			marks = malloc((end - i) * sizeof *marks);
			if (!marks) {
				c->failed = true;
				return;
			}
			for (size_t k = i; k < end; k++)
				marks[k - i] = (struct mark){ combining_class(c->list[k].cp), k, c->list[k] };
			qsort(marks, end - i, sizeof *marks, by_class);
			for (size_t k = i; k < end; k++)
				c->list[k] = marks[k - i].change;
			free(marks);
		}
		i = end + 1;
	}
}

/* The one character that a and b make, or 0. */
static uint32_t compose(uint32_t a, uint32_t b)
{
	utf8proc_int32_t pair[2] = { (utf8proc_int32_t)a, (utf8proc_int32_t)b };

	if (b < 0x300 || rt_uc_in(&rt_uc_unnormal, a) || rt_uc_in(&rt_uc_unnormal, b))
		return 0;
	if (utf8proc_normalize_utf32(pair, 2, (utf8proc_option_t)(UTF8PROC_COMPOSE | UTF8PROC_STABLE)) != 1)
		return 0;
	return rt_uc_in(&rt_uc_unnormal, (uint32_t)pair[0]) ? 0 : (uint32_t)pair[0];
}

/* Composes list[from..] in place: written never passes read. A starter waits until what follows cannot join it; marks
 * that did not join wait behind it, in place. */
static void recompose(struct rt_changes *c, size_t from)
{
	size_t out = from, starter = SIZE_MAX; /* index of the starter that waits */
	unsigned last = 0; /* class of the last mark behind it that did not join; 0: none */

	for (size_t i = from; i < c->n; i++) {
		struct rt_change now = c->list[i];
		unsigned class = combining_class(now.cp);

		if (starter != SIZE_MAX && (last == 0 || last < class)) {
			uint32_t one = compose(c->list[starter].cp, now.cp);

			if (one) {
				c->list[starter].cp = one;
				c->list[starter].change += now.change - 1;
				continue;
			}
		}
		if (class == 0) {
			starter = out;
			last = 0;
		} else if (starter != SIZE_MAX) {
			last = class;
		}
		c->list[out++] = now;
	}
	c->n = out;
}

void rt_form_changes(enum rt_form form, const char *s, size_t n, struct rt_changes *out)
{
	size_t from = out->n;
	unsigned len;

	for (size_t i = 0; i < n && !out->failed; i += len)
		decompose(form == RT_NFKC || form == RT_NFKD, rt_uc_next(s + i, &len), out);
	reorder(out, from);
	if ((form == RT_NFC || form == RT_NFKC) && !out->failed)
		recompose(out, from);
}
