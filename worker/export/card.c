/* SPDX-License-Identifier: Apache-2.0 */
/* YAML front matter and Markdown. Every string in the YAML is quoted: a label or a name may be `no`, `1e3` or worse. */
#include "worker/export/card.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

/* Could it be a Hub id, `name` or `owner/name`? Everything else (a path, an id of ours) is not for the front matter. */
static bool is_hub_id(const char *id)
{
	size_t slashes = 0, n = strlen(id);

	if (n == 0 || n > 96 || !isalnum((unsigned char)id[0]) || strstr(id, "..") || strstr(id, "--"))
		return false;
	if (strncmp(id, "job_", 4) == 0 || strncmp(id, "ds_", 3) == 0)
		return false;
	for (const char *p = id; *p; p++) {
		slashes += *p == '/';
		if (!isalnum((unsigned char)*p) && !strchr("._-/", *p))
			return false;
	}
	return slashes <= 1 && id[n - 1] != '/';
}

/* What a reader may see of an id: all of it, but of a path only its last part. */
static const char *shown(const char *id)
{
	const char *slash;

	if (id[0] != '/' && id[0] != '.')
		return id;
	slash = strrchr(id, '/');
	return slash && slash[1] ? slash + 1 : id[0] == '/' ? "(a folder)" : id;
}

static void yaml_str(struct rt_buf *out, const char *s)
{
	rt_json_write_str(out, s, strlen(s)); /* a JSON string is a YAML string in double quotes */
}

/* In a table's cell or a line: no line breaks, no bars that end the cell, no HTML. */
static void text(struct rt_buf *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '|' || *s == '*' || *s == '_' || *s == '`' || *s == '[' || *s == '\\')
			rt_buf_char(out, '\\');
		if (*s == '<')
			rt_buf_str(out, "&lt;");
		else
			rt_buf_char(out, (unsigned char)*s < 0x20 ? ' ' : *s);
	}
}

static void number(struct rt_buf *out, double v)
{
	if (isfinite(v))
		rt_buf_fmt(out, "%.4f", v);
	else
		rt_buf_str(out, "–");
}

/* With alpha 1 the teacher takes no part. */
static bool is_distilled(const struct rt_export *x)
{
	return x->spec->teacher_id && x->spec->alpha < 1;
}

static const char *model_name(const struct rt_export *x)
{
	const struct rt_spec *s = x->spec;

	return s->hub_model_id ? s->hub_model_id : s->name ? s->name : shown(s->student_id);
}

static const struct rt_epoch_record *last_epoch(const struct rt_export *x)
{
	return &x->epochs[x->epoch_count - 1];
}

/* The dataset for model-index, which wants letters, digits and `-_./` only. */
static void dataset_type(struct rt_buf *out, const char *id)
{
	const char *name = shown(id);
	size_t n = strlen(name);
	const char *dot = is_hub_id(id) ? NULL : strrchr(name, '.');

	rt_buf_char(out, '"');
	for (size_t i = 0; i < n && name + i != dot; i++)
		rt_buf_char(out, isalnum((unsigned char)name[i]) || strchr("_.-/", name[i]) ? name[i] : '-');
	rt_buf_char(out, '"');
}

static void front_matter(struct rt_buf *out, const struct rt_export *x)
{
	const struct rt_spec *s = x->spec;
	const struct rt_epoch_record *e = last_epoch(x);

	rt_buf_str(out, "---\nlibrary_name: transformers\npipeline_tag: text-classification\ntags:\n- "
			"text-classification\n");
	rt_buf_str(out, is_distilled(x) ? "- knowledge-distillation\n" : "");
	rt_buf_str(out, "- generated_from_trainer\n- retort\n");
	if (is_hub_id(s->student_id)) {
		rt_buf_str(out, "base_model: ");
		yaml_str(out, s->student_id);
		rt_buf_char(out, '\n');
	}
	if (is_hub_id(s->dataset_id)) {
		rt_buf_str(out, "datasets:\n- ");
		yaml_str(out, s->dataset_id);
		rt_buf_char(out, '\n');
	}
	rt_buf_str(out, "metrics:\n- accuracy\nmodel-index:\n- name: ");
	yaml_str(out, model_name(x));
	rt_buf_str(out, "\n  results:");
	if (!isfinite(e->eval_accuracy)) {
		rt_buf_str(out, " []\n---\n");
		return;
	}
	rt_buf_str(out, "\n  - task:\n      type: text-classification\n      name: Text Classification\n    "
			"dataset:\n      type: ");
	dataset_type(out, s->dataset_id);
	rt_buf_str(out, "\n      name: ");
	yaml_str(out, shown(s->dataset_id));
	if (s->dataset_config) {
		rt_buf_str(out, "\n      config: ");
		yaml_str(out, s->dataset_config);
	}
	rt_buf_str(out, "\n      split: ");
	yaml_str(out, s->validation_split ? s->validation_split : "validation");
	rt_buf_fmt(out, "\n    metrics:\n    - type: accuracy\n      value: %.6g\n      name: Accuracy\n",
		   e->eval_accuracy);
	rt_buf_str(out, "---\n");
}

