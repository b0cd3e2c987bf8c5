/* SPDX-License-Identifier: Apache-2.0 */
/* The wrapper: argument order, ownership, error texts, with values that show a swap. libtorch itself is not tested. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <math.h>

#include "worker/torch/tc.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static struct tc_tensor *f32(struct tc_scope *s, int64_t rows, int64_t cols, const float *v)
{
	return tc_from_data(s, TC_F32, 2, (int64_t[]){ rows, cols }, v);
}

/* Reads t and compares with want; names the row and the element that differ. Consumes no ownership. */
static void expect(struct tc_scope *s, const char *name, struct tc_tensor *t, const double *want, size_t n)
{
	struct rt_err err = RT_ERR_INIT;
	double got[64];

	assert_true(n <= COUNT(got));
	if (tc_check(s, &err) < 0 || tc_read(s, t, TC_F64, got, n, &err) < 0)
		fail_msg("%s: %s", name, err.msg);
	for (size_t i = 0; i < n; i++) {
		if (!(fabs(got[i] - want[i]) < 1e-5))
			fail_msg("%s: element %zu is %.9g, not %.9g", name, i, got[i], want[i]);
	}
}
#define EXPECT(s, name, t, ...)                                                                              \
	do {                                                                                                 \
		const double want_[] = { __VA_ARGS__ };                                                      \
		expect(s, name, t, want_, COUNT(want_));                                                     \
	} while (0)

