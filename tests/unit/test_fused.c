/* SPDX-License-Identifier: Apache-2.0 */
/* Our own layers beside the same thing made of libtorch's plain ops, forward and backward, in every instruction set that this
 * machine has. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/torch/kernels.h"
#include "worker/torch/tc.h"

#define COUNT(a)   (sizeof(a) / sizeof *(a))
#define PARAMS_MAX 8

static const char *const sets[] = { "base", "avx2", "avx512" };

/* Runs body in every instruction set there is. */
static void in_every_set(void (*body)(bool bf16))
{
	for (size_t i = 0; i < COUNT(sets); i++) {
		setenv("RT_KERNELS", sets[i], 1);
		if (strcmp(rt_kernels_get()->name, sets[i]) != 0)
			continue; /* this processor lacks it */
		for (int bf16 = 0; bf16 < 2; bf16++) {
			print_message("%s, %s\n", sets[i], bf16 ? "bf16" : "fp32");
			body(bf16);
		}
	}
	unsetenv("RT_KERNELS");
	/* what stands in for them on a GPU */
	setenv("RT_TORCH_COMPOSED", "1", 1);
	for (int bf16 = 0; bf16 < 2; bf16++) {
		print_message("composed, %s\n", bf16 ? "bf16" : "fp32");
		body(bf16);
	}
	unsetenv("RT_TORCH_COMPOSED");
}

/* Parameters as fused layers take them, and the same numbers as leaves for plain ops. */
struct bench {
	struct tc_scope *s;
	struct tc_rng *rng;
	struct tc_params *params;
	struct tc_tensor *ours[PARAMS_MAX], *plain[PARAMS_MAX];
	size_t n;
	bool bf16;
};

static void open_bench(struct bench *b, bool bf16, size_t n, const struct tc_param_spec *specs)
{
	struct rt_err err = RT_ERR_INIT;

	*b = (struct bench){ .s = tc_scope_open(NULL, 0), .rng = tc_rng_new(5), .n = n, .bf16 = bf16 };
	b->params = tc_params_new(b->s, specs, n, TC_PARAMS_TRAIN | (bf16 ? TC_PARAMS_BF16 : 0));
	assert_non_null(b->params);
	for (size_t i = 0; i < n; i++) {
		struct tc_tensor *v = tc_randn(b->s, b->rng, TC_F32, specs[i].ndim, specs[i].shape, 0, 0.5);

		b->ours[i] = tc_params_at(b->params, i);
		b->plain[i] = tc_clone(
			b->s, specs[i].matrix && bf16 ? tc_to(b->s, tc_to(b->s, v, TC_BF16), TC_F32) : v);
		assert_int_equal(tc_copy(b->s, b->ours[i], v, &err), 0);
		assert_int_equal(tc_require_grad(b->s, b->plain[i], true, &err), 0);
	}
	assert_int_equal(tc_params_ready(b->s, b->params, &err), 0);
}

static void close_bench(struct bench *b)
{
	struct rt_err err = RT_ERR_INIT;

	if (tc_check(b->s, &err) < 0)
		fail_msg("%s", err.msg);
	tc_scope_close(b->s);
	tc_params_free(b->params);
	tc_rng_free(b->rng);
}

/* A leaf (rows, cols); in bf16 its numbers fit into that. */
static struct tc_tensor *leaf(struct bench *b, int64_t rows, int64_t cols)
{
	struct rt_err err = RT_ERR_INIT;
	struct tc_tensor *x = tc_randn(b->s, b->rng, TC_F32, 2, (int64_t[]){ rows, cols }, 0, 1);

	x = tc_clone(b->s, b->bf16 ? tc_to(b->s, tc_to(b->s, x, TC_BF16), TC_F32) : x);
	assert_int_equal(tc_require_grad(b->s, x, true, &err), 0);
	return x;
}

static struct tc_tensor *twin(struct bench *b, struct tc_tensor *x)
{
	struct rt_err err = RT_ERR_INIT;
	struct tc_tensor *y = tc_clone(b->s, x);

	assert_int_equal(tc_require_grad(b->s, y, true, &err), 0);
	return y;
}

/* The largest difference, by the larger of 1 and the largest of want. */
static void same(struct bench *b, const char *name, struct tc_tensor *got, struct tc_tensor *want,
		 double tolerance)
{
	struct rt_err err = RT_ERR_INIT;
	size_t n = (size_t)tc_numel(want);
	float *x = calloc(n + 1, sizeof *x), *y = calloc(n + 1, sizeof *y);
	double worst = 0, top = 1;

	if (tc_check(b->s, &err) < 0)
		fail_msg("%s: %s", name, err.msg);
	assert_int_equal(tc_numel(got), (int64_t)n);
	assert_int_equal(tc_read(b->s, got, TC_F32, x, n, &err), 0);
	assert_int_equal(tc_read(b->s, want, TC_F32, y, n, &err), 0);
	for (size_t i = 0; i < n; i++)
		top = fmax(top, fabs(y[i]));
	for (size_t i = 0; i < n; i++) {
		assert_true(isfinite(x[i]));
		worst = fmax(worst, fabs(x[i] - y[i]) / top);
	}
	if (worst > tolerance)
		fail_msg("%s: differs by %.2e, allowed is %.0e", name, worst, tolerance);
	free(x);
	free(y);
}

