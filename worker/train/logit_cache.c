/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/train/logit_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define MAGIC "RTLOGIT1"
#define COMPUTATION                                                                                          \
	1 /* raise it when worker/model changes logits by more than rounding: what is cached is computed anew */
#define BLOCK_RECORDS 1024
#define KEY_BYTES     sizeof(struct rt_text_key)
#define MAP_STEP                                                                                             \
	((size_t)64                                                                                          \
	 << 20) /* address space taken beyond the file's end, so that growth needs no new mapping */
#define NOWHERE	 UINT64_MAX
#define ATTEMPTS 100 /* to open a file that others remove meanwhile */

enum { BYTE_USE = 0, BYTE_APPEND = 1 };
#define BYTE_TEXTS ((off_t)1 << 40)

struct header {
	char magic[8];
	uint32_t classes, block_records;
	char name[40];
	uint64_t checksum; /* of all before */
};

struct rt_logit_cache {
	char *dir; /* with the files of all teachers */
	int fd;
	size_t classes, row_bytes;
	uint64_t block_bytes;
	int64_t max_bytes;
	int64_t others_bytes, looked_at; /* of other files, when this one had that many */
	unsigned char *map;
	size_t mapped, size; /* bytes of the mapping; of the file */
	uint64_t seen;	     /* records looked at */
	bool failed;	     /* nothing more can be added */

	/* the wanted */
	const struct rt_text_key *keys;
	float *logits;
	size_t n, found, damaged;
	bool *has;
	uint64_t *repair; /* the damaged record of a text, or NOWHERE */
	uint32_t *table;  /* open addressing: index + 1, 0: empty */
	size_t table_mask;
	unsigned char *row; /* key, logits, padding, checksum: one record in the making */
};

/* ---- what things are called ---- */

void rt_text_key_of(const int32_t *ids, const int32_t *type_ids, size_t n, struct rt_text_key *ret)
{
	crypto_generichash_state s;
	uint64_t types = 0;

	for (size_t i = 0; type_ids && i < n && !types; i++)
		types = type_ids[i] != 0;
	crypto_generichash_init(&s, NULL, 0, sizeof ret->bytes);
	crypto_generichash_update(&s, (const unsigned char *)&types, sizeof types);
	crypto_generichash_update(&s, (const unsigned char *)ids, n * sizeof *ids);
	if (types)
		crypto_generichash_update(&s, (const unsigned char *)type_ids, n * sizeof *type_ids);
	crypto_generichash_final(&s, ret->bytes, sizeof ret->bytes);
}

void rt_logit_cache_name(const char *model_sha256, const char *precision, size_t classes,
			 char ret[RT_SHA256_SIZE])
{
	char text[256];
	int n = snprintf(text, sizeof text, MAGIC " %d %s %s %zu", COMPUTATION, model_sha256, precision,
			 classes);

	rt_sha256(text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1, ret);
}

static uint64_t checksum(const void *bytes, size_t n)
{
	static const unsigned char key[crypto_shorthash_KEYBYTES] = "retort's logits";
	uint64_t sum;

	_Static_assert(crypto_shorthash_BYTES == sizeof sum, "SipHash has 64 bits");
	crypto_shorthash((unsigned char *)&sum, bytes, n, key);
	return sum;
}

/* ---- locks ---- */

static int lock(int fd, short type, off_t at, bool wait)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };
	int rc;

	do
		rc = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &l);
	while (rc < 0 && errno == EINTR && wait);
	return rc;
}

static off_t byte_of(const struct rt_text_key *key)
{
	uint64_t v;

	memcpy(&v, key->bytes + 8, sizeof v);
	return BYTE_TEXTS + (off_t)(v & (((uint64_t)1 << 40) - 1));
}

/* ---- where things are ---- */

static uint64_t key_at(const struct rt_logit_cache *c, uint64_t record)
{
	return sizeof(struct header) + record / BLOCK_RECORDS * c->block_bytes +
	       record % BLOCK_RECORDS * KEY_BYTES;
}

