/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/cores.h"

/* CPUs 0, 4, 1, 5…: as a machine whose cores have two threads each numbers them. */
static struct rt_cores machine(int count, int slots)
{
	struct rt_cores c = { .count = count, .slots = slots };

	for (int i = 0; i < count; i++)
		c.order[i] = (size_t)(i / 2 + i % 2 * ((count + 1) / 2));
	return c;
}

static void parts_are_disjoint_and_leave_no_core_out(void **state)
{
	(void)state;
	for (int count = 1; count <= 16; count++) {
		for (int slots = 1; slots <= count; slots++) {
			struct rt_cores c = machine(count, slots);
			cpu_set_t seen, part, both;

			CPU_ZERO(&seen);
			for (int i = 0; i < slots; i++) {
				rt_cores_part(&c, i, &part);
				CPU_AND(&both, &part, &seen);
				assert_int_equal(CPU_COUNT(&both), 0);
				assert_true(CPU_COUNT(&part) >= count / slots);
				assert_true(CPU_COUNT(&part) <= count / slots + 1);
				CPU_OR(&seen, &seen, &part);
			}
			assert_int_equal(CPU_COUNT(&seen), count);
		}
	}
}

static void two_threads_of_a_core_go_to_one_part(void **state)
{
	struct rt_cores c = machine(8, 4);
	cpu_set_t part;

	(void)state;
	rt_cores_part(&c, 1, &part);
	assert_int_equal(CPU_COUNT(&part), 2);
	assert_true(CPU_ISSET(1, &part) && CPU_ISSET(5, &part));
}

static void more_slots_than_cores_share_cores_evenly(void **state)
{
	struct rt_cores c = machine(2, 5);
	int users[2] = { 0, 0 };

	(void)state;
	for (int i = 0; i < 5; i++) {
		cpu_set_t part;

		rt_cores_part(&c, i, &part);
		assert_int_equal(CPU_COUNT(&part), 1);
		users[CPU_ISSET(1, &part) ? 1 : 0]++;
	}
	assert_int_equal(users[0], 3);
	assert_int_equal(users[1], 2);
}

static void pick_takes_the_part_with_the_fewest_users(void **state)
{
	struct rt_cores c = machine(6, 3);
	cpu_set_t in_use[4] = { 0 };

	(void)state;
	assert_int_equal(rt_cores_pick(&c, in_use, 0), 0);
	rt_cores_part(&c, 0, &in_use[0]);
	assert_int_equal(rt_cores_pick(&c, in_use, 1), 1);
	rt_cores_part(&c, 1, &in_use[1]);
	assert_int_equal(rt_cores_pick(&c, in_use, 2), 2);
	/* one that may run anywhere is everybody's neighbour */
	CPU_ZERO(&in_use[2]);
	for (size_t i = 0; i < 6; i++)
		CPU_SET(i, &in_use[2]);
	assert_int_equal(rt_cores_pick(&c, in_use, 3), 2);
	rt_cores_part(&c, 2, &in_use[3]);
	assert_int_equal(rt_cores_pick(&c, in_use, 4), 0);
}

static void look_finds_the_cores_of_this_process(void **state)
{
	static struct rt_cores c;
	cpu_set_t mine, found;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
	rt_cores_look(&c, 1);
	assert_int_equal(c.count, CPU_COUNT(&mine));
	rt_cores_part(&c, 0, &found);
	assert_true(CPU_EQUAL(&mine, &found));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_are_disjoint_and_leave_no_core_out),
		cmocka_unit_test(two_threads_of_a_core_go_to_one_part),
		cmocka_unit_test(more_slots_than_cores_share_cores_evenly),
		cmocka_unit_test(pick_takes_the_part_with_the_fewest_users),
		cmocka_unit_test(look_finds_the_cores_of_this_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
