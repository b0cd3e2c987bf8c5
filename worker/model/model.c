/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/model/model.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "worker/model/params.h"
#include "worker/model/parts.h"

#define CONFIG_MAX_BYTES (16 << 20)

struct rt_model {
	const struct rt_family *family;
	struct rt_config config;
	struct rt_body body;
	struct rt_layer *layers;
	struct rt_slots slots;
	struct tc_scope *scope; /* owns the parameters */
	struct tc_params *params;
	int64_t *room; /* of a pass: starts, positions, ids; used again */
	size_t room_count;
	struct tc_rng *rng;
	uint64_t seed;
	bool trainable, bf16, gpu;
	struct rt_weights *weights; /* until the parameters are filled; NULL: none, or filled */
};

/* ---- opening ---- */

static bool same_labels(const struct rt_config *c, const char *const *labels, size_t count)
{
	if (count != c->label_count)
		return false;
	/* Quadratic, and labels are few: a set of the same size whose every name is there. */
	for (size_t i = 0; i < count; i++) {
		size_t k = 0;

		while (k < count && strcmp(c->labels[k], labels[i]) != 0)
			k++;
		if (k == count)
			return false;
	}
	return true;
}

static int replace_labels(struct rt_config *c, const char *const *labels, size_t count, struct rt_err *err)
{
	char **copy = calloc(count, sizeof *copy);

	if (!copy)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the labels");
	for (size_t i = 0; i < c->label_count; i++)
		free(c->labels[i]);
	free(c->labels);
	c->labels = copy;
	c->label_count = count;
	for (size_t i = 0; i < count; i++) {
		copy[i] = strdup(labels[i]);
		if (!copy[i])
			return rt_fail(err, RT_NO_MEMORY, "no memory for the labels");
	}
	return 0;
}

static int read_config(struct rt_model *m, const char *dir, struct rt_err *err)
{
	char *path = rt_path_join(dir, "config.json");
	json_t *json = NULL;
	int rc = -1;

	if (!path)
		return rt_fail(err, RT_NO_MEMORY, "no memory to open the model");
	json = rt_json_read(path, CONFIG_MAX_BYTES, err);
	if (!json)
		goto out;
	if (!json_is_object(json)) {
		rt_fail(err, RT_INVALID, "%s is not a JSON object", path);
		goto out;
	}
	m->family = rt_family_find(json, err);
	if (m->family)
		rc = rt_config_read(json, &m->family->config, &m->config, err);
out:
	json_decref(json);
	free(path);
	return rc;
}

static int check_options(const struct rt_model_options *o, struct rt_err *err)
{
	if (o->precision == RT_PRECISION_FP16)
		return rt_fail(err, RT_UNSUPPORTED, "fp16 is not supported on a CPU: use fp32 or bf16");
	if (o->labels && o->label_count < 2)
		return rt_fail(err, RT_INVALID, "a classifier needs at least 2 labels (got %zu)",
			       o->label_count);
	return 0;
}

/* Everything but the numbers: what the parameters are, and where in the files they stand. */
static int open_parts(struct rt_model *m, const char *dir, const struct rt_model_options *o,
		      struct rt_model_report *report, struct rt_err *err)
{
	bool new_classes;

