/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "worker/data/dataset.h"

static char dir[64];

static int make_dir(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/rt_dataset_XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rt_dir_remove(dir, NULL);
}

static const char *in_dir(const char *name)
{
	static char path[4][256];
	static int at;

	at = (at + 1) % 4;
	snprintf(path[at], sizeof path[at], "%s/%s", dir, name);
	return path[at];
}

/* Without the care of rt_file_write, which waits for the disk. */
static void put(const char *name, const char *bytes, size_t n)
{
	char *path = strdup(in_dir(name)), *slash = strrchr(path, '/');
	FILE *f;

	*slash = '\0';
	assert_int_equal(rt_dir_make(path, NULL), 0);
	*slash = '/';
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
	free(path);
}

static void put_text(const char *name, const char *text)
{
	put(name, text, strlen(text));
}

static struct rt_dataset *open_ok(const char *path, const struct rt_dataset_options *o)
{
	struct rt_err err = RT_ERR_INIT;
	struct rt_dataset *ds = NULL;

	if (rt_dataset_open(path, o, &ds, &err) < 0)
		fail_msg("%s", err.msg);
	return ds;
}

static const char *label_of(const struct rt_dataset *ds, const struct rt_row *row)
{
	return row->label < 0 ? "-" : ds->labels[row->label];
}

/* "text=label|text=label…" of a split, texts with U+0000 as '^'. */
static const char *show(const struct rt_dataset *ds, const struct rt_split *split)
{
	static char out[2048];
	size_t at = 0;

	out[0] = '\0';
	for (size_t i = 0; i < split->n && at < 1900; i++) {
		const struct rt_row *r = &split->rows[i];

		for (size_t k = 0; k < r->len; k++)
			out[at++] = r->text[k] ? r->text[k] : '^';
		if (r->pair)
			at += (size_t)snprintf(out + at, 64, "+%s", r->pair);
		at += (size_t)snprintf(out + at, 64, "=%s|", label_of(ds, r));
	}
	return out;
}

#define TWO "text,label\na,x\nb,y\n"

