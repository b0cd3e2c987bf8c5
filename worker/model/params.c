/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/model/params.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"

#define NAMES_SHOWN 4 /* of a list in a message; the report has them all */

/* ---- listing ---- */

static int64_t dim_of(enum rt_dim d, const struct rt_config *c)
{
	switch (d) {
	case RT_DIM_NONE:
		return 0;
	case RT_DIM_HIDDEN:
		return c->hidden_size;
	case RT_DIM_INTERMEDIATE:
		return c->intermediate_size;
	case RT_DIM_VOCAB:
		return c->vocab_size;
	case RT_DIM_POSITIONS:
		return c->max_positions;
	case RT_DIM_TYPES:
		return c->type_vocab_size;
	case RT_DIM_LABELS:
		return (int64_t)c->label_count;
	case RT_DIM_EMBEDDING:
		return c->embedding_size;
	case RT_DIM_QKV:
		return 3 * c->hidden_size;
	case RT_DIM_GATED:
		return 2 * c->intermediate_size;
	case RT_DIM_RELATIVE:
		return c->relative.span ? 2 * c->relative.span : c->relative.buckets;
	case RT_DIM_HEADS:
		return c->heads;
	case RT_DIM_CONV_IN:
		return c->hidden_size / c->conv_groups;
	}
	return 0;
}

static char *name_of(const char *prefix, const char *where, const char *module, const char *leaf)
{
	char *name;

	return asprintf(&name, "%s%s%s%s.%s", prefix, *prefix ? "." : "", where, module, leaf) < 0 ? NULL
												   : name;
}

/* where: "" or "encoder.layer.3."; layer: -1 for the body; base: the struct the module's offset is in. */
static int add_module(struct rt_slots *s, const struct rt_family *f, const struct rt_config *c,
		      const char *where, int64_t layer, const struct rt_module *m, void *base)
{
	struct tc_affine *to = (struct tc_affine *)((char *)base + m->offset);
	bool top = m->flags & RT_MODULE_TOP;

	for (int bias = 0; bias <= (m->kind == RT_EMBEDDING ? 0 : 1); bias++) {
		struct rt_slot *slot = &s->list[s->count];
		const char *leaf = bias ? "bias" : "weight";

		if (f->has && !f->has(c, m, layer, bias))
			continue;
		s->count++;
		*slot = (struct rt_slot){
			.name = name_of(top ? "" : f->prefix, where, m->name, leaf),
			.other = name_of(top ? f->prefix : "", where, m->name, leaf),
			.at = bias ? &to->b : &to->w,
			.ndim = bias || m->kind == RT_NORM ? 1
				: m->kind == RT_CONV	   ? 3
							   : 2,
			.shape = { dim_of(m->rows, c), dim_of(m->cols, c), c->conv_kernel },
			.kind = m->kind,
			.module = m,
			.bias = bias,
			.flags = m->flags,
			.classes = m->rows == RT_DIM_LABELS,
			.decay = !bias && m->kind != RT_NORM && !(m->flags & RT_MODULE_NO_DECAY),
		};
		if (!slot->name || !slot->other)
			return -1;
	}
	return 0;
}

static size_t modules(const struct rt_module *m)
{
	size_t n = 0;

	while (m[n].name)
		n++;
	return n;
}

int rt_slots_list(const struct rt_family *f, const struct rt_config *c, struct rt_body *body,
		  struct rt_layer *layers, struct rt_slots *ret, struct rt_err *err)
{
	int64_t stored = c->groups * c->inner;
	char where[96];
	int n;

