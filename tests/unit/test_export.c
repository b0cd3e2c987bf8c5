/* SPDX-License-Identifier: Apache-2.0 */
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

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "worker/export/export.h"
#include "worker/export/tb.h"

static char dir[64];

static int make_dir(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/rt_export_XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rt_dir_remove(dir, NULL);
}

static const char *in_dir(const char *name)
{
	static char path[4][256];
	static int at;

	at = (at + 1) % 4;
	snprintf(path[at], sizeof path[at], "%s/%s", dir, name);
	return path[at];
}

/* ---- a reader of event files, written apart from the writer ---- */

/* Bit by bit: nothing shared with the writer's table. */
static uint32_t crc32c(const unsigned char *bytes, size_t n)
{
	uint32_t v = ~0u;

	for (size_t i = 0; i < n; i++) {
		v ^= bytes[i];
		for (int k = 0; k < 8; k++)
			v = v >> 1 ^ (v & 1 ? 0x82F63B78u : 0);
	}
	return ~v;
}

static uint64_t number(const unsigned char *bytes, int n)
{
	uint64_t v = 0;

	for (int i = n - 1; i >= 0; i--)
		v = v << 8 | bytes[i];
	return v;
}

static void check_crc(const unsigned char *bytes, size_t n, const unsigned char *stored)
{
	uint32_t rot = (uint32_t)number(stored, 4) - 0xA282EAD8u;

	assert_int_equal(rot >> 17 | rot << 15, crc32c(bytes, n));
}

struct field {
	unsigned number, wire;
	uint64_t value; /* varint, fixed; length for bytes */
	const unsigned char *bytes;
};

/* The next field of a message; moves *at. */
static int next_field(const unsigned char **at, const unsigned char *end, struct field *f)
{
	uint64_t v[2] = { 0, 0 };

	if (*at == end)
		return 0;
	for (int k = 0; k < 2; k++) {
		int shift = 0;

		if (k == 1 && (f->wire == 1 || f->wire == 5)) {
			v[1] = number(*at, f->wire == 1 ? 8 : 4);
			*at += f->wire == 1 ? 8 : 4;
			break;
		}
		do {
			assert_true(*at < end && shift < 64);
			v[k] |= (uint64_t)(**at & 0x7F) << shift;
			shift += 7;
		} while (*(*at)++ & 0x80);
		if (k == 0) {
			f->number = (unsigned)(v[0] >> 3);
			f->wire = (unsigned)(v[0] & 7);
		}
	}
	f->value = v[1];
	f->bytes = *at;
	if (f->wire == 2) {
		assert_true((size_t)(end - *at) >= v[1]);
		*at += v[1];
	}
	return 1;
}

/* The field of that number, or wire 9 when the message has none. */
static struct field find(const unsigned char *bytes, size_t n, unsigned number_)
{
	const unsigned char *at = bytes;
	struct field f = { 0 };

	while (next_field(&at, bytes + n, &f)) {
		if (f.number == number_)
			return f;
	}
	return (struct field){ .wire = 9 };
}

static double as_double(uint64_t bits)
{
	double v;

	memcpy(&v, &bits, sizeof v);
	return v;
}

static double as_float(uint64_t bits)
{
	uint32_t low = (uint32_t)bits;
	float v;

	memcpy(&v, &low, sizeof v);
	return v;
}

struct event {
	double wall_time, value;
	int64_t step;
	char tag[64], file_version[32];
	const unsigned char *plugin; /* HParamsPluginData */
	size_t plugin_size;
};

static void copy_str(char *to, size_t size, const struct field *f)
{
	assert_int_equal(f->wire, 2);
	assert_true(f->value < size);
	memcpy(to, f->bytes, f->value);
	to[f->value] = '\0';
}

