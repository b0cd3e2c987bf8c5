/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/model/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define LABELS_MAX 1000000

static int read_field(const json_t *json, const struct rt_config_field *f, struct rt_config *c,
		      struct rt_err *err)
{
	void *to = (char *)c + f->offset;
	double v = isnan(f->fallback) ? c->hidden_dropout : f->fallback;
	int64_t i = (int64_t)v;

	if (f->kind == RT_FIELD_BOOL) {
		*(bool *)to = v != 0;
		if (rt_json_get_bool(json, f->key, to, err) < 0)
			return rt_fail_in(err, "config.json");
		return 0;
	}
	if (f->kind == RT_FIELD_INT ? rt_json_get_i64(json, f->key, &i, err) < 0
				    : rt_json_get_real(json, f->key, &v, err) < 0)
		return rt_fail_in(err, "config.json");
	if (f->kind == RT_FIELD_INT)
		v = (double)i;
	if (!(v >= f->least && v <= f->most))
		return rt_fail(err, RT_INVALID, "config.json: %s must be between %g and %g (got %g)", f->key,
			       f->least, f->most, v);
	if (f->kind == RT_FIELD_INT)
		memcpy(to, &i, sizeof i);
	else
		memcpy(to, &v, sizeof v);
	return 0;
}

int rt_config_activation(const json_t *json, const char *key, const char *fallback, enum rt_activation *ret,
			 struct rt_err *err)
{
	static const struct {
		const char *name;
		enum rt_activation act;
	} known[] = {
		{ "gelu", RT_ACT_GELU },	   { "gelu_python", RT_ACT_GELU },
		{ "gelu_new", RT_ACT_GELU_TANH },  { "gelu_pytorch_tanh", RT_ACT_GELU_TANH },
		{ "gelu_fast", RT_ACT_GELU_TANH }, { "relu", RT_ACT_RELU },
		{ "silu", RT_ACT_SILU },	   { "swish", RT_ACT_SILU },
		{ "tanh", RT_ACT_TANH },
	};
	const char *name = fallback;

	if (rt_json_get_str(json, key, &name, err) < 0)
		return rt_fail_in(err, "config.json");
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (strcmp(name, known[i].name) == 0) {
			*ret = known[i].act;
			return 0;
		}
	}
	return rt_fail(err, RT_UNSUPPORTED,
		       "config.json: %s '%s' is not known (known are gelu, gelu_new, gelu_pytorch_tanh, "
		       "gelu_fast, relu, silu, "
		       "swish, tanh)",
		       key, name);
}

int rt_config_refuse_true(const json_t *json, const char *key, struct rt_err *err)
{
	bool v = false;

	if (rt_json_get_bool(json, key, &v, err) < 0)
		return rt_fail_in(err, "config.json");
	if (v)
		return rt_fail(err, RT_UNSUPPORTED, "config.json: %s true is not supported", key);
	return 0;
}

/* Fields with one value that we compute; any other is refused. */
static int refuse_others(const json_t *json, struct rt_err *err)
{
	static const struct {
		const char *key, *only;
	} words[] = {
		{ "position_embedding_type", "absolute" },
		{ "problem_type", "single_label_classification" },
	};
	static const char *const must_be_false[] = { "is_decoder", "add_cross_attention",
						     "is_encoder_decoder" };
	static const char *const must_be_empty[] = { "pruned_heads", "quantization_config", "adapters" };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		const char *v = words[i].only;

		if (rt_json_get_str(json, words[i].key, &v, err) < 0)
			return rt_fail_in(err, "config.json");
		if (strcmp(v, words[i].only) != 0)
			return rt_fail(err, RT_UNSUPPORTED,
				       "config.json: %s '%s' is not supported, only '%s'", words[i].key, v,
				       words[i].only);
	}
	for (size_t i = 0; i < sizeof must_be_false / sizeof *must_be_false; i++) {
		if (rt_config_refuse_true(json, must_be_false[i], err) < 0)
			return -1;
	}
	for (size_t i = 0; i < sizeof must_be_empty / sizeof *must_be_empty; i++) {
		const json_t *v = json_object_get(json, must_be_empty[i]);

		if (v && !json_is_null(v) && (!json_is_object(v) || json_object_size(v) > 0))
			return rt_fail(err, RT_UNSUPPORTED, "config.json: %s is not supported",
				       must_be_empty[i]);
	}
	return 0;
}

