/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/utf8.h"
#include "base/log.h"
#include "server/respond.h"
#include "server/server.h"

#define CONNECTIONS_MAX 1000
#define IDLE_TIMEOUT_S	75
#define LAST_WORDS_MS	1000 /* for streams, when the server ends */
#define CONNECTION_BYTES                                                                                     \
	(64U << 10) /* for the address and the headers; libmicrohttpd hangs when parameters do not fit */
#define DISCARD_MAX_BYTES (8U << 20) /* of a body that is refused; more than that closes the connection */

/* ---- one request ---- */

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *conn)
{
	struct rt_http *h = cls;
	struct rt_req *req = calloc(1, sizeof *req);

	if (!req)
		return NULL;
	req->server = h->server;
	req->conn = conn;
	rt_id_new("req", req->id);
	rt_target_parse(uri, &req->target, &req->bad);
	return req;
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
			 enum MHD_RequestTerminationCode why)
{
	struct rt_req *req = *con_cls;

	(void)cls;
	(void)conn;
	(void)why;
	*con_cls = NULL;
	if (!req)
		return;
	if (req->abandon)
		req->abandon(req);
	rt_server_forget_answer(req->server, req);
	if (req->link) {
		*req->link = req->next;
		if (req->next)
			req->next->link = req->link;
	}
	if (req->response)
		MHD_destroy_response(req->response);
	rt_target_release(&req->target);
	rt_buf_release(&req->body);
	free(req->problems);
	free(req);
}

const char *rt_req_header(struct rt_req *req, const char *name)
{
	return MHD_lookup_connection_value(req->conn, MHD_HEADER_KIND, name);
}

struct rt_problems *rt_req_problems(struct rt_req *req)
{
	if (!req->problems)
		req->problems = calloc(1, sizeof *req->problems);
	return req->problems;
}

void rt_req_suspend(struct rt_req *req)
{
	struct rt_http *h = &req->server->http;

	req->stage = RT_REQ_WAITING;
	req->suspended = true;
	req->next = h->waiting;
	if (req->next)
		req->next->link = &req->next;
	req->link = &h->waiting;
	h->waiting = req;
	MHD_suspend_connection(req->conn);
}

void rt_req_resume(struct rt_req *req)
{
	assert(req->suspended && req->response);
	req->stage = RT_REQ_READY;
	req->suspended = false;
	*req->link = req->next;
	if (req->next)
		req->next->link = req->link;
	req->link = NULL;
	MHD_resume_connection(req->conn);
	req->server->http.woken = true;
}

static enum MHD_Result send_answer(struct rt_req *req)
{
	enum MHD_Result sent;

	if (!req->response) {
		rt_log(RT_LOG_ERROR, req->id, "no answer could be made, closing the connection");
		return MHD_NO;
	}
	if (req->status >= 500)
		rt_log(RT_LOG_WARN, req->id, "%s %s answered %u", req->method,
		       req->target.path ? req->target.path : "?", req->status);
	sent = MHD_queue_response(req->conn, req->status, req->response);
	MHD_destroy_response(req->response); /* our reference; libmicrohttpd has its own */
	req->response = NULL;
	return sent;
}

static bool is_type(const char *sent, const char *wanted)
{
	size_t n = strlen(wanted);

	return sent && strncasecmp(sent, wanted, n) == 0 &&
	       (sent[n] == '\0' || sent[n] == ';' || sent[n] == ' ');
}

static enum MHD_Result count_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	(void)kind;
	(void)value;
	*(int *)cls += strcasecmp(name, "Content-Length") == 0;
	return MHD_YES;
}

/* One length at most, in digits: two parties that read it differently could smuggle a request past each other. */
static bool length_is_clear(struct rt_req *req, const char *length)
{
	int n = 0;

	MHD_get_connection_values(req->conn, MHD_HEADER_KIND, count_header, &n);
	return n == 0 || (n == 1 && length && *length && strspn(length, "0123456789") == strlen(length));
}