static void ops_pass_their_arguments_in_order(void **state)
{
	struct tc_scope *s = tc_scope_open(NULL, 0);
	struct tc_tensor *a = f32(s, 2, 3, (float[]){ 1, 2, 3, 4, 5, 6 });
	struct tc_tensor *b = f32(s, 2, 3, (float[]){ 10, 20, 30, 40, 50, 60 });
	struct tc_tensor *w = f32(s, 2, 3, (float[]){ 1, 0, 2, 0, 1, -1 });
	struct tc_tensor *bias = tc_from_data(s, TC_F32, 1, (int64_t[]){ 2 }, (float[]){ 100, 200 });
	struct tc_tensor *ids = tc_from_data(s, TC_I64, 1, (int64_t[]){ 2 }, (int64_t[]){ 1, 0 });
	struct tc_tensor *gain = tc_from_data(s, TC_F32, 1, (int64_t[]){ 3 }, (float[]){ 2, 2, 2 });
	struct tc_tensor *shift = tc_from_data(s, TC_F32, 1, (int64_t[]){ 3 }, (float[]){ 7, 7, 7 });
	struct tc_tensor *pair[] = { a, b };

	(void)state;
	EXPECT(s, "add", tc_add(s, a, b), 11, 22, 33, 44, 55, 66);
	EXPECT(s, "sub", tc_sub(s, a, b), -9, -18, -27, -36, -45, -54);
	EXPECT(s, "mul", tc_mul(s, a, b), 10, 40, 90, 160, 250, 360);
	EXPECT(s, "div", tc_div(s, b, a), 10, 10, 10, 10, 10, 10);
	EXPECT(s, "scale", tc_scale(s, a, 0.5), 0.5, 1, 1.5, 2, 2.5, 3);
	EXPECT(s, "add_scalar", tc_add_scalar(s, a, -1), 0, 1, 2, 3, 4, 5);
	EXPECT(s, "matmul", tc_matmul(s, a, tc_transpose(s, w, 0, 1)), 7, -1, 16, -1);
	EXPECT(s, "linear", tc_linear(s, a, w, bias), 107, 199, 116, 199);
	EXPECT(s, "linear without bias", tc_linear(s, a, w, NULL), 7, -1, 16, -1);
	EXPECT(s, "permute", tc_permute(s, a, 2, (int64_t[]){ 1, 0 }), 1, 4, 2, 5, 3, 6);
	EXPECT(s, "reshape", tc_reshape(s, a, 2, (int64_t[]){ 3, -1 }), 1, 2, 3, 4, 5, 6);
	EXPECT(s, "narrow", tc_narrow(s, a, 1, 1, 2), 2, 3, 5, 6);
	EXPECT(s, "select", tc_select(s, a, 1, 2), 3, 6);
	EXPECT(s, "index_select", tc_index_select(s, a, 0, ids), 4, 5, 6, 1, 2, 3);
	EXPECT(s, "embedding", tc_embedding(s, a, ids, -1), 4, 5, 6, 1, 2, 3);
	EXPECT(s, "gather", tc_gather(s, a, 1, tc_reshape(s, ids, 2, (int64_t[]){ 2, 1 })), 2, 4);
	EXPECT(s, "cat", tc_cat(s, pair, 2, 1), 1, 2, 3, 10, 20, 30, 4, 5, 6, 40, 50, 60);
	EXPECT(s, "sum", tc_sum(s, a), 21);
	EXPECT(s, "mean", tc_mean(s, a), 3.5);
	EXPECT(s, "sum_dim", tc_sum_dim(s, a, 0, false), 5, 7, 9);
	EXPECT(s, "argmax", tc_argmax(s, tc_mul(s, a, w), 1), 2, 1);
	EXPECT(s, "eq", tc_eq(s, a, tc_full(s, TC_F32, 1, (int64_t[]){ 3 }, 2)), 0, 1, 0, 0, 0, 0);
	EXPECT(s, "relu", tc_relu(s, tc_add_scalar(s, a, -3)), 0, 0, 0, 1, 2, 3);
	EXPECT(s, "exp", tc_exp(s, tc_log(s, a)), 1, 2, 3, 4, 5, 6);
	EXPECT(s, "tanh", tc_tanh(s, tc_select(s, a, 0, 0)), tanh(1), tanh(2), tanh(3));
	EXPECT(s, "silu", tc_silu(s, tc_select(s, a, 0, 0)), 0.731058579, 1.761594156, 2.857722380);
	EXPECT(s, "sigmoid", tc_sigmoid(s, tc_select(s, a, 0, 0)), 0.731058579, 0.880797078, 0.952574127);
	EXPECT(s, "softplus", tc_softplus(s, tc_select(s, a, 0, 0)), 1.313261688, 2.126928011, 3.048587352);
	EXPECT(s, "sqrt", tc_sqrt(s, tc_select(s, a, 0, 0)), 1, sqrt(2), sqrt(3));
	EXPECT(s, "erf", tc_erf(s, tc_select(s, a, 0, 0)), erf(1), erf(2), erf(3));
	EXPECT(s, "clamp", tc_clamp(s, a, 2, 4.5), 2, 2, 3, 4, 4.5, 4.5);
	EXPECT(s, "gelu", tc_gelu(s, tc_select(s, a, 0, 0), TC_GELU_EXACT), 0.841344746, 1.954499736,
	       2.995950306);
	EXPECT(s, "gelu tanh", tc_gelu(s, tc_select(s, a, 0, 0), TC_GELU_TANH), 0.841191991, 1.954597694,
	       2.996362668);
	EXPECT(s, "softmax", tc_softmax(s, a, 1), 0.090030573, 0.244728471, 0.665240956, 0.090030573,
	       0.244728471, 0.665240956);
	EXPECT(s, "log_softmax", tc_log_softmax(s, a, 0), -3.048587352, -3.048587352, -3.048587352,
	       -0.048587352, -0.048587352, -0.048587352);
	EXPECT(s, "layer_norm", tc_layer_norm(s, a, gain, shift, 1e-5), 4.550529, 7, 9.449471, 4.550529, 7,
	       9.449471);
	EXPECT(s, "cross_entropy", tc_cross_entropy(s, a, ids, TC_MEAN), (1.407605965 + 2.407605965) / 2);
	EXPECT(s, "cross_entropy none", tc_cross_entropy(s, a, ids, TC_NONE), 1.407605965, 2.407605965);
	EXPECT(s, "cross_entropy sum", tc_cross_entropy(s, a, ids, TC_SUM), 3.81521193);
	EXPECT(s, "bmm",
	       tc_bmm(s, tc_reshape(s, a, 3, (int64_t[]){ 1, 2, 3 }),
		      tc_reshape(s, b, 3, (int64_t[]){ 1, 3, 2 })),
	       220, 280, 490, 640);
	EXPECT(s, "arange", tc_arange(s, TC_I64, 3), 0, 1, 2);
	EXPECT(s, "to", tc_to(s, tc_full(s, TC_F32, 0, NULL, 1.01), TC_BF16), 1.0078125);
	tc_scope_close(s);
}

