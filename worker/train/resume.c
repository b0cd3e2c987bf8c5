/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/resume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"

#define VERSION	     1
#define MAGIC	     "RTSTATE1"
#define PAGE	     4096
#define KEPT	     2
#define HEADER_BYTES (64u << 20)       /* more is not a header that we wrote */
#define CHUNK	     ((size_t)4 << 20) /* between two looks at give_up */
#define DIGITS	     (RT_SHA256_SIZE - 1)

static size_t pages(size_t n)
{
	return (n + PAGE - 1) / PAGE * PAGE;
}

size_t rt_resume_data_bytes(size_t total)
{
	return pages(3 * total * sizeof(float));
}

void rt_resume_release(struct rt_resume *r)
{
	json_decref(r->spec);
	free(r->epochs);
	free(r->checkpoints);
	memset(r, 0, sizeof *r);
}

/* ---- the header ---- */

/* Text that reads back to the same double, NaN too. */
static json_t *exact(double v)
{
	char text[40];

	snprintf(text, sizeof text, "%a", v);
	return json_string(text);
}

static json_t *train_json(const struct rt_train_state *t)
{
	return json_pack("{sI sI sI sI so so so so sb so sI sI}", "step", (json_int_t)t->step, "epoch",
			 (json_int_t)t->epoch, "batch", (json_int_t)t->batch, "epoch_steps",
			 (json_int_t)t->epoch_steps, "loss_sum", exact(t->loss_sum), "ce_sum",
			 exact(t->ce_sum), "kd_sum", exact(t->kd_sum), "epoch_seconds",
			 exact(t->epoch_seconds), "has_best", t->has_best, "best", exact(t->best),
			 "best_epoch", (json_int_t)t->best_epoch, "since_best", (json_int_t)t->since_best);
}

static json_t *epoch_json(const struct rt_epoch_record *e)
{
	return json_pack("[I I o o o o o o o o o]", (json_int_t)e->epoch, (json_int_t)e->step,
			 exact(e->train_loss), exact(e->train_ce_loss), exact(e->train_kd_loss),
			 exact(e->eval_loss), exact(e->eval_ce_loss), exact(e->eval_kd_loss),
			 exact(e->eval_accuracy), exact(e->learning_rate), exact(e->seconds));
}

static json_t *header_json(const struct rt_resume *r, const struct rt_resume_numbers *n)
{
	json_t *epochs = json_array(), *checkpoints = json_array(), *parameters = json_array();

	for (size_t i = 0; i < r->epoch_count; i++)
		json_array_append_new(epochs, epoch_json(&r->epochs[i]));
	for (size_t i = 0; i < r->checkpoint_count; i++)
		json_array_append_new(checkpoints, json_string(r->checkpoints[i]));
	for (size_t i = 0; i < n->count; i++)
		json_array_append_new(parameters, json_pack("[sI]", n->names[i], (json_int_t)n->sizes[i]));
	return json_pack("{si so so sO si ss s{ss ss ss ss ss} so sI so so so ss ss sI so}", "version",
			 VERSION, "train", train_json(&r->train), "run_seconds", exact(r->run_seconds),
			 "spec", r->spec, "threads", r->threads, "torch", r->torch, "prints", "data",
			 r->prints.data, "student_tokenizer", r->prints.student_tokenizer,
			 "teacher_tokenizer", r->prints.teacher_tokenizer, "student", r->prints.student,
			 "teacher", r->prints.teacher, "epochs", epochs, "best_epoch",
			 (json_int_t)r->best_epoch, "best_accuracy", exact(r->best_accuracy), "best_metric",
			 exact(r->best_metric), "checkpoints", checkpoints, "best_checkpoint", r->best,
			 "tb_name", r->tb_name, "tb_bytes", (json_int_t)r->tb_bytes, "parameters",
			 parameters);
}

static int get_exact(const json_t *v, double *ret)
{
	const char *text = json_string_value(v);
	char *end;

	if (!text || !*text)
		return -1;
	*ret = strtod(text, &end);
	return *end ? -1 : 0;
}

