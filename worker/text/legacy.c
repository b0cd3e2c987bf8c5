/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/legacy.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "worker/text/legacy_spm.h"
#include "worker/text/legacy_tokens.h"
#include "worker/text/legacy_vocab.h"
#include "worker/text/tokenizer.h"

#define QWEN2_SPLIT                                                                                          \
	"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"  \
	"\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* What a family's class in transformers does when no file says otherwise. */
static const struct family {
	const char *classes[4], *model_types[4];
	const char *files[2]; /* all of them must be there */
	enum kind { BERT, BYTES, QWEN2, SPM } kind;
	enum rt_spm_family spm;
	struct rt_role_defaults roles;
} families[] = {
	{ .classes = { "BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer" },
	  .model_types = { "bert", "distilbert", "electra" },
	  .files = { "vocab.txt" },
	  .kind = BERT,
	  .roles = { .tokens = { NULL, NULL, "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]" },
		     .frame = RT_FRAME_BERT } },
	{ .classes = { "MPNetTokenizer" },
	  .model_types = { "mpnet" },
	  .files = { "vocab.txt" },
	  .kind = BERT,
	  .roles = { .tokens = { "<s>", "</s>", "[UNK]", "</s>", "<pad>", "<s>", "<mask>" },
		     .mask_lstrip = true,
		     .frame = RT_FRAME_ROBERTA } },
	{ .classes = { "RobertaTokenizer" },
	  .model_types = { "roberta" },
	  .files = { "vocab.json", "merges.txt" },
	  .kind = BYTES,
	  .roles = { .tokens = { "<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>" },
		     .mask_lstrip = true,
		     .normalized = { true, true, true, true, true, true, false },
		     .frame = RT_FRAME_ROBERTA } },
	{ .classes = { "GPT2Tokenizer" },
	  .model_types = { "gpt2" },
	  .files = { "vocab.json", "merges.txt" },
	  .kind = BYTES,
	  .roles = { .tokens = { "<|endoftext|>", "<|endoftext|>", "<|endoftext|>" },
		     .normalized = { true, true, true } } },
	{ .classes = { "Qwen2Tokenizer" },
	  .model_types = { "qwen2" },
	  .files = { "vocab.json", "merges.txt" },
	  .kind = QWEN2,
	  .roles = { .tokens = { [RT_EOS] = "<|endoftext|>",
				 [RT_UNK] = "<|endoftext|>",
				 [RT_PAD] = "<|endoftext|>" } } },
	{ .classes = { "XLMRobertaTokenizer" },
	  .model_types = { "xlm-roberta" },
	  .files = { "sentencepiece.bpe.model" },
	  .kind = SPM,
	  .spm = RT_SPM_XLMR,
	  .roles = { .tokens = { "<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>" },
		     .mask_lstrip = true,
		     .frame = RT_FRAME_XLMR } },
	{ .classes = { "AlbertTokenizer" },
	  .model_types = { "albert" },
	  .files = { "spiece.model" },
	  .kind = SPM,
	  .spm = RT_SPM_ALBERT,
	  .roles = { .tokens = { "[CLS]", "[SEP]", "<unk>", "[SEP]", "<pad>", "[CLS]", "[MASK]" },
		     .mask_lstrip = true,
		     .frame = RT_FRAME_BERT } },
	{ .classes = { "DebertaV2Tokenizer" },
	  .model_types = { "deberta-v2" },
	  .files = { "spm.model" },
	  .kind = SPM,
	  .spm = RT_SPM_DEBERTA,
	  .roles = { .tokens = { "[CLS]", "[SEP]", "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]" },
		     .normalized = { [RT_UNK] = true },
		     .frame = RT_FRAME_BERT } },
};
enum { FAMILIES = sizeof families / sizeof *families };

struct legacy {
	const char *dir;
	const struct family *family;
	json_t *config; /* tokenizer_config.json; an empty object when there is none */
	struct rt_legacy_vocab vocab;
	struct rt_legacy_tokens tokens;
	json_t *normalizer, *pretokenizer; /* once they are known; new */
};

static int no_memory(struct rt_err *err)
{
	return rt_fail(err, RT_NO_MEMORY, "no memory for a tokenizer");
}

static bool has_files(const struct legacy *l, const struct family *f)
{
	bool all = true;

	for (size_t i = 0; i < 2 && f->files[i] && all; i++) {
		char *path = rt_path_join(l->dir, f->files[i]);

		all = path && rt_file_exists(path);
		free(path);
	}
	return all;
}

static bool is_one_of(const char *const names[4], const char *name, size_t len)
{
	for (size_t i = 0; i < 4 && names[i]; i++)
		if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
			return true;
	return false;
}

/* Classes that stand for any tokenizer.json and so for no family. */
static bool says_nothing(const char *name)
{
	return strcmp(name, "PreTrainedTokenizerFast") == 0 || strcmp(name, "PreTrainedTokenizer") == 0 ||
	       strcmp(name, "TokenizersBackend") == 0;
}

