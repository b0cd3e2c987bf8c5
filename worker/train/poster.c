/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/poster.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

#define BATCH_BYTES    (256 << 10)
#define ANSWER_BYTES   (64 << 10)
#define GATHER_MS      150
#define BACKOFF_MS     250
#define BACKOFF_MAX_MS 15000
#define END_PAUSE_MS   1000

struct rt_poster {
	/* set before the thread starts, then its own */
	CURL *curl;
	struct curl_slist *headers;
	int fd;
	int64_t heartbeat_ms;
	int64_t at;	 /* bytes of the file that are dealt with */
	size_t extra_at; /* likewise of extra */
	int narrow;	 /* lines of a refused batch that still go one by one */
	struct rt_buf answer;

	pthread_t thread;
	bool started;

	/* shared, under lock */
	pthread_mutex_t lock;
	pthread_cond_t wake; /* new lines, or stop */
	pthread_cond_t idle; /* all is posted, or the thread has ended */
	int64_t size_bytes;
	struct rt_buf extra; /* lines that are in no file */
	bool urgent;
	bool stop;    /* send the rest, then end */
	bool give_up; /* end now */
	bool ended;
	enum rt_want want;
	int64_t posted;
};

static size_t take_answer(char *bytes, size_t size, size_t n, void *ctx)
{
	struct rt_poster *p = ctx;

	if (p->answer.len + size * n > ANSWER_BYTES)
		return 0;
	rt_buf_add(&p->answer, bytes, size * n);
	return size * n;
}

static void deadline_in(int64_t ms, struct timespec *ret)
{
	clock_gettime(CLOCK_MONOTONIC, ret);
	ret->tv_sec += ms / 1000;
	ret->tv_nsec += (ms % 1000) * 1000000;
	if (ret->tv_nsec >= 1000000000) {
		ret->tv_nsec -= 1000000000;
		ret->tv_sec++;
	}
}

/* Reads the next whole lines, only one while narrow. 0 when there are none. */
static int next_batch(struct rt_poster *p, struct rt_buf *out, bool *ret_extra)
{
	int64_t end;
	size_t room;
	char *newline;

	rt_buf_clear(out);
	pthread_mutex_lock(&p->lock);
	end = p->size_bytes;
	*ret_extra = p->at >= end;
	if (*ret_extra)
		rt_buf_add(out, rt_buf_text(&p->extra) + p->extra_at, p->extra.len - p->extra_at);
	pthread_mutex_unlock(&p->lock);
	if (!*ret_extra) {
		/* one line may be larger than a batch: read on until a newline is there */
		for (room = BATCH_BYTES;; room *= 2) {
			size_t want = (size_t)(end - p->at) < room ? (size_t)(end - p->at) : room;
			char *to;
			ssize_t n;

			rt_buf_clear(out);
			to = rt_buf_room(out, want);
			n = to ? pread(p->fd, to, want, p->at) : -1;
			if (n <= 0)
				return -1;
			out->len = (size_t)n;
			out->data[out->len] = '\0';
			if (memchr(out->data, '\n', out->len) || out->len == (size_t)(end - p->at))
				break;
		}
	}
	if (out->len == 0)
		return 0;
	newline = p->narrow ? memchr(out->data, '\n', out->len) : memrchr(out->data, '\n', out->len);
	if (newline)
		out->len = (size_t)(newline - out->data) + 1;
	return 1;
}

/* Each line begins {"seq":N, */
static int64_t seq_of(const char *line)
{
	return strncmp(line, "{\"seq\":", 7) == 0 ? strtoll(line + 7, NULL, 10) : -1;
}

/* How many bytes of the batch have a seq of at most last_seq. */
static size_t bytes_until(const struct rt_buf *batch, int64_t last_seq)
{
	size_t at = 0;

	while (at < batch->len) {
		const char *newline = memchr(batch->data + at, '\n', batch->len - at);

		if (seq_of(batch->data + at) > last_seq)
			break;
		at = newline ? (size_t)(newline - batch->data) + 1 : batch->len;
	}
	return at;
}

