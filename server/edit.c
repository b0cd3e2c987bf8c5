/* SPDX-License-Identifier: Apache-2.0 */
/* What a user may change of a job after it was posted (rt_jobs_edit in jobs.h). */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "server/jobs.h"

#define NOTES_MAX 10000 /* bytes */

enum when { ALWAYS, BEFORE_SUCCESS, NOT_RUNNING };

static const struct {
	const char *name;
	enum when when;
} editable[] = {
	{ "name", ALWAYS },
	{ "notes", ALWAYS },
	{ "tags", ALWAYS },
	{ "priority", BEFORE_SUCCESS },
	{ "checkpoint_interval_s", NOT_RUNNING },
	{ "max_runtime_s", NOT_RUNNING },
	{ "max_restarts", NOT_RUNNING },
	{ "stop_grace_s", NOT_RUNNING },
	{ "resources", NOT_RUNNING },
};
#define EDITABLE_COUNT (sizeof editable / sizeof *editable)

static bool is_running(enum rt_job_status s)
{
	return s == RT_JOB_RUNNING || s == RT_JOB_PAUSING || s == RT_JOB_CANCELLING;
}

static void unknown_field(const char *key, struct rt_problems *p)
{
	const char *names[EDITABLE_COUNT], *near;
	char pointer[80];

	for (size_t i = 0; i < EDITABLE_COUNT; i++)
		names[i] = editable[i].name;
	near = rt_nearest(key, names, EDITABLE_COUNT);
	snprintf(pointer, sizeof pointer, "/%.64s", key);
	rt_problems_add(p, pointer, near,
			"'%.64s' cannot be changed; name, notes, tags, priority, checkpoint_interval_s, "
			"max_runtime_s, max_restarts, stop_grace_s and resources can",
			key);
}

/* RT_CONFLICT when the job's status does not allow it. */
static int check_fields(const json_t *patch, enum rt_job_status status, struct rt_problems *p,
			struct rt_err *err)
{
	json_t *object = (json_t *)(uintptr_t)patch, *value;
	const char *key;

	json_object_foreach(object, key, value)
	{
		size_t i = 0;

		while (i < EDITABLE_COUNT && strcmp(editable[i].name, key) != 0)
			i++;
		if (i == EDITABLE_COUNT)
			unknown_field(key, p);
		else if (editable[i].when != ALWAYS && status == RT_JOB_SUCCEEDED)
			return rt_fail(
				err, RT_CONFLICT,
				"the job is succeeded; %s can be changed before that, and name, notes and "
				"tags at any time",
				key);
		else if (editable[i].when == NOT_RUNNING && is_running(status))
			return rt_fail(
				err, RT_CONFLICT,
				"the job is %s; %s can be changed while it is queued, paused, failed or "
				"cancelled: pause it first",
				rt_job_status_word(status), key);
	}
	return 0;
}

/* Text for people: any characters, line breaks and tabs too. */
static void check_notes(const json_t *notes, struct rt_problems *p)
{
	size_t n = json_string_length(notes);
	const char *s = json_string_value(notes);

	if (!notes || json_is_null(notes))
		return;
	if (!json_is_string(notes)) {
		rt_problems_add(p, "/notes", NULL, "notes must be a string or null");
		return;
	}
	if (n > NOTES_MAX)
		rt_problems_add(p, "/notes", NULL, "notes must have at most %d bytes (got %zu)", NOTES_MAX,
				n);
	for (size_t i = 0; i < n; i++) {
		if (((unsigned char)s[i] < 0x20 && !strchr("\n\r\t", s[i])) || s[i] == '\0' || s[i] == 0x7F) {
			rt_problems_add(p, "/notes", NULL,
					"notes must not hold control characters but line breaks and tabs");
			return;
		}
	}
}

/* The stored spec with the patch in it; members of resources one by one. */
static json_t *merged(const struct rt_job *job, const json_t *patch, struct rt_err *err)
{
	json_t *spec = rt_json_parse(job->spec, strlen(job->spec), err), *value;
	json_t *object = (json_t *)(uintptr_t)patch;
	const char *key;
	int rc = spec ? 0 : -1;

	json_object_foreach(object, key, value)
	{
		json_t *inner = json_object_get(spec, key);

		if (rc < 0 || strcmp(key, "notes") == 0)
			continue;
		if (strcmp(key, "resources") == 0 && json_is_object(inner) && json_is_object(value))
			rc = json_object_update(inner, value);
		else
			rc = json_object_set(spec, key, value);
	}
	if (rc < 0 && spec) {
		rt_fail(err, RT_NO_MEMORY, "no memory to change the job");
		json_decref(spec);
		spec = NULL;
	}
	return spec;
}

