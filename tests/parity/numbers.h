/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that follow from a tensor's name, as configs_gen.py makes them: no weights are stored. */
#ifndef RT_TESTS_PARITY_NUMBERS_H
#define RT_TESTS_PARITY_NUMBERS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t seed_of(const char *text)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * 0x100000001b3u;
	return h;
}

/* SplitMix64's i-th number from a seed, as 24 bits: in [0, 1). */
static inline double number_at(uint64_t seed, size_t i)
{
	uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	z ^= z >> 31;
	return (double)(z >> 40) / (1 << 24);
}

/* n numbers of a tensor with ndim dims. */
static inline void numbers_of(const char *name, int ndim, float *out, size_t n)
{
	const char *end = strrchr(name, '.');
	double at = end && strcmp(end, ".weight") == 0 ? 1 : 0;
	double wide = strstr(name, "embedding") || strstr(name, "relative") ? 2.0 : 0.6;
	uint64_t seed = seed_of(name);

	for (size_t i = 0; i < n; i++) {
		double v = number_at(seed, i) - 0.5;

		out[i] = (float)(ndim == 1 ? v * 0.5 + at : v * wide);
	}
}

#endif
