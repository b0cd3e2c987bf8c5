/* SPDX-License-Identifier: Apache-2.0 */
#include "api/spec.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

enum kind { STR, INT, REAL, BOOL, ENUM, TAGS };
enum bound { CLOSED, OPEN_LOW, OPEN_HIGH }; /* which end of the range is itself not allowed */

struct field {
	const char *name; /* "resources.threads" is a member of an object field */
	enum kind kind;
	size_t at;
	double low, high; /* numbers: the range; strings: shortest and longest in bytes */
	enum bound bound;
	double fallback; /* numbers, switches, enums: the default ... */
	bool optional;	 /* ... unless there is none */
	bool required;
	const char *const *words; /* enums, in the order of the C enum, NULL at the end */
	const char *help;
};

static const char *const precision_words[] = { "auto", "fp32", "bf16", "fp16", NULL };
static const char *const scheduler_words[] = { "linear", "cosine", "constant", NULL };
static const char *const metric_words[] = { "accuracy", "loss", NULL };
static const char *const init_words[] = { "pretrained", "random", NULL };
static const char *const accumulation_words[] = { "mean", "sum", NULL };
static const char *const loss_words[] = { "kd", NULL };

#define AT(m) offsetof(struct rt_spec, m)
#define OPT_STR(n, max, h)                                                                                   \
	{                                                                                                    \
		.name = #n, .kind = STR, .at = AT(n), .low = 1, .high = max, .optional = true, .help = h     \
	}
#define BIG 9007199254740991.0 /* the largest integer that every JSON reader keeps */