static void take_want(struct rt_poster *p, const json_t *answer)
{
	static const char *const words[] = { "continue", "cancel", "pause" };
	const char *want = json_string_value(json_object_get(answer, "want"));

	for (size_t i = 0; want && i < sizeof words / sizeof *words; i++) {
		if (strcmp(want, words[i]) == 0) {
			pthread_mutex_lock(&p->lock);
			p->want = (enum rt_want)i;
			pthread_mutex_unlock(&p->lock);
		}
	}
}

enum outcome { SENT, LATER, REFUSED, GONE };

static enum outcome post(struct rt_poster *p, const struct rt_buf *batch, int64_t *ret_last_seq)
{
	struct rt_err err = RT_ERR_INIT;
	enum outcome outcome;
	json_t *answer;
	long status = 0;

	rt_buf_clear(&p->answer);
	curl_easy_setopt(p->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)batch->len);
	curl_easy_setopt(p->curl, CURLOPT_POSTFIELDS, rt_buf_text(batch));
	if (curl_easy_perform(p->curl) != CURLE_OK)
		return LATER;
	curl_easy_getinfo(p->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status == 401 || status == 410)
		return GONE;
	if (status == 403 || status == 404 || status == 408 || status == 429 || status >= 500)
		return LATER;
	if (status != 200)
		return REFUSED;
	*ret_last_seq = -1;
	answer = rt_json_parse(rt_buf_text(&p->answer), p->answer.len, &err);
	outcome = answer && rt_json_get_i64(answer, "last_seq", ret_last_seq, &err) == 0 && *ret_last_seq >= 0
			  ? SENT
			  : LATER;
	if (outcome == SENT)
		take_want(p, answer);
	json_decref(answer);
	return outcome;
}

/* Forgets the lines that the server has (or will never take), up to last_seq. False if that is none of the batch. */
static bool advance(struct rt_poster *p, const struct rt_buf *batch, bool extra, int64_t last_seq)
{
	size_t done = bytes_until(batch, last_seq);

	if (extra)
		p->extra_at += done;
	else
		p->at += (int64_t)done;
	for (size_t i = 0; i < done && p->narrow > 0; i++)
		p->narrow -= batch->data[i] == '\n';
	pthread_mutex_lock(&p->lock);
	p->posted = last_seq;
	pthread_mutex_unlock(&p->lock);
	return done > 0;
}

static int count_lines(const struct rt_buf *batch)
{
	int n = 0;

	for (size_t i = 0; i < batch->len; i++)
		n += batch->data[i] == '\n';
	return n;
}

static void set_want(struct rt_poster *p, enum rt_want want)
{
	pthread_mutex_lock(&p->lock);
	p->want = want;
	pthread_mutex_unlock(&p->lock);
}

/* Sends the next lines, or an empty post when there are none. False when it must be tried again later. */
static bool post_next(struct rt_poster *p, struct rt_buf *batch)
{
	bool extra = false;
	int64_t last_seq = -1;

	if (next_batch(p, batch, &extra) < 0)
		return false;
	switch (post(p, batch, &last_seq)) {
	case SENT:
		/* an answer of 200 that took nothing would otherwise be asked again at once */
		return advance(p, batch, extra, last_seq) || batch->len == 0;
	case REFUSED:
		if (count_lines(batch) > 1) {
			p->narrow = count_lines(batch);
		} else if (batch->len > 0) {
			rt_log(RT_LOG_WARN, "-", "the server refuses event %lld, ignoring",
			       (long long)seq_of(batch->data));
			advance(p, batch, extra, seq_of(batch->data));
		}
		return batch->len > 0;
	case GONE:
		rt_log(RT_LOG_WARN, "-",
		       "the server no longer takes events of this run; they stay in events.ndjson");
		set_want(p, RT_WANT_GONE);
		return false;
	case LATER:
		break;
	}
	return false;
}