static uint64_t row_at(const struct rt_logit_cache *c, uint64_t record)
{
	return sizeof(struct header) + record / BLOCK_RECORDS * c->block_bytes + BLOCK_RECORDS * KEY_BYTES +
	       record % BLOCK_RECORDS * c->row_bytes;
}

/* Sees the file as long as it is now. -1: it cannot be seen, and what was is all there is. */
static int refresh(struct rt_logit_cache *c)
{
	struct stat st;
	size_t want;
	void *map;

	if (fstat(c->fd, &st) < 0 || st.st_size < 0)
		return -1;
	if ((size_t)st.st_size > c->mapped) {
		want = ((size_t)st.st_size / MAP_STEP + 1) * MAP_STEP;
		map = mmap(NULL, want, PROT_READ, MAP_SHARED, c->fd, 0);
		if (map == MAP_FAILED)
			return -1;
		if (c->map)
			munmap(c->map, c->mapped);
		c->map = map;
		c->mapped = want;
	}
	c->size = (size_t)st.st_size;
	return 0;
}

static int write_at(int fd, const void *bytes, size_t n, uint64_t at)
{
	const char *p = bytes;

	while (n > 0) {
		ssize_t done = pwrite(fd, p, n, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return -1;
		p += done;
		at += (uint64_t)done;
		n -= (size_t)done;
	}
	return 0;
}

/* ---- opening ---- */

static struct header header_of(const struct rt_logit_cache *c, const char *name)
{
	struct header h = { .classes = (uint32_t)c->classes, .block_records = BLOCK_RECORDS };

	memcpy(h.magic, MAGIC, sizeof h.magic);
	memcpy(h.name, name, sizeof h.name);
	h.checksum = checksum(&h, offsetof(struct header, checksum));
	return h;
}

/* 1: the header is whole; 0: the file has gone or must go; -1: trouble. Under the append lock. */
static int check_header(struct rt_logit_cache *c, const char *path, const char *name, struct rt_err *err)
{
	struct header want = header_of(c, name), is;
	struct stat mine, there;
	ssize_t n;

	/* who removes a file holds its use lock alone; we may have opened it before and locked it after */
	if (fstat(c->fd, &mine) < 0)
		return rt_fail_errno(err, errno, "cannot read the logits cache");
	if (stat(path, &there) < 0 || there.st_ino != mine.st_ino || there.st_dev != mine.st_dev)
		return 0;
	n = pread(c->fd, &is, sizeof is, 0);
	if (n < 0)
		return rt_fail_errno(err, errno, "cannot read the logits cache");
	if (n == sizeof is && memcmp(&is, &want, sizeof is) == 0)
		return 1;
	if (n < (ssize_t)sizeof is) { /* new, or its maker was killed */
		if (write_at(c->fd, &want, sizeof want, 0) < 0)
			return rt_fail_errno(err, errno, "cannot write the logits cache");
		return 1;
	}
	unlink(path); /* others may still have it; nobody finds it any more */
	return 0;
}

static int open_file(struct rt_logit_cache *c, const char *name, struct rt_err *err)
{
	char *path = rt_path_join(c->dir, name);
	int rc = 0;

	if (!path)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the logits cache");
	for (int i = 0; rc == 0 && i < ATTEMPTS; i++) {
		if (c->fd >= 0)
			close(c->fd);
		c->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
		if (c->fd < 0)
			rc = rt_fail_errno(err, errno, "cannot open the logits cache");
		else if (lock(c->fd, F_RDLCK, BYTE_USE, true) < 0 ||
			 lock(c->fd, F_WRLCK, BYTE_APPEND, true) < 0)
			rc = rt_fail(err, RT_UNSUPPORTED, "the logits cache's file system has no locks: %s",
				     strerror(errno));
		else
			rc = check_header(c, path, name, err);
		if (c->fd >= 0)
			lock(c->fd, F_UNLCK, BYTE_APPEND, false);
	}
	free(path);
	if (rc == 0)
		rc = rt_fail(err, RT_IO, "the logits cache is removed as often as it is made");
	return rc < 0 ? -1 : 0;
}

int rt_logit_cache_open(const struct rt_logit_cache_options *o, struct rt_logit_cache **ret,
			struct rt_err *err)
{
	struct rt_logit_cache *c;
	int rc = -1;

	if (o->classes < 1 || o->classes > RT_LOGIT_CACHE_CLASSES_MAX ||
	    strspn(o->name, "0123456789abcdef") != RT_SHA256_SIZE - 1 || o->name[RT_SHA256_SIZE - 1])
		return rt_fail(err, RT_INVALID, "a logits cache cannot be called %.80s with %zu classes",
			       o->name, o->classes);
	c = calloc(1, sizeof *c);
	if (!c)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the logits cache");
	c->fd = -1;
	c->classes = o->classes;
	c->row_bytes = (o->classes * sizeof(float) + 7) / 8 * 8 + sizeof(uint64_t);
	c->block_bytes = BLOCK_RECORDS * (KEY_BYTES + c->row_bytes);
	c->max_bytes = o->max_bytes;
	c->dir = rt_path_join(o->dir, "logits");
	c->row = calloc(1, KEY_BYTES + c->row_bytes);
	if (!c->dir || !c->row) {
		rt_fail(err, RT_NO_MEMORY, "no memory for the logits cache");
		goto out;
	}
	if (rt_dir_make(c->dir, err) < 0 || open_file(c, o->name, err) < 0)
		goto out;
	futimens(c->fd, NULL); /* used now */
	if (refresh(c) < 0) {
		rt_fail_errno(err, errno, "cannot map the logits cache");
		goto out;
	}
	c->looked_at = (int64_t)c->size;
	c->others_bytes = rt_logit_cache_trim(c->dir, c->max_bytes, NULL) - c->looked_at;
	*ret = c;
	c = NULL;
	rc = 0;
out:
	rt_logit_cache_close(c);
	return rc;
}

void rt_logit_cache_close(struct rt_logit_cache *c)
{
	if (!c)
		return;
	if (c->map)
		munmap(c->map, c->mapped);
	if (c->fd >= 0)
		close(c->fd); /* and its locks */
	free(c->dir);
	free(c->row);
	free(c->has);
	free(c->repair);
	free(c->table);
	free(c);
}

/* ---- finding ---- */

static size_t place_of(const struct rt_logit_cache *c, const unsigned char *key)
{
	uint64_t v;

	memcpy(&v, key, sizeof v);
	return (size_t)v & c->table_mask;
}

/* Which of the wanted that is; n when none. */
static size_t index_of(const struct rt_logit_cache *c, const unsigned char *key)
{
	for (size_t at = place_of(c, key); c->table[at]; at = (at + 1) & c->table_mask) {
		size_t i = c->table[at] - 1;

		if (memcmp(c->keys[i].bytes, key, KEY_BYTES) == 0)
			return i;
	}
	return c->n;
}

int rt_logit_cache_want(struct rt_logit_cache *c, const struct rt_text_key *keys, size_t n, float *logits,
			struct rt_err *err)
{
	size_t slots = 16;

	while (slots < 2 * n)
		slots *= 2;
	c->has = calloc(n + 1, sizeof *c->has);
	c->repair = reallocarray(NULL, n + 1, sizeof *c->repair);
	c->table = calloc(slots, sizeof *c->table);
	if (!c->has || !c->repair || !c->table || n >= UINT32_MAX)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the logits cache");
	c->keys = keys;
	c->logits = logits;
	c->n = n;
	c->table_mask = slots - 1;
	for (size_t i = 0; i < n; i++) {
		size_t at = place_of(c, keys[i].bytes);

		while (c->table[at])
			at = (at + 1) & c->table_mask;
		c->table[at] = (uint32_t)i + 1;
		c->repair[i] = NOWHERE;
	}
	return 0;
}

static bool all_finite(const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!isfinite(x[i]))
			return false;
	}
	return true;
}

