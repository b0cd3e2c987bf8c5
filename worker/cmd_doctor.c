/* SPDX-License-Identifier: Apache-2.0 */
/* retort-worker doctor: what this machine can do, and what to do about what is wrong with it. */
#include "worker/cmd.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/buf.h"
#include "base/json.h"
#include "worker/torch/machine.h"
#include "worker/torch/tc.h"

static void add(json_t *object, const char *key, json_t *value)
{
	json_object_set_new(object, key, value ? value : json_null());
}

/* System, processor and BLAS descriptions come from outside: bytes that are no UTF-8 become null. */
static int print_json(const struct rt_machine *m, const char *system)
{
	json_t *o = json_object(), *advice = json_array();
	struct rt_buf out = RT_BUF_INIT;

	add(o, "version", json_string(RT_VERSION));
	add(o, "libtorch", json_string(tc_version()));
	add(o, "system", json_string(system));
	add(o, "cpu", json_string(m->cpu));
	add(o, "instruction_sets", json_string(m->features));
	add(o, "cpus_online", json_integer(m->cpus_online));
	add(o, "cpus_allowed", json_integer(m->cpus_allowed));
	add(o, "threads", json_integer(m->threads));
	add(o, "omp_wait_policy_passive", json_boolean(m->passive));
	add(o, "blas", json_string(m->blas));
	add(o, "blas_path", json_string(m->blas_path));
	add(o, "blas_fast", json_boolean(m->blas_fast));
	add(o, "matmul_size", json_integer(m->matmul_size));
	add(o, "matmul_fp32_ms", json_real(m->fp32_ms));
	add(o, "matmul_bf16_ms", json_real(m->bf16_ms));
	add(o, "matmul_fp32_gflops", json_real(m->fp32_gflops));
	add(o, "matmul_bf16_gflops", json_real(m->bf16_gflops));
	add(o, "gpus", json_integer(m->gpus));
	add(o, "memory_total_bytes", json_integer(m->memory_total_bytes));
	add(o, "memory_free_bytes", json_integer(m->memory_free_bytes));
	add(o, "disk_free_bytes", m->disk_free_bytes < 0 ? json_null() : json_integer(m->disk_free_bytes));
	for (size_t i = 0; i < m->advice_count; i++)
		json_array_append_new(advice, json_string(m->advice[i]));
	add(o, "advice", advice);
	rt_json_write(&out, o, 2);
	printf("%s\n", rt_buf_text(&out));
	rt_buf_release(&out);
	json_decref(o);
	return 0;
}

static double gib(int64_t bytes)
{
	return (double)bytes / (1 << 30);
}

static int print_text(const struct rt_machine *m, const char *system)
{
	printf("retort-worker    %s\n", RT_VERSION);
	printf("libtorch         %s\n", tc_version());
	printf("system           %s\n", system);
	printf("processor        %s\n", m->cpu[0] ? m->cpu : "unknown");
	printf("instruction sets %s\n", m->features[0] ? m->features : "none of interest");
	printf("CPUs             %d, of which %d for this process\n", m->cpus_online, m->cpus_allowed);
	printf("threads          %d, waiting threads %s\n", m->threads, m->passive ? "sleep" : "spin");
	printf("BLAS             %s\n                 %s%s\n", m->blas, m->blas_path,
	       m->blas_fast ? "" : "  <- slow");
	printf("matrix product   fp32 %.2f ms (%.0f GFLOP/s), bf16 %.2f ms (%.0f GFLOP/s), %d x %d\n",
	       m->fp32_ms, m->fp32_gflops, m->bf16_ms, m->bf16_gflops, m->matmul_size, m->matmul_size);
	printf("bf16             %s\n", m->bf16_gflops > 1.1 * m->fp32_gflops
						? "faster than fp32 here: precision bf16 is worth trying"
						: "not faster than fp32 here: keep precision fp32");
	if (m->gpus)
		printf("GPUs             %d seen by libtorch; a job with resources.gpus 1 uses the first\n",
		       m->gpus);
	else
		printf("GPUs             none that this libtorch can use\n");
	printf("memory           %.1f GiB free of %.1f GiB\n", gib(m->memory_free_bytes),
	       gib(m->memory_total_bytes));
	if (m->disk_free_bytes >= 0)
		printf("disk             %.1f GiB free\n", gib(m->disk_free_bytes));
	printf("\n");
	for (size_t i = 0; i < m->advice_count; i++)
		printf("! %s\n", m->advice[i]);
	if (m->advice_count == 0)
		printf("Nothing is wrong.\n");
	return 0;
}

int rt_cmd_doctor(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "threads", required_argument, NULL, 't' },
		{ "dir", required_argument, NULL, 'd' },
		{ NULL, 0, NULL, 0 },
	};
	struct rt_err err = RT_ERR_INIT;
	const char *dir = ".";
	int threads = rt_machine_cpus(), opt;
	bool json = false;
	struct rt_machine m;
	struct utsname u;
	char system[256] = "unknown";

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'j') {
			json = true;
		} else if (opt == 'd') {
			dir = optarg;
		} else if (opt == 't' && atoi(optarg) >= 1 && atoi(optarg) <= 1024) {
			threads = atoi(optarg);
		} else {
			fprintf(stderr, "usage: retort-worker doctor [--json] [--threads N] [--dir DIR]\n");
			return 2;
		}
	}
	if (optind != argc) {
		fprintf(stderr, "retort-worker doctor: unexpected argument '%s'\n", argv[optind]);
		return 2;
	}
	if (tc_set_threads(threads, &err) < 0 || rt_machine_check(dir, &m, &err) < 0) {
		fprintf(stderr, "retort-worker doctor: %s\n", err.msg);
		return 1;
	}
	if (uname(&u) == 0)
		snprintf(system, sizeof system, "%.64s %.64s %.64s", u.sysname, u.release, u.machine);
	return json ? print_json(&m, system) : print_text(&m, system);
}