/* True when the thread has nothing to send. */
static bool is_caught_up(struct rt_poster *p)
{
	return p->at >= p->size_bytes && p->extra_at >= p->extra.len;
}

/* Sleeps until there is something to do: new lines (gathered for a moment unless they are urgent), the heartbeat, the end.
 * Not before pause_ms are over, except that the end comes at once. Returns with the lock held. */
static void wait_for_work(struct rt_poster *p, int64_t pause_ms)
{
	int64_t start = rt_clock_monotonic_ms(), beat = start + p->heartbeat_ms, gather = 0, now = start;
	struct timespec until;
	bool ending;

	pthread_mutex_lock(&p->lock);
	ending = p->stop;
	if (ending && pause_ms > END_PAUSE_MS)
		pause_ms = END_PAUSE_MS;
	while (p->stop == ending && !p->give_up && (!p->stop || pause_ms > 0)) {
		int64_t next = beat;

		now = rt_clock_monotonic_ms();
		if (now >= start + pause_ms && (now >= beat || p->stop))
			break;
		if (now < start + pause_ms) {
			next = start + pause_ms;
		} else if (!is_caught_up(p)) {
			if (gather == 0)
				gather = now + GATHER_MS;
			if (p->urgent || pause_ms > 0 || now >= gather)
				break;
			next = gather < beat ? gather : beat;
		}
		deadline_in(next - now, &until);
		pthread_cond_timedwait(&p->wake, &p->lock, &until);
	}
	p->urgent = false;
}

