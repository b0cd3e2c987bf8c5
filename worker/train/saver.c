/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/saver.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NICER	  10
#define HUGE_PAGE ((size_t)2 << 20)

enum stage {
	PREPARING,
	IDLE,
	COPIED,	    /* the thread's turn */
	CHECKPOINT, /* written; the caller's turn */
	STATE,	    /* the thread's turn again */
	SAVED,
	FAILED,
};

struct rt_saver {
	struct rt_saver_options o;
	struct rt_resume_numbers numbers;
	struct rt_tensor *tensors;
	size_t mapped; /* bytes of numbers.data */

	pthread_t thread;
	bool started;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	enum stage stage;
	bool stop;
	struct rt_err why; /* of FAILED */
	/* whose turn it is may touch it */
	struct rt_saver_job job;
};

static bool gives_up(void *ctx)
{
	struct rt_saver *s = ctx;
	bool stop;

	pthread_mutex_lock(&s->lock);
	stop = s->stop;
	pthread_mutex_unlock(&s->lock);
	return stop;
}

static void enter(struct rt_saver *s, enum stage stage)
{
	pthread_mutex_lock(&s->lock);
	s->stage = stage;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void fail(struct rt_saver *s, const struct rt_err *why)
{
	pthread_mutex_lock(&s->lock);
	s->why = *why;
	s->stage = FAILED;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* The next thing the thread has to do; -1: end. */
static int wait_for_turn(struct rt_saver *s)
{
	int stage;

	pthread_mutex_lock(&s->lock);
	while (!s->stop && s->stage != COPIED && s->stage != STATE)
		pthread_cond_wait(&s->changed, &s->lock);
	stage = s->stop ? -1 : (int)s->stage;
	pthread_mutex_unlock(&s->lock);
	return stage;
}

static int do_turn(struct rt_saver *s, enum stage stage, struct rt_err *err)
{
	struct rt_saver_job *job = &s->job;

	if (stage == COPIED && job->checkpoint) {
		if (job->checkpoint(job->ctx, s->tensors, s->numbers.count, err) < 0)
			return -1;
		enter(s, CHECKPOINT);
		return 0;
	}
	if (rt_resume_write(s->o.dir, &job->state, &s->numbers, gives_up, s, err) < 0)
		return rt_fail_in(err, "step %lld", (long long)job->state.train.step);
	enter(s, SAVED);
	return 0;
}

static void *run(void *ctx)
{
	struct rt_saver *s = ctx;
	struct rt_err err = RT_ERR_INIT;
	int stage;

	/* what training does not need is enough; a system that refuses loses nothing but this */
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICER);
	/* the pages are taken here and not in the training thread's copy */
	memset(s->numbers.data, 0, s->mapped);
	if (s->o.prepare && s->o.prepare(s->o.ctx, &err) < 0)
		fail(s, &err);
	else
		enter(s, IDLE);
	while ((stage = wait_for_turn(s)) >= 0) {
		err = (struct rt_err)RT_ERR_INIT;
		if (do_turn(s, (enum stage)stage, &err) < 0)
			fail(s, &err);
	}
	return NULL;
}

static int take_memory(struct rt_saver *s, struct rt_err *err)
{
	const struct rt_model *m = s->o.model;
	struct rt_resume_numbers *n = &s->numbers;
	size_t at = 0;
	void *data;

	n->count = rt_model_param_count(m);
	n->names = calloc(n->count + 1, sizeof *n->names);
	n->sizes = calloc(n->count + 1, sizeof *n->sizes);
	s->tensors = calloc(n->count + 1, sizeof *s->tensors);
	if (!n->names || !n->sizes || !s->tensors)
		return rt_fail(err, RT_NO_MEMORY, "no memory to save the training's state");
	for (size_t i = 0; i < n->count; i++) {
		struct rt_param p = rt_model_param(m, i);

		n->names[i] = p.name;
		n->sizes[i] = (size_t)tc_numel(p.t);
		n->total += n->sizes[i];
	}
	s->mapped = (rt_resume_data_bytes(n->total) + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
	data = mmap(NULL, s->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (data == MAP_FAILED)
		return rt_fail(err, RT_NO_MEMORY, "no memory (%zu MiB) to save the training's state",
			       s->mapped >> 20);
	madvise(data, s->mapped, MADV_HUGEPAGE);
	n->data = data;
	for (size_t i = 0; i < n->count; i++) {
		struct rt_param p = rt_model_param(m, i);
		struct rt_tensor *t = &s->tensors[i];

		*t = (struct rt_tensor){ .name = p.name,
					 .dtype = RT_DTYPE_F32,
					 .ndim = tc_ndim(p.t),
					 .data = n->data + at,
					 .size_bytes = n->sizes[i] * sizeof(float) };
		for (int d = 0; d < t->ndim; d++)
			t->shape[d] = tc_size(p.t, d);
		at += n->sizes[i];
	}
	return 0;
}

int rt_saver_open(const struct rt_saver_options *o, struct rt_saver **ret, struct rt_err *err)
{
	struct rt_saver *s = calloc(1, sizeof *s);
	int failed;

	if (!s)
		return rt_fail(err, RT_NO_MEMORY, "no memory to save the training's state");
	s->o = *o;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	if (take_memory(s, err) < 0)
		goto fail;
	failed = pthread_create(&s->thread, NULL, run, s);
	if (failed) {
		rt_fail_errno(err, failed, "cannot start the saving thread");
		goto fail;
	}
	s->started = true;
	*ret = s;
	return 0;
fail:
	rt_saver_close(s);
	return -1;
}

void rt_saver_close(struct rt_saver *s)
{
	if (!s)
		return;
	if (s->started) {
		pthread_mutex_lock(&s->lock);
		s->stop = true;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->thread, NULL);
	}
	rt_resume_release(&s->job.state);
	if (s->numbers.data)
		munmap(s->numbers.data, s->mapped);
	free(s->numbers.names);
	free(s->numbers.sizes);
	free(s->tensors);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

int rt_saver_ready(struct rt_saver *s, struct rt_err *err)
{
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	while (s->stage == PREPARING)
		pthread_cond_wait(&s->changed, &s->lock);
	if (s->stage == FAILED) {
		*err = s->why;
		rc = -1;
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static int copy(struct rt_saver *s, struct rt_err *err)
{
	struct rt_resume_numbers *n = &s->numbers;
	struct tc_scope *scope = tc_scope_open(NULL, TC_NO_GRAD);
	size_t at = 0;
	int rc = 0;

	for (size_t i = 0; i < n->count && rc == 0; i++) {
		struct tc_tensor *first, *second, *from[3];

		rt_trainer_moments(s->o.trainer, i, &first, &second);
		from[0] = rt_model_param(s->o.model, i).t;
		from[1] = first;
		from[2] = second;
		for (size_t k = 0; k < 3 && rc == 0; k++)
			rc = tc_read(scope, from[k], TC_F32, n->data + k * n->total + at, n->sizes[i], err);
		at += n->sizes[i];
	}
	tc_scope_close(scope);
	return rc;
}

int rt_saver_begin(struct rt_saver *s, struct rt_saver_job *job, struct rt_err *err)
{
	rt_resume_release(&s->job.state);
	s->job = *job;
	memset(&job->state, 0, sizeof job->state);
	if (rt_saver_ready(s, err) < 0 || copy(s, err) < 0)
		return -1;
	enter(s, COPIED);
	return 0;
}

int rt_saver_poll(struct rt_saver *s, bool block, enum rt_saver_news *ret, struct rt_err *err)
{
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	while (block && (s->stage == COPIED || s->stage == STATE))
		pthread_cond_wait(&s->changed, &s->lock);
	switch (s->stage) {
	case CHECKPOINT:
		*ret = RT_SAVER_CHECKPOINT;
		break;
	case SAVED:
		*ret = RT_SAVER_STATE;
		s->stage = IDLE;
		break;
	case FAILED:
		*err = s->why;
		s->stage = IDLE;
		rc = -1;
		break;
	case COPIED:
	case STATE:
		*ret = RT_SAVER_BUSY;
		break;
	case PREPARING:
	case IDLE:
		*ret = RT_SAVER_IDLE;
		break;
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

void rt_saver_go_on(struct rt_saver *s)
{
	enter(s, STATE);
}