/* Backward from both results with the same weights, then all gradients of parameters. */
static void compare(struct bench *b, const char *name, struct tc_tensor *ours, struct tc_tensor *plain,
		    double tolerance)
{
	struct rt_err err = RT_ERR_INIT;
	struct tc_tensor *c;
	char what[64];

	same(b, name, ours, plain, tolerance);
	c = tc_randn(b->s, b->rng, TC_F32, 2, (int64_t[]){ tc_size(plain, 0), tc_size(plain, 1) }, 0, 1);
	assert_int_equal(tc_backward(b->s, tc_sum(b->s, tc_mul(b->s, tc_to(b->s, ours, TC_F32), c)), &err),
			 0);
	assert_int_equal(tc_backward(b->s, tc_sum(b->s, tc_mul(b->s, plain, c)), &err), 0);
	for (size_t i = 0; i < b->n; i++) {
		snprintf(what, sizeof what, "%s: gradient of parameter %zu", name, i);
		if (tc_has_grad(b->plain[i]))
			same(b, what, tc_grad(b->s, b->ours[i]), tc_grad(b->s, b->plain[i]), tolerance);
	}
}

static double tolerance_of(bool bf16)
{
	return bf16 ? 2e-2 : 2e-6;
}

#define MATRIX(rows, cols)                                                                                   \
	{                                                                                                    \
		.ndim = 2, .shape = { rows, cols }, .matrix = true                                           \
	}
#define VECTOR(n)                                                                                            \
	{                                                                                                    \
		.ndim = 1, .shape = { n }                                                                    \
	}
#define TABLE(rows, cols)                                                                                    \
	{                                                                                                    \
		.ndim = 2, .shape = { rows, cols }, .table = true                                            \
	}

/* 32 * 24 is whole cache lines, so the three lie behind one another; 33 is not, so they do not. */
static void project(bool bf16)
{
	for (int64_t out = 32; out <= 33; out++) {
		const struct tc_param_spec specs[] = { MATRIX(out, 24), MATRIX(out, 24), MATRIX(16, 24),
						       VECTOR(out),	VECTOR(out),	 VECTOR(16) };
		struct tc_tensor *x, *y, *parts[3];
		struct tc_affine a[3];
		struct bench b;

		open_bench(&b, bf16, COUNT(specs), specs);
		x = leaf(&b, 37, 24);
		y = twin(&b, x);
		for (int i = 0; i < 3; i++) {
			a[i] = (struct tc_affine){ b.ours[i], b.ours[3 + i] };
			parts[i] = tc_linear(b.s, y, b.plain[i], b.plain[3 + i]);
		}
		for (int again = 0; again < 2; again++) { /* the second time gradients add up */
			compare(&b, "project", tc_project(b.s, x, a, 3), tc_cat(b.s, parts, 3, 1),
				tolerance_of(bf16));
			same(&b, "gradient of x", tc_grad(b.s, x), tc_grad(b.s, y), tolerance_of(bf16));
			for (int i = 0; i < 3; i++)
				parts[i] = tc_linear(b.s, y, b.plain[i], b.plain[3 + i]);
		}
		close_bench(&b);
	}
}

static struct tc_tensor *plain_act(struct tc_scope *s, enum tc_act act, struct tc_tensor *x)
{
	switch (act) {
	case TC_ACT_GELU:
		return tc_gelu(s, x, TC_GELU_EXACT);
	case TC_ACT_GELU_TANH:
		return tc_gelu(s, x, TC_GELU_TANH);
	case TC_ACT_RELU:
		return tc_relu(s, x);
	case TC_ACT_SILU:
		return tc_silu(s, x);
	case TC_ACT_TANH:
		return tc_tanh(s, x);
	}
	return NULL;
}

static void project_act(bool bf16)
{
	for (enum tc_act act = TC_ACT_GELU; act <= TC_ACT_TANH; act++) {
		const struct tc_param_spec specs[] = { MATRIX(1100, 20), VECTOR(1100) };
		struct tc_tensor *x, *y;
		struct bench b;

		open_bench(&b, bf16, COUNT(specs), specs);
		x = leaf(&b, 19, 20);
		y = twin(&b, x);
		compare(&b, "project_act",
			tc_project_act(b.s, x, &(struct tc_affine){ b.ours[0], b.ours[1] }, act),
			plain_act(b.s, act, tc_linear(b.s, y, b.plain[0], b.plain[1])), tolerance_of(bf16));
		same(&b, "gradient of x", tc_grad(b.s, x), tc_grad(b.s, y), tolerance_of(bf16));
		close_bench(&b);
	}
}

