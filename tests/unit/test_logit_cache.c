/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "worker/train/known_files.h"
#include "worker/train/logit_cache.h"

#define CLASSES 3
#define TEXTS	2500 /* more than two blocks */
#define PLENTY	((int64_t)1 << 30)

static char dir[] = "/tmp/rt-cache-XXXXXX";
static struct rt_text_key keys[TEXTS];

static int make_dir(void **state)
{
	(void)state;
	memcpy(dir + sizeof dir - 7, "XXXXXX", 6);
	for (int32_t i = 0; i < TEXTS; i++)
		rt_text_key_of((int32_t[]){ 0, i, 2 }, NULL, 3, &keys[i]);
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rt_dir_remove(dir, NULL);
}

static void name_of(int teacher, char name[RT_SHA256_SIZE])
{
	char model[16];

	snprintf(model, sizeof model, "%d", teacher);
	rt_logit_cache_name(model, "fp32", CLASSES, name);
}

static char *file_of(int teacher)
{
	char name[RT_SHA256_SIZE], *path;

	name_of(teacher, name);
	assert_true(asprintf(&path, "%s/logits/%s", dir, name) > 0);
	return path;
}

/* A cache as one job uses it. */
struct job {
	struct rt_logit_cache *cache;
	float logits[TEXTS][CLASSES];
	size_t n;
};

static struct job *open_job(int teacher, size_t n, int64_t max_bytes)
{
	char name[RT_SHA256_SIZE];
	struct rt_logit_cache_options o = {
		.dir = dir, .name = name, .classes = CLASSES, .max_bytes = max_bytes
	};
	struct rt_err err = RT_ERR_INIT;
	struct job *j = calloc(1, sizeof *j);

