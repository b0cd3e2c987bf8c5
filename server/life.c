/* SPDX-License-Identifier: Apache-2.0 */
#include "server/life.h"

#include <stdio.h>
#include <string.h>

static const char *const status_words[RT_JOB_STATUS_COUNT] = {
	[RT_JOB_VALIDATING] = "validating", [RT_JOB_QUEUED] = "queued", [RT_JOB_RUNNING] = "running",
	[RT_JOB_PAUSING] = "pausing",	    [RT_JOB_PAUSED] = "paused", [RT_JOB_CANCELLING] = "cancelling",
	[RT_JOB_SUCCEEDED] = "succeeded",   [RT_JOB_FAILED] = "failed", [RT_JOB_CANCELLED] = "cancelled",
};

static const char *const move_words[RT_MOVE_COUNT] = {
	[RT_MOVE_ACCEPT] = "accept",   [RT_MOVE_TAKE] = "take",	    [RT_MOVE_REQUEUE] = "requeue",
	[RT_MOVE_PAUSE] = "pause",     [RT_MOVE_PAUSED] = "paused", [RT_MOVE_RESUME] = "resume",
	[RT_MOVE_CANCEL] = "cancel",   [RT_MOVE_RETRY] = "retry",   [RT_MOVE_STOPPED] = "stop",
	[RT_MOVE_SUCCEED] = "succeed", [RT_MOVE_FAIL] = "fail",
};

/* A move that is not here is refused. */
static const struct {
	enum rt_job_status from;
	enum rt_job_move move;
	enum rt_job_status to;
} moves[] = {
	{ RT_JOB_VALIDATING, RT_MOVE_ACCEPT, RT_JOB_QUEUED },
	{ RT_JOB_VALIDATING, RT_MOVE_CANCEL, RT_JOB_CANCELLED },
	{ RT_JOB_VALIDATING, RT_MOVE_FAIL, RT_JOB_FAILED },
	{ RT_JOB_QUEUED, RT_MOVE_TAKE, RT_JOB_RUNNING },
	{ RT_JOB_QUEUED, RT_MOVE_PAUSE, RT_JOB_PAUSED },
	{ RT_JOB_QUEUED, RT_MOVE_CANCEL, RT_JOB_CANCELLED },
	{ RT_JOB_QUEUED, RT_MOVE_FAIL, RT_JOB_FAILED },
	{ RT_JOB_RUNNING, RT_MOVE_REQUEUE, RT_JOB_QUEUED },
	{ RT_JOB_RUNNING, RT_MOVE_PAUSE, RT_JOB_PAUSING },
	{ RT_JOB_RUNNING, RT_MOVE_PAUSED, RT_JOB_PAUSED },
	{ RT_JOB_RUNNING, RT_MOVE_CANCEL, RT_JOB_CANCELLING },
	{ RT_JOB_RUNNING, RT_MOVE_STOPPED, RT_JOB_CANCELLED },
	{ RT_JOB_RUNNING, RT_MOVE_SUCCEED, RT_JOB_SUCCEEDED },
	{ RT_JOB_RUNNING, RT_MOVE_FAIL, RT_JOB_FAILED },
	{ RT_JOB_PAUSING, RT_MOVE_PAUSE, RT_JOB_PAUSING },
	{ RT_JOB_PAUSING, RT_MOVE_PAUSED, RT_JOB_PAUSED },
	{ RT_JOB_PAUSING, RT_MOVE_CANCEL, RT_JOB_CANCELLING },
	{ RT_JOB_PAUSING, RT_MOVE_SUCCEED, RT_JOB_SUCCEEDED },
	{ RT_JOB_PAUSING, RT_MOVE_FAIL, RT_JOB_FAILED },
	{ RT_JOB_PAUSED, RT_MOVE_PAUSE, RT_JOB_PAUSED },
	{ RT_JOB_PAUSED, RT_MOVE_RESUME, RT_JOB_QUEUED },
	{ RT_JOB_PAUSED, RT_MOVE_CANCEL, RT_JOB_CANCELLED },
	{ RT_JOB_CANCELLING, RT_MOVE_CANCEL, RT_JOB_CANCELLING },
	{ RT_JOB_CANCELLING, RT_MOVE_STOPPED, RT_JOB_CANCELLED },
	{ RT_JOB_CANCELLING, RT_MOVE_SUCCEED, RT_JOB_SUCCEEDED },
	{ RT_JOB_FAILED, RT_MOVE_RETRY, RT_JOB_QUEUED },
	{ RT_JOB_CANCELLED, RT_MOVE_RETRY, RT_JOB_QUEUED },
};

static const enum rt_job_move users[] = { RT_MOVE_PAUSE, RT_MOVE_RESUME, RT_MOVE_CANCEL, RT_MOVE_RETRY };

const char *rt_job_status_word(enum rt_job_status status)
{
	return status_words[status];
}

int rt_job_status_parse(const char *word, enum rt_job_status *ret)
{
	for (int i = 0; i < RT_JOB_STATUS_COUNT; i++) {
		if (strcmp(status_words[i], word) == 0) {
			*ret = (enum rt_job_status)i;
			return 0;
		}
	}
	return -1;
}

bool rt_job_status_is_final(enum rt_job_status status)
{
	return status >= RT_JOB_SUCCEEDED;
}

const char *rt_job_move_word(enum rt_job_move move)
{
	return move_words[move];
}

static bool leads_on(enum rt_job_status from, enum rt_job_move move)
{
	for (size_t i = 0; i < sizeof moves / sizeof *moves; i++) {
		if (moves[i].from == from && moves[i].move == move)
			return moves[i].to != from;
	}
	return false;
}

const char *rt_life_action(enum rt_job_status status, size_t n)
{
	for (size_t i = 0; i < sizeof users / sizeof *users; i++) {
		if (leads_on(status, users[i]) && n-- == 0)
			return move_words[users[i]];
	}
	return n == 0 ? "delete" : NULL;
}

static const char *allowed_now(enum rt_job_status status, char out[80])
{
	size_t n = 0;

	for (size_t i = 0; rt_life_action(status, i) && n < 80; i++)
		n += (size_t)snprintf(out + n, 80 - n, "%s%s", i ? ", " : "", rt_life_action(status, i));
	return out;
}

int rt_life_move(enum rt_job_status from, enum rt_job_move move, enum rt_job_status *ret, struct rt_err *err)
{
	char fine[160] = "", now[80];
	size_t n = 0;

	for (size_t i = 0; i < sizeof moves / sizeof *moves; i++) {
		if (moves[i].move != move)
			continue;
		if (moves[i].from == from) {
			*ret = moves[i].to;
			return 0;
		}
		if (n < sizeof fine)
			n += (size_t)snprintf(fine + n, sizeof fine - n, "%s%s", n ? ", " : "",
					      status_words[moves[i].from]);
	}
	return rt_fail(err, RT_CONFLICT, "the job is %s; %s is possible while it is %s; possible now: %s",
		       status_words[from], move_words[move], fine, allowed_now(from, now));
}
