/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/export/export.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "worker/export/card.h"

#define TOKENIZER_MAX_BYTES ((size_t)256 << 20)

static int write_file(const char *dir, const char *name, const struct rt_buf *bytes, struct rt_err *err)
{
	char *path = rt_path_join(dir, name);
	int rc;

	if (!path)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the checkpoint");
	rc = rt_buf_check(bytes, err);
	if (rc == 0)
		rc = rt_file_write(path, rt_buf_text(bytes), bytes->len, err);
	free(path);
	return rc;
}

/* json: given. */
static int write_json(const char *dir, const char *name, json_t *json, struct rt_err *err)
{
	struct rt_buf text = RT_BUF_INIT;
	int rc;

	if (!json)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the checkpoint");
	rt_json_write(&text, json, 2);
	rt_buf_char(&text, '\n');
	json_decref(json);
	rc = write_file(dir, name, &text, err);
	rt_buf_release(&text);
	return rc;
}

/* The class that from_pretrained makes of a model_type. */
static const char *class_prefix(const char *model_type)
{
	static const char *const rows[][2] = {
		{ "bert", "Bert" },
		{ "roberta", "Roberta" },
		{ "xlm-roberta", "XLMRoberta" },
		{ "distilbert", "DistilBert" },
		{ "electra", "Electra" },
		{ "mpnet", "MPNet" },
		{ "albert", "Albert" },
		{ "deberta-v2", "DebertaV2" },
		{ "modernbert", "ModernBert" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (strcmp(rows[i][0], model_type) == 0)
			return rows[i][1];
	}
	return NULL;
}

static json_t *architectures(const struct rt_export *x, struct rt_err *err)
{
	const char *type = json_string_value(json_object_get(x->config, "model_type"));
	const char *prefix = type ? class_prefix(type) : NULL;
	char made[80];

	if (x->architecture)
		return json_pack("[s]", x->architecture);
	if (!prefix) {
		rt_fail(err, RT_UNSUPPORTED, "the student's model_type '%s' has no known class",
			type ? type : "");
		return NULL;
	}
	snprintf(made, sizeof made, "%sForSequenceClassification", prefix);
	return json_pack("[s]", made);
}

/* Sets a key and keeps its place where it is there; value: given. */
static int set(json_t *object, const char *key, json_t *value)
{
	return value ? json_object_set_new(object, key, value) : -1;
}

static int set_labels(json_t *config, const struct rt_export *x, struct rt_err *err)
{
	json_t *id2label = json_object(), *label2id = json_object();

	if (set(config, "id2label", id2label) < 0 || set(config, "label2id", label2id) < 0)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the checkpoint");
	for (size_t i = 0; i < x->label_count; i++) {
		char id[24];

		snprintf(id, sizeof id, "%zu", i);
		if (json_object_get(label2id, x->labels[i]))
			return rt_fail(err, RT_INVALID, "two classes are called '%s'", x->labels[i]);
		if (set(id2label, id, json_string(x->labels[i])) < 0 ||
		    set(label2id, x->labels[i], json_integer((json_int_t)i)) < 0)
			return rt_fail(err, RT_INVALID, "the label '%s' cannot be written", x->labels[i]);
	}
	return 0;
}

static int write_config(const struct rt_export *x, const char *dir, struct rt_err *err)
{
	json_t *config = json_deep_copy(x->config), *names;
	const char *origin = json_string_value(json_object_get(x->config, "_name_or_path"));

	if (!config)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the checkpoint");
	names = architectures(x, err);
	if (!names || set(config, "architectures", names) < 0 || set_labels(config, x, err) < 0) {
		json_decref(config);
		return -1;
	}
	json_object_del(config,
			"num_labels"); /* the two maps say it; a second number could contradict them */
	json_object_del(config, "_num_labels");
	if (origin && (origin[0] == '/' || origin[0] == '.'))
		json_object_del(config, "_name_or_path"); /* somebody's folder */
	set(config, "problem_type", json_string("single_label_classification"));
	/* transformers 5 says dtype where 4 says torch_dtype; either reads the other's */
	if (json_object_get(config, "dtype"))
		set(config, "dtype", json_string("float32"));
	if (json_object_get(config, "torch_dtype") || !json_object_get(config, "dtype"))
		set(config, "torch_dtype", json_string("float32"));
	return write_json(dir, "config.json", config, err);
}

static int copy_file(const char *from_dir, const char *name, const char *dir, bool *ret_found,
		     struct rt_err *err)
{
	char *from = rt_path_join(from_dir, name);
	struct rt_buf bytes = RT_BUF_INIT;
	int rc = 0;

	*ret_found = false;
	if (!from)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the checkpoint");
	if (rt_file_exists(from)) {
		*ret_found = true;
		rc = rt_file_read(from, TOKENIZER_MAX_BYTES, &bytes, err);
		if (rc == 0)
			rc = write_file(dir, name, &bytes, err);
	}
	rt_buf_release(&bytes);
	free(from);
	return rc;
}

/* Byte for byte, so that whoever reads the checkpoint reads the tokenizer that the student was trained with. */
static int copy_tokenizer(const struct rt_export *x, const char *dir, struct rt_err *err)
{
	/* the first of these that are there make a tokenizer; the others go along */
	static const struct {
		const char *name;
		bool makes_one;
	} files[] = {
		{ "tokenizer.json", true },
		{ "vocab.txt", true },
		{ "vocab.json", true },
		{ "sentencepiece.bpe.model", true },
		{ "spiece.model", true },
		{ "spm.model", true },
		{ "merges.txt", false },
		{ "tokenizer_config.json", false },
		{ "special_tokens_map.json", false },
		{ "added_tokens.json", false },
	};
	bool any = false;

	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		bool found;

		if (copy_file(x->tokenizer_dir, files[i].name, dir, &found, err) < 0)
			return -1;
		any = any || (found && files[i].makes_one);
	}
	if (!any)
		return rt_fail(err, RT_NOT_FOUND,
			       "%s has no tokenizer: looked for tokenizer.json and vocabulary files",
			       x->tokenizer_dir);
	return 0;
}

