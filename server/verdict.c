/* SPDX-License-Identifier: Apache-2.0 */
#include "server/verdict.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum policy { RESTART, WAIT_FOR_DISK, GIVE_UP };

static const struct {
	const char *reason;
	enum policy policy;
	const char *advice; /* behind the message of a job that fails */
} policies[] = {
	{ "worker_lost", RESTART, "its log and POST …/retry may help" },
	{ "internal", RESTART, "its log says more; POST …/retry goes on from the last saved state" },
	{ "hub_unavailable", RESTART, "POST …/retry when the Hub can be reached" },
	{ "disk_full", WAIT_FOR_DISK, "" },
	{ "out_of_memory", GIVE_UP,
	  "the same batch would need the same memory: send a job with a smaller per_device_train_batch_size "
	  "(and "
	  "gradient_accumulation_steps to make up for it) or a shorter max_length, or give the machine "
	  "more" },
	{ "deadline", GIVE_UP,
	  "its checkpoints are kept. Allow it more with PATCH max_runtime_s and POST …/retry, or ask for "
	  "fewer "
	  "epochs" },
	{ "diverged", GIVE_UP, "" },
	{ "bad_input", GIVE_UP, "" },
};

static enum policy policy_of(const char *reason, const char **ret_advice)
{
	for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
		if (strcmp(policies[i].reason, reason) == 0) {
			*ret_advice = policies[i].advice;
			return policies[i].policy;
		}
	}
	*ret_advice = "";
	return GIVE_UP;
}

/* What happened to a worker that went without a word. */
static const char *tell_lost(const struct rt_ending *e, char *out, size_t size)
{
	if (e->stop == RT_STOP_HUNG) {
		snprintf(out, size, "%s", e->why);
		return "worker_lost";
	}
	if ((e->exit_signal == SIGKILL || e->adopted) && e->oom == RT_OOM_SURE && !e->grace_over) {
		snprintf(out, size,
			 "the kernel killed the worker because memory ran short (its log names the process)");
		return "out_of_memory";
	}
	if (e->exit_signal == SIGKILL && e->oom == RT_OOM_LIKELY && !e->grace_over) {
		snprintf(out, size,
			 "the worker was killed, most likely by the kernel because memory ran short: it "
			 "counted such a "
			 "kill while the worker ran, and does not say of which process");
		return "out_of_memory";
	}
	if (e->exit_signal > 0)
		snprintf(out, size, "the worker was killed by signal %d (%s)", (int)e->exit_signal,
			 strsignal((int)e->exit_signal));
	else if (e->exit_status >= 0)
		snprintf(out, size, "the worker exited with status %d without saying how the run ended",
			 (int)e->exit_status);
	else
		snprintf(out, size, "the worker went away%s; how is not known",
			 e->was_away  ? " while no server looked"
			 : e->adopted ? ", and an earlier server had started it"
				      : "");
	return "worker_lost";
}

static void fail(struct rt_verdict *v, const char *reason, const char *message, const char *advice)
{
	v->move = RT_MOVE_FAIL;
	v->reason = reason;
	snprintf(v->message, sizeof v->message, "%s%s%s", message, *message && *advice ? "; " : "", advice);
}

static void requeue(struct rt_verdict *v, const char *message)
{
	v->move = RT_MOVE_REQUEUE;
	snprintf(v->message, sizeof v->message, "%s", message);
}

static void restart(const struct rt_ending *e, struct rt_verdict *v, const char *reason, const char *message,
		    const char *advice)
{
	int64_t delay = e->delay_s;
	char words[460];

	if (e->restarts >= e->max_restarts) {
		snprintf(words, sizeof words,
			 "%.300s; the job was started again %lld times (max_restarts %lld)", message,
			 (long long)e->restarts, (long long)e->max_restarts);
		fail(v, reason, words, advice);
		return;
	}
	for (int64_t i = 0; i < e->restarts && delay < RT_RESTART_DELAY_MAX_S; i++)
		delay *= 2;
	v->delay_s = delay < RT_RESTART_DELAY_MAX_S ? delay : RT_RESTART_DELAY_MAX_S;
	v->reason = reason;
	v->is_restart = true;
	snprintf(words, sizeof words, "%.300s; starting it again in %lld s (restart %lld of %lld)", message,
		 (long long)v->delay_s, (long long)e->restarts + 1, (long long)e->max_restarts);
	requeue(v, words);
}