static int choose_by_class(struct legacy *l, const char *name, struct rt_err *err)
{
	size_t len = strlen(name);

	if (len > 4 && strcmp(name + len - 4, "Fast") == 0)
		len -= 4;
	for (size_t i = 0; i < FAMILIES && !l->family; i++)
		if (is_one_of(families[i].classes, name, len))
			l->family = &families[i];
	if (!l->family)
		return rt_fail(
			err, RT_UNSUPPORTED,
			"there is no tokenizer.json, and the older files of tokenizer_class '%.80s' are "
			"not supported",
			name);
	if (has_files(l, l->family))
		return 0;
	return rt_fail(
		err, RT_NOT_FOUND,
		"there is no tokenizer: looked for tokenizer.json and, for tokenizer_class '%s', %s%s%s",
		name, l->family->files[0], l->family->files[1] ? " with " : "",
		l->family->files[1] ? l->family->files[1] : "");
}

static int choose_family(struct legacy *l, const json_t *model_config, struct rt_err *err)
{
	const char *name = NULL, *type = NULL;
	struct rt_buf looked = RT_BUF_INIT;

	if (rt_json_get_str(l->config, "tokenizer_class", &name, err) < 0 ||
	    (!name && rt_json_get_str(model_config, "tokenizer_class", &name, err) < 0) ||
	    rt_json_get_str(model_config, "model_type", &type, err) < 0)
		return -1;
	if (name && !says_nothing(name))
		return choose_by_class(l, name, err);
	for (size_t i = 0; i < FAMILIES && type && !l->family; i++)
		if (is_one_of(families[i].model_types, type, strlen(type)) && has_files(l, &families[i]))
			l->family = &families[i];
	for (size_t i = 0; i < FAMILIES && !l->family; i++)
		if (has_files(l, &families[i]))
			l->family = &families[i];
	if (l->family)
		return 0;
	for (size_t i = 0; i < FAMILIES; i++)
		if (i == 0 || strcmp(families[i].files[0], families[i - 1].files[0]) != 0)
			rt_buf_fmt(&looked, ", %s%s%s", families[i].files[0],
				   families[i].files[1] ? " with " : "",
				   families[i].files[1] ? families[i].files[1] : "");
	rt_fail(err, RT_NOT_FOUND, "there is no tokenizer: looked for tokenizer.json%s (tokenizer_class: %s)",
		rt_buf_text(&looked), name ? name : "none");
	rt_buf_release(&looked);
	return -1;
}

static int read_text(const struct legacy *l, const char *name, struct rt_buf *out, struct rt_err *err)
{
	char *path = rt_path_join(l->dir, name);
	int rc = path ? rt_file_read(path, RT_TOKENIZER_FILE_MAX, out, err) : no_memory(err);

	free(path);
	return rc;
}

static int read_spm(struct legacy *l, struct rt_err *err)
{
	struct rt_buf bytes = RT_BUF_INIT;
	struct rt_legacy_spm spm = { .normalizer = NULL };
	int rc = read_text(l, l->family->files[0], &bytes, err);

	if (rc == 0) {
		rc = rt_legacy_spm(l->family->spm, &l->tokens, rt_buf_text(&bytes), bytes.len, &spm, err);
		if (rc < 0)
			rt_fail_in(err, "%s", l->family->files[0]);
	}
	rt_buf_release(&bytes);
	if (rc < 0)
		return -1;
	l->vocab = spm.vocab;
	l->normalizer = spm.normalizer;
	l->pretokenizer = spm.pretokenizer;
	return 0;
}

static int read_vocab(struct legacy *l, struct rt_err *err)
{
	struct rt_buf text = RT_BUF_INIT;
	json_t *vocab = NULL;
	const char *unk;
	size_t unk_len;
	int rc = -1;

	if (l->family->kind == SPM)
		return read_spm(l, err);
	rt_legacy_role(&l->tokens, RT_UNK, &unk, &unk_len);
	if (l->family->kind == BERT) {
		if (!unk) {
			rt_fail(err, RT_INVALID, "unk_token must not be null");
		} else if (read_text(l, "vocab.txt", &text, err) == 0) {
			rc = rt_legacy_wordpiece(rt_buf_text(&text), text.len, unk, unk_len, &l->vocab, err);
			if (rc < 0)
				rt_fail_in(err, "vocab.txt");
		}
	} else if (rt_legacy_object(l->dir, "vocab.json", &vocab, err) == 0 &&
		   read_text(l, "merges.txt", &text, err) == 0) {
		rc = rt_legacy_bpe(vocab, rt_buf_text(&text), text.len, &l->vocab, err);
		if (rc < 0)
			rt_fail_in(err, "merges.txt");
	}
	rt_buf_release(&text);
	json_decref(vocab);
	return rc;
}

