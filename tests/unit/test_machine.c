/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <sched.h>
#include <stdlib.h>

#include "worker/torch/machine.h"
#include "worker/torch/tc.h"

static bool advised(const struct rt_machine *m, const char *part)
{
	for (size_t i = 0; i < m->advice_count; i++) {
		if (strstr(m->advice[i], part))
			return true;
	}
	return false;
}

static void check_measures_and_describes(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_machine m;

	(void)state;
	assert_int_equal(tc_set_threads(rt_machine_cpus(), &err), 0);
	assert_int_equal(rt_machine_check(".", &m, &err), 0);
	assert_true(m.fp32_ms > 0 && m.bf16_ms > 0 && m.fp32_gflops > 0 && m.bf16_gflops > 0);
	assert_true(m.cpus_allowed >= 1 && m.cpus_allowed <= m.cpus_online);
	assert_int_equal(m.threads, m.cpus_allowed);
	assert_true(m.memory_total_bytes > 0 && m.memory_free_bytes <= m.memory_total_bytes);
	assert_true(m.disk_free_bytes >= 0);
	assert_true(m.blas[0] != '\0');
	assert_false(advised(&m, "--threads"));
	assert_int_equal(rt_machine_check(NULL, &m, &err), 0);
	assert_true(m.disk_free_bytes == -1);
}

static void too_many_threads_are_advised_against(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_machine m;

	(void)state;
	assert_int_equal(tc_set_threads(rt_machine_cpus() + 1, &err), 0);
	assert_int_equal(rt_machine_check(NULL, &m, &err), 0);
	assert_true(advised(&m, "threads share"));
}

static void one_cpu_of_many_is_all_there_is(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	cpu_set_t before, one;
	struct rt_machine m;

	(void)state;
	if (rt_machine_cpus() < 2) {
		print_message("one CPU alone: nothing to leave out\n");
		skip();
	}
	assert_int_equal(tc_set_threads(1, &err), 0);
	assert_int_equal(rt_machine_check(NULL, &m, &err), 0);
	assert_true(advised(&m, "CPUs are used"));
	assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
	CPU_ZERO(&one);
	for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
		if (CPU_ISSET(i, &before))
			CPU_SET(i, &one);
	}
	assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
	assert_int_equal(rt_machine_cpus(), 1);
	assert_int_equal(rt_machine_check(NULL, &m, &err), 0);
	assert_false(advised(&m, "CPUs are used"));
	assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

static void spinning_threads_are_advised_against(void **state)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_machine m;

	(void)state;
	assert_int_equal(tc_set_threads(2, &err), 0);
	setenv("OMP_WAIT_POLICY", "active", 1);
	assert_int_equal(rt_machine_check(NULL, &m, &err), 0);
	assert_true(advised(&m, "OMP_WAIT_POLICY"));
	setenv("OMP_WAIT_POLICY", "passive", 1);
	assert_int_equal(rt_machine_check(NULL, &m, &err), 0);
	assert_false(advised(&m, "OMP_WAIT_POLICY"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_measures_and_describes),
		cmocka_unit_test(too_many_threads_are_advised_against),
		cmocka_unit_test(one_cpu_of_many_is_all_there_is),
		cmocka_unit_test(spinning_threads_are_advised_against),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
