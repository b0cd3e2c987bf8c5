/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic between the matrix products, on this machine's memory: activations, norms, attention, embeddings, AdamW. Plain
 * loops in C, compiled once for each instruction set (meson.build) and chosen when the program starts. Knows no libtorch.
 *
 * Matrices are row-major; `ld` is the distance between rows in elements. An element is a float or a bfloat16 (its upper half,
 * in a uint16_t), by enum rt_elem; sums are always kept in float. Work is shared among OpenMP's threads. Every result is
 * the same for any number of threads: what one thread sums, it sums in a fixed order. Pointers are borrowed for the call; those
 * that may be NULL say so. Random choices are a function of (key, row, column), so backward draws what forward drew. */
#ifndef RT_WORKER_TORCH_KERNELS_H
#define RT_WORKER_TORCH_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/torch/act.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the sizes of scratch follow from. */
#define RT_KERNEL_LANES	  16 /* floats a vector has at most: attention pads to it */
#define RT_KERNEL_CHUNK	  64 /* rows of a norm whose column sums are made together */
#define RT_KERNEL_QUERIES 64 /* queries whose scores are in memory together */

enum rt_elem { RT_ELEM_F32, RT_ELEM_BF16 };

/* Dropout: each element is kept with probability 1 - p and scaled by 1 / (1 - p). p 0: none. */
struct rt_drop {
	float p;
	uint64_t key;
};

/* h = residual + drop(z); out = gamma * (h - mean) / sqrt(var + eps) + beta, over the columns of each row. */
struct rt_norm_forward {
	enum rt_elem elem; /* of z and low */
	int64_t rows, cols;
	const void *z;		   /* (rows, cols), or NULL: 0, and no dropout: h is the residual then */
	const float *residual;	   /* (rows, cols), or NULL: 0; not both NULL */
	const float *gamma, *beta; /* (cols); beta or both NULL: 0 and 1 */
	float eps;
	struct rt_drop drop;
	float *h;     /* out, with z: (rows, cols), what backward needs; or NULL, then full is not NULL */
	float *stats; /* out: (rows, 2) mean and 1 / sqrt(var + eps); or NULL */
	float *full;  /* out: (rows, cols), or NULL */
	void *low;    /* out: (rows, cols) of elem, or NULL */
};

/* From the gradients of full and low to those of all inputs. Where add_* the sums are added to what is there. */
struct rt_norm_backward {
	enum rt_elem elem;
	int64_t rows, cols;
	const float *dfull; /* (rows, cols), or NULL: 0 */
	const void *dlow;   /* (rows, cols) of elem, or NULL: 0 */
	const float *h, *stats, *gamma;
	struct rt_drop drop;
	float *dh;	       /* out: (rows, cols), the residual's gradient; or NULL */
	void *dz;	       /* out: (rows, cols) of elem; or NULL */
	float *dgamma, *dbeta; /* out: (cols), or NULL */
	float *dbias; /* out: (cols) column sums of dz: the gradient of the bias that z had; or NULL */
	bool add_dgamma, add_dbeta, add_dbias;
	float *scratch; /* rt_kernels_norm_scratch floats */
};

/* Softmax attention of packed rows: text r's tokens are starts[r] to starts[r + 1]. q, k, v, out: element (token, head, i) at
 * [token * ld + head * size + i]. */
struct rt_attention {
	enum rt_elem elem;
	int64_t texts, heads, size; /* size: of a head */
	const int64_t *starts;	    /* (texts + 1) */
	bool first_only; /* one query a text, its first token's: q and out have a row a text, in the texts' order */
	const void *q, *k, *v;
	int64_t ldq, ldk, ldv;
	float scale;
	const float *bias;   /* (heads, bias_width, bias_width) added to the scaled scores, or NULL */
	int64_t bias_width;  /* at least the longest text */
	int64_t window;	     /* a query sees keys up to this many tokens away; -1: all */
	struct rt_drop drop; /* of the probabilities */
	void *out;	     /* forward's result, (queries, heads * size) */
	float *lse; /* (queries, heads) log of the sum of exp(scores): written by forward (or NULL), read by backward */
	/* backward: */
	const void *d_out;  /* as out */
	void *dq, *dk, *dv; /* out: as q, k, v with the same ld */
	float *dbias;	    /* added to: as bias; or NULL */
	float *scratch;	    /* rt_kernels_attention_scratch floats */
};