static void read_summary(const struct field *summary, struct event *e)
{
	struct field v = find(summary->bytes, summary->value, 1), f;

	f = find(v.bytes, v.value, 1);
	copy_str(e->tag, sizeof e->tag, &f);
	f = find(v.bytes, v.value, 2);
	if (f.wire == 5)
		e->value = as_float(f.value);
	f = find(v.bytes, v.value, 9);
	if (f.wire == 2) {
		struct field plugin = find(f.bytes, f.value, 1), name = find(plugin.bytes, plugin.value, 1);
		struct field content = find(plugin.bytes, plugin.value, 2),
			     tensor = find(v.bytes, v.value, 8);
		char word[16];

		copy_str(word, sizeof word, &name);
		assert_string_equal(word, "hparams");
		e->plugin = content.bytes;
		e->plugin_size = content.value;
		assert_int_equal(find(tensor.bytes, tensor.value, 1).value, 1); /* float, of shape (0) */
		f = find(tensor.bytes, tensor.value, 2);
		assert_int_equal(find(f.bytes, f.value, 2).wire, 2);
		assert_int_equal(find(f.bytes, f.value, 2).value, 0);
	}
}

/* Checks every record of the file and returns their number; out has room for max. */
static size_t read_events(const struct rt_buf *file, struct event *out, size_t max)
{
	const unsigned char *at = (const unsigned char *)file->data, *end = at + file->len;
	size_t n = 0;

	while (at < end) {
		uint64_t len = number(at, 8);
		struct field f;

		assert_true((size_t)(end - at) >= 16 + len);
		assert_true(n < max);
		check_crc(at, 8, at + 8);
		check_crc(at + 12, len, at + 12 + len);
		memset(&out[n], 0, sizeof out[n]);
		out[n].wall_time = as_double(find(at + 12, len, 1).value);
		f = find(at + 12, len, 2);
		out[n].step = f.wire == 0 ? (int64_t)f.value : 0;
		f = find(at + 12, len, 3);
		if (f.wire == 2)
			copy_str(out[n].file_version, sizeof out[n].file_version, &f);
		f = find(at + 12, len, 5);
		if (f.wire == 2)
			read_summary(&f, &out[n]);
		n++;
		at += 16 + len;
	}
	return n;
}

static int64_t fake_ms;

static int64_t fake_now(void)
{
	return fake_ms;
}

static void crc_is_castagnoli(void **state)
{
	(void)state;
	assert_int_equal(crc32c((const unsigned char *)"123456789", 9), 0xE3069283);
}

/* The reference's scalars, written by us, come out as the reference's records. */
static void scalars_are_records_like_the_references(void **state)
{
	const char *shared = getenv("RT_SHARED");
	struct rt_buf ours = RT_BUF_INIT, theirs = RT_BUF_INIT;
	struct event *a = calloc(200, sizeof *a), *b = calloc(200, sizeof *b);
	json_t *expected, *row;
	struct rt_tb *tb;
	char path[512];
	size_t i, n;

	(void)state;
	snprintf(path, sizeof path, "%s/reference/tensorboard/expected.json", shared ? shared : "");
	if (!shared || !rt_file_exists(path)) {
		print_message("the reference event file is not here (RT_SHARED)\n");
		free(a);
		free(b);
		skip();
	}
	expected = rt_json_read(path, 1 << 20, NULL);
	snprintf(path, sizeof path, "%s/reference/tensorboard/%s", shared,
		 json_string_value(json_object_get(expected, "file")));
	assert_int_equal(rt_file_read(path, 1 << 20, &theirs, NULL), 0);
	n = read_events(&theirs, b, 200);
	assert_int_equal(n, 94);

	fake_ms = (int64_t)(b[0].wall_time * 1000);
	rt_clock_set_source(fake_now);
	assert_int_equal(rt_tb_open(in_dir("tb"), &tb, NULL), 0);
	json_array_foreach(json_object_get(expected, "scalars"), i, row)
	{
		fake_ms = (int64_t)(json_number_value(json_object_get(row, "wall_time")) * 1000);
		assert_int_equal(rt_tb_scalar(tb, json_string_value(json_object_get(row, "tag")),
					      json_integer_value(json_object_get(row, "step")),
					      json_number_value(json_object_get(row, "value")), NULL),
				 0);
	}
	snprintf(path, sizeof path, "%s/%s", in_dir("tb"), rt_tb_name(tb));
	rt_tb_close(tb);
	rt_clock_set_source(NULL);
	assert_int_equal(rt_file_read(path, 1 << 20, &ours, NULL), 0);
	assert_int_equal(read_events(&ours, a, 200), n);
	for (i = 0; i < n; i++) {
		assert_true(a[i].wall_time == b[i].wall_time);
		assert_int_equal(a[i].step, b[i].step);
		assert_string_equal(a[i].tag, b[i].tag);
		assert_string_equal(a[i].file_version, b[i].file_version);
		assert_true(a[i].value == b[i].value);
	}
	assert_string_equal(a[0].file_version, "brain.Event:2");
	json_decref(expected);
	rt_buf_release(&ours);
	rt_buf_release(&theirs);
	free(a);
	free(b);
}