static void gate(bool bf16)
{
	for (enum tc_act act = TC_ACT_GELU; act <= TC_ACT_TANH; act++) {
		struct tc_tensor *x, *y;
		struct bench b;

		open_bench(&b, bf16, 0, NULL);
		x = leaf(&b, 300, 2 * 70);
		y = twin(&b, x);
		compare(&b, "gate", tc_gate(b.s, bf16 ? tc_to(b.s, x, TC_BF16) : x, act),
			tc_mul(b.s, plain_act(b.s, act, tc_narrow(b.s, y, 1, 0, 70)),
			       tc_narrow(b.s, y, 1, 70, 70)),
			tolerance_of(bf16));
		same(&b, "gradient of x", tc_grad(b.s, x), tc_grad(b.s, y), tolerance_of(bf16));
		close_bench(&b);
	}
}

/* Both results are used, so that both gradients arrive. */
static void project_norm(bool bf16)
{
	const struct tc_param_spec specs[] = { MATRIX(50, 24), VECTOR(50), VECTOR(50), VECTOR(50) };
	struct tc_tensor *x, *y, *r, *q, *full, *low, *plain;
	struct bench b;

	open_bench(&b, bf16, COUNT(specs), specs);
	x = leaf(&b, 150, 24);
	y = twin(&b, x);
	r = leaf(&b, 150, 50);
	q = twin(&b, r);
	full = tc_project_norm(b.s, x, &(struct tc_affine){ b.ours[0], b.ours[1] }, NULL, 0, r,
			       &(struct tc_affine){ b.ours[2], b.ours[3] }, 1e-2, &low);
	assert_int_equal(tc_dtype_of(low), bf16 ? TC_BF16 : TC_F32);
	plain = tc_layer_norm(b.s, tc_add(b.s, q, tc_linear(b.s, y, b.plain[0], b.plain[1])), b.plain[2],
			      b.plain[3], 1e-2);
	compare(&b, "project_norm", tc_add(b.s, full, tc_scale(b.s, tc_to(b.s, low, TC_F32), 3)),
		tc_scale(b.s, plain, 4), tolerance_of(bf16));
	same(&b, "gradient of x", tc_grad(b.s, x), tc_grad(b.s, y), tolerance_of(bf16));
	same(&b, "gradient of the residual", tc_grad(b.s, r), tc_grad(b.s, q), tolerance_of(bf16));
	close_bench(&b);
}

static void norm(bool bf16)
{
	for (int beta = 0; beta < 2; beta++) {
		const struct tc_param_spec specs[] = { VECTOR(33), VECTOR(33) };
		struct tc_tensor *x, *y, *low, *full;
		struct bench b;

		open_bench(&b, bf16, COUNT(specs), specs);
		x = leaf(&b, 70, 33);
		y = twin(&b, x);
		full = tc_norm(b.s, x, &(struct tc_affine){ b.ours[0], beta ? b.ours[1] : NULL }, 1e-5, bf16,
			       &low);
		compare(&b, "norm", low, tc_layer_norm(b.s, y, b.plain[0], beta ? b.plain[1] : NULL, 1e-5),
			tolerance_of(bf16));
		same(&b, "full", full, low, tolerance_of(bf16));
		same(&b, "gradient of x", tc_grad(b.s, x), tc_grad(b.s, y), tolerance_of(bf16));
		close_bench(&b);
	}
}

static void embed(bool bf16)
{
	const struct tc_param_spec specs[] = { TABLE(12, 40), TABLE(2, 40), TABLE(9, 40) };
	const int64_t n = 7, skip[] = { 1, -1, -1 };
	struct tc_tensor *ids, *places, *ours, *plain;
	struct bench b;

	open_bench(&b, bf16, COUNT(specs), specs);
	ids = tc_from_data(b.s, TC_I64, 1, &n, (int64_t[]){ 3, 1, 3, 11, 0, 3, 1 });
	places = tc_from_data(b.s, TC_I64, 1, &n, (int64_t[]){ 0, 1, 2, 0, 1, 2, 3 });
	for (int again = 0; again < 2; again++) {
		ours = tc_embed(b.s, 3, b.ours, (struct tc_tensor *[]){ ids, NULL, places }, skip, n);
		plain = tc_add(b.s, tc_embedding(b.s, b.plain[0], ids, 1),
			       tc_narrow(b.s, b.plain[1], 0, 0, 1));
		plain = tc_add(b.s, plain, tc_embedding(b.s, b.plain[2], places, -1));
		compare(&b, "embed", ours, plain, 2e-6);
	}
	assert_null(tc_embed(
		b.s, 1, b.ours,
		(struct tc_tensor *[]){ tc_from_data(b.s, TC_I64, 1, &(int64_t){ 1 }, (int64_t[]){ 12 }) },
		skip, 1));
	tc_scope_close(b.s);
	b.s = tc_scope_open(NULL, 0);
	close_bench(&b);
}