	if (check_options(o, err) < 0 || read_config(m, dir, err) < 0)
		return -1;
	new_classes = o->labels && !same_labels(&m->config, o->labels, o->label_count);
	if (new_classes && replace_labels(&m->config, o->labels, o->label_count, err) < 0)
		return -1;
	if (m->config.label_count < 2)
		return rt_fail(err, RT_UNSUPPORTED,
			       "config.json: one label means regression, which is not supported: a "
			       "classifier has at least 2");
	m->seed = o->seed;
	m->trainable = o->trainable;
	m->bf16 = o->precision == RT_PRECISION_BF16;
	m->layers = calloc((size_t)(m->config.groups * m->config.inner), sizeof *m->layers);
	m->gpu = o->gpu;
	m->rng = tc_rng_new(o->seed);
	m->scope = tc_scope_open(NULL, rt_model_scope_flags(m));
	if (!m->layers || !m->rng || !m->scope)
		return rt_fail(err, RT_NO_MEMORY, "no memory to open the model");
	if (rt_slots_list(m->family, &m->config, &m->body, m->layers, &m->slots, err) < 0)
		return -1;
	if (o->init == RT_INIT_PRETRAINED &&
	    (rt_weights_open(dir, &m->weights, err) < 0 ||
	     rt_slots_match(&m->slots, m->family, m->weights, new_classes, report, err) < 0))
		return -1;
	return rt_slots_report(&m->slots, report, err);
}

int rt_model_load(struct rt_model *m, struct rt_err *err)
{
	if (m->params)
		return 0;
	m->params = rt_slots_make(&m->slots, m->scope,
				  (m->trainable ? TC_PARAMS_TRAIN : 0) | (m->bf16 ? TC_PARAMS_BF16 : 0), err);
	if (!m->params || rt_slots_fill(&m->slots, m->family, &m->config, m->scope, m->rng, err) < 0)
		return -1;
	for (size_t i = 0; i < m->slots.count; i++)
		m->slots.list[i].found = NULL;
	rt_weights_close(m->weights);
	m->weights = NULL;
	/* The same dropout whether or not something was drawn to initialise. */
	if (tc_rng_seed(m->rng, m->seed, err) < 0 || tc_params_ready(m->scope, m->params, err) < 0)
		return -1;
	return 0;
}

int rt_model_open(const char *dir, const struct rt_model_options *o, struct rt_model **ret,
		  struct rt_model_report *report, struct rt_err *err)
{
	struct rt_model *m = calloc(1, sizeof *m);
	struct rt_model_report found = { 0 };

	if (!m)
		return rt_fail(err, RT_NO_MEMORY, "no memory to open the model");
	if (open_parts(m, dir, o, &found, err) < 0 || (!o->weights_later && rt_model_load(m, err) < 0)) {
		rt_model_report_release(&found);
		rt_model_close(m);
		return -1;
	}
	if (report)
		*report = found;
	else
		rt_model_report_release(&found);
	*ret = m;
	return 0;
}

void rt_model_close(struct rt_model *m)
{
	if (!m)
		return;
	tc_scope_close(m->scope);
	tc_params_free(m->params);
	tc_rng_free(m->rng);
	rt_weights_close(m->weights);
	free(m->room);
	rt_slots_release(&m->slots);
	free(m->layers);
	rt_config_release(&m->config);
	free(m);
}

