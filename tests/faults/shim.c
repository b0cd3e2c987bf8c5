/* SPDX-License-Identifier: Apache-2.0 */
/* Loaded into a server or a worker (LD_PRELOAD) to make its disk and its clock misbehave, at a place that can be named again.
 *
 *   RT_FAULT_ROOT=DIR    what is done to files below DIR counts: opening one to create it, writing, syncing, renaming, linking,
 *                        making folders, removing
 *   RT_FAULT_BUT=WORD    files with WORD in their path do not count, and nothing happens to them
 *   RT_FAULT=KIND@N      at the N-th of these
 *     kill               half of it is done (of a write), then SIGKILL
 *     cut                the same, and with it goes what a power cut takes: bytes that no fsync has made durable, and renames whose
 *                        folder was not synced (a file that was replaced is there again)
 *     full               no more room from here on: half of it is done, then ENOSPC for whatever needs room
 *     eio                this one fails with EIO, once
 *   RT_FAULT_LOG=FILE    gets "KIND N PID OPERATION" when it happens; FILE.d/ keeps what renames replace
 *   RT_FAULT_COUNT=FILE  gets the number of operations at the end of a process that ends by itself
 *   RT_CLOCK=FILE        8 bytes, little endian: milliseconds that the wall clock is off; read anew each time
 *
 * One lock around every operation: a cut happens between two of them, whatever threads there are. What a power cut may take and
 * this does not: the entries of new files and folders in a folder that was not synced. */
#undef _FILE_OFFSET_BITS
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FDS	   4096
#define FILES	   4096
#define RENAMES	   4096
#define EXPORTED   __attribute__((visibility("default")))
#define REAL(name) real_##name
#define FIND(name) (*(void **)&REAL(name) = dlsym(RTLD_NEXT, #name))

static int (*REAL(open))(const char *, int, ...);
static ssize_t (*REAL(write))(int, const void *, size_t);
static ssize_t (*REAL(pwrite))(int, const void *, size_t, off_t);
static ssize_t (*REAL(writev))(int, const struct iovec *, int);
static ssize_t (*REAL(copy_file_range))(int, off64_t *, int, off64_t *, size_t, unsigned);
static int (*REAL(fsync))(int);
static int (*REAL(fdatasync))(int);
static int (*REAL(ftruncate))(int, off_t);
static int (*REAL(close))(int);
static int (*REAL(rename))(const char *, const char *);
static int (*REAL(link))(const char *, const char *);
static int (*REAL(symlink))(const char *, const char *);
static int (*REAL(mkdir))(const char *, mode_t);
static int (*REAL(unlink))(const char *);
static int (*REAL(unlinkat))(int, const char *, int);
static int (*REAL(clock_gettime))(clockid_t, struct timespec *);

enum kind { NONE, KILL, CUT, FULL, EIO_ONCE };
enum need { ROOM, NO_ROOM, SYNC };

/* A file that may hold bytes which are not durable; fd is the shim's own. */
struct file {
	dev_t dev;
	ino_t ino;
	off_t synced;
	int fd;
};

struct moved {
	char from[PATH_MAX], to[PATH_MAX], kept[PATH_MAX]; /* kept: what stood at `to`, "" for nothing */
};

static pthread_mutex_t lock;
static char root[PATH_MAX];
static const char *log_path, *count_path, *but;
static enum kind kind;
static const char *kind_word = "";
static long at, count;
static bool is_full;
static bool counts[FDS]; /* of a descriptor */
static struct file files[FILES];
static size_t file_count;
static struct moved *moves[RENAMES];
static size_t move_count;
static const volatile int64_t *clock_ms;
static bool ready;