static int get_int(const json_t *object, const char *key, int64_t *ret)
{
	const json_t *v = json_object_get(object, key);

	if (!json_is_integer(v))
		return -1;
	*ret = json_integer_value(v);
	return 0;
}

/* Into out[size], which it must fit. */
static int get_text(const json_t *object, const char *key, char *out, size_t size)
{
	const char *text = json_string_value(json_object_get(object, key));

	if (!text || strlen(text) >= size)
		return -1;
	strcpy(out, text);
	return 0;
}

static int read_train(const json_t *j, struct rt_train_state *t)
{
	t->has_best = json_is_true(json_object_get(j, "has_best"));
	return get_int(j, "step", &t->step) < 0 || get_int(j, "epoch", &t->epoch) < 0 ||
			       get_int(j, "batch", &t->batch) < 0 ||
			       get_int(j, "epoch_steps", &t->epoch_steps) < 0 ||
			       get_int(j, "best_epoch", &t->best_epoch) < 0 ||
			       get_int(j, "since_best", &t->since_best) < 0 ||
			       get_exact(json_object_get(j, "loss_sum"), &t->loss_sum) < 0 ||
			       get_exact(json_object_get(j, "ce_sum"), &t->ce_sum) < 0 ||
			       get_exact(json_object_get(j, "kd_sum"), &t->kd_sum) < 0 ||
			       get_exact(json_object_get(j, "epoch_seconds"), &t->epoch_seconds) < 0 ||
			       get_exact(json_object_get(j, "best"), &t->best) < 0
		       ? -1
		       : 0;
}

static int read_epoch(const json_t *j, struct rt_epoch_record *e)
{
	double *const at[] = { &e->train_loss,	  &e->train_ce_loss, &e->train_kd_loss,
			       &e->eval_loss,	  &e->eval_ce_loss,  &e->eval_kd_loss,
			       &e->eval_accuracy, &e->learning_rate, &e->seconds };
	const size_t n = sizeof at / sizeof *at;

	if (json_array_size(j) != n + 2 || !json_is_integer(json_array_get(j, 0)) ||
	    !json_is_integer(json_array_get(j, 1)))
		return -1;
	e->epoch = json_integer_value(json_array_get(j, 0));
	e->step = json_integer_value(json_array_get(j, 1));
	for (size_t i = 0; i < n; i++) {
		if (get_exact(json_array_get(j, i + 2), at[i]) < 0)
			return -1;
	}
	return 0;
}

static int read_prints(const json_t *j, struct rt_resume_prints *p)
{
	return get_text(j, "data", p->data, sizeof p->data) < 0 ||
			       get_text(j, "student_tokenizer", p->student_tokenizer,
					sizeof p->student_tokenizer) < 0 ||
			       get_text(j, "teacher_tokenizer", p->teacher_tokenizer,
					sizeof p->teacher_tokenizer) < 0 ||
			       get_text(j, "student", p->student, sizeof p->student) < 0 ||
			       get_text(j, "teacher", p->teacher, sizeof p->teacher) < 0
		       ? -1
		       : 0;
}