static const struct field fields[] = {
	OPT_STR(name, 200, "A name for people."),
	{ .name = "tags",
	  .kind = TAGS,
	  .at = AT(tags),
	  .low = 1,
	  .high = 64,
	  .optional = true,
	  .help = "Up to 32 labels to find the job by." },
	{ .name = "priority",
	  .kind = INT,
	  .at = AT(priority),
	  .low = -100,
	  .high = 100,
	  .help = "Higher goes first in the queue." },
	{ .name = "teacher_id",
	  .kind = STR,
	  .at = AT(teacher_id),
	  .low = 1,
	  .high = 1024,
	  .optional = true,
	  .help = "The model to learn from. May be left out only with alpha 1, which is plain fine-tuning." },
	{ .name = "student_id",
	  .kind = STR,
	  .at = AT(student_id),
	  .low = 1,
	  .high = 1024,
	  .required = true,
	  .help = "The model to train." },
	{ .name = "dataset_id",
	  .kind = STR,
	  .at = AT(dataset_id),
	  .low = 1,
	  .high = 1024,
	  .required = true,
	  .help = "The texts and labels." },
	OPT_STR(dataset_config, 200, "The dataset's configuration, where it has several."),
	OPT_STR(text_column, 200, "The column with the text. Found by name when left out."),
	OPT_STR(label_column, 200, "The column with the label. Found by name when left out."),
	OPT_STR(train_split, 200, "The split to train on. Found by name when left out."),
	OPT_STR(validation_split, 200,
		"The split to evaluate on after every epoch. Found by name when left out."),
	OPT_STR(test_split, 200, "The held-out split. Found by name when left out."),
	{ .name = "epochs",
	  .kind = INT,
	  .at = AT(epochs),
	  .low = 1,
	  .high = 10000,
	  .fallback = 3,
	  .help = "Passes over the training split." },
	{ .name = "learning_rate",
	  .kind = REAL,
	  .at = AT(learning_rate),
	  .low = 0,
	  .high = 1,
	  .bound = OPEN_LOW,
	  .fallback = 5e-5,
	  .help = "The highest learning rate of the schedule." },
	{ .name = "alpha",
	  .kind = REAL,
	  .at = AT(alpha),
	  .low = 0,
	  .high = 1,
	  .fallback = 0.5,
	  .help = "Weight of the hard-label loss; 1 - alpha weighs the teacher's." },
	{ .name = "temperature",
	  .kind = REAL,
	  .at = AT(temperature),
	  .low = 0,
	  .high = 1000,
	  .bound = OPEN_LOW,
	  .fallback = 4,
	  .help = "Softens both distributions in the teacher's loss." },
	{ .name = "loss",
	  .kind = ENUM,
	  .at = AT(loss),
	  .words = loss_words,
	  .fallback = RT_LOSS_KD,
	  .help = "kd: alpha * CE + (1 - alpha) * T^2 * KL(teacher || student), batchmean." },
	{ .name = "per_device_train_batch_size",
	  .kind = INT,
	  .at = AT(per_device_train_batch_size),
	  .low = 1,
	  .high = 65536,
	  .fallback = 64,
	  .help = "Texts in a training step." },
	{ .name = "per_device_eval_batch_size",
	  .kind = INT,
	  .at = AT(per_device_eval_batch_size),
	  .low = 1,
	  .high = 65536,
	  .fallback = 64,
	  .help = "Texts in an evaluation batch." },
	{ .name = "gradient_accumulation_steps",
	  .kind = INT,
	  .at = AT(gradient_accumulation_steps),
	  .low = 1,
	  .high = 65536,
	  .fallback = 1,
	  .help = "Batches whose gradients join in one optimizer step." },
	{ .name = "gradient_accumulation",
	  .kind = ENUM,
	  .at = AT(gradient_accumulation),
	  .words = accumulation_words,
	  .fallback = RT_ACCUMULATE_MEAN,
	  .help = "mean: as one larger batch. sum: as the Hugging Face Trainer does with the workshop's "
		  "subclass." },
	{ .name = "weight_decay",
	  .kind = REAL,
	  .at = AT(weight_decay),
	  .low = 0,
	  .high = 1,
	  .help = "AdamW's decay, not applied to biases and layer norms." },
	{ .name = "warmup_ratio",
	  .kind = REAL,
	  .at = AT(warmup_ratio),
	  .low = 0,
	  .high = 1,
	  .bound = OPEN_HIGH,
	  .help = "Share of all steps in which the learning rate rises from 0." },
	{ .name = "lr_scheduler",
	  .kind = ENUM,
	  .at = AT(lr_scheduler),
	  .words = scheduler_words,
	  .fallback = RT_LR_LINEAR,
	  .help = "The learning rate after the warmup." },
	{ .name = "max_grad_norm",
	  .kind = REAL,
	  .at = AT(max_grad_norm),
	  .low = 0,
	  .high = 1e6,
	  .fallback = 1,
	  .help = "Gradients are clipped to this L2 norm; 0 turns clipping off." },
	{ .name = "max_length",
	  .kind = INT,
	  .at = AT(max_length),
	  .low = 4,
	  .high = 65536,
	  .optional = true,
	  .help = "Tokens a text may have, special tokens included. Left out: what the model allows, at most "
		  "512." },
	{ .name = "student_init",
	  .kind = ENUM,
	  .at = AT(student_init),
	  .words = init_words,
	  .fallback = RT_INIT_PRETRAINED,
	  .help = "pretrained: the student's own weights. random: only its config.json and tokenizer." },
	{ .name = "precision",
	  .kind = ENUM,
	  .at = AT(precision),
	  .words = precision_words,
	  .fallback = RT_PRECISION_AUTO,
	  .help = "Arithmetic of the student. bf16: products in bf16, weights, sums and the optimizer in "
		  "fp32. auto: bf16 where the processor (AVX-512 BF16) or GPU has it, else fp32. fp16 is "
		  "refused." },
	{ .name = "teacher_precision",
	  .kind = ENUM,
	  .at = AT(teacher_precision),
	  .words = precision_words,
	  .fallback = RT_PRECISION_AUTO,
	  .help = "Arithmetic of the teacher; auto as for the student." },
	{ .name = "fp16",
	  .kind = BOOL,
	  .at = AT(fp16),
	  .help = "The workshop's switch for mixed precision. Where precision is left out, the same as "
		  "precision auto." },
	{ .name = "seed",
	  .kind = INT,
	  .at = AT(seed),
	  .low = 0,
	  .high = 4294967295.0,
	  .fallback = 33,
	  .help = "Same seed, machine and threads: the same result, bit for bit." },
	{ .name = "shuffle",
	  .kind = BOOL,
	  .at = AT(shuffle),
	  .fallback = 1,
	  .help = "false keeps the dataset's order in every epoch." },
	{ .name = "metric_for_best_model",
	  .kind = ENUM,
	  .at = AT(metric_for_best_model),
	  .words = metric_words,
	  .fallback = RT_METRIC_ACCURACY,
	  .help = "What the best checkpoint is best by, on the validation split." },
	{ .name = "early_stopping_patience",
	  .kind = INT,
	  .at = AT(early_stopping_patience),
	  .low = 1,
	  .high = 10000,
	  .optional = true,
	  .help = "Stop after this many epochs without improvement." },
	{ .name = "save_total_limit",
	  .kind = INT,
	  .at = AT(save_total_limit),
	  .low = 1,
	  .high = 1000,
	  .fallback = 2,
	  .help = "Checkpoints kept; the best is never removed." },
	{ .name = "checkpoint_interval_s",
	  .kind = INT,
	  .at = AT(checkpoint_interval_s),
	  .low = 1,
	  .high = 86400,
	  .fallback = 300,
	  .help = "Seconds between the states that a job can go on from; one is written at every epoch "
		  "too." },
	{ .name = "max_runtime_s",
	  .kind = INT,
	  .at = AT(max_runtime_s),
	  .low = 1,
	  .high = BIG,
	  .optional = true,
	  .help = "Running time allowed, in seconds, over all attempts. Waiting and pausing do not count." },
	{ .name = "max_restarts",
	  .kind = INT,
	  .at = AT(max_restarts),
	  .low = 0,
	  .high = 1000,
	  .fallback = 3,
	  .help = "How often the server starts the job again by itself when its worker was lost or the "
		  "trouble "
		  "may pass." },
	{ .name = "stop_grace_s",
	  .kind = INT,
	  .at = AT(stop_grace_s),
	  .low = 1,
	  .high = 3600,
	  .fallback = 120,
	  .help = "Seconds that the worker has to save its state when it is asked to stop; then it is "
		  "killed." },
	{ .name = "resources.threads",
	  .kind = INT,
	  .at = AT(threads),
	  .low = 1,
	  .high = 1024,
	  .optional = true,
	  .help = "CPU threads of the worker. Left out: its share of the machine, on CPUs of its own." },
	{ .name = "resources.gpus",
	  .kind = INT,
	  .at = AT(gpus),
	  .low = 0,
	  .high = 1,
	  .help = "GPUs of the worker: with 1 it trains on the first GPU that its libtorch sees." },
	{ .name = "run_hpo",
	  .kind = BOOL,
	  .at = AT(run_hpo),
	  .help = "Search hyperparameters first. Not in this version." },
	{ .name = "n_trials",
	  .kind = INT,
	  .at = AT(n_trials),
	  .low = 1,
	  .high = 1000000,
	  .fallback = 50,
	  .help = "Trials of the search; used only with run_hpo." },
	{ .name = "push_to_hub",
	  .kind = BOOL,
	  .at = AT(push_to_hub),
	  .help = "Push the student to the Hub. Not in this version." },
	OPT_STR(hub_model_id, 200, "Where push_to_hub pushes."),
};
#define FIELD_COUNT (sizeof fields / sizeof *fields)