/* Copies the row of a record to text i, if it is whole. */
static bool take_row(struct rt_logit_cache *c, uint64_t record, size_t i)
{
	uint64_t at = row_at(c, record), sum;
	size_t body = c->row_bytes - sizeof sum;

	if (at + c->row_bytes > c->size)
		return false;
	memcpy(c->row, c->keys[i].bytes, KEY_BYTES);
	memcpy(c->row + KEY_BYTES, c->map + at, body);
	memcpy(&sum, c->map + at + body, sizeof sum);
	if (checksum(c->row, KEY_BYTES + body) != sum)
		return false;
	memcpy(c->logits + i * c->classes, c->row + KEY_BYTES, c->classes * sizeof *c->logits);
	return all_finite(c->logits + i * c->classes, c->classes);
}

size_t rt_logit_cache_look(struct rt_logit_cache *c)
{
	static const struct rt_text_key none;

	refresh(c);
	for (;; c->seen++) {
		uint64_t at = key_at(c, c->seen);
		const unsigned char *key;
		size_t i;

		if (at + KEY_BYTES > c->size)
			break;
		key = c->map + at;
		if (memcmp(key, &none, KEY_BYTES) == 0)
			break;
		i = c->n > 0 ? index_of(c, key) : 0;
		if (i == c->n || c->has[i])
			continue;
		if (take_row(c, c->seen, i)) {
			c->has[i] = true;
			c->found++;
		} else if (c->repair[i] == NOWHERE) {
			c->repair[i] = c->seen;
			c->damaged++;
		}
	}
	return c->found;
}

