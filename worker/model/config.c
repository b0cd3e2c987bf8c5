/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/model/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"

#define LABELS_MAX 10000 /* as many as a data set may have; a new head costs memory for each */
#define STORED_MAX 1000	 /* layers with weights of their own */

static int read_field(const json_t *json, const struct rt_config_field *f, struct rt_config *c,
		      struct rt_err *err)
{
	void *to = (char *)c + f->offset;
	double v = isnan(f->fallback) ? c->hidden_dropout : f->fallback;
	int64_t i;

	if (f->kind == RT_FIELD_BOOL) {
		*(bool *)to = v != 0;
		if (rt_json_get_bool(json, f->key, to, err) < 0)
			return rt_fail_in(err, "config.json");
		return 0;
	}
	if (f->kind == RT_FIELD_INT && isnan(f->fallback))
		memcpy(&i, to, sizeof i);
	else
		i = (int64_t)v;
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

/* All that the library knows but prelu and xielu, which have parameters of their own. */
static const struct {
	const char *name;
	enum rt_activation act;
} activations[] = {
	{ "gelu", RT_ACT_GELU },
	{ "gelu_python", RT_ACT_GELU },
	{ "gelu_new", RT_ACT_GELU_TANH },
	{ "gelu_fast", RT_ACT_GELU_TANH },
	{ "gelu_accurate", RT_ACT_GELU_TANH },
	{ "gelu_pytorch_tanh", RT_ACT_GELU_TANH },
	{ "gelu_python_tanh", RT_ACT_GELU_TANH },
	{ "gelu_10", RT_ACT_GELU_CLIPPED },
	{ "quick_gelu", RT_ACT_QUICK_GELU },
	{ "relu", RT_ACT_RELU },
	{ "relu2", RT_ACT_RELU_SQUARED },
	{ "relu6", RT_ACT_RELU6 },
	{ "leaky_relu", RT_ACT_LEAKY_RELU },
	{ "silu", RT_ACT_SILU },
	{ "swish", RT_ACT_SILU },
	{ "hardswish", RT_ACT_HARDSWISH },
	{ "mish", RT_ACT_MISH },
	{ "tanh", RT_ACT_TANH },
	{ "sigmoid", RT_ACT_SIGMOID },
	{ "sqrtsoftplus", RT_ACT_SQRT_SOFTPLUS },
	{ "laplace", RT_ACT_LAPLACE },
	{ "linear", RT_ACT_LINEAR },
};

int rt_config_activation(const json_t *json, const char *key, const char *fallback, enum rt_activation *ret,
			 struct rt_err *err)
{
	const size_t n = sizeof activations / sizeof *activations;
	struct rt_buf known = RT_BUF_INIT;
	const char *name = fallback;

	if (rt_json_get_str(json, key, &name, err) < 0)
		return rt_fail_in(err, "config.json");
	for (size_t i = 0; i < n; i++) {
		if (strcmp(name, activations[i].name) == 0) {
			*ret = activations[i].act;
			return 0;
		}
	}
	for (size_t i = 0; i < n; i++)
		rt_buf_fmt(&known, "%s%s", i ? ", " : "", activations[i].name);
	rt_fail(err, RT_UNSUPPORTED, "config.json: %s '%.64s' is not known (known are %s)", key, name,
		rt_buf_text(&known));
	rt_buf_release(&known);
	return -1;
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

/* The class number that a key of id2label spells, as Python's int() reads it (" +01 " is 1), or -1. */
static int64_t class_of(const char *key, size_t count)
{
	char *end;
	long long id = strtoll(key, &end, 10);

	if (end == key || end[strspn(end, " \t\n\v\f\r")] || id < 0 || (unsigned long long)id >= count)
		return -1;
	return id;
}

static int name_label(struct rt_config *c, const char *key, const json_t *name, struct rt_err *err)
{
	int64_t id = class_of(key, c->label_count);

	if (id < 0)
		return rt_fail(err, RT_INVALID,
			       "config.json: id2label has %zu labels, so its keys must be \"0\" to \"%zu\" "
			       "(got \"%.64s\")",
			       c->label_count, c->label_count - 1, key);
	if (c->labels[id])
		return rt_fail(err, RT_INVALID, "config.json: id2label names class %lld twice",
			       (long long)id);
	if (!json_is_string(name) || strlen(json_string_value(name)) != json_string_length(name))
		return rt_fail(err, RT_INVALID, "config.json: id2label/%.64s must be a text", key);
	c->labels[id] = strdup(json_string_value(name));
	return c->labels[id] ? 0 : rt_fail(err, RT_NO_MEMORY, "no memory for the labels");
}

static int read_labels(const json_t *json, struct rt_config *c, struct rt_err *err)
{
	json_t *names = json_object_get(json, "id2label");
	int64_t count = 2, named;
	const char *key;
	json_t *value;

	if (names && !json_is_null(names) && !json_is_object(names))
		return rt_fail(err, RT_INVALID, "config.json: id2label must be an object");
	names = json_is_object(names) ? names : NULL;
	named = (int64_t)json_object_size(names);
	count = names ? named : count;
	if (rt_json_get_i64(json, "num_labels", &count, err) < 0)
		return rt_fail_in(err, "config.json");
	if (count != named)
		names = NULL; /* as in the library, the number counts, and the names are LABEL_0… */
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
			if (name_label(c, key, value, err) < 0)
				return -1;
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
	if (c->groups * c->inner > STORED_MAX)
		return rt_fail(
			err, RT_INVALID,
			"config.json: num_hidden_groups * inner_group_num must be at most %d (got %lld)",
			STORED_MAX, (long long)(c->groups * c->inner));
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
	if (json_is_null(json_object_get(json, "pad_token_id")))
		c.pad_id = -1;
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
