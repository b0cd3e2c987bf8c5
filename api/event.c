/* SPDX-License-Identifier: Apache-2.0 */
#include "api/event.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"

/* What every event of a type must carry: 's' string, 'i' integer, 'n' number or null, 'b' switch, 'a' list, before the name. */
static const struct {
	const char *type;
	const char *members[12];
} types[] = {
	{ "run.started", { "ipid", "ithreads", "iseed", "sprecision", "steacher_precision" } },
	{ "run.resumed", { "ifrom_step", "ifrom_epoch" } },
	{ "run.phase", { "sphase" } },
	{ "data.loaded", { "itrain_rows", "ivalidation_rows", "alabels" } },
	{ "model.loaded", { "srole", "iparameters" } },
	{ "teacher.progress", { "idone", "itotal" } },
	{ "teacher.completed", { "iforwards_done", "iforwards_avoided", "nseconds" } },
	{ "train.progress", { "istep", "itotal_steps", "iepoch", "nloss", "nlearning_rate" } },
	{ "epoch.completed",
	  { "iepoch", "istep", "ntrain_loss", "neval_loss", "neval_accuracy", "nlearning_rate" } },
	{ "eval.classes", { "iepoch", "irows", "icorrect", "iclasses_total", "aclasses", "aconfused" } },
	{ "checkpoint.written",
	  { "scheckpoint_id", "sdir", "istep", "iepoch", "bbest", "isize_bytes", "afiles" } },
	{ "checkpoint.deleted", { "scheckpoint_id" } },
	{ "log", { NULL } },
	{ "run.succeeded", { "sbest_checkpoint_id", "nseconds" } },
	{ "run.failed", { "sreason" } },
	{ "run.cancelled", { NULL } },
	{ "run.paused", { NULL } },
	{ "run.stopped", { NULL } },
};

static int has_kind(const json_t *v, char kind)
{
	switch (kind) {
	case 's':
		return json_is_string(v);
	case 'i':
		return json_is_integer(v);
	case 'n':
		return json_is_number(v) || json_is_null(v);
	case 'b':
		return json_is_boolean(v);
	default:
		return json_is_array(v);
	}
}

static int check_data(const char *type, const json_t *data, struct rt_err *err)
{
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		if (strcmp(types[i].type, type) != 0)
			continue;
		for (size_t m = 0; types[i].members[m]; m++) {
			const char *name = types[i].members[m] + 1;

			if (!has_kind(json_object_get(data, name), types[i].members[m][0]))
				return rt_fail(err, RT_INVALID,
					       "event %s: data.%s is missing or of the wrong type", type,
					       name);
		}
		return 0;
	}
	return rt_fail(err, RT_INVALID, "unknown event type '%.64s'", type);
}

int rt_event_parse(const char *line, size_t len, struct rt_event *ret, struct rt_err *err)
{
	struct rt_event e = { .seq = -1, .level = "info", .message = "" };

	if (len > RT_EVENT_MAX_BYTES)
		return rt_fail(err, RT_TOO_LARGE, "an event must be at most %d bytes (got %zu)",
			       RT_EVENT_MAX_BYTES, len);
	e.json = rt_json_parse(line, len, err);
	if (!e.json)
		return -1;
	if (!json_is_object(e.json)) {
		rt_fail(err, RT_INVALID, "an event must be a JSON object");
		goto fail;
	}
	if (rt_json_get_i64(e.json, "seq", &e.seq, err) < 0 ||
	    rt_json_get_str(e.json, "type", &e.type, err) < 0 ||
	    rt_json_get_str(e.json, "at", &e.at, err) < 0 ||
	    rt_json_get_str(e.json, "level", &e.level, err) < 0 ||
	    rt_json_get_str(e.json, "message", &e.message, err) < 0)
		goto fail;
	if (e.seq < 1 || !e.type || !e.at) {
		rt_fail(err, RT_INVALID, "an event must have seq (from 1), type and at");
		goto fail;
	}
	if (strcmp(e.level, "info") != 0 && strcmp(e.level, "warn") != 0 && strcmp(e.level, "error") != 0) {
		rt_fail(err, RT_INVALID, "level must be info, warn or error (got '%.32s')", e.level);
		goto fail;
	}
	e.data = json_object_get(e.json, "data");
	if (!json_is_object(e.data)) {
		rt_fail(err, RT_INVALID, "event %.64s: data must be an object", e.type);
		goto fail;
	}
	if (check_data(e.type, e.data, err) < 0)
		goto fail;
	*ret = e;
	return 0;
fail:
	json_decref(e.json);
	return -1;
}

void rt_event_release(struct rt_event *event)
{
	json_decref(event->json);
	*event = (struct rt_event){ .seq = 0 };
}

void rt_event_write(struct rt_buf *out, int64_t seq, const char *type, const char *level, int64_t at_ms,
		    const char *message, const json_t *data)
{
	char at[RT_RFC3339_SIZE];

	rt_buf_fmt(out, "{\"seq\":%lld,\"type\":\"%s\",\"at\":\"%s\",\"level\":\"%s\",\"message\":",
		   (long long)seq, type, rt_clock_rfc3339(at_ms, at), level);
	rt_json_write_str(out, message, strlen(message));
	rt_buf_str(out, ",\"data\":");
	if (data)
		rt_json_write(out, data, 0);
	else
		rt_buf_str(out, "{}");
	rt_buf_str(out, "}\n");
}
