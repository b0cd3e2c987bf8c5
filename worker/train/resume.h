/* SPDX-License-Identifier: Apache-2.0 */
/* Saved states: all that a run needs to go on as if it had never been interrupted, one file each below DIR/resume. Reading,
 * writing, checking; when one is written and from what is saver.h's and run.c's business.
 *
 *   state-<step, 12 digits>
 *     "RTSTATE1", u64 n, n bytes of JSON (struct rt_resume), spaces up to a multiple of 4,096
 *     f32 numbers: all parameters, all first moments, all second moments, each in the model's order; zeros up to 4,096
 *     SHA-256 of all before as 64 digits; spaces up to 4,096
 *   .tmp-state-…   one in the making; the next writer removes it
 *
 * A state appears whole (fsync, rename, fsync of the folder); the newest two are kept. Numbers of the JSON that must come back
 * bit by bit are hexadecimal text ("0x1.8p+1", "nan"). Changing the format: raise VERSION in resume.c; a state of another
 * version is passed over like a broken one, and the run begins anew. */
#ifndef RT_WORKER_TRAIN_RESUME_H
#define RT_WORKER_TRAIN_RESUME_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/id.h"
#include "worker/export/export.h"
#include "worker/train/setup.h"
#include "worker/train/trainer.h"

/* What the run was made of: SHA-256, or "" where there is none. */
struct rt_resume_prints {
	char data[RT_SHA256_SIZE]; /* texts, labels and classes of training and validation split */
	char student_tokenizer[RT_SHA256_SIZE]; /* rt_tokenizer_fingerprint */
	char teacher_tokenizer[RT_SHA256_SIZE];
	char student[RT_SHA256_SIZE]; /* config.json and weights as they were at the start */
	char teacher[RT_SHA256_SIZE];
};

struct rt_resume {
	struct rt_train_state train;
	double run_seconds; /* of the job so far, all attempts */
	json_t *spec;	    /* as rt_spec_json; owned */
	int threads;
	char torch[32];
	struct rt_resume_prints prints;
	struct rt_epoch_record *epochs; /* all so far; owned */
	size_t epoch_count;
	int64_t best_epoch;
	double best_accuracy, best_metric;
	/* The checkpoints that the run has, oldest first, and which is the best ("" before the first). */
	char (*checkpoints)[RT_ID_SIZE]; /* owned */
	size_t checkpoint_count;
	char best[RT_ID_SIZE];
	char tb_name[96]; /* the TensorBoard file below DIR/runs, and how much of it belongs to this state */
	int64_t tb_bytes;
};
void rt_resume_release(struct rt_resume *r); /* a zeroed one is fine */

/* ---- writing ---- */

/* The numbers of a model's parameters and of their moments, one behind the other. */
struct rt_resume_numbers {
	size_t count;	    /* parameters */
	const char **names; /* of each; borrowed */
	size_t *sizes;	    /* numbers in each */
	size_t total;	    /* sum of sizes */
	float *data;	    /* 3 * total, on a page's edge, with room up to a multiple of 4,096 bytes */
};
/* Bytes of data for that many numbers. */
size_t rt_resume_data_bytes(size_t total);

/* Writes DIR/resume/state-<step> and removes all but the newest two. give_up: looked at now and then; once true the file is
 * removed again and the answer is RT_CANCELLED. NULL: never. RT_DISK_FULL, RT_IO, RT_NO_MEMORY: no trace of it is left. */
int rt_resume_write(const char *dir, const struct rt_resume *what, const struct rt_resume_numbers *numbers,
		    bool (*give_up)(void *ctx), void *ctx, struct rt_err *err);

/* ---- reading ---- */

struct rt_resume_file {
	char name[40]; /* "state-000000000120" */
	char *path;
	struct rt_map map;
	struct rt_resume state;
	json_t *parameters; /* names and sizes */
	const float *data;
	size_t total;
};
void rt_resume_file_close(struct rt_resume_file *f); /* NULL is fine */

/* The newest state below dir/resume that is whole (checksum) and whose checkpoints are all there. *ret is NULL when there is
 * none; why then says what was found, and else which newer ones were passed over ("" for none). RT_NO_MEMORY, RT_IO. */
int rt_resume_find(const char *dir, struct rt_resume_file **ret, struct rt_buf *why, struct rt_err *err);

/* Makes the state of another run's folder this run's: its checkpoints, its part of the TensorBoard file, then the state itself,
 * as hard links where they can be, durable on return. Killed on the way, it leaves no state; called again it goes on. */
int rt_resume_take_over(const struct rt_resume_file *f, const char *from, const char *dir,
			struct rt_err *err);

/* 0 when the run that is set up is the one that was saved. What differs goes to problems by field, and then RT_CONFLICT. */
int rt_resume_check(const struct rt_resume *saved, const struct rt_spec *spec,
		    const struct rt_resume_prints *now, struct rt_problems *problems, struct rt_err *err);

/* Puts parameters, moments and the trainer's state back. RT_CONFLICT: the state is of another model. */
int rt_resume_restore(const struct rt_resume_file *f, struct rt_model *model, struct rt_trainer *trainer,
		      struct rt_err *err);

/* ---- fingerprints ---- */

/* All of *ret but student and teacher, which read_models adds: it reads the weights' files through. */
int rt_resume_prints_of(const struct rt_setup *s, struct rt_resume_prints *ret, struct rt_err *err);
int rt_resume_prints_models(const struct rt_spec *spec, const char *cache_dir, struct rt_resume_prints *ret,
			    struct rt_err *err);
/* SHA-256 over the config.json and weights of a model's folder. cache_dir: where checksums of files are remembered
 * (known_files.h), or NULL. */
int rt_resume_print_model(const char *dir, const char *cache_dir, char ret_hex[RT_SHA256_SIZE],
			  struct rt_err *err);

#endif