/* One file that holds everything: the three splits as they must come out, or the error. */
static const struct row {
	const char *name, *file, *content;
	const char *train, *validation, *test; /* NULL train: an error */
	const char *msg;		       /* behind the file's path */
} rows[] = {
	{ "csv with a split column", "a.csv",
	  "text,label,split\r\n\"a \"\"q\"\", "
	  "b\",x,train\r\n\"two\r\nlines\",y,train\r\n\r\nc,x,val\r\nd,y,test\r\n",
	  "a \"q\", b=x|two\r\nlines=y|", "c=x|", "d=y|", NULL },
	{ "csv with a byte order mark", "a.csv",
	  "\xEF\xBB\xBFsplit,text,label\ntrain,\xEF\xBB\xBF"
	  "a,x\nvalidation,b,x",
	  "\xEF\xBB\xBF"
	  "a=x|",
	  "b=x|", "", NULL },
	{ "words that look like null", "a.csv",
	  "split,text,label\ntrain,NA,null\ntrain,null,nan\nval,nan,nan\n", "NA=null|null=nan|", "nan=nan|",
	  "", NULL },
	{ "tsv", "a.tsv", "sentence\tclass\tsplit\na,b\tx\ttrain\n\"c\td\"\tx\tdev\n", "a,b=x|", "c\td=x|",
	  "", NULL },
	{ "jsonl", "a.jsonl",
	  "{\"text\":\"a\\u0000b\",\"intent\":\"x\",\"split\":\"train\",\"id\":7}\r\n\n"
	  "{\"split\":\"validation\",\"intent\":\"x\",\"text\":\"\\ud83d\\ude00\"}",
	  "a^b=x|", "😀=x|", "", NULL },
	{ "json object of lists", "a.json",
	  "{\"version\": 1, \"names\": [\"x\"], \"train\": [{\"text\": \"a\", \"label\": \"x\"}, [\"b\", "
	  "\"y\"]],\n"
	  "\"dev\": [[\"c\", \"y\"]], \"unsupervised\": [[\"u\", \"z\"]]}",
	  "a=x|b=y|", "c=y|", "", NULL },
	{ "oos lists join their splits, behind", "a.json",
	  "{\"oos_val\": [[\"v\", \"oos\"]], \"oos_train\": [[\"o\",\"oos\"], \"p\"], \"train\": "
	  "[[\"a\",\"x\"]], "
	  "\"val\": [[\"b\",\"x\"]]}",
	  "a=x|o=oos|p=oos|", "b=x|v=oos|", "", NULL },
	{ "json array with a split column", "a.json",
	  " [ {\"text\":\"a\",\"label\":\"x\",\"split\":\"train\"} "
	  ",\n{\"text\":\"b\",\"label\":\"x\",\"split\":\"val\"}]\n",
	  "a=x|", "b=x|", "", NULL },
	{ "lines in a .json", "a.json",
	  "{\"text\":\"a\",\"label\":\"x\",\"split\":\"train\"}\n{\"text\":\"b\",\"label\":\"x\",\"split\":"
	  "\"val\"}\n",
	  "a=x|", "b=x|", "", NULL },
	{ "pairs of texts", "a.jsonl",
	  "{\"premise\":\"a\",\"hypothesis\":\"b\",\"label\":\"x\",\"split\":\"train\"}\n"
	  "{\"premise\":\"c\",\"hypothesis\":\"\",\"label\":\"x\",\"split\":\"val\"}\n",
	  "a+b=x|", "c=x|", "", NULL },
	{ "question and sentence are a pair", "a.csv",
	  "question,sentence,label,split\na,b,x,train\nc,d,x,val\n", "a+b=x|", "c+d=x|", "", NULL },
	{ "label before label_text", "a.csv",
	  "text,label,label_text,split\na,1,x,train\nb,0,y,train\nc,1,x,val\n", "a=1|b=0|", "c=1|", "",
	  NULL },
	{ "ids sort as numbers", "a.jsonl",
	  "{\"text\":\"a\",\"label\":10,\"split\":\"train\"}\n{\"text\":\"b\",\"label\":9,\"split\":"
	  "\"train\"}\n"
	  "{\"text\":\"c\",\"label\":10,\"split\":\"val\"}\n",
	  "a=10|b=9|", "c=10|", "", NULL },
	{ "test without labels", "a.jsonl",
	  "{\"text\":\"a\",\"label\":0,\"split\":\"train\"}\n{\"text\":\"b\",\"label\":0,\"split\":\"val\"}\n"
	  "{\"text\":\"c\",\"label\":-1,\"split\":\"test\"}\n",
	  "a=0|", "b=0|", "c=-|", NULL },

	{ "quote never closed", "a.csv", "text,label\na,x\n\"b\n\n,y\n", NULL, NULL, NULL,
	  ": line 3: a broken quote: it is opened here and never closed" },
	{ "text behind a quote", "a.csv", "text,label\n\"a\nb\",x\n\"c\"d,y\n", NULL, NULL, NULL,
	  ": line 4: a broken quote: something follows the closing quote of a field (a quote inside a field "
	  "is written "
	  "twice)" },
	{ "quote inside", "a.csv", "text,label\na\"b,x\n", NULL, NULL, NULL,
	  ": line 2: a broken quote: it stands inside a field without quotes (put the whole field in quotes "
	  "and write this "
	  "one twice)" },
	{ "too many fields", "a.csv", "text,label\n\"a\n\n\",x\nb,c,y\n", NULL, NULL, NULL,
	  ": line 5 has 3 fields where the header has 2" },
	{ "too few fields", "a.csv", "text,label\na\n", NULL, NULL, NULL,
	  ": line 2 has 1 field where the header has 2" },
	{ "lone carriage return", "a.csv", "text,label\ra,x\r", NULL, NULL, NULL,
	  ": line 1: a carriage return without a line feed" },
	{ "column twice", "a.csv", "text,label,text\n", NULL, NULL, NULL,
	  ": line 1: the column 'text' stands twice in the header" },
	{ "only a header", "a.csv", "text,label,split\n", NULL, NULL, NULL, ": the dataset has no rows" },
	{ "one list", "a.csv", "text,label\na,x\n", NULL, NULL, NULL,
	  ": no validation split: the dataset is one list of 1 rows; give it a column 'split', or a file for "
	  "each split "
	  "(train.csv, validation.csv) in one folder" },
	{ "empty file", "a.csv", "", NULL, NULL, NULL, ": it is empty" },
	{ "blank file", "a.csv", "\n\r\n", NULL, NULL, NULL,
	  ": it is empty: the first line must name the columns" },
	{ "not UTF-8", "a.csv", "text,label\na,x\n\xE9,y\n", NULL, NULL, NULL,
	  ": line 3 is not UTF-8 (byte 0xE9)" },
	{ "UTF-16", "a.csv", "\xFF\xFEt", NULL, NULL, NULL, ": it is UTF-16; save it as UTF-8" },
	{ "lone surrogate", "a.jsonl",
	  "{\"text\":\"a\",\"label\":\"x\"}\n{\"text\":\"\\ud800\",\"label\":\"x\"}\n", NULL, NULL, NULL,
	  ": line 2, column 16: not valid JSON: invalid Unicode '\\uD800' near '\"\\ud800\"'" },
	{ "lone surrogate in a document", "a.json",
	  "[{\"text\":\"a\",\"label\":\"x\"},\n\n{\"text\":\"\\udc00\"}]", NULL, NULL, NULL,
	  ": line 3: not valid JSON: invalid Unicode '\\uDC00' near '\"\\udc00\"'" },
	{ "cut JSON", "a.json", "{\"train\": [[\"a\",\"x\"],\n[\"b\",", NULL, NULL, NULL,
	  ": line 2: not valid JSON: ']' expected near end of file" },
	{ "trailing comma", "a.json", "{\"train\": [[\"a\",\"x\"],]}", NULL, NULL, NULL,
	  ": line 1: not valid JSON: unexpected token near ']'" },
	{ "behind the document", "a.json", "[[\"a\",\"x\"]] []", NULL, NULL, NULL,
	  ": line 1: not valid JSON: something follows the end of the list" },
	{ "list twice", "a.json", "{\"train\": [[\"a\",\"x\"]],\n\"train\": []}", NULL, NULL, NULL,
	  ": line 2: the name 'train' stands twice or holds U+0000" },
	{ "no rows", "a.json", "{\"text\": \"a\", \"label\": \"x\"}", NULL, NULL, NULL,
	  ": it has no list of rows: wanted an array of objects, or an object with lists such as train, "
	  "validation, test or "
	  "data" },
	{ "three in a row", "a.json", "{\"train\": [[\"a\",\"x\"],[\"a\",\"b\",\"x\"]]}", NULL, NULL, NULL,
	  ": row 2 of train: a row must be an object or a pair [text, label]" },
	{ "a key twice", "a.jsonl", "{\"text\":\"a\",\"text\":\"b\"}\n", NULL, NULL, NULL,
	  ": line 1, column 18: not valid JSON: duplicate object key near '\"text\"'" },
	{ "not oos in an oos list", "a.json",
	  "{\"train\":[[\"a\",\"x\"]],\"val\":[[\"b\",\"x\"]],\"oos_train\":[[\"c\",\"oos\"],[\"d\",\"x\"]]}",
	  NULL, NULL, NULL, ", row 2 of train: the label is not 'oos', though the row is in an oos_ list" },
	{ "empty text", "a.csv", "text,label,split\na,x,train\n\"\n\",x,train\nb,x,val\n", NULL, NULL, NULL,
	  ", line 3, split train: the text is empty (column 'text')" },
	{ "text of unusual spaces", "a.json",
	  "{\"train\":[[\"a\",\"x\"]],\"val\":[[\"\\u3000 \\u00a0\\u2028\",\"x\"]]}", NULL, NULL, NULL,
	  ", row 1 of val: the text is empty (column 'text')" },
	{ "null text", "a.json", "{\"train\":[[null,\"x\"]],\"val\":[[\"a\",\"x\"]]}", NULL, NULL, NULL,
	  ", row 1 of train: no text (column 'text' is missing or null)" },
	{ "text that is a number", "a.json", "{\"train\":[[401,\"x\"]],\"val\":[[\"a\",\"x\"]]}", NULL, NULL,
	  NULL, ", row 1 of train: column 'text' holds something that is no text" },
	{ "no label", "a.csv", "text,label,split\na,x,train\nb,,train\nc,,train\nd,x,val\n", NULL, NULL, NULL,
	  ", line 3, split train: no label (column 'label'); 2 of the 3 train rows have none" },
	{ "one test row without label", "a.csv", "text,label,split\na,x,train\nb,x,val\nc,x,test\nd,,test\n",
	  NULL, NULL, NULL,
	  ", line 5, split test: no label (column 'label'); 1 of the 2 test rows have none" },
	{ "label that is no label", "a.json", "{\"train\":[[\"a\",true]],\"val\":[[\"a\",\"x\"]]}", NULL,
	  NULL, NULL,
	  ", row 1 of train: the label (column 'label') must be a name or a whole number of at least 0" },
	{ "number among names", "a.json", "{\"train\":[[\"a\",\"x\"],[\"b\",1]],\"val\":[[\"a\",\"x\"]]}",
	  NULL, NULL, NULL, ", row 2 of train: the label is the number 1, where others are names" },
	{ "label only in validation", "a.json",
	  "{\"train\":[[\"a\",\"x\"]],\"val\":[[\"a\",\"x\"],[\"b\",\"yes\"]]}", NULL, NULL, NULL,
	  ", row 2 of val: the label 'yes' does not stand in the train split" },
	{ "empty split", "a.json", "{\"train\":[[\"a\",\"x\"]],\"val\":[]}", NULL, NULL, NULL,
	  ": the validation split 'val' is empty" },
	{ "no validation", "a.json", "{\"train\":[[\"a\",\"x\"]],\"test\":[[\"b\",\"x\"]]}", NULL, NULL, NULL,
	  ": no validation split: the dataset has the splits 'train', 'test'; set validation_split" },
	{ "no train", "a.json", "{\"fit\":[[\"a\",\"x\"]],\"test\":[[\"b\",\"x\"]]}", NULL, NULL, NULL,
	  ": no train split: the dataset has the splits 'fit', 'test'; set train_split" },
	{ "two validations", "a.json",
	  "{\"train\":[[\"a\",\"x\"]],\"val\":[[\"b\",\"x\"]],\"dev\":[[\"b\",\"x\"]]}", NULL, NULL, NULL,
	  ": both 'val' and 'dev' could be the validation split; set validation_split" },
	{ "row without its split", "a.csv", "text,label,split\na,x,train\nb,x,\n", NULL, NULL, NULL,
	  ": FILE, line 3: the column 'split' does not say the row's split" },
	{ "two texts", "a.csv", "text,query,label,split\na,b,x,train\na,b,x,val\n", NULL, NULL, NULL,
	  ": more than one column could be the text: 'text', 'query'; set text_column to one of them" },
	{ "two labels", "a.csv", "text,intent,class,split\na,b,x,train\na,b,x,val\n", NULL, NULL, NULL,
	  ": more than one column could be the label: 'intent', 'class'; set label_column to one of them" },
	{ "no text column", "a.csv", "words,label,split\na,x,train\na,x,val\n", NULL, NULL, NULL,
	  ": no column is known as the text: the columns are 'words', 'label', 'split'; set text_column to "
	  "one of them" },
	{ "no label column", "a.csv", "text,mood,split\na,x,train\na,x,val\n", NULL, NULL, NULL,
	  ": no column is known as the label: the columns are 'text', 'mood', 'split'; set label_column to "
	  "one of them" },
};