/* 0, or -1 when it is not as header_json writes it. err only for memory. */
static int read_header(const json_t *j, struct rt_resume *r, struct rt_err *err)
{
	const json_t *epochs = json_object_get(j, "epochs"), *checkpoints = json_object_get(j, "checkpoints");
	int64_t threads = 0;

	r->epochs = calloc(json_array_size(epochs) + 1, sizeof *r->epochs);
	r->checkpoints = calloc(json_array_size(checkpoints) + 1, sizeof *r->checkpoints);
	if (!r->epochs || !r->checkpoints)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the saved state");
	for (size_t i = 0; i < json_array_size(epochs); i++, r->epoch_count++) {
		if (read_epoch(json_array_get(epochs, i), &r->epochs[i]) < 0)
			return -1;
	}
	for (size_t i = 0; i < json_array_size(checkpoints); i++, r->checkpoint_count++) {
		const char *id = json_string_value(json_array_get(checkpoints, i));

		if (!id || !rt_id_is(id, "ckpt"))
			return -1;
		strcpy(r->checkpoints[i], id);
	}
	r->spec = json_incref(json_object_get(j, "spec"));
	if (!json_is_object(r->spec) || get_int(j, "threads", &threads) < 0 ||
	    read_train(json_object_get(j, "train"), &r->train) < 0 ||
	    read_prints(json_object_get(j, "prints"), &r->prints) < 0 ||
	    get_exact(json_object_get(j, "run_seconds"), &r->run_seconds) < 0 ||
	    get_exact(json_object_get(j, "best_accuracy"), &r->best_accuracy) < 0 ||
	    get_exact(json_object_get(j, "best_metric"), &r->best_metric) < 0 ||
	    get_int(j, "best_epoch", &r->best_epoch) < 0 || get_int(j, "tb_bytes", &r->tb_bytes) < 0 ||
	    get_text(j, "torch", r->torch, sizeof r->torch) < 0 ||
	    get_text(j, "best_checkpoint", r->best, sizeof r->best) < 0 ||
	    get_text(j, "tb_name", r->tb_name, sizeof r->tb_name) < 0 || strchr(r->tb_name, '/'))
		return -1;
	r->threads = (int)threads;
	return 0;
}

/* ---- writing ---- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_state(const struct dirent *e)
{
	return strncmp(e->d_name, "state-", 6) == 0 &&
	       strspn(e->d_name + 6, "0123456789") == strlen(e->d_name + 6);
}

static int is_leftover(const struct dirent *e)
{
	return strncmp(e->d_name, ".tmp-", 5) == 0;
}

/* The names below folder that pick likes, sorted. A folder that is not there has none. */
static int list(const char *folder, int (*pick)(const struct dirent *), struct dirent ***ret,
		struct rt_err *err)
{
	int n = scandir(folder, ret, pick, by_name);

	if (n >= 0)
		return n;
	*ret = NULL;
	return errno == ENOENT ? 0 : rt_fail_errno(err, errno, "cannot read %s", folder);
}