	ret->count = 0;
	ret->list = calloc(2 * (modules(f->body) + (size_t)stored * modules(f->layer)), sizeof *ret->list);
	if (!ret->list)
		return rt_fail(err, RT_NO_MEMORY, "no memory to list the parameters");
	for (const struct rt_module *m = f->body; m->name; m++) {
		if (add_module(ret, f, c, "", -1, m, body) < 0)
			return rt_fail(err, RT_NO_MEMORY, "no memory to list the parameters");
	}
	for (int64_t i = 0; i < stored; i++) {
		n = snprintf(where, sizeof where, "%s%lld.", f->layer_prefix, (long long)(i / c->inner));
		if (f->inner_prefix)
			snprintf(where + n, sizeof where - (size_t)n, "%s%lld.", f->inner_prefix,
				 (long long)(i % c->inner));
		for (const struct rt_module *m = f->layer; m->name; m++) {
			if (add_module(ret, f, c, where, i, m, &layers[i]) < 0)
				return rt_fail(err, RT_NO_MEMORY, "no memory to list the parameters");
		}
	}
	return 0;
}

void rt_slots_release(struct rt_slots *s)
{
	for (size_t i = 0; i < s->count; i++) {
		free(s->list[i].name);
		free(s->list[i].other);
	}
	free(s->list);
	*s = (struct rt_slots){ NULL, 0 };
}

/* ---- matching ---- */

static int add_name(char ***list, size_t *count, const char *name, struct rt_err *err)
{
	char **grown = realloc(*list, (*count + 1) * sizeof *grown);

	if (grown)
		*list = grown;
	if (!grown || !(grown[*count] = strdup(name)))
		return rt_fail(err, RT_NO_MEMORY, "no memory for the list of tensors");
	++*count;
	return 0;
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n >= k && strcmp(s + n - k, end) == 0;
}

/* The tensor by this name, or by the names that LayerNorms had long ago: gamma and beta. */
static const struct rt_tensor *find_either(const struct rt_weights *w, const struct rt_slot *slot,
					   const char *name)
{
	const struct rt_tensor *t = rt_weights_find(w, name);
	char *old;

	if (t || slot->kind != RT_NORM)
		return t;
	if (asprintf(&old, "%.*s%s", (int)(strrchr(name, '.') - name), name,
		     slot->bias ? ".beta" : ".gamma") < 0)
		return NULL;
	t = rt_weights_find(w, old);
	free(old);
	return t;
}

static void shape_text(char *out, size_t size, int ndim, const int64_t *shape)
{
	size_t n = (size_t)snprintf(out, size, "(");

	for (int i = 0; i < ndim && n < size; i++)
		n += (size_t)snprintf(out + n, size - n, "%s%lld", i ? ", " : "", (long long)shape[i]);
	if (n < size)
		snprintf(out + n, size - n, ")");
}

static int check_found(const struct rt_slot *slot, struct rt_err *err)
{
	const struct rt_tensor *t = slot->found;
	char found[128], wanted[64];

	if (t->dtype != RT_DTYPE_F32 && t->dtype != RT_DTYPE_F16 && t->dtype != RT_DTYPE_BF16 &&
	    t->dtype != RT_DTYPE_F64)
		return rt_fail(err, RT_UNSUPPORTED,
			       "tensor '%s' has type %s; weights must be F32, F16, BF16 or F64", t->name,
			       rt_dtype_name(t->dtype));
	if (t->ndim == slot->ndim && memcmp(t->shape, slot->shape, (size_t)t->ndim * sizeof *t->shape) == 0)
		return 0;
	shape_text(found, sizeof found, t->ndim, t->shape);
	shape_text(wanted, sizeof wanted, slot->ndim, slot->shape);
	if (slot->classes && t->ndim == slot->ndim && (t->ndim < 2 || t->shape[1] == slot->shape[1]))
		return rt_fail(err, RT_INVALID,
			       "tensor '%s' has shape %s, wanted %s: the head has %lld classes, "
			       "config.json's id2label %lld",
			       t->name, found, wanted, (long long)t->shape[0], (long long)slot->shape[0]);
	return rt_fail(err, RT_INVALID, "tensor '%s' has shape %s, but config.json asks for %s", t->name,
		       found, wanted);
}

/* What the library leaves over without a word: the buffer that old versions saved beside the parameters. */
static bool is_ignored(const struct rt_family *f, const char *name)
{
	if (f->ignored && strstr(name, f->ignored))
		return true;
	return !f->rotary && (strcmp(name, "position_ids") == 0 || ends_with(name, ".position_ids"));
}

