/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the parts of a tokenizer.json: what all kinds of component share. */
#ifndef RT_TEXT_COMPONENT_H
#define RT_TEXT_COMPONENT_H

#include "base/json.h"
#include "worker/text/regex.h"

enum {
	RT_COMPONENT_DEPTH = 16, /* sequences in sequences */
	RT_COMPONENT_PARTS =
		256 /* of all sequences of one kind together: each part takes time for each text */
};

/* Refuses a component with too many parts. json: borrowed, NULL or null is fine. what: "normalizer", for messages. */
int rt_component_check_parts(const json_t *json, const char *what, struct rt_err *err);

/* The component's "type"; what: "normalizer", for messages. */
int rt_component_type(const json_t *json, const char *what, const char **ret, struct rt_err *err);
/* A string that may hold U+0000, borrowed. A missing one is RT_INVALID, unless *ret_text is set. */
int rt_component_text(const json_t *json, const char *key, const char **ret_text, size_t *ret_len,
		      struct rt_err *err);
/* "pattern": {"String": …} or {"Regex": …}, or a plain string. */
int rt_component_pattern(const json_t *json, struct rt_regex **ret, struct rt_err *err);
/* The array of a Sequence. */
int rt_component_list(const json_t *json, const char *key, const json_t **ret, struct rt_err *err);

#endif
