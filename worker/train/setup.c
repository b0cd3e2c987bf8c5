/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/setup.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "worker/torch/machine.h"
#include "worker/train/plan.h"

#define DEFAULT_MAX_LENGTH 512
#define ROWS_BETWEEN_TICKS 4096
#define MANY_UNKNOWN	   0.05 /* of all tokens */

/* One setup in the making. */
struct work {
	struct rt_setup *s;
	const struct rt_setup_options *o;
	struct rt_problems *problems, *warnings;
	struct rt_err *err;
};

/* What the user can put right is a problem of a field and the setup goes on to find more; 0. What nobody but the machine's
 * owner can is the end: -1, with err filled. */
static int blame(struct work *w, const char *pointer, const struct rt_err *why)
{
	if (!rt_code_is_input(why->code))
		return rt_fail(w->err, why->code, "%s", why->msg);
	rt_problems_add(w->problems, pointer, NULL, "%s", why->msg);
	return 0;
}

int rt_setup_precision(const char *field, int asked, bool gpu, int *ret, struct rt_err *err)
{
	if (asked == RT_PRECISION_FP16)
		return rt_fail(err, RT_UNSUPPORTED,
			       "%s fp16 is not supported; use bf16, which needs no scaling of the loss, fp32 "
			       "or auto",
			       field);
	if (asked == RT_PRECISION_AUTO)
		asked = gpu || rt_machine_has_bf16() ? RT_PRECISION_BF16 : RT_PRECISION_FP32;
	*ret = asked;
	return 0;
}

/* Is path root itself or below it? Both are resolved. */
static bool lies_under(const char *path, const char *root)
{
	size_t n = strlen(root);

	while (n > 1 && root[n - 1] == '/')
		n--;
	return strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == '\0' || n == 1);
}

/* A reference is a path here; every other kind is resolved before a worker sees it, or comes in a later version. */
static int check_reference(const struct work *w, const char *field, const char *id, struct rt_err *err)
{
	char real[PATH_MAX], root[PATH_MAX];

	if (strncmp(id, "job_", 4) == 0 || strncmp(id, "ds_", 3) == 0)
		return rt_fail(err, RT_INVALID,
			       "%s '%s' is known to the server only; give the folder's path here", field, id);
	if (id[0] != '/' && strncmp(id, "./", 2) != 0 && strncmp(id, "../", 3) != 0)
		return rt_fail(err, RT_UNSUPPORTED,
			       "%s '%s' looks like a Hub id; Hub ids come in a later version. Download it "
			       "and give its path, "
			       "which begins with '/'",
			       field, id);
	if (!realpath(id, real))
		return rt_fail(err, RT_NOT_FOUND, "%s %s does not exist", field, id);
	for (size_t i = 0; i < w->o->root_count; i++) {
		if (realpath(w->o->roots[i], root) && lies_under(real, root))
			return 0;
	}
	if (w->o->root_count == 0)
		return 0;
	return rt_fail(err, RT_FORBIDDEN,
		       "%s %s is not below a folder that this server allows (--models-root)", field, id);
}

static int tick(const struct work *w)
{
	return w->o->tick ? w->o->tick(w->o->ctx, w->err) : 0;
}

/* Opens tokenizer and weights of one of the two models. 0 also when it was refused: then m->model is NULL. */
static int open_model(struct work *w, const char *pointer, const char *dir,
		      const struct rt_model_options *how, int64_t max_length, struct rt_setup_model *m)
{
	struct rt_err why = RT_ERR_INIT;
	int64_t allowed;

	if (tick(w) < 0)
		return -1;
	if (check_reference(w, pointer + 1, dir, &why) < 0)
		return blame(w, pointer, &why);
	if (rt_model_open(dir, how, &m->model, &m->report, &why) < 0 && blame(w, pointer, &why) < 0)
		return -1;
	if (rt_tokenizer_open(dir, &m->tokenizer, &why) < 0)
		return blame(w, pointer, &why);
	if (!m->model)
		return 0;
	if ((int64_t)rt_tokenizer_vocab_size(m->tokenizer) > rt_model_vocab_size(m->model))
		rt_problems_add(w->problems, pointer, NULL,
				"the tokenizer of %s has ids up to %zu, but the model's vocabulary has %lld "
				"entries; the "
				"tokenizer belongs to another model",
				dir, rt_tokenizer_vocab_size(m->tokenizer) - 1,
				(long long)rt_model_vocab_size(m->model));
	allowed = rt_model_max_length(m->model);
	m->max_length = max_length > 0 ? max_length : DEFAULT_MAX_LENGTH;
	if (m->max_length > allowed)
		m->max_length = allowed;
	return 0;
}