	assert_non_null(j);
	name_of(teacher, name);
	j->n = n;
	if (rt_logit_cache_open(&o, &j->cache, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(rt_logit_cache_want(j->cache, keys, n, j->logits[0], NULL), 0);
	return j;
}

static void close_job(struct job *j)
{
	rt_logit_cache_close(j->cache);
	free(j);
}

static float value(size_t text, size_t class)
{
	return (float)text * 10 + (float)class;
}

/* 0, or -1 with err. */
static int compute(struct job *j, uint32_t text, struct rt_err *err)
{
	for (size_t k = 0; k < CLASSES; k++)
		j->logits[text][k] = value(text, k);
	return rt_logit_cache_add(j->cache, &text, 1, err);
}

/* As a job does: what is not there and nobody else computes. Returns how many it computed. */
static size_t compute_all(struct job *j)
{
	size_t computed = 0;

	rt_logit_cache_look(j->cache);
	for (uint32_t i = 0; i < j->n; i++) {
		if (rt_logit_cache_has(j->cache, i) || !rt_logit_cache_claim(j->cache, i))
			continue;
		rt_logit_cache_look(j->cache);
		if (rt_logit_cache_has(j->cache, i)) {
			rt_logit_cache_release(j->cache, i);
			continue;
		}
		computed += compute(j, i, NULL) == 0;
	}
	return computed;
}

static void assert_right(const struct job *j)
{
	for (size_t i = 0; i < j->n; i++) {
		assert_true(rt_logit_cache_has(j->cache, i));
		for (size_t k = 0; k < CLASSES; k++)
			assert_true(j->logits[i][k] == value(i, k));
	}
}

static void a_text_is_its_ids(void **state)
{
	static const int32_t ids[] = { 1, 2, 3 }, other[] = { 1, 2, 4 }, zeros[] = { 0, 0, 0 },
			     types[] = { 0, 1, 1 };
	struct rt_text_key a, b;

	(void)state;
	rt_text_key_of(ids, NULL, 3, &a);
	rt_text_key_of(ids, zeros, 3, &b);
	assert_memory_equal(&a, &b, sizeof a);
	rt_text_key_of(ids, types, 3, &b);
	assert_memory_not_equal(&a, &b, sizeof a);
	rt_text_key_of(other, NULL, 3, &b);
	assert_memory_not_equal(&a, &b, sizeof a);
	rt_text_key_of(ids, NULL, 2, &b);
	assert_memory_not_equal(&a, &b, sizeof a);
}

static void what_the_logits_depend_on_makes_another_name(void **state)
{
	char a[RT_SHA256_SIZE], b[RT_SHA256_SIZE];

	(void)state;
	rt_logit_cache_name("m", "fp32", 3, a);
	rt_logit_cache_name("m", "fp32", 3, b);
	assert_string_equal(a, b);
	rt_logit_cache_name("n", "fp32", 3, b);
	assert_string_not_equal(a, b);
	rt_logit_cache_name("m", "bf16", 3, b);
	assert_string_not_equal(a, b);
	rt_logit_cache_name("m", "fp32", 4, b);
	assert_string_not_equal(a, b);
}

static void a_second_job_computes_nothing(void **state)
{
	struct job *j = open_job(1, TEXTS - 100, PLENTY);

	(void)state;
	assert_int_equal(rt_logit_cache_look(j->cache), 0);
	assert_int_equal(compute_all(j), TEXTS - 100);
	assert_right(j);
	close_job(j);
	j = open_job(1, TEXTS - 100, PLENTY);
	assert_int_equal(rt_logit_cache_look(j->cache), TEXTS - 100);
	assert_right(j);
	close_job(j);
	/* other texts of the same teacher, and another teacher */
	j = open_job(1, TEXTS, PLENTY);
	assert_int_equal(compute_all(j), 100);
	assert_right(j);
	close_job(j);
	j = open_job(2, 10, PLENTY);
	assert_int_equal(rt_logit_cache_look(j->cache), 0);
	close_job(j);
}

static void a_torn_end_is_written_over(void **state)
{
	char *path = file_of(1);
	struct stat st;
	struct job *j = open_job(1, 40, PLENTY);

	(void)state;
	assert_int_equal(compute_all(j), 40);
	close_job(j);
	/* the last row lies at the end of the file: cut at every byte of it */
	assert_int_equal(stat(path, &st), 0);
	for (off_t cut = 1; cut <= CLASSES * 4 + 4 + 8; cut += 3) {
		assert_int_equal(truncate(path, st.st_size - cut), 0);
		j = open_job(1, 40, PLENTY);
		assert_int_equal(rt_logit_cache_look(j->cache), 39);
		assert_int_equal(rt_logit_cache_damaged(j->cache), 1);
		assert_int_equal(compute_all(j), 1);
		assert_right(j);
		close_job(j);
	}
	/* less than a header: nothing is there, and nothing is wrong */
	assert_int_equal(truncate(path, 17), 0);
	j = open_job(1, 40, PLENTY);
	assert_int_equal(compute_all(j), 40);
	assert_right(j);
	close_job(j);
	free(path);
}

static void flip(const char *path, off_t at)
{
	int fd = open(path, O_RDWR);
	unsigned char byte;

	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void a_damaged_record_is_found_and_mended(void **state)
{
	/* of record 5: a bit of its second logit, of its checksum, of its key */
	const off_t rows = 64 + 1024 * 32, row = CLASSES * 4 + 4 + 8;
	const off_t places[] = { rows + 5 * row + 4, rows + 5 * row + 17, 64 + 5 * 32 + 3 };
	char *path = file_of(1);

	(void)state;
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		struct job *j = open_job(1, 40, PLENTY);
		struct stat before, after;

		assert_int_equal(compute_all(j), i == 0 ? 40 : 0);
		close_job(j);
		flip(path, places[i]);
		assert_int_equal(stat(path, &before), 0);
		j = open_job(1, 40, PLENTY);
		assert_int_equal(rt_logit_cache_look(j->cache), 39);
		assert_false(rt_logit_cache_has(j->cache, 5));
		/* a key that is not whole is nobody's */
		assert_int_equal(rt_logit_cache_damaged(j->cache), i < 2);
		assert_int_equal(compute_all(j), 1);
		close_job(j);
		j = open_job(1, 40, PLENTY);
		assert_int_equal(rt_logit_cache_look(j->cache), 40);
		assert_int_equal(rt_logit_cache_damaged(j->cache), 0);
		assert_right(j);
		close_job(j);
		assert_int_equal(stat(path, &after), 0);
		assert_int_equal(after.st_size, before.st_size + (i < 2 ? 0 : row)); /* in its place */
	}
	free(path);
}

static void a_file_that_is_none_is_replaced(void **state)
{
	char *path = file_of(1);
	struct job *j = open_job(1, 40, PLENTY);

	(void)state;
	assert_int_equal(compute_all(j), 40);
	close_job(j);
	flip(path, 9); /* classes */
	j = open_job(1, 40, PLENTY);
	assert_int_equal(rt_logit_cache_look(j->cache), 0);
	assert_int_equal(compute_all(j), 40);
	assert_right(j);
	close_job(j);
	free(path);
}

/* In a child; never comes back. The parent reads how many it computed from its exit status. */
static void compute_in_child(int go)
{
	char byte;
	struct job *j;

	if (read(go, &byte, 1) < 0)
		_exit(255);
	j = open_job(1, 200, PLENTY);
	for (;;) {
		compute_all(j);
		if (rt_logit_cache_look(j->cache) == 200)
			break;
		usleep(1000);
	}
	_exit(0);
}

static void processes_share_the_work(void **state)
{
	enum { PROCESSES = 4 };
	pid_t pids[PROCESSES];
	char *path = file_of(1);
	struct stat st;
	struct job *j;
	int go[2];

	(void)state;
	assert_int_equal(pipe(go), 0);
	for (int i = 0; i < PROCESSES; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0) {
			close(go[1]);
			compute_in_child(go[0]);
		}
	}
	close(go[1]); /* all at once */
	close(go[0]);
	for (int i = 0; i < PROCESSES; i++) {
		int status;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	/* each text once: the file has 200 rows and no more */
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 64 + 1024 * 32 + 200 * (CLASSES * 4 + 4 + 8));
	j = open_job(1, 200, PLENTY);
	assert_int_equal(rt_logit_cache_look(j->cache), 200);
	assert_right(j);
	close_job(j);
	free(path);
}

static void what_another_computes_is_not_ours(void **state)
{
	struct job *a = open_job(1, 10, PLENTY), *b = open_job(1, 10, PLENTY);

	(void)state;
	assert_true(rt_logit_cache_claim(a->cache, 3));
	assert_false(rt_logit_cache_claim(b->cache, 3));
	assert_true(rt_logit_cache_claim(b->cache, 4));
	assert_int_equal(compute(a, 3, NULL), 0);
	assert_int_equal(rt_logit_cache_look(b->cache), 1);
	assert_true(rt_logit_cache_has(b->cache, 3));
	/* who goes leaves nothing claimed */
	assert_false(rt_logit_cache_claim(a->cache, 4));
	close_job(b);
	assert_true(rt_logit_cache_claim(a->cache, 4));
	close_job(a);
}

/* Killed at any moment of its work; the next goes on with what is there. */
static void a_killed_writer_leaves_what_it_had(void **state)
{
	size_t had = 0;

	(void)state;
	for (int round = 0; round < 12; round++) {
		pid_t pid = fork();
		struct job *j;
		size_t found;
		int status;

		assert_true(pid >= 0);
		if (pid == 0) {
			j = open_job(1, TEXTS, PLENTY);
			compute_all(j);
			for (;;)
				pause();
		}
		usleep((useconds_t)(500 + 700 * round));
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		j = open_job(1, TEXTS, PLENTY);
		found = rt_logit_cache_look(j->cache);
		assert_true(found >= had);
		assert_int_equal(rt_logit_cache_damaged(j->cache), 0);
		for (size_t i = 0; i < TEXTS; i++) {
			if (rt_logit_cache_has(j->cache, i))
				assert_true(j->logits[i][1] == value(i, 1));
		}
		had = found;
		close_job(j);
	}
	struct job *j = open_job(1, TEXTS, PLENTY);

	assert_int_equal(compute_all(j), TEXTS - had);
	assert_right(j);
	close_job(j);
}

static void set_used(int teacher, time_t when)
{
	struct timespec times[2] = { { .tv_sec = when }, { .tv_sec = when } };
	char *path = file_of(teacher);

	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
	free(path);
}

static bool is_there(int teacher)
{
	char *path = file_of(teacher);
	bool there = rt_file_exists(path);

	free(path);
	return there;
}

static void the_longest_unused_go_first_and_none_in_use(void **state)
{
	/* a file of 100 texts has 64 + 32768 + 2400 bytes */
	const int64_t one = 64 + 1024 * 32 + 100 * 24;
	struct job *used;

	(void)state;
	for (int t = 1; t <= 4; t++) {
		struct job *j = open_job(t, 100, PLENTY);

		assert_int_equal(compute_all(j), 100);
		close_job(j);
		set_used(t, 1000000 + (t == 2 ? 0 : t));
	}
	used = open_job(2, 100, PLENTY); /* used now, so 1 is the oldest */
	close_job(used);
	used = open_job(1, 100, PLENTY);
	set_used(1, 1000);
	/* room for a fifth: 3 goes, as 1 is older and in use, and 2 was used since */
	used->n = 100;
	close_job(open_job(5, 100, 4 * one));
	assert_true(is_there(1));
	assert_true(is_there(2));
	assert_false(is_there(3));
	assert_true(is_there(4));
	assert_int_equal(rt_logit_cache_look(used->cache), 100);
	close_job(used);
}

static void a_full_cache_takes_no_more_and_says_so(void **state)
{
	const int64_t one = 64 + 1024 * 32 + 100 * 24;
	struct rt_err err = RT_ERR_INIT;
	struct job *j = open_job(1, TEXTS, one + 1000);
	uint32_t i = 0;
	char *path;
	struct stat st;

	(void)state;
	while (i < TEXTS && compute(j, i, &err) == 0)
		i++;
	assert_in_range(i, 100, 160);
	assert_int_equal(err.code, RT_DISK_FULL);
	assert_true(rt_logit_cache_has(j->cache, i)); /* this process has it anyway */
	assert_int_equal(compute(j, i + 1, &err), -1);
	close_job(j);
	path = file_of(1);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size <= one + 1000);
	free(path);
	/* what is there is read all the same */
	j = open_job(1, TEXTS, one + 1000);
	assert_int_equal(rt_logit_cache_look(j->cache), i);
	close_job(j);
}