static void one_file_reads_or_says_why_not(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct row *r = &rows[i];
		struct rt_err err = RT_ERR_INIT;
		struct rt_dataset *ds = NULL;
		char path[256], want[768];
		const char *file;

		print_message("%s\n", r->name);
		put_text(r->file, r->content);
		snprintf(path, sizeof path, "%s", in_dir(r->file));
		if (r->train) {
			ds = open_ok(path, NULL);
			assert_string_equal(show(ds, &ds->train), r->train);
			assert_string_equal(show(ds, &ds->validation), r->validation);
			assert_string_equal(show(ds, &ds->test), r->test);
			rt_dataset_close(ds);
			continue;
		}
		file = strstr(r->msg, "FILE");
		if (file)
			snprintf(want, sizeof want, "%s%.*s%s%s", path, (int)(file - r->msg), r->msg, path,
				 file + 4);
		else
			snprintf(want, sizeof want, "%s%s", path, r->msg);
		assert_int_equal(rt_dataset_open(path, NULL, &ds, &err), -1);
		assert_null(ds);
		assert_int_equal(err.code, RT_INVALID);
		assert_string_equal(err.msg, want);
	}
}

static void overrides_go_before_names(void **state)
{
	struct rt_dataset_options o = { .text_column = "query",
					.label_column = "kind",
					.train_split = "fit",
					.validation_split = "test" };
	struct rt_err err = RT_ERR_INIT;
	struct rt_dataset *ds = NULL;
	char want[512];

	(void)state;
	put_text("o.csv",
		 "text,query,kind,label,split\n1,a,x,0,fit\n2,b,y,0,fit\n3,c,y,0,test\n4,d,y,0,train\n");
	ds = open_ok(in_dir("o.csv"), &o);
	assert_string_equal(show(ds, &ds->train), "a=x|b=y|");
	assert_string_equal(show(ds, &ds->validation), "c=y|");
	assert_int_equal(ds->test.n, 0); /* "test" is taken */
	assert_string_equal(ds->train.name, "fit");
	assert_string_equal(ds->text_column, "query");
	assert_string_equal(ds->label_column, "kind");
	assert_null(ds->pair_column);
	rt_dataset_close(ds);
	ds = NULL;

	o.text_column = "Query";
	assert_int_equal(rt_dataset_open(in_dir("o.csv"), &o, &ds, &err), -1);
	snprintf(want, sizeof want,
		 "%s: text_column 'Query' is not there: the columns are 'text', 'query', 'kind', 'label', "
		 "'split'",
		 in_dir("o.csv"));
	assert_string_equal(err.msg, want);
	o.text_column = "kind";
	assert_int_equal(rt_dataset_open(in_dir("o.csv"), &o, &ds, &err), -1);
	snprintf(want, sizeof want, "%s: text_column and label_column are both 'kind'", in_dir("o.csv"));
	assert_string_equal(err.msg, want);
	o.text_column = "query";
	o.train_split = "nope";
	assert_int_equal(rt_dataset_open(in_dir("o.csv"), &o, &ds, &err), -1);
	snprintf(want, sizeof want,
		 "%s: train_split 'nope' is not there: the dataset has the splits 'fit', 'test', 'train'",
		 in_dir("o.csv"));
	assert_string_equal(err.msg, want);
}

