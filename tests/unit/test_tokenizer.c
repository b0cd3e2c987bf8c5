/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "worker/text/byte_level.h"
#include "worker/text/regex.h"
#include "worker/text/tokenizer.h"
#include "worker/text/unicode.h"

#define WORDS                                                                                                \
	"\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"u\",\"vocab\":{\"u\":0,\"a\":1,\"b\":2,\"c\":5}}"

static struct rt_tokenizer *open_json(const char *json)
{
	struct rt_tokenizer *tok = NULL;
	struct rt_err err = RT_ERR_INIT;

	if (rt_tokenizer_open_memory(json, strlen(json), &tok, &err) < 0)
		print_message("%s\n", err.msg);
	assert_non_null(tok);
	return tok;
}

static void bad_files_are_refused_by_name(void **state)
{
	static const struct {
		const char *name, *json;
		enum rt_code code;
		const char *part; /* of the message */
	} rows[] = {
		{ "not JSON", "{", RT_INVALID, "not valid JSON" },
		{ "not an object", "[]", RT_INVALID, "must be a JSON object" },
		{ "no model", "{}", RT_INVALID, "has no model" },
		{ "version", "{\"version\":\"2.0\"," WORDS "}", RT_UNSUPPORTED, "'2.0'" },
		{ "unknown normalizer", "{\"normalizer\":{\"type\":\"Nope\"}," WORDS "}", RT_UNSUPPORTED,
		  "unknown normalizer 'Nope'" },
		{ "unknown pre-tokenizer", "{\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}," WORDS "}",
		  RT_UNSUPPORTED, "unknown pre-tokenizer 'UnicodeScripts'" },
		{ "unknown inside a sequence",
		  "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":"
		  "\"X\"}]}," WORDS "}",
		  RT_UNSUPPORTED, "unknown normalizer 'X'" },
		{ "unknown post-processor", "{\"post_processor\":{\"type\":\"P\"}," WORDS "}", RT_UNSUPPORTED,
		  "unknown post-processor 'P'" },
		{ "a template that uses a text twice",
		  "{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":"
		  "\"A\"}},{"
		  "\"Sequence\":{\"id\":\"A\"}}],\"pair\":[],\"special_tokens\":{}}," WORDS "}",
		  RT_UNSUPPORTED, "single uses a text twice" },
		{ "a place that is two things",
		  "{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":"
		  "\"A\"},"
		  "\"SpecialToken\":{\"id\":\"u\"}}],\"pair\":[],\"special_tokens\":{}}," WORDS "}",
		  RT_INVALID, "must be a Sequence or a SpecialToken" },
		{ "special tokens from two post-processors",
		  "{\"post_processor\":{\"type\":\"Sequence\",\"processors\":["
		  "{\"type\":\"BertProcessing\",\"sep\":[\"a\",1],\"cls\":[\"b\",2]},"
		  "{\"type\":\"RobertaProcessing\",\"sep\":[\"a\",1],\"cls\":[\"b\",2]}]}," WORDS "}",
		  RT_UNSUPPORTED, "special tokens are added twice" },
		{ "unknown model", "{\"model\":{\"type\":\"M\",\"vocab\":{}}}", RT_UNSUPPORTED,
		  "unknown model 'M'" },
		{ "wrong type", "{\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":1}," WORDS "}",
		  RT_INVALID, "normalizer BertNormalizer: lowercase must be true or false" },
		{ "id too large", "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":10000001}}}",
		  RT_INVALID, "the id of 'a'" },
		{ "id negative", "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":-1}}}", RT_INVALID,
		  "the id of 'a'" },
		{ "id twice", "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":1,\"b\":1}}}", RT_INVALID,
		  "id 1 twice" },
		{ "merge of unknown",
		  "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", RT_INVALID,
		  "merge 0 needs the token 'b'" },
		{ "merge into unknown",
		  "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[[\"a\",\"b\"]]}}",
		  RT_INVALID, "merge 0 needs the token 'ab'" },
		{ "merge of three",
		  "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a a a\"]}}", RT_INVALID,
		  "merge 0 must be" },
		{ "dropout",
		  "{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}}",
		  RT_UNSUPPORTED, "dropout" },
		{ "unk_id", "{\"model\":{\"type\":\"Unigram\",\"unk_id\":3,\"vocab\":[[\"a\",0]]}}",
		  RT_INVALID, "unk_id is 3" },
		{ "Unigram entry", "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", RT_INVALID,
		  "entry 0" },
		{ "regex",
		  "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":"
		  "\"Isolated\"}," WORDS "}",
		  RT_INVALID, "pre-tokenizer Split: the regular expression '('" },
		{ "charsmap lies",
		  "{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"}," WORDS
		  "}",
		  RT_INVALID, "does not fit" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_tokenizer *tok = NULL;
		struct rt_err err = RT_ERR_INIT;

		print_message("%s\n", rows[i].name);
		assert_int_equal(rt_tokenizer_open_memory(rows[i].json, strlen(rows[i].json), &tok, &err),
				 -1);
		if (!strstr(err.msg, rows[i].part))
			print_message("  said: %s\n", err.msg);
		assert_non_null(strstr(err.msg, rows[i].part));
		assert_int_equal(err.code, rows[i].code);
		assert_null(tok);
	}
}