static void kl_div_is_target_against_input(void **state)
{
	struct tc_scope *s = tc_scope_open(NULL, 0);
	struct tc_tensor *p = f32(s, 1, 2, (float[]){ 0.25f, 0.75f });
	struct tc_tensor *q = f32(s, 1, 2, (float[]){ 0.5f, 0.5f });

	(void)state;
	EXPECT(s, "sum", tc_kl_div(s, tc_log(s, q), p, TC_SUM), 0.25 * log(0.5) + 0.75 * log(1.5));
	EXPECT(s, "mean", tc_kl_div(s, tc_log(s, q), p, TC_MEAN), (0.25 * log(0.5) + 0.75 * log(1.5)) / 2);
	assert_null(tc_kl_div(s, tc_log(s, q), tc_select(s, p, 0, 0), TC_SUM));
	assert_true(tc_failed(s));
	tc_scope_close(s);
}

static void first_failure_sticks_with_op_and_shapes(void **state)
{
	struct tc_scope *s = tc_scope_open(NULL, 0);
	struct tc_scope *child = tc_scope_open(s, 0);
	struct rt_err err = RT_ERR_INIT;
	struct tc_tensor *a = f32(s, 2, 3, (float[6]){ 0 });
	double v = 5;

	(void)state;
	assert_int_equal(tc_check(s, &err), 0);
	assert_null(tc_matmul(child, a, a));
	assert_true(tc_failed(s));
	assert_null(tc_add(s, a, a));
	assert_null(tc_reshape(s, a, 1, (int64_t[]){ 5 }));
	assert_int_equal(tc_check(s, &err), -1);
	assert_int_equal(err.code, RT_INTERNAL);
	assert_non_null(strstr(err.msg, "matmul((2, 3) f32, (2, 3) f32): "));
	assert_null(strchr(err.msg, '\n'));
	memset(&err, 0, sizeof err);
	assert_int_equal(tc_item_f64(s, a, &v, &err), -1);
	assert_non_null(strstr(err.msg, "matmul("));
	assert_true(v == 5);
	tc_scope_close(child);
	tc_scope_close(s);
	assert_int_equal(tc_check(NULL, &err), -1);
	assert_int_equal(err.code, RT_NO_MEMORY);
}

static void missing_arguments_are_failures(void **state)
{
	struct tc_scope *s = tc_scope_open(NULL, 0), *fresh;
	struct rt_err err = RT_ERR_INIT;
	struct tc_tensor *a = f32(s, 1, 1, (float[]){ 1 });
	double v;

	(void)state;
	assert_int_equal(tc_item_f64(s, NULL, &v, &err), -1);
	assert_string_equal(err.msg, "item: an argument is missing");
	assert_int_equal(tc_check(s, &err), 0); /* an effect that fails leaves the scope usable */
	assert_null(tc_add(s, a, NULL));
	assert_int_equal(tc_check(s, &err), -1);
	assert_string_equal(err.msg, "add: argument 2 is missing");
	tc_scope_close(s);
	fresh = tc_scope_open(NULL, 0);
	assert_null(tc_keep(fresh, NULL));
	assert_true(tc_failed(fresh));
	tc_scope_close(fresh);
	assert_null(tc_add(NULL, NULL, NULL));
	assert_int_equal(tc_backward(NULL, NULL, &err), -1);
	assert_int_equal(tc_ndim(NULL), 0);
	assert_int_equal(tc_numel(NULL), 0);
	assert_null(tc_data(NULL));
	tc_drop(NULL);
	tc_scope_close(NULL);
	tc_rng_free(NULL);
	fresh = tc_scope_open(NULL, 0);
	assert_null(tc_from_data(fresh, TC_F32, 1, (int64_t[]){ 3 }, NULL));
	assert_null(tc_fail(fresh, RT_INVALID, "too late"));
	assert_int_equal(tc_check(fresh, &err), -1);
	assert_string_equal(err.msg, "from_data: the data is missing");
	tc_scope_close(fresh);
}