static void release_names(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

void rt_model_report_release(struct rt_model_report *r)
{
	release_names(r->missing, r->missing_count);
	release_names(r->unexpected, r->unexpected_count);
	release_names(r->initialised, r->initialised_count);
	memset(r, 0, sizeof *r);
}

/* ---- running ---- */

static int check_row(struct tc_scope *s, const struct rt_model *m, const struct rt_batch *b, int64_t row)
{
	const struct rt_config *c = &m->config;
	int64_t length = b->lengths ? b->lengths[row] : b->width;

	if (length < 1 || length > b->width) {
		tc_fail(s, RT_INVALID, "row %lld has length %lld; a row has 1 to %lld tokens", (long long)row,
			(long long)length, (long long)b->width);
		return -1;
	}
	for (int64_t i = 0; i < b->width; i++) {
		int64_t id = b->input_ids[row * b->width + i];
		int64_t type = b->token_type_ids ? b->token_type_ids[row * b->width + i] : 0;

		if (id < 0 || id >= c->vocab_size) {
			tc_fail(s, RT_INVALID,
				"row %lld, position %lld: id %lld is outside the model's vocabulary of %lld",
				(long long)row, (long long)i, (long long)id, (long long)c->vocab_size);
			return -1;
		}
		if (type < 0 || (c->type_vocab_size > 0 && type >= c->type_vocab_size)) {
			tc_fail(s, RT_INVALID,
				"row %lld, position %lld: token type %lld; the model has %lld types",
				(long long)row, (long long)i, (long long)type, (long long)c->type_vocab_size);
			return -1;
		}
	}
	return 0;
}

static int check_batch(struct tc_scope *s, const struct rt_model *m, const struct rt_batch *b)
{
	if (b->rows < 1 || b->width < 1) {
		tc_fail(s, RT_INVALID, "a batch needs at least one row and one token");
		return -1;
	}
	if (b->width > rt_model_max_length(m)) {
		tc_fail(s, RT_INVALID, "rows of %lld tokens are longer than the %lld the model allows",
			(long long)b->width, (long long)rt_model_max_length(m));
		return -1;
	}
	for (int64_t row = 0; row < b->rows; row++) {
		if (check_row(s, m, b, row) < 0)
			return -1;
	}
	return 0;
}

/* What the batch is without its padding, in m->room: starts (rows + 1), then ids, types, positions in the row, and rows of the table
 * of positions (N each). */
static int pack(struct tc_scope *s, struct rt_model *m, const struct rt_batch *b, int64_t *ret_tokens)
{
	const int64_t pad = m->config.pad_id;
	size_t want = (size_t)(b->rows + 1 + 4 * b->rows * b->width);
	int64_t *starts, *ids, *types, *places, *positions, n = 0;

	if (want > m->room_count) {
		int64_t *grown = reallocarray(m->room, want, sizeof *grown);

		if (!grown) {
			tc_fail(s, RT_NO_MEMORY, "no memory for a batch");
			return -1;
		}
		m->room = grown;
		m->room_count = want;
	}
	starts = m->room;
	starts[0] = 0;
	for (int64_t row = 0; row < b->rows; row++)
		starts[row + 1] = starts[row] + (b->lengths ? b->lengths[row] : b->width);
	ids = starts + b->rows + 1;
	types = ids + starts[b->rows];
	places = types + starts[b->rows];
	positions = places + starts[b->rows];
	for (int64_t row = 0; row < b->rows; row++) {
		int64_t seen = 0;

		for (int64_t i = 0; i < starts[row + 1] - starts[row]; i++, n++) {
			int64_t at = row * b->width + i;

			ids[n] = b->input_ids[at];
			types[n] = b->token_type_ids ? b->token_type_ids[at] : 0;
			places[n] = i;
			positions[n] = !m->family->positions_after_pad ? i
				       : ids[n] == pad		       ? pad
								       : pad + ++seen;
		}
	}
	*ret_tokens = n;
	return 0;
}

static int start_pass(struct tc_scope *s, struct rt_pass *p, struct rt_model *m, const struct rt_batch *b)
{
	const int64_t *ids;
	int64_t n;

	if (pack(s, m, b, &n) < 0)
		return -1;
	p->tokens = n;
	p->starts = m->room;
	ids = m->room + b->rows + 1;
	p->positions = ids + 2 * n;
	p->first = tc_from_data(s, TC_I64, 1, &b->rows, p->starts);
	p->input_ids = tc_from_data(s, TC_I64, 1, &n, ids);
	p->position_ids = tc_from_data(s, TC_I64, 1, &n, ids + 3 * n);
	p->type_ids = b->token_type_ids && m->config.type_vocab_size > 0
			      ? tc_from_data(s, TC_I64, 1, &n, ids + n)
			      : NULL;
	return tc_failed(s) ? -1 : 0;
}

/* x (N, H) as (rows, width, H), with zeros for padding. */
static void show(struct tc_scope *s, const struct rt_model *m, const struct rt_pass *p, struct tc_tensor *x,
		 struct tc_tensor **to)
{
	const struct rt_batch *b = p->batch;
	int64_t hidden = m->config.hidden_size;
	struct tc_tensor **rows = calloc((size_t)(2 * b->rows), sizeof *rows);
	size_t n = 0;

	if (!rows) {
		tc_fail(s, RT_NO_MEMORY, "no memory for hidden states");
		return;
	}
	for (int64_t r = 0; r < b->rows; r++) {
		int64_t length = p->starts[r + 1] - p->starts[r];

		rows[n++] = tc_narrow(s, x, 0, p->starts[r], length);
		if (length < b->width)
			rows[n++] = tc_zeros(s, TC_F32, 2, (int64_t[]){ b->width - length, hidden });
	}
	*to = tc_reshape(s, tc_cat(s, rows, n, 0), 3, (int64_t[]){ b->rows, b->width, hidden });
	free(rows);
}

/* Moves what a layer made out of its scope. */
static struct rt_hidden keep(struct tc_scope *s, struct rt_hidden x)
{
	bool same = x.low == x.full;

	x.full = tc_keep(s, x.full);
	x.low = same ? x.full : tc_keep(s, x.low);
	return x;
}

/* Layer i: the stored layers of its group, one after the other. traced: all tokens are wanted from every layer. */
static struct rt_hidden run_layers(struct tc_scope *s, struct rt_pass *p, const struct rt_model *m, int64_t i,
				   bool traced, struct rt_hidden x)
{
	const struct rt_config *c = &m->config;
	int64_t group = (int64_t)((double)i / ((double)c->layers / (double)c->groups));

	p->layer = i;
	for (int64_t k = 0; k < c->inner; k++) {
		/* A scope a layer: without a tape its temporaries go at once. */
		struct tc_scope *inner = tc_scope_open(s, 0);

		p->last = !traced && m->family->first_token_last && i == c->layers - 1 && k == c->inner - 1;
		x = keep(s, m->family->run_layer(inner, p, &m->layers[group * c->inner + k], x));
		tc_scope_close(inner);
	}
	return x;
}

static struct tc_tensor *forward(struct tc_scope *s, struct rt_model *m, const struct rt_batch *b,
				 bool training, struct tc_tensor **hidden, struct tc_tensor **pooled)
{
	struct rt_pass p = { .family = m->family,
			     .config = &m->config,
			     .body = &m->body,
			     .batch = b,
			     .rng = m->rng,
			     .training = training,
			     .bf16 = m->bf16 };
	struct tc_tensor *logits;
	struct rt_hidden x;

	assert(m->params); /* rt_model_load */
	if (tc_failed(s) || check_batch(s, m, b) < 0 || start_pass(s, &p, m, b) < 0)
		return NULL;
	x = m->family->embed(s, &p);
	if (hidden)
		show(s, m, &p, x.full, &hidden[0]);
	for (int64_t i = 0; i < m->config.layers; i++) {
		x = run_layers(s, &p, m, i, hidden != NULL, x);
		if (i == m->config.layers - 1 && m->family->finish)
			x = m->family->finish(s, &p, x);
		if (hidden)
			show(s, m, &p, x.full, &hidden[i + 1]);
	}
	logits = m->family->head(s, &p, x.full);
	if (pooled)
		*pooled = p.pooled;
	return logits;
}

struct tc_tensor *rt_model_forward(struct tc_scope *s, struct rt_model *m, const struct rt_batch *b,
				   bool training)
{
	return forward(s, m, b, training, NULL, NULL);
}

struct tc_tensor *rt_model_forward_trace(struct tc_scope *s, struct rt_model *m, const struct rt_batch *b,
					 struct tc_tensor **hidden, struct tc_tensor **pooled)
{
	return forward(s, m, b, false, hidden, pooled);
}

/* ---- saving ---- */

/* A parameter's numbers in this machine's memory: its own, or read into *at, which then moves behind them. NULL and err. */
static const void *host_data(const struct rt_model *m, const struct rt_slot *slot, float **at,
			     struct rt_err *err)
{
	const void *data = tc_data(*slot->at);
	size_t n = (size_t)tc_numel(*slot->at);
	struct tc_scope *s;
	int rc;

	if (data)
		return data;
	s = tc_scope_open(NULL, TC_NO_GRAD | rt_model_scope_flags(m));
	rc = tc_read(s, *slot->at, TC_F32, *at, n, err);
	tc_scope_close(s);
	if (rc < 0)
		return NULL;
	data = *at;
	*at += n;
	return data;
}

int rt_model_save(const struct rt_model *m, const char *path, struct rt_err *err)
{
	struct rt_tensor *list = calloc(m->slots.count, sizeof *list);
	float *room = NULL, *at;
	size_t total = 0;
	int rc = -1;

	for (size_t i = 0; m->gpu && i < m->slots.count; i++)
		total += (size_t)tc_numel(*m->slots.list[i].at);
	at = room = malloc((total + 1) * sizeof *room);
	if (!list || !room) {
		rt_fail(err, RT_NO_MEMORY, "no memory to save the model");
		goto out;
	}
	for (size_t i = 0; i < m->slots.count; i++) {
		const struct rt_slot *slot = &m->slots.list[i];

		list[i] = (struct rt_tensor){
			.name = slot->name,
			.dtype = RT_DTYPE_F32,
			.ndim = slot->ndim,
			.data = host_data(m, slot, &at, err),
			.size_bytes = (size_t)tc_numel(*slot->at) * sizeof(float),
		};
		if (!list[i].data)
			goto out;
		memcpy(list[i].shape, slot->shape, sizeof slot->shape);
	}
	rc = rt_safetensors_write(path, list, m->slots.count, NULL, 0, err);
out:
	free(list);
	free(room);
	return rc;
}

/* ---- what it is ---- */

int rt_model_scope_flags(const struct rt_model *m)
{
	return m->gpu ? TC_GPU : 0;
}

const char *rt_model_family(const struct rt_model *m)
{
	return m->family->model_type;
}

const char *rt_model_architecture(const struct rt_model *m)
{
	return m->family->architecture;
}

int64_t rt_model_layer_count(const struct rt_model *m)
{
	return m->config.layers;
}

int64_t rt_model_hidden_size(const struct rt_model *m)
{
	return m->config.hidden_size;
}

int64_t rt_model_max_length(const struct rt_model *m)
{
	return m->config.max_positions - (m->family->positions_after_pad ? m->config.pad_id + 1 : 0);
}

int64_t rt_model_pad_id(const struct rt_model *m)
{
	return m->config.pad_id < 0 ? 0 : m->config.pad_id;
}

int64_t rt_model_vocab_size(const struct rt_model *m)
{
	return m->config.vocab_size;
}

int64_t rt_model_type_count(const struct rt_model *m)
{
	return m->config.type_vocab_size;
}

bool rt_model_uses_token_types(const struct rt_model *m)
{
	return m->family->token_types;
}

size_t rt_model_label_count(const struct rt_model *m)
{
	return m->config.label_count;
}

const char *rt_model_label(const struct rt_model *m, size_t i)
{
	return m->config.labels[i];
}

size_t rt_model_param_count(const struct rt_model *m)
{
	return m->slots.count;
}

struct rt_param rt_model_param(const struct rt_model *m, size_t i)
{
	const struct rt_slot *slot = &m->slots.list[i];

	return (struct rt_param){ slot->name, *slot->at, slot->decay };
}

struct tc_params *rt_model_params(struct rt_model *m)
{
	return m->params;
}

struct tc_rng *rt_model_rng(struct rt_model *m)
{
	return m->rng;
}

const json_t *rt_model_config(const struct rt_model *m)
{
	return m->config.json;
}
