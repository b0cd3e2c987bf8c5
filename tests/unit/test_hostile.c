/* SPDX-License-Identifier: Apache-2.0 */
/* Files that a stranger made to cost much: each is read in a process of its own, which may take no more memory than the
 * file's size and a constant, and only seconds of CPU. A reader that believes a size that lies is refused its memory there,
 * one that is quadratic in the file is killed; both fail the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <sys/resource.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "worker/data/dataset.h"
#include "worker/text/charsmap.h"
#include "worker/text/tokenizer.h"
#include "worker/weights/torch_bin.h"
#include "worker/weights/weights.h"

#define OWN 1
#define MIB ((size_t)1 << 20)
/* The constant: the readers' own budget of 16 MiB, and what the allocator keeps besides. */
#define ROOM_BYTES (24 * MIB)
#define CPU_S	   20

static char dir[64];

static int make_dir(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/rt_hostile_XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rt_dir_remove(dir, NULL);
}

/* Opens the file; 0 or -1 as the readers do. */
typedef int open_fn(const char *path, struct rt_err *err);

static int open_safetensors(const char *path, struct rt_err *err)
{
	struct rt_weights *w = NULL;
	int rc = rt_safetensors_open(path, &w, err);

	rt_weights_close(w);
	return rc;
}

static int open_torch(const char *path, struct rt_err *err)
{
	struct rt_weights *w = NULL;
	int rc = rt_torch_open(path, &w, err);

	rt_weights_close(w);
	return rc;
}

static int open_index(const char *path, struct rt_err *err)
{
	struct rt_weights *w = NULL;
	int rc;

	(void)path; /* it stands in the folder under its own name */
	rc = rt_weights_open(dir, &w, err);
	rt_weights_close(w);
	return rc;
}

static int open_dataset(const char *path, struct rt_err *err)
{
	struct rt_dataset_options o = { .validation_optional = true };
	struct rt_dataset *ds = NULL;
	int rc = rt_dataset_open(path, &o, &ds, err);

	rt_dataset_close(ds);
	return rc;
}

static int open_tokenizer(const char *path, struct rt_err *err)
{
	struct rt_buf text = RT_BUF_INIT;
	struct rt_tokenizer *tok = NULL;
	int rc = rt_file_read(path, SIZE_MAX, &text, err);

	if (rc == 0)
		rc = rt_tokenizer_open_memory(rt_buf_text(&text), text.len, &tok, err);
	rt_buf_release(&text);
	rt_tokenizer_close(tok);
	return rc;
}

/* The folder's older files. */
static int open_folder(const char *path, struct rt_err *err)
{
	struct rt_tokenizer *tok = NULL;
	int rc;

	(void)path;
	rc = rt_tokenizer_open(dir, &tok, err);
	rt_tokenizer_close(tok);
	return rc;
}

static size_t address_space(void)
{
	size_t pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (!f || fscanf(f, "%zu", &pages) != 1)
		pages = 0;
	if (f)
		fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* What a child says of itself through its pipe. */
struct answer {
	int rc;
	enum rt_code code;
	char msg[sizeof((struct rt_err *)0)->msg];
	double cpu_s;
};

/* Runs fn in a child that may map more_bytes more than now (0: no limit). The child's rc, code and message. */
static void run_limited(open_fn *fn, const char *path, size_t more_bytes, struct answer *ret)
{
	struct rlimit cpu = { CPU_S, CPU_S + 1 };
	struct answer a = { .rc = -2 };
	int ends[2], status;
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	fflush(stdout);
	child = fork();
	if (child == 0) {
		struct rlimit memory = { address_space() + more_bytes, RLIM_INFINITY };
		struct rt_err err = RT_ERR_INIT;
		struct rusage used;

		setrlimit(RLIMIT_CPU, &cpu);
		if (more_bytes > 0)
			setrlimit(RLIMIT_AS, &memory);
		a.rc = fn(path, &err);
		getrusage(RUSAGE_SELF, &used);
		a.code = err.code;
		memcpy(a.msg, err.msg, sizeof a.msg);
		a.cpu_s = (double)used.ru_utime.tv_sec + (double)used.ru_stime.tv_sec +
			  (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
		_exit(write(ends[1], &a, sizeof a) == (ssize_t)sizeof a ? 0 : 3);
	}
	assert_true(child > 0);
	close(ends[1]);
	if (read(ends[0], &a, sizeof a) != (ssize_t)sizeof a)
		a.rc = -2;
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status))
		fail_msg("killed by signal %d%s", WTERMSIG(status),
			 WTERMSIG(status) == SIGXCPU ? ": more than 20 seconds of CPU" : "");
	assert_int_equal(a.rc == -2, 0);
	print_message("  %.2f s: %s\n", a.cpu_s, a.rc == 0 ? "reads" : a.msg);
	*ret = a;
}