static void rotate(bool bf16)
{
	const int64_t n = 21, heads = 3, size = 10;
	struct tc_tensor *x, *y, *cos, *sin, *plain[9];
	struct bench b;

	open_bench(&b, bf16, 0, NULL);
	x = leaf(&b, n, 3 * heads * size);
	y = twin(&b, x);
	cos = tc_randn(b.s, b.rng, TC_F32, 2, (int64_t[]){ n, size / 2 }, 0, 1);
	sin = tc_randn(b.s, b.rng, TC_F32, 2, (int64_t[]){ n, size / 2 }, 0, 1);
	for (int64_t g = 0; g < 3 * heads; g++) {
		struct tc_tensor *p = tc_narrow(b.s, y, 1, g * size, size / 2),
				 *q = tc_narrow(b.s, y, 1, g * size + size / 2, size / 2);
		struct tc_tensor *turned[] = {
			g < 2 * heads ? tc_sub(b.s, tc_mul(b.s, p, cos), tc_mul(b.s, q, sin)) : p,
			g < 2 * heads ? tc_add(b.s, tc_mul(b.s, q, cos), tc_mul(b.s, p, sin)) : q,
		};

		plain[g] = tc_cat(b.s, turned, 2, 1);
	}
	compare(&b, "rotate", tc_rotate(b.s, bf16 ? tc_to(b.s, x, TC_BF16) : x, heads, cos, sin),
		tc_cat(b.s, plain, 9, 1), tolerance_of(bf16));
	same(&b, "gradient of x", tc_grad(b.s, x), tc_grad(b.s, y), tolerance_of(bf16));
	close_bench(&b);
}

/* ---- attention ---- */

#define HEADS 2
#define SIZE  12

/* One text's attention of plain ops: q (queries, width), k, v (length, width), bias (HEADS, W, W) or NULL. */
static struct tc_tensor *plain_attend(struct tc_scope *s, struct tc_tensor *q, struct tc_tensor *k,
				      struct tc_tensor *v, struct tc_tensor *bias, int64_t window)
{
	int64_t queries = tc_size(q, 0), length = tc_size(k, 0);
	float *far = calloc((size_t)(queries * length), sizeof *far);
	struct tc_tensor *out[HEADS], *mask;

	for (int64_t i = 0; window >= 0 && i < queries; i++) {
		for (int64_t j = 0; j < length; j++)
			far[i * length + j] = llabs(i - j) > window ? -INFINITY : 0;
	}
	mask = tc_from_data(s, TC_F32, 2, (int64_t[]){ queries, length }, far);
	free(far);
	for (int64_t h = 0; h < HEADS; h++) {
		struct tc_tensor *part = tc_matmul(s, tc_narrow(s, q, 1, h * SIZE, SIZE),
						   tc_transpose(s, tc_narrow(s, k, 1, h * SIZE, SIZE), 0, 1));

		part = tc_add(s, tc_scale(s, part, 0.3), mask);
		if (bias)
			part = tc_add(s, part,
				      tc_narrow(s, tc_narrow(s, tc_select(s, bias, 0, h), 0, 0, queries), 1,
						0, length));
		out[h] = tc_matmul(s, tc_softmax(s, part, -1), tc_narrow(s, v, 1, h * SIZE, SIZE));
	}
	return tc_cat(s, out, HEADS, 1);
}

/* Lengths on both sides of the kernels' blocks. */
static const int64_t starts[] = { 0, 1, 6, 23, 87, 100, 231 };
#define TEXTS  6
#define TOKENS 231

static void attend_as(bool bf16, bool with_bias, int64_t window, int parts, bool first_only)
{
	const int64_t width = HEADS * SIZE;
	struct tc_tensor *x, *y, *bias = NULL, *plain_bias = NULL, *plain[TEXTS], *q, *kv;
	struct tc_attention a = { .texts = TEXTS,
				  .heads = HEADS,
				  .starts = starts,
				  .scale = 0.3,
				  .window = window,
				  .first_only = first_only };
	struct rt_err err = RT_ERR_INIT;
	struct bench b;

	open_bench(&b, bf16, 0, NULL);
	x = leaf(&b, TOKENS, 3 * width);
	y = twin(&b, x);
	if (with_bias) {
		bias = tc_randn(b.s, b.rng, TC_F32, 3, (int64_t[]){ HEADS, 140, 140 }, 0, 1);
		plain_bias = tc_clone(b.s, bias);
		assert_int_equal(tc_require_grad(b.s, bias, true, &err), 0);
		assert_int_equal(tc_require_grad(b.s, plain_bias, true, &err), 0);
	}
	q = tc_narrow(b.s, x, 1, 0, width);
	if (first_only)
		q = tc_index_select(b.s, q, 0, tc_from_data(b.s, TC_I64, 1, (int64_t[]){ TEXTS }, starts));
	kv = tc_narrow(b.s, x, 1, width, 2 * width);
	a.query = parts == 1 ? x : q;
	a.key = parts == 2 ? kv : parts == 3 ? tc_narrow(b.s, x, 1, width, width) : NULL;
	a.value = parts == 3 ? tc_narrow(b.s, x, 1, 2 * width, width) : NULL;
	if (bf16) {
		a.query = tc_to(b.s, a.query, TC_BF16);
		a.key = a.key ? tc_to(b.s, a.key, TC_BF16) : NULL;
		a.value = a.value ? tc_to(b.s, a.value, TC_BF16) : NULL;
	}
	a.bias = bias;
	for (int64_t t = 0; t < TEXTS; t++) {
		struct tc_tensor *rows = tc_narrow(b.s, y, 0, starts[t], starts[t + 1] - starts[t]);
		struct tc_tensor *query = tc_narrow(b.s, rows, 1, 0, width);

		plain[t] = plain_attend(b.s, first_only ? tc_narrow(b.s, query, 0, 0, 1) : query,
					tc_narrow(b.s, rows, 1, width, width),
					tc_narrow(b.s, rows, 1, 2 * width, width), plain_bias, window);
	}
	compare(&b, "attend", tc_attend(b.s, &a), tc_cat(b.s, plain, TEXTS, 0), tolerance_of(bf16));
	same(&b, "gradient of query, key, value", tc_grad(b.s, x), tc_grad(b.s, y), tolerance_of(bf16));
	if (with_bias)
		same(&b, "gradient of bias", tc_grad(b.s, bias), tc_grad(b.s, plain_bias),
		     tolerance_of(bf16));
	close_bench(&b);
}