/* A limit of the system's in the place of a full disk. */
static void a_full_disk_leaves_a_whole_cache(void **state)
{
	struct rlimit old, small;
	struct rt_err err = RT_ERR_INIT;
	struct job *j = open_job(1, TEXTS, PLENTY);
	uint32_t i = 0;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = 64 + 1024 * 32 + 50 * 24 + 11;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	while (i < TEXTS && compute(j, i, &err) == 0)
		i++;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(i, 50);
	close_job(j);
	j = open_job(1, TEXTS, PLENTY);
	assert_int_equal(rt_logit_cache_look(j->cache), 50);
	assert_int_equal(rt_logit_cache_damaged(j->cache), 0);
	assert_int_equal(compute_all(j), TEXTS - 50);
	assert_right(j);
	close_job(j);
}

static void logits_that_are_no_numbers_are_missing(void **state)
{
	struct job *j = open_job(1, 2, PLENTY);

	(void)state;
	j->logits[0][0] = j->logits[0][2] = 1;
	j->logits[0][1] = NAN;
	assert_int_equal(rt_logit_cache_add(j->cache, (uint32_t[]){ 0 }, 1, NULL), 0);
	close_job(j);
	j = open_job(1, 2, PLENTY);
	assert_int_equal(rt_logit_cache_look(j->cache), 0);
	assert_int_equal(rt_logit_cache_damaged(j->cache), 1);
	close_job(j);
}