/* Known to users and not (yet) fields; each gets a sentence of its own. */
static const struct {
	const char *name, *why;
} refused[] = {
	{ "hub_token", "hub_token is not accepted in a job spec in this version: nothing is pushed to the "
		       "Hub, and a token here would "
		       "only leak; leave it out" },
	{ "webhook_url",
	  "webhook_url is not supported in this version; follow GET /v1/jobs/{id}/events instead" },
};

static void *slot(struct rt_spec *spec, const struct field *f)
{
	return (char *)spec + f->at;
}

static const void *slot_of(const struct rt_spec *spec, const struct field *f)
{
	return (const char *)spec + f->at;
}

/* The value as sent, cut to a length that fits in a message. */
static const char *shown(const json_t *v, char out[100])
{
	struct rt_buf text = RT_BUF_INIT;

	rt_json_write(&text, v, 0);
	snprintf(out, 100, "%.80s", rt_buf_text(&text));
	if (text.len > 80) { /* not in the middle of a character */
		size_t end = 80;

		while (end > 0 && ((unsigned char)out[end - 1] & 0xC0) == 0x80)
			end--;
		if (end > 0 && (unsigned char)out[end - 1] >= 0xC0)
			end--;
		strcpy(out + end, "\xe2\x80\xa6");
	}
	rt_buf_release(&text);
	return out;
}

