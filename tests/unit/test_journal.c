/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/event.h"
#include "base/clock.h"
#include "base/file.h"
#include "worker/train/journal.h"

/* A server of one thread that answers each post from a script and remembers what it was sent. It keeps events as the real
 * one does: each seq once, in order. */
struct server {
	int fd, port;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t news;
	const char *
		script; /* a letter a post: o 200, c 200 and cancel, e 500, b 400, g 410, h hang up, t 200 and take nothing;
			       the last letter is for all further posts */
	int posts, beats;
	int64_t last_seq;
	int refuse_seq; /* a batch with this seq is answered 400 */
	bool stop, bad_token;
	struct rt_buf lines;
};

static void take_lines(struct server *s, const char *body, size_t len)
{
	while (len > 0) {
		const char *newline = memchr(body, '\n', len);
		size_t n = newline ? (size_t)(newline - body) + 1 : len;
		long long seq = strtoll(body + 7, NULL, 10);

		if (seq > s->last_seq) {
			rt_buf_add(&s->lines, body, n);
			s->last_seq = seq;
		}
		body += n;
		len -= n;
	}
}

static bool holds_seq(const char *body, int seq)
{
	char want[40];

	snprintf(want, sizeof want, "{\"seq\":%d,", seq);
	return strstr(body, want) != NULL;
}

static void answer(struct server *s, int fd, const char *head, const char *body, size_t len)
{
	char how, text[256], json[100];
	int status = 200;

	pthread_mutex_lock(&s->lock);
	how = s->script[0];
	if (s->script[1])
		s->script++;
	s->posts++;
	s->beats += len == 0;
	if (!strstr(head, "Authorization: Bearer secret\r\n"))
		s->bad_token = true;
	if (s->refuse_seq && holds_seq(body, s->refuse_seq))
		how = 'b';
	if (how == 'o' || how == 'c')
		take_lines(s, body, len);
	status = how == 'e' ? 500 : how == 'b' ? 400 : how == 'g' ? 410 : 200;
	snprintf(json, sizeof json, "{\"last_seq\":%lld,\"want\":\"%s\"}", (long long)s->last_seq,
		 how == 'c' ? "cancel" : "continue");
	pthread_cond_broadcast(&s->news);
	pthread_mutex_unlock(&s->lock);
	if (how == 'h')
		return;
	snprintf(text, sizeof text, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
		 status, strlen(json), json);
	if (write(fd, text, strlen(text)) < 0)
		return;
}

static void serve_one(struct server *s, int fd)
{
	struct rt_buf in = RT_BUF_INIT;
	char *end = NULL, *length;
	size_t want = 0;

	for (;;) {
		char *to = rt_buf_room(&in, 65536);
		ssize_t n = read(fd, to, 65536);

		if (n <= 0)
			break;
		in.len += (size_t)n;
		in.data[in.len] = '\0';
		end = end ? end : strstr(in.data, "\r\n\r\n");
		if (!end)
			continue;
		end = strstr(in.data, "\r\n\r\n"); /* the buffer may have moved */
		length = strcasestr(in.data, "content-length:");
		want = length ? strtoul(length + 15, NULL, 10) : 0;
		if (in.len >= (size_t)(end - in.data) + 4 + want) {
			*end = '\0';
			memcpy(end, "\r\n", 2);
			end[2] = '\0';
			answer(s, fd, in.data, end + 4, want);
			break;
		}
	}
	rt_buf_release(&in);
}

static void *serve(void *ctx)
{
	struct server *s = ctx;

	for (;;) {
		int fd = accept(s->fd, NULL, NULL);
		bool stop;

		pthread_mutex_lock(&s->lock);
		stop = s->stop;
		pthread_mutex_unlock(&s->lock);
		if (fd >= 0 && !stop)
			serve_one(s, fd);
		if (fd >= 0)
			close(fd);
		if (stop || fd < 0)
			return NULL;
	}
}