static void files_name_no_host_and_never_collide(void **state)
{
	struct rt_tb *one, *two;
	char host[256] = "";

	(void)state;
	fake_ms = 1700000000123;
	rt_clock_set_source(fake_now);
	assert_int_equal(rt_tb_open(in_dir("same"), &one, NULL), 0);
	assert_int_equal(rt_tb_open(in_dir("same"), &two, NULL), 0);
	rt_clock_set_source(NULL);
	assert_string_equal(rt_tb_name(one), "events.out.tfevents.1700000000.retort.0");
	assert_string_equal(rt_tb_name(two), "events.out.tfevents.1700000000.retort.1");
	assert_int_equal(gethostname(host, sizeof host - 1), 0);
	assert_true(!host[0] || !strstr(rt_tb_name(one), host));
	rt_tb_close(one);
	rt_tb_close(two);
}

static void hparams_are_what_the_tab_reads(void **state)
{
	json_t *values = json_pack("{s:f, s:i, s:b, s:s, s:n}", "alpha", 0.5, "epochs", 3, "shuffle", 0,
				   "precision", "fp32", "name");
	struct rt_buf file = RT_BUF_INIT;
	struct event e[8];
	struct field info, entry, value;
	const unsigned char *at;
	struct rt_tb *tb;
	char path[512], key[32];
	size_t n = 0;

	(void)state;
	assert_int_equal(rt_tb_open(in_dir("hp"), &tb, NULL), 0);
	assert_int_equal(rt_tb_hparams(tb, values, NULL), 0);
	assert_int_equal(rt_tb_scalar(tb, "eval/loss", 7, NAN, NULL), 0);
	assert_int_equal(rt_tb_end(tb, RT_TB_FAILURE, NULL), 0);
	snprintf(path, sizeof path, "%s/%s", in_dir("hp"), rt_tb_name(tb));
	rt_tb_close(tb);
	json_decref(values);
	assert_int_equal(rt_file_read(path, 1 << 20, &file, NULL), 0);
	assert_int_equal(read_events(&file, e, 8), 5);
	assert_string_equal(e[1].tag, "_hparams_/experiment");
	assert_string_equal(e[2].tag, "_hparams_/session_start_info");
	assert_string_equal(e[3].tag, "eval/loss");
	assert_true(isnan(e[3].value));
	assert_string_equal(e[4].tag, "_hparams_/session_end_info");

	info = find(e[2].plugin, e[2].plugin_size, 3);
	at = info.bytes;
	while (next_field(&at, info.bytes + info.value, &entry)) {
		struct field name;

		if (entry.number != 1)
			continue;
		name = find(entry.bytes, entry.value, 1);
		value = find(entry.bytes, entry.value, 2);
		copy_str(key, sizeof key, &name);
		n++;
		if (strcmp(key, "alpha") == 0) {
			assert_true(as_double(find(value.bytes, value.value, 2).value) == 0.5);
		} else if (strcmp(key, "epochs") == 0) {
			assert_true(as_double(find(value.bytes, value.value, 2).value) == 3);
		} else if (strcmp(key, "shuffle") == 0) {
			assert_int_equal(find(value.bytes, value.value, 4).wire, 0);
			assert_int_equal(find(value.bytes, value.value, 4).value, 0);
		} else {
			struct field word = find(value.bytes, value.value, 3);

			assert_string_equal(key, "precision");
			copy_str(key, sizeof key, &word);
			assert_string_equal(key, "fp32");
		}
	}
	assert_int_equal(n, 4); /* null is left out */
	info = find(e[4].plugin, e[4].plugin_size, 4);
	assert_int_equal(find(info.bytes, info.value, 1).value, RT_TB_FAILURE);
	rt_buf_release(&file);
}

