/* SPDX-License-Identifier: Apache-2.0 */
/* Small models of every family under many configurations beside transformers (configs.json, made by configs_gen.py): logits,
 * the norm of all gradients, and which parameters there are. Weights and rows follow from names, as the generator says, and go
 * through a checkpoint on disk. Then configurations that must be refused by name.
 *
 *   test_configs [FILE]    another file of the generator's: every case that differs is printed */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "tests/parity/numbers.h"
#include "worker/model/model.h"
#include "worker/weights/weights.h"

/* Four times what float32 itself loses on the reference models; ModernBERT's own library has fp32 angles. */
#define TOLERANCE	     2e-5
#define MODERNBERT_TOLERANCE 1e-4
#define GRADIENT_REL	     1e-4
#define ROWS		     6

static const char *record_path = PARITY_DIR "/configs.json";

struct rows {
	struct rt_batch batch;
	int64_t lengths[ROWS], labels[ROWS];
	int64_t *ids, *types;
};

static void make_rows(struct rows *r, const struct rt_model *m, int64_t longest)
{
	int64_t vocab = rt_model_vocab_size(m), types = rt_model_type_count(m), pad = rt_model_pad_id(m);
	const int64_t lengths[ROWS] = {
		longest, 1, longest - 1, 2, longest / 2 > 1 ? longest / 2 : 1, longest < 5 ? longest : 5
	};
	size_t n = (size_t)(ROWS * longest);

	r->ids = calloc(n, sizeof *r->ids);
	r->types = calloc(n, sizeof *r->types);
	assert_true(r->ids && r->types);
	for (int64_t row = 0; row < ROWS; row++) {
		char ids[24], kinds[24];

		snprintf(ids, sizeof ids, "ids %lld", (long long)row);
		snprintf(kinds, sizeof kinds, "types %lld", (long long)row);
		for (int64_t i = 0; i < longest; i++) {
			int64_t *id = &r->ids[row * longest + i], *type = &r->types[row * longest + i];
			bool real = i < lengths[row];

			*id = real ? (int64_t)(3 + number_at(seed_of(ids), (size_t)i) * (double)(vocab - 3))
				   : pad;
			*type = real ? (int64_t)(number_at(seed_of(kinds), (size_t)i) * (double)types) : 0;
			if (row == 2 && i == 3 && lengths[row] > 4)
				*id = pad;
		}
		r->labels[row] = row % (int64_t)rt_model_label_count(m);
	}
	memcpy(r->lengths, lengths, sizeof lengths);
	r->batch = (struct rt_batch){ .rows = ROWS,
				      .width = longest,
				      .input_ids = r->ids,
				      .token_type_ids =
					      rt_model_uses_token_types(m) && types > 0 ? r->types : NULL,
				      .lengths = r->lengths };
}

/* ---- a case ---- */

static void write_config(const char *dir, const json_t *config)
{
	struct rt_buf text = RT_BUF_INIT;
	char *path = rt_path_join(dir, "config.json");
	struct rt_err err = RT_ERR_INIT;

	rt_json_write(&text, config, 0);
	assert_int_equal(rt_file_write(path, text.data, text.len, &err), 0);
	rt_buf_release(&text);
	free(path);
}

/* A checkpoint with the tensors that a model of this config.json has. */
static int write_weights(const char *dir, struct rt_err *err)
{
	const struct rt_model_options o = { .init = RT_INIT_RANDOM };
	char *path = rt_path_join(dir, "model.safetensors");
	struct rt_model *m = NULL;
	struct rt_tensor *list;
	size_t n;
	int rc;

	if (rt_model_open(dir, &o, &m, NULL, err) < 0) {
		free(path);
		return -1;
	}
	n = rt_model_param_count(m);
	list = calloc(n, sizeof *list);
	assert_non_null(list);
	for (size_t i = 0; i < n; i++) {
		struct rt_param p = rt_model_param(m, i);
		size_t numel = (size_t)tc_numel(p.t);
		float *numbers = malloc(numel * sizeof *numbers);

		assert_non_null(numbers);
		list[i] = (struct rt_tensor){ .name = p.name,
					      .dtype = RT_DTYPE_F32,
					      .ndim = tc_ndim(p.t),
					      .data = numbers,
					      .size_bytes = numel * sizeof *numbers };
		for (int d = 0; d < list[i].ndim; d++)
			list[i].shape[d] = tc_size(p.t, d);
		numbers_of(p.name, list[i].ndim, numbers, numel);
	}
	rc = rt_safetensors_write(path, list, n, NULL, 0, err);
	for (size_t i = 0; i < n; i++)
		free((void *)(uintptr_t)list[i].data);
	free(list);
	rt_model_close(m);
	free(path);
	return rc;
}

