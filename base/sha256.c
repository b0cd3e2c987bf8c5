/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sha256.h"

#include <openssl/evp.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>

struct rt_sha256_state {
	EVP_MD_CTX *ctx;
	bool failed;
};

int rt_sha256_new(struct rt_sha256_state **ret, struct rt_err *err)
{
	struct rt_sha256_state *s = calloc(1, sizeof *s);

	if (s)
		s->ctx = EVP_MD_CTX_new();
	if (!s || !s->ctx || EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL) != 1) {
		rt_sha256_free(s);
		return rt_fail(err, RT_NO_MEMORY, "no memory for a checksum");
	}
	*ret = s;
	return 0;
}

void rt_sha256_free(struct rt_sha256_state *s)
{
	if (!s)
		return;
	EVP_MD_CTX_free(s->ctx);
	free(s);
}

void rt_sha256_add(struct rt_sha256_state *s, const void *bytes, size_t n)
{
	if (n > 0 && EVP_DigestUpdate(s->ctx, bytes, n) != 1)
		s->failed = true;
}

int rt_sha256_end(struct rt_sha256_state *s, char ret_hex[RT_SHA256_SIZE], struct rt_err *err)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (s->failed || EVP_DigestFinal_ex(s->ctx, digest, &n) != 1 || n != crypto_hash_sha256_BYTES)
		return rt_fail(err, RT_INTERNAL, "the checksum could not be computed");
	sodium_bin2hex(ret_hex, RT_SHA256_SIZE, digest, n);
	return 0;
}
