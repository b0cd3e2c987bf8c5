/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/checkpoints.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"

struct kept {
	char id[RT_ID_SIZE];
};

struct rt_checkpoints {
	char *root; /* DIR/checkpoints */
	int64_t limit;
	struct kept *kept; /* oldest first */
	size_t count;
	char best[RT_ID_SIZE]; /* "" before the first */
	char pending[RT_ID_SIZE];
	char *pending_path; /* NULL when nothing is begun */
};

void rt_checkpoint_info_release(struct rt_checkpoint_info *info)
{
	for (size_t i = 0; i < info->file_count; i++)
		free(info->files[i].name);
	free(info->files);
	memset(info, 0, sizeof *info);
}

/* root/<before><name>; new, or NULL with err filled. */
static char *path_of(const struct rt_checkpoints *c, const char *before, const char *name, struct rt_err *err)
{
	struct rt_buf b = RT_BUF_INIT;
	char *path;

	rt_buf_fmt(&b, "%s/%s%s", c->root, before, name);
	path = rt_buf_take(&b);
	if (!path)
		rt_fail(err, RT_NO_MEMORY, "no memory for a checkpoint");
	return path;
}

static int remove_leftovers(struct rt_checkpoints *c, struct rt_err *err)
{
	DIR *dir = opendir(c->root);
	struct dirent *e;
	int rc = 0;

	if (!dir)
		return rt_fail_errno(err, errno, "cannot open %s", c->root);
	while (rc == 0 && (e = readdir(dir))) {
		char *path;

		if (strncmp(e->d_name, ".tmp-", 5) != 0 && strncmp(e->d_name, ".old-", 5) != 0)
			continue;
		path = path_of(c, "", e->d_name, err);
		rc = path ? rt_dir_remove(path, err) : -1;
		free(path);
	}
	closedir(dir);
	return rc;
}

int rt_checkpoints_open(const char *dir, int64_t limit, struct rt_checkpoints **ret, struct rt_err *err)
{
	struct rt_checkpoints *c = calloc(1, sizeof *c);
	int rc = -1;

	if (!c)
		return rt_fail(err, RT_NO_MEMORY, "no memory for checkpoints");
	c->limit = limit;
	c->root = rt_path_join(dir, "checkpoints");
	if (!c->root) {
		rt_fail(err, RT_NO_MEMORY, "no memory for checkpoints");
		goto out;
	}
	if (rt_dir_make(c->root, err) < 0 || remove_leftovers(c, err) < 0)
		goto out;
	*ret = c;
	c = NULL;
	rc = 0;
out:
	rt_checkpoints_close(c);
	return rc;
}

void rt_checkpoints_close(struct rt_checkpoints *c)
{
	if (!c)
		return;
	rt_checkpoints_abort(c);
	free(c->kept);
	free(c->root);
	free(c);
}

int rt_checkpoints_begin(struct rt_checkpoints *c, const char **ret_path, const char **ret_id,
			 struct rt_err *err)
{
	rt_checkpoints_abort(c);
	rt_id_new("ckpt", c->pending);
	c->pending_path = path_of(c, ".tmp-", c->pending, err);
	if (!c->pending_path)
		return -1;
	if (rt_dir_make(c->pending_path, err) < 0) {
		rt_checkpoints_abort(c);
		return -1;
	}
	*ret_path = c->pending_path;
	*ret_id = c->pending;
	return 0;
}

void rt_checkpoints_abort(struct rt_checkpoints *c)
{
	if (c->pending_path)
		rt_dir_remove(c->pending_path, NULL);
	free(c->pending_path);
	c->pending_path = NULL;
}

static int sync_file(const char *path, struct rt_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return rt_fail_errno(err, errno, "cannot open %s", path);
	if (fsync(fd) < 0)
		rc = rt_fail_errno(err, errno, "cannot write %s", path);
	close(fd);
	return rc;
}