static void set_defaults(struct rt_spec *spec)
{
	memset(spec, 0, sizeof *spec);
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		const struct field *f = &fields[i];

		switch (f->kind) {
		case INT:
			*(int64_t *)slot(spec, f) = f->optional ? -1 : (int64_t)f->fallback;
			break;
		case REAL:
			*(double *)slot(spec, f) = f->fallback;
			break;
		case BOOL:
			*(bool *)slot(spec, f) = f->fallback != 0;
			break;
		case ENUM:
			*(int *)slot(spec, f) = (int)f->fallback;
			break;
		case STR:
		case TAGS:
			break;
		}
	}
}

static size_t word_count(const char *const *words)
{
	size_t n = 0;

	while (words[n])
		n++;
	return n;
}

/* "0.5" for a bound; integers without a fraction. */
static const char *bound_text(double v, char out[40])
{
	snprintf(out, 40, "%.15g", v);
	return out;
}

static void range_problem(struct rt_problems *p, const char *pointer, const struct field *f, const json_t *v)
{
	char low[40], high[40], text[100];

	bound_text(f->low, low);
	bound_text(f->high, high);
	shown(v, text);
	if (f->bound == OPEN_LOW)
		rt_problems_add(p, pointer, NULL, "%s must be above %s and at most %s (got %s)", f->name, low,
				high, text);
	else if (f->bound == OPEN_HIGH)
		rt_problems_add(p, pointer, NULL, "%s must be at least %s and below %s (got %s)", f->name,
				low, high, text);
	else
		rt_problems_add(p, pointer, NULL, "%s must be between %s and %s (got %s)", f->name, low, high,
				text);
}

static bool in_range(const struct field *f, double v)
{
	if (!isfinite(v))
		return false;
	if (f->bound == OPEN_LOW ? v <= f->low : v < f->low)
		return false;
	return f->bound == OPEN_HIGH ? v < f->high : v <= f->high;
}

/* A string without control characters and of a length that is allowed; a copy in *ret. */
static int take_string(const struct field *f, const json_t *v, const char *pointer, char **ret,
		       struct rt_problems *p)
{
	size_t len;
	char text[100];

	if (!json_is_string(v)) {
		rt_problems_add(p, pointer, NULL, "%s must be a string (got %s)", f->name, shown(v, text));
		return -1;
	}
	len = json_string_length(v);
	if (len < (size_t)f->low || len > (size_t)f->high) {
		rt_problems_add(p, pointer, NULL, "%s must have 1 to %.0f bytes (got %zu)", f->name, f->high,
				len);
		return -1;
	}
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)json_string_value(v)[i];

		if (c < 0x20 || c == 0x7F) {
			rt_problems_add(p, pointer, NULL, "%s must not hold control characters (got %s)",
					f->name, shown(v, text));
			return -1;
		}
	}
	*ret = strdup(json_string_value(v));
	if (!*ret)
		rt_problems_add(p, pointer, NULL, "%s: out of memory", f->name);
	return *ret ? 0 : -1;
}

static void take_tags(struct rt_spec *spec, const struct field *f, const json_t *v, struct rt_problems *p)
{
	char text[100], pointer[40];

	if (!json_is_array(v)) {
		rt_problems_add(p, "/tags", NULL, "tags must be a list of strings (got %s)", shown(v, text));
		return;
	}
	if (json_array_size(v) > RT_SPEC_TAGS_MAX) {
		rt_problems_add(p, "/tags", NULL, "tags may hold at most %d strings (got %zu)",
				RT_SPEC_TAGS_MAX, json_array_size(v));
		return;
	}
	for (size_t i = 0; i < json_array_size(v); i++) {
		snprintf(pointer, sizeof pointer, "/tags/%zu", i);
		if (take_string(f, json_array_get(v, i), pointer, &spec->tags[spec->tag_count], p) == 0)
			spec->tag_count++;
	}
}

static void take_field(struct rt_spec *spec, const struct field *f, const json_t *v, const char *pointer,
		       struct rt_problems *p)
{
	char text[100];