/* An option of the configuration, which may be missing or null. */
static int get_bool(const struct legacy *l, const char *key, bool otherwise, bool *ret, struct rt_err *err)
{
	*ret = otherwise;
	return rt_json_get_bool(l->config, key, ret, err);
}

static int refuse(const struct legacy *l, const char *key, bool value, struct rt_err *err)
{
	bool is = !value;

	if (get_bool(l, key, !value, &is, err) < 0)
		return -1;
	return is == value ? rt_fail(err, RT_UNSUPPORTED, "%s %s is not supported without tokenizer.json",
				     key, value ? "true" : "false")
			   : 0;
}

static int bert_parts(struct legacy *l, struct rt_err *err)
{
	bool lower, chinese, strip;
	const json_t *accents = json_object_get(l->config, "strip_accents");

	if (refuse(l, "do_basic_tokenize", false, err) < 0 ||
	    get_bool(l, "do_lower_case", true, &lower, err) < 0 ||
	    get_bool(l, "tokenize_chinese_chars", true, &chinese, err) < 0 ||
	    get_bool(l, "strip_accents", false, &strip, err) < 0)
		return -1;
	l->normalizer =
		json_pack("{s:s, s:b, s:b, s:o, s:b}", "type", "BertNormalizer", "clean_text", 1,
			  "handle_chinese_chars", chinese, "strip_accents",
			  json_is_boolean(accents) ? json_boolean(strip) : json_null(), "lowercase", lower);
	l->pretokenizer = json_pack("{s:s}", "type", "BertPreTokenizer");
	return l->normalizer && l->pretokenizer ? 0 : no_memory(err);
}

static json_t *byte_level(bool prefix_space, bool trim, bool regex)
{
	return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", prefix_space,
			 "trim_offsets", trim, "use_regex", regex);
}

static int byte_parts(struct legacy *l, struct rt_err *err)
{
	bool space;

	if (refuse(l, "add_bos_token", true, err) < 0 ||
	    get_bool(l, "add_prefix_space", false, &space, err) < 0)
		return -1;
	if (l->family->kind == QWEN2) {
		l->normalizer = json_pack("{s:s}", "type", "NFC");
		l->pretokenizer =
			json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence",
				  "pretokenizers", "type", "Split", "pattern", "Regex", QWEN2_SPLIT,
				  "behavior", "Isolated", "invert", 0, byte_level(space, false, false));
	} else {
		l->normalizer = json_null();
		l->pretokenizer = byte_level(space, true, true);
	}
	return l->normalizer && l->pretokenizer ? 0 : no_memory(err);
}

/* All of the tokenizer, from its parts. */
static int build(struct legacy *l, json_t **ret, struct rt_err *err)
{
	enum kind kind = l->family->kind;
	json_t *post;
	bool space, trim, bytes = l->family->kind == BYTES;

	if (get_bool(l, "add_prefix_space", false, &space, err) < 0 ||
	    get_bool(l, "trim_offsets", true, &trim, err) < 0)
		return -1;
	if (kind != SPM && (kind == BERT ? bert_parts(l, err) : byte_parts(l, err)) < 0)
		return -1;
	post = l->family->roles.frame == RT_FRAME_NONE /* as published: it does nothing */
		       ? byte_level(bytes, false, bytes)
		       : rt_legacy_frame(&l->tokens, bytes && trim, bytes && space);
	*ret = json_pack("{s:s, s:O, s:O, s:O, s:o, s:O}", "version", "1.0", "added_tokens", l->tokens.added,
			 "normalizer", l->normalizer, "pre_tokenizer", l->pretokenizer, "post_processor",
			 post, "model", l->vocab.model);
	return *ret ? 0 : no_memory(err);
}

int rt_legacy_read(const char *dir, json_t **ret, struct rt_err *err)
{
	struct legacy l = { .dir = dir };
	json_t *model_config = NULL, *json = NULL;
	int rc = -1;

	if (rt_legacy_object(dir, "tokenizer_config.json", &l.config, err) < 0 ||
	    rt_legacy_object(dir, "config.json", &model_config, err) < 0)
		goto out;
	if (!l.config && !(l.config = json_object())) {
		no_memory(err);
		goto out;
	}
	if (choose_family(&l, model_config, err) < 0 ||
	    rt_legacy_tokens_init(&l.tokens, dir, l.config, &l.family->roles, err) < 0 ||
	    read_vocab(&l, err) < 0 || rt_legacy_tokens_add(&l.tokens, dir, &l.vocab, err) < 0 ||
	    build(&l, &json, err) < 0)
		goto out;
	*ret = json;
	rc = 0;
out:
	rt_legacy_tokens_release(&l.tokens);
	rt_legacy_vocab_release(&l.vocab);
	json_decref(l.normalizer);
	json_decref(l.pretokenizer);
	json_decref(l.config);
	json_decref(model_config);
	return rc;
}
