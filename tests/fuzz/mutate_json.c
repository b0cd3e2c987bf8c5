/* SPDX-License-Identifier: Apache-2.0 */
/* A mutator for targets whose bytes are JSON: half of the time it changes one value of the tree (another kind, another
 * number, a member gone, copied or moved), so that most inputs stay JSON and reach what lies behind the parser; otherwise
 * libFuzzer changes bytes as usual. Linked into fuzz targets alone, not into the replays. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

static uint32_t state;

static uint32_t random_below(uint32_t n)
{
	state = state * 1664525u + 1013904223u;
	return (state >> 8) % n;
}

/* A place in the tree. */
struct place {
	json_t *parent; /* object or array */
	const char *key;
	size_t index;
	json_t *value;
};

/* Walks all places; takes each with the same chance (reservoir of one). An odd choice goes to the first few levels, which a
 * vocabulary of thousands would hide. */
static void choose(json_t *parent, int depth, int deepest, size_t *seen, struct place *ret)
{
	const char *key;
	json_t *value;
	size_t i;

	if (depth > deepest)
		return;
	if (json_is_object(parent)) {
		json_object_foreach(parent, key, value)
		{
			if (random_below((uint32_t)++ * seen) == 0)
				*ret = (struct place){ parent, key, 0, value };
			choose(value, depth + 1, deepest, seen, ret);
		}
	}
	json_array_foreach(parent, i, value)
	{
		if (random_below((uint32_t)++ * seen) == 0)
			*ret = (struct place){ parent, NULL, i, value };
		choose(value, depth + 1, deepest, seen, ret);
	}
}

static struct place pick(json_t *root)
{
	struct place p = { NULL, NULL, 0, NULL };
	size_t seen = 0;

	choose(root, 0, random_below(2) ? 3 : 64, &seen, &p);
	return p;
}

static void put(const struct place *p, json_t *value)
{
	if (!value)
		return;
	if (p->key)
		json_object_set_new(p->parent, p->key, value);
	else
		json_array_set_new(p->parent, p->index, value);
}

static json_t *odd_value(void)
{
	static const json_int_t numbers[] = { 0,	 1,	     -1,	2,	  7,	    255,
					      256,	 65535,	     65536,	10000000, 10000001, INT32_MAX,
					      INT32_MIN, UINT32_MAX, INT64_MAX, INT64_MIN };
	static const double reals[] = { 0.0, -0.0, 0.5, 1e-320, 1e308, -1e308, 1e18, -12.5 };
	static const char *const texts[] = {
		"",   " ",  "a", "A",	  "B",	   "\xe2\x96\x81", "\xc3\xa9", "\xf0\x9f\x98\x80",
		"##", "\n", "0", "[UNK]", "train", "LABEL_0"
	};

	switch (random_below(9)) {
	case 0:
		return json_null();
	case 1:
		return json_boolean(random_below(2));
	case 2:
	case 3:
		return json_integer(numbers[random_below(sizeof numbers / sizeof *numbers)]);
	case 4:
		return json_real(reals[random_below(sizeof reals / sizeof *reals)]);
	case 5:
	case 6:
		return json_string(texts[random_below(sizeof texts / sizeof *texts)]);
	case 7:
		return json_array();
	default:
		return json_object();
	}
}

/* A string with libFuzzer's own changes, made valid again by cutting; else another number nearby. */
static json_t *changed_value(const json_t *v)
{
	uint8_t bytes[256];
	size_t len;
	json_t *made = NULL;

	if (json_is_integer(v))
		return json_integer(json_integer_value(v) / 2 + random_below(64) - 32);
	if (json_is_boolean(v))
		return json_boolean(!json_is_true(v));
	if (!json_is_string(v))
		return odd_value();
	len = json_string_length(v) < sizeof bytes / 2 ? json_string_length(v) : sizeof bytes / 2;
	memcpy(bytes, json_string_value(v), len);
	for (len = LLVMFuzzerMutate(bytes, len, sizeof bytes); !made; len--) {
		made = json_stringn((const char *)bytes, len);
		if (len == 0)
			break;
	}
	return made;
}

static void copy_member(json_t *root, const struct place *from)
{
	struct place to = pick(root);
	json_t *copy = json_deep_copy(from->value);

	if (!to.parent) {
		json_decref(copy);
	} else if (json_is_array(to.value)) {
		json_array_insert_new(to.value, random_below((uint32_t)json_array_size(to.value) + 1), copy);
	} else if (json_is_object(to.value) && from->key) {
		json_object_set_new(to.value, from->key, copy);
	} else {
		put(&to, copy);
	}
}

static void change(json_t *root)
{
	struct place p = pick(root);

	if (!p.parent)
		return;
	switch (random_below(6)) {
	case 0:
		if (p.key)
			json_object_del(p.parent, p.key);
		else
			json_array_remove(p.parent, p.index);
		break;
	case 1:
		put(&p, odd_value());
		break;
	case 2:
		copy_member(root, &p);
		break;
	case 3: /* one level deeper */
		put(&p,
		    json_pack("{s:s, s:[O]}", "type", "Sequence", p.key ? p.key : "normalizers", p.value));
		break;
	default:
		put(&p, changed_value(p.value));
		break;
	}
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	json_t *root = NULL;
	char *text;
	size_t len;

	state = seed;
	if (random_below(2))
		root = json_loadb((const char *)data, size, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
	if (!root)
		return LLVMFuzzerMutate(data, size, max_size);
	for (uint32_t n = 1 + random_below(4); n > 0; n--)
		change(root);
	text = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY);
	json_decref(root);
	len = text ? strlen(text) : 0;
	if (len == 0 || len > max_size) {
		free(text);
		return LLVMFuzzerMutate(data, size, max_size);
	}
	memcpy(data, text, len);
	free(text);
	return len;
}
