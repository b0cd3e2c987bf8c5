/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/jobs/{id}/checkpoints: the list, one, its files, its archive; best and last lead to the one they stand for. */
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "server/manifest.h"
#include "server/range.h"
#include "server/render.h"
#include "server/respond.h"
#include "server/routes.h"
#include "server/server.h"
#include "server/tar.h"

#define FOR_EVER    "private, max-age=31536000, immutable"
#define BLOCK_BYTES (64 << 10)

/* ---- the list ---- */

struct list {
	struct rt_render_list list;
	const struct rt_job *job;
};

static void add_checkpoint(void *arg, const struct rt_checkpoint *c)
{
	struct list *l = arg;

	rt_render_list_item(&l->list, c->id);
	rt_render_checkpoint(&l->list.out, c, l->job->best_checkpoint_id, l->job->last_checkpoint_id);
}

int rt_route_checkpoints_list(struct rt_req *req, struct rt_err *err)
{
	static const char *const known[] = { NULL };
	struct list l = { .job = NULL };
	struct rt_job job;
	int rc;

	if (rt_target_only(&req->target, known, err) < 0 ||
	    rt_store_job_get(req->server->store, req->params.value[0], &job, err) < 0)
		return -1;
	l.job = &job;
	rt_render_list_begin(&l.list);
	rc = rt_store_checkpoints_read(req->server->store, job.id, add_checkpoint, &l, err);
	rt_render_list_end(&l.list, false);
	if (rc == 0)
		rc = rt_answer_json(req, 200, &l.list.out, err);
	rt_buf_release(&l.list.out);
	rt_job_release(&job);
	return rc;
}

/* ---- which checkpoint ---- */

/* best or last: redirects to the same address with the id in its place. tail: what follows the id in the address. */
static int redirect(struct rt_req *req, const struct rt_job *job, const char *word, const char *tail,
		    struct rt_err *err)
{
	const char *id = strcmp(word, "best") == 0 ? job->best_checkpoint_id : job->last_checkpoint_id;
	struct rt_buf location = RT_BUF_INIT;
	int rc = -1;

	if (!id)
		return rt_fail(err, RT_NOT_FOUND, "the job is %s and has no checkpoint%s",
			       rt_job_status_word(job->status),
			       rt_job_status_is_final(job->status)
				       ? ""
				       : " yet; the first comes with the first epoch");
	rt_buf_fmt(&location, "/v1/jobs/%s/checkpoints/%s%s", job->id, id, tail);
	if (rt_buf_check(&location, err) == 0)
		rc = rt_answer_redirect(req, location.data, err);
	rt_buf_release(&location);
	return rc;
}

/* 1: *ret is the checkpoint that the address names (release it with its job). 0: answered with a redirect. -1. */
static int find(struct rt_req *req, const char *tail, struct rt_job *ret_job, struct rt_checkpoint *ret,
		struct rt_err *err)
{
	static const char *const known[] = { NULL };
	const char *id = req->params.value[1];
	struct rt_job job;
	int rc;

	if (rt_target_only(&req->target, known, err) < 0 ||
	    rt_store_job_get(req->server->store, req->params.value[0], &job, err) < 0)
		return -1;
	if (strcmp(id, "best") == 0 || strcmp(id, "last") == 0) {
		rc = redirect(req, &job, id, tail, err);
	} else {
		rc = rt_store_checkpoint_get(req->server->store, job.id, id, ret, err) < 0 ? -1 : 1;
		if (rc == 1 && ret->deleted_ms != RT_SQL_NO_INT) {
			rt_checkpoint_release(ret);
			rc = rt_fail(err, RT_GONE,
				     "checkpoint %s was removed to keep save_total_limit; GET "
				     "/v1/jobs/%s/checkpoints lists "
				     "those that are there",
				     id, job.id);
		}
	}
	if (rc == 1)
		*ret_job = job;
	else
		rt_job_release(&job);
	return rc;
}

static char *folder_of(struct rt_req *req, const struct rt_checkpoint *c)
{
	char *all = rt_scheduler_path(&req->server->scheduler, c->run_id, "checkpoints");
	char *path = all ? rt_path_join(all, c->id) : NULL;

	free(all);
	return path;
}

int rt_route_checkpoint_get(struct rt_req *req, struct rt_err *err)
{
	struct rt_buf body = RT_BUF_INIT;
	struct rt_checkpoint c;
	struct rt_job job;
	int rc = find(req, "", &job, &c, err);

	if (rc <= 0)
		return rc;
	rt_render_checkpoint(&body, &c, job.best_checkpoint_id, job.last_checkpoint_id);
	rt_checkpoint_release(&c);
	rt_job_release(&job);
	return rt_answer_json(req, 200, &body, err);
}

