/* SPDX-License-Identifier: Apache-2.0 */
/* Ten distillation steps of every model family, taken by rt_trainer, beside those that PyTorch and transformers took
 * (families.json, made by families_gen.py): which parameters decay, every gradient of the first step, every step's losses and
 * gradient norm, the logits afterwards. The weights are those of shared/reference/models, dropout is off.
 * The numbers are compared with the recorded float64 run. What float32 itself loses there, `noise`, is up to 2e-6 of a loss (4e-6
 * of its parts), 1.3e-5 of a gradient norm, 9e-6 of a single tensor's gradient and 8e-6 of the largest logit. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/spec.h"
#include "base/file.h"
#include "base/json.h"
#include "worker/train/loss.h"
#include "worker/train/trainer.h"

#define LOSS_REL     5e-5
#define NORM_REL     1e-4
#define GRADIENT_REL 1e-4
#define NO_GRADIENT                                                                                          \
	1e-6 /* of all gradients' norm: below it there is only rounding (a key's bias has no true gradient) */
#define LOGIT_REL 1e-4 /* of the largest logit */

#define MAX_STEPS   16
#define MAX_CLASSES 8
#define MAX_TOKENS  64

struct fixture {
	json_t *record;
	const json_t *settings, *rows; /* borrowed from record */
};

static const char *reference(const char *family, const char *file, char out[600])
{
	const char *shared = getenv("RT_SHARED");

	snprintf(out, 600, "%s/reference/models/%s/%s", shared ? shared : "", family, file);
	return out;
}

static json_t *read_json(const char *path)
{
	struct rt_err err = RT_ERR_INIT;
	json_t *json = rt_json_read(path, 1 << 22, &err);

	if (!json)
		print_error("%s\n", err.msg);
	return json;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	*state = f;
	f->record = read_json(PARITY_DIR "/families.json");
	f->settings = json_object_get(f->record, "settings");
	f->rows = json_object_get(f->record, "rows");
	return f->settings && f->rows ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	json_decref(f->record);
	free(f);
	return 0;
}

static double num(const json_t *object, const char *key)
{
	const json_t *v = json_object_get(object, key);

	if (!json_is_number(v))
		print_error("the record has no number %s\n", key);
	assert_true(json_is_number(v));
	return json_number_value(v);
}

/* worst: the largest difference seen, for the report. */
static bool close_to(const char *what, int64_t where, double got, double want, double allowed, double *worst)
{
	double diff = fabs(got - want);

	if (diff > *worst || isnan(diff))
		*worst = diff;
	if (diff <= allowed)
		return true;
	print_error("%s %lld: got %.9g, recorded %.9g (allowed %.3g)\n", what, (long long)where, got, want,
		    allowed);
	return false;
}

/* ---- the model and the rows ---- */

/* A folder with the family's weights, and its config with every dropout at 0. */
static void make_folder(const char *family, char dir[32])
{
	struct rt_buf text = { 0 };
	char from[600], to[64];
	json_t *config = read_json(reference(family, "config.json", from)), *value;
	const char *key;
	void *next;

	assert_non_null(config);
	json_object_foreach_safe(config, next, key, value)
	{
		if (strstr(key, "dropout") && json_is_number(value))
			json_object_set_new(config, key, json_real(0));
	}
	strcpy(dir, "/tmp/rt-families-XXXXXX");
	assert_non_null(mkdtemp(dir));
	rt_json_write(&text, config, 2);
	snprintf(to, sizeof to, "%s/config.json", dir);
	assert_int_equal(rt_file_write(to, text.data, text.len, NULL), 0);
	snprintf(to, sizeof to, "%s/model.safetensors", dir);
	assert_int_equal(symlink(reference(family, "model.safetensors", from), to), 0);
	rt_buf_release(&text);
	json_decref(config);
}

static struct rt_model *open_student(const char *family)
{
	struct rt_model_options o = { .trainable = true, .seed = 1, .precision = RT_PRECISION_FP32 };
	struct rt_err err = RT_ERR_INIT;
	struct rt_model *m = NULL;
	char dir[32];