static void write_file(const char *name, const struct rt_buf *bytes, char path[128])
{
	FILE *f;

	assert_int_equal(rt_buf_check(bytes, NULL), 0);
	snprintf(path, 128, "%s/%s", dir, name);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes->data, 1, bytes->len, f), bytes->len);
	assert_int_equal(fclose(f), 0);
}

static void add_number(struct rt_buf *b, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		rt_buf_char(b, (char)(v >> (8 * i)));
}

static void repeat(struct rt_buf *b, const char *piece, size_t times)
{
	for (size_t i = 0; i < times; i++)
		rt_buf_str(b, piece);
}

/* A file is its head, `times` times its piece, and its tail. */
struct file {
	const char *name, *file;
	open_fn *open;
	const char *head;
	size_t head_bytes; /* it may hold U+0000 */
	const char *piece;
	size_t times;
	const char *tail;
	const char *part; /* of the message; NULL: it must read */
	size_t announced; /* safetensors: the header's length that stands in front; OWN: its own; 0: nothing does */
	size_t more_per_byte; /* memory for each byte of the file that an honest large file needs; 0: 2 */
};

#define PIECE	  "\x0a\x03\x0a\x01z" /* of a SentencePiece model */
#define PICKLE	  "\x80\x02"
#define EIGHT(s)  s s s s s s s s
#define WORDLEVEL "\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"u\",\"vocab\":{\"u\":0}}"
#define BYTES(s)  s, sizeof(s) - 1
/* magic number, protocol version and machine of the legacy format */
#define LEGACY                                                                                               \
	"\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20j\xa8P\x19.\x80\x02M\xe9\x03."                                 \
	"\x80\x02}(X\x0d\0\0\0little_endian\x88u."

static void check(const struct file *files, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct file *f = &files[i];
		struct rt_buf bytes = RT_BUF_INIT;
		size_t length = f->head_bytes + strlen(f->piece) * f->times + strlen(f->tail);
		struct answer a;
		char path[128];

		print_message("%s\n", f->name);
		if (f->announced)
			add_number(&bytes, f->announced == OWN ? length : f->announced, 8);
		rt_buf_add(&bytes, f->head, f->head_bytes);
		repeat(&bytes, f->piece, f->times);
		rt_buf_str(&bytes, f->tail);
		write_file(f->file, &bytes, path);
		run_limited(f->open, path, ROOM_BYTES + bytes.len * (f->more_per_byte ? f->more_per_byte : 2),
			    &a);
		rt_buf_release(&bytes);
		unlink(path);
		if (!f->part) {
			assert_int_equal(a.rc, 0);
			continue;
		}
		assert_int_equal(a.rc, -1);
		assert_non_null(strstr(a.msg, f->part));
		assert_int_not_equal(a.code, RT_NO_MEMORY);
	}
}

