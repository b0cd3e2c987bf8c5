/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/torch/machine.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "worker/torch/tc.h"

#define SLOW_GFLOPS_A_THREAD 5.0 /* a reference BLAS gives 1 to 3, OpenBLAS with AVX2 40 and more */
#define LOW_MEMORY_BYTES     ((int64_t)1 << 30)
#define LOW_DISK_BYTES	     ((int64_t)1 << 30)
#define MATMUL_SIZE	     256

static void advise(struct rt_machine *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void advise(struct rt_machine *m, const char *fmt, ...)
{
	va_list ap;

	if (m->advice_count == RT_ADVICE_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(m->advice[m->advice_count++], sizeof m->advice[0], fmt, ap);
	va_end(ap);
}

/* The first line of a small file; false if there is none. */
static bool first_line(const char *path, char *out, size_t size)
{
	FILE *f = fopen(path, "re");
	bool ok = f && fgets(out, (int)size, f);

	if (f)
		fclose(f);
	return ok;
}

int rt_machine_cpus(void)
{
	char line[128];
	long long quota, period;
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
							    : (int)sysconf(_SC_NPROCESSORS_ONLN);

	if (first_line("/sys/fs/cgroup/cpu.max", line, sizeof line) &&
	    sscanf(line, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0) {
		long long whole = (quota + period - 1) / period;

		n = whole < n ? (int)whole : n;
	}
	return n < 1 ? 1 : n;
}

bool rt_machine_has_bf16(void)
{
#ifdef __x86_64__
	return __builtin_cpu_supports("avx512bf16"); /* processors with AMX have it too */
#else
	return false; /* oneDNN has no fast products there without a library that Debian does not build it with */
#endif
}

static void look_at_cpu(struct rt_machine *m)
{
	static const char *const wanted[] = { "avx",	  "avx2",     "fma",	     "f16c",
					      "avx512f",  "avx_vnni", "avx512_bf16", "avx512_fp16",
					      "amx_bf16", "amx_int8", "asimd",	     "sve",
					      "bf16",	  "i8mm" };
	char *line = NULL, *at, *word, *keep;
	size_t cap = 0, used = 0;
	FILE *f = fopen("/proc/cpuinfo", "re");

	while (f && getline(&line, &cap, f) > 0 && !(m->cpu[0] && m->features[0])) {
		at = strchr(line, ':');
		if (!at)
			continue;
		line[strcspn(line, "\n")] = '\0';
		if (!m->cpu[0] && strncmp(line, "model name", 10) == 0)
			snprintf(m->cpu, sizeof m->cpu, "%s", at + 2);
		if (m->features[0] || (strncmp(line, "flags", 5) != 0 && strncmp(line, "Features", 8) != 0))
			continue;
		for (word = strtok_r(at + 1, " ", &keep); word; word = strtok_r(NULL, " ", &keep)) {
			for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
				if (strcmp(word, wanted[i]) == 0 &&
				    used + strlen(word) + 2 < sizeof m->features)
					used += (size_t)sprintf(m->features + used, "%s%s", used ? " " : "",
								word);
			}
		}
	}
	if (f)
		fclose(f);
	free(line);
}

static void look_at_memory(struct rt_machine *m)
{
	long long kib, limit, used;
	char line[256];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof line, f)) {
		if (sscanf(line, "MemTotal: %lld kB", &kib) == 1)
			m->memory_total_bytes = kib * 1024;
		if (sscanf(line, "MemAvailable: %lld kB", &kib) == 1)
			m->memory_free_bytes = kib * 1024;
	}
	if (f)
		fclose(f);
	if (first_line("/sys/fs/cgroup/memory.max", line, sizeof line) && sscanf(line, "%lld", &limit) == 1 &&
	    limit < m->memory_total_bytes) {
		m->memory_total_bytes = limit;
		if (first_line("/sys/fs/cgroup/memory.current", line, sizeof line) &&
		    sscanf(line, "%lld", &used) == 1 && limit - used < m->memory_free_bytes)
			m->memory_free_bytes = limit > used ? limit - used : 0;
	}
}

