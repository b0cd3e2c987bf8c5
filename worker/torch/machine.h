/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine can do for training, measured in milliseconds, and what is wrong with it in words. */
#ifndef RT_WORKER_TORCH_MACHINE_H
#define RT_WORKER_TORCH_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define RT_ADVICE_MAX 8

struct rt_machine {
	char cpu[128];	    /* the model's name, or "" */
	char features[256]; /* instruction sets that matter here, by their names in /proc/cpuinfo */
	int cpus_online;    /* of the machine */
	int cpus_allowed;   /* for this process: affinity and the cgroup's quota; at least 1 */
	int threads;	    /* libtorch's, as set now */
	bool passive;	    /* OMP_WAIT_POLICY is PASSIVE: idle threads sleep */
	char blas[256], blas_path[256];
	bool blas_fast;		 /* as far as its name says */
	int matmul_size;	 /* of the square matrices multiplied to measure */
	double fp32_ms, bf16_ms; /* best of a few products, at `threads` threads */
	double fp32_gflops, bf16_gflops;
	int gpus;
	int64_t memory_total_bytes; /* the machine's, or the cgroup's limit where that is lower; 0: unknown */
	int64_t memory_free_bytes;  /* what can still be taken without swapping; 0: unknown */
	int64_t disk_free_bytes;    /* where `dir` is; -1: unknown */
	size_t advice_count;
	char advice[RT_ADVICE_MAX][320]; /* what is wrong and what to do about it, most important first */
};

/* CPUs this process may use: affinity and the cgroup's quota; at least 1. */
int rt_machine_cpus(void);

/* Does this processor multiply bfloat16 faster than fp32? */
bool rt_machine_has_bf16(void);

/* Looks, measures (some milliseconds; up to half a second with a slow BLAS) and judges. dir: where checkpoints will go,
 * or NULL. Call it after tc_set_threads: it changes nothing. -1 only when libtorch itself fails. */
int rt_machine_check(const char *dir, struct rt_machine *ret, struct rt_err *err);

#endif