static int add_file(struct rt_checkpoint_info *info, const char *path, const char *name, struct rt_err *err)
{
	struct rt_checkpoint_file *grown = realloc(info->files, (info->file_count + 1) * sizeof *grown), *f;

	if (!grown)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a checkpoint");
	info->files = grown;
	f = &grown[info->file_count];
	if (sync_file(path, err) < 0 || rt_file_sha256(path, f->sha256, &f->size_bytes, err) < 0)
		return -1;
	f->name = strdup(name);
	if (!f->name)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a checkpoint");
	info->file_count++;
	info->size_bytes += f->size_bytes;
	return 0;
}

/* Every file below path/prefix: durable, hashed, listed; then the folder itself. */
static int seal(const char *root, const char *prefix, struct rt_checkpoint_info *info, struct rt_err *err)
{
	char *here = rt_path_join(root, prefix);
	DIR *dir = here ? opendir(here) : NULL;
	struct dirent *e;
	int rc = 0;

	if (!dir) {
		rc = here ? rt_fail_errno(err, errno, "cannot open %s", here)
			  : rt_fail(err, RT_NO_MEMORY, "no memory for a checkpoint");
		free(here);
		return rc;
	}
	while (rc == 0 && (e = readdir(dir))) {
		struct rt_buf name = RT_BUF_INIT, path = RT_BUF_INIT;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		rt_buf_fmt(&name, "%s%s%s", prefix, prefix[0] ? "/" : "", e->d_name);
		rt_buf_fmt(&path, "%s/%s", root, rt_buf_text(&name));
		if (name.failed || path.failed)
			rc = rt_fail(err, RT_NO_MEMORY, "no memory for a checkpoint");
		else if (rt_file_is_dir(path.data))
			rc = seal(root, name.data, info, err);
		else
			rc = add_file(info, path.data, name.data, err);
		rt_buf_release(&name);
		rt_buf_release(&path);
	}
	closedir(dir);
	if (rc == 0)
		rc = rt_dir_sync(here, err);
	free(here);
	return rc;
}

