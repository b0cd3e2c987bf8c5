/* SPDX-License-Identifier: Apache-2.0 */
/* Post-processors: special tokens around a text or a pair, type ids, trimmed offsets. */
#ifndef RT_TEXT_POSTPROCESSOR_H
#define RT_TEXT_POSTPROCESSOR_H

#include "base/json.h"

/* A token under way. value is borrowed: from the vocabulary, the text under way or the post-processor. */
struct rt_token {
	int32_t id, type_id;
	int32_t offset[2]; /* code points */
	const char *value;
	size_t value_len;
};
struct rt_seq {
	struct rt_token *list;
	size_t n, cap;
	bool failed;
};
void rt_seq_add(struct rt_seq *s, struct rt_token token);

enum { RT_SEGMENTS_MAX = 64 };
/* What is processed: the text and the pair at first; special tokens may stand in segments of their own. */
struct rt_segments {
	struct rt_seq list[RT_SEGMENTS_MAX];
	size_t n;
};
void rt_segments_release(struct rt_segments *s);

struct rt_postprocessor;

/* json: borrowed. *ret: new, rt_postprocessor_free; NULL for a JSON null. RT_UNSUPPORTED names an unknown type. */
int rt_postprocessor_new(const json_t *json, struct rt_postprocessor **ret, struct rt_err *err);
void rt_postprocessor_free(struct rt_postprocessor *p);
size_t rt_postprocessor_added(const struct rt_postprocessor *p, bool pair); /* special tokens it adds */
/* s: one or two segments in. with_offsets: tokens have values and offsets, which may be trimmed. NULL: nothing. */
int rt_postprocessor_run(const struct rt_postprocessor *p, struct rt_segments *s, bool with_offsets,
			 struct rt_err *err);
/* Appends where it puts which ids, however its file says it: a template and the older kinds that do the same are described
 * alike. NULL: the texts alone. */
void rt_postprocessor_describe(const struct rt_postprocessor *p, struct rt_buf *out);
int32_t rt_postprocessor_max_id(const struct rt_postprocessor *p); /* of the special tokens; -1: none */

#endif