static void sizes_that_lie_cost_no_memory(void **state)
{
	static const struct file files[] = {
		{ "safetensors: a header of 100 MB", "f", open_safetensors, BYTES("{}"), "", 0, "",
		  "cut short", 100000000, 0 },
		{ "safetensors: a header of 2^63", "f", open_safetensors, BYTES("{}"), "", 0, "",
		  "above the limit", (size_t)1 << 63, 0 },
		{ "safetensors: a tensor of a terabyte", "f", open_safetensors,
		  BYTES("{\"a\":{\"dtype\":\"F32\",\"shape\":[1099511627776],\"data_offsets\":[0,"
			"4398046511104]}}"),
		  "", 0, "", "cut short", OWN, 0 },
		{ "safetensors: a size beyond 64 bits", "f", open_safetensors,
		  BYTES("{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,9223372036854775807],"
			"\"data_"
			"offsets\":[0,"
			"0]}}"),
		  "", 0, "", "size that cannot be", OWN, 0 },
		{ "pickle: a text of 2^60 bytes", "f", open_torch, BYTES(PICKLE "\x8d\0\0\0\0\0\0\0\x10x."),
		  "", 0, "", "ends too early", 0, 0 },
		{ "pickle: an integer of 2 GiB", "f", open_torch, BYTES(PICKLE "\x8b\xff\xff\xff\x7f."), "",
		  0, "", "ends too early", 0, 0 },
		{ "pickle: a memo entry of 2^32", "f", open_torch, BYTES(PICKLE "Nr\xff\xff\xff\xff."), "", 0,
		  "", "memo index", 0, 0 },
		{ "pickle: a frame of 2^62", "f", open_torch, BYTES(PICKLE "\x95\0\0\0\0\0\0\0\x40."), "", 0,
		  "", "a frame longer", 0, 0 },
		{ "pickle: a dict of 64 items, made again and again", "f", open_torch,
		  BYTES(PICKLE "(" EIGHT(EIGHT("NN\x86")) "t\x85q\x01"
							  "0ccollections\nOrderedDict\nq\x02"
							  "0"),
		  "h\x02h\x01R0", 100000, ".", "more memory", 0, 0 },
		{ "zip: 65535 entries", "f", open_torch,
		  BYTES("PK\x03\x04PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f\0\0\0\0\0\0"), "", 0,
		  "", "the zip file's directory needs", 0, 0 },
		{ "legacy: a storage of 2^60 numbers", "f", open_torch,
		  BYTES(LEGACY "\x80\x02}X\x01\0\0\0a"
			       "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
			       "X\x01\0\0\0sX\x03\0\0\0cpu\x8a\x08\0\0\0\0\0\0\0\x10NtQK\0K\x01\x85K\x01\x85"
			       "\x89}tRs."
			       "\x80\x02]X\x01\0\0\0sa."
			       "\0\0\0\0\0\0\0\x10"),
		  "", 0, "", "cut short", 0, 0 },
		{ "legacy: one number seen 2^40 times", "f", open_torch,
		  BYTES(LEGACY
			"\x80\x02}X\x01\0\0\0a"
			"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
			"X\x01\0\0\0sX\x03\0\0\0cpuK\x01NtQK\0\x8a\x06\0\0\0\0\0\x01\x85K\0\x85\x89}tRs."
			"\x80\x02]X\x01\0\0\0sa."
			"\x01\0\0\0\0\0\0\0\0\0\0\0"),
		  "", 0, "", "would take 4398046511104 bytes", 0, 0 },
		{ "tokenizer: ids up to the limit", "f", open_tokenizer,
		  BYTES("{\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"u\",\"vocab\":{\"u\":10000000}},"
			"\"added_tokens\":"
			"[{\"id\":9999999,\"content\":\"x\"}],\"truncation\":{\"max_length\":4000000000},"
			"\"padding\":"
			"{\"strategy\":{\"Fixed\":4000000000}},\"pre_tokenizer\":{\"type\":\"FixedLength\","
			"\"length\":"
			"9223372036854775807}}"),
		  "", 0, "", NULL, 0, 0 },
		{ "tokenizer: a trie of 4 GiB", "f", open_tokenizer,
		  BYTES("{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/P///"
			"wAAAAA=\"}," WORDLEVEL "}"),
		  "", 0, "", "does not fit", 0, 0 },
		{ "SentencePiece: a piece of 2 GiB", "sentencepiece.bpe.model", open_folder,
		  BYTES(PIECE PIECE "\x0a\xff\xff\xff\xff\x07\x0a\x01"), "", 0, "",
		  "longer than what is left", 0, 0 },
		{ "SentencePiece: a trie of 4 GiB", "sentencepiece.bpe.model", open_folder,
		  BYTES(PIECE PIECE PIECE "\x1a\x06\x12\x04\xfc\xff\xff\xff"), "", 0, "", "does not fit in 4",
		  0, 0 },
		{ "index: a shard for each of 20000 names", "model.safetensors.index.json", open_index,
		  BYTES("{\"weight_map\":{\"a\":\"b\""), ",\"a\":\"b\"", 20000, "}}", "not valid JSON", 0,
		  0 },
	};

	(void)state;
	check(files, sizeof files / sizeof *files);
}

