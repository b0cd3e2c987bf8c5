/* SPDX-License-Identifier: Apache-2.0 */
#include "base/id.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static void draw(unsigned char *bytes, size_t n)
{
	size_t have = 0;

	while (have < n) {
		ssize_t got = getrandom(bytes + have, n - have, 0);

		if (got > 0)
			have += (size_t)got;
	}
}

const char *rt_id_new(const char *prefix, char out[RT_ID_SIZE])
{
	static int64_t last_ms;		    /* the last id's time ... */
	static unsigned char last_rand[10]; /* ... and random part, which the next of that time counts up */
	int64_t now = rt_clock_now_ms();
	unsigned char raw[16];
	char *p;

	assert(strlen(prefix) <= 12);
	if (now > last_ms) {
		last_ms = now;
		draw(last_rand, sizeof last_rand);
		last_rand[0] &= 0x7F; /* leaves room to count up */
	} else {
		for (int i = 9; i >= 0 && ++last_rand[i] == 0; i--)
			;
	}
	for (int i = 0; i < 6; i++)
		raw[i] = (unsigned char)(last_ms >> (40 - 8 * i));
	memcpy(raw + 6, last_rand, 10);

	p = out + sprintf(out, "%s_", prefix);
	for (int i = 0; i < 26; i++) { /* 130 bits: two zero bits come first */
		unsigned v = 0;

		for (int b = i * 5 - 2; b < i * 5 + 3; b++)
			v = v << 1 | (b < 0 ? 0U : (unsigned)(raw[b / 8] >> (7 - b % 8)) & 1U);
		*p++ = alphabet[v];
	}
	*p = '\0';
	return out;
}

bool rt_id_is(const char *s, const char *prefix)
{
	size_t n = strlen(prefix);

	if (strncmp(s, prefix, n) != 0 || s[n] != '_')
		return false;
	s += n + 1;
	if (strlen(s) != 26 || s[0] > '7')
		return false;
	return strspn(s, alphabet) == 26;
}