/* ---- the folder ---- */

static void put_text(const char *name, const char *text)
{
	assert_int_equal(rt_file_write(in_dir(name), text, strlen(text), NULL), 0);
}

static const char *const labels[] = { "no", "yes", "a \"b\": c" };
static const struct rt_epoch_record epochs[] = {
	{ .epoch = 1,
	  .step = 10,
	  .train_loss = 1.5,
	  .train_ce_loss = 1,
	  .train_kd_loss = 2,
	  .eval_loss = 1.25,
	  .eval_ce_loss = 1,
	  .eval_kd_loss = 1.5,
	  .eval_accuracy = 0.5,
	  .learning_rate = 1e-4,
	  .seconds = 3 },
	{ .epoch = 2,
	  .step = 20,
	  .train_loss = NAN,
	  .train_ce_loss = NAN,
	  .train_kd_loss = NAN,
	  .eval_loss = 0.75,
	  .eval_ce_loss = NAN,
	  .eval_kd_loss = NAN,
	  .eval_accuracy = 0.8629032,
	  .learning_rate = 0,
	  .seconds = 3 },
};

static struct rt_spec spec_of(const char *text)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_problems problems;
	json_t *json = rt_json_parse(text, strlen(text), &err);
	struct rt_spec spec;

	assert_non_null(json);
	assert_int_equal(rt_spec_parse(json, &spec, &problems, &err), 0);
	json_decref(json);
	return spec;
}

static struct rt_export example(const json_t *config, const struct rt_spec *spec)
{
	static char tok[256];

	snprintf(tok, sizeof tok, "%s", in_dir("tok"));
	return (struct rt_export){ .config = config,
				   .labels = labels,
				   .label_count = 3,
				   .tokenizer_dir = tok,
				   .spec = spec,
				   .epochs = epochs,
				   .epoch_count = 2,
				   .max_steps = 30,
				   .best_checkpoint = "ckpt_X",
				   .best_metric = 0.8629032,
				   .train_rows = 640,
				   .validation_rows = 124,
				   .precision = "fp32" };
}

static char *read_text(const char *name)
{
	struct rt_buf b = RT_BUF_INIT;

	assert_int_equal(rt_file_read(in_dir(name), 1 << 20, &b, NULL), 0);
	return rt_buf_take(&b);
}

static void make_sources(void)
{
	assert_int_equal(rt_dir_make(in_dir("tok"), NULL), 0);
	assert_int_equal(rt_dir_make(in_dir("out"), NULL), 0);
	put_text("tok/tokenizer.json", "{ \"truncation\":null,\n\t\"x\": 1.0 }");
	put_text("tok/tokenizer_config.json", "{}\r\n");
	put_text("tok/vocab.txt", "[PAD]\n");
	put_text("tok/model.safetensors", "not copied");
}