static void server_start(struct server *s, const char *script)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof addr;

	s->script = script;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->news, NULL);
	s->fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&addr, sizeof addr), 0);
	assert_int_equal(listen(s->fd, 16), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&addr, &len), 0);
	s->port = ntohs(addr.sin_port);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_stop(struct server *s)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_mutex_unlock(&s->lock);
	addr.sin_port = htons((uint16_t)s->port);
	connect(fd, (struct sockaddr *)&addr, sizeof addr); /* wakes accept */
	close(fd);
	pthread_join(s->thread, NULL);
	close(s->fd);
	rt_buf_release(&s->lines);
}

/* Waits until the server was posted to n times (or for 20 s). */
static void wait_for_posts(struct server *s, int n, int beats)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	pthread_mutex_lock(&s->lock);
	while (s->posts < n || s->beats < beats) {
		if (pthread_cond_timedwait(&s->news, &s->lock, &until) == ETIMEDOUT)
			break;
	}
	pthread_mutex_unlock(&s->lock);
	assert_true(s->posts >= n);
	assert_true(s->beats >= beats);
}

struct fixture {
	char dir[64], url[100];
	struct rt_journal *j;
	struct server server;
	struct rt_err err;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	signal(SIGPIPE, SIG_IGN);
	strcpy(f->dir, "/tmp/rt-journal-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	f->server.fd = -1;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	rt_journal_close(f->j, 0);
	if (f->server.fd >= 0)
		server_stop(&f->server);
	rt_dir_remove(f->dir, NULL);
	free(f);
	return 0;
}

static void open_journal(struct fixture *f, const char *script, int64_t heartbeat_ms, int out_fd)
{
	struct rt_journal_options o = {
		.dir = f->dir, .out_fd = out_fd, .token = "secret", .heartbeat_ms = heartbeat_ms
	};

	if (script) {
		server_start(&f->server, script);
		snprintf(f->url, sizeof f->url, "http://127.0.0.1:%d/v1/worker/runs/run_x/events",
			 f->server.port);
		o.url = f->url;
	}
	assert_int_equal(rt_journal_open(&o, &f->j, &f->err), 0);
}

static void close_journal(struct fixture *f)
{
	rt_journal_close(f->j, 20000);
	f->j = NULL;
}

static int say(struct fixture *f, const char *words)
{
	return rt_journal_write(f->j, "log", "info", NULL, &f->err, "%s", words);
}

static void read_file(struct fixture *f, struct rt_buf *out)
{
	char path[100];

	snprintf(path, sizeof path, "%s/events.ndjson", f->dir);
	assert_int_equal(rt_file_read(path, 1 << 24, out, &f->err), 0);
}

static void lines_are_events_with_a_seq_each(void **state)
{
	struct fixture *f = *state;
	struct rt_buf text = RT_BUF_INIT;
	struct rt_event e;
	char *at;

	open_journal(f, NULL, 0, -1);
	assert_int_equal(say(f, "one \"quoted\"\n"), 0);
	assert_int_equal(rt_journal_write(f->j, "run.phase", "info", json_pack("{ss}", "phase", "training"),
					  &f->err, "go"),
			 0);
	assert_int_equal(rt_journal_seq(f->j), 2);
	read_file(f, &text);
	at = strchr(text.data, '\n');
	assert_int_equal(rt_event_parse(text.data, (size_t)(at - text.data), &e, &f->err), 0);
	assert_int_equal(e.seq, 1);
	assert_string_equal(e.message, "one \"quoted\"\n");
	rt_event_release(&e);
	assert_int_equal(rt_event_parse(at + 1, strlen(at + 1) - 1, &e, &f->err), 0);
	assert_int_equal(e.seq, 2);
	assert_string_equal(e.type, "run.phase");
	assert_string_equal(json_string_value(json_object_get(e.data, "phase")), "training");
	rt_event_release(&e);
	rt_buf_release(&text);
}

static void stdout_gets_the_same_lines(void **state)
{
	struct fixture *f = *state;
	struct rt_buf text = RT_BUF_INIT;
	char got[2000] = "";
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	open_journal(f, NULL, 0, fds[1]);
	say(f, "one");
	say(f, "two");
	read_file(f, &text);
	assert_true(read(fds[0], got, sizeof got - 1) > 0);
	assert_string_equal(got, text.data);
	close(fds[0]);
	assert_int_equal(say(f, "nobody reads stdout any more"), 0);
	assert_int_equal(say(f, "still fine"), 0);
	close(fds[1]);
	rt_buf_release(&text);
}

static void a_folder_of_another_run_is_refused(void **state)
{
	struct fixture *f = *state;
	struct rt_journal_options o = { .dir = f->dir, .out_fd = -1 };

	open_journal(f, NULL, 0, -1);
	say(f, "one");
	close_journal(f);
	assert_int_equal(rt_journal_open(&o, &f->j, &f->err), -1);
	assert_int_equal(f->err.code, RT_CONFLICT);
	assert_non_null(strstr(f->err.msg, "events of another run"));
}

static void the_server_gets_every_line_once(void **state)
{
	/* answers that a run may meet on its way; in the end the server has all */
	static const struct {
		const char *name, *script;
	} rows[] = {
		{ "all is well", "o" },
		{ "the server fails twice", "eeo" },
		{ "the connection breaks", "hoho" },
		{ "200, but nothing was taken", "to" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct fixture *f = NULL;
		struct rt_buf text = RT_BUF_INIT;

		print_message("%s\n", rows[i].name);
		assert_int_equal(set_up((void **)&f), 0);
		open_journal(f, rows[i].script, 60000, -1);
		for (int k = 0; k < 5; k++)
			say(f, "a line");
		rt_journal_write(f->j, "run.cancelled", "info", NULL, &f->err, "the end");
		close_journal(f);
		read_file(f, &text);
		assert_string_equal(rt_buf_text(&f->server.lines), text.data);
		assert_false(f->server.bad_token);
		rt_buf_release(&text);
		tear_down((void **)&f);
	}
}

static void a_backlog_larger_than_a_batch_arrives(void **state)
{
	struct fixture *f = *state;
	char words[1000];

	memset(words, 'x', sizeof words - 1);
	words[sizeof words - 1] = '\0';
	open_journal(f, "eo", 60000, -1);
	for (int k = 0; k < 600; k++)
		say(f, words);
	close_journal(f);
	assert_int_equal(f->server.last_seq, 600);
	assert_true(f->server.posts > 2);
}

static void a_refused_line_does_not_hold_up_the_others(void **state)
{
	struct fixture *f = *state;

	f->server.refuse_seq = 3;
	open_journal(f, "o", 60000, -1);
	for (int k = 0; k < 6; k++)
		say(f, "a line");
	close_journal(f);
	assert_int_equal(f->server.last_seq, 6);
	assert_false(holds_seq(f->server.lines.data, 3));
	assert_true(holds_seq(f->server.lines.data, 2));
	assert_true(holds_seq(f->server.lines.data, 4));
}

static void want_comes_with_the_heartbeat(void **state)
{
	struct fixture *f = *state;

	open_journal(f, "oc", 50, -1);
	assert_int_equal(rt_journal_want(f->j), RT_WANT_CONTINUE);
	wait_for_posts(&f->server, 3, 3);
	assert_int_equal(rt_journal_want(f->j), RT_WANT_CANCEL);
}

static void a_server_that_knows_the_run_no_more_is_left_alone(void **state)
{
	struct fixture *f = *state;
	int posts;

	open_journal(f, "g", 50, -1);
	say(f, "one");
	wait_for_posts(&f->server, 1, 0);
	rt_journal_close(f->j, 20000); /* does not wait: nothing more will ever be posted */
	f->j = NULL;
	posts = f->server.posts;
	assert_int_equal(posts, 1);
}

static void writing_never_waits_for_a_server_that_is_away(void **state)
{
	struct fixture *f = *state;
	struct rt_journal_options o = { .dir = f->dir,
					.out_fd = -1,
					.token = "secret",
					.url = "http://127.0.0.1:1/v1/worker/runs/run_x/events" };
	int64_t start = rt_clock_monotonic_ms();

	assert_int_equal(rt_journal_open(&o, &f->j, &f->err), 0);
	for (int k = 0; k < 1000; k++)
		assert_int_equal(say(f, "a line"), 0);
	assert_true(rt_clock_monotonic_ms() - start < 2000);
	start = rt_clock_monotonic_ms();
	rt_journal_close(f->j, 300);
	f->j = NULL;
	assert_true(rt_clock_monotonic_ms() - start < 3000);
}

static void a_full_disk_fails_the_write_but_not_the_news(void **state)
{
	struct fixture *f = *state;
	struct rlimit old, small = { 0 };
	struct rt_buf text = RT_BUF_INIT;

	open_journal(f, "o", 60000, -1);
	assert_int_equal(say(f, "one"), 0);
	/* a file-size limit stands in for a full disk: write gives less, then an error */
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 150;
	setrlimit(RLIMIT_FSIZE, &small);
	assert_int_equal(say(f, "a line that does not fit any more into the file and is cut in the middle"),
			 -1);
	assert_int_equal(rt_journal_write(f->j, "run.failed", "error",
					  json_pack("{ss}", "reason", "disk_full"), &f->err,
					  "the disk is full"),
			 -1);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(f->err.code, RT_DISK_FULL);
	close_journal(f);
	assert_int_equal(f->server.last_seq, 3);
	read_file(f, &text);
	assert_non_null(strstr(text.data, "one"));
	assert_int_equal(text.data[text.len - 1], '\n'); /* no half line */
	assert_null(strstr(text.data, "does not fit"));
	rt_buf_release(&text);
}

static void an_event_that_nobody_would_take_says_that_it_is_left_out(void **state)
{
	struct fixture *f = *state;
	struct rt_event event;
	struct rt_buf text = RT_BUF_INIT, word = RT_BUF_INIT;
	const char *second;

	open_journal(f, "o", 60000, -1);
	for (int i = 0; i < RT_EVENT_MAX_BYTES; i++)
		rt_buf_char(&word, 'a');
	assert_int_equal(rt_journal_write(f->j, "data.loaded", "info",
					  json_pack("{sisis[s]}", "train_rows", 1, "validation_rows", 1,
						    "labels", word.data),
					  &f->err, "data"),
			 0);
	rt_buf_clear(&word);
	for (int i = 0; i < 600; i++)
		rt_buf_str(&word, "\xc3\xa9");
	assert_int_equal(rt_journal_write(f->j, "log", "info", NULL, &f->err, "x%s", word.data), 0);
	close_journal(f);
	assert_int_equal(f->server.last_seq, 2);
	read_file(f, &text);
	second = strchr(text.data, '\n') + 1;
	assert_int_equal(rt_event_parse(text.data, (size_t)(second - text.data) - 1, &event, &f->err), 0);
	assert_string_equal(event.type, "log");
	assert_string_equal(event.level, "warn");
	assert_non_null(strstr(event.message, "an event data.loaded of 10"));
	assert_non_null(strstr(event.message, " bytes is left out: 1048576 are allowed"));
	rt_event_release(&event);
	assert_int_equal(rt_event_parse(second, strlen(second) - 1, &event, &f->err), 0); /* it is UTF-8 */
	assert_int_equal(strlen(event.message), 1023);
	rt_event_release(&event);
	rt_buf_release(&text);
	rt_buf_release(&word);
}

static void a_wrong_url_is_refused(void **state)
{
	struct fixture *f = *state;
	struct rt_journal_options o = {
		.dir = f->dir, .out_fd = -1, .url = "file:///etc/passwd", .token = "secret"
	};

	assert_int_equal(rt_journal_open(&o, &f->j, &f->err), -1);
	assert_int_equal(f->err.code, RT_INVALID);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(lines_are_events_with_a_seq_each),
		T(stdout_gets_the_same_lines),
		T(a_folder_of_another_run_is_refused),
		cmocka_unit_test(the_server_gets_every_line_once),
		T(a_backlog_larger_than_a_batch_arrives),
		T(a_refused_line_does_not_hold_up_the_others),
		T(want_comes_with_the_heartbeat),
		T(a_server_that_knows_the_run_no_more_is_left_alone),
		T(writing_never_waits_for_a_server_that_is_away),
		T(a_full_disk_fails_the_write_but_not_the_news),
		T(an_event_that_nobody_would_take_says_that_it_is_left_out),
		T(a_wrong_url_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
