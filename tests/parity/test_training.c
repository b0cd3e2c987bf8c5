/* SPDX-License-Identifier: Apache-2.0 */
/* Distillation runs of the Hugging Face Trainer (shared/reference/training) repeated by rt_trainer, the loop of production:
 * every step's loss, parts, learning rate and gradient norm, every epoch's losses and accuracy, and the weights at the end.
 * The numbers are compared with the recorded float64 run. Tolerances are those of the reference's README: float32 itself
 * moves a loss by 7e-6 of its size at T 19 and a weight by 4e-5, and two threads instead of one by about as much. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/spec.h"
#include "base/file.h"
#include "base/json.h"
#include "worker/train/teacher.h"
#include "worker/train/trainer.h"

#define LOSS_REL     5e-5
#define LR_ABS	     1e-12
#define NORM_REL     1e-4
#define EVAL_ABS     5e-5
#define ACCURACY_ABS 0.0101 /* one row of 100 */
#define WEIGHT_ABS   5e-4
#define LOGIT_ABS    2e-5

static const char *reference(const char *name, char out[600])
{
	const char *shared = getenv("RT_SHARED");

	snprintf(out, 600, "%s/reference/training/%s", shared ? shared : "", name);
	return out;
}

static json_t *read_json(const char *name)
{
	struct rt_err err = RT_ERR_INIT;
	char path[600];
	json_t *json = rt_json_read(reference(name, path), 1 << 24, &err);

	if (!json)
		print_error("%s\n", err.msg);
	assert_non_null(json);
	return json;
}

struct fixture {
	struct rt_rows train, eval;
	struct rt_soft soft;
	json_t *batches;
	size_t classes;
};

static void take_rows(struct rt_rows *rows, const json_t *list)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *row = json_array_get(list, i), *ids = json_object_get(row, "input_ids");
		int32_t buffer[200];
		size_t n = json_array_size(ids);

		assert_true(n <= 200);
		for (size_t k = 0; k < n; k++)
			buffer[k] = (int32_t)json_integer_value(json_array_get(ids, k));
		assert_int_equal(rt_rows_add(rows, buffer, NULL, n,
					     (int32_t)json_integer_value(json_object_get(row, "label")),
					     NULL),
				 0);
	}
}

static struct rt_model *open_model(const char *name, bool trainable)
{
	struct rt_model_options o = { .trainable = trainable, .seed = 1, .precision = RT_PRECISION_FP32 };
	struct rt_model *m = NULL;
	struct rt_err err = RT_ERR_INIT;
	char path[600];

	if (rt_model_open(reference(name, path), &o, &m, NULL, &err) < 0)
		print_error("%s\n", err.msg);
	assert_non_null(m);
	return m;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	static const int32_t same[] = { 0, 1, 2, 3, 4, 5, 6, 7 };
	struct rt_model *teacher;
	char path[600];

	*state = f;
	if (!rt_file_exists(reference("rows.json", path)))
		return 0;
	json_t *rows = read_json("rows.json");

	f->batches = read_json("batches.json");
	take_rows(&f->train, json_object_get(rows, "train"));
	take_rows(&f->eval, json_object_get(rows, "eval"));
	json_decref(rows);
	teacher = open_model("teacher", false);
	f->classes = rt_model_label_count(teacher);
	assert_int_equal(f->classes, 8);
	const struct rt_rows *const splits[] = { &f->train, &f->eval };
	const struct rt_soft_options soft = { .splits = splits, .count = 2, .class_of = same, .batch = 64 };

	assert_int_equal(rt_soft_compute(teacher, &soft, &f->soft, NULL), 0);
	rt_model_close(teacher);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	rt_rows_release(&f->train);
	rt_rows_release(&f->eval);
	rt_soft_release(&f->soft);
	json_decref(f->batches);
	free(f);
	return 0;
}

static void skip_without_reference(void)
{
	char path[600];

	if (rt_file_exists(reference("rows.json", path)))
		return;
	print_message("needs reference/training under RT_SHARED\n");
	skip();
}

/* The recorded order: batches are cut from it as from any other. */
static void planned_order(void *ctx, int64_t epoch, uint32_t *ret_order)
{
	const json_t *batches = json_array_get(ctx, (size_t)epoch);
	size_t n = 0;

	for (size_t i = 0; i < json_array_size(batches); i++) {
		for (size_t k = 0; k < json_array_size(json_array_get(batches, i)); k++)
			ret_order[n++] =
				(uint32_t)json_integer_value(json_array_get(json_array_get(batches, i), k));
	}
}

struct record {
	struct rt_step steps[64];
	struct rt_epoch epochs[8];
	size_t step_count, epoch_count;
};

static int on_step(void *ctx, const struct rt_step *step, struct rt_err *err)
{
	struct record *r = ctx;

	if (r->step_count == 64)
		return rt_fail(err, RT_INTERNAL, "more steps than recorded");
	r->steps[r->step_count++] = *step;
	return 0;
}