static double norm_of_gradients(struct tc_scope *s, const struct rt_model *m)
{
	struct rt_err err = RT_ERR_INIT;
	double sum = 0;

	for (size_t i = 0; i < rt_model_param_count(m); i++) {
		struct tc_tensor *t = rt_model_param(m, i).t, *g;
		double sq;

		if (!tc_has_grad(t))
			continue;
		g = tc_grad(s, t);
		assert_int_equal(tc_item_f64(s, tc_sum(s, tc_mul(s, g, g)), &sq, &err), 0);
		sum += sq;
	}
	return sqrt(sum);
}

/* Largest distance of the logits, and the relative one of the gradients' norm. */
static int run(struct rt_model *m, const json_t *c, double *ret_logits, double *ret_norm, struct rt_err *err)
{
	const json_t *want = json_object_get(c, "logits");
	size_t classes = rt_model_label_count(m), n = ROWS * classes;
	struct tc_scope *s = tc_scope_open(NULL, 0);
	float *got = calloc(n, sizeof *got);
	struct tc_tensor *logits, *loss;
	const int64_t rows = ROWS;
	struct rows r;
	int rc = -1;

	assert_non_null(got);
	make_rows(&r, m, json_integer_value(json_object_get(c, "longest")));
	logits = rt_model_forward(s, m, &r.batch, false);
	loss = tc_cross_entropy(s, logits, tc_from_data(s, TC_I64, 1, &rows, r.labels), TC_MEAN);
	if (tc_backward(s, loss, err) < 0 || tc_read(s, logits, TC_F32, got, n, err) < 0)
		goto out;
	*ret_logits = 0;
	for (size_t i = 0; i < n; i++) {
		const json_t *row = json_array_get(want, i / classes);
		double d = json_array_size(row) == classes
				   ? fabs(got[i] - json_number_value(json_array_get(row, i % classes)))
				   : NAN;

		*ret_logits = d > *ret_logits || isnan(d) ? d : *ret_logits;
	}
	*ret_norm =
		fabs(norm_of_gradients(s, m) / json_number_value(json_object_get(c, "gradient_norm")) - 1);
	rc = 0;
out:
	free(got);
	free(r.ids);
	free(r.types);
	tc_scope_close(s);
	return rc;
}

static bool parameters_agree(const struct rt_model *m, const struct rt_model_report *report, const json_t *c)
{
	int64_t tensors = json_integer_value(json_object_get(c, "tensors")),
		numbers = json_integer_value(json_object_get(c, "numbers"));

	if ((int64_t)rt_model_param_count(m) == tensors && report->parameters == numbers &&
	    report->missing_count + report->unexpected_count + report->initialised_count == 0)
		return true;
	print_error("  %zu tensors with %lld numbers, the library has %lld with %lld\n",
		    rt_model_param_count(m), (long long)report->parameters, (long long)tensors,
		    (long long)numbers);
	return false;
}

/* False, and a line, when it differs. */
static bool check(const json_t *c, const char *name, double *worst, double *worst_norm)
{
	const struct rt_model_options o = { .init = RT_INIT_PRETRAINED, .trainable = true };
	bool modern = strncmp(name, "modernbert", 10) == 0;
	char dir[] = "/tmp/rt-configs-XXXXXX";
	struct rt_err err = RT_ERR_INIT;
	struct rt_model *m = NULL;
	struct rt_model_report report = { 0 };
	double logits = 0, norm = 0;
	bool good = false;

	assert_non_null(mkdtemp(dir));
	write_config(dir, json_object_get(c, "config"));
	if (write_weights(dir, &err) < 0 || rt_model_open(dir, &o, &m, &report, &err) < 0 ||
	    run(m, c, &logits, &norm, &err) < 0) {
		print_error("%s: %s\n", name, err.msg);
		goto out;
	}
	good = logits <= (modern ? MODERNBERT_TOLERANCE : TOLERANCE) && norm <= GRADIENT_REL;
	if (!good)
		print_error("%s: logits differ by %.2g, the gradients' norm by %.2g (relative)\n", name,
			    logits, norm);
	good = parameters_agree(m, &report, c) && good;
	*worst = fmax(*worst, logits);
	*worst_norm = fmax(*worst_norm, norm);
out:
	rt_model_close(m);
	rt_model_report_release(&report);
	rt_dir_remove(dir, NULL);
	return good;
}

