/* SPDX-License-Identifier: Apache-2.0 */
/* The store, and what jobs.h does with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "server/jobs.h"

struct fixture {
	char dir[32], path[64];
	struct rt_store *store;
	struct rt_jobs jobs;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct rt_err err = RT_ERR_INIT;

	strcpy(f->dir, "/tmp/rt_store_XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof f->path, "%s/retort.db", f->dir);
	assert_int_equal(rt_store_open(f->path, &f->store, &err), 0);
	f->jobs.store = f->store;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	rt_store_close(f->store);
	rt_dir_remove(f->dir, NULL);
	free(f);
	return 0;
}

static int submit(struct fixture *f, char id[RT_ID_SIZE], struct rt_err *err)
{
	static const char text[] = "{\"student_id\":\"/s\",\"dataset_id\":\"/"
				   "d\",\"alpha\":1,\"epochs\":2,\"tags\":[\"a\",\"b\"]}";
	struct rt_problems problems;
	struct rt_spec spec;
	json_t *json = rt_json_parse(text, strlen(text), err);
	int rc;

	assert_int_equal(rt_spec_parse(json, &spec, &problems, err), 0);
	json_decref(json);
	rc = rt_jobs_submit(&f->jobs, &spec, text, id, err);
	rt_spec_release(&spec);
	return rc;
}

static void what_was_committed_is_there_again(void **state)
{
	struct fixture *f = *state;
	struct rt_err err = RT_ERR_INIT;
	char kept[RT_ID_SIZE], lost[RT_ID_SIZE];
	struct rt_job job;

	assert_int_equal(submit(f, kept, &err), 0);
	assert_int_equal(rt_store_commit(f->store, &err), 0);
	assert_int_equal(submit(f, lost, &err), 0); /* no commit */
	rt_store_close(f->store);
	assert_int_equal(rt_store_open(f->path, &f->store, &err), 0);
	assert_int_equal(rt_store_job_get(f->store, kept, &job, &err), 0);
	assert_int_equal(job.status, RT_JOB_QUEUED);
	assert_int_equal(job.total_epochs, 2);
	rt_job_release(&job);
	assert_int_equal(rt_store_job_get(f->store, lost, &job, &err), -1);
	assert_int_equal(err.code, RT_NOT_FOUND);
}

static void a_newer_schema_is_refused(void **state)
{
	struct fixture *f = *state;
	struct rt_err err = RT_ERR_INIT;
	struct rt_store *other = NULL;
	sqlite3 *db;

	rt_store_close(f->store);
	f->store = NULL;
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 999", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(rt_store_open(f->path, &other, &err), -1);
	assert_int_equal(err.code, RT_CONFLICT);
	assert_non_null(strstr(err.msg, "schema 999"));
	assert_null(other);
}

static void one_part_of_a_turn_is_undone_alone(void **state)
{
	struct fixture *f = *state;
	struct rt_err err = RT_ERR_INIT;
	char first[RT_ID_SIZE], second[RT_ID_SIZE];
	struct rt_job job;

	assert_int_equal(submit(f, first, &err), 0);
	assert_int_equal(rt_store_begin(f->store, &err), 0);
	assert_int_equal(submit(f, second, &err), 0);
	assert_int_equal(rt_store_end(f->store, false, &err), 0);
	assert_int_equal(rt_store_commit(f->store, &err), 0);
	assert_int_equal(rt_store_job_get(f->store, first, &job, &err), 0);
	rt_job_release(&job);
	assert_int_equal(rt_store_job_get(f->store, second, &job, &err), -1);
}

static int ingest(struct fixture *f, struct rt_run_row *run, const char *line, struct rt_err *err)
{
	struct rt_event event;
	enum rt_run_end end;
	int rc = rt_event_parse(line, strlen(line), &event, err);

	if (rc == 0) {
		rc = rt_jobs_ingest(&f->jobs, run, &event, &end, err);
		rt_event_release(&event);
	}
	return rc;
}

#define AT "\"at\":\"2026-11-24T03:43:53.123Z\",\"level\":\"info\",\"message\":\"\""