/* A number for the Trainer's log: null where it is not known. */
static json_t *real(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

/* The log as the Trainer keeps it: a training entry and an evaluation entry for every epoch. */
static json_t *log_history(const struct rt_export *x)
{
	json_t *log = json_array();

	for (size_t i = 0; i < x->epoch_count; i++) {
		const struct rt_epoch_record *e = &x->epochs[i];
		json_t *train = json_pack("{s:f, s:o, s:o, s:I}", "epoch", (double)e->epoch, "learning_rate",
					  real(e->learning_rate), "loss", real(e->train_loss), "step",
					  (json_int_t)e->step);
		json_t *eval = json_pack("{s:f, s:o, s:o, s:I}", "epoch", (double)e->epoch, "eval_accuracy",
					 real(e->eval_accuracy), "eval_loss", real(e->eval_loss), "step",
					 (json_int_t)e->step);

		if (isfinite(e->train_ce_loss))
			set(train, "ce_loss", json_real(e->train_ce_loss));
		if (isfinite(e->train_kd_loss))
			set(train, "kd_loss", json_real(e->train_kd_loss));
		if (isfinite(e->eval_ce_loss))
			set(eval, "eval_ce_loss", json_real(e->eval_ce_loss));
		if (isfinite(e->eval_kd_loss))
			set(eval, "eval_kd_loss", json_real(e->eval_kd_loss));
		json_array_append_new(log, train);
		json_array_append_new(log, eval);
	}
	return log;
}

/* The Trainer refuses fields that it does not know: these are all that any of its versions has. */
static int write_state(const struct rt_export *x, const char *dir, struct rt_err *err)
{
	const struct rt_epoch_record *e = &x->epochs[x->epoch_count - 1];
	json_t *state =
		json_pack("{s:o, s:o, s:f, s:I, s:b, s:b, s:b, s:o, s:I, s:I, s:f, s:n, s:n}", "best_metric",
			  real(x->best_metric), "best_model_checkpoint",
			  x->best_checkpoint ? json_string(x->best_checkpoint) : json_null(), "epoch",
			  (double)e->epoch, "global_step", (json_int_t)e->step, "is_hyper_param_search", 0,
			  "is_local_process_zero", 1, "is_world_process_zero", 1, "log_history",
			  log_history(x), "max_steps", (json_int_t)x->max_steps, "num_train_epochs",
			  (json_int_t)x->spec->epochs, "total_flos", 0.0, "trial_name", "trial_params");

	return write_json(dir, "trainer_state.json", state, err);
}

int rt_export_checkpoint(const struct rt_export *what, const char *dir, struct rt_err *err)
{
	struct rt_buf card = RT_BUF_INIT;
	int rc;

	if (what->epoch_count == 0)
		return rt_fail(err, RT_INTERNAL, "a checkpoint without a finished epoch");
	if (write_config(what, dir, err) < 0 || copy_tokenizer(what, dir, err) < 0 ||
	    write_state(what, dir, err) < 0)
		return -1;
	rt_card_write(&card, what);
	rc = write_file(dir, "README.md", &card, err);
	rt_buf_release(&card);
	return rc;
}
