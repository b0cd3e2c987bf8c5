/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "worker/weights/pickle.h"

/* A stream of bytes with its length: it may hold NULs. */
#define BYTES(text) text, sizeof text - 1

/* Shows a value as Python would, more or less. */
static void show(struct rt_buf *out, const struct rt_pickle_value *v, int depth)
{
	static const char *const open[] = {
		[RT_PICKLE_TUPLE] = "(", [RT_PICKLE_LIST] = "[", [RT_PICKLE_SET] = "<", [RT_PICKLE_DICT] = "{"
	};
	static const char *const close[] = {
		[RT_PICKLE_TUPLE] = ")", [RT_PICKLE_LIST] = "]", [RT_PICKLE_SET] = ">", [RT_PICKLE_DICT] = "}"
	};

	if (depth > 8) {
		rt_buf_str(out, "...");
		return;
	}
	switch ((enum rt_pickle_kind)v->kind) {
	case RT_PICKLE_UNSET:
		rt_buf_str(out, "UNSET");
		return;
	case RT_PICKLE_NONE:
		rt_buf_str(out, "None");
		return;
	case RT_PICKLE_BOOL:
		rt_buf_str(out, v->number ? "True" : "False");
		return;
	case RT_PICKLE_INT:
		rt_buf_fmt(out, "%lld", (long long)v->number);
		return;
	case RT_PICKLE_REAL:
		rt_buf_fmt(out, "%g", v->real);
		return;
	case RT_PICKLE_LONG:
	case RT_PICKLE_TEXT:
	case RT_PICKLE_BYTES:
		rt_buf_fmt(out, "%c'",
			   v->kind == RT_PICKLE_LONG   ? 'L'
			   : v->kind == RT_PICKLE_TEXT ? 'u'
						       : 'b');
		rt_buf_add(out, v->bytes, v->len);
		rt_buf_char(out, '\'');
		return;
	case RT_PICKLE_TUPLE:
	case RT_PICKLE_LIST:
	case RT_PICKLE_SET:
	case RT_PICKLE_DICT:
		rt_buf_str(out, open[v->kind]);
		for (size_t i = 0; i < v->list->n; i++) {
			rt_buf_str(out, i == 0 ? "" : v->kind == RT_PICKLE_DICT && i % 2 ? ":" : ",");
			show(out, &v->list->items[i], depth + 1);
		}
		rt_buf_str(out, close[v->kind]);
		return;
	case RT_PICKLE_GLOBAL:
		rt_buf_str(out, "global");
		return;
	case RT_PICKLE_DEVICE:
		rt_buf_str(out, "device");
		return;
	case RT_PICKLE_STORAGE:
		rt_buf_fmt(out, "storage(%.*s %s%s %llu", (int)v->storage->key_len, v->storage->key,
			   rt_dtype_name(v->storage->dtype), v->storage->untyped ? "?" : "",
			   (unsigned long long)v->storage->numel);
		if (v->storage->view_offset || (uint64_t)v->storage->view_numel != v->storage->numel)
			rt_buf_fmt(out, " view %lld %lld", (long long)v->storage->view_offset,
				   (long long)v->storage->view_numel);
		rt_buf_char(out, ')');
		return;
	case RT_PICKLE_TENSOR:
		rt_buf_fmt(out, "tensor(%.*s %s +%lld", (int)v->tensor->storage->key_len,
			   v->tensor->storage->key, rt_dtype_name(v->tensor->dtype),
			   (long long)v->tensor->offset);
		for (int i = 0; i < v->tensor->ndim; i++)
			rt_buf_fmt(out, " %lld/%lld", (long long)v->tensor->shape[i],
				   (long long)v->tensor->stride[i]);
		rt_buf_char(out, ')');
		return;
	}
}

