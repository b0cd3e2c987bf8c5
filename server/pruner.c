/* SPDX-License-Identifier: Apache-2.0 */
/* The server's side of retention.h: plans are made beside the loop, jobs are removed on it. */
#include <stdlib.h>

#include "base/log.h"
#include "server/respond.h"
#include "server/retention.h"
#include "server/server.h"
#include "server/supervisor.h"

#define FIRST_MS  1000
#define EVERY_MS  (3600 * 1000)
#define PLANS_MAX 4

struct planning {
	uv_work_t work;
	struct rt_pruner *pruner;
	struct rt_retention_policy policy;
	struct rt_req *req; /* whose answer it is; NULL: the client has gone, or the plan is carried out */
	bool carry_out;
	struct rt_retention_plan plan;
	int rc;
	struct rt_err err;
};

static void work(uv_work_t *work)
{
	struct planning *p = work->data;

	p->rc = rt_retention_plan(p->pruner->server->data_dir, &p->policy, &p->plan, &p->err);
}

static void carry_out(struct planning *p)
{
	struct rt_server *s = p->pruner->server;
	bool gone;

	for (size_t i = 0; i < p->plan.n && !s->stopping; i++) {
		const struct rt_retention_item *item = &p->plan.items[i];
		struct rt_err err = RT_ERR_INIT;
		struct rt_job job;
		bool still;

		/* a user may have retried it since */
		if (rt_store_job_get(s->store, item->job_id, &job, &err) < 0)
			continue;
		still = rt_job_status_is_final(job.status) &&
			!rt_run_find_by_job(&s->scheduler, item->job_id);
		rt_job_release(&job);
		if (!still)
			continue;
		if (rt_scheduler_remove(&s->scheduler, item->job_id, item->why, &gone, &err) < 0)
			rt_log(RT_LOG_WARN, item->job_id, "%s, ignoring", err.msg);
		else
			rt_log(RT_LOG_INFO, item->job_id, "removed (%s), %lld bytes", item->why,
			       (long long)item->bytes);
	}
}

static void answer(struct planning *p)
{
	struct rt_buf body = RT_BUF_INIT;

	p->req->abandon = NULL;
	if (p->rc == 0) {
		rt_retention_render(&body, &p->policy, &p->plan);
		p->rc = rt_answer_json(p->req, 200, &body, &p->err);
	}
	if (p->rc < 0)
		rt_answer_error(p->req, &p->err);
	if (p->req->response)
		rt_req_resume(p->req);
}

static void done(uv_work_t *work, int status)
{
	struct planning *p = work->data;

	if (status < 0)
		p->rc = rt_fail(&p->err, RT_UNAVAILABLE, "the server is going down");
	if (p->req)
		answer(p);
	else if (p->carry_out && p->rc == 0)
		carry_out(p);
	else if (p->carry_out)
		rt_log(RT_LOG_WARN, "-", "cannot plan what goes: %s, retrying", p->err.msg);
	p->pruner->busy--;
	rt_retention_release(&p->plan);
	free(p);
}

static struct planning *begin(struct rt_pruner *pruner, const struct rt_retention_policy *policy,
			      struct rt_err *err)
{
	struct planning *p = calloc(1, sizeof *p);

	if (!p) {
		rt_fail(err, RT_NO_MEMORY, "no memory to plan what goes");
		return NULL;
	}
	p->pruner = pruner;
	p->policy = *policy;
	p->work.data = p;
	if (uv_queue_work(&pruner->server->loop, &p->work, work, done) < 0) {
		free(p);
		rt_fail(err, RT_INTERNAL, "cannot plan what goes");
		return NULL;
	}
	pruner->busy++;
	return p;
}

static void on_timer(uv_timer_t *timer)
{
	struct rt_pruner *pruner = timer->data;
	struct rt_err err = RT_ERR_INIT;
	struct planning *p = begin(pruner, &pruner->policy, &err);

	if (p)
		p->carry_out = true;
	else
		rt_log(RT_LOG_WARN, "-", "%s, retrying", err.msg);
	rt_timer_set(&pruner->server->loop, &pruner->timer, on_timer, pruner, EVERY_MS);
}

int rt_pruner_start(struct rt_pruner *p, struct rt_server *server, const struct rt_retention_policy *policy,
		    struct rt_err *err)
{
	p->server = server;
	p->policy = *policy;
	if (policy->keep_days < 0 && policy->max_bytes < 0)
		return 0; /* everything stays */
	rt_timer_set(&server->loop, &p->timer, on_timer, p, FIRST_MS);
	return p->timer ? 0 : rt_fail(err, RT_NO_MEMORY, "no memory for a timer");
}

void rt_pruner_stop(struct rt_pruner *p)
{
	rt_timer_drop(&p->timer);
}

static void on_abandon(struct rt_req *req)
{
	struct planning *p = req->work;

	p->req = NULL;
}

int rt_pruner_answer(struct rt_pruner *pruner, struct rt_req *req, const struct rt_retention_policy *policy,
		     struct rt_err *err)
{
	struct planning *p;

	if (pruner->busy >= PLANS_MAX)
		return rt_fail(err, RT_UNAVAILABLE, "%d such plans are being made; try again in a moment",
			       PLANS_MAX);
	p = begin(pruner, policy, err);
	if (!p)
		return -1;
	p->req = req;
	req->work = p;
	req->abandon = on_abandon;
	rt_req_suspend(req);
	return 0;
}