__attribute__((constructor)) static void begin(void)
{
	const char *fault = getenv("RT_FAULT"), *dir = getenv("RT_FAULT_ROOT"), *clock = getenv("RT_CLOCK");
	static const char *const words[] = { "none", "kill", "cut", "full", "eio" };
	pthread_mutexattr_t attr;
	char word[16];

	if (ready)
		return;
	FIND(open);
	FIND(write);
	FIND(pwrite);
	FIND(writev);
	FIND(copy_file_range);
	FIND(fsync);
	FIND(fdatasync);
	FIND(ftruncate);
	FIND(close);
	FIND(rename);
	FIND(link);
	FIND(symlink);
	FIND(mkdir);
	FIND(unlink);
	FIND(unlinkat);
	FIND(clock_gettime);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&lock, &attr);
	ready = true;
	log_path = getenv("RT_FAULT_LOG");
	count_path = getenv("RT_FAULT_COUNT");
	but = getenv("RT_FAULT_BUT");
	if (dir)
		snprintf(root, sizeof root, "%s/", dir);
	if (fault && sscanf(fault, "%15[a-z]@%ld", word, &at) == 2) {
		for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
			if (strcmp(word, words[i]) == 0) {
				kind = (enum kind)i;
				kind_word = words[i];
			}
		}
	}
	if (clock) {
		int fd = REAL(open)(clock, O_RDONLY | O_CLOEXEC);
		void *page =
			fd >= 0 ? mmap(NULL, sizeof *clock_ms, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

		if (page != MAP_FAILED)
			clock_ms = page;
		if (fd >= 0)
			REAL(close)(fd);
	}
}

__attribute__((destructor)) static void end(void)
{
	char text[40];
	int n = snprintf(text, sizeof text, "%ld\n", count), fd;

	if (!count_path || !ready)
		return;
	fd = REAL(open)(count_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd >= 0 && REAL(write)(fd, text, (size_t)n) != n)
		unlink(count_path);
}

static bool below(const char *path)
{
	return root[0] && path && strncmp(path, root, strlen(root)) == 0 && !(but && strstr(path, but));
}

static bool fd_counts(int fd)
{
	return fd >= 0 && fd < FDS && counts[fd];
}

/* ---- what is not durable ---- */

static struct file *find_file(const struct stat *st)
{
	for (size_t i = 0; i < file_count; i++) {
		if (files[i].dev == st->st_dev && files[i].ino == st->st_ino)
			return &files[i];
	}
	return NULL;
}

static void forget_file(struct file *f)
{
	REAL(close)(f->fd);
	*f = files[--file_count];
}

static void note_opened(int fd, int flags, bool made)
{
	struct file *f;
	struct stat st;

	if (kind != CUT || (flags & O_ACCMODE) == O_RDONLY || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	f = find_file(&st);
	if (f) {
		if (flags & O_TRUNC)
			f->synced = 0;
		return;
	}
	if (file_count == FILES)
		return;
	f = &files[file_count++];
	*f = (struct file){ st.st_dev, st.st_ino, made ? 0 : st.st_size, fcntl(fd, F_DUPFD_CLOEXEC, 1000) };
}

static void note_synced(int fd)
{
	struct stat st;
	struct file *f;
	char dir[PATH_MAX], link[40];
	ssize_t n;

	if (kind != CUT || fstat(fd, &st) < 0)
		return;
	if (S_ISREG(st.st_mode)) {
		f = find_file(&st);
		if (f)
			f->synced = st.st_size;
		return;
	}
	/* a folder: the renames within it are durable */
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, dir, sizeof dir - 2);
	if (n <= 0)
		return;
	dir[n] = '/';
	dir[n + 1] = '\0';
	for (size_t i = 0; i < move_count;) {
		const char *rest = moves[i]->to + strlen(dir);

		if (strncmp(moves[i]->to, dir, strlen(dir)) == 0 && !strchr(rest, '/')) {
			if (moves[i]->kept[0])
				REAL(unlink)(moves[i]->kept);
			free(moves[i]);
			memmove(&moves[i], &moves[i + 1], (--move_count - i) * sizeof *moves);
		} else {
			i++;
		}
	}
}

static void note_closed(int fd)
{
	struct stat st;
	struct file *f;

	if (kind != CUT || fstat(fd, &st) < 0)
		return;
	f = find_file(&st);
	if (f && f->synced == st.st_size)
		forget_file(f);
}

/* Before the rename. */
static void note_renamed(const char *from, const char *to)
{
	static int number;
	struct moved *m;

	if (kind != CUT || move_count == RENAMES)
		return;
	m = calloc(1, sizeof *m);
	snprintf(m->from, sizeof m->from, "%s", from);
	snprintf(m->to, sizeof m->to, "%s", to);
	snprintf(m->kept, sizeof m->kept, "%s.d/%ld-%d", log_path ? log_path : "/tmp/rt-faults",
		 (long)getpid(), number++);
	if (REAL(link)(to, m->kept) < 0)
		m->kept[0] = '\0';
	moves[move_count++] = m;
}