bool rt_logit_cache_has(const struct rt_logit_cache *c, size_t i)
{
	return c->has[i];
}

size_t rt_logit_cache_damaged(const struct rt_logit_cache *c)
{
	return c->damaged;
}

/* ---- adding ---- */

bool rt_logit_cache_claim(struct rt_logit_cache *c, size_t i)
{
	/* locks that fail for another reason than another process keep nobody from computing */
	return lock(c->fd, F_WRLCK, byte_of(&c->keys[i]), false) == 0 || (errno != EAGAIN && errno != EACCES);
}

void rt_logit_cache_release(struct rt_logit_cache *c, size_t i)
{
	lock(c->fd, F_UNLCK, byte_of(&c->keys[i]), false);
}

/* Row first, key last: what has a key is there. */
static int write_record(struct rt_logit_cache *c, uint64_t record, size_t i)
{
	size_t body = c->row_bytes - sizeof(uint64_t);
	uint64_t sum;

	memset(c->row, 0, KEY_BYTES + c->row_bytes);
	memcpy(c->row, c->keys[i].bytes, KEY_BYTES);
	memcpy(c->row + KEY_BYTES, c->logits + i * c->classes, c->classes * sizeof *c->logits);
	sum = checksum(c->row, KEY_BYTES + body);
	memcpy(c->row + KEY_BYTES + body, &sum, sizeof sum);
	if (write_at(c->fd, c->row + KEY_BYTES, c->row_bytes, row_at(c, record)) < 0)
		return -1;
	return write_at(c->fd, c->keys[i].bytes, KEY_BYTES, key_at(c, record));
}

/* Is there room for n more records? Others' files go first. */
static bool has_room(struct rt_logit_cache *c, size_t n)
{
	int64_t want = (int64_t)(n * (KEY_BYTES + c->row_bytes)), own = (int64_t)c->size;

	/* others grow, too, so what is known of them is good for a while only */
	if (own + c->others_bytes + want > c->max_bytes || own - c->looked_at > c->max_bytes / 64) {
		c->others_bytes = rt_logit_cache_trim(c->dir, c->max_bytes - want, NULL) - own;
		c->looked_at = own;
	}
	return own + c->others_bytes + want <= c->max_bytes;
}

