/* SPDX-License-Identifier: Apache-2.0 */
/* TFRecord framing around protocol buffers; the few messages needed are written field by field. */
#include "worker/export/tb.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"

struct rt_tb {
	int fd;
	char *path;
	const char *name; /* in path */
	struct rt_buf event, record;
	uint32_t crc[256];
};

/* CRC-32C, reflected, and the mask that TFRecord puts over it. */
static void crc_init(uint32_t table[256])
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t v = i;

		for (int k = 0; k < 8; k++)
			v = v & 1 ? v >> 1 ^ 0x82F63B78u : v >> 1;
		table[i] = v;
	}
}

static uint32_t masked_crc(const uint32_t table[256], const void *bytes, size_t n)
{
	const unsigned char *u = bytes;
	uint32_t v = 0xFFFFFFFFu;

	for (size_t i = 0; i < n; i++)
		v = table[(v ^ u[i]) & 0xFF] ^ v >> 8;
	v = ~v;
	return (v >> 15 | v << 17) + 0xA282EAD8u;
}

static void little(struct rt_buf *b, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		rt_buf_char(b, (char)(v >> (8 * i)));
}

/* Protocol buffers: a field is its number and wire type, then its value. */
static void pb_varint(struct rt_buf *b, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		rt_buf_char(b, (char)(v | 0x80));
	rt_buf_char(b, (char)v);
}

static void pb_int(struct rt_buf *b, unsigned field, int64_t v)
{
	pb_varint(b, field << 3 | 0);
	pb_varint(b, (uint64_t)v);
}

static void pb_double(struct rt_buf *b, unsigned field, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof bits);
	pb_varint(b, field << 3 | 1);
	little(b, bits, 8);
}

static void pb_bytes(struct rt_buf *b, unsigned field, const void *bytes, size_t n)
{
	pb_varint(b, field << 3 | 2);
	pb_varint(b, n);
	rt_buf_add(b, bytes, n);
}

static void pb_str(struct rt_buf *b, unsigned field, const char *s)
{
	pb_bytes(b, field, s, strlen(s));
}

/* A message as a field; its bytes are then let go. */
static void pb_message(struct rt_buf *b, unsigned field, struct rt_buf *message)
{
	pb_bytes(b, field, rt_buf_text(message), message->len);
	b->failed = b->failed || message->failed;
	rt_buf_release(message);
}

static void begin_event(struct rt_tb *tb)
{
	rt_buf_clear(&tb->event);
	pb_double(&tb->event, 1, (double)rt_clock_now_ms() / 1000.0); /* wall_time */
}

