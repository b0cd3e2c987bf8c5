/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products by oneDNN, without a copy and without libtorch in between: strides, accumulation into what is there, fp32 results of
 * bfloat16 factors. Row-major. */
#ifndef RT_WORKER_TORCH_GEMM_HPP
#define RT_WORKER_TORCH_GEMM_HPP

#include <cstdint>

/* c (m, n) = a b, or += with add; plus bias (n) to every row. a (m, k), with turned_a stored as (k, m); b (k, n), with turned_b
 * stored as (n, k). ld: elements from row to row as stored. Throws what oneDNN throws. */
struct tc_gemm {
	bool bf16;	  /* a and b are bfloat16; else fp32 */
	bool result_bf16; /* c is; else fp32 */
	bool turned_a, turned_b;
	bool add;
	int64_t m, n, k;
	const void *a, *b;
	void *c;
	int64_t lda, ldb, ldc;
	const float *bias; /* or NULL */
};

void tc_gemm_run(const tc_gemm &g);

#endif