/* Reads a pickle of its own exact allocation, so that a sanitizer sees a byte too far. */
static int read_one(const char *bytes, size_t n, bool legacy, size_t budget_bytes, struct rt_buf *shown,
		    size_t *used, struct rt_err *err)
{
	struct rt_budget budget = { .left_bytes = budget_bytes };
	unsigned char *copy = malloc(n ? n : 1);
	struct rt_pickle_value v;
	struct rt_pickle p;
	int rc;

	assert_non_null(copy);
	memcpy(copy, bytes, n);
	rt_pickle_init(&p, &budget, legacy);
	rc = rt_pickle_read(&p, copy, n, used, &v, err);
	if (rc == 0)
		show(shown, &v, 0);
	rt_pickle_release(&p);
	assert_int_equal(budget.left_bytes, budget_bytes); /* all memory was given back */
	free(copy);
	return rc;
}

#define STORAGE "((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0kX\3\0\0\0cpuK\14tQ"
#define DICT	"ccollections\nOrderedDict\n)R"

static void read_knows_every_opcode(void **state)
{
	static const struct {
		const char *name, *bytes;
		size_t n;
		const char *want;
	} rows[] = {
		{ "PROTO NONE", BYTES("\x80\2N."), "None" },
		{ "NEWTRUE NEWFALSE TUPLE2", BYTES("\x88\x89\x86."), "(True,False)" },
		{ "BININT BININT1 BININT2 TUPLE3", BYTES("J\xfe\xff\xff\xffK\xffM\1\xff\x87."),
		  "(-2,255,65281)" },
		{ "LONG1 of each sign and length",
		  BYTES("(\x8a\0\x8a\1\x80\x8a\2\x80\0\x8a\10\0\0\0\0\0\0\0\x80t."),
		  "(0,-128,128,-9223372036854775808)" },
		{ "LONG1 beyond 64 bits", BYTES("\x8a\11abcdefghi."), "L'abcdefghi'" },
		{ "LONG4", BYTES("\x8b\2\0\0\0\0\1."), "256" },
		{ "BINFLOAT is big endian", BYTES("G\xbf\xf8\0\0\0\0\0\0."), "-1.5" },
		{ "BINUNICODE SHORT_BINUNICODE BINUNICODE8",
		  BYTES("X\2\0\0\0ab\x8c\1c\x8d\1\0\0\0\0\0\0\0d\x87."), "(u'ab',u'c',u'd')" },
		{ "BINSTRING SHORT_BINSTRING", BYTES("T\2\0\0\0abU\0\x86."), "(u'ab',u'')" },
		{ "BINBYTES SHORT_BINBYTES BINBYTES8", BYTES("B\1\0\0\0aC\1b\x8e\1\0\0\0\0\0\0\0c\x87."),
		  "(b'a',b'b',b'c')" },
		{ "EMPTY_TUPLE TUPLE1", BYTES(")\x85."), "(())" },
		{ "MARK TUPLE, nested", BYTES("((K\1t(tt."), "((1),())" },
		{ "EMPTY_LIST APPEND APPENDS", BYTES("]K\1a(K\2K\3e(e."), "[1,2,3]" },
		{ "EMPTY_SET ADDITEMS", BYTES("\x8f(K\1K\2\x90."), "<1,2>" },
		{ "EMPTY_DICT SETITEM SETITEMS", BYTES("}U\1aK\1s(U\1bK\2U\1cNu."),
		  "{u'a':1,u'b':2,u'c':None}" },
		{ "POP and POP_MARK",
		  BYTES("K\1K\2"
			"0(K\3K\4"
			"1."),
		  "1" },
		{ "POP of a mark", BYTES("K\1(0."), "1" },
		{ "BINPUT BINGET", BYTES("K\7q\1h\1\x86."), "(7,7)" },
		{ "LONG_BINPUT LONG_BINGET", BYTES("K\7r\2\0\0\0j\2\0\0\0\x86."), "(7,7)" },
		{ "MEMOIZE and FRAME", BYTES("\x80\4\x95\6\0\0\0\0\0\0\0K\7\x94h\0\x86."), "(7,7)" },
		{ "a list in itself", BYTES("]q\0h\0a."), "[[[[[[[[[...]]]]]]]]]" },
		{ "GLOBAL", BYTES("ccollections\nOrderedDict\n."), "global" },
		{ "STACK_GLOBAL", BYTES("\x8c\13collections\x8c\13OrderedDict\x93)R."), "{}" },
		{ "NEWOBJ", BYTES("ccollections\nOrderedDict\n)\x81."), "{}" },
		{ "BUILD of a dict", BYTES(DICT "U\1aK\1s}U\11_metadata" DICT "sb."), "{u'a':1}" },
		{ "OrderedDict of Python 2", BYTES("ccollections\nOrderedDict\n(](](U\1aK\1e](U\1bK\2eetR."),
		  "{u'a':1,u'b':2}" },
		{ "BINPERSID", BYTES("(X\7\0\0\0storagectorch\nHalfStorage\nX\1\0\0\0kU\6cuda:0K\5tQ."),
		  "storage(k F16 5)" },
		{ "a storage on a GPU", BYTES("(U\7storagectorch.cuda\nLongStorage\nU\1kU\6cuda:0K\5tQ."),
		  "storage(k I64 5)" },
		{ "a storage without a type",
		  BYTES("(U\7storagectorch.storage\nUntypedStorage\nU\1kU\3cpuK\5tQ."), "storage(k U8? 5)" },
		{ "_rebuild_tensor",
		  BYTES("ctorch._utils\n_rebuild_tensor\n" STORAGE "K\1K\2K\3\x86K\3K\1\x86tR."),
		  "tensor(k F32 +1 2/3 3/1)" },
		{ "_rebuild_tensor_v2",
		  BYTES("ctorch._utils\n_rebuild_tensor_v2\n" STORAGE "K\0K\4\x85K\1\x85\x89" DICT "tR."),
		  "tensor(k F32 +0 4/1)" },
		{ "_rebuild_tensor_v2 with empty metadata",
		  BYTES("ctorch._utils\n_rebuild_tensor_v2\n" STORAGE "K\0))\x88N}tR."), "tensor(k F32 +0)" },
		{ "_rebuild_tensor_v3",
		  BYTES("ctorch._utils\n_rebuild_tensor_v3\n" STORAGE "K\0K\4\x85K\1\x85\x89" DICT
			"ctorch\nuint16\ntR."),
		  "tensor(k U16 +0 4/1)" },
		{ "torch.Size as shape",
		  BYTES("ctorch._utils\n_rebuild_tensor_v2\n" STORAGE
			"K\0ctorch\nSize\nK\4\x85\x85RK\1\x85\x89" DICT "tR."),
		  "tensor(k F32 +0 4/1)" },
		{ "_rebuild_parameter",
		  BYTES("ctorch._utils\n_rebuild_parameter\n(ctorch._utils\n_rebuild_tensor_v2\n" STORAGE
			"K\0K\4\x85K\1\x85\x89" DICT "tR\x88" DICT "tR."),
		  "tensor(k F32 +0 4/1)" },
		{ "_rebuild_parameter_with_state",
		  BYTES("ctorch._utils\n_rebuild_parameter_with_state\n(ctorch._utils\n_rebuild_tensor_"
			"v2\n" STORAGE "K\0K\4\x85K\1\x85\x89" DICT "tR\x88" DICT "}tR."),
		  "tensor(k F32 +0 4/1)" },
		{ "_rebuild_from_type_v2",
		  BYTES("ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\n"
			"ctorch.nn.parameter\nParameter\n" STORAGE "K\0K\4\x85K\1\x85\x89" DICT "t}tR."),
		  "tensor(k F32 +0 4/1)" },
		{ "torch.device", BYTES("ctorch\ndevice\nU\3cpu\x85R."), "device" },
		{ "_codecs.encode", BYTES("c_codecs\nencode\nU\1xU\6latin1\x86R."), "b'x'" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_err err = RT_ERR_INIT;
		struct rt_buf shown = RT_BUF_INIT;
		size_t used = 0;

		print_message("%s\n", rows[i].name);
		if (read_one(rows[i].bytes, rows[i].n, false, 1 << 20, &shown, &used, &err) < 0)
			fail_msg("%s", err.msg);
		assert_string_equal(rt_buf_text(&shown), rows[i].want);
		assert_int_equal(used, rows[i].n);
		/* each of them cut short at any byte is refused, and nothing is read behind its end */
		for (size_t n = 0; n < rows[i].n; n++)
			assert_int_equal(read_one(rows[i].bytes, n, false, 1 << 20, &shown, &used, NULL), -1);
		rt_buf_release(&shown);
	}
}

static void read_takes_views_of_storages_only_in_the_legacy_format(void **state)
{
	static const char with_view[] =
		"(U\7storagectorch\nFloatStorage\nU\1kU\3cpuK\14(U\1vK\2K\3ttQ."; /* (view key, offset, numel) */
	static const char without[] = "(U\7storagectorch\nFloatStorage\nU\1kU\3cpuK\14NtQ.";
	struct rt_buf shown = RT_BUF_INIT;
	size_t used;

	(void)state;
	assert_int_equal(read_one(BYTES(with_view), true, 1 << 20, &shown, &used, NULL), 0);
	assert_string_equal(rt_buf_text(&shown), "storage(k F32 12 view 2 3)");
	rt_buf_clear(&shown);
	assert_int_equal(read_one(BYTES(without), true, 1 << 20, &shown, &used, NULL), 0);
	assert_string_equal(rt_buf_text(&shown), "storage(k F32 12)");
	assert_int_equal(read_one(BYTES(without), false, 1 << 20, &shown, &used, NULL), -1);
	rt_buf_release(&shown);
}

static void read_stops_at_stop_and_says_how_far(void **state)
{
	struct rt_buf shown = RT_BUF_INIT;
	size_t used = 0;

	(void)state;
	assert_int_equal(read_one(BYTES("\x80\2K\5.more"), false, 1 << 20, &shown, &used, NULL), 0);
	assert_int_equal(used, 5);
	rt_buf_release(&shown);
}

static void read_refuses_by_name(void **state)
{
	static const struct {
		const char *name, *bytes;
		size_t n;
		enum rt_code code;
		const char *msg;
	} rows[] = {
		{ "os.system", BYTES("cos\nsystem\n(S'id'\ntR."), RT_UNSUPPORTED,
		  "the pickle asks for 'os.system' at byte 0, which weights do not need, and nothing of a "
		  "pickle is run "
		  "here; save the model's state_dict() alone, or as safetensors" },
		{ "builtins.eval by the stack", BYTES("\x80\4\x8c\10builtins\x8c\4eval\x93."), RT_UNSUPPORTED,
		  "the pickle asks for 'builtins.eval' at byte 18, which weights do not need, and nothing of "
		  "a pickle is "
		  "run here; save the model's state_dict() alone, or as safetensors" },
		{ "a name that only starts right", BYTES("ctorch\nFloatStorageX\n."), RT_UNSUPPORTED,
		  "the pickle asks for 'torch.FloatStorageX' at byte 0, which weights do not need, and "
		  "nothing of a "
		  "pickle is run here; save the model's state_dict() alone, or as safetensors" },
		{ "torch.cuda holds storages only", BYTES("ctorch.cuda\nSize\n."), RT_UNSUPPORTED,
		  "the pickle asks for 'torch.cuda.Size' at byte 0, which weights do not need, and nothing "
		  "of a pickle "
		  "is run here; save the model's state_dict() alone, or as safetensors" },
		{ "a quantised tensor", BYTES("ctorch._utils\n_rebuild_qtensor\n."), RT_UNSUPPORTED,
		  "the pickle asks for 'torch._utils._rebuild_qtensor' at byte 0, which weights do not need, "
		  "and nothing "
		  "of a pickle is run here; save the model's state_dict() alone, or as safetensors" },
		{ "INST", BYTES("(ios\nsystem\n."), RT_UNSUPPORTED,
		  "the pickle has the opcode INST at byte 1, which weights do not need" },
		{ "OBJ", BYTES("(o."), RT_UNSUPPORTED,
		  "the pickle has the opcode OBJ at byte 1, which weights do not need" },
		{ "EXT1", BYTES("\x82\1."), RT_UNSUPPORTED,
		  "the pickle has the opcode EXT1 at byte 0, which weights do not need" },
		{ "NEWOBJ_EX", BYTES("\x92."), RT_UNSUPPORTED,
		  "the pickle has the opcode NEWOBJ_EX at byte 0, which weights do not need" },
		{ "PERSID of protocol 0", BYTES("Pstorage\n."), RT_UNSUPPORTED,
		  "the pickle has the opcode PERSID at byte 0, which weights do not need" },
		{ "STRING of protocol 0", BYTES("S'a'\n."), RT_UNSUPPORTED,
		  "the pickle has the opcode STRING at byte 0, which weights do not need" },
		{ "an opcode that is none", BYTES("\xff."), RT_INVALID,
		  "the pickle has an unknown opcode 0xff at byte 0" },
		{ "a protocol to come", BYTES("\x80\6N."), RT_UNSUPPORTED,
		  "the pickle has protocol 6; up to 5 are read" },
		{ "a call of a class", BYTES("ctorch\nTensor\n)R."), RT_UNSUPPORTED,
		  "the pickle calls 'torch.Tensor' at byte 15, which weights do not need" },
		{ "a call of a storage's type", BYTES("ctorch\nFloatStorage\nK\5\x85R."), RT_UNSUPPORTED,
		  "the pickle calls 'torch.FloatStorage' at byte 23, which weights do not need" },
		{ "NEWOBJ of a class", BYTES("ctorch\nTensor\n)\x81."), RT_UNSUPPORTED,
		  "the pickle makes an object of 'torch.Tensor' at byte 15" },
		{ "a call of a number", BYTES("K\1)R."), RT_INVALID,
		  "the pickle is broken at byte 3: a call of what is no function" },
		{ "arguments that are a list", BYTES("ccollections\nOrderedDict\n]R."), RT_INVALID,
		  "the pickle is broken at byte 26: arguments that are not a tuple" },
		{ "BUILD of a tensor", BYTES("ctorch._utils\n_rebuild_tensor\n" STORAGE "K\0))tR}b."),
		  RT_UNSUPPORTED,
		  "the pickle sets the state of a tensor at byte 89, which weights do not need" },
		{ "BUILD with a tuple", BYTES("})b."), RT_UNSUPPORTED,
		  "the pickle sets the state of a dict at byte 2, which weights do not need" },
		{ "a module's source", BYTES("(U\6moduleNNNtQ."), RT_UNSUPPORTED,
		  "the file holds a whole model with its Python source, not weights; save its state_dict()" },
		{ "a storage of a wrong type", BYTES("(U\7storagectorch\nfloat32\nU\1kU\3cpuK\5tQ."),
		  RT_UNSUPPORTED, "the pickle has a storage of type 'torch.float32' at byte 36" },
		{ "a storage of numel -1",
		  BYTES("(U\7storagectorch\nFloatStorage\nU\1kU\3cpuJ\xff\xff\xff\xfftQ."), RT_INVALID,
		  "the pickle is broken at byte 44: a storage whose size cannot be" },
		{ "a storage beyond 63 bits",
		  BYTES("(U\7storagectorch\nDoubleStorage\nU\1kU\3cpu\x8a\10\0\0\0\0\0\0\0\x10tQ."),
		  RT_INVALID, "the pickle is broken at byte 50: a storage whose size cannot be" },
		{ "a storage whose numel wraps",
		  BYTES("(U\7storagectorch\nDoubleStorage\nU\1kU\3cpu\x8a\10\1\0\0\0\0\0\0\x20tQ."),
		  RT_INVALID, "the pickle is broken at byte 50: a storage whose size cannot be" },
		{ "a persistent id that is a number", BYTES("K\1Q."), RT_INVALID,
		  "the pickle is broken at byte 2: a persistent id that is not a tuple with a word in "
		  "front" },
		{ "an empty persistent id", BYTES(")Q."), RT_INVALID,
		  "the pickle is broken at byte 1: a persistent id that is not a tuple with a word in "
		  "front" },
		{ "a persistent id too short", BYTES("(U\7storagetQ."), RT_INVALID,
		  "the pickle is broken at byte 11: a persistent id that does not announce a storage" },
		{ "hooks", BYTES("ctorch._utils\n_rebuild_tensor_v2\n" STORAGE "K\0))\x89}K\1K\2stR."),
		  RT_UNSUPPORTED, "a tensor with hooks or metadata of its own at byte 97" },
		{ "negated numbers",
		  BYTES("ctorch._utils\n_rebuild_tensor_v2\n" STORAGE "K\0))\x89}}U\3neg\x88stR."),
		  RT_UNSUPPORTED, "a tensor with hooks or metadata of its own at byte 100" },
		{ "untyped without a dtype",
		  BYTES("ctorch._utils\n_rebuild_tensor\n((U\7storagectorch."
			"storage\nUntypedStorage\nU\1kU\3cpuK\5tQ"
			"K\0))tR."),
		  RT_INVALID, "the pickle is broken at byte 88: a tensor of a storage without a type" },
		{ "shape and stride of other lengths",
		  BYTES("ctorch._utils\n_rebuild_tensor\n" STORAGE "K\0K\1\x85)tR."), RT_INVALID,
		  "the pickle is broken at byte 89: a tensor whose parts are not storage, offset, size and "
		  "stride" },
		{ "a shape of text",
		  BYTES("ctorch._utils\n_rebuild_tensor\n" STORAGE "K\0U\1a\x85K\1\x85tR."), RT_INVALID,
		  "the pickle is broken at byte 92: a tensor whose parts are not storage, offset, size and "
		  "stride" },
		{ "nine dimensions",
		  BYTES("ctorch._utils\n_rebuild_tensor\n" STORAGE
			"K\0(K\1K\1K\1K\1K\1K\1K\1K\1K\1t(K\1K\1K\1K\1K\1K\1K\1K\1K\1ttR."),
		  RT_UNSUPPORTED, "a tensor of 9 dimensions at byte 125; 8 are read" },
		{ "a parameter of a number", BYTES("ctorch._utils\n_rebuild_parameter\nK\1\x88}\x87R."),
		  RT_INVALID, "the pickle is broken at byte 38: a parameter that does not wrap a tensor" },
		{ "a type that rebuilds types",
		  BYTES("ctorch._tensor\n_rebuild_from_type_v2\nq\0(h\0ctorch\nTensor\n)}tR."), RT_INVALID,
		  "the pickle is broken at byte 59: a tensor of a class that is none" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_err err = RT_ERR_INIT;
		struct rt_buf shown = RT_BUF_INIT;
		size_t used = 0;

		print_message("%s\n", rows[i].name);
		assert_int_equal(read_one(rows[i].bytes, rows[i].n, false, 1 << 20, &shown, &used, &err), -1);
		assert_string_equal(err.msg, rows[i].msg);
		assert_int_equal(err.code, rows[i].code);
		rt_buf_release(&shown);
	}
}

static void read_refuses_broken_streams(void **state)
{
	static const struct {
		const char *name, *bytes;
		size_t n;
		const char *msg; /* behind "the pickle is broken at " */
	} rows[] = {
		{ "nothing", BYTES(""), "byte 0: it ends without its STOP" },
		{ "no STOP", BYTES("\x80\2N"), "byte 3: it ends without its STOP" },
		{ "STOP on nothing", BYTES("\x80\2."), "byte 2: it does not end with one value" },
		{ "two values", BYTES("NN."), "byte 2: it does not end with one value" },
		{ "an open mark", BYTES("N(."), "byte 2: it does not end with one value" },
		{ "a text past the end",
		  BYTES("X\xff\xff\xff\xff"
			"a."),
		  "byte 0: it ends too early" },
		{ "a text of 2^63 bytes",
		  BYTES("\x8d\0\0\0\0\0\0\0\x80"
			"a."),
		  "byte 0: it ends too early" },
		{ "bytes past the end", BYTES("B\2\0\0\0a"), "byte 0: it ends too early" },
		{ "a frame past the end", BYTES("\x95\xff\xff\xff\xff\xff\xff\xff\xffN."),
		  "byte 0: a frame longer than the pickle" },
		{ "TUPLE without a mark", BYTES("Nt."), "byte 1: there is no mark" },
		{ "POP_MARK without a mark", BYTES("N1."), "byte 1: there is no mark" },
		{ "POP of nothing", BYTES("0."), "byte 0: the stack holds too few values" },
		{ "TUPLE2 across a mark", BYTES("N(N\x86."), "byte 3: the stack holds too few values" },
		{ "APPEND to nothing", BYTES("Na."), "byte 1: the stack holds too few values" },
		{ "APPENDS to nothing", BYTES("(Ne."), "byte 2: the stack holds too few values" },
		{ "APPEND to a tuple", BYTES(")Na."), "byte 2: an append to what is not a list" },
		{ "APPENDS to a dict", BYTES("}(Ne."), "byte 3: an append to what is not a list" },
		{ "ADDITEMS to a list", BYTES("](N\x90."), "byte 3: an addition to what is not a set" },
		{ "SETITEM of a list", BYTES("]NNs."), "byte 3: an item for what is not a dict" },
		{ "SETITEMS of a key alone", BYTES("}(Nu."), "byte 3: a key without a value" },
		{ "REDUCE of nothing", BYTES(")R."), "byte 1: the stack holds too few values" },
		{ "BINPUT of nothing", BYTES("q\0."), "byte 0: the stack holds too few values" },
		{ "BINGET of nothing", BYTES("h\0."), "byte 0: a memo entry that was never stored" },
		{ "BINGET of a gap", BYTES("Nq\1h\0."), "byte 3: a memo entry that was never stored" },
		{ "LONG_BINPUT far away", BYTES("Nr\xff\xff\xff\xff."),
		  "byte 1: a memo index beyond what was stored" },
		{ "GLOBAL without an end", BYTES("ccollections\nOrderedDict"),
		  "byte 0: the name of a global does not end" },
		{ "STACK_GLOBAL of numbers", BYTES("K\1K\2\x93."),
		  "byte 4: the name of a global is not a string" },
		{ "OrderedDict of a number", BYTES("ccollections\nOrderedDict\nK\1\x85R."),
		  "byte 28: an OrderedDict that is not made from a list of items" },
		{ "OrderedDict of single items", BYTES("ccollections\nOrderedDict\n])\x61\x85R."),
		  "byte 29: an OrderedDict whose items are not pairs" },
		{ "Size of text", BYTES("ctorch\nSize\nU\1a\x85R."),
		  "byte 16: a torch.Size that is not made from integers" },
		{ "device of a number", BYTES("ctorch\ndevice\nK\1\x85R."),
		  "byte 17: a device without a name" },
		{ "encode of a number", BYTES("c_codecs\nencode\nK\1\x85R."),
		  "byte 19: bytes that are not made from a string" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_err err = RT_ERR_INIT;
		struct rt_buf shown = RT_BUF_INIT;
		char want[256];
		size_t used = 0;

		print_message("%s\n", rows[i].name);
		snprintf(want, sizeof want, "the pickle is broken at %s", rows[i].msg);
		assert_int_equal(read_one(rows[i].bytes, rows[i].n, false, 1 << 20, &shown, &used, &err), -1);
		assert_string_equal(err.msg, want);
		assert_int_equal(err.code, RT_INVALID);
		rt_buf_release(&shown);
	}
}

static void fill_with(struct rt_buf *b, const char *piece, size_t times)
{
	for (size_t i = 0; i < times; i++)
		rt_buf_str(b, piece);
}

static void read_limits_depth_stack_and_memory(void **state)
{
	static const struct {
		const char *name, *start, *piece;
		size_t times, budget_bytes;
		const char *msg;
	} rows[] = {
		{ "marks", "", "(", 257, 1 << 20,
		  "the pickle is broken at byte 256: nested more than 256 deep" },
		{ "stack", "", "N", 65537, 4 << 20,
		  "the pickle is broken at byte 65536: more than 65536 values on the stack" },
		{ "containers", "", "]", 60000, 1 << 20,
		  "the pickle asks for more memory than its file's size allows, at byte 16384" },
		{ "one list grown by what was stored", "]", "(K\1K\1K\1K\1e", 100000, 1 << 20, NULL },
		{ "memo", "N", "\x94", 100000, 1 << 20,
		  "the pickle asks for more memory than its file's size allows, at byte 32769" },
		{ "copies of a tensor",
		  "ctorch._utils\n_rebuild_tensor\nq\1((U\7storagectorch\nFloatStorage\nU\1kU\3cpuK\14tQ"
		  "K\1))tq\2Rq\3",
		  "h\1h\2R0", 100000, 1 << 20, NULL },
		{ "announcements of a storage", "(U\7storagectorch\nFloatStorage\nU\1kU\3cpuK\14tq\2Q",
		  "h\2Q0", 100000, 1 << 20, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rt_err err = RT_ERR_INIT;
		struct rt_buf bytes = RT_BUF_INIT, shown = RT_BUF_INIT;
		size_t used = 0;

		print_message("%s\n", rows[i].name);
		rt_buf_str(&bytes, rows[i].start);
		fill_with(&bytes, rows[i].piece, rows[i].times);
		assert_int_equal(
			read_one(bytes.data, bytes.len, false, rows[i].budget_bytes, &shown, &used, &err),
			-1);
		if (rows[i].msg)
			assert_string_equal(err.msg, rows[i].msg);
		else
			assert_non_null(strstr(
				err.msg, "the pickle asks for more memory than its file's size allows"));
		rt_buf_release(&bytes);
		rt_buf_release(&shown);
	}
}

static void find_takes_the_last_of_equal_keys(void **state)
{
	static const unsigned char bytes[] = "}(U\1aK\1U\1bK\2U\1aK\3K\1K\4u.";
	struct rt_budget budget = { .left_bytes = 1 << 20 };
	struct rt_pickle_value v;
	struct rt_pickle p;
	size_t used;

	(void)state;
	rt_pickle_init(&p, &budget, false);
	assert_int_equal(rt_pickle_read(&p, bytes, sizeof bytes - 1, &used, &v, NULL), 0);
	assert_int_equal(rt_pickle_find(&v, "a")->number, 3);
	assert_int_equal(rt_pickle_find(&v, "b")->number, 2);
	assert_null(rt_pickle_find(&v, "c"));
	assert_null(rt_pickle_find(rt_pickle_find(&v, "b"), "c"));
	rt_pickle_release(&p);
	rt_pickle_release(&p); /* again is fine */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_knows_every_opcode),
		cmocka_unit_test(read_takes_views_of_storages_only_in_the_legacy_format),
		cmocka_unit_test(read_stops_at_stop_and_says_how_far),
		cmocka_unit_test(read_refuses_by_name),
		cmocka_unit_test(read_refuses_broken_streams),
		cmocka_unit_test(read_limits_depth_stack_and_memory),
		cmocka_unit_test(find_takes_the_last_of_equal_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
