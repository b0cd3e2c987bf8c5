/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/jobs:validate beyond the fields: runs `retort-worker validate` and answers with its report. */
#ifndef RT_SERVER_VALIDATOR_H
#define RT_SERVER_VALIDATOR_H

#include <jansson.h>
#include <uv.h>

#include "server/http.h"

#define RT_VALIDATIONS_MAX 4 /* at the same time; more are told to come back */

struct rt_validation;
struct rt_validator {
	uv_loop_t *loop;
	const char *worker;
	const struct rt_roots *roots;
	char *dir; /* for the specs: DATA/tmp; owned */
	struct rt_validation *first;
	size_t n;
};

/* Answers later. worker_spec: with paths in the place of ids; user_spec: as the client shall see it. Both borrowed. */
int rt_validator_run(struct rt_validator *v, struct rt_req *req, const json_t *worker_spec,
		     const json_t *user_spec, struct rt_err *err);
/* Kills what runs; the requests get no answer of ours. Before the loop's last turn. */
void rt_validator_stop(struct rt_validator *v);

#endif