static void folders_split_by_their_files_names(void **state)
{
	static const char *const layouts[][3] = {
		{ "f1/train.csv", "f1/validation.csv", "f1/test.csv" },
		{ "f2/data/train-00000-of-00001.csv", "f2/data/dev-00000-of-00001.csv",
		  "f2/data/eval-00000-of-00001.csv" },
		{ "f3/training/a.csv", "f3/val/a.csv", "f3/test/a.csv" },
		{ "f4/my_Train_set.csv", "f4/my.valid.2.csv", "f4/the-evaluation.csv" },
	};
	struct rt_dataset_options o = { .train_split = "first", .validation_split = "second" };
	struct rt_err err = RT_ERR_INIT;
	struct rt_dataset *ds = NULL;
	char root[8], path[256];

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		snprintf(root, sizeof root, "f%zu", i + 1);
		put_text(layouts[i][0], "text,label\na,x\n");
		put_text(layouts[i][1], "text,label\nb,x\n");
		put_text(layouts[i][2], "text,label\nc,x\n");
		snprintf(path, sizeof path, "%s/README.md", root);
		put_text(path, "train");
		snprintf(path, sizeof path, "%s/contest.csv",
			 root); /* no keyword: "test" is not on its own */
		put_text(path, "no,columns\n");
		snprintf(path, sizeof path, "%s%s", in_dir(root), i % 2 ? "/" : "");
		print_message("%s\n", layouts[i][0]);
		ds = open_ok(path, NULL);
		assert_string_equal(show(ds, &ds->train), "a=x|");
		assert_string_equal(show(ds, &ds->validation), "b=x|");
		assert_string_equal(show(ds, &ds->test), "c=x|");
		rt_dataset_close(ds);
	}

	put_text("g/first.jsonl", "{\"text\":\"a\",\"label\":\"x\"}\n");
	put_text("g/second.csv", "text,label\nb,x\n");
	ds = open_ok(in_dir("g"), &o);
	assert_string_equal(show(ds, &ds->train), "a=x|");
	assert_string_equal(show(ds, &ds->validation), "b=x|");
	rt_dataset_close(ds);

	/* files without any keyword are one list, here with a column */
	put_text("h/p1.csv", "text,label,split\na,x,train\n");
	put_text("h/p2.csv", "split,text,label\ntrain,b,y\nval,c,y\n");
	ds = open_ok(in_dir("h"), NULL);
	assert_string_equal(show(ds, &ds->train), "a=x|b=y|");
	assert_string_equal(show(ds, &ds->validation), "c=y|");
	rt_dataset_close(ds);
	ds = NULL;

	put_text("i/train_test.csv", TWO);
	assert_int_equal(rt_dataset_open(in_dir("i"), NULL, &ds, &err), -1);
	assert_non_null(strstr(err.msg, "i/train_test.csv: its name says more than one split"));
	put_text("j/train.parquet", "PAR1");
	assert_int_equal(rt_dataset_open(in_dir("j"), NULL, &ds, &err), -1);
	assert_int_equal(err.code, RT_UNSUPPORTED);
	put_text("k/notes.md", "x");
	assert_int_equal(rt_dataset_open(in_dir("k"), NULL, &ds, &err), -1);
	assert_int_equal(err.code, RT_NOT_FOUND);
	assert_int_equal(rt_dataset_open(in_dir("k/notes.md"), NULL, &ds, &err), -1);
	assert_int_equal(err.code, RT_UNSUPPORTED);
	assert_int_equal(rt_dataset_open(in_dir("nowhere"), NULL, &ds, &err), -1);
	assert_int_equal(err.code, RT_NOT_FOUND);
	put_text("l/train.json", "{\"test\":[[\"a\",\"x\"]]}");
	assert_int_equal(rt_dataset_open(in_dir("l"), NULL, &ds, &err), -1);
	assert_non_null(
		strstr(err.msg, "it holds the list 'test', though its name already says the split 'train'"));
	assert_null(ds);
}

