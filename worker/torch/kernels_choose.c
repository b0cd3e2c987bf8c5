/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "worker/torch/kernels.h"

extern const struct rt_kernels rt_kernel_table_base;
#ifdef RT_KERNELS_X86
extern const struct rt_kernels rt_kernel_table_avx2, rt_kernel_table_avx512;
#endif

static const struct rt_kernels *best(const char *at_most)
{
#ifdef RT_KERNELS_X86
	bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
	bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");

	if (avx512 && (!at_most || strcmp(at_most, "avx512") == 0))
		return &rt_kernel_table_avx512;
	if (avx2 && (!at_most || strcmp(at_most, "base") != 0))
		return &rt_kernel_table_avx2;
#endif
	(void)at_most;
	return &rt_kernel_table_base;
}

const struct rt_kernels *rt_kernels_get(void)
{
	return best(getenv("RT_KERNELS"));
}

#define LANES RT_KERNEL_LANES

size_t rt_kernels_norm_scratch(int64_t rows, int64_t cols, int threads)
{
	return (size_t)((rows + RT_KERNEL_CHUNK - 1) / RT_KERNEL_CHUNK * 3 * cols +
			2 * (int64_t)threads * cols);
}

size_t rt_kernels_attention_scratch(int64_t longest, int64_t size, bool backward, int threads)
{
	size_t wide = (size_t)((longest + LANES - 1) / LANES * LANES),
	       deep = (size_t)((size + LANES - 1) / LANES * LANES);
	size_t one =
		RT_KERNEL_QUERIES * (2 * deep + (backward ? 2 : 1) * wide) + (backward ? 5 : 2) * wide * deep;

	return one * (size_t)threads;
}