/* Milliseconds of the best of up to four products; stops after the first when that is slow already. */
static int time_product(enum tc_dtype dtype, int64_t n, double *ret_ms, struct rt_err *err)
{
	struct tc_scope *s = tc_scope_open(NULL, TC_NO_GRAD);
	struct tc_tensor *a = tc_full(s, dtype, 2, (int64_t[]){ n, n }, 0.5), *c;
	double best = 1e9, spent = 0;

	for (int i = 0; i < 5 && spent < 60; i++) {
		double start = rt_clock_monotonic_s(), ms;

		c = tc_matmul(s, a, a);
		ms = 1000 * (rt_clock_monotonic_s() - start);
		tc_drop(c);
		spent += ms;
		best = ms < best ? ms : best;
	}
	if (tc_check(s, err) < 0) {
		tc_scope_close(s);
		return -1;
	}
	*ret_ms = best;
	tc_scope_close(s);
	return 0;
}

static void judge(struct rt_machine *m)
{
	double a_thread = m->fp32_gflops / (m->threads < m->cpus_allowed ? m->threads : m->cpus_allowed);

	if (!m->blas_fast)
		advise(m,
		       "Matrix products are served by a slow BLAS (%s, %s): training is tens of times slower "
		       "than it "
		       "could be. Install libopenblas0-pthread (Debian: apt install libopenblas0-pthread).",
		       m->blas, m->blas_path);
	else if (a_thread < SLOW_GFLOPS_A_THREAD)
		advise(m,
		       "Matrix products run at %.1f GFLOP/s a thread, which is slow: either another process "
		       "needs the "
		       "CPUs, or the BLAS (%s) is not built for this processor.",
		       a_thread, m->blas);
	if (m->threads > m->cpus_allowed)
		advise(m,
		       "%d threads share %d CPUs, and threads that wait for each other lose more than they "
		       "gain: use "
		       "--threads %d.",
		       m->threads, m->cpus_allowed, m->cpus_allowed);
	else if (m->threads < m->cpus_allowed)
		advise(m,
		       "%d of %d CPUs are used: use --threads %d unless the others are meant for another "
		       "job.",
		       m->threads, m->cpus_allowed, m->cpus_allowed);
	if (!m->passive && m->threads > 1)
		advise(m, "OMP_WAIT_POLICY is not PASSIVE: waiting threads spin and take the CPUs from other "
			  "processes. Start "
			  "with OMP_WAIT_POLICY=PASSIVE.");
	if (m->memory_free_bytes > 0 && m->memory_free_bytes < LOW_MEMORY_BYTES)
		advise(m, "Only %lld MiB of memory are free: end other programs or use a smaller batch.",
		       (long long)(m->memory_free_bytes >> 20));
	if (m->disk_free_bytes >= 0 && m->disk_free_bytes < LOW_DISK_BYTES)
		advise(m, "Only %lld MiB of disk are free for checkpoints: make room or use another folder.",
		       (long long)(m->disk_free_bytes >> 20));
}

int rt_machine_check(const char *dir, struct rt_machine *ret, struct rt_err *err)
{
	struct rt_machine m = { .matmul_size = MATMUL_SIZE, .disk_free_bytes = -1 };
	const double flop = 2.0 * MATMUL_SIZE * MATMUL_SIZE * MATMUL_SIZE;
	const char *policy = getenv("OMP_WAIT_POLICY");
	struct statvfs disk;

	look_at_cpu(&m);
	look_at_memory(&m);
	m.cpus_online = (int)sysconf(_SC_NPROCESSORS_ONLN);
	m.cpus_allowed = rt_machine_cpus();
	m.threads = tc_get_threads();
	m.passive = policy && strcasecmp(policy, "passive") == 0;
	m.blas_fast = tc_blas(m.blas, sizeof m.blas, m.blas_path, sizeof m.blas_path);
	m.gpus = tc_gpu_count();
	if (dir && statvfs(dir, &disk) == 0)
		m.disk_free_bytes = (int64_t)disk.f_bavail * (int64_t)disk.f_frsize;
	if (time_product(TC_F32, MATMUL_SIZE, &m.fp32_ms, err) < 0 ||
	    time_product(TC_BF16, MATMUL_SIZE, &m.bf16_ms, err) < 0)
		return -1;
	m.fp32_gflops = flop / m.fp32_ms / 1e6;
	m.bf16_gflops = flop / m.bf16_ms / 1e6;
	judge(&m);
	*ret = m;
	return 0;
}