static void no_memory_has_its_own_code(void **state)
{
	struct tc_scope *s = tc_scope_open(NULL, 0);
	struct rt_err err = RT_ERR_INIT;

	(void)state;
	assert_null(tc_zeros(s, TC_F32, 2, (int64_t[]){ 1 << 24, 1 << 24 })); /* 1 PiB */
	assert_int_equal(tc_check(s, &err), -1);
	print_message("%s\n", err.msg);
	assert_int_equal(err.code, RT_NO_MEMORY);
	tc_scope_close(s);
}

static void scopes_own_and_keep_lets_out(void **state)
{
	struct tc_scope *outer = tc_scope_open(NULL, 0);
	struct tc_scope *inner = tc_scope_open(outer, 0);
	struct tc_tensor *a = f32(inner, 1, 2, (float[]){ 3, 4 });
	struct tc_tensor *kept = tc_keep(outer, tc_scale(inner, a, 2));

	(void)state;
	tc_drop(a);
	tc_scope_close(inner);
	EXPECT(outer, "kept", kept, 6, 8);
	tc_scope_close(outer);
}

static void from_data_copies_and_borrowed_does_not(void **state)
{
	struct tc_scope *s = tc_scope_open(NULL, 0);
	float data[2] = { 1, 2 };
	struct tc_tensor *copy = tc_from_data(s, TC_F32, 1, (int64_t[]){ 2 }, data);
	struct tc_tensor *same = tc_from_borrowed(s, TC_F32, 1, (int64_t[]){ 2 }, data);

	(void)state;
	data[1] = 9;
	EXPECT(s, "copy", copy, 1, 2);
	EXPECT(s, "borrowed", same, 1, 9);
	assert_ptr_equal(tc_data(same), data);
	assert_null(tc_data(tc_transpose(s, tc_zeros(s, TC_F32, 2, (int64_t[]){ 2, 3 }), 0, 1)));
	tc_scope_close(s);
}

static void backward_fills_leaves_and_adds_up(void **state)
{
	struct tc_scope *s = tc_scope_open(NULL, 0);
	struct rt_err err = RT_ERR_INIT;
	struct tc_tensor *w = f32(s, 1, 2, (float[]){ 3, 5 });
	struct tc_tensor *x = f32(s, 1, 2, (float[]){ 2, 7 });

	(void)state;
	assert_int_equal(tc_require_grad(s, w, true, &err), 0);
	assert_false(tc_has_grad(w));
	assert_int_equal(tc_backward(s, tc_sum(s, tc_mul(s, w, x)), &err), 0);
	assert_true(tc_has_grad(w));
	assert_false(tc_has_grad(x));
	EXPECT(s, "once", tc_grad(s, w), 2, 7);
	assert_int_equal(tc_backward(s, tc_sum(s, tc_mul(s, w, x)), &err), 0);
	EXPECT(s, "twice", tc_grad(s, w), 4, 14);
	assert_int_equal(tc_backward(s, tc_sum(s, x), &err), -1); /* no history */
	assert_non_null(strstr(err.msg, "backward(() f32): "));
	assert_null(tc_grad(s, x));
	assert_true(tc_failed(s));
	tc_scope_close(s);
}