static void folder_keeps_the_config_and_says_the_classes(void **state)
{
	const char *text = "{\"zeta\": [1, 2.5, {\"a\": null}], \"architectures\": [\"RobertaForMaskedLM\"], "
			   "\"hidden_size\": 48, "
			   "\"_name_or_path\": \"/home/somebody/model\", \"id2label\": {\"0\": \"LABEL_0\"}, "
			   "\"num_labels\": 1, "
			   "\"model_type\": \"roberta\", \"dtype\": \"bfloat16\"}";
	json_t *config = rt_json_parse(text, strlen(text), NULL), *got;
	struct rt_spec spec =
		spec_of("{\"teacher_id\":\"/srv/models/big-teacher\",\"student_id\":\"/srv/models/small\","
			"\"dataset_id\":\"/srv/data/my set.json\",\"alpha\":0.25}");
	struct rt_export x = example(config, &spec);
	struct rt_err err = RT_ERR_INIT;
	char *raw;

	(void)state;
	make_sources();
	if (rt_export_checkpoint(&x, in_dir("out"), &err) < 0)
		fail_msg("%s", err.msg);
	got = rt_json_read(in_dir("out/config.json"), 1 << 20, NULL);
	assert_non_null(got);
	assert_true(json_equal(json_object_get(got, "zeta"), json_object_get(config, "zeta")));
	assert_int_equal(json_integer_value(json_object_get(got, "hidden_size")), 48);
	assert_string_equal(json_string_value(json_array_get(json_object_get(got, "architectures"), 0)),
			    "RobertaForSequenceClassification");
	assert_string_equal(json_string_value(json_object_get(got, "problem_type")),
			    "single_label_classification");
	assert_string_equal(json_string_value(json_object_get(got, "dtype")), "float32");
	assert_null(json_object_get(got, "torch_dtype"));
	assert_null(json_object_get(got, "num_labels"));
	assert_null(json_object_get(got, "_name_or_path"));
	assert_null(json_object_get(got, "transformers_version"));
	assert_int_equal(json_object_size(json_object_get(got, "id2label")), 3);
	assert_string_equal(json_string_value(json_object_get(json_object_get(got, "id2label"), "1")), "yes");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(got, "label2id"), "a \"b\": c")),
			 2);
	assert_string_equal(json_object_iter_key(json_object_iter(got)), "zeta"); /* the order stays */
	json_decref(got);

	raw = read_text("out/tokenizer.json");
	assert_string_equal(raw, "{ \"truncation\":null,\n\t\"x\": 1.0 }");
	free(raw);
	raw = read_text("out/tokenizer_config.json");
	assert_string_equal(raw, "{}\r\n");
	free(raw);
	assert_true(rt_file_exists(in_dir("out/vocab.txt")));
	assert_false(rt_file_exists(in_dir("out/model.safetensors")));
	json_decref(config);
	rt_spec_release(&spec);
}

static void card_quotes_and_names_no_folder(void **state)
{
	json_t *config = json_pack("{s:s}", "model_type", "bert");
	struct rt_spec spec =
		spec_of("{\"teacher_id\":\"/srv/models/big-teacher\",\"student_id\":\"/srv/models/small\","
			"\"dataset_id\":\"/srv/data/my set.json\",\"alpha\":0.25,\"name\":\"no: |x|\"}");
	struct rt_export x = example(config, &spec);
	char *card;

	(void)state;
	make_sources();
	assert_int_equal(rt_export_checkpoint(&x, in_dir("out"), NULL), 0);
	card = read_text("out/README.md");
	assert_int_equal(strncmp(card, "---\n", 4), 0);
	assert_null(strstr(card, "/srv"));
	assert_null(strstr(card, dir));
	assert_null(strstr(card, "license:"));
	assert_null(strstr(card, "base_model:")); /* a folder is no Hub id */
	assert_non_null(strstr(card, "- name: \"no: |x|\"\n"));
	assert_non_null(strstr(
		card, "      type: \"my-set\"\n      name: \"my set.json\"\n      split: \"validation\"\n"));
	assert_non_null(strstr(card, "    - type: accuracy\n      value: 0.862903\n"));
	assert_non_null(strstr(card, "# no: \\|x\\|\n"));
	assert_non_null(
		strstr(card, "distilled from big-teacher into small on my set.json (640 training rows"));
	assert_non_null(strstr(card, "| alpha | 0.25 |\n"));
	assert_non_null(strstr(card, "| 1 | 10 | 1.5000 | 1.0000 | 2.0000 | 1.2500 | 0.5000 |\n"
				     "| 2 | 20 | – | – | – | 0.7500 | 0.8629 |\n"));
	free(card);
	rt_spec_release(&spec);

	spec = spec_of("{\"student_id\":\"nreimers/MiniLMv2\",\"dataset_id\":\"clinc/"
		       "clinc_oos\",\"dataset_config\":\"plus\","
		       "\"alpha\":1,\"validation_split\":\"no\"}");
	x.spec = &spec;
	assert_int_equal(rt_export_checkpoint(&x, in_dir("out"), NULL), 0);
	card = read_text("out/README.md");
	assert_non_null(strstr(card, "base_model: \"nreimers/MiniLMv2\"\n"));
	assert_non_null(strstr(card, "datasets:\n- \"clinc/clinc_oos\"\n"));
	assert_non_null(strstr(card, "      config: \"plus\"\n      split: \"no\"\n"));
	assert_non_null(strstr(card, "fine-tuned from nreimers/MiniLMv2 on clinc/clinc\\_oos"));
	assert_null(strstr(card, "distil"));
	free(card);
	rt_spec_release(&spec);
	json_decref(config);
}

