/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/event.h"
#include "base/json.h"
#include "worker/train/classes.h"

static int64_t number(const json_t *object, const char *name)
{
	const json_t *v = json_object_get(object, name);

	assert_true(json_is_integer(v));
	return json_integer_value(v);
}

static const json_t *item(const json_t *data, const char *list, size_t i)
{
	const json_t *v = json_array_get(json_object_get(data, list), i);

	assert_non_null(v);
	return v;
}

static const char *word(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static void counts_are_by_label_and_by_answer(void **state)
{
	static const char *const labels[] = { "cat", "dog", "fox" };
	static const int32_t label[] = { 0, 0, 0, 1, 1, 2 }, student[] = { 0, 1, 1, 1, 2, 1 },
			     teacher[] = { 0, 0, 1, 1, 2, 2 };
	const struct rt_answers a = { 6, label, student, teacher };
	json_t *data = rt_classes_json(&a, labels, 3, 7, NULL);

	(void)state;
	assert_non_null(data);
	assert_int_equal(number(data, "epoch"), 7);
	assert_int_equal(number(data, "rows"), 6);
	assert_int_equal(number(data, "correct"), 2);
	assert_int_equal(number(data, "agreed"), 4);
	assert_int_equal(number(data, "classes_total"), 3);
	assert_string_equal(word(item(data, "classes", 1), "label"), "dog");
	assert_int_equal(number(item(data, "classes", 1), "count"), 2);
	assert_int_equal(number(item(data, "classes", 1), "predicted"), 4);
	assert_int_equal(number(item(data, "classes", 1), "correct"), 1);
	assert_int_equal(number(item(data, "classes", 0), "predicted"), 1);
	/* cat taken for dog twice; the two single mistakes follow in the order of their classes */
	assert_int_equal(json_array_size(json_object_get(data, "confused")), 3);
	assert_string_equal(word(item(data, "confused", 0), "label"), "cat");
	assert_string_equal(word(item(data, "confused", 0), "predicted"), "dog");
	assert_int_equal(number(item(data, "confused", 0), "count"), 2);
	assert_string_equal(word(item(data, "confused", 1), "label"), "dog");
	assert_string_equal(word(item(data, "confused", 2), "label"), "fox");
	json_decref(data);
}

static void without_teacher_or_labels_nothing_is_made_up(void **state)
{
	static const char *const labels[] = { "a", "b" };
	static const int32_t label[] = { -1, 1 }, student[] = { 0, 1 };
	const struct rt_answers a = { 2, label, student, NULL };
	json_t *data = rt_classes_json(&a, labels, 2, 1, NULL);

	(void)state;
	assert_true(json_is_null(json_object_get(data, "agreed")));
	assert_int_equal(number(item(data, "classes", 0), "predicted"), 0);
	assert_int_equal(number(item(data, "classes", 1), "correct"), 1);
	assert_int_equal(json_array_size(json_object_get(data, "confused")), 0);
	json_decref(data);
}

/* However many classes there are and however long their names: the event is one that a server takes. */
static void an_event_stays_within_its_limit(void **state)
{
	enum { CLASSES = 3000, ROWS = 6000 };
	const char **labels = calloc(CLASSES, sizeof *labels);
	int32_t *label = calloc(ROWS, sizeof *label), *student = calloc(ROWS, sizeof *student);
	const struct rt_answers a = { ROWS, label, student, student };
	struct rt_event event;
	struct rt_err err = RT_ERR_INIT;

	(void)state;
	for (int round = 0; round < 2; round++) {
		struct rt_buf line = RT_BUF_INIT;
		json_t *data;

		for (int i = 0; i < CLASSES; i++) {
			char *name = malloc(4001);

			memset(name, '"', 4000); /* twice as long once escaped */
			name[round == 0 ? 20 : 4000] = '\0';
			free((void *)(uintptr_t)labels[i]);
			labels[i] = name;
		}
		for (int32_t i = 0; i < ROWS; i++) {
			label[i] = i < 100 ? 2999 : i % CLASSES;
			student[i] = (i * 7) % CLASSES;
		}
		data = rt_classes_json(&a, labels, CLASSES, 1, &err);
		assert_non_null(data);
		assert_int_equal(json_array_size(json_object_get(data, "classes")),
				 round == 0 ? RT_CLASSES_MAX : RT_CLASSES_MAX_BYTES / 4000);
		assert_int_equal(number(data, "classes_total"), CLASSES);
		rt_event_write(&line, 1, "eval.classes", "info", 0, "", data);
		assert_true(line.len < RT_EVENT_MAX_BYTES);
		assert_int_equal(rt_event_parse(line.data, line.len - 1, &event, &err), 0);
		rt_event_release(&event);
		rt_buf_release(&line);
		json_decref(data);
	}
	for (int i = 0; i < CLASSES; i++)
		free((void *)(uintptr_t)labels[i]);
	free(labels);
	free(label);
	free(student);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_are_by_label_and_by_answer),
		cmocka_unit_test(without_teacher_or_labels_nothing_is_made_up),
		cmocka_unit_test(an_event_stays_within_its_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
