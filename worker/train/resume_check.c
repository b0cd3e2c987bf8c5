/* SPDX-License-Identifier: Apache-2.0 */
/* Of a saved state: is it of the run that is set up now, and how it moves to that run's folder. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "worker/train/known_files.h"
#include "worker/train/resume.h"

#define COPY_BYTES ((size_t)1 << 30) /* the most that one copy_file_range is asked for */

/* ---- fingerprints ---- */

static void add_text(struct rt_sha256_state *sum, const char *text, size_t len)
{
	uint64_t n = text ? len : UINT64_MAX;

	rt_sha256_add(sum, &n, sizeof n);
	if (text)
		rt_sha256_add(sum, text, len);
}

static void add_split(struct rt_sha256_state *sum, const struct rt_split *split)
{
	uint64_t n = split->n;

	rt_sha256_add(sum, &n, sizeof n);
	for (size_t i = 0; i < split->n; i++) {
		const struct rt_row *row = &split->rows[i];

		add_text(sum, row->text, row->len);
		add_text(sum, row->pair, row->pair_len);
		rt_sha256_add(sum, &row->label, sizeof row->label);
	}
}

int rt_resume_prints_of(const struct rt_setup *s, struct rt_resume_prints *ret, struct rt_err *err)
{
	struct rt_resume_prints p = { .data = "" };
	struct rt_sha256_state *sum = NULL;
	int rc;

	if (rt_sha256_new(&sum, err) < 0)
		return -1;
	for (size_t i = 0; i < s->data->label_count; i++)
		add_text(sum, s->data->labels[i], strlen(s->data->labels[i]));
	for (size_t i = 0; i < s->label_count; i++)
		add_text(sum, s->labels[i], strlen(s->labels[i]));
	add_split(sum, &s->data->train);
	add_split(sum, &s->data->validation);
	rc = rt_sha256_end(sum, p.data, err);
	rt_sha256_free(sum);
	if (rc < 0)
		return -1;
	memcpy(p.student_tokenizer, rt_tokenizer_fingerprint(s->student.tokenizer), RT_SHA256_SIZE);
	if (s->teacher.tokenizer)
		memcpy(p.teacher_tokenizer, rt_tokenizer_fingerprint(s->teacher.tokenizer), RT_SHA256_SIZE);
	*ret = p;
	return 0;
}

static bool ends_in(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n >= m && strcmp(name + n - m, end) == 0;
}

static int is_safetensors(const struct dirent *e)
{
	return strcmp(e->d_name, "config.json") == 0 || ends_in(e->d_name, ".safetensors") ||
	       ends_in(e->d_name, ".safetensors.index.json");
}