static void a_place_that_cannot_be_is_an_error(void **state)
{
	char name[RT_SHA256_SIZE];
	struct rt_logit_cache_options o = {
		.dir = "/dev/null/cache", .name = name, .classes = 3, .max_bytes = PLENTY
	};
	struct rt_logit_cache *c = NULL;
	struct rt_err err = RT_ERR_INIT;

	(void)state;
	name_of(1, name);
	assert_int_equal(rt_logit_cache_open(&o, &c, &err), -1);
	assert_null(c);
	assert_true(err.msg[0]);
	o.dir = dir;
	o.classes = 0;
	assert_int_equal(rt_logit_cache_open(&o, &c, &err), -1);
	assert_int_equal(err.code, RT_INVALID);
	o.classes = 3;
	o.name = "../../etc/passwd";
	assert_int_equal(rt_logit_cache_open(&o, &c, &err), -1);
	assert_int_equal(err.code, RT_INVALID);
}

/* ---- known files ---- */

static void a_checksum_is_remembered_until_the_file_changes(void **state)
{
	char *path, *list, hex[RT_SHA256_SIZE], want[RT_SHA256_SIZE], line[400];
	struct rt_buf text = RT_BUF_INIT;
	struct rt_err err = RT_ERR_INIT;
	FILE *p;

	(void)state;
	assert_true(asprintf(&path, "%s/weights", dir) > 0);
	assert_true(asprintf(&list, "cat %s/files/* 2>/dev/null", dir) > 0);
	assert_int_equal(rt_file_write(path, "one", 3, &err), 0);
	rt_sha256("one", 3, want);
	assert_int_equal(rt_known_sha256(NULL, path, hex, &err), 0);
	assert_string_equal(hex, want);
	/* too young to be remembered */
	assert_int_equal(rt_known_sha256(dir, path, hex, &err), 0);
	p = popen(list, "r");
	assert_null(fgets(line, sizeof line, p));
	pclose(p);
	usleep(2200000);
	assert_int_equal(rt_known_sha256(dir, path, hex, &err), 0);
	assert_string_equal(hex, want);
	p = popen(list, "r");
	assert_non_null(fgets(line, sizeof line, p));
	pclose(p);
	assert_non_null(strstr(line, want));
	/* it is what is remembered that is told: a memory that is wrong on purpose shows it */
	memset(strstr(line, want), 'a', 64);
	free(list);
	assert_true(asprintf(&list, "for f in %s/files/*; do printf %%s '%.*s\n' > $f; done", dir,
			     (int)strcspn(line, "\n"), line) > 0);
	assert_int_equal(system(list), 0);
	assert_int_equal(rt_known_sha256(dir, path, hex, &err), 0);
	assert_int_equal(strspn(hex, "a"), 64);
	/* the same size and another content */
	assert_int_equal(rt_file_write(path, "two", 3, &err), 0);
	rt_sha256("two", 3, want);
	assert_int_equal(rt_known_sha256(dir, path, hex, &err), 0);
	assert_string_equal(hex, want);
	unlink(path);
	assert_int_equal(rt_known_sha256(dir, path, hex, &err), -1);
	assert_int_equal(err.code, RT_NOT_FOUND);
	free(path);
	free(list);
	rt_buf_release(&text);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)
	const struct CMUnitTest tests[] = {
		T(a_text_is_its_ids),
		T(what_the_logits_depend_on_makes_another_name),
		T(a_second_job_computes_nothing),
		T(a_torn_end_is_written_over),
		T(a_damaged_record_is_found_and_mended),
		T(a_file_that_is_none_is_replaced),
		T(processes_share_the_work),
		T(what_another_computes_is_not_ours),
		T(a_killed_writer_leaves_what_it_had),
		T(the_longest_unused_go_first_and_none_in_use),
		T(a_full_cache_takes_no_more_and_says_so),
		T(a_full_disk_leaves_a_whole_cache),
		T(logits_that_are_no_numbers_are_missing),
		T(a_place_that_cannot_be_is_an_error),
		T(a_checksum_is_remembered_until_the_file_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