static int open_teacher(struct work *w)
{
	const struct rt_spec *spec = w->s->spec;
	struct rt_model_options how = { .seed = (uint64_t)spec->seed,
					.precision = w->s->teacher_precision,
					.gpu = spec->gpus > 0,
					.weights_later = true };
	struct rt_setup_model *m = &w->s->teacher;

	if (open_model(w, "/teacher_id", spec->teacher_id, &how, spec->max_length, m) < 0)
		return -1;
	if (m->model && m->report.initialised_count > 0)
		rt_problems_add(w->problems, "/teacher_id", NULL,
				"the teacher's weights lack %zu tensors, the first '%s'; a teacher must be a "
				"whole classifier",
				m->report.initialised_count, m->report.initialised[0]);
	if (m->model && spec->max_length > 0 && m->max_length < spec->max_length)
		rt_problems_add(w->warnings, "/max_length", NULL,
				"the teacher reads at most %lld tokens, so it sees longer texts cut there",
				(long long)m->max_length);
	if (m->model && spec->alpha == 1)
		rt_problems_add(w->warnings, "/alpha", NULL,
				"with alpha 1 the teacher does not take part in training; it is computed "
				"only to show its loss");
	return 0;
}

static int open_student(struct work *w, const char *const *labels, size_t label_count)
{
	const struct rt_spec *spec = w->s->spec;
	struct rt_model_options how = { .trainable = true,
					.gpu = spec->gpus > 0,
					.init = spec->student_init,
					.seed = (uint64_t)spec->seed,
					.precision = w->s->precision,
					.labels = labels,
					.label_count = label_count,
					.weights_later = true };
	struct rt_setup_model *m = &w->s->student;

	if (open_model(w, "/student_id", spec->student_id, &how, spec->max_length, m) < 0)
		return -1;
	if (m->model && spec->max_length > rt_model_max_length(m->model))
		rt_problems_add(w->problems, "/max_length", NULL,
				"max_length must be at most %lld for this student (got %lld)",
				(long long)rt_model_max_length(m->model), (long long)spec->max_length);
	if (m->model && spec->student_init == RT_INIT_PRETRAINED && m->report.unexpected_count > 0)
		rt_problems_add(w->warnings, "/student_id", NULL,
				"%zu tensors in the student's weights are not used, the first '%s'",
				m->report.unexpected_count, m->report.unexpected[0]);
	if (m->model && spec->student_init == RT_INIT_PRETRAINED && m->report.initialised_count > 0)
		rt_problems_add(w->warnings, "/student_id", NULL,
				"%zu tensors of the student are new (drawn from the seed), the first '%s'",
				m->report.initialised_count, m->report.initialised[0]);
	return 0;
}

static int open_data(struct work *w, const char *const *class_names, size_t class_name_count)
{
	const struct rt_spec *spec = w->s->spec;
	struct rt_dataset_options how = { .text_column = spec->text_column,
					  .label_column = spec->label_column,
					  .train_split = spec->train_split,
					  .validation_split = spec->validation_split,
					  .test_split = spec->test_split,
					  .class_names = class_names,
					  .class_name_count = class_name_count };
	struct rt_dataset_stats *st = &w->s->stats;
	struct rt_err why = RT_ERR_INIT;

	if (tick(w) < 0)
		return -1;
	if (check_reference(w, "dataset_id", spec->dataset_id, &why) < 0 ||
	    rt_dataset_open(spec->dataset_id, &how, &w->s->data, &why) < 0)
		return blame(w, "/dataset_id", &why);
	if (spec->dataset_config)
		rt_problems_add(w->warnings, "/dataset_config", NULL,
				"dataset_config '%s' is not used: a file has no configurations",
				spec->dataset_config);
	if (rt_dataset_stats(w->s->data, st, w->err) < 0)
		return -1;
	if (w->s->data->label_count < 2)
		rt_problems_add(w->problems, "/dataset_id", NULL,
				"the dataset has %zu class; a classifier needs 2", w->s->data->label_count);
	if (st->train_duplicates)
		rt_problems_add(w->warnings, "/dataset_id", NULL,
				"%zu training texts stand there more than once, %zu of them "
				"with different labels",
				st->train_duplicates, st->train_conflicts);
	if (st->validation_leaks)
		rt_problems_add(w->warnings, "/dataset_id", NULL,
				"%zu of %zu validation texts stand in the training split too; accuracy on "
				"them says little",
				st->validation_leaks, st->validation_rows);
	if (st->test_leaks)
		rt_problems_add(w->warnings, "/dataset_id", NULL,
				"%zu of %zu test texts stand in the training or validation split too",
				st->test_leaks, st->test_rows);
	if (st->labels_without_row)
		rt_problems_add(w->warnings, "/dataset_id", NULL,
				"%zu classes have no row in the training split", st->labels_without_row);
	return 0;
}