	if (json_is_null(v)) { /* the same as leaving it out, where that is allowed */
		if (!f->optional)
			rt_problems_add(p, pointer, NULL, "%s must not be null", f->name);
		return;
	}
	switch (f->kind) {
	case STR:
		take_string(f, v, pointer, (char **)slot(spec, f), p);
		break;
	case TAGS:
		take_tags(spec, f, v, p);
		break;
	case INT:
		/* 5.0 is the integer 5 in JSON; 5.5 is none */
		if (!json_is_number(v) || json_number_value(v) != floor(json_number_value(v)))
			rt_problems_add(p, pointer, NULL, "%s must be an integer (got %s)", f->name,
					shown(v, text));
		else if (!in_range(f, json_number_value(v)))
			range_problem(p, pointer, f, v);
		else
			*(int64_t *)slot(spec, f) = (int64_t)json_number_value(v);
		break;
	case REAL:
		if (!json_is_number(v))
			rt_problems_add(p, pointer, NULL, "%s must be a number (got %s)", f->name,
					shown(v, text));
		else if (!in_range(f, json_number_value(v)))
			range_problem(p, pointer, f, v);
		else
			*(double *)slot(spec, f) = json_number_value(v);
		break;
	case BOOL:
		if (!json_is_boolean(v))
			rt_problems_add(p, pointer, NULL, "%s must be true or false (got %s)", f->name,
					shown(v, text));
		else
			*(bool *)slot(spec, f) = json_is_true(v);
		break;
	case ENUM: {
		struct rt_buf list = RT_BUF_INIT;
		size_t n = word_count(f->words);
		const char *near = NULL;

		for (size_t i = 0; i < n; i++) {
			if (json_is_string(v) && strcmp(json_string_value(v), f->words[i]) == 0) {
				*(int *)slot(spec, f) = (int)i;
				rt_buf_release(&list);
				return;
			}
			rt_buf_fmt(&list, "%s%s", i ? ", " : "", f->words[i]);
		}
		if (json_is_string(v))
			near = rt_nearest(json_string_value(v), f->words, n);
		rt_problems_add(p, pointer, near, "%s must be one of %s (got %s)", f->name,
				rt_buf_text(&list), shown(v, text));
		rt_buf_release(&list);
		break;
	}
	}
}

static void unknown_field(const char *pointer, const char *key, const char *prefix, struct rt_problems *p)
{
	const char *names[FIELD_COUNT + 1], *near;
	size_t n = 0, skip = strlen(prefix);

	for (size_t i = 0; i < FIELD_COUNT; i++) {
		if (strncmp(fields[i].name, prefix, skip) == 0 && !strchr(fields[i].name + skip, '.'))
			names[n++] = fields[i].name + skip;
	}
	if (skip == 0)
		names[n++] = "resources";
	near = rt_nearest(key, names, n);
	if (near)
		rt_problems_add(p, pointer, near, "unknown field '%.64s'; did you mean '%s'?", key, near);
	else
		rt_problems_add(p, pointer, NULL, "unknown field '%.64s'", key);
}

/* RFC 6901: '~' and '/' inside a key are escaped. */
static void write_pointer(char out[160], const char *prefix, const char *key)
{
	size_t n = (size_t)snprintf(out, 100, "/%.60s", prefix);

	for (; *key && n < 150; key++) {
		if (*key == '~' || *key == '/')
			n += (size_t)sprintf(out + n, "~%d", *key == '/');
		else
			out[n++] = *key;
	}
	out[n] = '\0';
}

static void take_object(struct rt_spec *spec, const json_t *json, const char *prefix, struct rt_problems *p)
{
	json_t *object = (json_t *)(uintptr_t)json;
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
	{
		char pointer[160], pointer_prefix[64], name[160], text[100];
		const struct field *f = NULL;
		const char *why = NULL;

		snprintf(pointer_prefix, sizeof pointer_prefix, "%s%s", prefix[0] ? "resources" : "",
			 prefix[0] ? "/" : "");
		write_pointer(pointer, pointer_prefix, key);
		if (!prefix[0] && strcmp(key, "resources") == 0) {
			if (json_is_object(value))
				take_object(spec, value, "resources.", p);
			else if (!json_is_null(value))
				rt_problems_add(p, pointer, NULL, "resources must be an object (got %s)",
						shown(value, text));
			continue;
		}
		snprintf(name, sizeof name, "%s%s", prefix, key);
		for (size_t i = 0; i < FIELD_COUNT && !f; i++) {
			if (strcmp(fields[i].name, name) == 0 && (prefix[0] || !strchr(key, '.')))
				f = &fields[i];
		}
		for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
			if (strcmp(refused[i].name, name) == 0)
				why = refused[i].why;
		}
		if (f)
			take_field(spec, f, value, pointer, p);
		else if (why && !json_is_null(value))
			rt_problems_add(p, pointer, NULL, "%s", why);
		else if (!why)
			unknown_field(pointer, key, prefix, p);
	}
}