static void a_missing_folder_is_not_found(void **state)
{
	struct rt_tokenizer *tok = NULL;
	struct rt_err err = RT_ERR_INIT;

	(void)state;
	assert_int_equal(rt_tokenizer_open("/nonexistent", &tok, &err), -1);
	assert_int_equal(err.code, RT_NOT_FOUND);
}

struct legacy_file {
	const char *name, *text;
	size_t size; /* 0: text is a C string */
};
enum { LEGACY_FILES = 4 };

/* Opens a new folder that holds the files, which end with the first that has no name. */
static int open_files(const struct legacy_file *files, struct rt_tokenizer **ret, struct rt_err *err)
{
	char dir[] = "/tmp/rt-tokenizer-XXXXXX";
	int rc;

	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < LEGACY_FILES && files[i].name; i++) {
		char *path = rt_path_join(dir, files[i].name);
		size_t size = files[i].size ? files[i].size : strlen(files[i].text);

		assert_int_equal(rt_file_write(path, files[i].text, size, err), 0);
		free(path);
	}
	rc = rt_tokenizer_open(dir, ret, err);
	assert_int_equal(rt_dir_remove(dir, NULL), 0);
	return rc;
}

static void bad_legacy_files_are_refused(void **state)
{
	static const struct {
		const char *name;
		struct legacy_file files[LEGACY_FILES];
		enum rt_code code;
		const char *part; /* of the message */
	} rows[] = {
		{ "none",
		  { { "config.json", "{\"model_type\":\"bert\"}", 0 } },
		  RT_NOT_FOUND,
		  "looked for tokenizer.json, vocab.txt, vocab.json with merges.txt" },
		{ "none for the class",
		  { { "tokenizer_config.json", "{\"tokenizer_class\":\"RobertaTokenizerFast\"}", 0 },
		    { "vocab.json", "{}", 0 } },
		  RT_NOT_FOUND,
		  "for tokenizer_class 'RobertaTokenizerFast', vocab.json with merges.txt" },
		{ "unknown class",
		  { { "tokenizer_config.json", "{\"tokenizer_class\":\"MyTokenizer\"}", 0 },
		    { "vocab.txt", "a\n", 0 } },
		  RT_UNSUPPORTED,
		  "tokenizer_class 'MyTokenizer'" },
		{ "class of no string",
		  { { "tokenizer_config.json", "{\"tokenizer_class\":1}", 0 } },
		  RT_INVALID,
		  "tokenizer_class must be" },
		{ "config of no object",
		  { { "tokenizer_config.json", "[]", 0 }, { "vocab.txt", "a\n", 0 } },
		  RT_INVALID,
		  "tokenizer_config.json: must be an object" },
		{ "token twice",
		  { { "vocab.txt", "[CLS]\n[SEP]\na\nb\r\na\n", 0 } },
		  RT_INVALID,
		  "vocab.txt: 'a' stands there twice, line 5 is the second" },
		{ "empty vocab.txt",
		  { { "vocab.txt", "", 0 } },
		  RT_INVALID,
		  "vocab.txt: there are no tokens" },
		{ "vocab.txt not UTF-8",
		  { { "vocab.txt", "[CLS]\n[SEP]\n\xff\n", 0 } },
		  RT_INVALID,
		  "vocab.txt: the text is not UTF-8 at byte 12" },
		{ "no [CLS]",
		  { { "vocab.txt", "a\n[SEP]\n", 0 } },
		  RT_INVALID,
		  "the vocabulary has no cls_token '[CLS]'" },
		{ "sep_token null",
		  { { "vocab.txt", "[CLS]\n[SEP]\n", 0 },
		    { "tokenizer_config.json", "{\"sep_token\":null}", 0 } },
		  RT_INVALID,
		  "sep_token must not be null" },
		{ "sep_token a number",
		  { { "vocab.txt", "[CLS]\n[SEP]\n", 0 },
		    { "tokenizer_config.json", "{\"sep_token\":7}", 0 } },
		  RT_INVALID,
		  "sep_token must be a string" },
		{ "do_lower_case a number",
		  { { "vocab.txt", "[CLS]\n[SEP]\n", 0 },
		    { "tokenizer_config.json", "{\"do_lower_case\":1}", 0 } },
		  RT_INVALID,
		  "do_lower_case must be true or false" },
		{ "do_basic_tokenize false",
		  { { "vocab.txt", "[CLS]\n[SEP]\n", 0 },
		    { "tokenizer_config.json", "{\"do_basic_tokenize\":false}", 0 } },
		  RT_UNSUPPORTED,
		  "do_basic_tokenize false" },
		{ "another id",
		  { { "vocab.txt", "[CLS]\n[SEP]\n", 0 },
		    { "tokenizer_config.json", "{\"added_tokens_decoder\":{\"9\":{\"content\":\"x\"}}}",
		      0 } },
		  RT_INVALID,
		  "added token 'x' has the id 9, but the vocabulary makes it 2" },
		{ "id of no number",
		  { { "vocab.txt", "[CLS]\n[SEP]\n", 0 },
		    { "tokenizer_config.json", "{\"added_tokens_decoder\":{\"2x\":{\"content\":\"x\"}}}",
		      0 } },
		  RT_INVALID,
		  "'2x' is no id" },
		{ "added token of no object",
		  { { "vocab.txt", "[CLS]\n[SEP]\n", 0 },
		    { "tokenizer_config.json", "{\"added_tokens_decoder\":{\"2\":\"x\"}}", 0 } },
		  RT_INVALID,
		  "added_tokens_decoder: 2 must be an object" },
		{ "added_tokens.json",
		  { { "vocab.txt", "[CLS]\n[SEP]\n", 0 }, { "added_tokens.json", "{\"x\":-1}", 0 } },
		  RT_INVALID,
		  "added_tokens.json: the id of 'x'" },
		{ "merge of unknown",
		  { { "vocab.json", "{\"<s>\":0,\"</s>\":1,\"a\":2}", 0 },
		    { "merges.txt", "#version: 0.2\na b\n", 0 } },
		  RT_INVALID,
		  "merge 0 needs the token 'b'" },
		{ "merge of three",
		  { { "vocab.json", "{\"<s>\":0,\"</s>\":1,\"a\":2}", 0 }, { "merges.txt", "a a a\n", 0 } },
		  RT_INVALID,
		  "merge 0 must be" },
		{ "merges not UTF-8",
		  { { "vocab.json", "{\"<s>\":0,\"</s>\":1,\"a\":2}", 0 }, { "merges.txt", "a\xe4 a\n", 0 } },
		  RT_INVALID,
		  "merges.txt: the text is not UTF-8 at byte 1" },
		{ "token twice in vocab.json",
		  { { "vocab.json", "{\"a\":0,\"a\":1}", 0 }, { "merges.txt", "", 0 } },
		  RT_INVALID,
		  "vocab.json: " },
		{ "id twice in vocab.json",
		  { { "vocab.json", "{\"<s>\":0,\"</s>\":0}", 0 }, { "merges.txt", "", 0 } },
		  RT_INVALID,
		  "the id 0 twice" },
		{ "id of no number in vocab.json",
		  { { "vocab.json", "{\"<s>\":\"0\",\"</s>\":1}", 0 }, { "merges.txt", "", 0 } },
		  RT_INVALID,
		  "the id of '<s>'" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_tokenizer *tok = NULL;
		struct rt_err err = RT_ERR_INIT;

		print_message("%s\n", rows[i].name);
		assert_int_equal(open_files(rows[i].files, &tok, &err), -1);
		if (!strstr(err.msg, rows[i].part))
			print_message("  said: %s\n", err.msg);
		assert_non_null(strstr(err.msg, rows[i].part));
		assert_int_equal(err.code, rows[i].code);
		assert_null(tok);
	}
}

static void legacy_files_say_what_they_are(void **state)
{
	static const struct {
		const char *name;
		struct legacy_file files[LEGACY_FILES];
		const char *text;
		int32_t ids[8], n;
	} rows[] = {
		{ "BERT by its file, lower case",
		  { { "vocab.txt", "[PAD]\n[UNK]\r\n[CLS]\n[SEP]\na\n##b", 0 } },
		  "AB [MASK] c",
		  { 2, 4, 5, 6, 1, 3 },
		  6 },
		{ "BERT cased",
		  { { "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##b\n", 0 },
		    { "tokenizer_config.json", "{\"do_lower_case\":false}", 0 } },
		  "AB ab",
		  { 2, 1, 4, 5, 3 },
		  5 },
		{ "MPNet by model_type",
		  { { "vocab.txt", "<s>\n<pad>\n</s>\n[UNK]\na\n", 0 },
		    { "config.json", "{\"model_type\":\"mpnet\"}", 0 } },
		  "a",
		  { 0, 4, 2 },
		  3 },
		{ "tokenizer_class of config.json before model_type",
		  { { "vocab.txt", "<s>\n<pad>\n</s>\n[UNK]\na\n", 0 },
		    { "config.json", "{\"model_type\":\"bert\",\"tokenizer_class\":\"MPNetTokenizerFast\"}",
		      0 } },
		  "a",
		  { 0, 4, 2 },
		  3 },
		{ "a model_type whose files are not there",
		  { { "vocab.json", "{\"<s>\":0,\"</s>\":1,\"a\":2,\"b\":3,\"ab\":4}", 0 },
		    { "merges.txt", "#version: 0.2\r\na b\r\n\r\n", 0 },
		    { "config.json", "{\"model_type\":\"bert\"}", 0 } },
		  "abb",
		  { 0, 4, 3, 1 },
		  4 },
		{ "RoBERTa with a space put first",
		  { { "vocab.json", "{\"<s>\":0,\"</s>\":1,\"a\":2,\"\xc4\xa0\":3}", 0 },
		    { "merges.txt", "", 0 },
		    { "tokenizer_config.json", "{\"add_prefix_space\":true}", 0 } },
		  "a",
		  { 0, 3, 2, 1 },
		  4 },
		{ "special_tokens_map.json and added_tokens.json",
		  { { "vocab.txt", "[UNK]\n<c>\n<d>\na\n", 0 },
		    { "special_tokens_map.json",
		      "{\"cls_token\":\"<c>\",\"sep_token\":{\"content\":\"<d>\"},\"pad_token\":\"y\","
		      "\"mask_token\":null}",
		      0 },
		    { "added_tokens.json", "{\"y\":5,\"X\":4}", 0 } },
		  "ax y [MASK]", /* X matches the text in lower case, y as it is */
		  { 1, 3, 4, 5, 0, 0, 0, 2 },
		  8 },
		{ "added_tokens_decoder",
		  { { "vocab.txt", "[UNK]\n[CLS]\n[SEP]\na\n", 0 },
		    { "tokenizer_config.json",
		      "{\"added_tokens_decoder\":{\"10\":{\"content\":\"z10\"},\"9\":{\"content\":\"z9\"},"
		      "\"4\":{\"content\":\"z4\"},\"5\":{\"content\":\"z5\"},\"6\":{\"content\":\"z6\"},"
		      "\"7\":{\"content\":\"z7\"},\"8\":{\"content\":\"z8\"}}}",
		      0 },
		    { "added_tokens.json", "{\"a\":77}", 0 } },
		  "az10az9",
		  { 1, 3, 10, 3, 9, 2 },
		  6 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_tokenizer *tok = NULL;
		struct rt_encoding e = { 0 };
		struct rt_err err = RT_ERR_INIT;

		print_message("%s\n", rows[i].name);
		if (open_files(rows[i].files, &tok, &err) < 0)
			print_message("  said: %s\n", err.msg);
		assert_non_null(tok);
		assert_int_equal(
			rt_tokenizer_encode(tok, rows[i].text, strlen(rows[i].text), NULL, 0, 0, &e, &err),
			0);
		for (size_t k = 0; k < e.n; k++)
			print_message("  %d", (int)e.ids[k]);
		print_message("\n");
		assert_int_equal(e.n, rows[i].n);
		assert_memory_equal(e.ids, rows[i].ids, e.n * sizeof *e.ids);
		rt_encoding_release(&e);
		rt_tokenizer_close(tok);
	}
}

static void facts_are_told(void **state)
{
	struct rt_tokenizer *tok =
		open_json("{\"added_tokens\":[{\"id\":4,\"content\":\"[PAD]\",\"special\":true}]," WORDS "}");
	struct rt_tokenizer *same =
		open_json("{" WORDS ",\"truncation\":{\"max_length\":3},\"added_tokens\":[{\"id\":4,"
			  "\"special\":false,\"content\":\"[PAD]\"}]}");
	struct rt_tokenizer *other = open_json("{" WORDS "}");

	(void)state;
	assert_int_equal(rt_tokenizer_vocab_size(tok), 6);
	assert_int_equal(rt_tokenizer_pad_id(tok), 4); /* numbered on from the vocabulary's four entries */
	assert_int_equal(rt_tokenizer_pad_id(other), -1);
	assert_int_equal(rt_tokenizer_token_to_id(tok, "c", 1), 5);
	assert_int_equal(rt_tokenizer_token_to_id(tok, "d", 1), -1);
	assert_string_equal(rt_tokenizer_fingerprint(tok), rt_tokenizer_fingerprint(same));
	assert_string_not_equal(rt_tokenizer_fingerprint(tok), rt_tokenizer_fingerprint(other));
	rt_tokenizer_close(tok);
	rt_tokenizer_close(same);
	rt_tokenizer_close(other);
}

#define SPECIALS                                                                                             \
	"\"special_tokens\":{\"u\":{\"id\":\"u\",\"ids\":[0],\"tokens\":[\"u\"]},\"c\":{\"id\":\"c\","       \
	"\"ids\":[5],"                                                                                       \
	"\"tokens\":[\"c\"]}}"
#define PLACE(kind, id, type) "{\"" kind "\":{\"id\":\"" id "\",\"type_id\":" type "}}"

static void parts_are_compared_by_what_they_do(void **state)
{
	static const struct {
		const char *name, *a, *b;
		int differs; /* the part, or -1 */
	} rows[] = {
		{ "key order, defaults", "\"normalizer\":{\"type\":\"Strip\"}",
		  "\"normalizer\":{\"strip_right\":true,\"strip_left\":true,\"type\":\"Strip\"}", -1 },
		{ "a sequence of one",
		  "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}]}",
		  "\"normalizer\":{\"type\":\"NFC\"}", -1 },
		{ "strip_accents null", "\"normalizer\":{\"type\":\"BertNormalizer\",\"strip_accents\":null}",
		  "\"normalizer\":{\"type\":\"BertNormalizer\",\"strip_accents\":true,\"lowercase\":true}",
		  -1 },
		{ "a map of nothing",
		  "\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"\"}",
		  "\"normalizer\":null", -1 },
		{ "Metaspace's older spelling",
		  "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"add_prefix_space\":false}",
		  "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"never\",\"split\":true}",
		  -1 },
		{ "offsets alone", "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"trim_offsets\":false}",
		  "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"trim_offsets\":true}", -1 },
		{ "BertProcessing and its template",
		  "\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"u\",0],\"sep\":[\"c\",5]}",
		  "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[" PLACE("SpecialToken", "u", "0") "," PLACE(
			  "Sequence", "A",
			  "0") "," PLACE("SpecialToken", "c",
					 "0") "],\"pair\":[" PLACE("SpecialToken", "u",
								   "0") "," PLACE("Sequence", "A",
										  "0") "," PLACE("SpecialToke"
												 "n",
												 "c",
												 "0") "," PLACE("Sequence",
														"B",
														"1") "," PLACE("SpecialToken",
															       "c",
															       "1") "]," SPECIALS
																    "}",
		  -1 },
		{ "RobertaProcessing is not BertProcessing",
		  "\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"u\",0],\"sep\":[\"c\",5]}",
		  "\"post_processor\":{\"type\":\"RobertaProcessing\",\"cls\":[\"u\",0],\"sep\":[\"c\",5]}",
		  RT_TOKENIZER_POSTPROCESSOR },
		{ "no post-processor and one for offsets", "\"post_processor\":null",
		  "\"post_processor\":{\"type\":\"ByteLevel\"}", -1 },
		{ "another pattern",
		  "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"b\"}",
		  "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a\"},\"content\":\"b\"}",
		  RT_TOKENIZER_NORMALIZER },
		{ "another behaviour",
		  "\"pre_tokenizer\":{\"type\":\"Punctuation\",\"behavior\":\"Removed\"}",
		  "\"pre_tokenizer\":{\"type\":\"Punctuation\"}", RT_TOKENIZER_PRETOKENIZER },
		{ "a flag of an added token",
		  "\"added_tokens\":[{\"id\":1,\"content\":\"a\",\"lstrip\":true}]",
		  "\"added_tokens\":[{\"id\":1,\"content\":\"a\"}]", RT_TOKENIZER_ADDED },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_buf text = RT_BUF_INIT;
		struct rt_tokenizer *a, *b;

		print_message("%s\n", rows[i].name);
		rt_buf_fmt(&text, "{%s,%s}", rows[i].a, WORDS);
		a = open_json(text.data);
		rt_buf_clear(&text);
		rt_buf_fmt(&text, "{%s,%s}", WORDS, rows[i].b);
		b = open_json(text.data);
		rt_buf_release(&text);
		for (int part = 0; part < RT_TOKENIZER_PARTS; part++)
			assert_int_equal(rt_tokenizer_same_part(a, b, (enum rt_tokenizer_part)part),
					 part != rows[i].differs);
		assert_int_equal(strcmp(rt_tokenizer_fingerprint(a), rt_tokenizer_fingerprint(b)) == 0,
				 rows[i].differs < 0);
		rt_tokenizer_close(a);
		rt_tokenizer_close(b);
	}
}

static void shared_tokens_are_those_with_the_same_id(void **state)
{
	struct rt_tokenizer *a = open_json("{\"added_tokens\":[{\"id\":4,\"content\":\"[PAD]\"}]," WORDS "}");
	struct rt_tokenizer *b =
		open_json("{\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"[PAD]\",\"vocab\":{\"u\":0,"
			  "\"a\":2,\"c\":5,\"[PAD]\":4}}}");
	size_t tokens = 0;

	(void)state;
	assert_int_equal(rt_tokenizer_shared_tokens(a, b, &tokens), 3); /* u, c, [PAD] */
	assert_int_equal(tokens, 5);
	assert_int_equal(rt_tokenizer_shared_tokens(b, a, &tokens), 3);
	assert_int_equal(tokens, 4);
	assert_int_equal(rt_tokenizer_unknown_id(a), 0);
	assert_int_equal(rt_tokenizer_unknown_id(b), 4);
	rt_tokenizer_close(a);
	rt_tokenizer_close(b);
}

static void bad_texts_are_refused(void **state)
{
	struct rt_tokenizer *tok = open_json(
		"{\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"s\",1],\"cls\":[\"c\",2]}," WORDS
		"}");
	struct rt_encoding e = { 0 };
	struct rt_err err = RT_ERR_INIT;

	(void)state;
	assert_int_equal(rt_tokenizer_encode(tok, "a\xff", 2, NULL, 0, 0, &e, &err), -1);
	assert_string_equal(err.msg, "the text is not UTF-8 at byte 1");
	assert_int_equal(rt_tokenizer_encode(tok, "a", 1, "\xed\xa0\x80", 3, 0, &e, &err), -1);
	assert_int_equal(rt_tokenizer_encode(tok, "a", 1, NULL, 0, 1, &e, &err), -1);
	assert_string_equal(err.msg, "max_length must be at least 2, the number of special tokens (got 1)");
	assert_int_equal(rt_tokenizer_encode(tok, "a", 1, NULL, 0, 2, &e, &err), 0);
	assert_true(e.truncated);
	assert_int_equal(e.n, 2);
	rt_encoding_release(&e);
	rt_tokenizer_close(tok);
}

static void words_are_cut_as_gpt2_does(void **state)
{
	static const struct {
		const char *text, *words; /* divided by | */
	} rows[] = {
		{ "it's we'll I'd", "it|'s| we|'ll| I|'d" },
		{ "a  b", "a| | b" },
		{ "a \n\n", "a| \n\n" },
		{ "!! 12x", "!!| 12|x" },
		{ "x\nb", "x|\n|b" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		size_t n = strlen(rows[i].text), at = 0;
		struct rt_buf out = RT_BUF_INIT;

		while (at < n) {
			size_t end = rt_byte_level_word(rows[i].text, n, at);

			if (at > 0)
				rt_buf_char(&out, '|');
			rt_buf_add(&out, rows[i].text + at, end - at);
			at = end;
		}
		assert_string_equal(out.data, rows[i].words);
		rt_buf_release(&out);
	}
}

static void patterns_are_translated(void **state)
{
	static const struct {
		const char *ruby, *pcre; /* pcre NULL: refused */
	} rows[] = {
		{ "(?m:.)", "(?s:.)" },
		{ "\\d+", "\\p{Nd}+" },
		{ "[\\u0041]", "[\\x{0041}]" },
		{ "\\h", "[0-9A-Fa-f]" },
		{ "[a[b]]", NULL },
		{ "[a&&b]", NULL },
		{ "[\\W]", NULL },
		{ "a\\Kb", NULL },
		{ "(?!x)", "(?!x)" },
		{ "[[:punct:]x]", "[\\p{P}\\p{S}x]" },
		{ "[[:nope:]]", NULL },
		{ "[[:^alpha:]]", NULL },
		{ "\\p{Han}", "[\\p{sc:han}]" },
		{ "\\p{^Uppercase_Letter}", "[^\\p{Lu}]" },
		{ "[\\P{l}]", "[\\P{L}]" },
		{ "\\p{Emoji}", NULL },
		{ "\\v", "\\x{B}" },
		{ "\\X", NULL },
		{ "a{1,3}+", "(?:a{1,3})+" }, /* no possessive interval in Ruby */
		{ "x(a[b]){2}?y", "x(?:(a[b]){2})?y" },
		{ "\xc3\xa4{,3}", "\xc3\xa4{0,3}" },
		{ "\xc3\xa4{2,}+", "(?:\xc3\xa4{2,})+" },
		{ "a{x}", "a{x}" },
		{ "a++b*+c?+", "a++b*+c?+" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_buf out = RT_BUF_INIT;
		struct rt_err err = RT_ERR_INIT;
		int rc = rt_regex_translate(rows[i].ruby, strlen(rows[i].ruby), &out, &err);

		print_message("%s\n", rows[i].ruby);
		assert_int_equal(rc, rows[i].pcre ? 0 : -1);
		if (rows[i].pcre)
			assert_string_equal(out.data, rows[i].pcre);
		else
			assert_int_equal(err.code, RT_UNSUPPORTED);
		rt_buf_release(&out);
	}
}

static void utf8_is_checked(void **state)
{
	size_t bad = 0;

	(void)state;
	assert_true(rt_uc_valid("a\xc3\xa9\xf0\x9f\x98\x80", 7, &bad));
	assert_false(rt_uc_valid("a\xc0\x80", 3, &bad)); /* overlong */
	assert_int_equal(bad, 1);
	assert_false(rt_uc_valid("\xf4\x90\x80\x80", 4, &bad)); /* beyond U+10FFFF */
	assert_false(rt_uc_valid("\xe4\xb8", 2, &bad));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_files_are_refused_by_name),
		cmocka_unit_test(a_missing_folder_is_not_found),
		cmocka_unit_test(bad_legacy_files_are_refused),
		cmocka_unit_test(legacy_files_say_what_they_are),
		cmocka_unit_test(facts_are_told),
		cmocka_unit_test(parts_are_compared_by_what_they_do),
		cmocka_unit_test(shared_tokens_are_those_with_the_same_id),
		cmocka_unit_test(bad_texts_are_refused),
		cmocka_unit_test(words_are_cut_as_gpt2_does),
		cmocka_unit_test(patterns_are_translated),
		cmocka_unit_test(utf8_is_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
