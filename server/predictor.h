/* SPDX-License-Identifier: Apache-2.0 */
/* Asks models about texts: `retort-worker logits` as a process that stays, one a model, started when somebody asks and ended
 * when nobody has for a while. It gets one text at a time. A process that dies fails the text it had; those behind it go to
 * a new one. So a model that kills its process takes nothing with it. */
#ifndef RT_SERVER_PREDICTOR_H
#define RT_SERVER_PREDICTOR_H

#include <stdbool.h>
#include <uv.h>

#include "server/http.h"

#define RT_PREDICTORS_MAX    2	/* models at a time; an idle one makes room */
#define RT_PREDICTOR_QUEUE   32 /* texts that wait for one model */
#define RT_PREDICTOR_IDLE_S  60
#define RT_PREDICTOR_LIMIT_S 60 /* for one text, loading the model included */

struct rt_predictor;
struct rt_predictors {
	uv_loop_t *loop;
	const char *worker;
	int threads;
	bool stopping;
	struct rt_predictor *first;
	size_t n;
};

/* What came out: n logits and the classes' names from the model's config.json ("LABEL_3" where it has none). Borrowed. */
struct rt_prediction {
	const double *logits;
	const char *const *labels;
	size_t n;
};

/* Answers req later: calls done, which makes the answer or fails, in which case err becomes it. dir: the model's folder, a
 * real path; copied. text: UTF-8; copied. arg is given: it is freed with free() when it is over, also when this fails.
 * RT_UNAVAILABLE when too much waits. */
int rt_predictor_ask(struct rt_predictors *p, struct rt_req *req, const char *dir, const char *text,
		     size_t text_len,
		     int (*done)(struct rt_req *req, const struct rt_prediction *got, void *arg,
				 struct rt_err *err),
		     void *arg, struct rt_err *err);
/* Kills what runs; the requests get no answer of ours. Before the loop's last turn. */
void rt_predictors_stop(struct rt_predictors *p);

#endif