static void state_holds_the_history(void **state)
{
	json_t *config = json_pack("{s:s}", "model_type", "bert"), *got, *log;
	struct rt_spec spec = spec_of("{\"teacher_id\":\"t\",\"student_id\":\"s\",\"dataset_id\":\"d\"}");
	struct rt_export x = example(config, &spec);

	(void)state;
	make_sources();
	assert_int_equal(rt_export_checkpoint(&x, in_dir("out"), NULL), 0);
	got = rt_json_read(in_dir("out/trainer_state.json"), 1 << 20, NULL);
	assert_non_null(got);
	assert_true(json_real_value(json_object_get(got, "best_metric")) == 0.8629032);
	assert_string_equal(json_string_value(json_object_get(got, "best_model_checkpoint")), "ckpt_X");
	assert_int_equal(json_integer_value(json_object_get(got, "global_step")), 20);
	assert_int_equal(json_integer_value(json_object_get(got, "max_steps")), 30);
	assert_true(json_is_null(json_object_get(got, "trial_params")));
	log = json_object_get(got, "log_history");
	assert_int_equal(json_array_size(log), 4);
	assert_true(json_real_value(json_object_get(json_array_get(log, 0), "kd_loss")) == 2);
	assert_true(json_real_value(json_object_get(json_array_get(log, 1), "eval_loss")) == 1.25);
	assert_true(json_is_null(json_object_get(json_array_get(log, 2), "loss"))); /* NaN is no JSON */
	assert_null(json_object_get(json_array_get(log, 2), "kd_loss"));
	json_decref(got);
	json_decref(config);
	rt_spec_release(&spec);
}

static void export_refuses_what_would_not_load(void **state)
{
	json_t *config = json_pack("{s:s}", "model_type", "bert"),
	       *strange = json_pack("{s:s}", "model_type", "gpt9");
	struct rt_spec spec = spec_of("{\"teacher_id\":\"t\",\"student_id\":\"s\",\"dataset_id\":\"d\"}");
	static const char *const twice[] = { "a", "b", "a" };
	struct rt_export x = example(config, &spec);
	struct rt_err err = RT_ERR_INIT;

	(void)state;
	make_sources();
	assert_int_equal(rt_dir_make(in_dir("bare"), NULL), 0);
	x.tokenizer_dir = in_dir("bare");
	assert_int_equal(rt_export_checkpoint(&x, in_dir("out"), &err), -1);
	assert_int_equal(err.code, RT_NOT_FOUND);
	assert_non_null(strstr(err.msg, "has no tokenizer"));
	x = example(config, &spec);
	x.labels = twice;
	assert_int_equal(rt_export_checkpoint(&x, in_dir("out"), &err), -1);
	assert_string_equal(err.msg, "two classes are called 'a'");
	x = example(strange, &spec);
	assert_int_equal(rt_export_checkpoint(&x, in_dir("out"), &err), -1);
	assert_int_equal(err.code, RT_UNSUPPORTED);
	x = example(config, &spec);
	assert_int_equal(rt_export_checkpoint(&x, in_dir("gone"), &err), -1);
	assert_int_equal(err.code, RT_NOT_FOUND);
	json_decref(config);
	json_decref(strange);
	rt_spec_release(&spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc_is_castagnoli),
		cmocka_unit_test(scalars_are_records_like_the_references),
		cmocka_unit_test(files_name_no_host_and_never_collide),
		cmocka_unit_test(hparams_are_what_the_tab_reads),
		cmocka_unit_test(folder_keeps_the_config_and_says_the_classes),
		cmocka_unit_test(card_quotes_and_names_no_folder),
		cmocka_unit_test(state_holds_the_history),
		cmocka_unit_test(export_refuses_what_would_not_load),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