static void check_together(struct rt_spec *spec, const json_t *json, struct rt_problems *p)
{
	if (!spec->teacher_id && spec->alpha != 1.0 && p->n == 0)
		rt_problems_add(p, "/teacher_id", NULL,
				"teacher_id is required unless alpha is 1 (alpha is %.15g); with alpha 1 the "
				"job is plain fine-tuning",
				spec->alpha);
	if (spec->fp16 && json_object_get(json, "precision") && spec->precision != RT_PRECISION_FP16 &&
	    spec->precision != RT_PRECISION_AUTO)
		rt_problems_add(p, "/fp16", NULL, "fp16 is true but precision is %s; leave one of them out",
				precision_words[spec->precision]);
	if (spec->run_hpo)
		rt_problems_add(p, "/run_hpo", NULL,
				"run_hpo is not supported in this version; send false or leave it out");
	if (spec->push_to_hub)
		rt_problems_add(p, "/push_to_hub", NULL,
				"push_to_hub is not supported in this version; send false or leave it out, "
				"and fetch the best checkpoint by URL");
}

int rt_spec_parse(const json_t *json, struct rt_spec *ret, struct rt_problems *problems, struct rt_err *err)
{
	struct rt_spec spec;

	problems->n = 0;
	if (!json_is_object(json)) {
		rt_problems_add(problems, "", NULL, "a job spec must be a JSON object");
		return rt_fail(err, RT_UNPROCESSABLE, "a job spec must be a JSON object");
	}
	set_defaults(&spec);
	take_object(&spec, json, "", problems);
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		char pointer[160];

		if (!fields[i].required || json_object_get(json, fields[i].name))
			continue;
		write_pointer(pointer, "", fields[i].name);
		rt_problems_add(problems, pointer, NULL, "%s is required", fields[i].name);
	}
	check_together(&spec, json, problems);
	if (problems->n > 0) {
		rt_spec_release(&spec);
		if (problems->n == 1)
			return rt_fail(err, RT_UNPROCESSABLE, "%s", problems->items[0].detail);
		return rt_fail(err, RT_UNPROCESSABLE, "%zu fields are wrong; the first: %s", problems->n,
			       problems->items[0].detail);
	}
	*ret = spec;
	return 0;
}

void rt_spec_release(struct rt_spec *spec)
{
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		if (fields[i].kind == STR)
			free(*(char **)slot(spec, &fields[i]));
	}
	for (size_t i = 0; i < spec->tag_count; i++)
		free(spec->tags[i]);
	memset(spec, 0, sizeof *spec);
}

static json_t *field_json(const struct rt_spec *spec, const struct field *f)
{
	const void *at = slot_of(spec, f);

	switch (f->kind) {
	case STR: {
		const char *s = *(char *const *)at;

		return s ? json_string(s) : json_null();
	}
	case TAGS: {
		json_t *list = json_array();

		for (size_t i = 0; i < spec->tag_count; i++)
			json_array_append_new(list, json_string(spec->tags[i]));
		return list;
	}
	case INT: {
		int64_t v = *(const int64_t *)at;

		return f->optional && v < 0 ? json_null() : json_integer(v);
	}
	case REAL:
		return json_real(*(const double *)at);
	case BOOL:
		return json_boolean(*(const bool *)at);
	case ENUM:
		return json_string(f->words[*(const int *)at]);
	}
	return NULL;
}

/* Puts value under name, a "resources." name into the member object. Takes the reference. */
static int put(json_t *object, const char *name, json_t *value)
{
	const char *dot = strchr(name, '.');
	json_t *inner;

	if (!dot)
		return json_object_set_new(object, name, value);
	inner = json_object_get(object, "resources");
	if (!inner) {
		inner = json_object();
		if (json_object_set_new(object, "resources", inner) < 0) {
			json_decref(value);
			return -1;
		}
	}
	return json_object_set_new(inner, dot + 1, value);
}