/* A browser sends some requests to us for any page that it shows, whoever made the page. It says so: newer ones in Sec-Fetch-Site,
 * all of them in Origin. Reading is safe: the page does not get to see the answer. */
static bool is_foreign(struct rt_req *req)
{
	const char *site = rt_req_header(req, "Sec-Fetch-Site"), *origin = rt_req_header(req, "Origin");
	const char *host = rt_req_header(req, "Host"), *authority;

	if (strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0)
		return false;
	if (site)
		return strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0;
	if (!origin)
		return false; /* not a browser */
	authority = strstr(origin, "://");
	return !authority || !host || strcasecmp(authority + 3, host) != 0;
}

/* The headers are there. Returns true if the answer cannot wait for the body. */
static bool check_headers(struct rt_req *req, const char *method)
{
	const char *length = rt_req_header(req, "Content-Length");
	uint64_t size = length ? strtoull(length, NULL, 10) : 0;

	req->method = method;
	if (!length_is_clear(req, length)) {
		rt_fail(&req->bad, RT_INVALID, "Content-Length must be one whole number");
		return true;
	}
	if (req->bad.code == RT_OK)
		req->route = rt_route_find(req->server->http.routes, method, &req->target, &req->params,
					   req->allow, &req->bad);
	if (req->bad.code == RT_OK && is_foreign(req))
		rt_fail(&req->bad, RT_FORBIDDEN, "a page of another site may not change anything here");
	if (req->bad.code == RT_OK && size > req->route->body_max)
		rt_fail(&req->bad, RT_TOO_LARGE, "the body may have at most %zu bytes here (got %llu)",
			req->route->body_max, (unsigned long long)size);
	if (req->bad.code == RT_OK && req->route->content_type &&
	    !is_type(rt_req_header(req, "Content-Type"), req->route->content_type)) {
		const char *got = rt_req_header(req, "Content-Type");

		if (got)
			rt_fail(&req->bad, RT_MEDIA, "the body must be %s (Content-Type is %.100s)",
				req->route->content_type,
				rt_utf8_valid(got, strlen(got)) == strlen(got) ? got : "not UTF-8");
		else
			rt_fail(&req->bad, RT_MEDIA, "the body must be %s (there is no Content-Type)",
				req->route->content_type);
	}
	return req->bad.code != RT_OK && size > DISCARD_MAX_BYTES;
}

static void take_body(struct rt_req *req, const char *bytes, size_t n)
{
	req->body_seen += n;
	if (req->bad.code != RT_OK)
		return;
	if (req->body_seen > req->route->body_max) /* a chunked body: no length was announced */
		rt_fail(&req->bad, RT_TOO_LARGE, "the body may have at most %zu bytes here",
			req->route->body_max);
	else
		rt_buf_add(&req->body, bytes, n);
	if (req->bad.code != RT_OK)
		rt_buf_release(&req->body);
}

/* While the server goes down nothing new begins, but workers still report. */
static bool comes_too_late(const struct rt_req *req)
{
	return req->server->stopping && strcmp(req->route->method, "GET") != 0 &&
	       strncmp(req->route->pattern, "/v1/worker/", 11) != 0;
}

static void handle(struct rt_req *req)
{
	struct rt_err err = req->bad;

	if (err.code == RT_OK && comes_too_late(req))
		rt_fail(&err, RT_UNAVAILABLE, "the server is going down; try again when it is back");

	if (err.code == RT_OK && rt_buf_check(&req->body, &err) == 0 && req->route->handle(req, &err) == 0) {
		assert(req->response || req->suspended);
		return;
	}
	rt_answer_error(req, &err);
	if (err.code == RT_METHOD)
		rt_answer_header(req, "Allow", req->allow);
}

/* libmicrohttpd takes an answer before a body or after it, not within: a body that turns out too long on the way gets its
 * 413 written to the socket, and the connection is closed. */
