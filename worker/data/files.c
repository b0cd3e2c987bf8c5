/* SPDX-License-Identifier: Apache-2.0 */
/* From a path to files, formats and the splits that the files' names say: a keyword as a folder's name goes before one in the
 * file's name; without any keyword all files are one list. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "worker/data/table.h"

#define DEPTH_MAX	3
#define FILES_MAX	1000
#define NAMES_MAX_BYTES ((size_t)4 << 20)

static const struct {
	const char *word;
	enum rt_split_kind kind;
} keywords[] = {
	{ "train", RT_SPLIT_TRAIN },
	{ "training", RT_SPLIT_TRAIN },
	{ "validation", RT_SPLIT_VALIDATION },
	{ "valid", RT_SPLIT_VALIDATION },
	{ "dev", RT_SPLIT_VALIDATION },
	{ "val", RT_SPLIT_VALIDATION },
	{ "test", RT_SPLIT_TEST },
	{ "testing", RT_SPLIT_TEST },
	{ "eval", RT_SPLIT_TEST },
	{ "evaluation", RT_SPLIT_TEST },
};

enum rt_split_kind rt_split_kind(const char *name)
{
	for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
		if (strcasecmp(name, keywords[i].word) == 0)
			return keywords[i].kind;
	}
	return RT_SPLIT_NONE;
}

static bool is_delimiter(char c)
{
	return strchr("-._ 0123456789", c) != NULL; /* the NUL too */
}

enum rt_split_kind rt_split_kind_in(const char *part, size_t len, size_t *ret_at, size_t *ret_len)
{
	enum rt_split_kind found = RT_SPLIT_NONE;

	for (size_t at = 0; at < len; at++) {
		if (at > 0 && !is_delimiter(part[at - 1]))
			continue;
		for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
			size_t n = strlen(keywords[i].word);

			if (len - at < n || strncasecmp(part + at, keywords[i].word, n) != 0 ||
			    (at + n < len && !is_delimiter(part[at + n])))
				continue;
			if (found != RT_SPLIT_NONE && found != keywords[i].kind)
				return RT_SPLIT_SEVERAL;
			found = keywords[i].kind;
			*ret_at = at;
			*ret_len = n;
		}
	}
	return found;
}

enum format { FORMAT_NONE, FORMAT_CSV, FORMAT_TSV, FORMAT_JSON, FORMAT_JSONL, FORMAT_LATER };

static enum format format_of(const char *name)
{
	static const struct {
		const char *end;
		enum format format;
	} rows[] = {
		{ ".csv", FORMAT_CSV },	    { ".tsv", FORMAT_TSV },	 { ".json", FORMAT_JSON },
		{ ".jsonl", FORMAT_JSONL }, { ".ndjson", FORMAT_JSONL }, { ".parquet", FORMAT_LATER },
		{ ".arrow", FORMAT_LATER }, { ".gz", FORMAT_LATER },	 { ".zst", FORMAT_LATER },
		{ ".xz", FORMAT_LATER },    { ".bz2", FORMAT_LATER },	 { ".zip", FORMAT_LATER },
	};
	size_t n = strlen(name);

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		size_t k = strlen(rows[i].end);

		if (n > k && strcasecmp(name + n - k, rows[i].end) == 0)
			return rows[i].format;
	}
	return FORMAT_NONE;
}

static int refuse_format(const char *path, enum format f, struct rt_err *err)
{
	if (f == FORMAT_LATER)
		return rt_fail(err, RT_UNSUPPORTED,
			       "%s is in a format that this version does not read; save the dataset as JSON "
			       "Lines (.jsonl) or "
			       "CSV",
			       path);
	return rt_fail(err, RT_UNSUPPORTED,
		       "%s is no dataset that is read: wanted a file .jsonl, .ndjson, .json, .csv or .tsv, "
		       "or a folder of them",
		       path);
}

static int read_bytes(struct rt_table *t, const char *bytes, size_t n, enum format f, int file, int split,
		      struct rt_err *err)
{
	size_t valid;