static void free_list(struct dirent **names, int n)
{
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

/* Removes what an interrupted writer left, or all states but the newest two. */
static int clean(const char *folder, int (*pick)(const struct dirent *), int keep, struct rt_err *err)
{
	struct dirent **names;
	int n = list(folder, pick, &names, err), rc = n < 0 ? -1 : 0;

	for (int i = 0; i + keep < n && rc == 0; i++) {
		char *path = rt_path_join(folder, names[i]->d_name);

		rc = path ? rt_dir_remove(path, err) : rt_fail(err, RT_NO_MEMORY, "no memory for a state");
		free(path);
	}
	free_list(names, n);
	return rc;
}

/* One file in the making. */
struct output {
	int fd;
	off_t at; /* bytes written */
	struct rt_sha256_state *sum;
	bool (*give_up)(void *ctx);
	void *ctx;
};

/* bytes: on a page's edge; n: a multiple of PAGE, so that the disk can take them without a copy. */
static int put(struct output *o, const void *bytes, size_t n, bool hash, struct rt_err *err)
{
	const char *at = bytes;

	while (n > 0) {
		size_t part = n < CHUNK ? n : CHUNK;
		int flags;

		if (o->give_up && o->give_up(o->ctx))
			return rt_fail(err, RT_CANCELLED, "saving the state was given up");
		if (hash)
			rt_sha256_add(o->sum, at, part);
		if (rt_fd_write_all(o->fd, at, part) < 0) {
			flags = fcntl(o->fd, F_GETFL);
			/* a file system that takes O_DIRECT and then does not want it */
			if (errno != EINVAL || !(flags & O_DIRECT) ||
			    fcntl(o->fd, F_SETFL, flags & ~O_DIRECT) < 0 ||
			    lseek(o->fd, 0, SEEK_CUR) != o->at || rt_fd_write_all(o->fd, at, part) < 0)
				return rt_fail_errno(err, errno, "cannot write the saved state");
		}
		o->at += (off_t)part;
		at += part;
		n -= part;
	}
	return 0;
}

static int put_header(struct output *o, const struct rt_resume *what, const struct rt_resume_numbers *numbers,
		      struct rt_err *err)
{
	json_t *json = header_json(what, numbers);
	struct rt_buf text = RT_BUF_INIT;
	size_t size;
	char *block = NULL;
	int rc = -1;

	if (!json) {
		rt_fail(err, RT_NO_MEMORY, "no memory for the saved state");
		goto out;
	}
	rt_json_write(&text, json, 0);
	if (rt_buf_check(&text, err) < 0)
		goto out;
	size = pages(16 + text.len);
	block = aligned_alloc(PAGE, size);
	if (!block) {
		rt_fail(err, RT_NO_MEMORY, "no memory for the saved state");
		goto out;
	}
	memset(block, ' ', size);
	memcpy(block, MAGIC, 8);
	for (int i = 0; i < 8; i++)
		block[8 + i] = (char)((uint64_t)text.len >> (8 * i));
	memcpy(block + 16, text.data, text.len);
	rc = put(o, block, size, true, err);
out:
	json_decref(json);
	rt_buf_release(&text);
	free(block);
	return rc;
}

static int put_trailer(struct output *o, struct rt_err *err)
{
	char hex[RT_SHA256_SIZE], *block;
	int rc;

	if (rt_sha256_end(o->sum, hex, err) < 0)
		return -1;
	block = aligned_alloc(PAGE, PAGE);
	if (!block)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the saved state");
	memset(block, ' ', PAGE);
	memcpy(block, hex, DIGITS);
	rc = put(o, block, PAGE, false, err);
	free(block);
	return rc;
}

static int write_all(struct output *o, const char *path, const struct rt_resume *what,
		     const struct rt_resume_numbers *numbers, struct rt_err *err)
{
	o->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_DIRECT, 0644);
	if (o->fd < 0 && errno == EINVAL) /* not every file system has it */
		o->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (o->fd < 0)
		return rt_fail_errno(err, errno, "cannot write the saved state");
	if (put_header(o, what, numbers, err) < 0 ||
	    put(o, numbers->data, rt_resume_data_bytes(numbers->total), true, err) < 0 ||
	    put_trailer(o, err) < 0)
		return -1;
	if (fsync(o->fd) < 0)
		return rt_fail_errno(err, errno, "cannot write the saved state");
	return 0;
}

int rt_resume_write(const char *dir, const struct rt_resume *what, const struct rt_resume_numbers *numbers,
		    bool (*give_up)(void *ctx), void *ctx, struct rt_err *err)
{
	struct output o = { .fd = -1, .give_up = give_up, .ctx = ctx };
	struct rt_buf tmp = RT_BUF_INIT, path = RT_BUF_INIT;
	char *folder = rt_path_join(dir, "resume");
	bool made = false;
	int rc = -1;

	rt_buf_fmt(&path, "%s/state-%012" PRId64, folder ? folder : "", what->train.step);
	rt_buf_fmt(&tmp, "%s/.tmp-state-%012" PRId64, folder ? folder : "", what->train.step);
	if (!folder || path.failed || tmp.failed) {
		rt_fail(err, RT_NO_MEMORY, "no memory for the saved state");
		goto out;
	}
	if (rt_dir_make(folder, err) < 0 || clean(folder, is_leftover, 0, err) < 0 ||
	    rt_sha256_new(&o.sum, err) < 0)
		goto out;
	made = true;
	if (write_all(&o, tmp.data, what, numbers, err) < 0)
		goto out;
	if (rename(tmp.data, path.data) < 0) {
		rt_fail_errno(err, errno, "cannot write the saved state");
		goto out;
	}
	made = false;
	/* the folder's own entry in dir too: it may be new */
	if (rt_dir_sync(folder, err) < 0 || rt_dir_sync(dir, err) < 0 ||
	    clean(folder, is_state, KEPT, err) < 0)
		goto out;
	rc = 0;
out:
	if (o.fd >= 0)
		close(o.fd);
	if (made)
		unlink(tmp.data);
	rt_sha256_free(o.sum);
	rt_buf_release(&tmp);
	rt_buf_release(&path);
	free(folder);
	return rc;
}