static void a_workers_events_are_stored_once_and_in_order(void **state)
{
	static const char phase[] =
		"{\"seq\":1,\"type\":\"run.phase\"," AT ",\"data\":{\"phase\":\"training\"}}";
	static const char epoch[] = "{\"seq\":2,\"type\":\"epoch.completed\"," AT
				    ",\"data\":{\"epoch\":1,\"step\":5,\"train_loss\":1.5,"
				    "\"eval_loss\":null,\"eval_accuracy\":0.5,\"learning_rate\":0.1}}";
	static const char gap[] = "{\"seq\":9,\"type\":\"log\"," AT ",\"data\":{}}";
	static const char escape[] =
		"{\"seq\":3,\"type\":\"checkpoint.written\"," AT ",\"data\":{\"checkpoint_id\":"
		"\"ckpt_01ARZ3NDEKTSV4RRFFQ69G5FAV\",\"dir\":\"../x\",\"step\":5,\"epoch\":1,\"best\":true,"
		"\"size_bytes\":1,\"files\":[]}}";
	struct fixture *f = *state;
	struct rt_err err = RT_ERR_INIT;
	struct rt_run_row run;
	struct rt_job job;
	char id[RT_ID_SIZE];
	int64_t last, again;

	assert_int_equal(submit(f, id, &err), 0);
	assert_int_equal(rt_jobs_take(&f->jobs, id, "hash", &run, &err), 0);
	assert_int_equal(ingest(f, &run, phase, &err), 0);
	assert_int_equal(ingest(f, &run, epoch, &err), 0);
	assert_int_equal(rt_store_events_last(f->store, id, &last, &err), 0);
	assert_int_equal(ingest(f, &run, epoch, &err), 0);
	assert_int_equal(rt_store_events_last(f->store, id, &again, &err), 0);
	assert_int_equal(last, again);
	assert_int_equal(ingest(f, &run, gap, &err), -1);
	assert_int_equal(err.code, RT_CONFLICT);
	assert_int_equal(run.last_seq, 2);
	assert_int_equal(ingest(f, &run, escape, &err), -1);
	assert_int_equal(err.code, RT_INVALID);
	assert_int_equal(rt_store_job_get(f->store, id, &job, &err), 0);
	assert_int_equal(job.status, RT_JOB_RUNNING);
	assert_int_equal(job.epoch, 1);
	assert_true(job.percent == 50);
	assert_string_equal(job.phase, "training");
	assert_null(job.best_checkpoint_id);
	rt_job_release(&job);
}

static long fail_at, steps;

static int failing_step(sqlite3_stmt *stmt)
{
	return ++steps == fail_at ? SQLITE_IOERR : sqlite3_step(stmt);
}

/* The n-th step fails, for every n: a message, nothing half done, and the next try works. */
static void any_failing_step_leaves_no_half_job(void **state)
{
	struct fixture *f = *state;
	struct rt_err err;
	char id[RT_ID_SIZE];
	int64_t waiting = -1;
	bool worked = false;

	for (fail_at = 1; !worked && fail_at < 200; fail_at++) {
		err = (struct rt_err)RT_ERR_INIT;
		steps = 0;
		rt_store_set_step(f->store, failing_step);
		worked = submit(f, id, &err) == 0 && rt_store_commit(f->store, &err) == 0;
		rt_store_set_step(f->store, NULL);
		if (!worked) {
			struct rt_err ignored = RT_ERR_INIT;

			assert_true(err.code != RT_OK && err.msg[0]);
			rt_store_commit(f->store, &ignored);
			assert_int_equal(rt_store_jobs_count(f->store, RT_JOB_QUEUED, &waiting, &ignored), 0);
			assert_int_equal(waiting, 0);
		}
	}
	assert_true(worked);
	assert_true(fail_at > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_committed_is_there_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_newer_schema_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_part_of_a_turn_is_undone_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_workers_events_are_stored_once_and_in_order, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(any_failing_step_leaves_no_half_job, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