static void attend(bool bf16)
{
	for (int parts = 1; parts <= 3; parts++)
		attend_as(bf16, false, -1, parts, false);
	attend_as(bf16, true, -1, 1, false);
	attend_as(bf16, false, 3, 1, false);
	attend_as(bf16, false, 0, 1, false);
	attend_as(bf16, false, -1, 2, true);
	attend_as(bf16, true, -1, 3, true);
}

#define ALIKE(fn)                                                                                            \
	static void fn##_equals_plain_ops(void **state)                                                      \
	{                                                                                                    \
		(void)state;                                                                                 \
		in_every_set(fn);                                                                            \
	}
ALIKE(project)
ALIKE(project_act)
ALIKE(project_norm)
ALIKE(norm)
ALIKE(gate)
ALIKE(embed)
ALIKE(rotate)
ALIKE(attend)

/* ---- dropout: backward must draw what forward drew ---- */

static double total(struct tc_scope *s, struct tc_tensor *x)
{
	struct rt_err err = RT_ERR_INIT;
	double v = NAN;

	assert_int_equal(tc_item_f64(s, tc_sum(s, tc_to(s, x, TC_F64)), &v, &err), 0);
	return v;
}

/* sum of c times what a layer with dropout makes of x, drawn from seed 3. which: 0 attention, 1 project_norm, 2 dropout. */
static struct tc_tensor *dropped(struct bench *b, int which, struct tc_tensor *x, struct tc_tensor *c)
{
	struct rt_err err = RT_ERR_INIT;
	struct tc_tensor *y, *low;

	assert_int_equal(tc_rng_seed(b->rng, 3, &err), 0);
	if (which == 0)
		y = tc_attend(b->s, &(struct tc_attention){ .query = x,
							    .texts = TEXTS,
							    .heads = HEADS,
							    .starts = starts,
							    .scale = 0.3,
							    .window = -1,
							    .p = 0.3,
							    .rng = b->rng });
	else if (which == 1)
		y = tc_project_norm(b->s, x, &(struct tc_affine){ b->ours[0], b->ours[1] }, b->rng, 0.3,
				    tc_narrow(b->s, x, 1, 0, HEADS * SIZE),
				    &(struct tc_affine){ b->ours[2], b->ours[3] }, 1e-5, &low);
	else
		y = tc_dropout(b->s, b->rng, tc_narrow(b->s, x, 1, 0, HEADS * SIZE), 0.3);
	return tc_sum(b->s, tc_mul(b->s, tc_to(b->s, y, TC_F32), c));
}

static void gradients_of_dropout_are_those_of_what_was_drawn(void **state)
{
	const int64_t width = HEADS * SIZE;
	const struct tc_param_spec specs[] = { MATRIX(width, 3 * width), VECTOR(width), VECTOR(width),
					       VECTOR(width) };

	(void)state;
	for (int which = 0; which < 3; which++) {
		struct rt_err err = RT_ERR_INIT;
		struct tc_tensor *x, *c, *d, *up, *down;
		double slope, want;
		struct bench b;

		open_bench(&b, false, COUNT(specs), specs);
		x = leaf(&b, TOKENS, 3 * width);
		d = tc_randn(b.s, b.rng, TC_F32, 2, (int64_t[]){ TOKENS, 3 * width }, 0, 1e-3);
		c = tc_randn(b.s, b.rng, TC_F32, 2, (int64_t[]){ TOKENS, width }, 0, 1);
		assert_int_equal(tc_backward(b.s, dropped(&b, which, x, c), &err), 0);
		want = total(b.s, tc_mul(b.s, tc_grad(b.s, x), d));
		up = dropped(&b, which, tc_add(b.s, tc_detach(b.s, x), d), c);
		down = dropped(&b, which, tc_sub(b.s, tc_detach(b.s, x), d), c);
		slope = (total(b.s, up) - total(b.s, down)) / 2;
		print_message("%d: %g by differences, %g by backward\n", which, slope, want);
		assert_true(fabs(slope - want) < 2e-3 * (1 + fabs(want)));
		close_bench(&b);
	}
}

/* ---- the same for any number of threads ---- */

static uint64_t sum_of(const void *p, size_t n)
{
	const unsigned char *b = p;
	uint64_t h = 14695981039346656037u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ b[i]) * 1099511628211u;
	return h;
}