static void judge_failure(const struct rt_ending *e, struct rt_verdict *v, const char *reason,
			  const char *message)
{
	const char *advice;
	enum policy policy = policy_of(reason, &advice);

	if (e->status == RT_JOB_PAUSING && policy != GIVE_UP) {
		v->move = RT_MOVE_PAUSED;
		snprintf(v->message, sizeof v->message,
			 "%.500s; it goes on from its last saved state when it is resumed", message);
	} else if (policy == WAIT_FOR_DISK) {
		v->move = RT_MOVE_PAUSED;
		v->reason = reason;
		v->waits_for_disk = true;
		snprintf(v->message, sizeof v->message,
			 "%.500s; the job goes on by itself when there is room", message);
	} else if (policy == RESTART) {
		restart(e, v, reason, message, advice);
	} else {
		/* a worker that speaks gives its own advice */
		fail(v, reason, message, e->end == RT_RUN_FAILED ? "" : advice);
	}
}

void rt_verdict_of(const struct rt_ending *e, struct rt_verdict *ret)
{
	char lost[300];
	const char *reason = e->reason, *message = e->message ? e->message : "";
	bool saved = e->end == RT_RUN_PAUSED || e->end == RT_RUN_STOPPED || e->end == RT_RUN_CANCELLED;

	memset(ret, 0, sizeof *ret);
	if (e->end == RT_RUN_SUCCEEDED) {
		ret->move = RT_MOVE_SUCCEED;
		snprintf(ret->message, sizeof ret->message, "%s", message);
		return;
	}
	if (e->status == RT_JOB_CANCELLING) {
		ret->move = RT_MOVE_STOPPED;
		if (e->grace_over)
			snprintf(ret->message, sizeof ret->message,
				 "the worker did not stop in time and was killed");
		return;
	}
	if (e->stop == RT_STOP_DEADLINE) {
		fail(ret, "deadline", "the job ran as long as its max_runtime_s allows", policies[5].advice);
		return;
	}
	if (e->stop == RT_STOP_NONSENSE) {
		fail(ret, "internal", e->why, "");
		return;
	}
	if (e->status == RT_JOB_PAUSING && (saved || e->grace_over)) {
		ret->move = RT_MOVE_PAUSED;
		if (e->grace_over)
			snprintf(ret->message, sizeof ret->message,
				 "the worker did not save its state in time and was killed; the job goes on "
				 "from the state "
				 "before");
		return;
	}
	if (e->stop == RT_STOP_SHUTDOWN && e->end != RT_RUN_FAILED) {
		requeue(ret, saved ? "the server was stopped; the job goes on when it is back"
				   : "the server was stopped and the worker did not save its state in time; "
				     "the job goes on from "
				     "the state before when the server is back");
		return;
	}
	if (saved) {
		if (e->end == RT_RUN_CANCELLED) {
			ret->move = RT_MOVE_STOPPED;
			snprintf(ret->message, sizeof ret->message, "someone stopped the worker");
		} else {
			/* SIGTERM from outside, as when a service manager ends all processes of the service at once */
			requeue(ret, "someone stopped the worker; its state is saved and the job goes on");
			ret->delay_s = 1;
		}
		return;
	}
	if (e->end == RT_RUN_GOES_ON) {
		reason = tell_lost(e, lost, sizeof lost);
		message = lost;
	}
	judge_failure(e, ret, reason, message);
}
