/* SPDX-License-Identifier: Apache-2.0 */
/* A file of cached logits as a disk may leave it: the first byte says whether its header is whole. What is found must be numbers;
 * what is added then must be found again, whatever stood there. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/check.h"
#include "worker/train/logit_cache.h"

#define CLASSES 3
#define TEXTS	8
#define HEADER	64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char name[RT_SHA256_SIZE], file[RT_SHA256_SIZE + 16];
static unsigned char header[HEADER];
static struct rt_text_key keys[TEXTS];

static struct rt_logit_cache *open_cache(void)
{
	struct rt_logit_cache_options o = {
		.dir = get_fuzz_dir(), .name = name, .classes = CLASSES, .max_bytes = 1 << 24
	};
	struct rt_logit_cache *c;

	if (rt_logit_cache_open(&o, &c, NULL) < 0)
		abort();
	return c;
}

static void begin(void)
{
	struct rt_buf bytes = RT_BUF_INIT;
	char path[160];

	rt_logit_cache_name("fuzz", "fp32", CLASSES, name);
	snprintf(file, sizeof file, "logits/%s", name);
	for (int32_t i = 0; i < TEXTS; i++)
		rt_text_key_of(&i, NULL, 1, &keys[i]);
	rt_logit_cache_close(open_cache());
	snprintf(path, sizeof path, "%s/%s", get_fuzz_dir(), file);
	if (rt_file_read(path, HEADER, &bytes, NULL) < 0 || bytes.len != HEADER)
		abort();
	memcpy(header, bytes.data, HEADER);
	rt_buf_release(&bytes);
}

static void want(struct rt_logit_cache *c, float logits[TEXTS][CLASSES])
{
	if (rt_logit_cache_want(c, keys, TEXTS, logits[0], NULL) < 0)
		abort();
}

static void fill(struct rt_logit_cache *c, float logits[TEXTS][CLASSES])
{
	for (uint32_t i = 0; i < TEXTS; i++) {
		for (size_t k = 0; k < CLASSES; k++) {
			if (rt_logit_cache_has(c, i) && !isfinite(logits[i][k]))
				abort();
			if (!rt_logit_cache_has(c, i))
				logits[i][k] = (float)(i + k);
		}
		if (!rt_logit_cache_has(c, i) && rt_logit_cache_add(c, &i, 1, NULL) < 0)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	float first[TEXTS][CLASSES] = { 0 }, second[TEXTS][CLASSES] = { 0 };
	struct rt_logit_cache *c;
	uint8_t *bytes;

	if (size < 1)
		return 0;
	if (!fuzz_dir[0])
		begin();
	bytes = malloc(HEADER + size);
	if (!bytes)
		return 0;
	memcpy(bytes, header, HEADER);
	memcpy(bytes + HEADER, data + 1, size - 1);
	write_fuzz_file(file, data[0] & 1 ? data + 1 : bytes, data[0] & 1 ? size - 1 : HEADER + size - 1);
	free(bytes);
	c = open_cache();
	want(c, first);
	rt_logit_cache_look(c);
	fill(c, first);
	rt_logit_cache_close(c);
	c = open_cache();
	want(c, second);
	if (rt_logit_cache_look(c) != TEXTS || memcmp(first, second, sizeof first) != 0)
		abort();
	rt_logit_cache_close(c);
	return 0;
}