/* The model's class names in id order; new array of borrowed names. NULL without memory. */
static const char **names_of(const struct rt_model *m)
{
	size_t n = rt_model_label_count(m);
	const char **names = calloc(n + 1, sizeof *names);

	for (size_t i = 0; names && i < n; i++)
		names[i] = rt_model_label(m, i);
	return names;
}

static int match_labels(struct work *w, const struct rt_model *m, const char *pointer, int32_t *map)
{
	const char **names = names_of(m);
	struct rt_err why = RT_ERR_INIT;
	bool by_id = false;
	int rc = 0;

	if (!names)
		return rt_fail(w->err, RT_NO_MEMORY, "no memory for the classes");
	if (rt_labels_match(names, rt_model_label_count(m), w->s->data, map, &by_id, &why) < 0)
		rc = blame(w, pointer, &why);
	else if (by_id)
		rt_problems_add(w->warnings, "/dataset_id", NULL,
				"the dataset's labels are numbers; they were taken for the model's ids in "
				"their order ('%s' is 0)",
				names[0]);
	free(names);
	return rc;
}

/* Fills the maps between the classes of dataset, teacher and student. */
static int map_classes(struct work *w)
{
	struct rt_setup *s = w->s;
	size_t n = rt_model_label_count(s->student.model);

	s->class_of_label = calloc(s->data->label_count + 1, sizeof *s->class_of_label);
	s->labels = names_of(s->student.model);
	s->label_count = n;
	if (!s->class_of_label || !s->labels)
		return rt_fail(w->err, RT_NO_MEMORY, "no memory for the classes");
	/* With a teacher its classes are the student's, so one match says whether the dataset fits both. */
	if (match_labels(w, s->student.model, s->teacher.model ? "/teacher_id" : "/student_id",
			 s->class_of_label) < 0)
		return -1;
	if (!s->teacher.model)
		return 0;
	s->class_of_teacher = calloc(n + 1, sizeof *s->class_of_teacher);
	if (!s->class_of_teacher)
		return rt_fail(w->err, RT_NO_MEMORY, "no memory for the classes");
	for (size_t t = 0; t < rt_model_label_count(s->teacher.model); t++) {
		size_t k = 0;

		while (k < n && strcmp(s->labels[k], rt_model_label(s->teacher.model, t)) != 0)
			k++;
		if (k == n || n != rt_model_label_count(s->teacher.model))
			return rt_fail(w->err, RT_INTERNAL,
				       "the student did not take the teacher's class '%s'",
				       rt_model_label(s->teacher.model, t));
		s->class_of_teacher[t] = (int32_t)k;
	}
	return 0;
}