static int by_name(const void *a, const void *b)
{
	const struct rt_checkpoint_file *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* Points root/name at id, in one move: readers see the old one or the new one. */
static int point(struct rt_checkpoints *c, const char *name, const char *id, struct rt_err *err)
{
	char *tmp = path_of(c, ".tmp-", name, err), *link = path_of(c, "", name, err);
	int rc = -1;

	if (!tmp || !link)
		goto out;
	unlink(tmp);
	if (symlink(id, tmp) < 0 || rename(tmp, link) < 0) {
		rt_fail_errno(err, errno, "cannot write %s", link);
		unlink(tmp);
		goto out;
	}
	rc = 0;
out:
	free(tmp);
	free(link);
	return rc;
}

/* Undoes point: the link leads to what it led to before, or there is none. */
static int point_back(struct rt_checkpoints *c, const char *name, bool moved, const char *before)
{
	char *link;
	int rc;

	if (!moved)
		return 0;
	if (before[0])
		return point(c, name, before, NULL);
	link = path_of(c, "", name, NULL);
	rc = link && (unlink(link) == 0 || errno == ENOENT) ? 0 : -1;
	free(link);
	return rc;
}

int rt_checkpoints_commit(struct rt_checkpoints *c, bool best, struct rt_checkpoint_info *ret,
			  struct rt_err *err)
{
	struct rt_checkpoint_info info = { .files = NULL };
	struct kept *grown = realloc(c->kept, (c->count + 1) * sizeof *grown);
	char *path = NULL;
	int rc = -1;

	if (!grown) {
		rt_fail(err, RT_NO_MEMORY, "no memory for a checkpoint");
		goto out;
	}
	c->kept = grown;
	memcpy(info.id, c->pending, sizeof info.id);
	path = path_of(c, "", c->pending, err);
	if (!path || seal(c->pending_path, "", &info, err) < 0)
		goto out;
	if (info.file_count > 1)
		qsort(info.files, info.file_count, sizeof *info.files, by_name);
	if (rename(c->pending_path, path) < 0) {
		rt_fail_errno(err, errno, "cannot write %s", path);
		goto out;
	}
	if ((best && point(c, "best", c->pending, err) < 0) || point(c, "last", c->pending, err) < 0 ||
	    rt_dir_sync(c->root, err) < 0) {
		/* back under its temporary name, for abort to remove; but not from under a link that stays */
		if (point_back(c, "best", best, c->best) == 0 &&
		    point_back(c, "last", true, c->count > 0 ? c->kept[c->count - 1].id : "") == 0 &&
		    rename(path, c->pending_path) < 0)
			rt_dir_remove(path, NULL);
		goto out;
	}
	memcpy(c->kept[c->count++].id, c->pending, RT_ID_SIZE);
	if (best)
		memcpy(c->best, c->pending, RT_ID_SIZE);
	free(c->pending_path);
	c->pending_path = NULL;
	*ret = info;
	memset(&info, 0, sizeof info);
	rc = 0;
out:
	if (rc < 0)
		rt_checkpoints_abort(c);
	free(path);
	rt_checkpoint_info_release(&info);
	return rc;
}

/* Which of n is removed next: an index, or n. */
static size_t surplus_of(const struct kept *kept, size_t n, const char *best, int64_t limit)
{
	size_t allowed = (size_t)limit;

	if (n == 0)
		return n;
	if (allowed < 2 && best[0] && strcmp(best, kept[n - 1].id) != 0)
		allowed = 2;
	if (n <= allowed)
		return n;
	/* the last is at the end, so one before it that is not the best is always found */
	return strcmp(kept[0].id, best) == 0 ? 1 : 0;
}

const char *rt_checkpoints_surplus(const struct rt_checkpoints *c)
{
	size_t i = surplus_of(c->kept, c->count, c->best, c->limit);

	return i < c->count ? c->kept[i].id : NULL;
}

int rt_checkpoints_will_keep(const struct rt_checkpoints *c, bool best, char (**ret)[RT_ID_SIZE],
			     size_t *ret_n, struct rt_err *err)
{
	struct kept *ids = calloc(c->count + 2, sizeof *ids);
	const char *best_id = best ? c->pending : c->best;
	size_t n = c->count, i;

	if (!ids)
		return rt_fail(err, RT_NO_MEMORY, "no memory for checkpoints");
	if (n > 0)
		memcpy(ids, c->kept, n * sizeof *ids);
	if (c->pending_path)
		memcpy(ids[n++].id, c->pending, RT_ID_SIZE);
	while ((i = surplus_of(ids, n, best_id, c->limit)) < n) {
		memmove(&ids[i], &ids[i + 1], (n - i - 1) * sizeof *ids);
		n--;
	}
	*ret = (char(*)[RT_ID_SIZE])ids;
	*ret_n = n;
	return 0;
}

int rt_checkpoints_restore(struct rt_checkpoints *c, const char (*ids)[RT_ID_SIZE], size_t n,
			   const char *best, struct rt_err *err)
{
	struct kept *kept = calloc(n + 1, sizeof *kept);

	if (!kept)
		return rt_fail(err, RT_NO_MEMORY, "no memory for checkpoints");
	for (size_t i = 0; i < n; i++)
		memcpy(kept[i].id, ids[i], RT_ID_SIZE);
	free(c->kept);
	c->kept = kept;
	c->count = n;
	snprintf(c->best, sizeof c->best, "%s", best);
	if ((best[0] && point(c, "best", best, err) < 0) || (n > 0 && point(c, "last", ids[n - 1], err) < 0))
		return -1;
	return rt_dir_sync(c->root, err);
}

int rt_checkpoints_remove(struct rt_checkpoints *c, const char *id, struct rt_err *err)
{
	char *path = path_of(c, "", id, err), *old = path_of(c, ".old-", id, err);
	int rc = -1;

	if (!path || !old)
		goto out;
	/* gone under its name at once: nobody finds half a checkpoint */
	if (rename(path, old) < 0 && errno != ENOENT) {
		rt_fail_errno(err, errno, "cannot remove %s", path);
		goto out;
	}
	rc = rt_dir_remove(old, err);
	for (size_t i = 0; i < c->count; i++) {
		if (strcmp(c->kept[i].id, id) == 0) {
			memmove(&c->kept[i], &c->kept[i + 1], (c->count - i - 1) * sizeof *c->kept);
			c->count--;
			break;
		}
	}
out:
	free(path);
	free(old);
	return rc;
}

const char *rt_checkpoints_best(const struct rt_checkpoints *c)
{
	return c->best[0] ? c->best : NULL;
}