static enum MHD_Result refuse_on_the_way(struct rt_req *req)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(req->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct rt_buf body = RT_BUF_INIT, out = RT_BUF_INIT;

	rt_problem_write(&body, req->bad.code, req->bad.msg, req->target.path, req->id, NULL);
	rt_buf_fmt(&out,
		   "HTTP/1.1 %d %s\r\nConnection: close\r\nX-Request-Id: %s\r\nContent-Type: "
		   "application/problem+json\r\n"
		   "Content-Length: %zu\r\n\r\n%s",
		   rt_code_http(req->bad.code), rt_problem_title(req->bad.code), req->id, body.len,
		   rt_buf_text(&body));
	if (info && rt_buf_check(&body, NULL) == 0 && rt_buf_check(&out, NULL) == 0 &&
	    send(info->connect_fd, out.data, out.len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)out.len)
		shutdown(info->connect_fd, SHUT_WR);
	rt_buf_release(&body);
	rt_buf_release(&out);
	return MHD_NO;
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *conn, const char *url, const char *method,
				 const char *version, const char *data, size_t *size, void **con_cls)
{
	struct rt_req *req = *con_cls;

	(void)cls;
	(void)conn;
	(void)url;
	(void)version;
	if (!req)
		return MHD_NO;
	switch (req->stage) {
	case RT_REQ_NEW:
		req->stage = RT_REQ_READING;
		if (!check_headers(req, method))
			return MHD_YES;
		handle(req);
		return send_answer(req);
	case RT_REQ_READING:
		if (*size > 0) {
			take_body(req, data, *size);
			*size = 0;
			if (req->bad.code != RT_OK && req->body_seen > DISCARD_MAX_BYTES)
				return refuse_on_the_way(req);
			return MHD_YES;
		}
		handle(req);
		return req->suspended ? MHD_YES : send_answer(req);
	case RT_REQ_WAITING:
		return MHD_YES; /* woken for no reason of ours */
	case RT_REQ_READY:
		return send_answer(req);
	}
	return MHD_NO;
}

/* ---- the daemon on the loop ---- */

static void on_timer(uv_timer_t *timer)
{
	rt_http_run(timer->data);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	rt_http_run(poll->data);
}

void rt_http_run(struct rt_http *h)
{
	MHD_UNSIGNED_LONG_LONG wait_ms;

	if (!h->daemon)
		return;
	h->woken = false;
	MHD_run(h->daemon);
	if (MHD_get_timeout(h->daemon, &wait_ms) == MHD_YES)
		uv_timer_start(&h->timer, on_timer, wait_ms, 0);
	else
		uv_timer_stop(&h->timer);
}

void rt_http_run_soon(struct rt_http *h)
{
	if (h->watching)
		uv_timer_start(&h->timer, on_timer, 0, 0);
}

static void log_mhd(void *cls, const char *fmt, va_list ap)
{
	char words[400];

	(void)cls;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	vsnprintf(words, sizeof words, fmt, ap);
#pragma GCC diagnostic pop
	words[strcspn(words, "\n")] = '\0';
	rt_log(RT_LOG_DEBUG, "-", "libmicrohttpd: %s", words);
}

/* Splits "127.0.0.1:80" or "[::1]:80". */
static int parse_address(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len,
			 struct rt_err *err)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
	const char *colon = strrchr(text, ':');
	char host[64], *end;
	size_t n = colon ? (size_t)(colon - text) : 0;
	unsigned long port;

	if (!colon || n == 0 || n >= sizeof host || !colon[1] ||
	    strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
	    (port = strtoul(colon + 1, &end, 10)) > 65535)
		return rt_fail(err, RT_INVALID,
			       "--listen must be ADDR:PORT, such as 127.0.0.1:8080 (got '%.100s')", text);
	memcpy(host, text, n);
	host[n] = '\0';
	memset(ret, 0, sizeof *ret);
	if (strcmp(host, "localhost") == 0)
		strcpy(host, "127.0.0.1");
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		*ret_len = sizeof *v4;
		if (ntohl(v4->sin_addr.s_addr) >> 24 == 127)
			return 0;
	} else if (host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		if (inet_pton(AF_INET6, host + 1, &v6->sin6_addr) != 1)
			return rt_fail(err, RT_INVALID, "--listen: '%s' is not an IPv6 address", host + 1);
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		*ret_len = sizeof *v6;
		if (IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr))
			return 0;
	} else {
		return rt_fail(err, RT_INVALID,
			       "--listen: '%s' is not an IP address; give numbers, such as 127.0.0.1", host);
	}
	return rt_fail(err, RT_FORBIDDEN,
		       "--listen %.100s would let other machines in, and this version has no API keys to "
		       "keep strangers out: "
		       "listen on 127.0.0.1 or [::1] and reach it through an SSH tunnel or a proxy that "
		       "authenticates",
		       text);
}