static void grad_mode_follows_the_scope_of_the_op(void **state)
{
	struct tc_scope *s = tc_scope_open(NULL, 0);
	struct tc_scope *quiet = tc_scope_open(s, TC_NO_GRAD), *below = tc_scope_open(quiet, 0);
	struct rt_err err = RT_ERR_INIT;
	struct tc_tensor *w = f32(s, 1, 1, (float[]){ 3 });
	struct tc_tensor *silent, *loud;

	(void)state;
	assert_int_equal(tc_require_grad(s, w, true, &err), 0);
	silent = tc_keep(s, tc_scale(below, w, 2));
	loud = tc_scale(s, w, 2); /* while quiet is still open */
	tc_scope_close(below);
	tc_scope_close(quiet);
	assert_int_equal(tc_backward(s, silent, &err), -1);
	assert_int_equal(tc_backward(s, tc_mul(s, tc_sum(s, loud), tc_sum(s, silent)), &err), 0);
	EXPECT(s, "through loud alone", tc_grad(s, w), 12);
	tc_scope_close(s);
}

static void write_and_fill_change_a_leaf_in_place(void **state)
{
	struct tc_scope *s = tc_scope_open(NULL, 0);
	struct rt_err err = RT_ERR_INIT;
	struct tc_tensor *w = f32(s, 2, 2, (float[]){ 1, 2, 3, 4 });
	bool finite = true;

	(void)state;
	assert_int_equal(tc_require_grad(s, w, true, &err), 0);
	assert_int_equal(tc_write(s, w, TC_F64, (double[]){ 5, 6, 7, 8 }, 4, &err), 0);
	EXPECT(s, "written", w, 5, 6, 7, 8);
	assert_int_equal(tc_write(s, w, TC_F32, (float[]){ 5 }, 1, &err), -1);
	assert_string_equal(err.msg, "write: the tensor has 4 elements, not 1");
	assert_int_equal(tc_fill(s, tc_detach(s, tc_select(s, w, 0, 1)), 0, &err), 0);
	EXPECT(s, "row filled", w, 5, 6, 0, 0);
	assert_int_equal(tc_all_finite(s, w, &finite, &err), 0);
	assert_true(finite);
	assert_int_equal(tc_fill(s, w, NAN, &err), 0);
	assert_int_equal(tc_all_finite(s, w, &finite, &err), 0);
	assert_false(finite);
	tc_scope_close(s);
}

static void rng_repeats_and_resumes(void **state)
{
	struct tc_scope *s = tc_scope_open(NULL, 0);
	struct rt_err err = RT_ERR_INIT;
	struct tc_rng *r = tc_rng_new(33), *q = tc_rng_new(33), *other = tc_rng_new(34);
	struct tc_tensor *x = tc_ones(s, TC_F32, 1, (int64_t[]){ 1001 });
	size_t size = tc_rng_state_size();
	void *kept = malloc(size);
	float a[1001], b[1001], c[1001];

	(void)state;
	assert_int_equal(tc_set_threads(1, &err), 0);
	assert_int_equal(tc_read(s, tc_dropout(s, r, x, 0.25), TC_F32, a, 1001, &err), 0);
	assert_int_equal(tc_set_threads(2, &err), 0);
	assert_int_equal(tc_get_threads(), 2);
	assert_int_equal(tc_read(s, tc_dropout(s, q, x, 0.25), TC_F32, b, 1001, &err), 0);
	assert_int_equal(tc_read(s, tc_dropout(s, other, x, 0.25), TC_F32, c, 1001, &err), 0);
	assert_memory_equal(a, b, sizeof a);
	assert_memory_not_equal(a, c, sizeof a);
	assert_int_equal(tc_rng_get_state(r, kept, size, &err), 0);
	assert_int_equal(tc_read(s, tc_dropout(s, r, x, 0.25), TC_F32, a, 1001, &err), 0);
	assert_memory_not_equal(a, b, sizeof a); /* the stream goes on */
	assert_int_equal(
		tc_read(s, tc_randn(s, r, TC_F32, 1, (int64_t[]){ 1001 }, 0, 1), TC_F32, b, 1001, &err), 0);
	assert_int_equal(tc_rng_set_state(r, kept, size, &err), 0);
	assert_int_equal(tc_read(s, tc_dropout(s, r, x, 0.25), TC_F32, c, 1001, &err), 0);
	assert_memory_equal(a, c, sizeof a);
	assert_int_equal(
		tc_read(s, tc_randn(s, r, TC_F32, 1, (int64_t[]){ 1001 }, 0, 1), TC_F32, c, 1001, &err), 0);
	assert_memory_equal(b, c, sizeof b);
	assert_int_equal(tc_rng_set_state(r, kept, size - 1, &err), -1);
	assert_int_equal(err.code, RT_INVALID);
	free(kept);
	tc_rng_free(r);
	tc_rng_free(q);
	tc_rng_free(other);
	tc_scope_close(s);
}

