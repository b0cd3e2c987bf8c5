/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "worker/train/checkpoints.h"

struct fixture {
	char dir[64];
	struct rt_checkpoints *c;
	struct rt_err err;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	strcpy(f->dir, "/tmp/rt-checkpoints-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	rt_checkpoints_close(f->c);
	rt_dir_remove(f->dir, NULL);
	free(f);
	return 0;
}

static void open_with_limit(struct fixture *f, int64_t limit)
{
	assert_int_equal(rt_checkpoints_open(f->dir, limit, &f->c, &f->err), 0);
}

static void put_file(const char *dir, const char *name, const char *text)
{
	char path[800];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	assert_int_equal(rt_file_write(path, text, strlen(text), NULL), 0);
}

/* Writes a checkpoint with one file and removes what is too many; its id into id. */
static void write_one(struct fixture *f, bool best, char id[RT_ID_SIZE])
{
	struct rt_checkpoint_info info;
	const char *dir, *id_now, *extra;

	assert_int_equal(rt_checkpoints_begin(f->c, &dir, &id_now, &f->err), 0);
	put_file(dir, "model.safetensors", "weights");
	assert_int_equal(rt_checkpoints_commit(f->c, best, &info, &f->err), 0);
	strcpy(id, info.id);
	rt_checkpoint_info_release(&info);
	while ((extra = rt_checkpoints_surplus(f->c)))
		assert_int_equal(rt_checkpoints_remove(f->c, extra, &f->err), 0);
}

static bool there(const struct fixture *f, const char *name)
{
	char path[700];

	snprintf(path, sizeof path, "%s/checkpoints/%s", f->dir, name);
	return rt_file_exists(path);
}

static void assert_link(const struct fixture *f, const char *name, const char *target)
{
	char path[700], got[100] = "";

	snprintf(path, sizeof path, "%s/checkpoints/%s", f->dir, name);
	assert_true(readlink(path, got, sizeof got - 1) > 0);
	assert_string_equal(got, target);
}

static int entries(const struct fixture *f)
{
	char path[700];
	int n = 0;
	DIR *dir;

	snprintf(path, sizeof path, "%s/checkpoints", f->dir);
	dir = opendir(path);
	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2; /* . and .. */
}

static void commit_lists_every_file_with_size_and_hash(void **state)
{
	struct fixture *f = *state;
	struct rt_checkpoint_info info;
	const char *dir, *id_now;
	char runs[700], promised[RT_ID_SIZE];

	open_with_limit(f, 2);
	assert_int_equal(rt_checkpoints_begin(f->c, &dir, &id_now, &f->err), 0);
	strcpy(promised, id_now);
	put_file(dir, "model.safetensors", "abc");
	put_file(dir, "config.json", "{}");
	snprintf(runs, sizeof runs, "%s/runs", dir);
	assert_int_equal(rt_dir_make(runs, &f->err), 0);
	put_file(runs, "events", "");
	assert_int_equal(rt_checkpoints_commit(f->c, true, &info, &f->err), 0);

	assert_true(rt_id_is(info.id, "ckpt"));
	assert_string_equal(info.id, promised);
	assert_int_equal(info.file_count, 3);
	assert_string_equal(info.files[0].name, "config.json");
	assert_string_equal(info.files[1].name, "model.safetensors");
	assert_int_equal(info.files[1].size_bytes, 3);
	assert_string_equal(info.files[1].sha256,
			    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_string_equal(info.files[2].name, "runs/events");
	assert_int_equal(info.size_bytes, 5);
	assert_true(there(f, info.id));
	assert_link(f, "best", info.id);
	assert_link(f, "last", info.id);
	assert_int_equal(entries(f), 3);
	rt_checkpoint_info_release(&info);
}

static void best_stays_where_it_is_when_last_moves(void **state)
{
	struct fixture *f = *state;
	char a[RT_ID_SIZE], b[RT_ID_SIZE];

	open_with_limit(f, 5);
	write_one(f, true, a);
	write_one(f, false, b);
	assert_link(f, "best", a);
	assert_link(f, "last", b);
	assert_string_equal(rt_checkpoints_best(f->c), a);
}

static void the_trainers_rule_says_what_is_kept(void **state)
{
	/* best: which epochs are best when they are written; kept: at the end */
	static const struct {
		const char *name;
		int64_t limit;
		const char *best, *kept;
	} rows[] = {
		{ "limit 1, the last is the best", 1, "bbbb", "---k" },
		{ "limit 1, the best is older: two are kept", 1, "b...", "k--k" },
		{ "limit 2, the best is older", 2, "b...", "k--k" },
		{ "limit 2, the last is the best", 2, "b..b", "--kk" },
		{ "limit 2, the best is in the middle", 2, ".b..", "-k-k" },
		{ "limit 3, the best is the oldest", 3, "b....", "k--kk" },
		{ "limit 3, the best is not the oldest", 3, "b.b..", "--kkk" },
		{ "below the limit all", 9, "b...", "kkkk" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char ids[8][RT_ID_SIZE], dir[700];
		size_t n = strlen(rows[i].best);

		print_message("%s\n", rows[i].name);
		open_with_limit(f, rows[i].limit);
		for (size_t k = 0; k < n; k++)
			write_one(f, rows[i].best[k] == 'b', ids[k]);
		for (size_t k = 0; k < n; k++)
			assert_int_equal(there(f, ids[k]), rows[i].kept[k] == 'k');
		rt_checkpoints_close(f->c);
		f->c = NULL;
		snprintf(dir, sizeof dir, "%s/checkpoints", f->dir);
		assert_int_equal(rt_dir_remove(dir, &f->err), 0);
	}
}

static void an_aborted_checkpoint_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	const char *dir, *id_now;

	open_with_limit(f, 2);
	assert_int_equal(rt_checkpoints_begin(f->c, &dir, &id_now, &f->err), 0);
	put_file(dir, "model.safetensors", "half");
	rt_checkpoints_abort(f->c);
	assert_int_equal(entries(f), 0);
}

static void open_removes_what_a_crash_left(void **state)
{
	struct fixture *f = *state;
	char path[700];

	snprintf(path, sizeof path, "%s/checkpoints/.tmp-ckpt_x/runs", f->dir);
	assert_int_equal(rt_dir_make(path, &f->err), 0);
	snprintf(path, sizeof path, "%s/checkpoints/.old-ckpt_y", f->dir);
	assert_int_equal(rt_dir_make(path, &f->err), 0);
	snprintf(path, sizeof path, "%s/checkpoints/ckpt_z", f->dir);
	assert_int_equal(rt_dir_make(path, &f->err), 0);
	open_with_limit(f, 2);
	assert_int_equal(entries(f), 1);
	assert_true(there(f, "ckpt_z"));
}

static void a_commit_that_fails_keeps_the_old_ones(void **state)
{
	struct fixture *f = *state;
	struct rt_checkpoint_info info = { .file_count = 7 };
	char a[RT_ID_SIZE], path[300];
	const char *dir, *id_now;

	open_with_limit(f, 2);
	write_one(f, true, a);
	assert_int_equal(rt_checkpoints_begin(f->c, &dir, &id_now, &f->err), 0);
	/* a link to nowhere can be listed but not read */
	snprintf(path, sizeof path, "%s/gone", dir);
	assert_int_equal(symlink("nowhere", path), 0);
	assert_int_equal(rt_checkpoints_commit(f->c, true, &info, &f->err), -1);
	assert_int_equal(f->err.code, RT_NOT_FOUND);
	assert_int_equal(info.file_count, 7);
	assert_link(f, "best", a);
	assert_link(f, "last", a);
	assert_string_equal(rt_checkpoints_best(f->c), a);
	assert_int_equal(entries(f), 3);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* The first checkpoint, and its second link cannot be made: the first does not stay and lead nowhere. */
static void a_commit_that_fails_leaves_no_link(void **state)
{
	struct fixture *f = *state;
	struct rt_checkpoint_info info;
	const char *dir, *id;
	char path[700];
	struct stat st;

	open_with_limit(f, 2);
	snprintf(path, sizeof path, "%s/checkpoints/last", f->dir);
	assert_int_equal(rt_dir_make(path, &f->err), 0); /* no link can replace a folder */
	assert_int_equal(rt_checkpoints_begin(f->c, &dir, &id, &f->err), 0);
	put_file(dir, "model.safetensors", "weights");
	assert_int_equal(rt_checkpoints_commit(f->c, true, &info, &f->err), -1);
	snprintf(path, sizeof path, "%s/checkpoints/best", f->dir);
	assert_int_equal(lstat(path, &st), -1);
	assert_null(rt_checkpoints_best(f->c));
}

/* What a state will name is what is there when the state is. */
static void will_keep_foretells_what_stays(void **state)
{
	static const bool best[] = { true, false, false, true, false, true, true, false, false, false };
	struct fixture *f = *state;

	for (int64_t limit = 1; limit < 4; limit++) {
		rt_checkpoints_close(f->c);
		rt_dir_remove(f->dir, NULL);
		open_with_limit(f, limit);
		for (size_t i = 0; i < sizeof best / sizeof *best; i++) {
			char(*ids)[RT_ID_SIZE], (*after)[RT_ID_SIZE];
			struct rt_checkpoint_info info;
			const char *dir, *id, *extra;
			size_t n, m;

			assert_int_equal(rt_checkpoints_begin(f->c, &dir, &id, &f->err), 0);
			assert_int_equal(rt_checkpoints_will_keep(f->c, best[i], &ids, &n, &f->err), 0);
			put_file(dir, "model.safetensors", "weights");
			assert_int_equal(rt_checkpoints_commit(f->c, best[i], &info, &f->err), 0);
			while ((extra = rt_checkpoints_surplus(f->c)))
				assert_int_equal(rt_checkpoints_remove(f->c, extra, &f->err), 0);
			assert_int_equal(rt_checkpoints_will_keep(f->c, false, &after, &m, &f->err), 0);
			assert_int_equal(n, m);
			assert_memory_equal(ids, after, n * sizeof *ids);
			assert_string_equal(ids[n - 1], info.id);
			for (size_t k = 0; k < n; k++)
				assert_true(there(f, ids[k]));
			rt_checkpoint_info_release(&info);
			free(ids);
			free(after);
		}
	}
}

static void a_run_goes_on_with_what_another_kept(void **state)
{
	struct fixture *f = *state;
	char ids[3][RT_ID_SIZE], next[RT_ID_SIZE];

	open_with_limit(f, 3);
	for (int i = 0; i < 3; i++)
		write_one(f, i == 0, ids[i]);
	rt_checkpoints_close(f->c);
	open_with_limit(f, 2);
	assert_int_equal(rt_checkpoints_restore(f->c, (const char(*)[RT_ID_SIZE])ids, 3, ids[0], &f->err), 0);
	assert_string_equal(rt_checkpoints_best(f->c), ids[0]);
	assert_link(f, "best", ids[0]);
	assert_link(f, "last", ids[2]);
	write_one(f, false, next);
	assert_true(there(f, ids[0]));
	assert_false(there(f, ids[1]));
	assert_false(there(f, ids[2]));
	assert_link(f, "last", next);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(commit_lists_every_file_with_size_and_hash),
		T(best_stays_where_it_is_when_last_moves),
		T(the_trainers_rule_says_what_is_kept),
		T(an_aborted_checkpoint_leaves_nothing),
		T(open_removes_what_a_crash_left),
		T(a_commit_that_fails_keeps_the_old_ones),
		cmocka_unit_test_setup_teardown(will_keep_foretells_what_stays, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_run_goes_on_with_what_another_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_commit_that_fails_leaves_no_link, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