/* The name as of today: the library's report has it so. new: free it. */
static char *todays_name(const char *name)
{
	static const char *const old[][2] = { { "LayerNorm.gamma", "weight" }, { "LayerNorm.beta", "bias" } };
	char *out;

	for (size_t i = 0; i < sizeof old / sizeof *old; i++) {
		size_t dot = strlen("LayerNorm.");

		if (ends_with(name, old[i][0]))
			return asprintf(&out, "%.*s%s", (int)(strlen(name) - strlen(old[i][0]) + dot), name,
					old[i][1]) < 0
				       ? NULL
				       : out;
	}
	return strdup(name);
}

static int by_pointer(const void *a, const void *b)
{
	const struct rt_tensor *x = *(const struct rt_tensor *const *)a,
			       *y = *(const struct rt_tensor *const *)b;

	return x < y ? -1 : x > y;
}

static int list_unexpected(const struct rt_slots *s, const struct rt_family *f, const struct rt_weights *w,
			   struct rt_model_report *report, struct rt_err *err)
{
	const struct rt_tensor **used = calloc(s->count + 1, sizeof *used);
	size_t n = 0;
	int rc = -1;

	if (!used)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the list of tensors");
	for (size_t i = 0; i < s->count; i++) {
		if (s->list[i].found)
			used[n++] = s->list[i].found;
	}
	qsort(used, n, sizeof *used, by_pointer);
	for (size_t i = 0; i < rt_weights_count(w); i++) {
		const struct rt_tensor *t = rt_weights_at(w, i);
		char *name;
		int added;

		if (is_ignored(f, t->name) || bsearch(&t, used, n, sizeof *used, by_pointer))
			continue;
		name = todays_name(t->name);
		added = name ? add_name(&report->unexpected, &report->unexpected_count, name, err)
			     : rt_fail(err, RT_NO_MEMORY, "no memory for the list of tensors");
		free(name);
		if (added < 0)
			goto out;
	}
	rc = 0;
out:
	free(used);
	return rc;
}

/* A model saved in its wrapper; the library finds nothing in such a file either. */
static const char *wrapper_hint(const struct rt_weights *w)
{
	const char *first = rt_weights_count(w) ? rt_weights_at(w, 0)->name : "";

	if (strncmp(first, "module.", 7) == 0 || strncmp(first, "_orig_mod.", 10) == 0)
		return " (the file's names begin with module. or _orig_mod.: it was saved from a wrapped "
		       "model; save the model "
		       "inside)";
	return "";
}

int rt_slots_match(struct rt_slots *s, const struct rt_family *f, const struct rt_weights *w,
		   bool new_classes, struct rt_model_report *report, struct rt_err *err)
{
	struct rt_buf needed = RT_BUF_INIT;
	size_t needed_count = 0;

	for (size_t i = 0; i < s->count; i++) {
		struct rt_slot *slot = &s->list[i];

		slot->found = find_either(w, slot, slot->name);
		if (!slot->found)
			slot->found = find_either(w, slot, slot->other);
		if (slot->found && slot->classes && new_classes)
			continue;
		if (slot->found) {
			if (check_found(slot, err) < 0)
				goto fail;
			continue;
		}
		if (add_name(&report->missing, &report->missing_count, slot->name, err) < 0)
			goto fail;
		if (!(slot->flags & RT_MODULE_NEW) && needed_count++ < NAMES_SHOWN)
			rt_buf_fmt(&needed, "%s%s", needed.len ? ", " : "", slot->name);
	}
	if (needed_count > NAMES_SHOWN)
		rt_buf_fmt(&needed, " and %zu more", needed_count - NAMES_SHOWN);
	if (needed_count > 0) {
		rt_fail(err, RT_INVALID, "the weights lack %zu tensors of a %s encoder: %s%s", needed_count,
			f->model_type, rt_buf_text(&needed), wrapper_hint(w));
		goto fail;
	}
	if (list_unexpected(s, f, w, report, err) < 0)
		goto fail;
	for (size_t i = 0; i < s->count; i++) {
		if (s->list[i].classes && new_classes)
			s->list[i].found = NULL;
	}
	rt_buf_release(&needed);
	return 0;
fail:
	rt_buf_release(&needed);
	return -1;
}