static int tell_edit(struct rt_jobs *jobs, const struct rt_job *job, const json_t *patch, struct rt_err *err)
{
	json_t *data = json_object(), *names = json_array(), *value;
	json_t *object = (json_t *)(uintptr_t)patch;
	const char *key;
	int rc;

	json_object_foreach(object, key, value) json_array_append_new(names, json_string(key));
	if (!data || json_object_set_new(data, "changed", names) < 0) {
		json_decref(data);
		return rt_fail(err, RT_NO_MEMORY, "no memory for an event");
	}
	rc = rt_jobs_tell(jobs, job->id, NULL, job->attempt, "job.updated", "info", "", data, err);
	json_decref(data);
	return rc;
}

/* job->spec and what follows from it, in the store. */
static int keep(struct rt_jobs *jobs, const struct rt_job *job, const json_t *patch,
		const struct rt_spec *spec, struct rt_err *err)
{
	const json_t *notes = json_object_get(patch, "notes");
	json_t *json = rt_spec_json(spec);
	struct rt_buf text = RT_BUF_INIT;
	struct rt_job changed = *job;
	int rc = -1;

	rt_json_write(&text, json, 0);
	json_decref(json);
	if (!json || rt_buf_check(&text, err) < 0) {
		rt_buf_release(&text);
		return rt_fail(err, RT_NO_MEMORY, "no memory to change the job");
	}
	changed.name = spec->name;
	changed.priority = spec->priority;
	changed.max_runtime_s = spec->max_runtime_s < 0 ? RT_SQL_NO_INT : spec->max_runtime_s;
	changed.spec = text.data;
	if (notes)
		changed.notes = (char *)(uintptr_t)json_string_value(notes);
	if (strcmp(changed.spec, job->spec) == 0 &&
	    strcmp(changed.notes ? changed.notes : "", job->notes ? job->notes : "") == 0)
		rc = 0; /* it is so already */
	else if (rt_store_job_edit(jobs->store, &changed, spec->tags, spec->tag_count, rt_clock_now_ms(),
				   err) == 0)
		rc = tell_edit(jobs, job, patch, err);
	rt_buf_release(&text);
	return rc;
}

static int edit(struct rt_jobs *jobs, const struct rt_job *job, const json_t *patch,
		struct rt_problems *problems, struct rt_err *err)
{
	struct rt_spec spec;
	json_t *json;
	int rc;

	problems->n = 0;
	if (check_fields(patch, job->status, problems, err) < 0)
		return -1;
	check_notes(json_object_get(patch, "notes"), problems);
	if (problems->n > 0)
		return rt_fail(err, RT_UNPROCESSABLE, "%s", problems->items[0].detail);
	json = merged(job, patch, err);
	if (!json)
		return -1;
	rc = rt_spec_parse(json, &spec, problems, err);
	json_decref(json);
	if (rc < 0)
		return -1;
	rc = keep(jobs, job, patch, &spec, err);
	rt_spec_release(&spec);
	return rc;
}

int rt_jobs_edit(struct rt_jobs *jobs, const char *job_id, const json_t *patch, struct rt_problems *problems,
		 struct rt_err *err)
{
	struct rt_job job;
	int rc;

	if (!json_is_object(patch)) {
		rt_problems_add(problems, "", NULL, "a change must be a JSON object");
		return rt_fail(err, RT_UNPROCESSABLE, "a change must be a JSON object");
	}
	if (rt_store_job_get(jobs->store, job_id, &job, err) < 0)
		return -1;
	rc = rt_store_begin(jobs->store, err);
	if (rc == 0) {
		rc = edit(jobs, &job, patch, problems, err);
		if (rt_store_end(jobs->store, rc == 0, err) < 0)
			rc = -1;
	}
	rt_job_release(&job);
	return rc;
}
