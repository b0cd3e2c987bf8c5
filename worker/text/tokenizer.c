/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "worker/text/component.h"
#include "worker/text/legacy.h"
#include "worker/text/parts.h"
#include "worker/text/unicode.h"

struct rt_tokenizer *rt_tokenizer_new(struct rt_err *err)
{
	struct rt_tokenizer *tok = calloc(1, sizeof *tok);

	if (!tok || rt_added_init(&tok->added, err) < 0) {
		rt_tokenizer_close(tok);
		rt_fail(err, RT_NO_MEMORY, "no memory for a tokenizer");
		return NULL;
	}
	tok->pad_id = -1;
	return tok;
}

void rt_tokenizer_close(struct rt_tokenizer *tok)
{
	if (!tok)
		return;
	rt_added_release(&tok->added);
	rt_normalizer_free(tok->normalizer);
	rt_pretokenizer_free(tok->pretokenizer);
	rt_postprocessor_free(tok->postprocessor);
	rt_wordmodel_free(tok->model);
	free(tok);
}

static int finish(struct rt_tokenizer *tok, struct rt_err *err)
{
	static const char *const pads[] = { "<pad>", "[PAD]" };
	int32_t special = rt_postprocessor_max_id(tok->postprocessor);

	tok->max_id =
		tok->model->vocab.max_id > tok->added.max_id ? tok->model->vocab.max_id : tok->added.max_id;
	tok->max_id = tok->max_id > special ? tok->max_id : special;
	for (size_t i = 0; i < sizeof pads / sizeof *pads && tok->pad_id < 0; i++)
		tok->pad_id = rt_tokenizer_token_to_id(tok, pads[i], strlen(pads[i]));
	tok->aligned = rt_pretokenizer_needs_base(tok->pretokenizer);
	return rt_fingerprint_make(tok, err);
}

int rt_tokenizer_read(struct rt_tokenizer *tok, const json_t *json, struct rt_err *err)
{
	const char *version = "1.0";

	if (!json_is_object(json))
		return rt_fail(err, RT_INVALID, "a tokenizer must be a JSON object");
	if (rt_json_get_str(json, "version", &version, err) < 0)
		return -1;
	if (strcmp(version, "1.0") != 0)
		return rt_fail(err, RT_UNSUPPORTED, "unknown version '%s'", version);
	if (!json_object_get(json, "model"))
		return rt_fail(err, RT_INVALID, "the tokenizer has no model");
	if (rt_component_check_parts(json_object_get(json, "normalizer"), "normalizer", err) < 0 ||
	    rt_component_check_parts(json_object_get(json, "pre_tokenizer"), "pre-tokenizer", err) < 0 ||
	    rt_component_check_parts(json_object_get(json, "post_processor"), "post-processor", err) < 0 ||
	    rt_normalizer_new(json_object_get(json, "normalizer"), &tok->normalizer, err) < 0 ||
	    rt_pretokenizer_new(json_object_get(json, "pre_tokenizer"), &tok->pretokenizer, err) < 0 ||
	    rt_postprocessor_new(json_object_get(json, "post_processor"), &tok->postprocessor, err) < 0 ||
	    rt_wordmodel_new(json_object_get(json, "model"), &tok->model, err) < 0 ||
	    rt_added_read(&tok->added, json_object_get(json, "added_tokens"), tok->model, tok->normalizer,
			  err) < 0)
		return -1;
	return finish(tok, err);
}

/* root is given. */
static int open_json(json_t *root, struct rt_tokenizer **ret, struct rt_err *err)
{
	struct rt_tokenizer *tok = root ? rt_tokenizer_new(err) : NULL;
	int rc = tok ? rt_tokenizer_read(tok, root, err) : -1;

	json_decref(root);
	if (rc < 0) {
		rt_tokenizer_close(tok);
		return -1;
	}
	*ret = tok;
	return 0;
}

int rt_tokenizer_open_memory(const void *json, size_t size, struct rt_tokenizer **ret, struct rt_err *err)
{
	return open_json(rt_json_parse(json, size, err), ret, err);
}

/* pad_token of tokenizer_config.json: a string, or an object with content. Its absence is fine. */
static int read_config(struct rt_tokenizer *tok, const char *dir, struct rt_err *err)
{
	char *path = rt_path_join(dir, "tokenizer_config.json");
	const json_t *pad;
	json_t *json;
	int rc = 0;

	if (!path)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a path");
	if (rt_file_exists(path)) {
		json = rt_json_read(path, RT_TOKENIZER_FILE_MAX, err);
		pad = json_object_get(json, "pad_token");
		if (json_is_object(pad))
			pad = json_object_get(pad, "content");
		if (json_is_string(pad))
			tok->pad_id = rt_tokenizer_token_to_id(tok, json_string_value(pad),
							       json_string_length(pad));
		rc = json ? 0 : -1;
		json_decref(json);
	}
	free(path);
	return rc;
}

static int open_file(const char *path, struct rt_tokenizer **ret, struct rt_err *err)
{
	struct rt_buf text = RT_BUF_INIT;
	int rc = rt_file_read(path, RT_TOKENIZER_FILE_MAX, &text, err);

	if (rc == 0 && rt_tokenizer_open_memory(rt_buf_text(&text), text.len, ret, err) < 0)
		rc = rt_fail_in(err, "%s", path);
	rt_buf_release(&text);
	return rc;
}

static int open_legacy(const char *dir, struct rt_tokenizer **ret, struct rt_err *err)
{
	json_t *json = NULL;

	if (rt_legacy_read(dir, &json, err) == 0 && open_json(json, ret, err) == 0)
		return 0;
	return rt_fail_in(err, "%s", dir);
}

int rt_tokenizer_open(const char *dir, struct rt_tokenizer **ret, struct rt_err *err)
{
	char *path = rt_path_join(dir, "tokenizer.json");
	struct rt_tokenizer *tok = NULL;
	int rc;

	if (!path)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a path");
	rc = rt_file_exists(path) ? open_file(path, &tok, err) : open_legacy(dir, &tok, err);
	free(path);
	if (rc < 0 || read_config(tok, dir, err) < 0) {
		rt_tokenizer_close(tok);
		return -1;
	}
	*ret = tok;
	return 0;
}

size_t rt_tokenizer_vocab_size(const struct rt_tokenizer *tok)
{
	return (size_t)(tok->max_id + 1);
}

size_t rt_tokenizer_special_count(const struct rt_tokenizer *tok, bool pair)
{
	return rt_postprocessor_added(tok->postprocessor, pair);
}

int32_t rt_tokenizer_pad_id(const struct rt_tokenizer *tok)
{
	return tok->pad_id;
}

int32_t rt_tokenizer_token_to_id(const struct rt_tokenizer *tok, const char *token, size_t len)
{
	int32_t found = rt_vocab_find(&tok->added.by_content, token, len);

	if (found >= 0)
		return tok->added.list[tok->added.by_content.entries[found].id].id;
	found = rt_vocab_find(&tok->model->vocab, token, len);
	return found >= 0 ? tok->model->vocab.entries[found].id : -1;
}

int32_t rt_tokenizer_unknown_id(const struct rt_tokenizer *tok)
{
	int32_t entry = tok->model->unk_entry;

	return entry < 0 ? -1 : tok->model->vocab.entries[entry].id;
}
