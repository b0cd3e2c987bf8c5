/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "server/life.h"

static void moves_lead_where_the_drawing_says(void **state)
{
	static const struct {
		enum rt_job_status from;
		enum rt_job_move move;
		enum rt_job_status to;
	} rows[] = {
		{ RT_JOB_VALIDATING, RT_MOVE_ACCEPT, RT_JOB_QUEUED },
		{ RT_JOB_QUEUED, RT_MOVE_TAKE, RT_JOB_RUNNING },
		{ RT_JOB_QUEUED, RT_MOVE_CANCEL, RT_JOB_CANCELLED },
		{ RT_JOB_RUNNING, RT_MOVE_CANCEL, RT_JOB_CANCELLING },
		{ RT_JOB_CANCELLING, RT_MOVE_CANCEL, RT_JOB_CANCELLING },
		{ RT_JOB_CANCELLING, RT_MOVE_STOPPED, RT_JOB_CANCELLED },
		{ RT_JOB_CANCELLING, RT_MOVE_SUCCEED, RT_JOB_SUCCEEDED },
		{ RT_JOB_RUNNING, RT_MOVE_SUCCEED, RT_JOB_SUCCEEDED },
		{ RT_JOB_RUNNING, RT_MOVE_FAIL, RT_JOB_FAILED },
		{ RT_JOB_RUNNING, RT_MOVE_REQUEUE, RT_JOB_QUEUED },
		{ RT_JOB_RUNNING, RT_MOVE_PAUSE, RT_JOB_PAUSING },
		{ RT_JOB_PAUSING, RT_MOVE_PAUSED, RT_JOB_PAUSED },
		{ RT_JOB_PAUSED, RT_MOVE_RESUME, RT_JOB_QUEUED },
		{ RT_JOB_PAUSED, RT_MOVE_CANCEL, RT_JOB_CANCELLED },
		{ RT_JOB_PAUSED, RT_MOVE_PAUSE, RT_JOB_PAUSED },
		{ RT_JOB_PAUSING, RT_MOVE_PAUSE, RT_JOB_PAUSING },
		{ RT_JOB_QUEUED, RT_MOVE_PAUSE, RT_JOB_PAUSED },
		{ RT_JOB_RUNNING, RT_MOVE_PAUSED, RT_JOB_PAUSED },
		{ RT_JOB_FAILED, RT_MOVE_RETRY, RT_JOB_QUEUED },
		{ RT_JOB_CANCELLED, RT_MOVE_RETRY, RT_JOB_QUEUED },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_err err = RT_ERR_INIT;
		enum rt_job_status to = RT_JOB_VALIDATING;

		print_message("%s, %s\n", rt_job_status_word(rows[i].from), rt_job_move_word(rows[i].move));
		assert_int_equal(rt_life_move(rows[i].from, rows[i].move, &to, &err), 0);
		assert_int_equal(to, rows[i].to);
	}
}

static void only_retry_leads_out_of_a_final_status(void **state)
{
	(void)state;
	for (int s = RT_JOB_SUCCEEDED; s < RT_JOB_STATUS_COUNT; s++) {
		assert_true(rt_job_status_is_final((enum rt_job_status)s));
		for (int m = 0; m < RT_MOVE_COUNT; m++) {
			struct rt_err err = RT_ERR_INIT;
			enum rt_job_status to = RT_JOB_QUEUED;

			if (m == RT_MOVE_RETRY && s != RT_JOB_SUCCEEDED)
				continue;
			assert_int_equal(rt_life_move((enum rt_job_status)s, (enum rt_job_move)m, &to, &err),
					 -1);
			assert_int_equal(err.code, RT_CONFLICT);
			assert_int_equal(to, RT_JOB_QUEUED); /* not written */
		}
	}
}

static void a_refusal_names_the_status_and_what_is_possible(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	enum rt_job_status to;

	(void)state;
	assert_int_equal(rt_life_move(RT_JOB_SUCCEEDED, RT_MOVE_CANCEL, &to, &err), -1);
	assert_string_equal(
		err.msg,
		"the job is succeeded; cancel is possible while it is validating, queued, running, pausing, "
		"paused, cancelling; possible now: delete");
}

static void actions_are_what_changes_something(void **state)
{
	static const struct {
		enum rt_job_status status;
		const char *actions[4];
	} rows[] = {
		{ RT_JOB_QUEUED, { "pause", "cancel", "delete" } },
		{ RT_JOB_RUNNING, { "pause", "cancel", "delete" } },
		{ RT_JOB_PAUSING, { "cancel", "delete" } },
		{ RT_JOB_PAUSED, { "resume", "cancel", "delete" } },
		{ RT_JOB_CANCELLING, { "delete" } },
		{ RT_JOB_SUCCEEDED, { "delete" } },
		{ RT_JOB_FAILED, { "retry", "delete" } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		size_t n = 0;

		for (; rows[i].actions[n]; n++)
			assert_string_equal(rt_life_action(rows[i].status, n), rows[i].actions[n]);
		assert_null(rt_life_action(rows[i].status, n));
	}
}

static void words_read_back(void **state)
{
	(void)state;
	for (int s = 0; s < RT_JOB_STATUS_COUNT; s++) {
		enum rt_job_status back;

		assert_int_equal(rt_job_status_parse(rt_job_status_word((enum rt_job_status)s), &back), 0);
		assert_int_equal(back, s);
	}
	{
		enum rt_job_status back;

		assert_int_equal(rt_job_status_parse("Queued", &back), -1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moves_lead_where_the_drawing_says),
		cmocka_unit_test(only_retry_leads_out_of_a_final_status),
		cmocka_unit_test(actions_are_what_changes_something),
		cmocka_unit_test(a_refusal_names_the_status_and_what_is_possible),
		cmocka_unit_test(words_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
