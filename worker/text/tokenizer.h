/* SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers as the `tokenizers` library runs them, read from a tokenizer.json or the files older than it: text in, ids,
 * type ids, tokens and offsets out. Not for training tokenizers nor for turning ids back into text.
 *
 * The way of a text: added tokens that match the raw text are cut out, the rest is normalized, added tokens that match
 * the normalized text are cut out, the rest is split by the pre-tokenizer, each word goes through the model, then
 * truncation and the post-processor. Truncation and padding that a tokenizer.json has stored are ignored, and beside a
 * tokenizer.json the tokenizer_config.json changes nothing but the padding token that rt_tokenizer_pad_id names.
 *
 * Unicode: the library's parts use tables of different versions, and results depend on them. Ours stand in
 * worker/text/unicode_tables.c and do not follow the version of a library that happens to be installed: categories,
 * lower-casing, white space and word characters are those of Unicode 16; the punctuation and control characters that
 * BERT's parts see are those of an older one; normalization forms and grapheme clusters come from utf8proc, with
 * the characters left alone that the reference's tables do not know. PCRE2 sees a stand-in of the same length
 * for characters that its own tables do not know yet.
 *
 * A tokenizer is read-only once open: any number of threads may encode with one. */
#ifndef RT_TEXT_TOKENIZER_H
#define RT_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"

struct rt_tokenizer;

#define RT_TOKENIZER_ID_MAX   10000000		/* the highest id a file may use */
#define RT_TOKENIZER_FILE_MAX (512u << 20)	/* bytes of a tokenizer's file */
#define RT_TOKENIZER_TEXT_MAX ((size_t)1 << 28) /* bytes of a text */

/* Reads DIR/tokenizer.json, and pad_token from DIR/tokenizer_config.json where that file is. Without tokenizer.json the
 * older files do, vocab.txt and the like: legacy.h. *ret: new, rt_tokenizer_close. RT_NOT_FOUND when there is no
 * tokenizer; RT_INVALID for a file that is not whole; RT_UNSUPPORTED for a component or class we do not know, with its
 * name. Blocks. */
int rt_tokenizer_open(const char *dir, struct rt_tokenizer **ret, struct rt_err *err);
/* The same from the bytes of a tokenizer.json; json is only read during the call. */
int rt_tokenizer_open_memory(const void *json, size_t size, struct rt_tokenizer **ret, struct rt_err *err);
void rt_tokenizer_close(struct rt_tokenizer *tok); /* NULL is fine */

struct rt_encoding {
	size_t n;	   /* tokens, special ones included */
	int32_t *ids;	   /* (n) */
	int32_t *type_ids; /* (n) */
	int32_t (*offsets)
		[2]; /* (n, 2) first code point and the one after the last, in the text or pair; NULL if ids only */
	char **tokens;	    /* (n) each NUL-terminated; NULL if ids only */
	size_t *token_lens; /* (n) bytes of each token, which may hold U+0000; NULL if ids only */
	bool truncated;	    /* max_length cut something off */
};

/* Encodes text, or text and pair, special tokens added. text and pair: UTF-8 (RT_INVALID if not), may hold U+0000;
 * pair NULL: none (an empty pair is a pair). max_length: the most tokens to return, special ones included, by
 * "longest_first" on the right; 0: no limit. A limit below the number of special tokens is RT_INVALID.
 * Thread-safe. ret: written on success only, rt_encoding_release. */
int rt_tokenizer_encode(const struct rt_tokenizer *tok, const char *text, size_t len, const char *pair,
			size_t pair_len, size_t max_length, struct rt_encoding *ret, struct rt_err *err);
/* The same with ids and type_ids alone, which saves the work for tokens and offsets. */
int rt_tokenizer_encode_ids(const struct rt_tokenizer *tok, const char *text, size_t len, const char *pair,
			    size_t pair_len, size_t max_length, struct rt_encoding *ret, struct rt_err *err);
void rt_encoding_release(struct rt_encoding *e); /* a zeroed or released one is fine */

size_t rt_tokenizer_vocab_size(const struct rt_tokenizer *tok); /* highest id + 1, added tokens included */
size_t rt_tokenizer_special_count(const struct rt_tokenizer *tok,
				  bool pair); /* special tokens put around a text */
/* The padding token's id: tokenizer_config.json's pad_token, else the added token "<pad>" or "[PAD]"; -1: none. */
int32_t rt_tokenizer_pad_id(const struct rt_tokenizer *tok);
/* The id of a token of the vocabulary or of an added one; -1: none. */
int32_t rt_tokenizer_token_to_id(const struct rt_tokenizer *tok, const char *token, size_t len);
/* The id that stands for what the vocabulary lacks; -1: none (the model has bytes for everything, or leaves it out). */
int32_t rt_tokenizer_unknown_id(const struct rt_tokenizer *tok);

/* The parts that together decide about ids. */
enum rt_tokenizer_part {
	RT_TOKENIZER_NORMALIZER,
	RT_TOKENIZER_PRETOKENIZER,
	RT_TOKENIZER_MODEL, /* its kind, options and merges */
	RT_TOKENIZER_VOCABULARY,
	RT_TOKENIZER_ADDED,
	RT_TOKENIZER_POSTPROCESSOR, /* the special tokens around texts */
	RT_TOKENIZER_PARTS
};
/* SHA-256 over all that changes ids; not over spelling (key order, older names of the same thing, either way to write
 * merges, a template where BertProcessing does the same), decoder, saved truncation and padding. Two tokenizers with the
 * same fingerprint give the same ids for every text. Borrowed, 64 hexadecimal digits. */
const char *rt_tokenizer_fingerprint(const struct rt_tokenizer *tok);
/* Is that part the same in both? */
bool rt_tokenizer_same_part(const struct rt_tokenizer *a, const struct rt_tokenizer *b,
			    enum rt_tokenizer_part part);
/* Tokens of a's vocabulary, added ones included, and how many of them b has with the same id. */
size_t rt_tokenizer_shared_tokens(const struct rt_tokenizer *a, const struct rt_tokenizer *b,
				  size_t *ret_tokens);

#endif
