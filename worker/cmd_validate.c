/* SPDX-License-Identifier: Apache-2.0 */
/* retort-worker validate: everything that can be known about a job before compute is spent, as one JSON object. */
#include "worker/cmd.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "worker/train/setup.h"

#define SPEC_MAX_BYTES (1 << 20)

static void add_list(struct rt_buf *out, const char *name, const struct rt_problems *p)
{
	rt_buf_fmt(out, "\"%s\":", name);
	rt_problems_write(out, p);
	rt_buf_char(out, ',');
}

static void add_json(struct rt_buf *out, const char *name, json_t *given)
{
	rt_buf_fmt(out, "\"%s\":", name);
	if (given)
		rt_json_write(out, given, 0);
	else
		rt_buf_str(out, "null");
	json_decref(given);
}

/* What is wrong with the file as a whole is a problem too, so that the answer always has the same shape. */
static void check(const char *spec_path, const struct rt_setup_options *o, struct rt_spec *spec,
		  bool *has_spec, struct rt_setup **setup, struct rt_problems *problems,
		  struct rt_problems *warnings)
{
	struct rt_err err = RT_ERR_INIT;
	json_t *json = rt_json_read(spec_path, SPEC_MAX_BYTES, &err);

	if (json && rt_spec_parse(json, spec, problems, &err) == 0) {
		*has_spec = true;
		rt_setup_open(spec, o, setup, problems, warnings, &err);
	}
	if (err.code != RT_OK && problems->n == 0)
		rt_problems_add(problems, "", NULL, "%s", err.msg);
	json_decref(json);
}

static int validate(const char *spec_path, const struct rt_setup_options *o)
{
	struct rt_problems *problems = calloc(1, sizeof *problems), *warnings = calloc(1, sizeof *warnings);
	struct rt_spec spec = { .name = NULL };
	struct rt_setup *setup = NULL;
	struct rt_buf out = RT_BUF_INIT;
	bool has_spec = false, valid = false;

	if (problems && warnings) {
		check(spec_path, o, &spec, &has_spec, &setup, problems, warnings);
		valid = setup != NULL;
		rt_buf_fmt(&out, "{\"valid\":%s,", valid ? "true" : "false");
		add_list(&out, "errors", problems);
		add_list(&out, "warnings", warnings);
		add_json(&out, "resolved", has_spec ? rt_spec_json(&spec) : NULL);
		rt_buf_char(&out, ',');
		add_json(&out, "facts", setup ? rt_setup_facts(setup) : NULL);
		rt_buf_str(&out, "}\n");
	}
	if (out.len == 0 || out.failed) {
		fprintf(stderr, "retort-worker validate: out of memory\n");
		valid = false;
	} else {
		fputs(out.data, stdout);
	}
	rt_setup_close(setup);
	if (has_spec)
		rt_spec_release(&spec);
	rt_buf_release(&out);
	free(problems);
	free(warnings);
	return valid ? 0 : 1;
}

int rt_cmd_validate(int argc, char **argv)
{
	static const struct option options[] = {
		{ "spec", required_argument, NULL, 's' },
		{ "models-root", required_argument, NULL, 'm' },
		{ NULL, 0, NULL, 0 },
	};
	const char *roots[64], *spec_path = NULL;
	struct rt_setup_options o = { .roots = roots };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 's')
			spec_path = optarg;
		else if (c == 'm' && o.root_count < sizeof roots / sizeof *roots)
			roots[o.root_count++] = optarg;
		else
			return 2;
	}
	if (!spec_path || optind < argc) {
		fprintf(stderr, "usage: retort-worker validate --spec FILE [--models-root DIR]...\n");
		return 2;
	}
	return validate(spec_path, &o);
}