static json_t *record;

static int set_up(void **state)
{
	struct rt_err err = RT_ERR_INIT;

	(void)state;
	record = rt_json_read(record_path, 16 << 20, &err);
	if (!record)
		print_error("%s\n", err.msg);
	return record ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	json_decref(record);
	return 0;
}

/* The cases of one family; how many differ. */
static size_t check_family(const char *family, const json_t *cases, size_t *ran)
{
	double logits = 0, norm = 0;
	size_t i, n = 0, bad = 0;
	const json_t *c;

	json_array_foreach(cases, i, c)
	{
		struct rt_buf name = RT_BUF_INIT;

		if (strcmp(json_string_value(json_object_get(c, "family")), family) != 0 ||
		    !json_object_get(c, "logits")) /* the library refuses it */
			continue;
		rt_buf_fmt(&name, "%s ", family);
		rt_json_write(&name, json_object_get(c, "change"), 0);
		n++;
		bad += !check(c, rt_buf_text(&name), &logits, &norm);
		rt_buf_release(&name);
	}
	print_message("%s: %zu configurations, logits differ by %.1e, gradient norms by %.1e (relative)\n",
		      family, n, logits, norm);
	*ran += n;
	return bad;
}

static void every_configuration_computes_what_the_library_does(void **state)
{
	static const char *const families[] = { "bert",	 "roberta", "xlm-roberta", "distilbert", "electra",
						"mpnet", "albert",  "deberta-v2",  "modernbert" };
	const json_t *cases = json_object_get(record, "cases"), *c;
	size_t bad = 0, ran = 0, wanted = 0, i;

	(void)state;
	json_array_foreach(cases, i, c) wanted += json_object_get(c, "logits") != NULL;
	for (i = 0; i < sizeof families / sizeof *families; i++)
		bad += check_family(families[i], cases, &ran);
	assert_int_equal(bad, 0);
	assert_true(ran > 0);
	assert_int_equal(ran, wanted);
}

/* ---- what is refused ---- */

/* The family's own config.json; new. */
static json_t *own_config(const char *family)
{
	const json_t *cases = json_object_get(record, "cases"), *c;
	size_t i;

	json_array_foreach(cases, i, c)
	{
		if (strcmp(json_string_value(json_object_get(c, "family")), family) == 0 &&
		    json_object_size(json_object_get(c, "change")) == 0)
			return json_deep_copy(json_object_get(c, "config"));
	}
	fail_msg("no case of %s", family);
	return NULL;
}