	make_folder(family, dir);
	if (rt_model_open(dir, &o, &m, NULL, &err) < 0)
		print_error("%s\n", err.msg);
	assert_int_equal(rt_dir_remove(dir, NULL), 0);
	assert_non_null(m);
	return m;
}

/* soft: (rows, classes), new. */
static void take_rows(const struct fixture *f, const struct rt_model *m, struct rt_rows *rows, float **soft)
{
	size_t n = json_array_size(f->rows), classes = rt_model_label_count(m);

	*soft = calloc(n * classes, sizeof **soft);
	assert_non_null(*soft);
	for (size_t i = 0; i < n; i++) {
		const json_t *row = json_array_get(f->rows, i), *ids = json_object_get(row, "ids");
		const json_t *logits = json_object_get(row, "soft");
		int32_t id[MAX_TOKENS], type[MAX_TOKENS];
		size_t length = json_array_size(ids);

		assert_true(length <= MAX_TOKENS);
		assert_int_equal(json_array_size(logits), classes);
		for (size_t k = 0; k < length; k++) {
			id[k] = (int32_t)json_integer_value(json_array_get(ids, k));
			id[k] = id[k] < 0 ? (int32_t)rt_model_pad_id(m) : id[k];
			type[k] = k >= (size_t)num(row, "second");
		}
		for (size_t k = 0; k < classes; k++)
			(*soft)[i * classes + k] = (float)json_number_value(json_array_get(logits, k));
		assert_int_equal(rt_rows_add(rows, id, rt_model_type_count(m) > 1 ? type : NULL, length,
					     (int32_t)num(row, "label"), NULL),
				 0);
	}
}

/* ---- what is compared ---- */

static bool listed(const json_t *list, const char *name)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		if (strcmp(json_string_value(json_array_get(list, i)), name) == 0)
			return true;
	}
	return false;
}

static int compare_decay(const struct rt_model *m, const json_t *decayed)
{
	size_t found = 0;
	int bad = 0;

	for (size_t i = 0; i < rt_model_param_count(m); i++) {
		struct rt_param p = rt_model_param(m, i);

		found += listed(decayed, p.name);
		if (p.decay == listed(decayed, p.name))
			continue;
		print_error("%s decays %s\n", p.name, p.decay ? "here and not there" : "there and not here");
		bad++;
	}
	assert_int_equal(found, json_array_size(decayed));
	return bad;
}

static double norm_of(struct tc_scope *s, struct tc_tensor *t)
{
	size_t n = (size_t)tc_numel(t);
	double *x = calloc(n, sizeof *x), sum = 0;

	assert_non_null(x);
	assert_int_equal(tc_read(s, t, TC_F64, x, n, NULL), 0);
	for (size_t i = 0; i < n; i++)
		sum += x[i] * x[i];
	free(x);
	return sqrt(sum);
}