/* ---- bytes ---- */

struct part {
	int64_t start, length;
	unsigned status; /* 200 or 206 */
};

/* Looks at If-None-Match, If-Range and Range. 1: *ret is to be sent. 0: answered with 304 or 416. */
static int choose_part(struct rt_req *req, const char *etag, int64_t size, struct part *ret,
		       struct rt_err *err)
{
	const char *none_match = rt_req_header(req, "If-None-Match"),
		   *if_range = rt_req_header(req, "If-Range");
	const char *range = strcmp(req->method, "GET") == 0 ? rt_req_header(req, "Range") : NULL;
	char content_range[40];

	*ret = (struct part){ .start = 0, .length = size, .status = 200 };
	if (none_match && rt_etag_listed(none_match, etag))
		return rt_answer_empty(req, 304, err);
	if (if_range && strcmp(if_range, etag) != 0)
		range = NULL;
	switch (rt_range_parse(range, size, &ret->start, &ret->length)) {
	case RT_RANGE_WHOLE:
		return 1;
	case RT_RANGE_PART:
		ret->status = 206;
		return 1;
	case RT_RANGE_UNSATISFIABLE:
		break;
	}
	rt_fail(err, RT_RANGE, "the range begins behind the end: there are %lld bytes", (long long)size);
	rt_answer_error(req, err);
	snprintf(content_range, sizeof content_range, "bytes */%lld", (long long)size);
	rt_answer_header(req, "Content-Range", content_range);
	return 0;
}

static void add_headers(struct rt_req *req, const char *etag, const char *type, const char *name,
			const struct part *part, int64_t size)
{
	struct rt_buf text = RT_BUF_INIT;

	if (req->status >= 400)
		return;
	rt_answer_header(req, "ETag", etag);
	rt_answer_header(req, "Accept-Ranges", "bytes");
	rt_answer_header(req, "Cache-Control", FOR_EVER);
	if (req->status != 304) {
		rt_answer_header(req, "Content-Type", type);
		rt_buf_fmt(&text, "attachment; filename=\"%s\"", name);
		rt_answer_header(req, "Content-Disposition", rt_buf_text(&text));
	}
	if (req->status == 206) {
		rt_buf_clear(&text);
		rt_buf_fmt(&text, "bytes %lld-%lld/%lld", (long long)part->start,
			   (long long)(part->start + part->length - 1), (long long)size);
		rt_answer_header(req, "Content-Range", rt_buf_text(&text));
	}
	rt_buf_release(&text);
}

static void add_digest(struct rt_req *req, const char *sha256)
{
	char base64[64], text[96];
	unsigned char raw[32];

	if (req->status >= 400 || sodium_hex2bin(raw, sizeof raw, sha256, 64, NULL, NULL, NULL) != 0)
		return;
	sodium_bin2base64(base64, sizeof base64, raw, sizeof raw, sodium_base64_VARIANT_ORIGINAL);
	snprintf(text, sizeof text, "sha-256=:%s:", base64);
	rt_answer_header(req, "Repr-Digest", text);
}

static const char *type_of(const char *name)
{
	static const struct {
		const char *end, *type;
	} rows[] = {
		{ ".json", "application/json" },
		{ ".md", "text/markdown; charset=utf-8" },
		{ ".txt", "text/plain; charset=utf-8" },
	};
	size_t n = strlen(name);

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		size_t k = strlen(rows[i].end);

		if (n > k && strcmp(name + n - k, rows[i].end) == 0)
			return rows[i].type;
	}
	return "application/octet-stream";
}

/* The file of a manifest, if it still is as it was written. */
static int open_file(struct rt_req *req, const struct rt_checkpoint *c, const struct rt_manifest_file *f,
		     struct rt_err *err)
{
	char *folder = folder_of(req, c), *path = folder ? rt_path_join(folder, f->name) : NULL;
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	struct stat st;

	free(folder);
	free(path);
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == f->size_bytes)
		return fd;
	if (fd >= 0)
		close(fd);
	return rt_fail(err, RT_GONE, "the checkpoint's file '%s' is not there as it was written", f->name);
}

static int answer_file(struct rt_req *req, const struct rt_checkpoint *c, const struct rt_manifest_file *f,
		       struct rt_err *err)
{
	const char *slash = strrchr(f->name, '/');
	struct MHD_Response *response;
	struct part part;
	char etag[72];
	int rc, fd = open_file(req, c, f, err);