static void lose(void)
{
	for (size_t i = move_count; i-- > 0;) {
		REAL(rename)(moves[i]->to, moves[i]->from);
		if (moves[i]->kept[0])
			REAL(rename)(moves[i]->kept, moves[i]->to);
	}
	for (size_t i = 0; i < file_count; i++) {
		struct stat st;

		if (fstat(files[i].fd, &st) == 0 && st.st_size > files[i].synced &&
		    REAL(ftruncate)(files[i].fd, files[i].synced) < 0)
			perror("rtfaults: ftruncate");
	}
}

/* ---- the fault ---- */

static void say(const char *operation)
{
	char text[200];
	int n, fd = log_path ? REAL(open)(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;

	n = snprintf(text, sizeof text, "%s %ld %ld %s\n", kind_word, count, (long)getpid(), operation);
	if (fd >= 0) {
		if (REAL(write)(fd, text, (size_t)n) != n)
			perror("rtfaults: log");
		REAL(close)(fd);
	}
}

/* What happens to the operation: 0 it is done, 1 it is done by half and then `die` or `fail`. */
enum verdict { DO, HALF, FAIL };

static enum verdict judge(const char *operation, enum need need)
{
	if (is_full)
		return need == ROOM ? FAIL : DO;
	count++;
	if (kind == NONE || count < at || (kind == FULL && need != ROOM) || (kind == EIO_ONCE && count > at))
		return DO;
	if (kind == EIO_ONCE && need == NO_ROOM)
		return DO;
	say(operation);
	if (kind == FULL)
		is_full = true;
	return kind == EIO_ONCE ? FAIL : HALF;
}

/* After the half. For what goes on living the error; the others end here. */
static int fate(void)
{
	if (kind == CUT)
		lose();
	if (kind == KILL || kind == CUT) {
		kill(getpid(), SIGKILL);
		for (;;)
			pause();
	}
	errno = kind == FULL ? ENOSPC : EIO;
	return -1;
}

/* ---- the operations ---- */

static int open_any(const char *path, int flags, mode_t mode)
{
	bool made;
	int fd;

	if (!ready)
		begin();
	if (!below(path))
		return REAL(open)(path, flags, mode);
	pthread_mutex_lock(&lock);
	made = (flags & O_CREAT) && access(path, F_OK) < 0;
	if (made && judge("open", ROOM) != DO) {
		fate();
		pthread_mutex_unlock(&lock);
		return -1;
	}
	fd = REAL(open)(path, flags, mode);
	if (fd >= 0 && fd < FDS) {
		counts[fd] = true;
		note_opened(fd, flags, made);
	}
	pthread_mutex_unlock(&lock);
	return fd;
}

#define OPEN(name)                                                                                           \
	EXPORTED int name(const char *path, int flags, ...)                                                  \
	{                                                                                                    \
		mode_t mode = 0;                                                                             \
		va_list ap;                                                                                  \
		if (flags & (O_CREAT | O_TMPFILE)) {                                                         \
			va_start(ap, flags);                                                                 \
			mode = va_arg(ap, mode_t);                                                           \
			va_end(ap);                                                                          \
		}                                                                                            \
		return open_any(path, flags, mode);                                                          \
	}
OPEN(open)
OPEN(open64)

EXPORTED int close(int fd)
{
	int rc;

	if (!ready)
		begin();
	if (!fd_counts(fd))
		return REAL(close)(fd);
	pthread_mutex_lock(&lock);
	note_closed(fd);
	counts[fd] = false;
	rc = REAL(close)(fd);
	pthread_mutex_unlock(&lock);
	return rc;
}

EXPORTED ssize_t write(int fd, const void *bytes, size_t n)
{
	enum verdict v;
	ssize_t rc;

	if (!ready)
		begin();
	if (!fd_counts(fd))
		return REAL(write)(fd, bytes, n);
	pthread_mutex_lock(&lock);
	v = judge("write", ROOM);
	if (v == HALF && n > 1 && REAL(write)(fd, bytes, n / 2) < 0 && errno == EINVAL)
		v = HALF; /* O_DIRECT takes whole blocks only: then nothing of it */
	rc = v == DO ? REAL(write)(fd, bytes, n) : fate();
	pthread_mutex_unlock(&lock);
	return rc;
}

static ssize_t pwrite_any(int fd, const void *bytes, size_t n, off_t offset)
{
	enum verdict v;
	ssize_t rc;

	if (!ready)
		begin();
	if (!fd_counts(fd))
		return REAL(pwrite)(fd, bytes, n, offset);
	pthread_mutex_lock(&lock);
	v = judge("pwrite", ROOM);
	if (v == HALF && n > 1 && REAL(pwrite)(fd, bytes, n / 2, offset) < 0)
		v = HALF;
	rc = v == DO ? REAL(pwrite)(fd, bytes, n, offset) : fate();
	pthread_mutex_unlock(&lock);
	return rc;
}

EXPORTED ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
	return pwrite_any(fd, bytes, n, offset);
}