/* Frames the event and writes it with one write, so that a reader never sees half of it but after a crash. */
static int end_event(struct rt_tb *tb, struct rt_err *err)
{
	struct rt_buf *r = &tb->record;
	size_t done = 0;

	rt_buf_clear(r);
	little(r, tb->event.len, 8);
	little(r, masked_crc(tb->crc, rt_buf_text(r), 8), 4);
	rt_buf_add(r, rt_buf_text(&tb->event), tb->event.len);
	little(r, masked_crc(tb->crc, rt_buf_text(&tb->event), tb->event.len), 4);
	if (rt_buf_check(&tb->event, err) < 0 || rt_buf_check(r, err) < 0)
		return -1;
	while (done < r->len) {
		ssize_t n = write(tb->fd, r->data + done, r->len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return rt_fail_errno(err, errno, "cannot write %s", tb->path);
		done += (size_t)n;
	}
	return 0;
}

/* A new file that nobody else has: the number goes up where the second is shared. */
static int make_file(struct rt_tb *tb, const char *dir, struct rt_err *err)
{
	int64_t seconds = rt_clock_now_ms() / 1000;

	for (int i = 0; i < 10000; i++) {
		char name[80];

		snprintf(name, sizeof name, "events.out.tfevents.%010" PRId64 ".retort.%d", seconds, i);
		free(tb->path);
		tb->path = rt_path_join(dir, name);
		if (!tb->path)
			return rt_fail(err, RT_NO_MEMORY, "no memory for the TensorBoard file");
		tb->fd = open(tb->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
		if (tb->fd >= 0) {
			tb->name = strrchr(tb->path, '/') + 1;
			return 0;
		}
		if (errno != EEXIST)
			break;
	}
	return rt_fail_errno(err, errno, "cannot make %s", tb->path);
}

int rt_tb_open(const char *dir, struct rt_tb **ret, struct rt_err *err)
{
	struct rt_tb *tb = calloc(1, sizeof *tb);

	if (!tb)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the TensorBoard file");
	tb->fd = -1;
	crc_init(tb->crc);
	if (rt_dir_make(dir, err) < 0 || make_file(tb, dir, err) < 0)
		goto fail;
	begin_event(tb);
	pb_str(&tb->event, 3, "brain.Event:2"); /* file_version */
	if (end_event(tb, err) < 0)
		goto fail;
	*ret = tb;
	return 0;
fail:
	rt_tb_close(tb);
	return -1;
}

int rt_tb_continue(const char *dir, const char *name, struct rt_tb **ret, struct rt_err *err)
{
	struct rt_tb *tb = calloc(1, sizeof *tb);

	if (!tb)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the TensorBoard file");
	tb->fd = -1;
	crc_init(tb->crc);
	tb->path = rt_path_join(dir, name);
	if (!tb->path) {
		rt_fail(err, RT_NO_MEMORY, "no memory for the TensorBoard file");
		goto fail;
	}
	tb->name = strrchr(tb->path, '/') + 1;
	tb->fd = open(tb->path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (tb->fd < 0) {
		rt_fail_errno(err, errno, "cannot open %s", tb->path);
		goto fail;
	}
	*ret = tb;
	return 0;
fail:
	rt_tb_close(tb);
	return -1;
}

void rt_tb_close(struct rt_tb *tb)
{
	if (!tb)
		return;
	if (tb->fd >= 0)
		close(tb->fd);
	rt_buf_release(&tb->event);
	rt_buf_release(&tb->record);
	free(tb->path);
	free(tb);
}

const char *rt_tb_name(const struct rt_tb *tb)
{
	return tb->name;
}

int rt_tb_scalar(struct rt_tb *tb, const char *tag, int64_t step, double value, struct rt_err *err)
{
	struct rt_buf v = RT_BUF_INIT, summary = RT_BUF_INIT;
	float single = (float)value;
	uint32_t bits;

	memcpy(&bits, &single, sizeof bits);
	pb_str(&v, 1, tag);
	pb_varint(&v, 2 << 3 | 5); /* simple_value */
	little(&v, bits, 4);
	pb_message(&summary, 1, &v);
	begin_event(tb);
	if (step != 0)
		pb_int(&tb->event, 2, step);
	pb_message(&tb->event, 5, &summary);
	return end_event(tb, err);
}

/* HParamsPluginData under a tag: in the value's metadata; the tensor beside it is empty. content: given. */
static int write_plugin(struct rt_tb *tb, const char *tag, struct rt_buf *content, struct rt_err *err)
{
	struct rt_buf plugin = RT_BUF_INIT, metadata = RT_BUF_INIT, tensor = RT_BUF_INIT, shape = RT_BUF_INIT,
		      v = RT_BUF_INIT, summary = RT_BUF_INIT;

	pb_str(&plugin, 1, "hparams");
	pb_message(&plugin, 2, content);
	pb_message(&metadata, 1, &plugin);
	pb_int(&tensor, 1, 1);	    /* DT_FLOAT */
	pb_bytes(&shape, 2, "", 0); /* one dimension of size 0 */
	pb_message(&tensor, 2, &shape);
	pb_str(&v, 1, tag);
	pb_message(&v, 8, &tensor);
	pb_message(&v, 9, &metadata);
	pb_message(&summary, 1, &v);
	begin_event(tb);
	pb_message(&tb->event, 5, &summary);
	return end_event(tb, err);
}

/* Type for the HParams tab: 1 string, 2 bool, 3 number; 0 leaves it out. */
static int type_of(const json_t *v)
{
	return json_is_string(v) ? 1 : json_is_boolean(v) ? 2 : json_is_number(v) ? 3 : 0;
}

/* The columns of the HParams tab; older TensorBoards need the metrics named. */
static void add_experiment(struct rt_buf *out, const json_t *values)
{
	static const char *const metrics[] = { "eval/accuracy", "eval/loss", "train/loss" };
	struct rt_buf experiment = RT_BUF_INIT;
	const char *key;
	json_t *v;

	pb_double(&experiment, 3, (double)rt_clock_now_ms() / 1000.0);
	json_object_foreach((json_t *)(uintptr_t)values, key, v)
	{
		struct rt_buf info = RT_BUF_INIT;

		if (!type_of(v))
			continue;
		pb_str(&info, 1, key);
		pb_int(&info, 4, type_of(v));
		pb_message(&experiment, 4, &info);
	}
	for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
		struct rt_buf name = RT_BUF_INIT, info = RT_BUF_INIT;

		pb_str(&name, 2, metrics[i]);
		pb_message(&info, 1, &name);
		pb_message(&experiment, 5, &info);
	}
	pb_message(out, 2, &experiment);
}

static void add_session(struct rt_buf *out, const json_t *values)
{
	struct rt_buf session = RT_BUF_INIT;
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)values, key, v)
	{
		struct rt_buf entry = RT_BUF_INIT, value = RT_BUF_INIT;

		if (!type_of(v))
			continue;
		if (json_is_string(v))
			pb_bytes(&value, 3, json_string_value(v), json_string_length(v));
		else if (json_is_boolean(v))
			pb_int(&value, 4, json_is_true(v));
		else
			pb_double(&value, 2, json_number_value(v));
		pb_str(&entry, 1, key);
		pb_message(&entry, 2, &value);
		pb_message(&session, 1, &entry);
	}
	pb_double(&session, 5, (double)rt_clock_now_ms() / 1000.0);
	pb_message(out, 3, &session);
}

int rt_tb_hparams(struct rt_tb *tb, const json_t *values, struct rt_err *err)
{
	struct rt_buf content = RT_BUF_INIT;

	add_experiment(&content, values);
	if (write_plugin(tb, "_hparams_/experiment", &content, err) < 0)
		return -1;
	add_session(&content, values);
	return write_plugin(tb, "_hparams_/session_start_info", &content, err);
}

int rt_tb_end(struct rt_tb *tb, enum rt_tb_status status, struct rt_err *err)
{
	struct rt_buf content = RT_BUF_INIT, end = RT_BUF_INIT;

	pb_int(&end, 1, status);
	pb_double(&end, 2, (double)rt_clock_now_ms() / 1000.0);
	pb_message(&content, 4, &end);
	return write_plugin(tb, "_hparams_/session_end_info", &content, err);
}