	if (fd < 0)
		return -1;
	snprintf(etag, sizeof etag, "\"%s\"", f->sha256);
	rc = choose_part(req, etag, f->size_bytes, &part, err);
	if (rc == 1) {
		response = MHD_create_response_from_fd_at_offset64((uint64_t)part.length, fd,
								   (uint64_t)part.start);
		if (!response) {
			close(fd);
			return rt_fail(err, RT_NO_MEMORY, "no memory for the answer");
		}
		rt_answer_response(req, part.status, response); /* which closes fd */
	} else {
		close(fd);
		if (rc < 0)
			return -1;
	}
	add_headers(req, etag, type_of(f->name), slash ? slash + 1 : f->name, &part, f->size_bytes);
	add_digest(req, f->sha256);
	return 0;
}

int rt_route_checkpoint_file(struct rt_req *req, struct rt_err *err)
{
	const char *name = req->params.value[2];
	struct rt_manifest_file f;
	struct rt_checkpoint c;
	struct rt_job job;
	char tail[600];
	json_t *files;
	int rc;

	snprintf(tail, sizeof tail, "/files/%s", name);
	for (const char *p = name; *p;
	     p++) { /* what is in a manifest needs no escape, and nothing else exists */
		if (*p <= 0x20 || (unsigned char)*p >= 0x7F || strchr("\\\"%?#", *p))
			return rt_fail(err, RT_NOT_FOUND, "a checkpoint has no file '%.100s'", name);
	}
	rc = find(req, tail, &job, &c, err);
	if (rc <= 0)
		return rc;
	rt_job_release(&job);
	files = rt_json_parse(c.files, strlen(c.files), err);
	rc = files ? rt_manifest_find(files, name, &f, err) : -1;
	if (rc == 0)
		rc = answer_file(req, &c, &f, err);
	json_decref(files);
	rt_checkpoint_release(&c);
	return rc;
}

/* ---- the archive ---- */

struct archive {
	struct rt_tar *tar;
	int64_t start; /* of the part that is sent */
};

static ssize_t read_archive(void *cls, uint64_t pos, char *buf, size_t max)
{
	const struct archive *a = cls;
	ssize_t n = rt_tar_read(a->tar, a->start + (int64_t)pos, buf, max);

	return n > 0 ? n : n == 0 ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void free_archive(void *cls)
{
	struct archive *a = cls;

	rt_tar_close(a->tar);
	free(a);
}

static int answer_archive(struct rt_req *req, const struct rt_checkpoint *c, struct rt_tar *tar,
			  struct rt_err *err)
{
	char hash[RT_SHA256_SIZE], etag[80], name[RT_ID_SIZE + 8];
	int64_t size = rt_tar_size(tar);
	struct MHD_Response *response;
	struct archive *archive;
	struct part part;
	int rc;

	rt_sha256(c->files, strlen(c->files),
		  hash); /* which names every byte: names, sizes and hashes of all files */
	snprintf(etag, sizeof etag, "\"tar-%s\"", hash);
	snprintf(name, sizeof name, "%s.tar", c->id);
	rc = choose_part(req, etag, size, &part, err);
	if (rc == 1) {
		archive = malloc(sizeof *archive);
		if (!archive) {
			rt_tar_close(tar);
			return rt_fail(err, RT_NO_MEMORY, "no memory for the answer");
		}
		*archive = (struct archive){ .tar = tar, .start = part.start };
		response = MHD_create_response_from_callback((uint64_t)part.length, BLOCK_BYTES, read_archive,
							     archive, free_archive);
		if (!response) {
			free_archive(archive);
			return rt_fail(err, RT_NO_MEMORY, "no memory for the answer");
		}
		rt_answer_response(req, part.status, response);
	} else {
		rt_tar_close(tar);
		if (rc < 0)
			return -1;
	}
	add_headers(req, etag, "application/x-tar", name, &part, size);
	return 0;
}

int rt_route_checkpoint_archive(struct rt_req *req, struct rt_err *err)
{
	struct rt_tar *tar = NULL;
	struct rt_checkpoint c;
	struct rt_job job;
	json_t *files;
	char *folder;
	int rc = find(req, ".tar", &job, &c, err);

	if (rc <= 0)
		return rc;
	rt_job_release(&job);
	files = rt_json_parse(c.files, strlen(c.files), err);
	folder = folder_of(req, &c);
	rc = -1;
	if (files && !folder)
		rt_fail(err, RT_NO_MEMORY, "no memory for the archive");
	else if (files && rt_tar_open(folder, c.id, files, c.created_ms, &tar, err) == 0)
		rc = answer_archive(req, &c, tar, err);
	json_decref(files);
	free(folder);
	rt_checkpoint_release(&c);
	return rc;
}