static void too_many_bytes_are_refused(void **state)
{
	struct rt_dataset_options o = { .max_bytes = 20 };
	struct rt_err err = RT_ERR_INIT;
	struct rt_dataset *ds = NULL;

	(void)state;
	put_text("big/train.csv", TWO);
	put_text("big/val.csv", TWO);
	assert_int_equal(rt_dataset_open(in_dir("big"), &o, &ds, &err), -1);
	assert_int_equal(err.code, RT_TOO_LARGE);
	assert_non_null(strstr(err.msg, "big/val.csv: a dataset may have at most 20 bytes in all"));
}

static void labels_take_names_from_where_they_are(void **state)
{
	static const char *const classes[] = { "zebra", "ant", "bee" };
	struct rt_dataset_options o = { .class_names = classes, .class_name_count = 3 };
	struct rt_err err = RT_ERR_INIT;
	struct rt_dataset *ds = NULL;

	(void)state;
	/* ids and class names from outside */
	put_text("n/train.csv", "text,label\na,2\nb,0\n");
	put_text("n/val.csv", "text,label\nc,1\n");
	ds = open_ok(in_dir("n"), &o);
	assert_true(ds->labels_are_ids);
	assert_int_equal(ds->label_count, 3);
	assert_string_equal(show(ds, &ds->train), "a=bee|b=zebra|");
	assert_string_equal(show(ds, &ds->validation), "c=ant|");
	rt_dataset_close(ds);
	ds = NULL;
	put_text("n/val.csv", "text,label\nc,3\n");
	assert_int_equal(rt_dataset_open(in_dir("n"), &o, &ds, &err), -1);
	assert_non_null(strstr(
		err.msg, "val.csv, line 2, split val: the label 3 is not below the number of classes, 3"));
	assert_int_equal(rt_dataset_open(in_dir("n"), NULL, &ds, &err), -1);
	assert_non_null(strstr(err.msg, "the label '3' does not stand in the train split"));

	/* the folder's own list goes before, whatever the rows carry */
	put_text("n/val.csv", "text,label\nc,1\n");
	put_text("n/labels.txt", "c0\r\nc1\nc2\n");
	ds = open_ok(in_dir("n"), &o);
	assert_false(ds->labels_are_ids);
	assert_string_equal(show(ds, &ds->train), "a=c2|b=c0|");
	rt_dataset_close(ds);
	put_text("n/train.csv", "text,label\na,c2\nb,c0\n");
	put_text("n/val.csv", "text,label\na,c2\n");
	ds = open_ok(in_dir("n"), &o);
	assert_int_equal(ds->label_count, 3);
	assert_int_equal(ds->train.rows[0].label, 2);
	rt_dataset_close(ds);
	ds = NULL;
	put_text("n/val.csv", "text,label\na,c9\n");
	assert_int_equal(rt_dataset_open(in_dir("n"), &o, &ds, &err), -1);
	assert_non_null(strstr(err.msg, "the label 'c9' is not in the dataset's own list of labels"));
	put_text("n/labels.txt", "c0\nc0\n");
	assert_int_equal(rt_dataset_open(in_dir("n"), &o, &ds, &err), -1);
	assert_non_null(strstr(err.msg, "labels.txt: the name 'c0' stands twice"));

	/* labels.json as an id2label */
	put_text("q/train.csv", "text,label\na,1\nb,0\n");
	put_text("q/val.csv", "text,label\na,1\n");
	put_text("q/labels.json", "{\"1\": \"yes\", \"0\": \"no\"}");
	ds = open_ok(in_dir("q"), NULL);
	assert_string_equal(show(ds, &ds->train), "a=yes|b=no|");
	rt_dataset_close(ds);
	ds = NULL;
	put_text("q/labels.json", "{\"1\": \"yes\", \"2\": \"no\"}");
	assert_int_equal(rt_dataset_open(in_dir("q"), NULL, &ds, &err), -1);
	assert_non_null(strstr(err.msg, "labels.json: class 0 has no name: wanted strings for 0 to 1"));

	/* names: sorted by code point; a class of validation alone is fine when the model knows it */
	put_text("r/train.csv", "text,label\na,b\nb,é\nc,Z\nd,a\n");
	put_text("r/val.csv", "text,label\nc,Z\n");
	ds = open_ok(in_dir("r"), NULL);
	assert_int_equal(ds->label_count, 4);
	assert_string_equal(ds->labels[0], "Z");
	assert_string_equal(ds->labels[1], "a");
	assert_string_equal(ds->labels[2], "b");
	assert_string_equal(ds->labels[3], "é");
	rt_dataset_close(ds);
	put_text("r/val.csv", "text,label\nc,bee\n");
	ds = open_ok(in_dir("r"), &o);
	assert_int_equal(ds->label_count, 5);
	assert_string_equal(show(ds, &ds->validation), "c=bee|");
	rt_dataset_close(ds);
	ds = NULL;
	assert_int_equal(rt_dataset_open(in_dir("r"), NULL, &ds, &err), -1);
	assert_null(ds);
}