static void randperm_is_the_library_s_for_a_seed(void **state)
{
	struct tc_scope *s = tc_scope_open(NULL, 0);
	struct tc_rng *r = tc_rng_new(42);

	(void)state;
	/* torch.randperm(10, generator=torch.Generator().manual_seed(42)) */
	EXPECT(s, "seed 42", tc_randperm(s, r, 10), 2, 6, 1, 8, 4, 5, 0, 9, 3, 7);
	tc_rng_free(r);
	tc_scope_close(s);
}

static void dropout_scales_what_it_keeps(void **state)
{
	static const enum tc_dtype dtypes[] = { TC_F32, TC_BF16 };
	struct rt_err err = RT_ERR_INIT;
	float v[20000];

	(void)state;
	for (size_t d = 0; d < COUNT(dtypes); d++) {
		struct tc_scope *s = tc_scope_open(NULL, 0);
		struct tc_rng *r = tc_rng_new(7);
		struct tc_tensor *x = tc_ones(s, dtypes[d], 1, (int64_t[]){ 20000 });
		size_t zeros = 0;

		print_message("%s\n", tc_dtype_name(dtypes[d]));
		assert_int_equal(tc_require_grad(s, x, true, &err), 0);
		x = tc_scale(s, x, 1);
		assert_int_equal(tc_read(s, tc_dropout(s, r, x, 0.1), TC_F32, v, 20000, &err), 0);
		for (size_t i = 0; i < 20000; i++) {
			zeros += v[i] == 0;
			assert_true(v[i] == 0 ||
				    fabsf(v[i] - 1 / 0.9f) < (dtypes[d] == TC_F32 ? 1e-6f : 4e-3f));
		}
		assert_true(zeros > 1850 && zeros < 2150); /* 3.5 standard deviations */
		assert_ptr_equal(tc_data(tc_dropout(s, r, x, 0)), tc_data(x));
		assert_null(tc_dropout(s, r, x, 1.5));
		tc_rng_free(r);
		tc_scope_close(s);
	}
}

static void library_says_what_it_is(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	char text[4096], path[512];

	(void)state;
	tc_describe(text, sizeof text);
	assert_true(strlen(text) > 10);
	assert_true(strlen(tc_version()) > 2);
	text[0] = '\0';
	tc_blas(text, sizeof text, path, sizeof path);
	print_message("%s %s\n", text, path);
	assert_true(text[0] != '\0');
	assert_int_equal(tc_set_threads(0, &err), -1);
	assert_string_equal(err.msg, "the number of threads must be above 0 (got 0)");
	assert_true(tc_gpu_count() >= 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ops_pass_their_arguments_in_order),
		cmocka_unit_test(kl_div_is_target_against_input),
		cmocka_unit_test(first_failure_sticks_with_op_and_shapes),
		cmocka_unit_test(missing_arguments_are_failures),
		cmocka_unit_test(no_memory_has_its_own_code),
		cmocka_unit_test(scopes_own_and_keep_lets_out),
		cmocka_unit_test(from_data_copies_and_borrowed_does_not),
		cmocka_unit_test(backward_fills_leaves_and_adds_up),
		cmocka_unit_test(grad_mode_follows_the_scope_of_the_op),
		cmocka_unit_test(write_and_fill_change_a_leaf_in_place),
		cmocka_unit_test(rng_repeats_and_resumes),
		cmocka_unit_test(randperm_is_the_library_s_for_a_seed),
		cmocka_unit_test(dropout_scales_what_it_keeps),
		cmocka_unit_test(library_says_what_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
