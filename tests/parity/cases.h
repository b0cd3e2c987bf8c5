/* SPDX-License-Identifier: Apache-2.0 */
/* What a tokenizer makes of a text beside what the reference made of it. */
#ifndef RT_TESTS_PARITY_CASES_H
#define RT_TESTS_PARITY_CASES_H

#include <stdbool.h>

#include "base/json.h"
#include "worker/text/tokenizer.h"

/* row: {"text", "pair"?, "max_length"?, "ids", "type_ids", "tokens", "offsets"}, or "error": true where the reference
 * refuses. True if ids, type ids, tokens and offsets are the same, by either way to encode. loud: shows what differs. */
bool cases_check(const struct rt_tokenizer *tok, const json_t *row, bool loud, size_t number);

#endif