static void introduction(struct rt_buf *out, const struct rt_export *x)
{
	const struct rt_spec *s = x->spec;
	const struct rt_epoch_record *e = last_epoch(x);

	rt_buf_str(out, "\n# ");
	text(out, model_name(x));
	rt_buf_str(out, "\n\nA text classifier with ");
	rt_buf_fmt(out, "%zu classes, ", x->label_count);
	if (is_distilled(x)) {
		rt_buf_str(out, "distilled from ");
		text(out, shown(s->teacher_id));
		rt_buf_str(out, " into ");
	} else {
		rt_buf_str(out, "fine-tuned from ");
	}
	text(out, shown(s->student_id));
	rt_buf_str(out, " on ");
	text(out, shown(s->dataset_id));
	rt_buf_fmt(out, " (%" PRId64 " training rows, %" PRId64 " validation rows).\n\n", x->train_rows,
		   x->validation_rows);
	rt_buf_fmt(out, "On the validation split after epoch %" PRId64 ": accuracy ", e->epoch);
	number(out, e->eval_accuracy);
	rt_buf_str(out, ", loss ");
	number(out, e->eval_loss);
	rt_buf_str(out, ". Checkpoints are chosen by this split, so expect slightly less on new texts.\n");
}

static void how_to_use(struct rt_buf *out)
{
	rt_buf_str(out, "\n## How to use\n\n```python\n"
			"from transformers import pipeline\n\n"
			"classifier = pipeline(\"text-classification\", model=\"path/to/this/folder\")\n"
			"print(classifier(\"a text\"))\n```\n");
}

/* One row of the hyperparameters' table. */
static void row(struct rt_buf *out, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void row(struct rt_buf *out, const char *name, const char *fmt, ...)
{
	char value[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(value, sizeof value, fmt, args);
	va_end(args);
	rt_buf_fmt(out, "| %s | ", name);
	text(out, value);
	rt_buf_str(out, " |\n");
}

static void hyperparameters(struct rt_buf *out, const struct rt_export *x)
{
	const struct rt_spec *s = x->spec;

	rt_buf_str(out, "\n## Training procedure\n\n");
	if (is_distilled(x))
		rt_buf_str(out, "Loss: alpha · CE(student, label) + (1 − alpha) · T² · KL(softmax(teacher/T) "
				"‖ softmax(student/T)), "
				"mean over the rows of a batch.\n\n");
	rt_buf_str(out, "| Hyperparameter | Value |\n| --- | --- |\n");
	if (is_distilled(x))
		row(out, "teacher", "%s", shown(s->teacher_id));
	row(out, "student", "%s (%s)", shown(s->student_id),
	    s->student_init == RT_INIT_RANDOM ? "random start" : "pretrained weights");
	row(out, "dataset", "%s", shown(s->dataset_id));
	row(out, "alpha", "%.10g", s->alpha);
	row(out, "temperature", "%.10g", s->temperature);
	row(out, "learning rate", "%.10g", s->learning_rate);
	row(out, "schedule", "%s, warmup ratio %.10g", rt_spec_word("lr_scheduler", s->lr_scheduler),
	    s->warmup_ratio);
	row(out, "optimizer", "AdamW (betas 0.9 and 0.999, epsilon 1e-08), weight decay %.10g",
	    s->weight_decay);
	row(out, "gradient clipping", "%.10g", s->max_grad_norm);
	row(out, "train batch size", "%" PRId64, s->per_device_train_batch_size);
	row(out, "gradient accumulation steps", "%" PRId64, s->gradient_accumulation_steps);
	row(out, "eval batch size", "%" PRId64, s->per_device_eval_batch_size);
	row(out, "epochs", "%" PRId64, s->epochs);
	row(out, "seed", "%" PRId64, s->seed);
	if (s->max_length > 0)
		row(out, "max length", "%" PRId64, s->max_length);
	row(out, "precision", "%s", x->precision ? x->precision : rt_spec_word("precision", s->precision));
}

static void results(struct rt_buf *out, const struct rt_export *x)
{
	rt_buf_str(out, "\n### Results by epoch\n\n"
			"| Epoch | Step | Training loss | CE | KL | Validation loss | Accuracy |\n"
			"| ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
	for (size_t i = 0; i < x->epoch_count; i++) {
		const struct rt_epoch_record *e = &x->epochs[i];
		const double values[] = { e->train_loss, e->train_ce_loss, e->train_kd_loss, e->eval_loss,
					  e->eval_accuracy };

		rt_buf_fmt(out, "| %" PRId64 " | %" PRId64, e->epoch, e->step);
		for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
			rt_buf_str(out, " | ");
			number(out, values[k]);
		}
		rt_buf_str(out, " |\n");
	}
	rt_buf_str(out, "\nMade with Retort " RT_VERSION ".\n");
}

void rt_card_write(struct rt_buf *out, const struct rt_export *what)
{
	front_matter(out, what);
	introduction(out, what);
	how_to_use(out);
	hyperparameters(out, what);
	results(out, what);
}