	if (n >= 2 && (memcmp(bytes, "\xFF\xFE", 2) == 0 || memcmp(bytes, "\xFE\xFF", 2) == 0))
		return rt_fail(err, RT_INVALID, "it is UTF-16; save it as UTF-8");
	if (n >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0) {
		bytes += 3;
		n -= 3;
	}
	valid = rt_utf8_valid(bytes, n);
	if (valid < n) {
		size_t line = 1;

		for (size_t i = 0; i < valid; i++)
			line += bytes[i] == '\n';
		return rt_fail(err, RT_INVALID, "line %zu is not UTF-8 (byte 0x%02X)", line,
			       (unsigned char)bytes[valid]);
	}
	if (n == 0)
		return rt_fail(err, RT_INVALID, "it is empty");
	switch (f) {
	case FORMAT_CSV:
		return rt_csv_read(t, bytes, n, ',', file, split, err);
	case FORMAT_TSV:
		return rt_csv_read(t, bytes, n, '\t', file, split, err);
	case FORMAT_JSONL:
		return rt_jsonl_read(t, bytes, n, file, split, err);
	default:
		return rt_json_rows_read(t, bytes, n, file, split, err);
	}
}

/* *left: bytes that may still be read. */
static int read_one(struct rt_table *t, const char *path, int split, size_t *left, size_t max_bytes,
		    struct rt_err *err)
{
	enum format f = format_of(path);
	struct rt_map map = { NULL, 0 };
	int file, rc = -1;

	if (f == FORMAT_NONE || f == FORMAT_LATER)
		return refuse_format(path, f, err);
	file = rt_table_file(t, path, true, err);
	if (file < 0 || rt_map_open(path, &map, err) < 0)
		return -1;
	if (map.size > *left) {
		rt_fail(err, RT_TOO_LARGE, "%s: a dataset may have at most %zu bytes in all", path,
			max_bytes);
	} else {
		*left -= map.size;
		rc = read_bytes(t, (const char *)map.data, map.size, f, file, split, err);
		if (rc < 0)
			rt_fail_in(err, "%s", path);
	}
	rt_map_close(&map);
	return rc;
}

struct found {
	char *path;	   /* whole */
	const char *below; /* the part below the folder given */
};

struct listing {
	struct found *files;
	size_t count;
	char *labels; /* path of labels.txt or labels.json */
};

static void listing_release(struct listing *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->files[i].path);
	free(l->files);
	free(l->labels);
}

/* Files of a dataset's folder that are no data. */
static bool is_aside(const char *name)
{
	static const char *const names[] = { "config.json",	  "dataset_info.json", "dataset_infos.json",
					     "dataset_dict.json", "state.json",	       "dummy_data.zip" };

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return name[0] == '.';
}

static int take_file(struct listing *l, char *path, size_t skip, struct rt_err *err)
{
	struct found *grown;

	if (l->count == FILES_MAX)
		return rt_fail(err, RT_INVALID, "the folder holds more than %d data files", FILES_MAX);
	grown = reallocarray(l->files, l->count + 1, sizeof *grown);
	if (!grown)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the dataset");
	l->files = grown;
	grown[l->count++] = (struct found){ path, path + skip };
	return 0;
}

/* skip: length of the folder given, with its slash. */
static int gather(struct listing *l, const char *dir, size_t skip, int depth, struct rt_err *err)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	int rc = 0;

	if (!d)
		return rt_fail_errno(err, errno, "cannot open the folder %s", dir);
	while (rc == 0 && (entry = readdir(d))) {
		char *path;
		bool labels = depth == 0 && (strcmp(entry->d_name, "labels.txt") == 0 ||
					     strcmp(entry->d_name, "labels.json") == 0);

		if (is_aside(entry->d_name))
			continue;
		path = rt_path_join(dir, entry->d_name);
		if (!path) {
			rc = rt_fail(err, RT_NO_MEMORY, "no memory for the dataset");
		} else if (rt_file_is_dir(path)) {
			if (depth < DEPTH_MAX)
				rc = gather(l, path, skip, depth + 1, err);
			free(path);
		} else if (labels) {
			if (l->labels)
				rc = rt_fail(err, RT_INVALID, "%s holds both labels.txt and labels.json",
					     dir);
			free(l->labels);
			l->labels = path;
		} else if (format_of(path) == FORMAT_NONE) {
			free(path);
		} else if (format_of(path) == FORMAT_LATER) {
			rc = refuse_format(path, FORMAT_LATER, err);
			free(path);
		} else {
			rc = take_file(l, path, skip, err);
			if (rc < 0)
				free(path);
		}
	}
	closedir(d);
	return rc;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct found *)a)->path, ((const struct found *)b)->path);
}

