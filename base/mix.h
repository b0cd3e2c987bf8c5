/* SPDX-License-Identifier: Apache-2.0 */
/* One way to turn numbers that are alike into numbers that are not. Not for secrets. */
#ifndef RT_BASE_MIX_H
#define RT_BASE_MIX_H

#include <stdint.h>

#define RT_MIX_STEP                                                                                          \
	0x9e3779b97f4a7c15u /* 2^64 over the golden ratio: SplitMix64 adds it from number to number */

/* The finalizer of SplitMix64 (Steele, Lea, Flood 2014): a permutation of 64-bit numbers. */
static inline uint64_t rt_mix64(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

#endif