/* ---- reading ---- */

void rt_resume_file_close(struct rt_resume_file *f)
{
	if (!f)
		return;
	rt_resume_release(&f->state);
	json_decref(f->parameters);
	rt_map_close(&f->map);
	free(f->path);
	free(f);
}

static bool is_whole(const struct rt_resume_file *f, struct rt_err *err)
{
	struct rt_sha256_state *sum = NULL;
	size_t n = f->map.size - PAGE;
	char hex[RT_SHA256_SIZE];
	bool same = false;

	if (rt_sha256_new(&sum, err) < 0)
		return false;
	rt_sha256_add(sum, f->map.data, n);
	if (rt_sha256_end(sum, hex, err) == 0) {
		same = memcmp(f->map.data + n, hex, DIGITS) == 0;
		if (!same)
			rt_fail(err, RT_INVALID, "its checksum is wrong");
	}
	rt_sha256_free(sum);
	return same;
}

/* Where the numbers begin, and how many parameters' numbers there are, by the header. */
static int find_data(struct rt_resume_file *f, size_t start, struct rt_err *err)
{
	size_t i, size;
	json_t *entry;

	json_array_foreach(f->parameters, i, entry)
	{
		int64_t n = json_integer_value(json_array_get(entry, 1));

		if (!json_is_string(json_array_get(entry, 0)) || n < 0 ||
		    __builtin_add_overflow(f->total, (size_t)n, &f->total) || f->total > SIZE_MAX / 16)
			return rt_fail(err, RT_INVALID, "its header is wrong");
	}
	size = start + rt_resume_data_bytes(f->total) + PAGE;
	if (size != f->map.size)
		return rt_fail(err, RT_INVALID, "it has %zu bytes where its header says %zu", f->map.size,
			       size);
	f->data = (const float *)(const void *)(f->map.data + start); /* a page's edge */
	return 0;
}

static int read_file(struct rt_resume_file *f, struct rt_err *err)
{
	uint64_t n = 0;
	int64_t version;
	json_t *json;
	int rc = -1;

	if (rt_map_open(f->path, &f->map, err) < 0)
		return -1;
	if (f->map.size < 2 * PAGE || f->map.size % PAGE != 0 || memcmp(f->map.data, MAGIC, 8) != 0)
		return rt_fail(err, RT_INVALID, "it is not a saved state, or not a whole one");
	for (int i = 0; i < 8; i++)
		n |= (uint64_t)f->map.data[8 + i] << (8 * i);
	if (n > HEADER_BYTES || pages(16 + n) > f->map.size - PAGE)
		return rt_fail(err, RT_INVALID, "its header is wrong");
	if (!is_whole(f, err))
		return -1;
	json = rt_json_parse((const char *)f->map.data + 16, n, err);
	if (!json)
		return -1;
	f->parameters = json_incref(json_object_get(json, "parameters"));
	if (get_int(json, "version", &version) < 0 || version != VERSION)
		rt_fail(err, RT_INVALID, "it is of another version of retort-worker");
	else if (read_header(json, &f->state, err) < 0)
		rt_fail(err, err->code == RT_NO_MEMORY ? RT_NO_MEMORY : RT_INVALID, "its header is wrong");
	else
		rc = find_data(f, pages(16 + n), err);
	json_decref(json);
	return rc;
}