static void match_goes_by_name(void **state)
{
	static const char *const permuted[] = { "c", "a", "b" }, *const other[] = { "a", "d", "b", "e" },
				 *const generic[] = { "LABEL_0", "LABEL_1" },
				 *const twice[] = { "a", "b", "a" };
	char *labels[] = { "a", "b", "c" };
	struct rt_dataset ds = { .labels = labels, .label_count = 3 };
	struct rt_err err = RT_ERR_INIT;
	int32_t map[3] = { 7, 7, 7 };
	bool by_id = true;

	(void)state;
	assert_int_equal(rt_labels_match(permuted, 3, &ds, map, &by_id, &err), 0);
	assert_false(by_id);
	assert_int_equal(map[0], 1);
	assert_int_equal(map[1], 2);
	assert_int_equal(map[2], 0);
	map[0] = 7;
	assert_int_equal(rt_labels_match(other, 4, &ds, map, &by_id, &err), -1);
	assert_int_equal(err.code, RT_INVALID);
	assert_string_equal(
		err.msg,
		"the labels do not match by name: 2 only in the model ('d', 'e'), 1 only in the dataset "
		"('c')");
	assert_int_equal(map[0], 7);
	assert_int_equal(rt_labels_match(permuted, 2, &ds, map, &by_id, &err), -1);
	assert_string_equal(
		err.msg, "the labels do not match by name: 0 only in the model, 1 only in the dataset ('b')");
	assert_int_equal(rt_labels_match(generic, 2, &ds, map, NULL, &err), -1);
	assert_string_equal(
		err.msg,
		"the labels do not match by name: 2 only in the model ('LABEL_0', 'LABEL_1'), 3 only in "
		"the dataset ('a', 'b', 'c'); the model was saved without names (LABEL_0…): put them into "
		"its config.json as id2label");
	assert_int_equal(rt_labels_match(twice, 3, &ds, map, NULL, &err), -1);
	assert_string_equal(err.msg, "the model has the label 'a' twice");
}