/* The split that a file's place says; *ret_split -1 when it says none. */
static int split_of(struct rt_table *t, const struct found *f, const char *const *wanted, size_t wanted_count,
		    int *ret_split, struct rt_err *err)
{
	const char *part = f->below, *slash;
	size_t at = 0, len = 0;

	*ret_split = -1;
	for (;; part = slash + 1) {
		size_t n;

		slash = strchr(part, '/');
		n = slash ? (size_t)(slash - part) : (size_t)(strrchr(part, '.') - part);
		for (size_t i = 0; i < wanted_count; i++) {
			if (wanted[i] && strlen(wanted[i]) == n && memcmp(wanted[i], part, n) == 0) {
				*ret_split = rt_table_split(t, part, n, err);
				return *ret_split < 0 ? -1 : 0;
			}
		}
		switch (rt_split_kind_in(part, n, &at, &len)) {
		case RT_SPLIT_NONE:
			break;
		case RT_SPLIT_SEVERAL:
			return rt_fail(err, RT_INVALID, "%s: its name says more than one split", f->path);
		default:
			*ret_split = rt_table_split(t, part + at, len, err);
			return *ret_split < 0 ? -1 : 0;
		}
		if (!slash)
			return 0;
	}
}

static int add_name(struct rt_table *t, const char **names, size_t *n, const char *s, size_t len,
		    struct rt_err *err)
{
	if (len == 0 || memchr(s, '\0', len))
		return rt_fail(err, RT_INVALID, "name %zu is empty or holds U+0000", *n + 1);
	names[*n] = rt_arena_text(&t->arena, s, len, err);
	if (!names[*n])
		return -1;
	(*n)++;
	return 0;
}

static int names_of_json(struct rt_table *t, const json_t *v, const char **names, size_t *n, size_t max,
			 struct rt_err *err)
{
	size_t count = json_is_array(v) ? json_array_size(v) : json_object_size(v);

	if (!json_is_array(v) && !json_is_object(v))
		return rt_fail(err, RT_INVALID,
			       "it must be an array of names, or an object {\"0\": name, …}");
	for (size_t i = 0; i < count && i < max; i++) {
		char key[24];
		const json_t *name;

		snprintf(key, sizeof key, "%zu", i);
		name = json_is_array(v) ? json_array_get(v, i) : json_object_get(v, key);
		if (!json_is_string(name))
			return rt_fail(err, RT_INVALID, "class %zu has no name: wanted strings for 0 to %zu",
				       i, count - 1);
		if (add_name(t, names, n, json_string_value(name), json_string_length(name), err) < 0)
			return -1;
	}
	return 0;
}

static int names_of_lines(struct rt_table *t, const char *bytes, size_t len, const char **names, size_t *n,
			  size_t max, struct rt_err *err)
{
	const char *end = bytes + len;

	if (rt_utf8_valid(bytes, len) < len)
		return rt_fail(err, RT_INVALID, "it is not UTF-8");
	if (len >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0)
		bytes += 3;
	while (bytes < end && *n < max) {
		const char *newline = memchr(bytes, '\n', (size_t)(end - bytes)),
			   *stop = newline ? newline : end;

		if (add_name(t, names, n, bytes, (size_t)(stop - bytes) - (stop > bytes && stop[-1] == '\r'),
			     err) < 0)
			return -1;
		bytes = stop + 1;
	}
	return 0;
}

