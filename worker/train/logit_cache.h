/* SPDX-License-Identifier: Apache-2.0 */
/* Logits of a model that does not change, kept on disk: whoever asks the same teacher about the same text again, in another job,
 * retry or trial, reads them. A text is the ids that the model sees, so neither the tokenizer nor max_length matters beside them.
 * Knows files; no model, no tokenizer. docs/decisions/0007 tells why it is made like this.
 *
 * One file a teacher, DIR/logits/<name>, where the name says what the logits depend on (rt_logit_cache_name):
 *
 *   header     64 bytes: "RTLOGIT1", u32 classes, u32 records a block, the first 40 digits of the name, u64 checksum
 *   blocks     of 1,024 records each: 1,024 keys of 32 bytes (all zeros: nothing there), then 1,024 rows
 *   row        f32 logits (classes, in the model's order), zeros up to 8 bytes, u64 checksum over key and logits
 *
 * Numbers are little-endian. A record is there once its key is; the key is written after its row, so a writer may be killed at any
 * time. What the disk damages is found by the row's checksum, taken for missing and written anew in its place. A header that is not
 * whole is the end of a file: another takes its name.
 *
 * Locks are open-file-description locks on bytes of that file; they go with their process:
 *   byte 0            shared: in use; exclusive: about to be removed
 *   byte 1            exclusive: a record is added
 *   2^40 + text       exclusive: somebody computes this text. So two jobs that need the same logits share the work
 *
 * The file's time of modification is that of its last use; when the folder outgrows its limit, the files that were not used for the
 * longest time go, but none that is in use. One object belongs to one thread; any number of processes may use a file. */
#ifndef RT_WORKER_TRAIN_LOGIT_CACHE_H
#define RT_WORKER_TRAIN_LOGIT_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sha256.h"

#define RT_LOGIT_CACHE_CLASSES_MAX 1000000

struct rt_logit_cache;

struct rt_text_key {
	unsigned char bytes[32];
};
/* type_ids: NULL means all 0, and gives the same key as zeros. */
void rt_text_key_of(const int32_t *ids, const int32_t *type_ids, size_t n, struct rt_text_key *ret);

/* What a teacher's logits depend on beside the text: the content of its config.json and weights (SHA-256), the precision that it
 * computes in, and the version of the computation. */
void rt_logit_cache_name(const char *model_sha256, const char *precision, size_t classes,
			 char ret[RT_SHA256_SIZE]);

struct rt_logit_cache_options {
	const char *dir;   /* made if it is not there; borrowed for the call */
	const char *name;  /* rt_logit_cache_name; borrowed for the call */
	size_t classes;	   /* 1 to RT_LOGIT_CACHE_CLASSES_MAX */
	int64_t max_bytes; /* of all files of dir together */
};

/* Opens the teacher's file, or begins one, and marks it as used. RT_IO, RT_FORBIDDEN, RT_DISK_FULL, RT_UNSUPPORTED (a file
 * system without locks): there is no cache then, which no job needs to fail for. Close with rt_logit_cache_close. */
int rt_logit_cache_open(const struct rt_logit_cache_options *o, struct rt_logit_cache **ret,
			struct rt_err *err);
void rt_logit_cache_close(struct rt_logit_cache *c); /* NULL is fine; its claims go, too */

/* Says which texts the rest is about; once. keys: (n) different ones, borrowed until close. logits: (n, classes), borrowed until
 * close: rows are filled in as they are found. */
int rt_logit_cache_want(struct rt_logit_cache *c, const struct rt_text_key *keys, size_t n, float *logits,
			struct rt_err *err);

/* Takes notice of what was added since the last look, by whomever. Returns how many of the wanted are there now. */
size_t rt_logit_cache_look(struct rt_logit_cache *c);
bool rt_logit_cache_has(const struct rt_logit_cache *c, size_t i); /* row i of logits is filled */
size_t rt_logit_cache_damaged(const struct rt_logit_cache *c); /* wanted records whose checksum was wrong */

/* Tries to become the one who computes text i. False: another process does. A claim holds until rt_logit_cache_add or
 * rt_logit_cache_release; look before computing, as the text may have been added just before the claim. */
bool rt_logit_cache_claim(struct rt_logit_cache *c, size_t i);
void rt_logit_cache_release(struct rt_logit_cache *c, size_t i);

/* Adds the rows `which` (n) of logits, which the caller has filled, and gives their claims back, also after a failure. They are
 * there for this process in any case. RT_DISK_FULL: the disk, or max_bytes, has no room for more; RT_IO. After a failure nothing
 * more can be added. */
int rt_logit_cache_add(struct rt_logit_cache *c, const uint32_t *which, size_t n, struct rt_err *err);

/* Removes files of the folder dir (DIR/logits) that were not used for the longest time until all together have at most max_bytes; none that is in use.
 * Returns what they have then, bytes; -1 when dir cannot be read. ret_removed, files, may be NULL. */
int64_t rt_logit_cache_trim(const char *dir, int64_t max_bytes, size_t *ret_removed);

#endif