static void match_lists_only_the_first_few(void **state)
{
	char names[200][8], *labels[100];
	const char *model[100];
	struct rt_dataset ds = { .labels = labels, .label_count = 100 };
	struct rt_err err = RT_ERR_INIT;
	int32_t map[100];

	(void)state;
	for (int i = 0; i < 200; i++)
		snprintf(names[i], sizeof names[i], "n%03d", i);
	for (int i = 0; i < 100; i++) {
		labels[i] = names[i];
		model[i] = names[100 + i];
	}
	assert_int_equal(rt_labels_match(model, 100, &ds, map, NULL, &err), -1);
	assert_string_equal(err.msg, "the labels do not match by name: 100 only in the model ('n100', "
				     "'n101', 'n102', 'n103', …), 100 "
				     "only in the dataset ('n000', 'n001', 'n002', 'n003', …)");
}

static void match_takes_ids_and_says_so(void **state)
{
	static const char *const model[] = { "x", "y", "z" };
	char *labels[] = { "0", "2" }, *large[] = { "0", "3" };
	struct rt_dataset ds = { .labels = labels, .label_count = 2, .labels_are_ids = true };
	struct rt_err err = RT_ERR_INIT;
	int32_t map[2];
	bool by_id = false;

	(void)state;
	assert_int_equal(rt_labels_match(model, 3, &ds, map, &by_id, &err), 0);
	assert_true(by_id);
	assert_int_equal(map[0], 0);
	assert_int_equal(map[1], 2);
	ds.labels = large;
	assert_int_equal(rt_labels_match(model, 3, &ds, map, &by_id, &err), -1);
	assert_string_equal(err.msg,
			    "the dataset's labels are numbers up to 3, but the model has 3 classes (0 to 2)");
	ds.labels_are_ids = false; /* names that happen to be digits match by name or not at all */
	ds.labels = labels;
	assert_int_equal(rt_labels_match(model, 3, &ds, map, &by_id, &err), -1);
}

static void stats_count_duplicates_and_leaks(void **state)
{
	struct rt_dataset_stats st;
	struct rt_dataset *ds;

	(void)state;
	put_text("s.json",
		 "{\"train\":[[\"a\",\"x\"],[\"a\",\"x\"],[\"b\",\"x\"],[\"a\",\"y\"],[\"ab\",\"y\"]],"
		 "\"val\":[[\"a\",\"x\"],[\"a\",\"x\"],[\"c\",\"x\"]],\"test\":[[\"c\",\"x\"],[\"d\",\"x\"],["
		 "\"b\",\"x\"]]}");
	ds = open_ok(in_dir("s.json"), NULL);
	assert_int_equal(rt_dataset_stats(ds, &st, NULL), 0);
	assert_int_equal(st.train_rows, 5);
	assert_int_equal(st.validation_rows, 3);
	assert_int_equal(st.test_rows, 3);
	assert_int_equal(st.train_duplicates, 2);
	assert_int_equal(st.train_conflicts, 1);
	assert_int_equal(st.validation_leaks, 2);
	assert_int_equal(st.test_leaks, 2);
	assert_int_equal(st.labels_without_row, 0);
	assert_int_equal(st.smallest_class, 2);
	assert_int_equal(st.largest_class, 3);
	assert_int_equal(st.label_rows[0], 3);
	free(st.label_rows);
	rt_dataset_close(ds);
}