static uint64_t run_attention(void)
{
	const int64_t width = HEADS * SIZE;
	const struct tc_param_spec specs[] = { VECTOR(3 * width), TABLE(9, 3 * width) };
	struct rt_err err = RT_ERR_INIT;
	struct tc_tensor *x, *y, *low, *ids;
	int64_t id[TOKENS];
	uint64_t h;
	struct bench b;

	open_bench(&b, false, COUNT(specs), specs);
	for (int i = 0; i < TOKENS; i++)
		id[i] = i * 7 % 9;
	ids = tc_from_data(b.s, TC_I64, 1, (int64_t[]){ TOKENS }, id);
	x = tc_embed(b.s, 1, &b.ours[1], &ids, (int64_t[]){ -1 }, TOKENS);
	x = tc_norm(b.s, x, &(struct tc_affine){ b.ours[0], NULL }, 1e-5, false, &low);
	y = tc_attend(b.s, &(struct tc_attention){ .query = x,
						   .texts = TEXTS,
						   .heads = HEADS,
						   .starts = starts,
						   .scale = 0.3,
						   .window = -1,
						   .p = 0.1,
						   .rng = b.rng });
	h = sum_of(tc_data(y), (size_t)tc_numel(y) * 4);
	assert_int_equal(tc_backward(b.s, tc_sum(b.s, tc_mul(b.s, y, y)), &err), 0);
	for (size_t i = 0; i < b.n; i++)
		h ^= sum_of(tc_data(tc_grad(b.s, b.ours[i])), (size_t)tc_numel(b.ours[i]) * 4);
	close_bench(&b);
	return h;
}

static void results_do_not_depend_on_the_number_of_threads(void **state)
{
	int before = tc_get_threads();
	uint64_t one;

	(void)state;
	assert_int_equal(tc_set_threads(1, NULL), 0);
	one = run_attention();
	for (int n = 2; n <= 5; n++) {
		assert_int_equal(tc_set_threads(n, NULL), 0);
		assert_int_equal(run_attention(), one);
	}
	tc_set_threads(before, NULL);
}

/* ---- functions ---- */

static double exact(enum tc_act act, double x)
{
	switch (act) {
	case TC_ACT_GELU:
		return 0.5 * x * erfc(-x / sqrt(2));
	case TC_ACT_GELU_TANH:
		return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
	case TC_ACT_RELU:
		return x > 0 ? x : 0;
	case TC_ACT_SILU:
		return x / (1 + exp(-x));
	case TC_ACT_TANH:
		return tanh(x);
	}
	return NAN;
}

static void activations(bool bf16)
{
	enum { N = 40001 };
	static float x[N], y[N], dy[N], dx[N];

	if (bf16)
		return;
	for (int i = 0; i < N; i++) {
		x[i] = (float)(i - N / 2) * 1e-3f;
		dy[i] = 1;
	}
	for (enum tc_act act = TC_ACT_GELU; act <= TC_ACT_TANH; act++) {
		double value = 0, slope = 0;

		rt_kernels_get()->act(RT_ELEM_F32, act, y, x, N);
		rt_kernels_get()->act_backward(RT_ELEM_F32, act, dx, dy, x, 1, N, NULL, false);
		for (int i = 0; i < N; i++) {
			double v = x[i], h = 1e-5, d = (exact(act, v + h) - exact(act, v - h)) / (2 * h);

			value = fmax(value, fabs(y[i] - exact(act, v)) / fmax(1, fabs(v)));
			if (act != TC_ACT_RELU || v != 0)
				slope = fmax(slope, fabs(dx[i] - d));
		}
		print_message("activation %u: %.1e, slope %.1e\n", act, value, slope);
		assert_true(value < 3e-7);
		assert_true(slope < 2e-6);
	}
	/* what is no number stays none; what is endless does not turn into some other */
	x[0] = NAN;
	x[1] = INFINITY;
	x[2] = -INFINITY;
	for (enum tc_act act = TC_ACT_GELU; act <= TC_ACT_TANH; act++) {
		rt_kernels_get()->act(RT_ELEM_F32, act, y, x, 3);
		assert_true(isnan(y[0]));
		assert_true(act == TC_ACT_TANH ? y[1] == 1 : y[1] == INFINITY);
		assert_true(!isfinite(y[2]) || y[2] == 0 || y[2] == -1);
	}
}

static void activations_are_exact_to_rounding(void **state)
{
	(void)state;
	in_every_set(activations);
}

static void lower(bool bf16)
{
	static const struct {
		uint32_t in;
		uint16_t out;
	} rows[] = {
		{ 0x3f800000, 0x3f80 }, { 0x3f808000, 0x3f80 }, { 0x3f818000, 0x3f82 },
		{ 0x3f808001, 0x3f81 }, { 0x7f7fffff, 0x7f80 }, { 0x7f800000, 0x7f80 },
		{ 0xff800000, 0xff80 }, { 0x7fffffff, 0x7fc0 }, { 0x7f800001, 0x7fc0 },
		{ 0x80000000, 0x8000 }, { 0x00000001, 0x0000 },
	};
	float in[COUNT(rows)], back[COUNT(rows)];
	uint16_t out[COUNT(rows)];

	(void)bf16;
	for (size_t i = 0; i < COUNT(rows); i++)
		memcpy(&in[i], &rows[i].in, sizeof in[i]);
	rt_kernels_get()->lower(out, in, COUNT(rows));
	for (size_t i = 0; i < COUNT(rows); i++) {
		print_message("%08x\n", (unsigned)rows[i].in);
		assert_int_equal(out[i], rows[i].out);
	}
	rt_kernels_get()->raise(back, out, COUNT(rows));
	assert_true(back[0] == 1 && isinf(back[4]) && isnan(back[7]));
}