static int by_word(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_names(struct rt_table *t, const char *const *names, size_t n, struct rt_err *err)
{
	const char **sorted = rt_arena_take(&t->arena, (n + 1) * sizeof *sorted, err);
	char quoted[RT_UTF8_QUOTE_SIZE];

	if (!sorted)
		return -1;
	if (n == 0)
		return rt_fail(err, RT_INVALID, "it holds no names");
	memcpy(sorted, names, n * sizeof *sorted);
	qsort(sorted, n, sizeof *sorted, by_word);
	for (size_t i = 1; i < n; i++) {
		if (strcmp(sorted[i - 1], sorted[i]) == 0)
			return rt_fail(err, RT_INVALID, "the name '%s' stands twice",
				       rt_utf8_quote(sorted[i], strlen(sorted[i]), quoted));
	}
	return 0;
}

static int read_names(struct rt_table *t, const char *path, const char *const **ret, size_t *ret_count,
		      struct rt_err *err)
{
	const size_t max = 10000;
	const char **names = rt_arena_take(&t->arena, max * sizeof *names, err);
	struct rt_buf text = RT_BUF_INIT;
	json_t *v = NULL;
	size_t n = 0;
	int rc = -1;

	if (!names)
		return -1;
	if (format_of(path) == FORMAT_JSON) {
		v = rt_json_read(path, NAMES_MAX_BYTES, err);
		if (!v)
			return -1;
		rc = names_of_json(t, v, names, &n, max, err);
	} else {
		if (rt_file_read(path, NAMES_MAX_BYTES, &text, err) < 0)
			return -1;
		rc = names_of_lines(t, rt_buf_text(&text), text.len, names, &n, max, err);
	}
	if (rc == 0)
		rc = check_names(t, names, n, err);
	if (rc < 0) {
		rt_fail_in(err, "%s", path);
	} else {
		*ret = names;
		*ret_count = n;
	}
	rt_buf_release(&text);
	json_decref(v);
	return rc;
}

static int read_folder(struct rt_table *t, const struct listing *l, const char *const *wanted,
		       size_t wanted_count, size_t max_bytes, struct rt_err *err)
{
	size_t left = max_bytes;
	int *splits = calloc(l->count + 1, sizeof *splits);
	bool any = false;
	int rc = -1;

	if (!splits)
		return rt_fail(err, RT_NO_MEMORY, "no memory for the dataset");
	for (size_t i = 0; i < l->count; i++) {
		if (split_of(t, &l->files[i], wanted, wanted_count, &splits[i], err) < 0)
			goto out;
		any = any || splits[i] >= 0;
	}
	for (size_t i = 0; i < l->count; i++) {
		if ((!any || splits[i] >= 0) &&
		    read_one(t, l->files[i].path, splits[i], &left, max_bytes, err) < 0)
			goto out;
	}
	rc = 0;
out:
	free(splits);
	return rc;
}

int rt_files_read(struct rt_table *t, const char *path, const char *const *wanted, size_t wanted_count,
		  size_t max_bytes, const char *const **ret_names, size_t *ret_name_count, struct rt_err *err)
{
	struct listing l = { NULL, 0, NULL };
	size_t left = max_bytes, n = strlen(path);
	int rc = -1;

	if (!rt_file_exists(path))
		return rt_fail(err, RT_NOT_FOUND, "there is no dataset %s", path);
	if (!rt_file_is_dir(path))
		return read_one(t, path, -1, &left, max_bytes, err);
	if (gather(&l, path, n > 0 && path[n - 1] == '/' ? n : n + 1, 0, err) < 0)
		goto out;
	if (l.count == 0) {
		rt_fail(err, RT_NOT_FOUND,
			"%s has no data: looked for files .jsonl, .ndjson, .json, .csv and .tsv", path);
		goto out;
	}
	qsort(l.files, l.count, sizeof *l.files, by_path);
	if (read_folder(t, &l, wanted, wanted_count, max_bytes, err) < 0)
		goto out;
	if (l.labels && read_names(t, l.labels, ret_names, ret_name_count, err) < 0)
		goto out;
	rc = 0;
out:
	listing_release(&l);
	return rc;
}
