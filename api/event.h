/* SPDX-License-Identifier: Apache-2.0 */
/* Events: what a run says to the server, one JSON object a line (NDJSON). The worker writes a line to events.ndjson
 * first and posts it after; the server stores each seq once. Same type, same data.
 *
 *   {"seq":1,"type":"run.started","at":"2026-11-24T03:43:53.123Z","level":"info","message":"…","data":{…}}
 *
 * type                  data (R: always there; the others may be null or missing)
 * run.started           R pid, threads, seed, precision, teacher_precision; version, torch, blas, matmul_gflops,
 *                         spec (as resolved), loss
 * run.resumed           R from_step, from_epoch (epochs that are complete in the state that it goes on from); state (an id),
 *                         checkpoints: ids of those that the run has taken over
 * run.phase             R phase: validating, caching_teacher, training, evaluating, exporting
 * data.loaded           R train_rows, validation_rows, labels; test_rows, truncated_rows, columns, splits, tokenizers
 *                         (with a teacher: {likeness, means, differs_in, …} of its tokenizer and the student's)
 * model.loaded          R role (teacher|student), parameters; family, missing, unexpected, initialised (names, 200 at most),
 *                         missing_count, unexpected_count, initialised_count, max_length
 * teacher.progress      R done, total; texts_per_s, eta_s, cached (of done), waiting (another job computes the rest)
 * teacher.completed     R forwards_done, forwards_avoided, seconds; rows, accuracy (on validation), forwards_cached
 * train.progress        R step, total_steps, epoch, loss, learning_rate; ce_loss, kd_loss, grad_norm, samples_per_s,
 *                         eta_s
 * epoch.completed       R epoch, step, train_loss, eval_loss, eval_accuracy, learning_rate; train_ce_loss, train_kd_loss,
 *                         eval_ce_loss, eval_kd_loss, samples_per_s, seconds, eta_s, best (bool)
 * eval.classes          R epoch, rows, correct, classes_total, classes: [{label, count, predicted, correct}] (at most 1000,
 *                         those with most rows), confused: [{label, predicted, count}] (at most 50, most first);
 *                         agreed (rows where student and teacher say the same)
 * checkpoint.written    R checkpoint_id, dir (below the run's folder), step, epoch, best (bool), size_bytes,
 *                         files: [{name, size_bytes, sha256}]; metrics
 * checkpoint.deleted    R checkpoint_id
 * log                   (the words are in message); pointer
 * run.succeeded         R best_checkpoint_id, seconds; best_epoch, best_accuracy
 * run.failed            R reason (see RT_REASONS); errors: [{pointer, detail, suggestion}], seconds
 * run.cancelled         (none): the user's wish; exit status 3
 * run.paused            step, epoch of the state that was saved: the user's wish; exit status 4
 * run.stopped           step, epoch likewise: somebody sent SIGTERM; exit status 5
 *
 * A loss that is NaN or infinite is null here, and an event of level error says so. */
#ifndef RT_API_EVENT_H
#define RT_API_EVENT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Why a run failed; the word that run.failed carries and that job.error.reason shows. */
#define RT_REASONS                                                                                           \
	"bad_input", "out_of_memory", "disk_full", "diverged", "deadline", "worker_lost", "hub_unavailable", \
		"internal"

/* Longest line that a server takes, bytes. */
#define RT_EVENT_MAX_BYTES (1 << 20)

struct rt_event {
	int64_t seq;	     /* 1, 2, 3… within the run */
	const char *type;    /* borrowed from json */
	const char *at;	     /* RFC 3339 UTC; borrowed */
	const char *level;   /* info, warn or error; borrowed */
	const char *message; /* one sentence, may be ""; borrowed */
	json_t *data;	     /* an object; borrowed */
	json_t *json;	     /* the whole; owned */
};

/* Reads and checks one line (without its newline). RT_INVALID names what is wrong. The caller releases *ret. */
int rt_event_parse(const char *line, size_t len, struct rt_event *ret, struct rt_err *err);
void rt_event_release(struct rt_event *event); /* a zeroed one is fine */

/* Appends one line with its newline. data: an object or NULL for {}; borrowed. */
void rt_event_write(struct rt_buf *out, int64_t seq, const char *type, const char *level, int64_t at_ms,
		    const char *message, const json_t *data);

#endif