static int is_torch_bin(const struct dirent *e)
{
	return strcmp(e->d_name, "config.json") == 0 ||
	       (strncmp(e->d_name, "pytorch_model", 13) == 0 &&
		(ends_in(e->d_name, ".bin") || ends_in(e->d_name, ".bin.index.json")));
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* config.json and the weights' files: safetensors where there are any, as they are what is read then. */
int rt_resume_print_model(const char *dir, const char *cache_dir, char ret_hex[RT_SHA256_SIZE],
			  struct rt_err *err)
{
	struct rt_sha256_state *sum = NULL;
	struct dirent **names = NULL;
	int n = scandir(dir, &names, is_safetensors, by_name), rc = -1;

	if (n < 2 && n >= 0) { /* config.json alone */
		for (int i = 0; i < n; i++)
			free(names[i]);
		free(names);
		n = scandir(dir, &names, is_torch_bin, by_name);
	}
	if (n < 0)
		return rt_fail_errno(err, errno, "cannot read %s", dir);
	if (rt_sha256_new(&sum, err) < 0)
		goto out;
	for (int i = 0; i < n; i++) {
		char *path = rt_path_join(dir, names[i]->d_name), hex[RT_SHA256_SIZE];
		int got = path ? rt_known_sha256(cache_dir, path, hex, err)
			       : rt_fail(err, RT_NO_MEMORY, "no memory for a checksum");

		free(path);
		if (got < 0)
			goto out;
		add_text(sum, names[i]->d_name, strlen(names[i]->d_name));
		rt_sha256_add(sum, hex, sizeof hex);
	}
	rc = rt_sha256_end(sum, ret_hex, err);
out:
	rt_sha256_free(sum);
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
	return rc;
}

int rt_resume_prints_models(const struct rt_spec *spec, const char *cache_dir, struct rt_resume_prints *ret,
			    struct rt_err *err)
{
	if (rt_resume_print_model(spec->student_id, cache_dir, ret->student, err) < 0)
		return -1;
	return spec->teacher_id ? rt_resume_print_model(spec->teacher_id, cache_dir, ret->teacher, err) : 0;
}

/* ---- is it the same run? ---- */

/* Fields that say nothing about the numbers that come out. The three ids may be other paths: their content is compared. */
static bool may_differ(const char *field)
{
	static const char *const names[] = {
		"name",		"tags",		"priority",	    "teacher_id",
		"student_id",	"dataset_id",	"resources",	    "max_runtime_s",
		"max_restarts", "stop_grace_s", "save_total_limit", "checkpoint_interval_s",
		"run_hpo",	"n_trials",	"push_to_hub",	    "hub_model_id",
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (strcmp(field, names[i]) == 0)
			return true;
	}
	return false;
}

static void compare_field(const char *field, const json_t *was, const json_t *is,
			  struct rt_problems *problems)
{
	struct rt_buf old = RT_BUF_INIT, new = RT_BUF_INIT;
	char pointer[80];

	snprintf(pointer, sizeof pointer, "/%s", field);
	rt_json_write(&old, was, 0);
	rt_json_write(&new, is, 0);
	rt_problems_add(problems, pointer, NULL,
			"the saved state was trained with %s %.100s and the job has %.100s", field,
			rt_buf_text(&old), rt_buf_text(&new));
	rt_buf_release(&old);
	rt_buf_release(&new);
}

static int compare_specs(const json_t *saved, const struct rt_spec *spec, struct rt_problems *problems,
			 struct rt_err *err)
{
	json_t *now = rt_spec_json(spec), *is;
	const char *field;

	if (!now)
		return rt_fail(err, RT_NO_MEMORY, "no memory to compare the saved state");
	json_object_foreach(now, field, is)
	{
		const json_t *was = json_object_get(saved, field);

		/* a field that is newer than the state had its default, whatever that was */
		if (was && !may_differ(field) && !json_equal(was, is))
			compare_field(field, was, is, problems);
	}
	json_decref(now);
	return 0;
}

int rt_resume_check(const struct rt_resume *saved, const struct rt_spec *spec,
		    const struct rt_resume_prints *now, struct rt_problems *problems, struct rt_err *err)
{
	const struct rt_resume_prints *was = &saved->prints;
	const struct {
		const char *pointer, *was, *is, *what;
	} rows[] = {
		{ "/dataset_id", was->data, now->data, "the rows of the dataset" },
		{ "/student_id", was->student_tokenizer, now->student_tokenizer, "the student's tokenizer" },
		{ "/teacher_id", was->teacher_tokenizer, now->teacher_tokenizer, "the teacher's tokenizer" },
		{ "/student_id", was->student, now->student, "the student's config.json or weights" },
		{ "/teacher_id", was->teacher, now->teacher, "the teacher's config.json or weights" },
	};
	size_t before = problems->n;

	if (compare_specs(saved->spec, spec, problems, err) < 0)
		return -1;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (strcmp(rows[i].was, rows[i].is) != 0)
			rt_problems_add(problems, rows[i].pointer, NULL,
					"%s changed since the state was saved; put the old files back, or "
					"send the job "
					"anew",
					rows[i].what);
	}
	if (problems->n == before)
		return 0;
	return rt_fail(err, RT_CONFLICT, "the saved state is of another run: %s",
		       problems->items[before < RT_PROBLEM_MAX ? before : 0].detail);
}

/* ---- moving in ---- */

/* At most max bytes of from, durable. */
static int copy_file(const char *from, const char *to, int64_t max, struct rt_err *err)
{
	int in = open(from, O_RDONLY | O_CLOEXEC), out = -1, rc = -1;
	ssize_t n = 0;

	if (in < 0)
		return rt_fail_errno(err, errno, "cannot open %s", from);
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	while (out >= 0 && max > 0 &&
	       (n = copy_file_range(in, NULL, out, NULL, (size_t)max < COPY_BYTES ? (size_t)max : COPY_BYTES,
				    0)) > 0)
		max -= n;
	if (out < 0 || n < 0 || fsync(out) < 0)
		rt_fail_errno(err, errno, "cannot write %s", to);
	else
		rc = 0;
	close(in);
	if (out >= 0)
		close(out);
	return rc;
}

/* A second name for a file that nobody changes; a copy where that cannot be. */
static int link_file(const char *from, const char *to, struct rt_err *err)
{
	struct rt_buf tmp = RT_BUF_INIT;
	int rc;

	if (link(from, to) == 0 || errno == EEXIST)
		return 0;
	if (errno != EXDEV && errno != EPERM && errno != EMLINK && errno != EOPNOTSUPP)
		return rt_fail_errno(err, errno, "cannot link %s", to);
	rt_buf_fmt(&tmp, "%s.tmp", to);
	rc = rt_buf_check(&tmp, err);
	if (rc == 0)
		rc = copy_file(from, tmp.data, INT64_MAX, err);
	if (rc == 0 && rename(tmp.data, to) < 0)
		rc = rt_fail_errno(err, errno, "cannot write %s", to);
	if (rc < 0 && tmp.data)
		unlink(tmp.data);
	rt_buf_release(&tmp);
	return rc;
}

