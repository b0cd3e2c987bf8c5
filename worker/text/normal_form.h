/* SPDX-License-Identifier: Apache-2.0 */
/* NFC, NFD, NFKC and NFKD as lists of changes (ntext.h), in the order and with the counts that the reference's have.
 * Decompositions come from utf8proc; characters that the reference's table does not know stay as they are. */
#ifndef RT_TEXT_NORMAL_FORM_H
#define RT_TEXT_NORMAL_FORM_H

#include "worker/text/ntext.h"

enum rt_form { RT_NFC, RT_NFD, RT_NFKC, RT_NFKD };

/* True if the text is its own normal form, as a quick look can tell. */
bool rt_form_is_plain(enum rt_form form, const char *s, size_t n);
/* Appends to out the changes that make the normal form of s. out->failed tells of no memory. */
void rt_form_changes(enum rt_form form, const char *s, size_t n, struct rt_changes *out);

#endif
