/* SPDX-License-Identifier: Apache-2.0 */
/* Models are written here byte by byte: a stranger's file may be broken anywhere. Allocations are counted, so that a file
 * that lies about sizes is seen to cost no memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sodium.h>

#include "base/file.h"
#include "worker/text/charsmap.h"
#include "worker/text/spmodel.h"
#include "worker/text/tokenizer.h"

/* All of the readers' own allocations come by here (linked with --wrap). */
static size_t used_bytes, peak_bytes;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

static void *count(void *p)
{
	if (p)
		used_bytes += malloc_usable_size(p);
	if (used_bytes > peak_bytes)
		peak_bytes = used_bytes;
	return p;
}

static void discount(void *p)
{
	size_t n = p ? malloc_usable_size(p) : 0;

	used_bytes -= n < used_bytes ? n : used_bytes;
}

void *__wrap_malloc(size_t n)
{
	return count(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size)
{
	return count(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n)
{
	discount(p);
	return count(__real_realloc(p, n));
}

void __wrap_free(void *p)
{
	discount(p);
	__real_free(p);
}

static void put_varint(struct rt_buf *out, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		rt_buf_char(out, (char)(v | 0x80));
	rt_buf_char(out, (char)v);
}

static void put_bytes(struct rt_buf *out, unsigned number, const void *bytes, size_t n)
{
	put_varint(out, number << 3 | 2);
	put_varint(out, n);
	rt_buf_add(out, bytes, n);
}

static void put_number(struct rt_buf *out, unsigned number, uint64_t v)
{
	put_varint(out, number << 3);
	put_varint(out, v);
}

/* kind 0: no type is written. */
static void put_piece(struct rt_buf *out, const char *text, float score, unsigned kind)
{
	struct rt_buf piece = RT_BUF_INIT;

	put_bytes(&piece, 1, text, strlen(text));
	put_varint(&piece, 2 << 3 | 5);
	rt_buf_add(&piece, &score, sizeof score); /* tests run where numbers are little-endian */
	if (kind)
		put_number(&piece, 3, kind);
	put_bytes(out, 1, piece.data, piece.len);
	rt_buf_release(&piece);
}

static void put_trainer(struct rt_buf *out, uint64_t type, uint64_t unk_id)
{
	struct rt_buf trainer = RT_BUF_INIT;

	put_bytes(&trainer, 1, "corpus.txt", 10); /* fields nobody asks for */
	put_number(&trainer, 3, type);
	put_number(&trainer, 40, unk_id);
	put_varint(&trainer, 10 << 3 | 5);
	rt_buf_add(&trainer, "abcd", 4);
	put_varint(&trainer, 99 << 3 | 1);
	rt_buf_add(&trainer, "abcdefgh", 8);
	put_bytes(out, 2, trainer.data, trainer.len);
	rt_buf_release(&trainer);
}

static void put_charsmap(struct rt_buf *out, const void *map, size_t n)
{
	struct rt_buf normalizer = RT_BUF_INIT;

	put_bytes(&normalizer, 1, "mine", 4);
	put_bytes(&normalizer, 2, map, n);
	put_number(&normalizer, 3, 1);
	put_bytes(out, 3, normalizer.data, normalizer.len);
	rt_buf_release(&normalizer);
}

static void a_model_is_read(void **state)
{
	static const struct {
		const char *text;
		float score;
		unsigned kind, want;
	} rows[] = {
		{ "<unk>", 0, 2, RT_SP_UNKNOWN },
		{ "<s>", 0, 3, RT_SP_CONTROL },
		{ "\xe2\x96\x81\xc3\xa4", -1.25f, 0, RT_SP_NORMAL },
		{ "own", -3, 4, RT_SP_USER_DEFINED },
		{ "<0x41>", -9, 6, RT_SP_BYTE },
		{ "new kind", -2, 7, RT_SP_NORMAL }, /* as protobuf reads an enum it does not know */
	};
	struct rt_buf file = RT_BUF_INIT;
	struct rt_sp_model m;
	struct rt_err err = RT_ERR_INIT;

	(void)state;
	put_trainer(&file, 1, 0);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		put_piece(&file, rows[i].text, rows[i].score, rows[i].kind);
	put_charsmap(&file, "\0\0\0\0x", 5);
	put_bytes(&file, 200, "later", 5);
	assert_int_equal(rt_sp_model_read(file.data, file.len, &m, &err), 0);
	assert_int_equal(m.n, sizeof rows / sizeof *rows);
	for (size_t i = 0; i < m.n; i++) {
		print_message("%s\n", rows[i].text);
		assert_int_equal(m.pieces[i].len, strlen(rows[i].text));
		assert_memory_equal(file.data + m.pieces[i].at, rows[i].text, m.pieces[i].len);
		assert_true(m.pieces[i].score == rows[i].score);
		assert_int_equal(m.pieces[i].kind, rows[i].want);
	}
	assert_int_equal(m.charsmap_len, 5);
	assert_memory_equal(m.charsmap, "\0\0\0\0x", 5);
	assert_int_equal(m.type, 1);
	assert_int_equal(m.unk_id, 0);
	rt_sp_model_release(&m);
	rt_buf_release(&file);
}

static void a_cut_off_model_is_refused_or_is_a_shorter_one(void **state)
{
	struct rt_buf file = RT_BUF_INIT;
	size_t whole = 0;

	(void)state;
	put_piece(&file, "a", -1, 2);
	put_piece(&file, "bc", -1, 0);
	put_trainer(&file, 1, 0);
	put_charsmap(&file, "\0\0\0\0", 4);
	for (size_t n = 0; n <= file.len; n++) {
		struct rt_sp_model m;
		struct rt_err err = RT_ERR_INIT;
		char *copy = malloc(n + 1); /* a byte too far is seen by a sanitizer */

		assert_non_null(copy);
		memcpy(copy, file.data, n);
		copy = realloc(copy, n ? n : 1);
		if (rt_sp_model_read(copy, n, &m, &err) == 0) {
			whole++;
			rt_sp_model_release(&m);
		} else {
			assert_int_equal(err.code, RT_INVALID);
		}
		free(copy);
	}
	assert_int_equal(whole, 4); /* behind each of the four parts */
	rt_buf_release(&file);
}

static void broken_models_are_refused(void **state)
{
	static const struct {
		const char *name, *bytes;
		size_t n;
		const char *part;
	} rows[] = {
		{ "nothing", "", 0, "there are no pieces" },
		{ "text", "hello", 5, "not a SentencePiece model" },
		{ "a length beyond the end", "\x0a\x7f\x0a", 3, "longer than what is left at byte 0" },
		{ "a length of 2^63", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10,
		  "longer than what is left" },
		{ "an endless number", "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12,
		  "more than 10 bytes" },
		{ "field 0", "\x02\x00", 2, "without a number" },
		{ "a group", "\x0b\x0c", 2, "unknown kind" },
		{ "pieces that are a number", "\x08\x01", 2, "of the wrong kind" },
		{ "an empty piece", "\x0a\x02\x0a\x00", 4, "piece 0: it is empty" },
		{ "a piece without text", "\x0a\x00", 2, "piece 0: it is empty" },
		{ "not UTF-8", "\x0a\x03\x0a\x01\xff", 5, "piece 0: it is not UTF-8 at its byte 0" },
		{ "a score that is no number", "\x0a\x08\x0a\x01x\x15\x00\x00\xc0\x7f", 10,
		  "its score is no number" },
		{ "a score of eight bytes", "\x0a\x0c\x0a\x01x\x11\0\0\0\0\0\0\0\0", 14,
		  "score is of the wrong kind" },
		{ "a piece longer than its message", "\x0a\x03\x0a\x05xxxxx", 9,
		  "piece 0: not a SentencePiece model" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_sp_model m;
		struct rt_err err = RT_ERR_INIT;

		print_message("%s\n", rows[i].name);
		assert_int_equal(rt_sp_model_read(rows[i].bytes, rows[i].n, &m, &err), -1);
		if (!strstr(err.msg, rows[i].part))
			print_message("  said: %s\n", err.msg);
		assert_non_null(strstr(err.msg, rows[i].part));
		assert_int_equal(err.code, RT_INVALID);
	}
}

static void a_lie_about_sizes_costs_no_memory(void **state)
{
	struct rt_buf file = RT_BUF_INIT;
	struct rt_sp_model m;
	struct rt_charsmap *map = NULL;
	struct rt_err err = RT_ERR_INIT;
	size_t before;

	(void)state;
	put_piece(&file, "a", -1, 0);
	put_varint(&file, 1 << 3 | 2);
	put_varint(&file, (uint64_t)1 << 40);
	before = peak_bytes = used_bytes;
	assert_int_equal(rt_sp_model_read(file.data, file.len, &m, &err), -1);
	assert_non_null(strstr(err.msg, "longer than what is left"));
	assert_true(peak_bytes - before <= file.len + 65536);
	/* a character map that claims a trie of 4 GiB */
	before = peak_bytes = used_bytes;
	assert_int_equal(rt_charsmap_new((const unsigned char *)"\xfc\xff\xff\xffxxxx", 8, &map, &err), -1);
	assert_non_null(strstr(err.msg, "does not fit"));
	assert_true(peak_bytes - before <= 8 + 65536);
	/* pieces themselves: 16 bytes for one that takes 5 at least, twice that while the list grows */
	rt_buf_clear(&file);
	for (size_t i = 0; i < 50000; i++)
		rt_buf_add(&file, "\x0a\x03\x0a\x01x", 5);
	before = peak_bytes = used_bytes;
	assert_int_equal(rt_sp_model_read(file.data, file.len, &m, &err), 0);
	assert_true(peak_bytes - before <= 10 * file.len);
	rt_sp_model_release(&m);
	rt_buf_release(&file);
}

/* A folder with one file of the model and one configuration. */
static int open_folder(const char *name, const struct rt_buf *model, const char *config,
		       struct rt_tokenizer **ret, struct rt_err *err)
{
	char dir[] = "/tmp/rt-spmodel-XXXXXX", *path;
	int rc;

	assert_non_null(mkdtemp(dir));
	path = rt_path_join(dir, name);
	assert_int_equal(rt_file_write(path, model->data, model->len, err), 0);
	free(path);
	path = rt_path_join(dir, "tokenizer_config.json");
	assert_int_equal(rt_file_write(path, config, strlen(config), err), 0);
	free(path);
	rc = rt_tokenizer_open(dir, ret, err);
	assert_int_equal(rt_dir_remove(dir, NULL), 0);
	return rc;
}

static void a_folder_without_tokenizer_json_opens(void **state)
{
	/* pieces: <unk> <s> </s> X _a b 5, */
	static const struct {
		const char *name, *file, *config, *text;
		int32_t ids[8], n;
	} rows[] = {
		{ "XLM-RoBERTa's ids", "sentencepiece.bpe.model", "{}", "a b<mask>", { 0, 5, 11, 12, 2 }, 5 },
		{ "XLM-RoBERTa with names of its own",
		  "sentencepiece.bpe.model",
		  "{\"bos_token\":\"<b>\",\"cls_token\":\"<b>\"}",
		  "<b>a",
		  { 0, 0, 5, 2 },
		  4 },
		{ "ALBERT: lower case, no accents",
		  "spiece.model",
		  "{\"cls_token\":\"<s>\",\"sep_token\":\"</s>\"}",
		  "\xc3\x81",
		  { 1, 4, 2 },
		  3 },
		{ "ALBERT that keeps them",
		  "spiece.model",
		  "{\"cls_token\":\"<s>\",\"sep_token\":\"</"
		  "s>\",\"keep_accents\":true,\"do_lower_case\":false}",
		  "A",
		  { 1, 7, 0, 2 },
		  4 },
		{ "ALBERT cuts a number from its comma",
		  "spiece.model",
		  "{\"cls_token\":\"<s>\",\"sep_token\":\"</s>\"}",
		  "a5,",
		  { 1, 4, 8, 9, 2 },
		  5 },
		{ "DeBERTa",
		  "spm.model",
		  "{\"cls_token\":\"<s>\",\"sep_token\":\"</s>\"}",
		  "a5,[MASK]A",
		  { 1, 4, 6, 15, 7, 0, 2 },
		  7 },
		{ "DeBERTa in lower case",
		  "spm.model",
		  "{\"cls_token\":\"<s>\",\"sep_token\":\"</s>\",\"do_lower_case\":true}",
		  " A ",
		  { 1, 4, 2 },
		  3 },
		{ "DeBERTa that splits by punctuation",
		  "spm.model",
		  "{\"cls_token\":\"<s>\",\"sep_token\":\"</s>\",\"split_by_punct\":true}",
		  "a5,",
		  { 1, 4, 8, 7, 9, 2 },
		  6 },
		{ "a piece of the user's is never cut",
		  "spm.model",
		  "{\"cls_token\":\"<s>\",\"sep_token\":\"</s>\"}",
		  "bXb",
		  { 1, 10, 3, 10, 2 },
		  5 },
	};
	struct rt_buf file = RT_BUF_INIT;

	(void)state;
	put_piece(&file, "<unk>", 0, 2);
	put_piece(&file, "<s>", 0, 3);
	put_piece(&file, "</s>", 0, 3);
	put_piece(&file, "X", 0, 4);
	put_piece(&file,
		  "\xe2\x96\x81"
		  "a",
		  -1, 0);
	put_piece(&file, "b", -2, 0);
	put_piece(&file, "5,", -3, 0);
	put_piece(&file, "\xe2\x96\x81", -6, 0);
	put_piece(&file, "5", -7, 0);
	put_piece(&file, ",", -7, 0);
	put_piece(&file,
		  "\xe2\x96\x81"
		  "b",
		  -2, 0);
	put_trainer(&file, 1, 0);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_tokenizer *tok = NULL;
		struct rt_encoding e = { 0 };
		struct rt_err err = RT_ERR_INIT;

		print_message("%s\n", rows[i].name);
		if (open_folder(rows[i].file, &file, rows[i].config, &tok, &err) < 0)
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
	rt_buf_release(&file);
}

static void models_of_other_types_are_refused_by_name(void **state)
{
	struct rt_buf file = RT_BUF_INIT;
	struct rt_tokenizer *tok = NULL;
	struct rt_err err = RT_ERR_INIT;

	(void)state;
	put_piece(&file, "<unk>", 0, 2);
	put_trainer(&file, 2, 0);
	assert_int_equal(open_folder("spm.model", &file, "{}", &tok, &err), -1);
	assert_int_equal(err.code, RT_UNSUPPORTED);
	assert_non_null(strstr(err.msg, "spm.model: a SentencePiece model of type BPE is not supported"));
	rt_buf_clear(&file);
	put_piece(&file, "<unk>", 0, 2);
	assert_int_equal(open_folder("sentencepiece.bpe.model", &file, "{}", &tok, &err), -1);
	assert_non_null(strstr(err.msg, "has 1 pieces; XLM-RoBERTa's begin with 3 of its own"));
	rt_buf_release(&file);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_model_is_read),
		cmocka_unit_test(a_cut_off_model_is_refused_or_is_a_shorter_one),
		cmocka_unit_test(broken_models_are_refused),
		cmocka_unit_test(a_lie_about_sizes_costs_no_memory),
		cmocka_unit_test(a_folder_without_tokenizer_json_opens),
		cmocka_unit_test(models_of_other_types_are_refused_by_name),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
