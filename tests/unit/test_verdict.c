/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a job when its run ends, and whether the kernel killed a worker. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "server/oom.h"
#include "server/verdict.h"

static struct rt_ending ending(enum rt_job_status status, enum rt_stop stop, enum rt_run_end end,
			       const char *reason)
{
	return (struct rt_ending){ .status = status,
				   .stop = stop,
				   .why = "why",
				   .end = end,
				   .reason = reason,
				   .message = "words",
				   .exit_status = -1,
				   .exit_signal = -1,
				   .max_restarts = 3,
				   .delay_s = 5 };
}

static void each_ending_has_its_move(void **state)
{
	static const struct {
		const char *name;
		enum rt_job_status status;
		enum rt_stop stop;
		enum rt_run_end end;
		const char *said; /* by run.failed */
		enum rt_job_move move;
		const char *reason;
		bool restarts;
	} rows[] = {
		{ "done", RT_JOB_RUNNING, RT_STOP_NONE, RT_RUN_SUCCEEDED, NULL, RT_MOVE_SUCCEED, NULL,
		  false },
		{ "done while pausing", RT_JOB_PAUSING, RT_STOP_PAUSE, RT_RUN_SUCCEEDED, NULL,
		  RT_MOVE_SUCCEED, NULL, false },
		{ "done while cancelling", RT_JOB_CANCELLING, RT_STOP_CANCEL, RT_RUN_SUCCEEDED, NULL,
		  RT_MOVE_SUCCEED, NULL, false },
		{ "cancelled", RT_JOB_CANCELLING, RT_STOP_CANCEL, RT_RUN_STOPPED, NULL, RT_MOVE_STOPPED, NULL,
		  false },
		{ "crashed while cancelling", RT_JOB_CANCELLING, RT_STOP_CANCEL, RT_RUN_GOES_ON, NULL,
		  RT_MOVE_STOPPED, NULL, false },
		{ "failed while cancelling", RT_JOB_CANCELLING, RT_STOP_CANCEL, RT_RUN_FAILED, "bad_input",
		  RT_MOVE_STOPPED, NULL, false },
		{ "paused", RT_JOB_PAUSING, RT_STOP_PAUSE, RT_RUN_PAUSED, NULL, RT_MOVE_PAUSED, NULL, false },
		{ "stopped while pausing", RT_JOB_PAUSING, RT_STOP_PAUSE, RT_RUN_STOPPED, NULL,
		  RT_MOVE_PAUSED, NULL, false },
		{ "lost while pausing", RT_JOB_PAUSING, RT_STOP_PAUSE, RT_RUN_GOES_ON, NULL, RT_MOVE_PAUSED,
		  NULL, false },
		{ "diverged while pausing", RT_JOB_PAUSING, RT_STOP_PAUSE, RT_RUN_FAILED, "diverged",
		  RT_MOVE_FAIL, "diverged", false },
		{ "server stops", RT_JOB_RUNNING, RT_STOP_SHUTDOWN, RT_RUN_STOPPED, NULL, RT_MOVE_REQUEUE,
		  NULL, false },
		{ "server stops, killed", RT_JOB_RUNNING, RT_STOP_SHUTDOWN, RT_RUN_GOES_ON, NULL,
		  RT_MOVE_REQUEUE, NULL, false },
		{ "server stops, pauses", RT_JOB_RUNNING, RT_STOP_SHUTDOWN, RT_RUN_PAUSED, NULL,
		  RT_MOVE_REQUEUE, NULL, false },
		{ "server stops, failed", RT_JOB_RUNNING, RT_STOP_SHUTDOWN, RT_RUN_FAILED, "bad_input",
		  RT_MOVE_FAIL, "bad_input", false },
		{ "someone stops it", RT_JOB_RUNNING, RT_STOP_NONE, RT_RUN_STOPPED, NULL, RT_MOVE_REQUEUE,
		  NULL, false },
		{ "deadline", RT_JOB_RUNNING, RT_STOP_DEADLINE, RT_RUN_STOPPED, NULL, RT_MOVE_FAIL,
		  "deadline", false },
		{ "nonsense", RT_JOB_RUNNING, RT_STOP_NONSENSE, RT_RUN_STOPPED, NULL, RT_MOVE_FAIL,
		  "internal", false },
		{ "hung", RT_JOB_RUNNING, RT_STOP_HUNG, RT_RUN_GOES_ON, NULL, RT_MOVE_REQUEUE, "worker_lost",
		  true },
		{ "lost", RT_JOB_RUNNING, RT_STOP_NONE, RT_RUN_GOES_ON, NULL, RT_MOVE_REQUEUE, "worker_lost",
		  true },
		{ "internal", RT_JOB_RUNNING, RT_STOP_NONE, RT_RUN_FAILED, "internal", RT_MOVE_REQUEUE,
		  "internal", true },
		{ "no hub", RT_JOB_RUNNING, RT_STOP_NONE, RT_RUN_FAILED, "hub_unavailable", RT_MOVE_REQUEUE,
		  "hub_unavailable", true },
		{ "no room", RT_JOB_RUNNING, RT_STOP_NONE, RT_RUN_FAILED, "disk_full", RT_MOVE_PAUSED,
		  "disk_full", false },
		{ "no memory", RT_JOB_RUNNING, RT_STOP_NONE, RT_RUN_FAILED, "out_of_memory", RT_MOVE_FAIL,
		  "out_of_memory", false },
		{ "diverged", RT_JOB_RUNNING, RT_STOP_NONE, RT_RUN_FAILED, "diverged", RT_MOVE_FAIL,
		  "diverged", false },
		{ "bad input", RT_JOB_RUNNING, RT_STOP_NONE, RT_RUN_FAILED, "bad_input", RT_MOVE_FAIL,
		  "bad_input", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_ending e = ending(rows[i].status, rows[i].stop, rows[i].end, rows[i].said);
		enum rt_job_status to;
		struct rt_verdict v;

		print_message("%s\n", rows[i].name);
		rt_verdict_of(&e, &v);
		assert_int_equal(v.move, rows[i].move);
		assert_int_equal(v.is_restart, rows[i].restarts);
		if (rows[i].reason)
			assert_string_equal(v.reason, rows[i].reason);
		else
			assert_null(v.reason);
		assert_int_equal(v.waits_for_disk,
				 rows[i].reason && strcmp(rows[i].reason, "disk_full") == 0);
		assert_int_equal(rt_life_move(rows[i].status, v.move, &to, NULL),
				 0); /* along the table only */
	}
}

static void restarts_wait_longer_and_end(void **state)
{
	static const int64_t waits[] = { 5, 10, 20, 40, 80, 160, 300, 300 };
	struct rt_ending e = ending(RT_JOB_RUNNING, RT_STOP_NONE, RT_RUN_GOES_ON, NULL);
	struct rt_verdict v;

	(void)state;
	e.max_restarts = 8;
	e.exit_signal = SIGSEGV;
	for (e.restarts = 0; e.restarts < 8; e.restarts++) {
		rt_verdict_of(&e, &v);
		assert_int_equal(v.move, RT_MOVE_REQUEUE);
		assert_int_equal(v.delay_s, waits[e.restarts]);
	}
	rt_verdict_of(&e, &v);
	assert_int_equal(v.move, RT_MOVE_FAIL);
	assert_string_equal(v.reason, "worker_lost");
	assert_non_null(strstr(v.message, "signal 11"));
	assert_non_null(strstr(v.message, "8 times"));
}

static void a_kill_for_memory_is_not_tried_again(void **state)
{
	static const struct {
		enum rt_oom oom;
		int64_t number;
		bool grace_over;
		const char *reason;
	} rows[] = {
		{ RT_OOM_SURE, SIGKILL, false, "out_of_memory" },
		{ RT_OOM_LIKELY, SIGKILL, false, "out_of_memory" },
		{ RT_OOM_NO, SIGKILL, false, "worker_lost" },
		{ RT_OOM_LIKELY, SIGSEGV, false, "worker_lost" },
		{ RT_OOM_SURE, SIGKILL, true, "worker_lost" }, /* we killed it */
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_ending e = ending(RT_JOB_RUNNING, RT_STOP_NONE, RT_RUN_GOES_ON, NULL);
		struct rt_verdict v;

		e.oom = rows[i].oom;
		e.exit_signal = rows[i].number;
		e.grace_over = rows[i].grace_over;
		rt_verdict_of(&e, &v);
		assert_string_equal(v.reason, rows[i].reason);
		assert_int_equal(v.move, strcmp(rows[i].reason, "out_of_memory") == 0 ? RT_MOVE_FAIL
										      : RT_MOVE_REQUEUE);
		if (v.move == RT_MOVE_FAIL)
			assert_non_null(strstr(v.message, "per_device_train_batch_size"));
	}
}

static void write_file(const char *path, const char *text)
{
	assert_int_equal(rt_file_write(path, text, strlen(text), NULL), 0);
}

static void evidence_of_a_kill_is_weighed(void **state)
{
	static const struct {
		const char *name, *vmstat, *group, *log; /* after; NULL: not readable */
		enum rt_oom oom;
	} rows[] = {
		{ "nothing happened", "x 1\noom_kill 3\n", "oom 0\noom_kill 0\n", "", RT_OOM_NO },
		{ "the log names it", "oom_kill 4\n", "oom_kill 1\n",
		  "6,1,2,-;Out of memory: Killed process 4711 (retort-worker) total-vm:1kB\n", RT_OOM_SURE },
		{ "the log names another", "oom_kill 4\n", "oom_kill 0\n",
		  "6,1,2,-;Killed process 47110 (other)\n", RT_OOM_NO },
		{ "the log is not readable", "oom_kill 4\n", "oom_kill 0\n", NULL, RT_OOM_LIKELY },
		{ "only the group knows", NULL, "low 0\noom_kill 1\n", NULL, RT_OOM_LIKELY },
		{ "in a container the log has other pids", "oom_kill 4\n", "oom_kill 1\n",
		  "6,1,2,-;Killed process 99 (x)\n", RT_OOM_LIKELY },
		{ "nobody says anything", NULL, NULL, NULL, RT_OOM_NO },
		{ "not the counter that it looks like", "oom_kill_other 9\noom_kill 3\n", NULL, NULL,
		  RT_OOM_NO },
	};
	char dir[] = "/tmp/rt_oom_XXXXXX";
	struct rt_oom_counts before = { .machine = 3, .group = 0 };

	(void)state;
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_oom_sources from = { .vmstat = "" };

		print_message("%s\n", rows[i].name);
		if (rows[i].vmstat) {
			snprintf(from.vmstat, sizeof from.vmstat, "%s/vmstat", dir);
			write_file(from.vmstat, rows[i].vmstat);
		}
		if (rows[i].group) {
			snprintf(from.cgroup_events, sizeof from.cgroup_events, "%s/events", dir);
			write_file(from.cgroup_events, rows[i].group);
		}
		if (rows[i].log) {
			snprintf(from.kmsg, sizeof from.kmsg, "%s/kmsg", dir);
			write_file(from.kmsg, rows[i].log);
		}
		assert_int_equal(rt_oom_judge(&from, &before, 4711), rows[i].oom);
	}
	rt_dir_remove(dir, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_ending_has_its_move),
		cmocka_unit_test(restarts_wait_longer_and_end),
		cmocka_unit_test(a_kill_for_memory_is_not_tried_again),
		cmocka_unit_test(evidence_of_a_kill_is_weighed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