/* Forward and backward of the first batch, as the trainer does them; then the gradients are forgotten. */
static int compare_gradients(const struct fixture *f, struct rt_model *m, const struct rt_rows *rows,
			     const float *soft, const json_t *exact, double all)
{
	static const uint32_t first[] = { 0, 1, 2, 3, 4, 5 };
	int64_t n = sizeof first / sizeof *first, shape[] = { n, (int64_t)rt_model_label_count(m) };
	int64_t labels[sizeof first / sizeof *first];
	struct rt_collator c = { 0 };
	struct tc_scope *s = tc_scope_open(NULL, 0);
	struct tc_tensor *logits, *hard, *loss;
	double worst = 0;
	int bad = 0;

	assert_int_equal((int64_t)num(f->settings, "batch"), n);
	for (int64_t i = 0; i < n; i++)
		labels[i] = rows->labels[i];
	assert_int_equal(rt_collate(&c, rows, first, (size_t)n, rt_model_pad_id(m), NULL), 0);
	logits = rt_model_forward(s, m, &c.batch, true);
	hard = rt_loss_hard(s, logits, tc_from_data(s, TC_I64, 1, &n, labels));
	loss = rt_loss_soft(s, logits, tc_from_data(s, TC_F32, 2, shape, soft),
			    num(f->settings, "temperature"));
	loss = rt_loss_mix(s, hard, loss, num(f->settings, "alpha"));
	assert_int_equal(tc_backward(s, loss, NULL), 0);
	for (size_t i = 0; i < rt_model_param_count(m); i++) {
		struct rt_param p = rt_model_param(m, i);
		double got = norm_of(s, tc_grad(s, p.t)), want = num(exact, p.name),
		       floor = NO_GRADIENT * all;

		if (want > floor)
			bad += !close_to(p.name, 1, got / want, 1, GRADIENT_REL, &worst);
		else
			bad += !close_to(p.name, 0, got, want, floor, &(double){ 0 });
	}
	assert_int_equal(rt_model_param_count(m), json_object_size(exact));
	print_message("  gradients of %zu tensors: %.1e (relative)\n", json_object_size(exact), worst);
	tc_scope_close(s);
	rt_collator_release(&c);
	return bad;
}

struct steps {
	struct rt_step list[MAX_STEPS];
	size_t n;
};

static int on_step(void *ctx, const struct rt_step *step, struct rt_err *err)
{
	struct steps *steps = ctx;

	if (steps->n == MAX_STEPS)
		return rt_fail(err, RT_INTERNAL, "more steps than recorded");
	steps->list[steps->n++] = *step;
	return 0;
}

static void train(const struct fixture *f, struct rt_model *m, const struct rt_rows *rows, const float *soft,
		  struct steps *ret)
{
	struct rt_train_options o = {
		.alpha = num(f->settings, "alpha"),
		.temperature = num(f->settings, "temperature"),
		.learning_rate = num(f->settings, "learning_rate"),
		.lr_scheduler = RT_LR_LINEAR,
		.weight_decay = num(f->settings, "weight_decay"),
		.max_grad_norm = num(f->settings, "max_grad_norm"),
		.accumulation = RT_ACCUMULATE_SUM,
		.metric = RT_METRIC_LOSS,
		.eval_batch = 8,
		.patience = -1,
		.plan = { .batch = (int64_t)num(f->settings, "batch"),
			  .accumulate = 1,
			  .epochs = (int64_t)num(f->settings, "epochs"),
			  .shuffle = false },
	};
	struct rt_train_split split = { rows, soft, NULL };
	struct rt_train_hooks hooks = { .ctx = ret, .step = on_step };
	struct rt_err err = RT_ERR_INIT;
	struct rt_trainer *t = NULL;

	assert_int_equal(rt_trainer_open(m, &o, &split, NULL, &t, &err), 0);
	if (rt_trainer_run(t, &hooks, &err) < 0)
		print_error("%s\n", err.msg);
	assert_int_equal(err.code, RT_OK);
	rt_trainer_close(t);
}

static int compare_steps(const char *family, const struct steps *got, const json_t *exact)
{
	double lr = 0, loss = 0, parts = 0, norm = 0;
	int bad = 0;

	assert_int_equal(got->n, json_array_size(exact));
	for (size_t i = 0; i < got->n; i++) {
		const struct rt_step *s = &got->list[i];
		const json_t *e = json_array_get(exact, i);

		bad += !close_to("learning rate of step", s->step, s->learning_rate, num(e, "lr"), 1e-12,
				 &lr);
		bad += !close_to("loss of step", s->step, s->loss / num(e, "loss"), 1, LOSS_REL, &loss);
		bad += !close_to("ce of step", s->step, s->ce_loss / num(e, "ce"), 1, LOSS_REL, &parts);
		bad += !close_to("kd of step", s->step, s->kd_loss / num(e, "kd"), 1, LOSS_REL, &parts);
		bad += !close_to("gradient norm of step", s->step, s->grad_norm / num(e, "grad_norm"), 1,
				 NORM_REL, &norm);
	}
	print_message("%s: %zu steps: loss %.1e, ce and kd %.1e, grad_norm %.1e (relative)\n", family, got->n,
		      loss, parts, norm);
	return bad;
}