static void fields_that_are_not_computed_are_refused_by_name(void **state)
{
	static const struct {
		const char *family, *key, *value, *msg; /* value: JSON; msg: a part of it */
		enum rt_code code;
	} rows[] = {
		{ "bert", "hidden_act", "\"prelu\"", "hidden_act 'prelu' is not known (known are gelu",
		  RT_UNSUPPORTED },
		{ "bert", "hidden_act", "\"xielu\"", "hidden_act 'xielu' is not known", RT_UNSUPPORTED },
		{ "bert", "hidden_act", "7", "hidden_act must be", RT_INVALID },
		{ "bert", "position_embedding_type", "\"relative_key_query\"",
		  "position_embedding_type 'relative_key_query'", RT_UNSUPPORTED },
		{ "bert", "is_decoder", "true", "is_decoder true", RT_UNSUPPORTED },
		{ "bert", "pruned_heads", "{\"1\": [0, 2]}", "pruned_heads", RT_UNSUPPORTED },
		{ "bert", "quantization_config", "{\"load_in_8bit\": true}", "quantization_config",
		  RT_UNSUPPORTED },
		{ "bert", "problem_type", "\"regression\"", "problem_type 'regression'", RT_UNSUPPORTED },
		{ "bert", "num_labels", "1", "one label means regression", RT_UNSUPPORTED },
		{ "bert", "num_labels", "0", "number of labels must be between 1", RT_INVALID },
		{ "bert", "id2label", "{\"0\": \"score\"}", "one label means regression", RT_UNSUPPORTED },
		{ "bert", "id2label", "{\"0\": \"a\", \"00\": \"b\"}", "names class 0 twice", RT_INVALID },
		{ "bert", "id2label", "{\"1\": \"a\", \"2\": \"b\"}",
		  "keys must be \"0\" to \"1\" (got \"2\")", RT_INVALID },
		{ "bert", "id2label", "{\"a\": \"a\", \"b\": \"b\"}", "(got \"a\")", RT_INVALID },
		{ "bert", "id2label", "{\"0\": 0, \"1\": 1}", "id2label/0 must be a text", RT_INVALID },
		{ "bert", "hidden_size", "25", "must be a multiple of the number of heads 4", RT_INVALID },
		{ "bert", "hidden_size", "24.5", "hidden_size must be", RT_INVALID },
		{ "bert", "layer_norm_eps", "-1", "layer_norm_eps must be between", RT_INVALID },
		{ "bert", "type_vocab_size", "0", "type_vocab_size must be between", RT_INVALID },
		{ "bert", "pad_token_id", "-1", "pad_token_id must be between", RT_INVALID },
		{ "bert", "pad_token_id", "96", "outside the vocabulary of 96", RT_INVALID },
		{ "bert", "vocab_size", "100000000000", "vocab_size must be between", RT_INVALID },
		{ "roberta", "pad_token_id", "null", "pad_token_id must not be null", RT_UNSUPPORTED },
		{ "roberta", "pad_token_id", "25", "leaves no position behind pad_token_id 25", RT_INVALID },
		{ "xlm-roberta", "pad_token_id", "null", "pad_token_id must not be null", RT_UNSUPPORTED },
		{ "distilbert", "activation", "\"prelu\"", "activation 'prelu'", RT_UNSUPPORTED },
		{ "mpnet", "relative_attention_num_buckets", "20",
		  "relative_attention_num_buckets must be between 32", RT_INVALID },
		{ "mpnet", "vocab_size", "1", "vocab_size must be above the padding token's 1", RT_INVALID },
		{ "albert", "inner_group_num", "1001", "inner_group_num must be between 1", RT_INVALID },
		{ "albert", "num_hidden_groups", "1000000", "num_hidden_groups must be between 1",
		  RT_INVALID },
		{ "deberta-v2", "pos_att_type", "\"c2p|p2p\"", "pos_att_type 'p2p'", RT_UNSUPPORTED },
		{ "deberta-v2", "pos_att_type", "7", "pos_att_type must be a list", RT_INVALID },
		{ "deberta-v2", "norm_rel_ebd", "\"rms_norm\"", "norm_rel_ebd 'rms_norm'", RT_UNSUPPORTED },
		{ "deberta-v2", "position_buckets", "1", "position_buckets must be at least 2",
		  RT_UNSUPPORTED },
		{ "deberta-v2", "max_relative_positions", "5", "max_relative_positions must be above 5",
		  RT_UNSUPPORTED },
		{ "deberta-v2", "conv_kernel_size", "4", "conv_kernel_size must be odd", RT_UNSUPPORTED },
		{ "deberta-v2", "conv_groups", "5", "conv_groups must divide hidden_size 24", RT_INVALID },
		{ "deberta-v2", "conv_act", "\"prelu\"", "conv_act 'prelu'", RT_UNSUPPORTED },
		{ "deberta-v2", "pooler_hidden_size", "48", "pooler_hidden_size must be hidden_size 24",
		  RT_UNSUPPORTED },
		{ "deberta-v2", "attention_head_size", "8", "attention_head_size must be", RT_UNSUPPORTED },
		{ "modernbert", "rope_parameters", "{\"rope_type\": \"default\", \"rope_theta\": 500.0}",
		  "rope_parameters/rope_type is not known", RT_UNSUPPORTED },
		{ "modernbert", "rope_parameters",
		  "{\"full_attention\": {\"rope_type\": \"yarn\", \"factor\": 4.0, \"rope_theta\": "
		  "160000.0}}",
		  "'yarn'", RT_UNSUPPORTED },
		{ "modernbert", "rope_scaling", "{\"type\": \"linear\", \"factor\": 2}",
		  "rope_scaling/type 'linear'", RT_UNSUPPORTED },
		{ "modernbert", "head_dim", "8", "head_dim must be", RT_UNSUPPORTED },
		{ "modernbert", "num_attention_heads", "8", "head_dim must be", RT_UNSUPPORTED },
		{ "modernbert", "classifier_pooling", "\"max\"", "classifier_pooling 'max'", RT_UNSUPPORTED },
		{ "modernbert", "layer_types", "[\"full_attention\"]", "layer_types must name 4 layers",
		  RT_INVALID },
		{ "modernbert", "layer_types",
		  "[\"full_attention\", \"linear_attention\", \"full_attention\", \"full_attention\"]",
		  "layer_types/1 must be full_attention or", RT_UNSUPPORTED },
		{ "modernbert", "global_attn_every_n_layers", "0", "must be at least 1", RT_INVALID },
		{ "modernbert", "local_attention", "0", "local_attention must be at least 1", RT_INVALID },
	};
	const struct rt_model_options o = { .init = RT_INIT_RANDOM };
	char dir[] = "/tmp/rt-configs-XXXXXX";

	(void)state;
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		json_t *config = own_config(rows[i].family), *value;
		struct rt_err err = RT_ERR_INIT;
		struct rt_model *m = NULL;

		value = rt_json_parse(rows[i].value, strlen(rows[i].value), &err);
		assert_non_null(value);
		json_object_set_new(config, rows[i].key, value);
		write_config(dir, config);
		print_message("%s %s %s\n", rows[i].family, rows[i].key, rows[i].value);
		assert_int_equal(rt_model_open(dir, &o, &m, NULL, &err), -1);
		if (!strstr(err.msg, rows[i].msg))
			fail_msg("it says: %s", err.msg);
		assert_int_equal(err.code, rows[i].code);
		json_decref(config);
	}
	rt_dir_remove(dir, NULL);
}