EXPORTED ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t offset)
{
	return pwrite_any(fd, bytes, n, offset);
}

#define WRAP(type, name, arguments, passed, is_ours, need)                                                   \
	EXPORTED type name arguments                                                                         \
	{                                                                                                    \
		type rc;                                                                                     \
		if (!ready)                                                                                  \
			begin();                                                                             \
		if (!(is_ours))                                                                              \
			return REAL(name) passed;                                                            \
		pthread_mutex_lock(&lock);                                                                   \
		rc = judge(#name, need) == DO ? REAL(name) passed : fate();                                  \
		pthread_mutex_unlock(&lock);                                                                 \
		return rc;                                                                                   \
	}
WRAP(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n), fd_counts(fd), ROOM)
WRAP(ssize_t, copy_file_range, (int in, off64_t *a, int out, off64_t *b, size_t n, unsigned flags),
     (in, a, out, b, n, flags), fd_counts(out), ROOM)
WRAP(int, ftruncate, (int fd, off_t n), (fd, n), fd_counts(fd), NO_ROOM)
WRAP(int, link, (const char *from, const char *to), (from, to), below(to), ROOM)
WRAP(int, symlink, (const char *text, const char *path), (text, path), below(path), ROOM)
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), below(path) && access(path, F_OK) < 0, ROOM)
WRAP(int, unlink, (const char *path), (path), below(path), NO_ROOM)

EXPORTED int ftruncate64(int fd, off64_t n)
{
	return ftruncate(fd, n);
}

EXPORTED int rename(const char *from, const char *to)
{
	int rc;

	if (!ready)
		begin();
	if (!below(to))
		return REAL(rename)(from, to);
	pthread_mutex_lock(&lock);
	if (judge("rename", ROOM) == DO) {
		note_renamed(from, to);
		rc = REAL(rename)(from, to);
	} else {
		rc = fate();
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

static int sync_any(int fd, int (*call)(int), const char *name)
{
	int rc;

	if (!fd_counts(fd))
		return call(fd);
	pthread_mutex_lock(&lock);
	if (judge(name, SYNC) == DO) {
		rc = call(fd);
		if (rc == 0)
			note_synced(fd);
	} else {
		rc = fate();
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

EXPORTED int fsync(int fd)
{
	if (!ready)
		begin();
	return sync_any(fd, REAL(fsync), "fsync");
}

EXPORTED int fdatasync(int fd)
{
	if (!ready)
		begin();
	return sync_any(fd, REAL(fdatasync), "fdatasync");
}

/* ---- the clock ---- */

EXPORTED int clock_gettime(clockid_t id, struct timespec *ret)
{
	int rc;

	if (!ready)
		begin();
	rc = REAL(clock_gettime)(id, ret);
	if (rc == 0 && clock_ms && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
		int64_t ms = *clock_ms;

		ret->tv_sec += ms / 1000;
		ret->tv_nsec += (ms % 1000) * 1000000;
		if (ret->tv_nsec >= 1000000000) {
			ret->tv_nsec -= 1000000000;
			ret->tv_sec++;
		} else if (ret->tv_nsec < 0) {
			ret->tv_nsec += 1000000000;
			ret->tv_sec--;
		}
	}
	return rc;
}

EXPORTED int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &now) < 0)
		return -1;
	ret->tv_sec = now.tv_sec;
	ret->tv_usec = now.tv_nsec / 1000;
	return 0;
}

EXPORTED time_t time(time_t *ret)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (ret)
		*ret = now.tv_sec;
	return now.tv_sec;
}