static void bfloat16_is_rounded_to_nearest_even(void **state)
{
	(void)state;
	in_every_set(lower);
}

/* ---- the optimizer ---- */

static void adamw(bool bf16)
{
	const double grads[3][2] = { { 0.5, -2 }, { 0.25, 3 }, { -1, 1 } };
	const struct tc_param_spec specs[] = {
		{ .ndim = 2, .shape = { 1, 2 }, .matrix = true, .decay = true }, VECTOR(3)
	};
	double want[2], wm[2] = { 0 }, wv[2] = { 0 }, norm;
	struct tc_adamw how = { .lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1 };
	struct rt_err err = RT_ERR_INIT;
	float untouched[3], after[3], got[2], m[2], v[2];
	struct bench b;

	open_bench(&b, bf16, COUNT(specs), specs);
	assert_int_equal(tc_read(b.s, b.ours[0], TC_F32, got, 2, &err), 0);
	assert_int_equal(tc_read(b.s, b.ours[1], TC_F32, untouched, 3, &err), 0);
	want[0] = got[0];
	want[1] = got[1];
	for (int step = 1; step <= 3; step++) {
		struct tc_tensor *g = tc_from_data(b.s, TC_F64, 2, (int64_t[]){ 1, 2 }, grads[step - 1]);

		tc_params_begin(b.params);
		assert_int_equal(
			tc_backward(b.s, tc_sum(b.s, tc_mul(b.s, b.ours[0], tc_to(b.s, g, TC_F32))), &err),
			0);
		assert_int_equal(tc_params_grad_norm(b.s, b.params, &norm, &err), 0);
		assert_true(fabs(norm - hypot(grads[step - 1][0], grads[step - 1][1])) < 1e-6);
		how.step = step;
		how.grad_scale = step == 2 ? 0.5 : 1; /* clipped */
		assert_int_equal(tc_params_adamw(b.s, b.params, &how, &err), 0);
		assert_int_equal(tc_read(b.s, b.ours[0], TC_F32, got, 2, &err), 0);
		assert_int_equal(tc_read(b.s, tc_params_moment(b.s, b.params, 0, 1), TC_F32, m, 2, &err), 0);
		assert_int_equal(tc_read(b.s, tc_params_moment(b.s, b.params, 0, 2), TC_F32, v, 2, &err), 0);
		for (int i = 0; i < 2; i++) {
			double gi = grads[step - 1][i] * how.grad_scale;

			want[i] *= 1 - 0.01 * 0.1;
			wm[i] = 0.9 * wm[i] + 0.1 * gi;
			wv[i] = 0.999 * wv[i] + 0.001 * gi * gi;
			want[i] -= 0.01 * (wm[i] / (1 - pow(0.9, step))) /
				   (sqrt(wv[i] / (1 - pow(0.999, step))) + 1e-8);
			assert_true(fabs(got[i] - want[i]) < 1e-6);
			assert_true(fabs(m[i] - wm[i]) < 1e-6 && fabs(v[i] - wv[i]) < 1e-6);
		}
	}
	/* the copy that products read has moved too */
	if (bf16) {
		struct tc_tensor *one = tc_full(b.s, TC_F32, 2, (int64_t[]){ 1, 2 }, 1);
		float y;

		assert_int_equal(tc_read(b.s, tc_project(b.s, one, &(struct tc_affine){ b.ours[0], NULL }, 1),
					 TC_F32, &y, 1, &err),
				 0);
		assert_true(fabs(y - (want[0] + want[1])) < 2e-2);
	}
	assert_int_equal(tc_read(b.s, b.ours[1], TC_F32, after, 3, &err), 0);
	assert_memory_equal(after, untouched, sizeof after);
	how.step = 0;
	assert_int_equal(tc_params_adamw(b.s, b.params, &how, &err), -1);
	close_bench(&b);
}

static void adamw_is_the_formula(void **state)
{
	(void)state;
	in_every_set(adamw);
}

/* A table's rows: one that had a gradient once moves in every step, one that never had one not at all, as in PyTorch's AdamW over
 * the whole table. */