/* Every prefix of a good file: read or refused, never a crash. */
static void cuts_are_survived(void **state)
{
	static const struct {
		const char *file, *content;
	} files[] = {
		{ "cut.csv", "\xEF\xBB\xBFtext,label,split\r\n\"a \"\"b\"\"\r\n\",x,train\r\né,x,val\r\n" },
		{ "cut.json", "{\"train\":[[\"a\\ud83d\\ude00\",\"x\"],{\"text\":\"b\",\"label\":1.5e3}],"
			      "\"val\":[[\"c\",\"x\"]]}" },
		{ "cut.jsonl", "{\"text\":\"a\",\"label\":0,\"split\":\"train\"}\n[\"b\",1]\n" },
	};

	(void)state;
	for (size_t f = 0; f < 3; f++) {
		for (size_t n = 0; n <= strlen(files[f].content); n++) {
			struct rt_dataset *ds = NULL;

			put(files[f].file, files[f].content, n);
			rt_dataset_open(in_dir(files[f].file), NULL, &ds, NULL);
			rt_dataset_close(ds);
		}
	}
}

static void reference_files_hold_equal_rows(void **state)
{
	static const char *const names[] = { "rows.csv",
					     "rows-crlf-names.csv",
					     "rows-quoted-order.csv",
					     "rows.jsonl",
					     "rows-names-escaped.jsonl",
					     "rows-no-final-newline.jsonl",
					     "rows.json",
					     "rows-data.json" };
	const char *shared = getenv("RT_SHARED"), *classes[16];
	json_t *expected, *labels, *want;
	char path[512];

	(void)state;
	snprintf(path, sizeof path, "%s/reference/datasets/expected.json", shared ? shared : "");
	if (!shared || !rt_file_exists(path)) {
		print_message("the reference datasets are not here (RT_SHARED)\n");
		skip();
	}
	expected = rt_json_read(path, 1 << 20, NULL);
	labels = json_object_get(expected, "labels");
	want = json_object_get(expected, "rows");
	for (size_t i = 0; i < json_array_size(labels); i++)
		classes[i] = json_string_value(json_array_get(labels, i));
	for (size_t f = 0; f < sizeof names / sizeof *names; f++) {
		struct rt_dataset_options o = { .class_names = classes,
						.class_name_count = json_array_size(labels),
						.validation_optional = true };
		struct rt_dataset *ds;

		print_message("%s\n", names[f]);
		snprintf(path, sizeof path, "%s/reference/datasets/%s", shared, names[f]);
		ds = open_ok(path, &o);
		assert_int_equal(ds->train.n, 60);
		for (size_t i = 0; i < 60; i++) {
			const json_t *row = json_array_get(want, i), *text = json_object_get(row, "text");
			const struct rt_row *got = &ds->train.rows[i];

			assert_int_equal(got->len, json_string_length(text));
			assert_memory_equal(got->text, json_string_value(text), got->len);
			assert_int_equal(got->text[got->len], 0);
			assert_string_equal(label_of(ds, got),
					    json_string_value(json_object_get(row, "label_name")));
			assert_int_equal(got->label, json_integer_value(json_object_get(row, "label")));
		}
		rt_dataset_close(ds);
	}
	json_decref(expected);
}

static void clinc_reads_in_its_own_layout(void **state)
{
	const char *shared = getenv("RT_SHARED");
	struct rt_dataset *ds;
	char path[512];

	(void)state;
	snprintf(path, sizeof path, "%s/data/clinc_oos_plus.json", shared ? shared : "");
	if (!shared || !rt_file_exists(path)) {
		print_message("CLINC is not here (RT_SHARED)\n");
		skip();
	}
	ds = open_ok(path, NULL);
	assert_int_equal(ds->train.n, 15250);
	assert_int_equal(ds->validation.n, 3100);
	assert_int_equal(ds->test.n, 5500);
	assert_int_equal(ds->label_count, 151);
	assert_string_equal(ds->validation.name, "val");
	/* in scope first, then oos */
	assert_string_equal(ds->train.rows[0].text,
			    "what expression would i use to say i love you if i were an italian");
	assert_string_not_equal(label_of(ds, &ds->train.rows[14999]), "oos");
	for (size_t i = 15000; i < 15250; i++)
		assert_string_equal(label_of(ds, &ds->train.rows[i]), "oos");
	assert_string_equal(ds->train.rows[15000].text, "how much is an overdraft fee for bank");
	assert_string_equal(ds->test.rows[4500].text, "how much has the dow changed today");
	rt_dataset_close(ds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_file_reads_or_says_why_not),
		cmocka_unit_test(overrides_go_before_names),
		cmocka_unit_test(folders_split_by_their_files_names),
		cmocka_unit_test(too_many_bytes_are_refused),
		cmocka_unit_test(labels_take_names_from_where_they_are),
		cmocka_unit_test(match_goes_by_name),
		cmocka_unit_test(match_lists_only_the_first_few),
		cmocka_unit_test(match_takes_ids_and_says_so),
		cmocka_unit_test(stats_count_duplicates_and_leaks),
		cmocka_unit_test(cuts_are_survived),
		cmocka_unit_test(reference_files_hold_equal_rows),
		cmocka_unit_test(clinc_reads_in_its_own_layout),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
