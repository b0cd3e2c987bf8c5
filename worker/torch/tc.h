/* SPDX-License-Identifier: Apache-2.0 */
/* libtorch for C. Opaque tensors and scopes; mechanical forwarding; no knowledge of models, files or training.
 *
 * Scopes own tensors: the result of an op belongs to the scope it was given and lives until that scope closes; tc_keep
 * moves one to another scope. A scope belongs to one thread; scopes close in reverse order of opening. One scope per
 * training step, a child for a large temporary, one long-lived scope for parameters.
 *
 * Pure ops (all that return struct tc_tensor *) have sticky errors: the first failure in a chain of scopes (a scope, its
 * parents and all their children) is kept with the op's name and its arguments' shapes; from then on every op in that
 * chain returns NULL. A NULL scope is a failed scope; a NULL argument is a failure with a message, unless the comment
 * says "or NULL". Calls with effects (all that return int) return 0 or -1, fill err and refuse a failed scope.
 * Both kinds report RT_NO_MEMORY when memory ran out (on the CPU or a GPU), RT_INTERNAL otherwise.
 *
 * A tensor keeps what its gradient needs alive: do not keep a loss across steps, take a double out.
 * Gradients are recorded for ops in a scope without TC_NO_GRAD, whichever other scopes are open.
 * Shapes are row-major; a negative dim counts from the end. Two random ops never share one statement. */
#ifndef RT_WORKER_TORCH_TC_H
#define RT_WORKER_TORCH_TC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "worker/torch/act.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tc_scope;
struct tc_tensor;
struct tc_rng;

enum tc_dtype { TC_F32, TC_F64, TC_F16, TC_BF16, TC_I64, TC_I32, TC_U8, TC_BOOL };

#define TC_MAX_DIMS 8

/* ---- scopes ---- */

enum {
	TC_NO_GRAD = 1, /* a child of a TC_NO_GRAD scope is one too */
	TC_GPU = 2,	/* tensors made in it are on the first GPU that the library sees; a child's too */
};