/* A few bytes that ask for petabytes: found out before any memory is taken. */
static void models_beyond_the_machine_are_refused(void **state)
{
	const struct rt_model_options o = { .init = RT_INIT_RANDOM };
	char dir[] = "/tmp/rt-configs-XXXXXX";
	json_t *config = own_config("bert");
	struct rt_err err = RT_ERR_INIT;
	struct rt_model *m = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	json_object_set_new(config, "vocab_size", json_integer(100000000));
	json_object_set_new(config, "hidden_size", json_integer(1000000));
	write_config(dir, config);
	assert_int_equal(rt_model_open(dir, &o, &m, NULL, &err), -1);
	assert_int_equal(err.code, RT_NO_MEMORY);
	if (!strstr(err.msg, "GiB, and this machine has"))
		fail_msg("it says: %s", err.msg);
	json_decref(config);
	rt_dir_remove(dir, NULL);
}

/* DistilBERT's table may be computed: then a new one holds sines and cosines, as Vaswani et al. give them. */
static void sinusoidal_positions_are_made_anew(void **state)
{
	const struct rt_model_options o = { .init = RT_INIT_RANDOM };
	char dir[] = "/tmp/rt-configs-XXXXXX";
	json_t *config = own_config("distilbert");
	struct rt_err err = RT_ERR_INIT;
	struct rt_model *m = NULL;
	const float *v = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	json_object_set_new(config, "sinusoidal_pos_embds", json_true());
	write_config(dir, config);
	assert_int_equal(rt_model_open(dir, &o, &m, NULL, &err), 0);
	for (size_t i = 0; i < rt_model_param_count(m); i++) {
		if (strstr(rt_model_param(m, i).name, "position_embeddings"))
			v = tc_data(rt_model_param(m, i).t);
	}
	assert_non_null(v);
	assert_true(v[0] == 0 && v[1] == 1);
	for (int at = 1; at < 26; at++) {
		assert_float_equal(v[at * 24], sin(at), 1e-6);
		assert_float_equal(v[at * 24 + 1], cos(at), 1e-6);
		assert_float_equal(v[at * 24 + 22], sin(at / pow(10000, 22.0 / 24)), 1e-6);
	}
	rt_model_close(m);
	rt_dir_remove(dir, NULL);
	json_decref(config);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_configuration_computes_what_the_library_does),
		cmocka_unit_test(fields_that_are_not_computed_are_refused_by_name),
		cmocka_unit_test(models_beyond_the_machine_are_refused),
		cmocka_unit_test(sinusoidal_positions_are_made_anew),
	};

	if (argc > 1) {
		record_path = argv[1];
		cmocka_set_test_filter("every_configuration*");
	}
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