static int tokenize(struct work *w, struct rt_setup_model *m, const struct rt_split *split,
		    const int32_t *class_of, struct rt_rows *ret)
{
	bool types = rt_model_uses_token_types(m->model);

	for (size_t i = 0; i < split->n; i++) {
		const struct rt_row *row = &split->rows[i];
		struct rt_encoding e = { .n = 0 };
		int rc;

		if (i % ROWS_BETWEEN_TICKS == 0 && tick(w) < 0)
			return -1;
		if (rt_tokenizer_encode_ids(m->tokenizer, row->text, row->len, row->pair, row->pair_len,
					    (size_t)m->max_length, &e, w->err) < 0)
			return rt_fail_in(w->err, "row %zu of split '%s'", i + 1, split->name);
		if (e.n == 0)
			rc = rt_fail(w->err, RT_INVALID, "row %zu of split '%s' has no token", i + 1,
				     split->name);
		else
			rc = rt_rows_add(ret, e.ids, types ? e.type_ids : NULL, e.n,
					 row->label >= 0 ? class_of[row->label] : -1, w->err);
		ret->truncated += e.truncated;
		rt_reading_add(&m->reading, m->tokenizer, &e, row->pair != NULL);
		rt_encoding_release(&e);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int compare_tokenizers(struct work *w)
{
	struct rt_setup *s = w->s;
	const struct rt_setup_model *t = &s->teacher, *u = &s->student;
	struct rt_likeness_options o = {
		.max_length = (size_t)(t->max_length > u->max_length ? t->max_length : u->max_length),
		.types = rt_model_uses_token_types(t->model) || rt_model_uses_token_types(u->model),
		.tick = w->o->tick,
		.ctx = w->o->ctx,
	};

	return rt_likeness_find(t->tokenizer, u->tokenizer, s->data, &o, &s->tokenizers, w->err);
}

/* The teacher's rows, where they are not the student's. */
static int tokenize_for_teacher(struct work *w)
{
	struct rt_setup *s = w->s;
	struct rt_setup_model *t = &s->teacher;

	if (compare_tokenizers(w) < 0)
		return -1;
	if (s->tokenizers.likeness != RT_TOKENIZERS_DIFFERENT && t->max_length == s->student.max_length &&
	    rt_model_uses_token_types(t->model) == rt_model_uses_token_types(s->student.model)) {
		t->reading = s->student.reading;
		return 0;
	}
	if (tokenize(w, t, &s->data->train, s->class_of_label, &s->teacher_train) < 0 ||
	    tokenize(w, t, &s->data->validation, s->class_of_label, &s->teacher_validation) < 0)
		return -1;
	if (t->reading.truncated > 0)
		rt_problems_add(w->warnings, "/max_length", NULL,
				"%zu texts are longer than the teacher's %lld tokens", t->reading.truncated,
				(long long)t->max_length);
	return 0;
}

/* A tokenizer that does not know the texts' words or characters is most often another model's or another language's. */
static void warn_of_unknown(struct work *w, const char *pointer, const char *who, const struct rt_reading *r)
{
	if (rt_reading_unknown_share(r) < MANY_UNKNOWN)
		return;
	rt_problems_add(w->warnings, pointer, NULL,
			"%.1f %% of the tokens that the %s's tokenizer makes of the texts are unknown ones "
			"(%zu of %zu); the %s "
			"cannot tell those words apart, so its tokenizer may be of another language or of "
			"another model",
			100 * rt_reading_unknown_share(r), who, r->unknown, r->tokens, who);
}

static int tokenize_all(struct work *w)
{
	struct rt_setup *s = w->s;
	const struct rt_dataset *d = s->data;
	size_t cut;

	if (tokenize(w, &s->student, &d->train, s->class_of_label, &s->train) < 0 ||
	    tokenize(w, &s->student, &d->validation, s->class_of_label, &s->validation) < 0 ||
	    (s->teacher.model && tokenize_for_teacher(w) < 0) ||
	    tokenize(w, &s->student, &d->test, s->class_of_label, &s->test) < 0)
		return -1;
	cut = rt_setup_truncated(s);
	if (cut)
		rt_problems_add(w->warnings, "/max_length", NULL,
				"%zu of %zu texts are longer than %lld tokens and are cut there", cut,
				d->train.n + d->validation.n + d->test.n, (long long)s->student.max_length);
	if (s->teacher.model)
		warn_of_unknown(w, "/teacher_id", "teacher", &s->teacher.reading);
	warn_of_unknown(w, "/student_id", "student", &s->student.reading);
	return 0;
}

static int64_t memory_available(void)
{
	long pages = sysconf(_SC_AVPHYS_PAGES), size = sysconf(_SC_PAGESIZE);
	struct rt_buf text = RT_BUF_INIT;
	int64_t kib = -1;
	const char *at;

	if (rt_file_read("/proc/meminfo", 1 << 16, &text, NULL) == 0 &&
	    (at = strstr(text.data, "MemAvailable:")))
		kib = strtoll(at + strlen("MemAvailable:"), NULL, 10);
	rt_buf_release(&text);
	return kib >= 0 ? kib * 1024 : (int64_t)pages * size;
}

static void check_machine(struct work *w)
{
	const struct rt_spec *spec = w->s->spec;
	struct rt_err why = RT_ERR_INIT;

	if (spec->gpus > tc_gpu_count())
		rt_problems_add(w->problems, "/resources/gpus", NULL,
				"resources.gpus is %lld, but libtorch sees %d GPUs on this machine",
				(long long)spec->gpus, tc_gpu_count());

	if (rt_setup_precision("precision", spec->precision, spec->gpus > 0, &w->s->precision, &why) < 0)
		rt_problems_add(w->problems, "/precision", NULL, "%s", why.msg);
	if (rt_setup_precision("teacher_precision", spec->teacher_precision, spec->gpus > 0,
			       &w->s->teacher_precision, &why) < 0)
		rt_problems_add(w->problems, "/teacher_precision", NULL, "%s", why.msg);
}

static int open_all(struct work *w)
{
	struct rt_setup *s = w->s;
	const char **teacher_names = NULL;
	size_t teacher_count = 0;
	int rc = -1;

	check_machine(w);
	if (s->spec->teacher_id && open_teacher(w) < 0)
		return -1;
	if (s->teacher.model) {
		teacher_names = names_of(s->teacher.model);
		teacher_count = rt_model_label_count(s->teacher.model);
		if (!teacher_names)
			return rt_fail(w->err, RT_NO_MEMORY, "no memory for the classes");
	}
	if (open_data(w, teacher_names, teacher_count) < 0)
		goto out;
	if (open_student(w,
			 teacher_names ? teacher_names
			 : s->data     ? (const char *const *)s->data->labels
				       : NULL,
			 teacher_names ? teacher_count
			 : s->data     ? s->data->label_count
				       : 0) < 0)
		goto out;
	if (s->student.model && s->data && (s->teacher.model || !s->spec->teacher_id) && map_classes(w) < 0)
		goto out;
	/* rows are worth reading only when everything fits */
	if (w->problems->n == 0 && tokenize_all(w) < 0) {
		struct rt_err why = *w->err;

		if (blame(w, "/dataset_id", &why) < 0)
			goto out;
	}
	if (w->problems->n == 0 && rt_setup_memory(s) > memory_available())
		rt_problems_add(w->warnings, "", NULL,
				"the job may need %lld MiB of memory and %lld MiB are free; a smaller "
				"per_device_train_batch_size or max_length needs less",
				(long long)(rt_setup_memory(s) >> 20), (long long)(memory_available() >> 20));
	rc = 0;
out:
	free(teacher_names);
	return rc;
}

int rt_setup_open(const struct rt_spec *spec, const struct rt_setup_options *o, struct rt_setup **ret,
		  struct rt_problems *problems, struct rt_problems *warnings, struct rt_err *err)
{
	struct work w = { .o = o, .problems = problems, .warnings = warnings, .err = err };
	struct rt_setup *s = calloc(1, sizeof *s);
	int rc = -1;

	problems->n = warnings->n = 0;
	if (!s)
		return rt_fail(err, RT_NO_MEMORY, "no memory to set up the job");
	s->spec = spec;
	w.s = s;
	if (open_all(&w) < 0)
		goto out;
	if (problems->n > 0) {
		if (problems->n == 1)
			rt_fail(err, RT_UNPROCESSABLE, "%s", problems->items[0].detail);
		else
			rt_fail(err, RT_UNPROCESSABLE, "%zu things are wrong; the first: %s", problems->n,
				problems->items[0].detail);
		goto out;
	}
	*ret = s;
	s = NULL;
	rc = 0;
out:
	rt_setup_close(s);
	return rc;
}

static void release_model(struct rt_setup_model *m)
{
	rt_model_close(m->model);
	rt_model_report_release(&m->report);
	rt_tokenizer_close(m->tokenizer);
}

void rt_setup_close(struct rt_setup *s)
{
	if (!s)
		return;
	release_model(&s->student);
	release_model(&s->teacher);
	rt_dataset_close(s->data);
	free(s->stats.label_rows);
	free(s->class_of_label);
	free(s->class_of_teacher);
	free(s->labels);
	rt_rows_release(&s->train);
	rt_rows_release(&s->validation);
	rt_rows_release(&s->test);
	rt_rows_release(&s->teacher_train);
	rt_rows_release(&s->teacher_validation);
	free(s);
}

const struct rt_rows *rt_setup_teacher_rows(const struct rt_setup *s, bool validation)
{
	const struct rt_rows *own = validation ? &s->teacher_validation : &s->teacher_train;

	if (own->n > 0)
		return own;
	return validation ? &s->validation : &s->train;
}

size_t rt_setup_truncated(const struct rt_setup *s)
{
	return s->train.truncated + s->validation.truncated + s->test.truncated;
}

int64_t rt_setup_steps(const struct rt_setup *s)
{
	struct rt_plan p = { .rows = (int64_t)s->data->train.n,
			     .batch = s->spec->per_device_train_batch_size,
			     .accumulate = s->spec->gradient_accumulation_steps,
			     .epochs = s->spec->epochs };

	return rt_plan_total(&p);
}

/* Floats that one token leaves behind in a forward pass that will be differentiated: about 34 vectors of the hidden size a
 * layer (inputs of the products, masks, norms), and the attention's scores. */
static double activations(const struct rt_model *m, double rows, double width)
{
	double hidden = (double)rt_model_hidden_size(m), heads = hidden / 64 + 1;

	return rows * width * (double)rt_model_layer_count(m) * (34 * hidden + 3 * heads * width);
}

int64_t rt_setup_memory(const struct rt_setup *s)
{
	double batch = (double)s->spec->per_device_train_batch_size,
	       eval = (double)s->spec->per_device_eval_batch_size;
	double rows = (double)(s->data->train.n + s->data->validation.n), longest = (double)s->train.longest;
	/* weights, gradient, two moments; the file's own copy while it is read; what the saver copies */
	double floats = 8.0 * (double)s->student.report.parameters;

	batch = batch < (double)s->train.n ? batch : (double)s->train.n;
	floats += activations(s->student.model, batch, longest);
	if (s->teacher.model) {
		floats += 2.0 * (double)s->teacher.report.parameters + rows * (double)s->label_count;
		floats += activations(s->teacher.model, eval, longest) /
			  (double)rt_model_layer_count(s->teacher.model);
	}
	return (int64_t)(4 * floats) + (200ll << 20); /* the libraries themselves */
}

static json_t *model_facts(const struct rt_setup_model *m)
{
	return json_pack("{sssssIsIsIs{sIsI}so}", "family", rt_model_family(m->model), "architecture",
			 rt_model_architecture(m->model), "parameters", (json_int_t)m->report.parameters,
			 "labels", (json_int_t)rt_model_label_count(m->model), "max_length",
			 (json_int_t)m->max_length, "tokenizer", "vocab_size",
			 (json_int_t)rt_tokenizer_vocab_size(m->tokenizer), "model_vocab_size",
			 (json_int_t)rt_model_vocab_size(m->model), "reading", rt_reading_json(&m->reading));
}

json_t *rt_setup_tokenizers(const struct rt_setup *s)
{
	return s->teacher.model ? rt_likeness_json(&s->tokenizers, &s->teacher.reading, &s->student.reading)
				: NULL;
}

json_t *rt_setup_facts(const struct rt_setup *s)
{
	json_t *facts = json_pack("{sIsIsIsIsIsIsIso}", "train_rows", (json_int_t)s->data->train.n,
				  "validation_rows", (json_int_t)s->data->validation.n, "test_rows",
				  (json_int_t)s->data->test.n, "labels", (json_int_t)s->label_count,
				  "truncated_rows", (json_int_t)rt_setup_truncated(s), "steps",
				  (json_int_t)rt_setup_steps(s), "memory_bytes_estimate",
				  (json_int_t)rt_setup_memory(s), "student", model_facts(&s->student));

	if (facts && s->teacher.model) {
		json_object_set_new(facts, "teacher", model_facts(&s->teacher));
		json_object_set_new(facts, "tokenizers",
				    json_string(rt_likeness_word(s->tokenizers.likeness)));
		json_object_set_new(facts, "tokenizer_check", rt_setup_tokenizers(s));
	}
	if (facts) {
		json_object_set_new(facts, "precision", json_string(rt_spec_word("precision", s->precision)));
		json_object_set_new(facts, "longest_row_tokens", json_integer((json_int_t)s->train.longest));
		json_object_set_new(facts, "columns",
				    json_pack("{ssssss?}", "text", s->data->text_column, "label",
					      s->data->label_column, "pair", s->data->pair_column));
	}
	return facts;
}