/* The class number that a key of id2label spells, or -1. */
static int64_t class_of(const char *key, size_t count)
{
	char again[32];
	char *end;
	long long id = strtoll(key, &end, 10);

	if (end == key || *end || id < 0 || (unsigned long long)id >= count)
		return -1;
	snprintf(again, sizeof again, "%lld", id);
	return strcmp(again, key) == 0 ? id : -1;
}

static int read_labels(const json_t *json, struct rt_config *c, struct rt_err *err)
{
	json_t *names = json_object_get(json, "id2label");
	int64_t count = 2;
	const char *key;
	json_t *value;

	if (names && !json_is_null(names) && !json_is_object(names))
		return rt_fail(err, RT_INVALID, "config.json: id2label must be an object");
	if (!names || json_is_null(names)) {
		if (rt_json_get_i64(json, "num_labels", &count, err) < 0)
			return rt_fail_in(err, "config.json");
		names = NULL;
	} else {
		count = (int64_t)json_object_size(names);
	}
	if (count < 1 || count > LABELS_MAX)
		return rt_fail(err, RT_INVALID,
			       "config.json: the number of labels must be between 1 and %d (got %lld)",
			       LABELS_MAX, (long long)count);
	c->labels = calloc((size_t)count, sizeof *c->labels);
	if (!c->labels)
		return rt_fail(err, RT_NO_MEMORY, "no memory for %lld labels", (long long)count);
	c->label_count = (size_t)count;
	if (names) {
		json_object_foreach(names, key, value)
		{
			int64_t id = class_of(key, c->label_count);

			if (id < 0)
				return rt_fail(err, RT_INVALID,
					       "config.json: id2label has %zu labels, so its keys must be "
					       "\"0\" to \"%zu\" (got \"%s\")",
					       c->label_count, c->label_count - 1, key);
			if (!json_is_string(value) ||
			    strlen(json_string_value(value)) != json_string_length(value))
				return rt_fail(err, RT_INVALID, "config.json: id2label/%s must be a text",
					       key);
			c->labels[id] = strdup(json_string_value(value));
			if (!c->labels[id])
				return rt_fail(err, RT_NO_MEMORY, "no memory for the labels");
		}
		return 0;
	}
	for (size_t i = 0; i < c->label_count; i++) {
		if (asprintf(&c->labels[i], "LABEL_%zu", i) < 0) {
			c->labels[i] = NULL;
			return rt_fail(err, RT_NO_MEMORY, "no memory for the labels");
		}
	}
	return 0;
}

static int check_together(const struct rt_config *c, struct rt_err *err)
{
	if (c->hidden_size % c->heads != 0)
		return rt_fail(
			err, RT_INVALID,
			"config.json: the hidden size %lld must be a multiple of the number of heads %lld",
			(long long)c->hidden_size, (long long)c->heads);
	if (c->layers % c->groups != 0)
		return rt_fail(err, RT_INVALID,
			       "config.json: the number of layers %lld must be a multiple of the number of "
			       "groups %lld",
			       (long long)c->layers, (long long)c->groups);
	if (c->pad_id >= c->vocab_size)
		return rt_fail(err, RT_INVALID,
			       "config.json: pad_token_id %lld is outside the vocabulary of %lld",
			       (long long)c->pad_id, (long long)c->vocab_size);
	return 0;
}

int rt_config_read(json_t *json, const struct rt_config_reader *reader, struct rt_config *ret,
		   struct rt_err *err)
{
	struct rt_config c = { .inner = 1, .absolute_positions = true };

	for (const struct rt_config_field *f = reader->fields; f->key; f++) {
		if (read_field(json, f, &c, err) < 0)
			goto fail;
	}
	c.attention_out_dropout = c.ffn_out_dropout = c.hidden_dropout;
	if (!c.embedding_size)
		c.embedding_size = c.hidden_size;
	if (!c.groups)
		c.groups = c.layers;
	if (refuse_others(json, err) < 0 ||
	    rt_config_activation(json, reader->activation_key, reader->activation, &c.activation, err) < 0 ||
	    (reader->finish && reader->finish(json, &c, err) < 0) || check_together(&c, err) < 0 ||
	    read_labels(json, &c, err) < 0)
		goto fail;
	c.json = json_incref(json);
	*ret = c;
	return 0;
fail:
	rt_config_release(&c);
	return -1;
}

void rt_config_release(struct rt_config *c)
{
	for (size_t i = 0; i < c->label_count; i++)
		free(c->labels[i]);
	free(c->labels);
	free(c->modern.global);
	json_decref(c->json);
	memset(c, 0, sizeof *c);
}