json_t *rt_spec_json(const struct rt_spec *spec)
{
	json_t *object = json_object();

	for (size_t i = 0; object && i < FIELD_COUNT; i++) {
		if (put(object, fields[i].name, field_json(spec, &fields[i])) < 0) {
			json_decref(object);
			object = NULL;
		}
	}
	return object;
}

static const char *schema_type(enum kind kind)
{
	switch (kind) {
	case INT:
		return "integer";
	case REAL:
		return "number";
	case BOOL:
		return "boolean";
	case TAGS:
		return "array";
	default:
		return "string";
	}
}

static json_t *bound_json(const struct field *f, double v)
{
	return f->kind == REAL ? json_real(v) : json_integer((json_int_t)v);
}

static json_t *field_schema(const struct field *f)
{
	json_t *s = json_object();

	if (f->optional)
		json_object_set_new(s, "type", json_pack("[ss]", schema_type(f->kind), "null"));
	else
		json_object_set_new(s, "type", json_string(schema_type(f->kind)));
	json_object_set_new(s, "description", json_string(f->help));
	if (f->kind == STR) {
		json_object_set_new(s, "minLength", bound_json(f, f->low));
		json_object_set_new(s, "maxLength", bound_json(f, f->high));
	} else if (f->kind == TAGS) {
		json_object_set_new(s, "maxItems", json_integer(RT_SPEC_TAGS_MAX));
		json_object_set_new(s, "items",
				    json_pack("{sssisi}", "type", "string", "minLength", (int)f->low,
					      "maxLength", (int)f->high));
	} else if (f->kind == INT || f->kind == REAL) {
		json_object_set_new(s, f->bound == OPEN_LOW ? "exclusiveMinimum" : "minimum",
				    bound_json(f, f->low));
		json_object_set_new(s, f->bound == OPEN_HIGH ? "exclusiveMaximum" : "maximum",
				    bound_json(f, f->high));
	} else if (f->kind == ENUM) {
		json_t *words = json_array();

		for (size_t i = 0; f->words[i]; i++)
			json_array_append_new(words, json_string(f->words[i]));
		json_object_set_new(s, "enum", words);
	}
	if (f->kind == TAGS)
		json_object_set_new(s, "default", json_array());
	else if (f->optional)
		json_object_set_new(s, "default", json_null());
	else if (f->kind == BOOL)
		json_object_set_new(s, "default", json_boolean(f->fallback != 0));
	else if (f->kind == ENUM)
		json_object_set_new(s, "default", json_string(f->words[(int)f->fallback]));
	else if (f->kind != STR)
		json_object_set_new(s, "default", bound_json(f, f->fallback));
	return s;
}

json_t *rt_spec_schema(void)
{
	json_t *properties = json_object(), *required = json_array(), *resources = json_object();

	for (size_t i = 0; i < FIELD_COUNT; i++) {
		const char *dot = strchr(fields[i].name, '.');

		json_object_set_new(dot ? resources : properties, dot ? dot + 1 : fields[i].name,
				    field_schema(&fields[i]));
		if (fields[i].required)
			json_array_append_new(required, json_string(fields[i].name));
	}
	json_object_set_new(properties, "resources",
			    json_pack("{s[ss]sssbso}", "type", "object", "null", "description",
				      "What the job may use of the machine.", "additionalProperties", 0,
				      "properties", resources));
	return json_pack("{sssbsoso}", "type", "object", "additionalProperties", 0, "required", required,
			 "properties", properties);
}

json_t *rt_spec_loss_json(const struct rt_spec *spec)
{
	return json_pack("{sssfsfsfsbsssssi}", "kind", loss_words[spec->loss], "hard_weight", spec->alpha,
			 "soft_weight", 1.0 - spec->alpha, "temperature", spec->temperature, "t_squared", 1,
			 "direction", "teacher||student", "reduction", "batchmean", "version", 1);
}

const char *rt_spec_word(const char *field, int value)
{
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		if (fields[i].kind == ENUM && strcmp(fields[i].name, field) == 0 && value >= 0 &&
		    (size_t)value < word_count(fields[i].words))
			return fields[i].words[value];
	}
	return NULL;
}