static void long_and_deep_files_take_seconds(void **state)
{
	static const struct file files[] = {
		{ "json: five million brackets", "f.json", open_dataset, BYTES(""), "[", 5000000, "",
		  "not valid JSON", 0, 0 },
		{ "jsonl: five million brackets", "f.jsonl", open_dataset, BYTES("{\"text\":"), "[", 5000000,
		  "", "not valid JSON", 0, 0 },
		{ "tokenizer: five million brackets", "f", open_tokenizer, BYTES("{\"model\":"), "[", 5000000,
		  "", "not valid JSON", 0, 0 },
		{ "tokenizer: sequences in sequences", "f", open_tokenizer,
		  BYTES("{" WORDLEVEL ",\"normalizer\":"), "{\"type\":\"Sequence\",\"normalizers\":[", 500,
		  "]}", "not valid JSON", 0, 0 },
		{ "csv: a quote that never closes", "f.csv", open_dataset, BYTES("text,label\n\""), "a,b\n",
		  5000000, "", "never closed", 0, 0 },
		{ "csv: ten million empty lines", "f.csv", open_dataset, BYTES("text,label\n"), "\r\n",
		  10000000, "a,b", NULL, 0, 0 },
		{ "csv: ten million quotes in one field", "f.csv", open_dataset, BYTES("text,label\n\""),
		  "\"\"", 10000000, "\",b", NULL, 0, 0 },
		{ "csv: a header of a million columns", "f.csv", open_dataset, BYTES("text,label"), ",x",
		  1000000, "", "stands twice", 0, 0 },
		{ "jsonl: one line of 100 MB", "f.jsonl", open_dataset, BYTES("{\"label\":\"x\",\"text\":\""),
		  "a long line ", 8738133, "\"}", NULL, 0, 8 },
		{ "jsonl: a million lines that are one bracket short", "f.jsonl", open_dataset,
		  BYTES("{\"label\":\"x\",\"text\":\"a\"}\n"), "{\"label\":\"x\",\"text\":\"a\"}\n", 300000,
		  "{", "line 300002", 0, 10 },
		{ "tokenizer: a thousand normalizers", "f", open_tokenizer,
		  BYTES("{" WORDLEVEL
			",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFD\"}"),
		  ",{\"type\":\"NFD\"}", 999, "]}}", "the normalizer has 1001 parts", 0, 16 },
		{ "tokenizer: a thousand special tokens for each text", "f", open_tokenizer,
		  BYTES("{" WORDLEVEL ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"special_"
			"tokens\":{\"x\":{\"id\":\"x\","
			"\"ids\":[" EIGHT(EIGHT("1,")) "1],\"tokens\":[" EIGHT(
				EIGHT("\"x\",")) "\"x\"]}},"
						 "\"pair\":[],\"single\":[{\"Sequence\":{\"id\":\"A\"}}"),
		  ",{\"SpecialToken\":{\"id\":\"x\",\"type_id\":0}}", 20, "]}}", "adds 1300 special tokens",
		  0, 16 },
		{ "tokenizer: a short pattern that is a long one for PCRE2", "f", open_tokenizer,
		  BYTES("{" WORDLEVEL
			",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":"
			"{\"Regex\":\""),
		  "\\\\b", 30000, "\"}}}", "60000 bytes is too long", 0, 16 },
		{ "Unigram: a piece of a megabyte", "f", open_tokenizer,
		  BYTES("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\""), "a", MIB, "\",0]]}}",
		  "has 1048576 bytes, more than 2048", 0, 16 },
		{ "WordPiece: a piece of a megabyte", "f", open_tokenizer,
		  BYTES("{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\""), "a", MIB, "\":0}}}",
		  "has 1048576 bytes, more than 2048", 0, 16 },
		{ "an added token of a megabyte", "f", open_tokenizer,
		  BYTES("{" WORDLEVEL ",\"added_tokens\":[{\"id\":1,\"content\":\""), "a", MIB, "\"}]}",
		  "has 1048576 bytes, more than 2048", 0, 16 },
		{ "SentencePiece: a million pieces that are one", "sentencepiece.bpe.model", open_folder,
		  BYTES(PIECE), PIECE, 1000000, "", NULL, 0, 150 },
		{ "vocab.txt: a million empty lines", "vocab.txt", open_folder,
		  BYTES("[UNK]\n[CLS]\n[SEP]\n[PAD]\n[MASK]\n"), "\n", 1000000, "", NULL, 0, 150 },
		{ "pickle: a million marks", "f", open_torch, BYTES(PICKLE), "(", 10000000, ".",
		  "nested more", 0, 0 },
		{ "pickle: a million names", "f", open_torch, BYTES(PICKLE), "ctorch\nfloat8_e5m2fnuz\n0",
		  500000, "N.", "not one that torch.save wrote", 0, 0 },
		{ "safetensors: spaces", "f", open_safetensors, BYTES("{"), " ", 10000000, "}", NULL, OWN,
		  0 },
	};

	(void)state;
	check(files, sizeof files / sizeof *files);
}