static void *run(void *ctx)
{
	struct rt_poster *p = ctx;
	struct rt_buf batch = RT_BUF_INIT;
	int64_t pause_ms = 0;
	bool end = false;

	while (!end) {
		wait_for_work(p, pause_ms);
		end = p->give_up || p->want == RT_WANT_GONE || (p->stop && is_caught_up(p));
		pthread_mutex_unlock(&p->lock);
		if (end)
			break;
		if (post_next(p, &batch))
			pause_ms = 0;
		else
			pause_ms = pause_ms == 0		   ? BACKOFF_MS
				   : pause_ms * 2 < BACKOFF_MAX_MS ? pause_ms * 2
								   : BACKOFF_MAX_MS;
	}
	rt_buf_release(&batch);
	pthread_mutex_lock(&p->lock);
	p->ended = true;
	pthread_cond_broadcast(&p->idle);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* curl asks a few times a second whether to go on: the end of the run does not wait for a server that hangs. */
static int keep_going(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	struct rt_poster *p = ctx;
	int give_up;

	(void)a, (void)b, (void)c, (void)d;
	pthread_mutex_lock(&p->lock);
	give_up = p->give_up;
	pthread_mutex_unlock(&p->lock);
	return give_up;
}

static int set_up_curl(struct rt_poster *p, const char *url, const char *token, struct rt_err *err)
{
	struct rt_buf bearer = RT_BUF_INIT;
	struct curl_slist *more;
	int rc = -1;

	p->curl = curl_easy_init();
	rt_buf_fmt(&bearer, "Authorization: Bearer %s", token ? token : "");
	p->headers = curl_slist_append(NULL, "Content-Type: application/x-ndjson");
	more = p->headers ? curl_slist_append(p->headers, "Expect:") : NULL;
	if (token && more && !bearer.failed)
		more = curl_slist_append(p->headers, bearer.data);
	if (!p->curl || !more || bearer.failed) {
		rt_fail(err, RT_NO_MEMORY, "no memory to report to the server");
		goto out;
	}
	curl_easy_setopt(p->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(p->curl, CURLOPT_POST, 1L);
	curl_easy_setopt(p->curl, CURLOPT_HTTPHEADER, p->headers);
	curl_easy_setopt(p->curl, CURLOPT_WRITEFUNCTION, take_answer);
	curl_easy_setopt(p->curl, CURLOPT_WRITEDATA, p);
	curl_easy_setopt(p->curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
	curl_easy_setopt(p->curl, CURLOPT_TIMEOUT_MS, 30000L);
	curl_easy_setopt(p->curl, CURLOPT_PROXY, "");
	curl_easy_setopt(p->curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(p->curl, CURLOPT_XFERINFOFUNCTION, keep_going);
	curl_easy_setopt(p->curl, CURLOPT_XFERINFODATA, p);
	if (curl_easy_setopt(p->curl, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK ||
	    curl_easy_setopt(p->curl, CURLOPT_URL, url) != CURLE_OK) {
		rt_fail(err, RT_INTERNAL, "cannot set up HTTP");
		goto out;
	}
	rc = 0;
out:
	rt_buf_release(&bearer);
	return rc;
}

int rt_poster_start(const char *path, const char *url, const char *token, int64_t heartbeat_ms,
		    struct rt_poster **ret, struct rt_err *err)
{
	struct rt_poster *p;
	pthread_condattr_t attr;
	int failed;

	if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
		return rt_fail(err, RT_INVALID,
			       "the report URL must begin with http:// or https:// (got '%s')", url);
	p = calloc(1, sizeof *p);
	if (!p)
		return rt_fail(err, RT_NO_MEMORY, "no memory to report to the server");
	p->heartbeat_ms = heartbeat_ms;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->wake, &attr);
	pthread_cond_init(&p->idle, &attr);
	pthread_condattr_destroy(&attr);
	p->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (p->fd < 0) {
		rt_fail_errno(err, errno, "cannot open %s", path);
		goto fail;
	}
	if (set_up_curl(p, url, token, err) < 0)
		goto fail;
	failed = pthread_create(&p->thread, NULL, run, p);
	if (failed) {
		rt_fail_errno(err, failed, "cannot start the reporting thread");
		goto fail;
	}
	p->started = true;
	*ret = p;
	return 0;
fail:
	rt_poster_stop(p, 0);
	return -1;
}

void rt_poster_grown(struct rt_poster *p, int64_t size_bytes, bool urgent)
{
	pthread_mutex_lock(&p->lock);
	p->size_bytes = size_bytes;
	p->urgent = p->urgent || urgent;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

void rt_poster_extra(struct rt_poster *p, const char *line, size_t len)
{
	pthread_mutex_lock(&p->lock);
	rt_buf_add(&p->extra, line, len);
	p->urgent = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

enum rt_want rt_poster_want(struct rt_poster *p)
{
	enum rt_want want;

	pthread_mutex_lock(&p->lock);
	want = p->want;
	pthread_mutex_unlock(&p->lock);
	return want;
}

int64_t rt_poster_posted(struct rt_poster *p)
{
	int64_t posted;

	pthread_mutex_lock(&p->lock);
	posted = p->posted;
	pthread_mutex_unlock(&p->lock);
	return posted;
}

void rt_poster_stop(struct rt_poster *p, int64_t flush_ms)
{
	struct timespec until;

	if (!p)
		return;
	if (p->started) {
		deadline_in(flush_ms, &until);
		pthread_mutex_lock(&p->lock);
		p->stop = true;
		pthread_cond_signal(&p->wake);
		while (!p->ended && pthread_cond_timedwait(&p->idle, &p->lock, &until) != ETIMEDOUT)
			;
		p->give_up = true;
		pthread_cond_signal(&p->wake);
		pthread_mutex_unlock(&p->lock);
		pthread_join(p->thread, NULL);
	}
	curl_easy_cleanup(p->curl);
	curl_slist_free_all(p->headers);
	if (p->fd >= 0)
		close(p->fd);
	pthread_cond_destroy(&p->wake);
	pthread_cond_destroy(&p->idle);
	pthread_mutex_destroy(&p->lock);
	rt_buf_release(&p->extra);
	rt_buf_release(&p->answer);
	free(p);
}