static int open_socket(const char *listen_on, struct rt_http *h, struct rt_err *err)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof address;
	char host[64];
	int fd, one = 1, port;

	if (parse_address(listen_on, &address, &len, err) < 0)
		return -1;
	fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return rt_fail_errno(err, errno, "cannot open a socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, 511) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &len) < 0) {
		rt_fail_errno(err, errno, "cannot listen on %s", listen_on);
		close(fd);
		return -1;
	}
	if (address.ss_family == AF_INET) {
		inet_ntop(AF_INET, &((struct sockaddr_in *)&address)->sin_addr, host, sizeof host);
		port = ntohs(((struct sockaddr_in *)&address)->sin_port);
		snprintf(h->url, sizeof h->url, "http://%s:%d", host, port);
	} else {
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&address)->sin6_addr, host, sizeof host);
		port = ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
		snprintf(h->url, sizeof h->url, "http://[%s]:%d", host, port);
	}
	return fd;
}

int rt_http_start(struct rt_http *h, struct rt_server *server, const struct rt_route *routes,
		  const char *listen_on, struct rt_err *err)
{
	const union MHD_DaemonInfo *info;
	int fd, rc;

	h->server = server;
	h->routes = routes;
	fd = open_socket(listen_on, h, err);
	if (fd < 0)
		return -1;
	h->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_access, h,
		MHD_OPTION_EXTERNAL_LOGGER, log_mhd, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_URI_LOG_CALLBACK, on_uri, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned)IDLE_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
	if (!h->daemon) {
		close(fd);
		return rt_fail(err, RT_INTERNAL, "cannot start the HTTP server");
	}
	info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	rc = info ? uv_poll_init(&server->loop, &h->poll, info->epoll_fd) : UV_EINVAL;
	if (rc == 0) {
		uv_timer_init(&server->loop, &h->timer);
		h->watching = true;
		h->poll.data = h->timer.data = h;
		rc = uv_poll_start(&h->poll, UV_READABLE, on_readable);
	}
	if (rc < 0) {
		rt_http_stop(h);
		return rt_fail(err, RT_INTERNAL, "cannot watch the HTTP server: %s", uv_strerror(rc));
	}
	return 0;
}

void rt_http_stop(struct rt_http *h)
{
	struct rt_err gone = RT_ERR_INIT;

	if (!h->daemon)
		return;
	rt_fail(&gone, RT_UNAVAILABLE, "the server is going down");
	while (h->waiting) {
		rt_answer_error(h->waiting, &gone);
		if (!h->waiting->response)
			break;
		rt_req_resume(h->waiting);
	}
	/* Resumed connections must leave libmicrohttpd's list before it may stop, and streams get their last words. */
	for (int i = 0; i < 3 || (h->server->streams.n > 0 && i < LAST_WORDS_MS / 10); i++)
		MHD_run_wait(h->daemon, 10);
	if (h->watching) {
		uv_close((uv_handle_t *)&h->poll, NULL);
		uv_close((uv_handle_t *)&h->timer, NULL);
		h->watching = false;
	}
	MHD_stop_daemon(h->daemon); /* closes the socket too */
	h->daemon = NULL;
}