static int compare_logits(struct rt_model *m, const struct rt_rows *rows, const json_t *exact)
{
	size_t classes = rt_model_label_count(m), n = json_array_size(exact);
	float *got = calloc(rows->n * classes, sizeof *got);
	double worst = 0, largest = 0;
	int bad = 0;

	assert_non_null(got);
	assert_true(n > 0 && n <= rows->n);
	for (size_t i = 0; i < n * classes; i++) {
		const json_t *v = json_array_get(json_array_get(exact, i / classes), i % classes);

		largest = fmax(largest, fabs(json_number_value(v)));
	}
	assert_int_equal(rt_rows_logits(rows, m, 8, NULL, got, NULL), 0);
	for (size_t i = 0; i < n * classes; i++) {
		const json_t *v = json_array_get(json_array_get(exact, i / classes), i % classes);

		bad += !close_to("logit", (int64_t)i, got[i] / largest, json_number_value(v) / largest,
				 LOGIT_REL, &worst);
	}
	print_message("  logits of %zu rows afterwards: %.1e (of the largest)\n", n, worst);
	free(got);
	return bad;
}

static void run_family(const struct fixture *f, const char *family)
{
	const json_t *record = json_object_get(json_object_get(f->record, "families"), family);
	const json_t *exact = json_object_get(record, "float64"), *steps = json_object_get(exact, "steps");
	struct rt_rows rows = { 0 };
	struct steps got = { .n = 0 };
	struct rt_model *m;
	char path[600];
	float *soft;
	int bad;

	if (!rt_file_exists(reference(family, "model.safetensors", path))) {
		print_message("needs reference/models under RT_SHARED\n");
		skip();
	}
	assert_non_null(record);
	m = open_student(family);
	take_rows(f, m, &rows, &soft);
	bad = compare_decay(m, json_object_get(record, "decayed"));
	bad += compare_gradients(f, m, &rows, soft, json_object_get(record, "first_gradients"),
				 num(json_array_get(steps, 0), "grad_norm"));
	train(f, m, &rows, soft, &got);
	bad += compare_steps(family, &got, steps);
	bad += compare_logits(m, &rows, json_object_get(exact, "logits"));
	assert_int_equal(bad, 0);
	free(soft);
	rt_rows_release(&rows);
	rt_model_close(m);
}

#define FAMILY(function, name)                                                                               \
	static void ten_steps_of_##function(void **state)                                                    \
	{                                                                                                    \
		run_family(*state, name);                                                                    \
	}
FAMILY(bert, "bert")
FAMILY(roberta, "roberta")
FAMILY(xlm_roberta, "xlm-roberta")
FAMILY(distilbert, "distilbert")
FAMILY(electra, "electra")
FAMILY(mpnet, "mpnet")
FAMILY(albert, "albert")
FAMILY(deberta_v2, "deberta-v2")
FAMILY(deberta_v2_conv, "deberta-v2-conv")
FAMILY(modernbert, "modernbert")
FAMILY(modernbert_cls, "modernbert-cls")

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_steps_of_bert),
		cmocka_unit_test(ten_steps_of_roberta),
		cmocka_unit_test(ten_steps_of_xlm_roberta),
		cmocka_unit_test(ten_steps_of_distilbert),
		cmocka_unit_test(ten_steps_of_electra),
		cmocka_unit_test(ten_steps_of_mpnet),
		cmocka_unit_test(ten_steps_of_albert),
		cmocka_unit_test(ten_steps_of_deberta_v2),
		cmocka_unit_test(ten_steps_of_deberta_v2_conv),
		cmocka_unit_test(ten_steps_of_modernbert),
		cmocka_unit_test(ten_steps_of_modernbert_cls),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