static int check_checkpoints(const struct rt_resume_file *f, const char *dir, struct rt_err *err)
{
	for (size_t i = 0; i < f->state.checkpoint_count; i++) {
		struct rt_buf path = RT_BUF_INIT;
		bool there;

		rt_buf_fmt(&path, "%s/checkpoints/%s", dir, f->state.checkpoints[i]);
		there = !path.failed && rt_file_is_dir(path.data);
		rt_buf_release(&path);
		if (!there)
			return rt_fail(err, RT_NOT_FOUND, "its checkpoint %s is not there any more",
				       f->state.checkpoints[i]);
	}
	return 0;
}

int rt_resume_find(const char *dir, struct rt_resume_file **ret, struct rt_buf *why, struct rt_err *err)
{
	char *folder = rt_path_join(dir, "resume");
	struct rt_resume_file *f = NULL;
	struct dirent **names = NULL;
	int n, rc = -1;

	n = folder ? list(folder, is_state, &names, err)
		   : rt_fail(err, RT_NO_MEMORY, "no memory for the saved state");
	for (int i = n - 1; i >= 0; i--) {
		struct rt_err bad = RT_ERR_INIT;

		f = calloc(1, sizeof *f);
		if (!f) {
			rt_fail(err, RT_NO_MEMORY, "no memory for the saved state");
			goto out;
		}
		snprintf(f->name, sizeof f->name, "%.39s", names[i]->d_name);
		f->path = rt_path_join(folder, names[i]->d_name);
		if (!f->path) {
			rt_fail(err, RT_NO_MEMORY, "no memory for the saved state");
			goto out;
		}
		if (read_file(f, &bad) == 0 && check_checkpoints(f, dir, &bad) == 0)
			break;
		if (bad.code == RT_NO_MEMORY) {
			*err = bad;
			goto out;
		}
		rt_buf_fmt(why, "%s%s: %s", why->len ? "; " : "", f->name, bad.msg);
		rt_resume_file_close(f);
		f = NULL;
	}
	if (n < 0)
		goto out;
	if (!f && why->len == 0)
		rt_buf_str(why, "no state was saved");
	if (rt_buf_check(why, err) < 0)
		goto out;
	*ret = f;
	f = NULL;
	rc = 0;
out:
	rt_resume_file_close(f);
	free_list(names, n);
	free(folder);
	return rc;
}

int rt_resume_restore(const struct rt_resume_file *f, struct rt_model *model, struct rt_trainer *trainer,
		      struct rt_err *err)
{
	size_t n = rt_model_param_count(model), at = 0;
	struct tc_scope *s;
	int rc = 0;

	if (json_array_size(f->parameters) != n)
		return rt_fail(err, RT_CONFLICT,
			       "the saved state has %zu parameters where the student has %zu",
			       json_array_size(f->parameters), n);
	s = tc_scope_open(NULL, TC_NO_GRAD);
	for (size_t i = 0; i < n && rc == 0; i++) {
		const json_t *entry = json_array_get(f->parameters, i);
		struct rt_param p = rt_model_param(model, i);
		size_t size = (size_t)tc_numel(p.t);
		struct tc_tensor *first, *second;

		if (strcmp(json_string_value(json_array_get(entry, 0)), p.name) != 0 ||
		    json_integer_value(json_array_get(entry, 1)) != tc_numel(p.t)) {
			rc = rt_fail(err, RT_CONFLICT, "the saved state is of another model: '%s'", p.name);
			break;
		}
		rt_trainer_moments(trainer, i, &first, &second);
		if (tc_write(s, p.t, TC_F32, f->data + at, size, err) < 0 ||
		    tc_write(s, first, TC_F32, f->data + f->total + at, size, err) < 0 ||
		    tc_write(s, second, TC_F32, f->data + 2 * f->total + at, size, err) < 0)
			rc = -1;
		at += size;
	}
	tc_scope_close(s);
	return rc < 0 ? -1 : rt_trainer_restore(trainer, &f->state.train, err);
}
