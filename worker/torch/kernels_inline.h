/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of kernels share: elements, the exponential function, dropout's random numbers. All inline, compiled with the
 * instruction set of the file that includes it; for no one else. */
#ifndef RT_WORKER_TORCH_KERNELS_INLINE_H
#define RT_WORKER_TORCH_KERNELS_INLINE_H

#include "base/mix.h"
#include "worker/torch/kernels.h"

#include <math.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#else
static inline int omp_get_max_threads(void)
{
	return 1;
}
static inline int omp_get_thread_num(void)
{
	return 0;
}
#endif

#define SMALL 8192 /* elements below which a second thread does not pay */

/* Names of this instruction set: RT_KERNEL(attention) is rt_kernel_attention_avx512. */
#define RT_KERNEL_PASTE(name, set)  rt_kernel_##name##_##set
#define RT_KERNEL_EXPAND(name, set) RT_KERNEL_PASTE(name, set)
#define RT_KERNEL(name)		    RT_KERNEL_EXPAND(name, RT_KERNELS_SET)

void RT_KERNEL(attention)(const struct rt_attention *a);
void RT_KERNEL(attention_backward)(const struct rt_attention *a);

/* ---- elements ---- */

static inline float as_float(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, sizeof f);
	return f;
}

static inline uint32_t as_bits(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, sizeof bits);
	return bits;
}

static inline float raise1(uint16_t v)
{
	return as_float((uint32_t)v << 16);
}

static inline uint16_t lower1(float f)
{
	uint32_t bits = as_bits(f), rounded = bits + 0x7fff + ((bits >> 16) & 1);

	return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded >> 16);
}

static inline float load_f32(const void *p, int64_t i)
{
	return ((const float *)p)[i];
}

static inline float load_bf16(const void *p, int64_t i)
{
	return raise1(((const uint16_t *)p)[i]);
}

static inline void store_f32(void *p, int64_t i, float v)
{
	((float *)p)[i] = v;
}

static inline void store_bf16(void *p, int64_t i, float v)
{
	((uint16_t *)p)[i] = lower1(v);
}

/* Instantiates a static function for both elements and calls the one that fits. */
#define BOTH(X)		      X(f32) X(bf16)
#define CHOOSE(elem, fn, ...) ((elem) == RT_ELEM_BF16 ? fn##_bf16(__VA_ARGS__) : fn##_f32(__VA_ARGS__))

static inline size_t size_of(enum rt_elem elem)
{
	return elem == RT_ELEM_BF16 ? 2 : 4;
}

static inline const void *at(enum rt_elem elem, const void *p, int64_t i)
{
	return (const char *)p + (size_t)i * size_of(elem);
}

static inline void *to(enum rt_elem elem, void *p, int64_t i)
{
	return (char *)p + (size_t)i * size_of(elem);
}

/* ---- functions: polynomials fitted by least squares to the largest relative error, which stands beside them ---- */

/* e^x, 3e-8 relative; 0 below -87, e^88 above 88. NaN stays NaN. */
static inline float exp1(float x)
{
	float t = x * 1.44269504f, n, f, p;

	t = t < -125.5f ? -125.5f : t;
	t = t > 126.9f ? 126.9f : t;
	n = t + 12582912.0f; /* 1.5 * 2^23: rounds to a whole number in its low bits */
	f = n - 12582912.0f;
	/* x - n ln 2 in two pieces: t itself has lost the digits that matter when x is large */
	f = (x > 88.0f ? 88.0f : x < -87.0f ? -87.0f : x) - f * 0.693359375f - f * -2.12194440e-4f;
	f *= 1.44269504f;
	p = 0.0001534581635f;
	p = p * f + 0.001339993294f;
	p = p * f + 0.009618488957f;
	p = p * f + 0.05550328773f;
	p = p * f + 0.2402264689f;
	p = p * f + 0.6931472057f;
	p = p * f + 1.0f;
	p = p * as_float((as_bits(n) - 0x4b400000u + 127u) << 23);
	p = x < -87.0f ? 0.0f : p;
	return x != x ? x : p;
}

/* ---- dropout's random numbers ---- */

static inline uint64_t row_key(struct rt_drop drop, int64_t row)
{
	return rt_mix64(drop.key + RT_MIX_STEP * (uint64_t)(row + 1));
}

/* 32 bits for a column: the row's key mixed with it in two multiplications. */
static inline uint32_t bits_at(uint64_t key, uint32_t col)
{
	uint32_t x = col * 0x9e3779b9u + (uint32_t)key;

	x = (x ^ (x >> 16)) * 0x7feb352du;
	x = (x ^ (x >> 15)) + (uint32_t)(key >> 32);
	x *= 0x846ca68bu;
	return x ^ (x >> 16);
}

static inline uint32_t drop_below(struct rt_drop drop)
{
	double v = (double)drop.p * 4294967296.0;

	return v >= 4294967295.0 ? 0xffffffffu : (uint32_t)v;
}

static inline float drop_scale(struct rt_drop drop)
{
	return drop.p < 1 ? 1.0f / (1.0f - drop.p) : 0.0f;
}

#endif
