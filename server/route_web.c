/* SPDX-License-Identifier: Apache-2.0 */
/* The dashboard: its page at / and at every address that it makes, its files below /assets. */
#include "server/route_web.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "server/range.h"
#include "server/respond.h"
#include "server/routes.h"

/* Everything comes from this server; no script or style stands in the page; nobody may put it in a frame. */
#define POLICY                                                                                               \
	"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "   \
	"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors "     \
	"'none'"

static const char without_dashboard[] =
	"This retortd was built without the dashboard (meson -Dweb=disabled).\n"
	"The HTTP interface is all here: /v1/jobs, described by /openapi.json.\n";

static const struct rt_web_file *find(const char *path)
{
	for (const struct rt_web_file *f = rt_web_files; f->path; f++) {
		if (strcmp(f->path, path) == 0)
			return f;
	}
	return NULL;
}

/* Whether an Accept-Encoding header names the coding, and not with a weight of zero. */
static bool accepts(const char *header, const char *coding)
{
	size_t n = strlen(coding);

	for (const char *p = header; p && *p; p += strcspn(p, ","), p += *p == ',') {
		const char *weight;

		p += strspn(p, " \t");
		if (strncasecmp(p, coding, n) != 0 || !strchr(" \t,;", p[n]))
			continue;
		p += n;
		p += strspn(p, " \t");
		if (*p != ';')
			return true;
		weight = p + 1 + strspn(p + 1, " \t");
		if (strncasecmp(weight, "q=", 2) != 0)
			return true;
		weight += 2;
		return strspn(weight, "0.") < strcspn(weight, " \t,;"); /* 0, 0.0, 0.000: no */
	}
	return false;
}

static const struct rt_web_body *choose(const struct rt_web_file *f, const char *accepted,
					const char **ret_coding)
{
	*ret_coding = NULL;
	if (f->brotli.data && accepts(accepted, "br")) {
		*ret_coding = "br";
		return &f->brotli;
	}
	if (f->gzip.data && accepts(accepted, "gzip")) {
		*ret_coding = "gzip";
		return &f->gzip;
	}
	return &f->plain;
}

static int answer_file(struct rt_req *req, const struct rt_web_file *f, struct rt_err *err)
{
	const char *none_match = rt_req_header(req, "If-None-Match"), *coding;
	const struct rt_web_body *body = choose(f, rt_req_header(req, "Accept-Encoding"), &coding);
	char etag[96];
	int rc;

	snprintf(etag, sizeof etag, "\"%s%s%s\"", f->hash, coding ? "-" : "", coding ? coding : "");
	if (none_match && rt_etag_listed(none_match, etag))
		rc = rt_answer_empty(req, 304, err);
	else
		rc = rt_answer_static(req, 200, f->type, body->data, body->size, err);
	if (rc < 0)
		return -1;
	if (coding && req->status == 200)
		rt_answer_header(req, "Content-Encoding", coding);
	rt_answer_header(req, "ETag", etag);
	rt_answer_header(req, "Vary", "Accept-Encoding");
	rt_answer_header(req, "Cache-Control",
			 f->immutable ? "public, max-age=31536000, immutable" : "no-cache");
	rt_answer_header(req, "Content-Security-Policy", POLICY);
	rt_answer_header(req, "Referrer-Policy", "no-referrer");
	rt_answer_header(req, "Cross-Origin-Opener-Policy", "same-origin");
	return 0;
}

int rt_route_web_page(struct rt_req *req, struct rt_err *err)
{
	const struct rt_web_file *page = find("/index.html");

	if (page)
		return answer_file(req, page, err);
	return rt_answer_static(req, 200, "text/plain; charset=utf-8", without_dashboard,
				strlen(without_dashboard), err);
}

int rt_route_web_file(struct rt_req *req, struct rt_err *err)
{
	const struct rt_web_file *f = find(req->target.path);

	if (!f)
		return rt_fail(err, RT_NOT_FOUND, "there is nothing at %.200s", req->target.path);
	return answer_file(req, f, err);
}
