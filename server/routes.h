/* SPDX-License-Identifier: Apache-2.0 */
/* All routes, and their handlers; one file for each resource (route_<resource>.c). */
#ifndef RT_SERVER_ROUTES_H
#define RT_SERVER_ROUTES_H

#include "server/http.h"

#define RT_SPEC_BODY_MAX   (1U << 20) /* bytes */
#define RT_EVENTS_BODY_MAX (8U << 20)
#define RT_TEXT_BODY_MAX   (64U << 10)

extern const struct rt_route rt_routes[];

int rt_route_jobs_post(struct rt_req *req, struct rt_err *err);
int rt_route_jobs_list(struct rt_req *req, struct rt_err *err);
int rt_route_jobs_counts(struct rt_req *req, struct rt_err *err);
int rt_route_jobs_validate(struct rt_req *req, struct rt_err *err);
int rt_route_job_get(struct rt_req *req, struct rt_err *err);
int rt_route_job_delete(struct rt_req *req, struct rt_err *err);
int rt_route_job_patch(struct rt_req *req, struct rt_err *err);
int rt_route_job_cancel(struct rt_req *req, struct rt_err *err);
int rt_route_job_pause(struct rt_req *req, struct rt_err *err);
int rt_route_job_resume(struct rt_req *req, struct rt_err *err);
int rt_route_job_retry(struct rt_req *req, struct rt_err *err);

int rt_route_job_events(struct rt_req *req, struct rt_err *err);
int rt_route_job_steps(struct rt_req *req, struct rt_err *err);
int rt_route_job_evaluation(struct rt_req *req, struct rt_err *err);
int rt_route_job_epochs(struct rt_req *req, struct rt_err *err);
int rt_route_job_logs(struct rt_req *req, struct rt_err *err);
int rt_route_events(struct rt_req *req, struct rt_err *err);

int rt_route_checkpoints_list(struct rt_req *req, struct rt_err *err);
int rt_route_checkpoint_get(struct rt_req *req, struct rt_err *err);
int rt_route_checkpoint_file(struct rt_req *req, struct rt_err *err);
int rt_route_checkpoint_archive(struct rt_req *req, struct rt_err *err);

int rt_route_model_soft_labels(struct rt_req *req, struct rt_err *err);

int rt_route_worker_events(struct rt_req *req, struct rt_err *err);

int rt_route_retention(struct rt_req *req, struct rt_err *err);
int rt_route_healthz(struct rt_req *req, struct rt_err *err);
int rt_route_readyz(struct rt_req *req, struct rt_err *err);
int rt_route_version(struct rt_req *req, struct rt_err *err);
int rt_route_openapi(struct rt_req *req, struct rt_err *err);

int rt_route_web_page(struct rt_req *req, struct rt_err *err);
int rt_route_web_file(struct rt_req *req, struct rt_err *err);

#endif