/* A tokenizer and a text of `times` pieces. */
static const struct slow {
	const char *name, *json, *piece;
	size_t times;
	const char *part; /* of the message; NULL: it encodes */
} slow[] = {
	{ "added token of a space that takes the spaces behind it",
	  "{" WORDLEVEL ",\"added_tokens\":[{\"id\":1,\"content\":\" \",\"rstrip\":true}]}", " ", 1 << 20,
	  "added tokens make a text of over" },
	{ "the same before the normalizer",
	  "{" WORDLEVEL ",\"added_tokens\":[{\"id\":1,\"content\":\" \",\"rstrip\":true,"
	  "\"normalized\":false}]}",
	  " ", 1 << 15, "makes a text of over" },
	{ "a space that takes those before it",
	  "{" WORDLEVEL ",\"added_tokens\":[{\"id\":1,\"content\":\" \",\"lstrip\":true}]}", " ", 1 << 20,
	  NULL },
	{ "BPE: a word of a megabyte",
	  "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"aa\":1,\"aaaa\":2,\"aaa\":3},\"merges\":[\"a "
	  "a\",\"aa aa\","
	  "\"aa a\"]}}",
	  "a", 1 << 20, NULL },
	{ "BPE: nothing to merge in a megabyte",
	  "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}", "ab", 1 << 19, NULL },
	{ "BPE: unknown bytes, fused",
	  "{\"model\":{\"type\":\"BPE\",\"unk_token\":\"u\",\"fuse_unk\":true,\"vocab\":{\"u\":0},\"merges\":"
	  "[]}}",
	  "ab", 1 << 19, NULL },
	{ "WordPiece: a word of a megabyte",
	  "{\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"u\",\"max_input_chars_per_word\":"
	  "9223372036854775807,"
	  "\"vocab\":{\"u\":0,\"a\":1,\"##a\":2,\"##aa\":3}}}",
	  "a", 1 << 20, NULL },
	{ "Unigram: a word of a megabyte",
	  "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"u\",0],[\"a\",-1],[\"aa\",-1.5],["
	  "\"aaaa\",-2]]}}",
	  "a", 1 << 20, NULL },
	{ "Unigram: unknown characters, fused",
	  "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"u\",0]]}}", "ab", 1 << 19, NULL },
	{ "a regular expression that backtracks",
	  "{" WORDLEVEL
	  ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a|aa)+$\"},\"behavior\":"
	  "\"Isolated\"}}",
	  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", 1000, "gave up" },
	{ "a regular expression that recurses",
	  "{" WORDLEVEL
	  ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?R)?a\"},\"behavior\":"
	  "\"Isolated\"}}",
	  "a", 1 << 20, "gave up" },
	{ "a regular expression that looks at all that follows, from everywhere",
	  "{" WORDLEVEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?:aa)*[bc]\"},"
	  "\"behavior\":\"Isolated\"}}",
	  "a", 1 << 18, "gave up" },
	{ "the same, with a match each time",
	  "{" WORDLEVEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?:aa)*[bc]|a\"},"
	  "\"behavior\":\"Isolated\"}}",
	  "a", 1 << 18, "gave up" },
	{ "text that doubles",
	  "{" WORDLEVEL ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":["
#define DOUBLE "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aa\"},"
	  DOUBLE DOUBLE DOUBLE DOUBLE DOUBLE DOUBLE DOUBLE DOUBLE DOUBLE DOUBLE DOUBLE DOUBLE DOUBLE DOUBLE
		  DOUBLE DOUBLE DOUBLE DOUBLE DOUBLE DOUBLE "{\"type\":\"NFC\"}]}}",
	  "a", 1 << 14, "makes a text of over" },
	{ "marks out of order", "{" WORDLEVEL ",\"normalizer\":{\"type\":\"NFC\"}}", "\xcc\x95\xcc\x96",
	  1 << 18, NULL },
	{ "one cluster of a megabyte",
	  "{" WORDLEVEL
	  ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"BAAAAAAAAABhAA==\"}}",
	  "\xcc\x95\xcc\x96", 1 << 18, NULL },
};

