/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/legacy_vocab.h"

#include <string.h>

#include "worker/text/tokenizer.h"
#include "worker/text/unicode.h"

void rt_legacy_vocab_release(struct rt_legacy_vocab *v)
{
	json_decref(v->model);
	json_decref(v->ids);
	json_decref(v->symbols);
	*v = (struct rt_legacy_vocab){ 0 };
}

static int no_memory(struct rt_err *err)
{
	return rt_fail(err, RT_NO_MEMORY, "no memory for the vocabulary");
}

/* The line at *at, without its end; moves *at behind it. */
static size_t next_line(const char *text, size_t len, size_t *at)
{
	size_t first = *at, end = first;

	while (end < len && text[end] != '\n' && text[end] != '\r')
		end++;
	*at = end;
	if (*at < len && text[(*at)++] == '\r' && *at < len && text[*at] == '\n')
		(*at)++;
	return end - first;
}

static int check_utf8(const char *text, size_t len, struct rt_err *err)
{
	size_t bad;

	if (rt_uc_valid(text, len, &bad))
		return 0;
	return rt_fail(err, RT_INVALID, "the text is not UTF-8 at byte %zu", bad);
}

int rt_legacy_wordpiece(const char *text, size_t len, const char *unk, size_t unk_len,
			struct rt_legacy_vocab *ret, struct rt_err *err)
{
	struct rt_legacy_vocab v = { 0 };
	size_t at = 0, line_len, id = 0;
	int rc = -1;

	if (check_utf8(text, len, err) < 0)
		return -1;
	v.ids = json_object();
	for (; at < len; id++) {
		const char *line = text + at;

		line_len = next_line(text, len, &at);
		if (id > RT_TOKENIZER_ID_MAX) {
			rt_fail(err, RT_INVALID, "more than %d tokens", RT_TOKENIZER_ID_MAX + 1);
			goto out;
		}
		/* empty lines match nothing and may be many */
		if (line_len > 0 && json_object_getn(v.ids, line, line_len)) {
			rt_fail(err, RT_INVALID, "'%.*s' stands there twice, line %zu is the second",
				line_len > 60 ? 60 : (int)line_len, line, id + 1);
			goto out;
		}
		if (json_object_setn_new(v.ids, line, line_len, json_integer((json_int_t)id)) < 0) {
			no_memory(err);
			goto out;
		}
	}
	if (json_object_size(v.ids) == 0) {
		rt_fail(err, RT_INVALID, "there are no tokens");
		goto out;
	}
	v.size = json_object_size(v.ids);
	v.model =
		json_pack("{s:s, s:s%, s:s, s:i, s:O}", "type", "WordPiece", "unk_token", unk, unk_len,
			  "continuing_subword_prefix", "##", "max_input_chars_per_word", 100, "vocab", v.ids);
	if (!v.model) {
		no_memory(err);
		goto out;
	}
	*ret = v;
	v = (struct rt_legacy_vocab){ 0 };
	rc = 0;
out:
	rt_legacy_vocab_release(&v);
	return rc;
}

int rt_legacy_bpe(json_t *vocab, const char *merges, size_t len, struct rt_legacy_vocab *ret,
		  struct rt_err *err)
{
	struct rt_legacy_vocab v = { 0 };
	json_t *list;
	size_t at = 0;

	if (!json_is_object(vocab))
		return rt_fail(err, RT_INVALID, "the vocabulary must be an object");
	if (check_utf8(merges, len, err) < 0)
		return -1;
	list = json_array();
	while (list && at < len) {
		const char *line = merges + at;
		size_t line_len = next_line(merges, len, &at);

		if (line_len == 0 && at == len)
			break; /* an empty last line */
		if (json_array_append_new(list, json_stringn(line, line_len)) < 0) {
			json_decref(list);
			list = NULL;
		}
	}
	v.model = list ? json_pack("{s:s, s:O, s:o}", "type", "BPE", "vocab", vocab, "merges", list) : NULL;
	if (!v.model)
		return no_memory(err);
	v.ids = json_incref(vocab);
	v.size = json_object_size(vocab);
	*ret = v;
	return 0;
}