static int on_epoch(void *ctx, const struct rt_epoch *epoch, struct rt_err *err)
{
	struct record *r = ctx;

	if (r->epoch_count == 8)
		return rt_fail(err, RT_INTERNAL, "more epochs than recorded");
	r->epochs[r->epoch_count++] = *epoch;
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

static void compare_steps(const struct record *got, const json_t *exact)
{
	double loss = 0, lr = 0, norm = 0;
	int bad = 0;

	assert_int_equal(got->step_count, json_array_size(exact));
	for (size_t i = 0; i < got->step_count; i++) {
		const struct rt_step *s = &got->steps[i];
		const json_t *e = json_array_get(exact, i);

		assert_int_equal(s->step, (int64_t)num(e, "step"));
		assert_int_equal(s->epoch, (int64_t)num(e, "epoch"));
		bad += !close_to("learning rate of step", s->step, s->learning_rate, num(e, "lr"), LR_ABS,
				 &lr);
		bad += !close_to("loss of step", s->step, s->loss / num(e, "loss"), 1, LOSS_REL, &loss);
		bad += !close_to("ce of step", s->step, s->ce_loss / num(e, "ce"), 1, LOSS_REL, &loss);
		bad += !close_to("kd of step", s->step, s->kd_loss / num(e, "kd"), 1, LOSS_REL, &loss);
		bad += !close_to("gradient norm of step", s->step, s->grad_norm / num(e, "grad_norm"), 1,
				 NORM_REL, &norm);
	}
	print_message("  %zu steps: loss %.1e (relative), lr %.1e, grad_norm %.1e (relative)\n",
		      got->step_count, loss, lr, norm);
	assert_int_equal(bad, 0);
}

static void compare_epochs(const struct record *got, const json_t *exact)
{
	double train = 0, eval = 0, accuracy = 0;
	int bad = 0;

	assert_int_equal(got->epoch_count, json_array_size(exact));
	for (size_t i = 0; i < got->epoch_count; i++) {
		const struct rt_epoch *g = &got->epochs[i];
		const json_t *e = json_array_get(exact, i);

		bad += !close_to("train_loss of epoch", g->epoch, g->train_loss / num(e, "train_loss"), 1,
				 LOSS_REL, &train);
		bad += !close_to("eval_loss of epoch", g->epoch, g->eval.loss, num(e, "eval_loss"), EVAL_ABS,
				 &eval);
		bad += !close_to("accuracy of epoch", g->epoch, g->eval.accuracy, num(e, "accuracy"),
				 ACCURACY_ABS, &accuracy);
	}
	print_message("  %zu epochs: train_loss %.1e (relative), eval_loss %.1e, accuracy %.1e\n",
		      got->epoch_count, train, eval, accuracy);
	assert_int_equal(bad, 0);
}

static bool ends_with(const char *s, const char *end)
{
	return strlen(s) >= strlen(end) && strcmp(s + strlen(s) - strlen(end), end) == 0;
}

static void compare_weights(const struct rt_model *m, const json_t *record)
{
	double worst = 0;
	int bad = 0;

	for (size_t i = 0; i < rt_model_param_count(m); i++) {
		struct rt_param p = rt_model_param(m, i);
		const json_t *e = json_object_get(json_object_get(record, p.name), "float64");
		const float *x = tc_data(p.t);
		size_t n = (size_t)tc_numel(p.t);
		double sum = 0, squares = 0;

		/* softmax does not see a shift: only rounding noise moves a key's bias, and Adam scales that up */
		if (ends_with(p.name, ".key.bias"))
			continue;
		if (!e)
			print_error("the record has no tensor %s\n", p.name);
		assert_non_null(e);
		for (size_t k = 0; k < n; k++) {
			sum += x[k];
			squares += (double)x[k] * x[k];
		}
		bad += !close_to(p.name, -1, sum / (double)n, num(e, "mean"), WEIGHT_ABS, &worst);
		bad += !close_to(p.name, -2, sqrt(squares / (double)n), num(e, "l2") / sqrt((double)n),
				 WEIGHT_ABS, &worst);
		for (size_t k = 0; k < json_array_size(json_object_get(e, "first")); k++)
			bad += !close_to(p.name, (int64_t)k, x[k],
					 json_number_value(json_array_get(json_object_get(e, "first"), k)),
					 WEIGHT_ABS, &worst);
	}
	print_message("  weights: %.1e\n", worst);
	assert_int_equal(bad, 0);
	assert_int_equal(rt_model_param_count(m), json_object_size(record));
}

/* weight_decay and the like from a record's "case". */
static struct rt_train_options options_of(const json_t *c, json_t *batches)
{
	return (struct rt_train_options){
		.alpha = num(c, "alpha"),
		.temperature = num(c, "temperature"),
		.learning_rate = num(c, "learning_rate"),
		.lr_scheduler = RT_LR_LINEAR,
		.warmup_ratio = num(c, "warmup_ratio"),
		.weight_decay = num(c, "weight_decay"),
		.max_grad_norm = num(c, "max_grad_norm"),
		.accumulation = RT_ACCUMULATE_SUM, /* what the Trainer does with the workshop's subclass */
		.metric = RT_METRIC_ACCURACY,
		.eval_batch = (int64_t)num(c, "eval_batch_size"),
		.patience = -1,
		.plan = { .batch = (int64_t)num(c, "batch_size"),
			  .accumulate = (int64_t)num(c, "gradient_accumulation_steps"),
			  .epochs = (int64_t)num(c, "epochs"),
			  .seed = 5,
			  .shuffle = true,
			  .order = planned_order,
			  .order_ctx = batches },
	};
}

static void run_case(struct fixture *f, const char *name)
{
	char file[100];
	json_t *record;
	struct rt_train_split train = { &f->train, f->soft.logits, f->soft.of[0] };
	struct rt_train_split eval = { &f->eval, f->soft.logits, f->soft.of[1] };
	struct rt_train_options o;
	struct record got = { .step_count = 0 };
	struct rt_train_hooks hooks = { .ctx = &got, .step = on_step, .epoch = on_epoch };
	struct rt_trainer *t = NULL;
	struct rt_model *student;
	struct rt_err err = RT_ERR_INIT;

	skip_without_reference();
	snprintf(file, sizeof file, "%s.json", name);
	record = read_json(file);
	student = open_model("student", true);
	o = options_of(json_object_get(record, "case"), f->batches);
	assert_int_equal(rt_trainer_open(student, &o, &train, &eval, &t, &err), 0);
	if (rt_trainer_run(t, &hooks, &err) < 0)
		print_error("%s\n", err.msg);
	assert_int_equal(err.code, RT_OK);
	compare_steps(&got, json_object_get(json_object_get(record, "float64"), "steps"));
	compare_epochs(&got, json_object_get(json_object_get(record, "float64"), "epochs"));
	compare_weights(student, json_object_get(record, "final_weights"));
	rt_trainer_close(t);
	rt_model_close(student);
	json_decref(record);
}

#define CASE(name)                                                                                           \
	static void training_curve_of_##name(void **state)                                                   \
	{                                                                                                    \
		run_case(*state, #name);                                                                     \
	}
CASE(alpha055_t19)
CASE(alpha50_t4)
CASE(alpha100_t1)
CASE(alpha0_t2)
CASE(weight_decay)
CASE(warmup)
CASE(accumulate2)

static void compare_logits(const float *got, const json_t *want, size_t rows, size_t classes)
{
	double worst = 0;
	int bad = 0;

	for (size_t i = 0; i < rows; i++) {
		for (size_t k = 0; k < classes; k++)
			bad += !close_to("logit of row", (int64_t)i, got[i * classes + k],
					 json_number_value(json_array_get(json_array_get(want, i), k)),
					 LOGIT_ABS, &worst);
	}
	print_message("  %zu rows: %.1e\n", rows, worst);
	assert_int_equal(bad, 0);
}

static void first_logits_of_teacher_and_student(void **state)
{
	struct fixture *f = *state;
	json_t *want;
	struct rt_model *student;
	float logits[100 * 8], teacher[8 * 8];

	skip_without_reference();
	want = read_json("first_logits.json");
	student = open_model("student", false);
	assert_int_equal(rt_rows_logits(&f->eval, student, 64, NULL, logits, NULL), 0);
	compare_logits(logits, json_object_get(want, "student"), 8, f->classes);
	for (size_t i = 0; i < 8; i++)
		memcpy(teacher + i * 8, f->soft.logits + f->soft.of[1][i] * 8, 8 * sizeof(float));
	compare_logits(teacher, json_object_get(want, "teacher"), 8, f->classes);
	rt_model_close(student);
	json_decref(want);
}

static void teacher_is_asked_once_per_distinct_text(void **state)
{
	struct fixture *f = *state;
	json_t *rows;
	size_t right = 0;

	skip_without_reference();
	assert_true(f->soft.unique <= f->train.n + f->eval.n);
	assert_true(f->soft.unique > 0);
	rows = read_json("rows.json");
	for (size_t i = 0; i < f->eval.n; i++)
		right += rt_argmax(f->soft.logits + f->soft.of[1][i] * 8, 8) == (size_t)f->eval.labels[i];
	assert_true(fabs(rt_soft_accuracy(&f->soft, 1, f->eval.labels, f->eval.n) -
			 (double)right / (double)f->eval.n) < 1e-12);
	assert_int_equal(right, 91); /* the reference's README: 91 % on the eval rows */
	json_decref(rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_logits_of_teacher_and_student),
		cmocka_unit_test(teacher_is_asked_once_per_distinct_text),
		cmocka_unit_test(training_curve_of_alpha055_t19),
		cmocka_unit_test(training_curve_of_alpha50_t4),
		cmocka_unit_test(training_curve_of_alpha100_t1),
		cmocka_unit_test(training_curve_of_alpha0_t2),
		cmocka_unit_test(training_curve_of_weight_decay),
		cmocka_unit_test(training_curve_of_warmup),
		cmocka_unit_test(training_curve_of_accumulate2),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
