/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/utf8.h"
#include "worker/weights/part.h"

static int by_alignment_then_name(const void *a, const void *b)
{
	const struct rt_tensor *x = *(const struct rt_tensor *const *)a,
			       *y = *(const struct rt_tensor *const *)b;
	unsigned p = rt_dtype_bits(x->dtype), q = rt_dtype_bits(y->dtype);

	return p != q ? (p > q ? -1 : 1) : strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
	const struct rt_tensor *x = *(const struct rt_tensor *const *)a,
			       *y = *(const struct rt_tensor *const *)b;

	return strcmp(x->name, y->name);
}

static int check_tensor(const struct rt_tensor *t, struct rt_err *err)
{
	size_t len = strlen(t->name), size = rt_dtype_bits(t->dtype);
	char quoted[RT_UTF8_QUOTE_SIZE];

	if (rt_utf8_valid(t->name, len) < len)
		return rt_fail(err, RT_INVALID, "a tensor's name is not UTF-8");
	rt_utf8_quote(t->name, len, quoted);
	if (strcmp(t->name, "__metadata__") == 0 || t->ndim < 0 || t->ndim > RT_TENSOR_DIMS_MAX)
		return rt_fail(err, RT_INVALID,
			       "tensor '%s' cannot be written: its name or its %d dimensions", quoted,
			       t->ndim);
	for (int i = 0; i < t->ndim; i++) {
		if (t->shape[i] < 0 || __builtin_mul_overflow(size, (size_t)t->shape[i], &size))
			return rt_fail(err, RT_INVALID, "tensor '%s' has a shape that cannot be", quoted);
	}
	if (size % 8 != 0 || size / 8 != t->size_bytes)
		return rt_fail(err, RT_INVALID, "tensor '%s' has %zu bytes where its shape takes %zu", quoted,
			       t->size_bytes, size / 8);
	return 0;
}

static void add_header(struct rt_buf *out, const struct rt_tensor *const *order, size_t n,
		       const struct rt_weights_pair *metadata, size_t meta_count)
{
	uint64_t at = 0;

	rt_buf_str(out, "{\"__metadata__\":{\"format\":\"pt\"");
	for (size_t i = 0; i < meta_count; i++) {
		if (strcmp(metadata[i].key, "format") == 0)
			continue;
		rt_buf_char(out, ',');
		rt_json_write_str(out, metadata[i].key, strlen(metadata[i].key));
		rt_buf_char(out, ':');
		rt_json_write_str(out, metadata[i].value, strlen(metadata[i].value));
	}
	rt_buf_char(out, '}');
	for (size_t i = 0; i < n; i++) {
		const struct rt_tensor *t = order[i];

		rt_buf_char(out, ',');
		rt_json_write_str(out, t->name, strlen(t->name));
		rt_buf_fmt(out, ":{\"dtype\":\"%s\",\"shape\":[", rt_dtype_name(t->dtype));
		for (int d = 0; d < t->ndim; d++)
			rt_buf_fmt(out, "%s%" PRId64, d ? "," : "", t->shape[d]);
		rt_buf_fmt(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", at, at + t->size_bytes);
		at += t->size_bytes;
	}
	rt_buf_char(out, '}');
	while (out->len % 8 != 0 && !out->failed)
		rt_buf_char(out, ' ');
}

static int write_file(int fd, const struct rt_buf *header, const struct rt_tensor *const *order, size_t n)
{
	unsigned char size[8];

	for (int i = 0; i < 8; i++)
		size[i] = (unsigned char)((uint64_t)header->len >> (8 * i));
	if (rt_fd_write_all(fd, size, sizeof size) < 0 || rt_fd_write_all(fd, header->data, header->len) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (rt_fd_write_all(fd, order[i]->data, order[i]->size_bytes) < 0)
			return -1;
	}
	return fsync(fd);
}

/* Temporary name, fsync, rename, fsync of the folder. */
static int replace_file(const char *path, const struct rt_buf *header, const struct rt_tensor *const *order,
			size_t n, struct rt_err *err)
{
	struct rt_buf tmp = RT_BUF_INIT;
	const char *slash = strrchr(path, '/');
	char *dir = !slash	    ? strdup(".")
		    : slash == path ? strdup("/")
				    : strndup(path, (size_t)(slash - path));
	int fd = -1, rc = -1, why = 0;

	rt_buf_fmt(&tmp, "%s.%ld.tmp", path, (long)getpid());
	if (!dir || tmp.failed) {
		rt_fail(err, RT_NO_MEMORY, "no memory to write %s", path);
		goto out;
	}
	fd = open(tmp.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0) {
		rt_fail_errno(err, errno, "cannot write %s", path);
		goto out;
	}
	if (write_file(fd, header, order, n) < 0)
		why = errno;
	if (close(fd) < 0 && why == 0)
		why = errno;
	if (why == 0 && rename(tmp.data, path) < 0)
		why = errno;
	if (why != 0) {
		unlink(tmp.data);
		rt_fail_errno(err, why, "cannot write %s", path);
		goto out;
	}
	rc = rt_dir_sync(dir, err);
out:
	rt_buf_release(&tmp);
	free(dir);
	return rc;
}

int rt_safetensors_write(const char *path, const struct rt_tensor *tensors, size_t n,
			 const struct rt_weights_pair *metadata, size_t meta_count, struct rt_err *err)
{
	const struct rt_tensor **order = calloc(n + 1, sizeof *order);
	struct rt_buf header = RT_BUF_INIT;
	int rc = -1;

	if (!order)
		return rt_fail(err, RT_NO_MEMORY, "no memory to write %s", path);
	for (size_t i = 0; i < n; i++) {
		if (check_tensor(&tensors[i], err) < 0)
			goto out;
		order[i] = &tensors[i];
	}
	if (n > 0)
		qsort(order, n, sizeof *order, by_name);
	for (size_t i = 1; i < n; i++) {
		if (strcmp(order[i - 1]->name, order[i]->name) == 0) {
			rt_fail(err, RT_INVALID, "two tensors are called '%s'", order[i]->name);
			goto out;
		}
	}
	if (n > 0)
		qsort(order, n, sizeof *order, by_alignment_then_name);
	add_header(&header, order, n, metadata, meta_count);
	if (rt_buf_check(&header, err) < 0)
		goto out;
	rc = replace_file(path, &header, order, n, err);
out:
	rt_buf_release(&header);
	free(order);
	return rc;
}
