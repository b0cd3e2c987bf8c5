/* SPDX-License-Identifier: Apache-2.0 */
/* The fused layers of tc.h made of libtorch's plain ops, with libtorch's own gradients: what runs on a GPU, where our kernels do not, and
 * what they are compared with. Arguments and meaning are those of the functions of the same name in tc.h. */
#ifndef RT_WORKER_TORCH_COMPOSED_HPP
#define RT_WORKER_TORCH_COMPOSED_HPP

#include "worker/torch/inner.hpp"

/* Is t on a GPU, or RT_TORCH_COMPOSED set in the environment (for tests)? */
bool tc_is_composed(const at::Tensor &t);

at::Tensor tc_composed_project(const at::Tensor &x, const tc_affine *a, size_t n);
at::Tensor tc_composed_act(const at::Tensor &x, enum tc_act act);
at::Tensor tc_composed_norm(const at::Tensor &x, const tc_affine *norm, double eps);
at::Tensor tc_composed_rotate(const at::Tensor &x, int64_t heads, const at::Tensor &cos,
			      const at::Tensor &sin);
at::Tensor tc_composed_dropout(const at::Tensor &x, tc_rng *r, double p);
at::Tensor tc_composed_embed(size_t n, tc_tensor *const *tables, tc_tensor *const *ids, const int64_t *skip,
			     int64_t rows);
at::Tensor tc_composed_attend(const tc_attention *a);

#endif