/* A new scope; parent: NULL or an open one. NULL without memory: NULL works as a failed scope everywhere. */
struct tc_scope *tc_scope_open(struct tc_scope *parent, int flags);
void tc_scope_close(struct tc_scope *s); /* frees its tensors; NULL is fine */
/* Moves t to scope `to` and returns t. A NULL t fails `to`. */
struct tc_tensor *tc_keep(struct tc_scope *to, struct tc_tensor *t);
/* Frees one tensor early. It must not be used again. NULL is fine. */
void tc_drop(struct tc_tensor *t);
bool tc_failed(const struct tc_scope *s);
/* 0, or -1 with the chain's first failure in err. */
int tc_check(const struct tc_scope *s, struct rt_err *err);
/* Makes s fail with this message unless it has failed already: for checks above the ops. Returns NULL. */
struct tc_tensor *tc_fail(struct tc_scope *s, enum rt_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- what a tensor is; a NULL tensor has no dims and no elements ---- */

int tc_ndim(const struct tc_tensor *t);
int64_t tc_size(const struct tc_tensor *t, int dim); /* 0 for a dim it has not */
int64_t tc_numel(const struct tc_tensor *t);
enum tc_dtype tc_dtype_of(const struct tc_tensor *t); /* of NULL: TC_F32 */
size_t tc_dtype_size(enum tc_dtype dtype);	      /* bytes of one element */
const char *tc_dtype_name(enum tc_dtype dtype);	      /* "f32"; static */
/* The elements of a contiguous tensor in this machine's memory, borrowed until its scope closes; NULL for others. */
const void *tc_data(const struct tc_tensor *t);

/* ---- making tensors ---- */

struct tc_tensor *tc_from_data(struct tc_scope *s, enum tc_dtype dtype, int ndim, const int64_t *shape,
			       const void *data); /* copies data */
/* data is borrowed until every tensor made from it (views, and a tape that saved it) is gone; it is never written. */
struct tc_tensor *tc_from_borrowed(struct tc_scope *s, enum tc_dtype dtype, int ndim, const int64_t *shape,
				   const void *data);
struct tc_tensor *tc_full(struct tc_scope *s, enum tc_dtype dtype, int ndim, const int64_t *shape,
			  double value);
struct tc_tensor *tc_zeros(struct tc_scope *s, enum tc_dtype dtype, int ndim, const int64_t *shape);
struct tc_tensor *tc_ones(struct tc_scope *s, enum tc_dtype dtype, int ndim, const int64_t *shape);
struct tc_tensor *tc_zeros_like(struct tc_scope *s, struct tc_tensor *t);
struct tc_tensor *tc_arange(struct tc_scope *s, enum tc_dtype dtype, int64_t n); /* (n): 0, 1, … */
/* The same numbers in memory of their own, without history. */
struct tc_tensor *tc_clone(struct tc_scope *s, struct tc_tensor *t);
/* The same elements without history; shares memory. */
struct tc_tensor *tc_detach(struct tc_scope *s, struct tc_tensor *t);
/* t in another dtype; t's own elements when it has it already. Gradients flow back in t's dtype. */
struct tc_tensor *tc_to(struct tc_scope *s, struct tc_tensor *t, enum tc_dtype dtype);

/* ---- random numbers: always from a generator of ours, never the library's global one ---- */

/* NULL without memory. Two generators with one seed give the same numbers, whatever the number of threads. */
struct tc_rng *tc_rng_new(uint64_t seed);
void tc_rng_free(struct tc_rng *r); /* NULL is fine */
int tc_rng_seed(struct tc_rng *r, uint64_t seed, struct rt_err *err);
/* The whole state, to go on later from the same place. size: of the buffer, at least tc_rng_state_size(). */
size_t tc_rng_state_size(void);
int tc_rng_get_state(const struct tc_rng *r, void *out, size_t size, struct rt_err *err);
int tc_rng_set_state(struct tc_rng *r, const void *state, size_t size, struct rt_err *err);

struct tc_tensor *tc_randn(struct tc_scope *s, struct tc_rng *r, enum tc_dtype dtype, int ndim,
			   const int64_t *shape, double mean, double std);
struct tc_tensor *tc_randperm(struct tc_scope *s, struct tc_rng *r,
			      int64_t n); /* (n) I64, PyTorch's order for a seed */
/* Zeroes each element with probability p (0..1) and scales the others by 1/(1-p). p 0 gives x and draws nothing. */
struct tc_tensor *tc_dropout(struct tc_scope *s, struct tc_rng *r, struct tc_tensor *x, double p);

/* ---- arithmetic; shapes broadcast and dtypes promote as in PyTorch ---- */

struct tc_tensor *tc_add(struct tc_scope *s, struct tc_tensor *a, struct tc_tensor *b);
struct tc_tensor *tc_sub(struct tc_scope *s, struct tc_tensor *a, struct tc_tensor *b); /* a - b */
struct tc_tensor *tc_mul(struct tc_scope *s, struct tc_tensor *a, struct tc_tensor *b);
struct tc_tensor *tc_div(struct tc_scope *s, struct tc_tensor *a, struct tc_tensor *b); /* a / b */
struct tc_tensor *tc_scale(struct tc_scope *s, struct tc_tensor *a, double factor);
struct tc_tensor *tc_add_scalar(struct tc_scope *s, struct tc_tensor *a, double value);
struct tc_tensor *tc_exp(struct tc_scope *s, struct tc_tensor *a);
struct tc_tensor *tc_log(struct tc_scope *s, struct tc_tensor *a);
struct tc_tensor *tc_tanh(struct tc_scope *s, struct tc_tensor *a);
struct tc_tensor *tc_relu(struct tc_scope *s, struct tc_tensor *a);
struct tc_tensor *tc_silu(struct tc_scope *s, struct tc_tensor *a);
struct tc_tensor *tc_sigmoid(struct tc_scope *s, struct tc_tensor *a);
struct tc_tensor *tc_softplus(struct tc_scope *s, struct tc_tensor *a); /* log(1 + exp(a)) */
struct tc_tensor *tc_sqrt(struct tc_scope *s, struct tc_tensor *a);
struct tc_tensor *tc_erf(struct tc_scope *s, struct tc_tensor *a);
struct tc_tensor *tc_clamp(struct tc_scope *s, struct tc_tensor *a, double least, double most);
enum tc_gelu { TC_GELU_EXACT /* erf */, TC_GELU_TANH };
struct tc_tensor *tc_gelu(struct tc_scope *s, struct tc_tensor *a, enum tc_gelu kind);
struct tc_tensor *tc_eq(struct tc_scope *s, struct tc_tensor *a, struct tc_tensor *b); /* BOOL */

/* ---- products ---- */

struct tc_tensor *tc_matmul(struct tc_scope *s, struct tc_tensor *a,
			    struct tc_tensor *b); /* (…, M, K) (…, K, N) */
struct tc_tensor *tc_bmm(struct tc_scope *s, struct tc_tensor *a,
			 struct tc_tensor *b); /* (B, M, K) (B, K, N) */
/* x w^T + b. x (…, in), w (out, in), b (out) or NULL. */
struct tc_tensor *tc_linear(struct tc_scope *s, struct tc_tensor *x, struct tc_tensor *w,
			    struct tc_tensor *b);

/* ---- shapes: views of the same elements where PyTorch gives a view ---- */

struct tc_tensor *tc_transpose(struct tc_scope *s, struct tc_tensor *t, int dim0, int dim1);
struct tc_tensor *tc_permute(struct tc_scope *s, struct tc_tensor *t, int ndim, const int64_t *dims);
struct tc_tensor *tc_reshape(struct tc_scope *s, struct tc_tensor *t, int ndim,
			     const int64_t *shape); /* one: -1 */
struct tc_tensor *tc_contiguous(struct tc_scope *s, struct tc_tensor *t);
struct tc_tensor *tc_narrow(struct tc_scope *s, struct tc_tensor *t, int dim, int64_t start, int64_t length);
struct tc_tensor *tc_select(struct tc_scope *s, struct tc_tensor *t, int dim, int64_t index); /* drops dim */
/* index: I64 (n) */
struct tc_tensor *tc_index_select(struct tc_scope *s, struct tc_tensor *t, int dim, struct tc_tensor *index);
/* index: I64, as many dims as t */
struct tc_tensor *tc_gather(struct tc_scope *s, struct tc_tensor *t, int dim, struct tc_tensor *index);
struct tc_tensor *tc_cat(struct tc_scope *s, struct tc_tensor *const *list, size_t n, int dim);

/* ---- layers and losses ---- */

/* Rows of table (V, H) by ids I64 (…): (…, H). padding_idx: this row gets no gradient; -1: none such. */
struct tc_tensor *tc_embedding(struct tc_scope *s, struct tc_tensor *table, struct tc_tensor *ids,
			       int64_t padding_idx);
/* Over the last dim. w (H), b (H) or NULL. */
struct tc_tensor *tc_layer_norm(struct tc_scope *s, struct tc_tensor *x, struct tc_tensor *w,
				struct tc_tensor *b, double eps);
struct tc_tensor *tc_softmax(struct tc_scope *s, struct tc_tensor *x, int dim);
struct tc_tensor *tc_log_softmax(struct tc_scope *s, struct tc_tensor *x, int dim);
enum tc_reduction { TC_NONE, TC_MEAN, TC_SUM };
/* logits (N, V), target I64 (N) of classes. TC_NONE: (N); else a scalar. */
struct tc_tensor *tc_cross_entropy(struct tc_scope *s, struct tc_tensor *logits, struct tc_tensor *target,
				   enum tc_reduction reduction);
/* target * (log(target) - log_input), 0 where target is 0; unreduced, summed, or the mean over elements (not rows).
 * log_input, target: the same shape. */
struct tc_tensor *tc_kl_div(struct tc_scope *s, struct tc_tensor *log_input, struct tc_tensor *target,
			    enum tc_reduction reduction);
struct tc_tensor *tc_sum(struct tc_scope *s, struct tc_tensor *x);  /* of all elements: a scalar */
struct tc_tensor *tc_mean(struct tc_scope *s, struct tc_tensor *x); /* of all elements: a scalar */
struct tc_tensor *tc_sum_dim(struct tc_scope *s, struct tc_tensor *x, int dim, bool keep_dim);
struct tc_tensor *tc_argmax(struct tc_scope *s, struct tc_tensor *x, int dim); /* I64, drops dim */

/* ---- gradients ---- */

/* Makes a tensor without history a leaf that gathers a gradient (or not). */
int tc_require_grad(struct tc_scope *s, struct tc_tensor *t, bool on, struct rt_err *err);
/* Adds d loss / d leaf to each leaf's gradient. loss: a scalar with history, which is used up. */
int tc_backward(struct tc_scope *s, struct tc_tensor *loss, struct rt_err *err);
bool tc_has_grad(const struct tc_tensor *t);
struct tc_tensor *tc_grad(struct tc_scope *s,
			  struct tc_tensor *t); /* shares memory; t without one is a failure */
/* ---- effects ---- */

int tc_item_f64(struct tc_scope *s, struct tc_tensor *t, double *ret,
		struct rt_err *err); /* t: one element */
/* All elements of t as dtype, row-major, into out. n: exactly tc_numel(t). */
int tc_read(struct tc_scope *s, struct tc_tensor *t, enum tc_dtype dtype, void *out, size_t n,
	    struct rt_err *err);
/* The other way: overwrites t's elements in place (a leaf's too). n: exactly tc_numel(t). */
int tc_write(struct tc_scope *s, struct tc_tensor *t, enum tc_dtype dtype, const void *data, size_t n,
	     struct rt_err *err);
/* Overwrites to's elements with from's, of the same shape, in place. */
int tc_copy(struct tc_scope *s, struct tc_tensor *to, struct tc_tensor *from, struct rt_err *err);
int tc_fill(struct tc_scope *s, struct tc_tensor *t, double value,
	    struct rt_err *err); /* in place, no history */
/* *ret: is every element finite? */
int tc_all_finite(struct tc_scope *s, struct tc_tensor *t, bool *ret, struct rt_err *err);

/* ---- parameters: a model's numbers, in flat buffers that one pass of the optimizer goes through ---- */

struct tc_param_spec {
	int ndim;
	int64_t shape[3];
	bool matrix; /* a weight (out, in) that products read; those that stand next to one another here do so in memory */
	bool table; /* an embedding (rows, cols): a step touches few rows */
	bool decay; /* weight decay applies */
};

enum {
	TC_PARAMS_TRAIN = 1, /* with gradients and moments, zeros at first */
	TC_PARAMS_BF16 =
		2, /* products are in bf16: matrices have a bf16 copy, or without TC_PARAMS_TRAIN are bf16 alone */
};

struct tc_params;

/* n parameters of zeros; the tensors belong to s, which must be closed before tc_params_free. NULL when s has failed. */
struct tc_params *tc_params_new(struct tc_scope *s, const struct tc_param_spec *specs, size_t n, int flags);
void tc_params_free(struct tc_params *p);			     /* NULL is fine */
struct tc_tensor *tc_params_at(const struct tc_params *p, size_t i); /* borrowed; to fill with tc_write */
/* After values or moments were written from outside: before the first step, and when a run goes on from a checkpoint. */
int tc_params_ready(struct tc_scope *s, struct tc_params *p, struct rt_err *err);
/* AdamW's moment `which` (1 or 2) of parameter i: fp32, its shape, shares memory. */
struct tc_tensor *tc_params_moment(struct tc_scope *s, const struct tc_params *p, size_t i, int which);

/* A step begins: gradients are forgotten. Those of several backward passes after it add up. */
void tc_params_begin(struct tc_params *p);
/* *ret: the L2 norm of all gradients together. */
int tc_params_grad_norm(struct tc_scope *s, const struct tc_params *p, double *ret, struct rt_err *err);

struct tc_adamw {
	double lr, beta1, beta2, eps, weight_decay;
	double grad_scale; /* gradients are multiplied by it first (clipping); 1: as they are */
	int64_t step;	   /* from 1: the number of this update */
};
/* One step of torch.optim.AdamW, in place; parameters without a gradient in this step are passed over. */
int tc_params_adamw(struct tc_scope *s, struct tc_params *p, const struct tc_adamw *how, struct rt_err *err);

/* ---- fused layers, over parameters of tc_params; x and what they return are contiguous (N, width) ----
 *
 * Products are in the parameters' precision: bf16 where matrices have a bf16 copy, fp32 otherwise; "low" below is a tensor of
 * that type, and x is converted to it when it has the other. Sums, norms, softmax and the gradients of parameters are fp32. The
 * results equal those of the plain ops up to rounding (tests/unit/test_fused.c); dropout draws other numbers. On a GPU they are made of plain ops. */

/* Weight and bias of a linear layer, scale and shift of a norm. b may be NULL. */
struct tc_affine {
	struct tc_tensor *w, *b;
};

/* x a[0].w^T + a[0].b, and behind it in the columns those of the others, up to TC_SIDE_MAX. Low. */
#define TC_SIDE_MAX 3
struct tc_tensor *tc_project(struct tc_scope *s, struct tc_tensor *x, const struct tc_affine *a, size_t n);
/* act(x w^T + b). Low. */
struct tc_tensor *tc_project_act(struct tc_scope *s, struct tc_tensor *x, const struct tc_affine *a,
				 enum tc_act act);
/* norm(residual + dropout(x w^T + b)), fp32; *ret_low: the same, low. residual: fp32 (N, out). p: of the dropout, drawn from r. */
struct tc_tensor *tc_project_norm(struct tc_scope *s, struct tc_tensor *x, const struct tc_affine *a,
				  struct tc_rng *r, double p, struct tc_tensor *residual,
				  const struct tc_affine *norm, double eps, struct tc_tensor **ret_low);
/* norm(x), fp32; *ret_low: the same in the type of like's copies. x: fp32. norm: w and b may both be parameters or NULL. */
struct tc_tensor *tc_norm(struct tc_scope *s, struct tc_tensor *x, const struct tc_affine *norm, double eps,
			  bool bf16, struct tc_tensor **ret_low);
/* x (N, 2 I): act(first half) * second half. Its type. */
struct tc_tensor *tc_gate(struct tc_scope *s, struct tc_tensor *x, enum tc_act act);

/* x (N, 3 * heads * size), query, key and value side by side: query and key turned by each token's angles, cos and sin fp32 (N, size / 2)
 * (Su et al. 2021, halves as pairs). Its type. */
struct tc_tensor *tc_rotate(struct tc_scope *s, struct tc_tensor *x, int64_t heads, struct tc_tensor *cos,
			    struct tc_tensor *sin);

/* Sum of rows of tables (V, H): of row i, ids[k][i] of table k (ids NULL: row 0). fp32 (N, H). ids: I64 (N). skip: a row of each
 * table that gets no gradient; -1: none. */
#define TC_TABLES_MAX 3
struct tc_tensor *tc_embed(struct tc_scope *s, size_t n, struct tc_tensor *const *tables,
			   struct tc_tensor *const *ids, const int64_t *skip, int64_t rows);

struct tc_attention {
	/* (N, …) of one type: query, key and value in one tensor (key and value NULL), key and value in one (value NULL), or
	 * each its own. */
	struct tc_tensor *query, *key, *value;
	int64_t texts, heads;
	const int64_t *starts; /* (texts + 1): text t's tokens are rows starts[t] to starts[t + 1]; copied */
	bool first_only;       /* query has one row a text, its first token's; not with all in one tensor */
	double scale;
	struct tc_tensor *
		bias; /* fp32 (heads, W, W), W at least the longest text, added to the scaled scores; or NULL */
	int64_t window; /* keys up to this many tokens away count; -1: all */
	double p;	/* dropout of the probabilities, drawn from rng */
	struct tc_rng *rng;
};
/* Softmax attention within each text: (queries, heads * size), the type of query. */
struct tc_tensor *tc_attend(struct tc_scope *s, const struct tc_attention *a);

/* ---- the library and the machine ---- */

const char *tc_version(void);		       /* "1.13.0"; static */
int tc_set_threads(int n, struct rt_err *err); /* threads of one op; n above 0 */
int tc_get_threads(void);
/* The library's own words on how it was built, into out (cut at size), always NUL-terminated. */
void tc_describe(char *out, size_t size);
/* The BLAS that serves matrix products, as it names itself ("OpenBLAS 0.3.21 …", "reference BLAS"), into out, and the file it was
 * loaded from, or "", into path (both cut at their size). True if it is a fast one as far as its name says. */
bool tc_blas(char *out, size_t size, char *path, size_t path_size);
int tc_gpu_count(void); /* GPUs the library can use; 0 without GPU support */

#ifdef __cplusplus
}
#endif
#endif