/* A config.json of a few bytes can ask for any size; better said here than by the system, which ends the process. */
static int check_memory(const struct rt_slots *s, struct rt_err *err)
{
	const double gib = 1 << 30, there = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
	double bytes = 0;

	for (size_t i = 0; i < s->count; i++) {
		double n = sizeof(float);

		for (int d = 0; d < s->list[i].ndim; d++)
			n *= (double)s->list[i].shape[d];
		bytes += n;
	}
	if (bytes > there)
		return rt_fail(
			err, RT_NO_MEMORY,
			"config.json describes a model of %.1f GiB, and this machine has %.1f GiB of memory",
			bytes / gib, there / gib);
	return 0;
}

int rt_slots_report(const struct rt_slots *s, struct rt_model_report *report, struct rt_err *err)
{
	if (check_memory(s, err) < 0)
		return -1;
	report->parameters = 0;
	for (size_t i = 0; i < s->count; i++) {
		const struct rt_slot *slot = &s->list[i];
		int64_t n = 1;

		for (int d = 0; d < slot->ndim; d++)
			n *= slot->shape[d];
		report->parameters += n;
		if (!slot->found &&
		    add_name(&report->initialised, &report->initialised_count, slot->name, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- filling ---- */

static enum tc_dtype dtype_of(enum rt_dtype d)
{
	return d == RT_DTYPE_F64    ? TC_F64
	       : d == RT_DTYPE_F16  ? TC_F16
	       : d == RT_DTYPE_BF16 ? TC_BF16
				    : TC_F32;
}

struct tc_params *rt_slots_make(struct rt_slots *s, struct tc_scope *to, int flags, struct rt_err *err)
{
	struct tc_param_spec *specs = calloc(s->count + 1, sizeof *specs);
	struct tc_params *params;

	if (!specs) {
		rt_fail(err, RT_NO_MEMORY, "no memory to list the parameters");
		return NULL;
	}
	for (size_t i = 0; i < s->count; i++) {
		const struct rt_slot *slot = &s->list[i];

		specs[i] = (struct tc_param_spec){ .ndim = slot->ndim,
						   .matrix = slot->kind == RT_LINEAR && !slot->bias,
						   .table = slot->kind == RT_EMBEDDING,
						   .decay = slot->decay };
		memcpy(specs[i].shape, slot->shape, sizeof specs[i].shape);
	}
	params = tc_params_new(to, specs, s->count, flags);
	free(specs);
	if (!params) {
		tc_check(to, err);
		return NULL;
	}
	for (size_t i = 0; i < s->count; i++)
		*s->list[i].at = tc_params_at(params, i);
	return params;
}

/* A file's bytes may lie at any address; libtorch wants elements on their own multiples. */
static int read_slot(struct tc_scope *s, const struct rt_slot *slot, struct rt_err *err)
{
	const struct rt_tensor *t = slot->found;
	enum tc_dtype dtype = dtype_of(t->dtype);
	const void *data = t->data;
	void *moved = NULL;
	int rc;

	if ((uintptr_t)data % tc_dtype_size(dtype) != 0) {
		moved = malloc(t->size_bytes);
		if (!moved)
			return rt_fail(err, RT_NO_MEMORY, "no memory to read tensor '%s'", t->name);
		memcpy(moved, data, t->size_bytes);
		data = moved;
	}
	rc = tc_write(s, *slot->at, dtype, data, (size_t)tc_numel(*slot->at), err);
	free(moved);
	return rc;
}

/* Normal numbers of which those beyond limit are drawn again: exactly a truncated normal distribution. */
static struct tc_tensor *draw_truncated(struct tc_scope *to, const struct rt_slot *slot, struct tc_rng *rng,
					double std, double limit, struct rt_err *err)
{
	size_t n = 1, have = 0;
	struct tc_tensor *out = NULL;
	float *room;

	for (int i = 0; i < slot->ndim; i++)
		n *= (size_t)slot->shape[i];
	room = malloc((n ? n : 1) * sizeof *room);
	if (!room)
		return tc_fail(to, RT_NO_MEMORY, "no memory for tensor '%s'", slot->name);
	while (have < n) {
		const int64_t more = (int64_t)(n - have);
		struct tc_scope *s = tc_scope_open(to, TC_NO_GRAD);
		float *at = room + have;

		if (tc_read(s, tc_randn(s, rng, TC_F32, 1, &more, 0, std), TC_F32, at, n - have, err) < 0) {
			tc_scope_close(s);
			goto out;
		}
		tc_scope_close(s);
		for (int64_t i = 0; i < more; i++) {
			if (at[i] >= -limit && at[i] <= limit)
				room[have++] = at[i];
		}
	}
	out = tc_from_data(to, TC_F32, slot->ndim, slot->shape, room);
out:
	free(room);
	return out;
}

/* Vaswani et al. 2017: sine and cosine by turns, in double as the library has them. */
static struct tc_tensor *draw_sinusoidal(struct tc_scope *to, const struct rt_slot *slot)
{
	const int64_t n = slot->shape[0], width = slot->shape[1];
	float *room = malloc((size_t)(n * width) * sizeof *room);
	struct tc_tensor *out;

	if (!room)
		return tc_fail(to, RT_NO_MEMORY, "no memory for tensor '%s'", slot->name);
	for (int64_t at = 0; at < n; at++) {
		for (int64_t k = 0; k < width; k++) {
			double angle = (double)at / pow(10000, (double)(2 * (k / 2)) / (double)width);

			room[at * width + k] = (float)(k % 2 ? cos(angle) : sin(angle));
		}
	}
	out = tc_from_data(to, TC_F32, 2, slot->shape, room);
	free(room);
	return out;
}

static struct tc_tensor *draw_slot(struct tc_scope *to, const struct rt_slot *slot, const struct rt_family *f,
				   const struct rt_config *c, struct tc_rng *rng, struct rt_err *err)
{
	double std = f->init_std ? f->init_std(c, slot->module) : c->initializer_range;
	struct tc_tensor *t;

	if (slot->bias)
		return tc_zeros(to, TC_F32, slot->ndim, slot->shape);
	if (slot->kind == RT_NORM)
		return tc_ones(to, TC_F32, slot->ndim, slot->shape);
	if (c->sinusoidal_positions && slot->module->rows == RT_DIM_POSITIONS)
		return draw_sinusoidal(to, slot);
	t = c->modern.cutoff > 0 ? draw_truncated(to, slot, rng, std, c->modern.cutoff * std, err)
				 : tc_randn(to, rng, TC_F32, slot->ndim, slot->shape, 0, std);
	if (!t)
		return NULL;
	if ((slot->flags & RT_MODULE_PAD_ROW) && c->pad_id >= 0 && c->pad_id < slot->shape[0]) {
		struct tc_tensor *row = tc_select(to, t, 0, c->pad_id);
		int rc = tc_fill(to, row, 0, err);

		tc_drop(row);
		if (rc < 0)
			return NULL;
	}
	return t;
}

int rt_slots_fill(struct rt_slots *s, const struct rt_family *f, const struct rt_config *c,
		  struct tc_scope *to, struct tc_rng *rng, struct rt_err *err)
{
	for (size_t i = 0; i < s->count; i++) {
		struct rt_slot *slot = &s->list[i];
		struct tc_scope *room = tc_scope_open(to, TC_NO_GRAD);
		int rc;

		if (slot->found) {
			rc = read_slot(room, slot, err);
		} else {
			struct tc_tensor *t = draw_slot(room, slot, f, c, rng, err);

			rc = t		       ? tc_copy(room, *slot->at, t, err)
			     : tc_failed(room) ? tc_check(room, err)
					       : -1;
		}
		tc_scope_close(room);
		if (rc < 0)
			return -1;
	}
	return 0;
}