struct rt_embed {
	int64_t rows, cols;
	size_t tables; /* at most 3 */
	const float *table[3];
	const int64_t *ids[3]; /* (rows) rows of the table; NULL: row 0 everywhere */
};

struct rt_adamw {
	float keep;	  /* 1 - lr * weight decay */
	float w1;	  /* 1 - beta1 */
	float beta2, w2;  /* w2: 1 - beta2 */
	float root, eps;  /* root: sqrt(1 - beta2^step) */
	float step_size;  /* lr / (1 - beta1^step) */
	float grad_scale; /* the gradient is multiplied by it first: clipping */
};

struct rt_kernels {
	const char *name; /* of the instruction set: "avx512", "avx2", "base" */
	void (*lower)(uint16_t *out, const float *in, int64_t n); /* to bfloat16, to nearest, ties to even */
	void (*raise)(float *out, const uint16_t *in, int64_t n);
	/* y = act(x). n elements. */
	void (*act)(enum rt_elem elem, enum tc_act act, void *y, const void *x, int64_t n);
	/* dx = dy * act'(x); dbias (cols) its column sums, added to what is there where add; dbias may be NULL. */
	void (*act_backward)(enum rt_elem elem, enum tc_act act, void *dx, const void *dy, const void *x,
			     int64_t rows, int64_t cols, float *dbias, bool add);
	/* x (rows, 2 cols) is a gate's two halves: y (rows, cols) = act(first) * second. */
	void (*gate)(enum rt_elem elem, enum tc_act act, void *y, const void *x, int64_t rows, int64_t cols);
	void (*gate_backward)(enum rt_elem elem, enum tc_act act, void *dx, const void *dy, const void *x,
			      int64_t rows, int64_t cols);
	void (*column_sum)(enum rt_elem elem, float *out, const void *x, int64_t ld, int64_t rows,
			   int64_t cols, bool add);
	/* Turns the first 2 * heads groups of each row's 3 * heads groups of `size` (query and key) by the row's angles: pair
	 * (i, i + size / 2) by cos, sin (rows, size / 2); copies the rest. back: by the opposite angles. */
	void (*rotate)(enum rt_elem elem, void *y, const void *x, const float *cos, const float *sin,
		       int64_t rows, int64_t heads, int64_t size, bool back);
	void (*dropout)(enum rt_elem elem, void *y, const void *x, int64_t rows, int64_t cols,
			struct rt_drop drop);
	void (*norm)(const struct rt_norm_forward *n);
	void (*norm_backward)(const struct rt_norm_backward *n);
	void (*attention)(const struct rt_attention *a);
	void (*attention_backward)(const struct rt_attention *a);
	void (*embed)(const struct rt_embed *e,
		      float *out); /* out (rows, cols): the sum of the tables' rows */
	/* grad row ids[i] += dy row i, in the order of i. skip: a table row that gets nothing; -1: none. ids NULL: all to row 0. */
	void (*embed_backward)(float *grad, const int64_t *ids, const float *dy, int64_t rows, int64_t cols,
			       int64_t skip);
	double (*sum_squares)(const float *x, int64_t n);
	/* One AdamW update of n numbers; low: their bfloat16 copies, or NULL. */
	void (*adamw)(const struct rt_adamw *k, float *p, const float *g, float *m, float *v, uint16_t *low,
		      int64_t n);
};

/* The best set that this processor has. Static. RT_KERNELS=base|avx2|avx512 in the environment chooses a lower one. */
const struct rt_kernels *rt_kernels_get(void);

/* Floats of scratch that norm_backward and the two attention kernels need. longest: tokens of the longest text. */
size_t rt_kernels_norm_scratch(int64_t rows, int64_t cols, int threads);
size_t rt_kernels_attention_scratch(int64_t longest, int64_t size, bool backward, int threads);

#ifdef __cplusplus
}
#endif
#endif