static void rows_of_a_table_move_as_in_the_whole_table(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	float ours[3 * 20], plain[3 * 20];
	struct bench b[2];

	(void)state;
	for (int k = 0; k < 2; k++) {
		const struct tc_param_spec spec = { .ndim = 2, .shape = { 3, 20 }, .table = k == 0 };
		struct tc_adamw how = {
			.lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .grad_scale = 1
		};

		open_bench(&b[k], false, 1, &spec);
		for (int step = 1; step <= 4; step++) {
			const int64_t n = 2, row = step <= 2 ? 0 : 2;
			struct tc_tensor *ids = tc_from_data(b[k].s, TC_I64, 1, &n, (int64_t[]){ row, row }),
					 *y;

			tc_params_begin(b[k].params);
			y = tc_embed(b[k].s, 1, b[k].ours, &ids, (int64_t[]){ -1 }, n);
			assert_int_equal(tc_backward(b[k].s, tc_sum(b[k].s, tc_mul(b[k].s, y, y)), &err), 0);
			how.step = step;
			assert_int_equal(tc_params_adamw(b[k].s, b[k].params, &how, &err), 0);
			if (step == 3) /* as after a resume: what moves is found again in the moments */
				assert_int_equal(tc_params_ready(b[k].s, b[k].params, &err), 0);
		}
		assert_int_equal(tc_read(b[k].s, b[k].ours[0], TC_F32, k ? plain : ours, 60, &err), 0);
	}
	assert_memory_equal(ours, plain, sizeof ours);
	assert_int_equal(tc_read(b[0].s, b[0].plain[0], TC_F32, plain, 60, &err), 0);
	assert_memory_equal(ours + 20, plain + 20, 20 * sizeof *ours);
	assert_true(memcmp(ours, plain, 20 * sizeof *ours) != 0);
	close_bench(&b[0]);
	close_bench(&b[1]);
}

/* In one step: a few rows by tokens, then all rows by a plain op. The norm counts them all. */
static void a_table_that_a_plain_op_reads_has_a_gradient_in_every_row(void **state)
{
	const struct tc_param_spec spec = TABLE(5, 20);
	struct rt_err err = RT_ERR_INIT;
	struct tc_tensor *ids, *y;
	double norm = 0;
	struct bench b;

	(void)state;
	open_bench(&b, false, 1, &spec);
	tc_params_begin(b.params);
	ids = tc_from_data(b.s, TC_I64, 1, &(int64_t){ 1 }, (int64_t[]){ 3 });
	y = tc_embed(b.s, 1, b.ours, &ids, (int64_t[]){ -1 }, 1);
	assert_int_equal(tc_backward(b.s, tc_sum(b.s, y), &err), 0);
	assert_int_equal(tc_params_grad_norm(b.s, b.params, &norm, &err), 0);
	assert_true(fabs(norm - sqrt(20)) < 1e-6); /* one row of ones */
	assert_int_equal(tc_backward(b.s, tc_sum(b.s, tc_scale(b.s, b.ours[0], 2)), &err), 0);
	assert_int_equal(tc_params_grad_norm(b.s, b.params, &norm, &err), 0);
	assert_true(fabs(norm - sqrt(20 * (4 * 4.0 + 9))) < 1e-5); /* four rows of twos, one of threes */
	close_bench(&b);
}

static void wrong_shapes_are_failures(void **state)
{
	const struct tc_param_spec specs[] = { MATRIX(8, 6), VECTOR(7) };
	struct rt_err err = RT_ERR_INIT;
	struct tc_scope *s;
	struct bench b;

	(void)state;
	open_bench(&b, false, COUNT(specs), specs);
	for (int i = 0; i < 3; i++) {
		struct tc_tensor *x;

		s = tc_scope_open(NULL, 0);
		x = tc_ones(s, TC_F32, 2, (int64_t[]){ 3, i == 0 ? 5 : 6 });
		if (i == 2)
			assert_null(tc_attend(s, &(struct tc_attention){ .query = x,
									 .texts = 1,
									 .heads = 2,
									 .starts = (int64_t[]){ 0, 4 },
									 .scale = 1,
									 .window = -1 }));
		else
			assert_null(tc_project(
				s, x, &(struct tc_affine){ b.ours[0], i == 1 ? b.ours[1] : NULL }, 1));
		assert_int_equal(tc_check(s, &err), -1);
		print_message("%s\n", err.msg);
		tc_scope_close(s);
	}
	close_bench(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(project_equals_plain_ops),
		cmocka_unit_test(project_act_equals_plain_ops),
		cmocka_unit_test(project_norm_equals_plain_ops),
		cmocka_unit_test(norm_equals_plain_ops),
		cmocka_unit_test(gate_equals_plain_ops),
		cmocka_unit_test(embed_equals_plain_ops),
		cmocka_unit_test(rotate_equals_plain_ops),
		cmocka_unit_test(attend_equals_plain_ops),
		cmocka_unit_test(gradients_of_dropout_are_those_of_what_was_drawn),
		cmocka_unit_test(results_do_not_depend_on_the_number_of_threads),
		cmocka_unit_test(activations_are_exact_to_rounding),
		cmocka_unit_test(bfloat16_is_rounded_to_nearest_even),
		cmocka_unit_test(adamw_is_the_formula),
		cmocka_unit_test(rows_of_a_table_move_as_in_the_whole_table),
		cmocka_unit_test(a_table_that_a_plain_op_reads_has_a_gradient_in_every_row),
		cmocka_unit_test(wrong_shapes_are_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