static const struct slow *now;

static int encode(const char *path, struct rt_err *err)
{
	struct rt_tokenizer *tok = NULL;
	struct rt_encoding e = { 0 };
	struct rt_buf text = RT_BUF_INIT;
	int rc;

	(void)path;
	repeat(&text, now->piece, now->times);
	rc = rt_tokenizer_open_memory(now->json, strlen(now->json), &tok, err);
	if (rc == 0)
		rc = rt_tokenizer_encode(tok, text.data, text.len, NULL, 0, 0, &e, err);
	rt_encoding_release(&e);
	rt_tokenizer_close(tok);
	rt_buf_release(&text);
	return rc;
}

static void long_texts_take_seconds(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof slow / sizeof *slow; i++) {
		struct answer a;

		now = &slow[i];
		print_message("%s\n", now->name);
		/* tokens, offsets and their strings: a hundred bytes or two for each byte of text */
		run_limited(encode, NULL, 400 * MIB, &a);
		if (!now->part) {
			assert_int_equal(a.rc, 0);
			continue;
		}
		assert_int_equal(a.rc, -1);
		assert_non_null(strstr(a.msg, now->part));
		assert_int_not_equal(a.code, RT_NO_MEMORY);
	}
}

/* A trie that turns "a" into 4000 characters. */
static void charsmap_stops_when_the_text_is_too_long(void **state)
{
	struct rt_buf bytes = RT_BUF_INIT;
	struct rt_changes changes = { 0 };
	struct rt_charsmap *map = NULL;
	struct rt_err err = RT_ERR_INIT;
	const uint32_t a = 'a', leaf = 1u << 8, offset_1 = 1u << 10;

	(void)state;
	add_number(&bytes, 98 * 4, 4);
	for (uint32_t i = 0; i < 98; i++)
		add_number(&bytes, i == a ? a | leaf | offset_1 : 0,
			   4); /* the text at 0 is in the unit a ^ 1 */
	repeat(&bytes, "b", 4000);
	rt_buf_char(&bytes, '\0');
	assert_int_equal(rt_charsmap_new((const unsigned char *)bytes.data, bytes.len, &map, &err), 0);
	assert_true(rt_charsmap_apply(map, "a", 1, 10000, &changes));
	assert_int_equal(changes.n, 4000);
	rt_buf_clear(&bytes);
	repeat(&bytes, "a", 1000);
	changes.n = 0;
	assert_true(rt_charsmap_apply(map, bytes.data, bytes.len, 10000, &changes));
	assert_true(changes.n > 10000 && changes.n <= 14000);
	free(changes.list);
	rt_charsmap_free(map);
	rt_buf_release(&bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_that_lie_cost_no_memory),
		cmocka_unit_test(long_and_deep_files_take_seconds),
		cmocka_unit_test(long_texts_take_seconds),
		cmocka_unit_test(charsmap_stops_when_the_text_is_too_long),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