static int add_all(struct rt_logit_cache *c, const uint32_t *which, size_t n, struct rt_err *err)
{
	rt_logit_cache_look(c); /* to the end, which is where the next record goes */
	if (!has_room(c, n))
		return rt_fail(err, RT_DISK_FULL, "the logits cache is full (%lld bytes)",
			       (long long)c->max_bytes);
	for (size_t k = 0; k < n; k++) {
		size_t i = which[k];
		bool mend = c->repair[i] != NOWHERE;

		if (write_record(c, mend ? c->repair[i] : c->seen, i) < 0)
			return rt_fail_errno(err, errno, "cannot write the logits cache");
		c->repair[i] = NOWHERE;
		if (!c->has[i]) {
			c->has[i] = true;
			c->found++;
		}
		if (!mend)
			rt_logit_cache_look(c);
	}
	return 0;
}

int rt_logit_cache_add(struct rt_logit_cache *c, const uint32_t *which, size_t n, struct rt_err *err)
{
	int rc = -1;

	if (c->failed)
		rt_fail(err, RT_IO, "the logits cache takes no more");
	else if (lock(c->fd, F_WRLCK, BYTE_APPEND, true) < 0)
		rt_fail_errno(err, errno, "cannot lock the logits cache");
	else
		rc = add_all(c, which, n, err);
	lock(c->fd, F_UNLCK, BYTE_APPEND, false);
	c->failed = rc < 0;
	for (size_t k = 0; k < n; k++) {
		if (!c->has[which[k]]) {
			c->has[which[k]] = true;
			c->found++;
		}
		rt_logit_cache_release(c, which[k]);
	}
	return rc;
}

/* ---- the limit ---- */

struct file {
	char name[RT_SHA256_SIZE];
	struct timespec used;
	int64_t bytes;
};

static int by_use(const void *a, const void *b)
{
	const struct file *x = a, *y = b;

	if (x->used.tv_sec != y->used.tv_sec)
		return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
	return (x->used.tv_nsec > y->used.tv_nsec) - (x->used.tv_nsec < y->used.tv_nsec);
}

/* False: it is in use, or cannot be removed. */
static bool remove_unused(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	struct stat mine, there;
	bool gone;

	/* by this name another file may stand there by now, and somebody may use it */
	gone = fd >= 0 && lock(fd, F_WRLCK, BYTE_USE, false) == 0 && fstat(fd, &mine) == 0 &&
	       fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && mine.st_ino == there.st_ino &&
	       unlinkat(dir, name, 0) == 0;
	if (fd >= 0)
		close(fd);
	return gone;
}

int64_t rt_logit_cache_trim(const char *dir, int64_t max_bytes, size_t *ret_removed)
{
	DIR *d = opendir(dir);
	struct file *files = NULL;
	size_t n = 0, cap = 0, removed = 0;
	struct dirent *e;
	int64_t total = 0;

	if (!d)
		return -1;
	while ((e = readdir(d))) {
		struct stat st;

		if (strlen(e->d_name) != RT_SHA256_SIZE - 1 ||
		    fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			continue;
		total += st.st_size;
		if (n == cap) {
			struct file *grown = reallocarray(files, cap ? 2 * cap : 16, sizeof *files);

			if (!grown)
				continue; /* it is counted, and stays */
			files = grown;
			cap = cap ? 2 * cap : 16;
		}
		files[n] = (struct file){ .used = st.st_mtim, .bytes = st.st_size };
		memcpy(files[n++].name, e->d_name, RT_SHA256_SIZE);
	}
	if (n > 0)
		qsort(files, n, sizeof *files, by_use);
	for (size_t i = 0; i < n && total > max_bytes; i++) {
		if (remove_unused(dirfd(d), files[i].name)) {
			total -= files[i].bytes;
			removed++;
		}
	}
	closedir(d);
	free(files);
	if (ret_removed)
		*ret_removed = removed;
	return total;
}