static int link_tree(const char *from, const char *to, struct rt_err *err)
{
	DIR *dir = opendir(from);
	struct dirent *e;
	int rc = 0;

	if (!dir)
		return rt_fail_errno(err, errno, "cannot open %s", from);
	if (rt_dir_make(to, err) < 0)
		rc = -1;
	while (rc == 0 && (e = readdir(dir))) {
		char *a, *b;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		a = rt_path_join(from, e->d_name);
		b = rt_path_join(to, e->d_name);
		if (!a || !b)
			rc = rt_fail(err, RT_NO_MEMORY, "no memory for a checkpoint");
		else
			rc = rt_file_is_dir(a) ? link_tree(a, b, err) : link_file(a, b, err);
		free(a);
		free(b);
	}
	closedir(dir);
	return rc < 0 ? -1 : rt_dir_sync(to, err);
}

static int take_checkpoint(const char *from, const char *dir, const char *id, struct rt_err *err)
{
	struct rt_buf source = RT_BUF_INIT, tmp = RT_BUF_INIT, to = RT_BUF_INIT;
	int rc = -1;

	rt_buf_fmt(&source, "%s/checkpoints/%s", from, id);
	rt_buf_fmt(&tmp, "%s/checkpoints/.tmp-%s", dir, id);
	rt_buf_fmt(&to, "%s/checkpoints/%s", dir, id);
	if (source.failed || tmp.failed || to.failed)
		rt_fail(err, RT_NO_MEMORY, "no memory for a checkpoint");
	else if (rt_file_is_dir(to.data))
		rc = 0;
	else if (link_tree(source.data, tmp.data, err) == 0 && rename(tmp.data, to.data) < 0)
		rt_fail_errno(err, errno, "cannot write %s", to.data);
	else if (rt_file_is_dir(to.data))
		rc = 0;
	if (rc < 0 && tmp.data)
		rt_dir_remove(tmp.data, NULL);
	rt_buf_release(&source);
	rt_buf_release(&tmp);
	rt_buf_release(&to);
	return rc;
}

/* Without it the run only begins a new one. */
static void take_tensorboard(const struct rt_resume *state, const char *from, const char *dir)
{
	struct rt_buf a = RT_BUF_INIT, b = RT_BUF_INIT, runs = RT_BUF_INIT;
	struct stat st;

	rt_buf_fmt(&a, "%s/runs/%s", from, state->tb_name);
	rt_buf_fmt(&runs, "%s/runs", dir);
	rt_buf_fmt(&b, "%s/runs/%s", dir, state->tb_name);
	if (state->tb_name[0] && !a.failed && !b.failed && !runs.failed && stat(a.data, &st) == 0 &&
	    st.st_size >= state->tb_bytes && rt_dir_make(runs.data, NULL) == 0 &&
	    copy_file(a.data, b.data, state->tb_bytes, NULL) < 0)
		unlink(b.data);
	rt_buf_release(&a);
	rt_buf_release(&b);
	rt_buf_release(&runs);
}

int rt_resume_take_over(const struct rt_resume_file *f, const char *from, const char *dir, struct rt_err *err)
{
	char *checkpoints = rt_path_join(dir, "checkpoints"), *resume = rt_path_join(dir, "resume"),
	     *to = resume ? rt_path_join(resume, f->name) : NULL;
	int rc = -1;

	if (!checkpoints || !to) {
		rt_fail(err, RT_NO_MEMORY, "no memory for the saved state");
		goto out;
	}
	if (rt_dir_make(checkpoints, err) < 0 || rt_dir_make(resume, err) < 0)
		goto out;
	for (size_t i = 0; i < f->state.checkpoint_count; i++) {
		if (take_checkpoint(from, dir, f->state.checkpoints[i], err) < 0)
			goto out;
	}
	if (rt_dir_sync(checkpoints, err) < 0)
		goto out;
	take_tensorboard(&f->state, from, dir);
	/* last: whoever finds it finds all that belongs to it */
	if (link_file(f->path, to, err) < 0 || rt_dir_sync(resume, err) < 0 || rt_dir_sync(dir, err) < 0)
		goto out;
	rc = 0;
out:
	free(checkpoints);
	free(resume);
	free(to);
	return rc;
}
