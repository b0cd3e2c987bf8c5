/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/weights/pickle.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define STACK_MAX	 65536u
#define MARKS_MAX	 256u
#define PROTOCOL_MAX	 5
#define GLOBAL_MAX	 256u /* bytes of a module's or class's name */
#define CHUNK_BYTES	 ((size_t)16 << 10)
#define SIZE_NUMBERS_MAX 64u /* PyTorch's own limit of dimensions */

enum opcode {
	MARK = '(',
	STOP = '.',
	POP = '0',
	POP_MARK = '1',
	NONE = 'N',
	BININT = 'J',
	BININT1 = 'K',
	BININT2 = 'M',
	BINFLOAT = 'G',
	BINUNICODE = 'X',
	BINSTRING = 'T',
	SHORT_BINSTRING = 'U',
	BINBYTES = 'B',
	SHORT_BINBYTES = 'C',
	EMPTY_TUPLE = ')',
	EMPTY_LIST = ']',
	EMPTY_DICT = '}',
	APPEND = 'a',
	APPENDS = 'e',
	SETITEM = 's',
	SETITEMS = 'u',
	TUPLE = 't',
	GLOBAL = 'c',
	REDUCE = 'R',
	BUILD = 'b',
	BINPERSID = 'Q',
	BINGET = 'h',
	LONG_BINGET = 'j',
	BINPUT = 'q',
	LONG_BINPUT = 'r',
	PROTO = 0x80,
	NEWOBJ = 0x81,
	TUPLE1 = 0x85,
	TUPLE2 = 0x86,
	TUPLE3 = 0x87,
	NEWTRUE = 0x88,
	NEWFALSE = 0x89,
	LONG1 = 0x8a,
	LONG4 = 0x8b,
	SHORT_BINUNICODE = 0x8c,
	BINUNICODE8 = 0x8d,
	BINBYTES8 = 0x8e,
	EMPTY_SET = 0x8f,
	ADDITEMS = 0x90,
	STACK_GLOBAL = 0x93,
	MEMOIZE = 0x94,
	FRAME = 0x95,
};

/* What Python has besides: only their names, for the message. */
static const struct {
	unsigned char code;
	const char *name;
} refused_opcodes[] = {
	{ '2', "DUP" },		{ 'F', "FLOAT" },	 { 'I', "INT" },
	{ 'L', "LONG" },	{ 'P', "PERSID" },	 { 'S', "STRING" },
	{ 'V', "UNICODE" },	{ 'd', "DICT" },	 { 'g', "GET" },
	{ 'i', "INST" },	{ 'l', "LIST" },	 { 'o', "OBJ" },
	{ 'p', "PUT" },		{ 0x82, "EXT1" },	 { 0x83, "EXT2" },
	{ 0x84, "EXT4" },	{ 0x91, "FROZENSET" },	 { 0x92, "NEWOBJ_EX" },
	{ 0x96, "BYTEARRAY8" }, { 0x97, "NEXT_BUFFER" }, { 0x98, "READONLY_BUFFER" },
};

enum action {
	DO_ORDERED_DICT, /* OrderedDict() or OrderedDict([[key, value]…]) */
	DO_TENSOR,	 /* (storage, offset, size, stride) */
	DO_TENSOR_V2,	 /* … requires_grad, backward_hooks[, metadata] */
	DO_TENSOR_V3,	 /* … requires_grad, backward_hooks, dtype[, metadata] */
	DO_PARAMETER,	 /* (tensor, requires_grad, backward_hooks[, state]) */
	DO_FROM_TYPE,	 /* (function, class, its arguments, state) */
	DO_SIZE,	 /* (numbers) */
	DO_DEVICE,	 /* (name[, index]) */
	DO_ENCODE,	 /* (text, encoding): how protocol 2 writes bytes */
	IS_CLASS,	 /* a tensor's class: named, never made */
	IS_STORAGE,	 /* the type of a storage */
	IS_UNTYPED,	 /* a storage of bytes */
	IS_DTYPE,
};

struct rt_pickle_global {
	const char *module, *name;
	enum action action;
	enum rt_dtype dtype;
};

static const struct rt_pickle_global globals[] = {
	{ "collections", "OrderedDict", DO_ORDERED_DICT, 0 },
	{ "torch._utils", "_rebuild_tensor", DO_TENSOR, 0 },
	{ "torch._utils", "_rebuild_tensor_v2", DO_TENSOR_V2, 0 },
	{ "torch._utils", "_rebuild_tensor_v3", DO_TENSOR_V3, 0 },
	{ "torch._utils", "_rebuild_parameter", DO_PARAMETER, 0 },
	{ "torch._utils", "_rebuild_parameter_with_state", DO_PARAMETER, 0 },
	{ "torch._tensor", "_rebuild_from_type_v2", DO_FROM_TYPE, 0 },
	{ "torch", "Size", DO_SIZE, 0 },
	{ "torch", "device", DO_DEVICE, 0 },
	{ "_codecs", "encode", DO_ENCODE, 0 },
	{ "torch", "Tensor", IS_CLASS, 0 },
	{ "torch.nn.parameter", "Parameter", IS_CLASS, 0 },
	{ "torch", "DoubleStorage", IS_STORAGE, RT_DTYPE_F64 },
	{ "torch", "FloatStorage", IS_STORAGE, RT_DTYPE_F32 },
	{ "torch", "HalfStorage", IS_STORAGE, RT_DTYPE_F16 },
	{ "torch", "BFloat16Storage", IS_STORAGE, RT_DTYPE_BF16 },
	{ "torch", "LongStorage", IS_STORAGE, RT_DTYPE_I64 },
	{ "torch", "IntStorage", IS_STORAGE, RT_DTYPE_I32 },
	{ "torch", "ShortStorage", IS_STORAGE, RT_DTYPE_I16 },
	{ "torch", "CharStorage", IS_STORAGE, RT_DTYPE_I8 },
	{ "torch", "ByteStorage", IS_STORAGE, RT_DTYPE_U8 },
	{ "torch", "BoolStorage", IS_STORAGE, RT_DTYPE_BOOL },
	{ "torch", "ComplexFloatStorage", IS_STORAGE, RT_DTYPE_C64 },
	{ "torch.storage", "UntypedStorage", IS_UNTYPED, RT_DTYPE_U8 },
	{ "torch.storage", "_UntypedStorage", IS_UNTYPED, RT_DTYPE_U8 },
	{ "torch", "UntypedStorage", IS_UNTYPED, RT_DTYPE_U8 },
	{ "torch", "float64", IS_DTYPE, RT_DTYPE_F64 },
	{ "torch", "float32", IS_DTYPE, RT_DTYPE_F32 },
	{ "torch", "float16", IS_DTYPE, RT_DTYPE_F16 },
	{ "torch", "bfloat16", IS_DTYPE, RT_DTYPE_BF16 },
	{ "torch", "int64", IS_DTYPE, RT_DTYPE_I64 },
	{ "torch", "int32", IS_DTYPE, RT_DTYPE_I32 },
	{ "torch", "int16", IS_DTYPE, RT_DTYPE_I16 },
	{ "torch", "int8", IS_DTYPE, RT_DTYPE_I8 },
	{ "torch", "uint64", IS_DTYPE, RT_DTYPE_U64 },
	{ "torch", "uint32", IS_DTYPE, RT_DTYPE_U32 },
	{ "torch", "uint16", IS_DTYPE, RT_DTYPE_U16 },
	{ "torch", "uint8", IS_DTYPE, RT_DTYPE_U8 },
	{ "torch", "bool", IS_DTYPE, RT_DTYPE_BOOL },
	{ "torch", "complex64", IS_DTYPE, RT_DTYPE_C64 },
	{ "torch", "float8_e5m2", IS_DTYPE, RT_DTYPE_F8_E5M2 },
	{ "torch", "float8_e4m3fn", IS_DTYPE, RT_DTYPE_F8_E4M3 },
	{ "torch", "float8_e8m0fnu", IS_DTYPE, RT_DTYPE_F8_E8M0 },
	{ "torch", "float8_e4m3fnuz", IS_DTYPE, RT_DTYPE_F8_E4M3FNUZ },
	{ "torch", "float8_e5m2fnuz", IS_DTYPE, RT_DTYPE_F8_E5M2FNUZ },
};

struct rt_pickle_chunk {
	struct rt_pickle_chunk *next;
	size_t size; /* bytes behind this head */
	_Alignas(16) unsigned char data[];
};

/* A pickle while it is read. */
struct reader {
	struct rt_pickle *p;
	const unsigned char *bytes;
	size_t n, at, op_at;
	struct rt_pickle_value *stack, *memo;
	size_t depth, stack_cap;
	size_t memo_count, memo_cap; /* memo_count: highest index used, plus 1 */
	size_t marks[MARKS_MAX];     /* depth of the stack at each */
	size_t mark_count;
	struct rt_err *err;
};

const char *rt_pickle_kind_words(enum rt_pickle_kind kind)
{
	static const char *const words[] = {
#define X(name, text) text,
		RT_PICKLE_KIND_MAP(X)
#undef X
	};

	return words[kind];
}

void rt_pickle_init(struct rt_pickle *p, struct rt_budget *budget, bool legacy)
{
	*p = (struct rt_pickle){ .budget = budget, .legacy = legacy };
}

void rt_pickle_release(struct rt_pickle *p)
{
	while (p->chunks) {
		struct rt_pickle_chunk *next = p->chunks->next;

		rt_budget_give(p->budget, 1, sizeof *p->chunks + p->chunks->size);
		free(p->chunks);
		p->chunks = next;
	}
	if (p->storages)
		rt_budget_give(p->budget, p->storage_cap, sizeof *p->storages);
	free(p->storages);
	*p = (struct rt_pickle){ .budget = p->budget, .legacy = p->legacy };
}

static int bad(struct reader *r, const char *why)
{
	return rt_fail(r->err, RT_INVALID, "the pickle is broken at byte %zu: %s", r->op_at, why);
}

static int too_much(struct reader *r)
{
	return rt_fail(r->err, RT_INVALID,
		       "the pickle asks for more memory than its file's size allows, at byte %zu", r->op_at);
}

/* Memory that lives as long as the values; NULL with the message set. */
static void *allot(struct reader *r, size_t n)
{
	struct rt_pickle *p = r->p;
	struct rt_pickle_chunk *chunk = p->chunks;

	n = (n + 15) & ~(size_t)15;
	if (n > p->chunk_left) {
		size_t size = n > CHUNK_BYTES ? n : CHUNK_BYTES;

		if (!rt_budget_take(p->budget, 1, sizeof *chunk + size)) {
			too_much(r);
			return NULL;
		}
		chunk = malloc(sizeof *chunk + size);
		if (!chunk) {
			rt_budget_give(p->budget, 1, sizeof *chunk + size);
			rt_fail(r->err, RT_NO_MEMORY, "no memory to read the pickle");
			return NULL;
		}
		chunk->next = p->chunks;
		chunk->size = size;
		p->chunks = chunk;
		p->chunk_left = size;
	}
	p->chunk_left -= n;
	return chunk->data + p->chunk_left;
}

/* Makes *array hold at least want things; new ones are zero. */
static int grow(struct reader *r, void *array, size_t *cap, size_t want, size_t size)
{
	void **where = array, *grown;
	size_t more = *cap ? *cap : 64;

	if (want <= *cap)
		return 0;
	while (more < want)
		more *= 2;
	if (!rt_budget_take(r->p->budget, more - *cap, size))
		return too_much(r);
	grown = reallocarray(*where, more, size);
	if (!grown) {
		rt_budget_give(r->p->budget, more - *cap, size);
		return rt_fail(r->err, RT_NO_MEMORY, "no memory to read the pickle");
	}
	memset((unsigned char *)grown + *cap * size, 0, (more - *cap) * size);
	*where = grown;
	*cap = more;
	return 0;
}

static struct rt_pickle_list *new_list(struct reader *r, size_t cap)
{
	struct rt_pickle_list *list = allot(r, sizeof *list);

	if (!list)
		return NULL;
	*list = (struct rt_pickle_list){ .cap = cap };
	if (cap > 0) {
		list->items = allot(r, cap * sizeof *list->items);
		if (!list->items)
			return NULL;
	}
	return list;
}

static int list_add(struct reader *r, struct rt_pickle_list *list, const struct rt_pickle_value *values,
		    size_t n)
{
	if (n > list->cap - list->n) {
		size_t cap = list->n + n > 2 * list->cap ? list->n + n : 2 * list->cap;
		struct rt_pickle_value *items = allot(r, cap * sizeof *items);

		if (!items)
			return -1;
		if (list->n > 0)
			memcpy(items, list->items, list->n * sizeof *items);
		list->items = items;
		list->cap = cap;
	}
	if (n > 0)
		memcpy(list->items + list->n, values, n * sizeof *values);
	list->n += n;
	return 0;
}

static int push(struct reader *r, struct rt_pickle_value v)
{
	if (r->depth == STACK_MAX)
		return bad(r, "more than 65536 values on the stack");
	if (grow(r, &r->stack, &r->stack_cap, r->depth + 1, sizeof *r->stack) < 0)
		return -1;
	r->stack[r->depth++] = v;
	return 0;
}

static int push_list(struct reader *r, enum rt_pickle_kind kind)
{
	struct rt_pickle_list *list = new_list(r, 0);

	return list ? push(r, (struct rt_pickle_value){ .kind = kind, .list = list }) : -1;
}

/* Values above the last mark. */
static size_t above_mark(const struct reader *r)
{
	return r->depth - (r->mark_count ? r->marks[r->mark_count - 1] : 0);
}

/* The n values on top, or NULL when fewer lie above the last mark. They stay on the stack. */
static struct rt_pickle_value *top(struct reader *r, size_t n)
{
	if (above_mark(r) < n) {
		bad(r, "the stack holds too few values");
		return NULL;
	}
	return r->stack + r->depth - n;
}

/* Takes the last mark away. *ret_n values lie above it, and `below` more must lie under it. NULL without a mark. */
static struct rt_pickle_value *take_mark(struct reader *r, size_t below, size_t *ret_n)
{
	size_t start;

	if (r->mark_count == 0) {
		bad(r, "there is no mark");
		return NULL;
	}
	start = r->marks[--r->mark_count];
	*ret_n = r->depth - start;
	r->depth = start;
	if (above_mark(r) < below) {
		bad(r, "the stack holds too few values");
		return NULL;
	}
	/* the stack may be empty and not allocated yet */
	if (grow(r, &r->stack, &r->stack_cap, 1, sizeof *r->stack) < 0)
		return NULL;
	return r->stack + start;
}

/* The n bytes that come next; NULL when the pickle ends before. */
static const unsigned char *next(struct reader *r, uint64_t n)
{
	const unsigned char *p = r->bytes + r->at;

	if (n > r->n - r->at) {
		bad(r, "it ends too early");
		return NULL;
	}
	r->at += (size_t)n;
	return p;
}

static int next_number(struct reader *r, int bytes, uint64_t *ret)
{
	const unsigned char *p = next(r, (uint64_t)bytes);
	uint64_t v = 0;

	if (!p)
		return -1;
	for (int i = bytes - 1; i >= 0; i--)
		v = v << 8 | p[i];
	*ret = v;
	return 0;
}

static int push_bytes(struct reader *r, enum rt_pickle_kind kind, int len_bytes)
{
	const unsigned char *p;
	uint64_t len;

	if (next_number(r, len_bytes, &len) < 0)
		return -1;
	p = next(r, len);
	if (!p)
		return -1;
	if (len > UINT32_MAX)
		return bad(r, "a string of more than 4 GiB");
	return push(r,
		    (struct rt_pickle_value){ .kind = kind, .len = (uint32_t)len, .bytes = (const char *)p });
}

static int push_int(struct reader *r, int bytes)
{
	uint64_t v;

	if (next_number(r, bytes, &v) < 0)
		return -1;
	return push(r, (struct rt_pickle_value){ .kind = RT_PICKLE_INT,
						 .number = bytes == 4 ? (int32_t)(uint32_t)v : (int64_t)v });
}

/* Two's complement of any length, little endian. */
static int push_long(struct reader *r, int len_bytes)
{
	struct rt_pickle_value *v;
	uint64_t bits = 0;

	if (push_bytes(r, RT_PICKLE_LONG, len_bytes) < 0)
		return -1;
	v = &r->stack[r->depth - 1];
	if (v->len > 8)
		return 0;
	if (v->len > 0 && (v->bytes[v->len - 1] & 0x80))
		bits = ~(uint64_t)0;
	for (uint32_t i = v->len; i-- > 0;)
		bits = bits << 8 | (unsigned char)v->bytes[i];
	*v = (struct rt_pickle_value){ .kind = RT_PICKLE_INT, .number = (int64_t)bits };
	return 0;
}

static int push_real(struct reader *r)
{
	const unsigned char *p = next(r, 8);
	struct rt_pickle_value v = { .kind = RT_PICKLE_REAL };
	uint64_t bits = 0;

	if (!p)
		return -1;
	for (int i = 0; i < 8; i++) /* the one number that is big endian */
		bits = bits << 8 | p[i];
	memcpy(&v.real, &bits, sizeof v.real);
	return push(r, v);
}

/* A name for a message. */
static const char *quote(const char *s, size_t n, char out[RT_UTF8_QUOTE_SIZE])
{
	return rt_utf8_quote(s, rt_utf8_valid(s, n), out);
}

static bool same(const char *word, const char *s, size_t n)
{
	return strlen(word) == n && memcmp(word, s, n) == 0;
}

static int push_global(struct reader *r, const char *module, size_t module_len, const char *name,
		       size_t name_len)
{
	static const char cuda[] = "torch.cuda", storage[] = "Storage";
	char quoted_module[RT_UTF8_QUOTE_SIZE], quoted_name[RT_UTF8_QUOTE_SIZE];
	const char *where = module;
	size_t where_len = module_len;

	/* the same storages on a GPU; where the numbers were does not matter here */
	if (same(cuda, module, module_len) && name_len > strlen(storage) &&
	    memcmp(name + name_len - strlen(storage), storage, strlen(storage)) == 0)
		where_len = strlen("torch");
	for (size_t i = 0; i < sizeof globals / sizeof *globals; i++) {
		if (same(globals[i].module, where, where_len) && same(globals[i].name, name, name_len))
			return push(r, (struct rt_pickle_value){ .kind = RT_PICKLE_GLOBAL,
								 .global = &globals[i] });
	}
	return rt_fail(r->err, RT_UNSUPPORTED,
		       "the pickle asks for '%s.%s' at byte %zu, which weights do not need, and nothing of a "
		       "pickle is "
		       "run here; save the model's state_dict() alone, or as safetensors",
		       quote(module, module_len, quoted_module), quote(name, name_len, quoted_name),
		       r->op_at);
}

/* A line of the pickle without its newline. */
static const char *next_line(struct reader *r, size_t *ret_len)
{
	const char *line = (const char *)r->bytes + r->at;
	size_t left = r->n - r->at, most = left < GLOBAL_MAX + 1 ? left : GLOBAL_MAX + 1;
	const char *end = most ? memchr(line, '\n', most) : NULL;

	if (!end) {
		bad(r, "the name of a global does not end");
		return NULL;
	}
	*ret_len = (size_t)(end - line);
	r->at += *ret_len + 1;
	return line;
}

static int do_global(struct reader *r)
{
	size_t module_len, name_len;
	const char *module = next_line(r, &module_len), *name;

	if (!module)
		return -1;
	name = next_line(r, &name_len);
	return name ? push_global(r, module, module_len, name, name_len) : -1;
}

static int do_stack_global(struct reader *r)
{
	const struct rt_pickle_value *v = top(r, 2);

	if (!v)
		return -1;
	if (v[0].kind != RT_PICKLE_TEXT || v[1].kind != RT_PICKLE_TEXT || v[0].len > GLOBAL_MAX ||
	    v[1].len > GLOBAL_MAX)
		return bad(r, "the name of a global is not a string");
	r->depth -= 2;
	return push_global(r, v[0].bytes, v[0].len, v[1].bytes, v[1].len);
}

static int memo_put(struct reader *r, uint64_t i)
{
	const struct rt_pickle_value *v = top(r, 1);

	if (!v)
		return -1;
	/* picklers count up, and each entry took a byte: a larger index is made up */
	if (i >= r->at)
		return bad(r, "a memo index beyond what was stored");
	if (grow(r, &r->memo, &r->memo_cap, (size_t)i + 1, sizeof *r->memo) < 0)
		return -1;
	r->memo[i] = *v;
	if (r->memo_count <= i)
		r->memo_count = (size_t)i + 1;
	return 0;
}

static int memo_get(struct reader *r, uint64_t i)
{
	if (i >= r->memo_count || r->memo[i].kind == RT_PICKLE_UNSET)
		return bad(r, "a memo entry that was never stored");
	return push(r, r->memo[i]);
}

/* Puts the n values on top into a new tuple. */
static int do_tuple(struct reader *r, const struct rt_pickle_value *values, size_t n)
{
	struct rt_pickle_list *list = new_list(r, n);

	if (!list || list_add(r, list, values, n) < 0)
		return -1;
	r->depth = (size_t)(values - r->stack);
	return push(r, (struct rt_pickle_value){ .kind = RT_PICKLE_TUPLE, .list = list });
}

/* Adds the n values on top to the container under them. */
static int do_add(struct reader *r, enum rt_pickle_kind kind, const struct rt_pickle_value *values, size_t n)
{
	static const char *const why[] = { [RT_PICKLE_LIST] = "an append to what is not a list",
					   [RT_PICKLE_SET] = "an addition to what is not a set",
					   [RT_PICKLE_DICT] = "an item for what is not a dict" };
	struct rt_pickle_value *into = r->stack + (values - r->stack) - 1;

	if (into->kind != kind)
		return bad(r, why[kind]);
	if (kind == RT_PICKLE_DICT && n % 2 != 0)
		return bad(r, "a key without a value");
	if (list_add(r, into->list, values, n) < 0)
		return -1;
	r->depth = (size_t)(values - r->stack);
	return 0;
}

static int add_top(struct reader *r, enum rt_pickle_kind kind, size_t n)
{
	struct rt_pickle_value *v = top(r, n + 1);

	return v ? do_add(r, kind, v + 1, n) : -1;
}

static int add_marked(struct reader *r, enum rt_pickle_kind kind)
{
	size_t n;
	struct rt_pickle_value *v = take_mark(r, 1, &n);

	return v ? do_add(r, kind, v, n) : -1;
}

/* ("storage", type, key, location, numel[, view]); the view only before PyTorch 1.6: None or (key, offset, numel). */
static int do_persid(struct reader *r)
{
	struct rt_pickle_value *v = top(r, 1);
	const struct rt_pickle_value *t, *view;
	struct rt_pickle_storage *s;
	uint64_t bytes;

	if (!v)
		return -1;
	if (v->kind != RT_PICKLE_TUPLE || v->list->n == 0 || v->list->items[0].kind != RT_PICKLE_TEXT)
		return bad(r, "a persistent id that is not a tuple with a word in front");
	t = v->list->items;
	if (same("module", t->bytes, t->len))
		return rt_fail(r->err, RT_UNSUPPORTED,
			       "the file holds a whole model with its Python source, not weights; save its "
			       "state_dict()");
	if (!same("storage", t->bytes, t->len) || v->list->n != (r->p->legacy ? 6 : 5) ||
	    t[1].kind != RT_PICKLE_GLOBAL || t[2].kind != RT_PICKLE_TEXT || t[3].kind != RT_PICKLE_TEXT ||
	    t[4].kind != RT_PICKLE_INT)
		return bad(r, "a persistent id that does not announce a storage");
	if (t[1].global->action != IS_STORAGE && t[1].global->action != IS_UNTYPED)
		return rt_fail(r->err, RT_UNSUPPORTED, "the pickle has a storage of type '%s.%s' at byte %zu",
			       t[1].global->module, t[1].global->name, r->op_at);
	if (t[4].number < 0 ||
	    __builtin_mul_overflow((uint64_t)t[4].number, rt_dtype_bits(t[1].global->dtype) / 8, &bytes) ||
	    bytes > INT64_MAX)
		return bad(r, "a storage whose size cannot be");
	s = allot(r, sizeof *s);
	if (!s)
		return -1;
	*s = (struct rt_pickle_storage){
		.key = t[2].bytes,
		.key_len = t[2].len,
		.dtype = t[1].global->dtype,
		.untyped = t[1].global->action == IS_UNTYPED,
		.numel = (uint64_t)t[4].number,
		.view_numel = t[4].number,
	};
	if (r->p->legacy && t[5].kind != RT_PICKLE_NONE) {
		if (t[5].kind != RT_PICKLE_TUPLE || t[5].list->n != 3 ||
		    t[5].list->items[1].kind != RT_PICKLE_INT || t[5].list->items[2].kind != RT_PICKLE_INT)
			return bad(r, "a storage with a view that is none");
		view = t[5].list->items;
		s->view_offset = view[1].number;
		s->view_numel = view[2].number;
	}
	if (grow(r, &r->p->storages, &r->p->storage_cap, r->p->storage_count + 1, sizeof *r->p->storages) < 0)
		return -1;
	r->p->storages[r->p->storage_count++] = s;
	*v = (struct rt_pickle_value){ .kind = RT_PICKLE_STORAGE, .storage = s };
	return 0;
}

static bool is_numbers(const struct rt_pickle_value *v)
{
	if ((v->kind != RT_PICKLE_TUPLE && v->kind != RT_PICKLE_LIST) || v->list->n > SIZE_NUMBERS_MAX)
		return false;
	for (size_t i = 0; i < v->list->n; i++) {
		if (v->list->items[i].kind != RT_PICKLE_INT)
			return false;
	}
	return true;
}

static bool is_bool(const struct rt_pickle_value *v)
{
	return v->kind == RT_PICKLE_BOOL || (v->kind == RT_PICKLE_INT && (v->number == 0 || v->number == 1));
}

static bool is_empty(const struct rt_pickle_value *v)
{
	return v->kind == RT_PICKLE_NONE || (v->kind == RT_PICKLE_DICT && v->list->n == 0);
}

static int rebuild_tensor(struct reader *r, enum action version, const struct rt_pickle_value *a, size_t n,
			  struct rt_pickle_value *ret)
{
	bool right_count = version == DO_TENSOR	     ? n == 4
			   : version == DO_TENSOR_V2 ? n == 6 || n == 7
						     : n == 7 || n == 8;
	size_t fixed = version == DO_TENSOR_V3 ? 7 : 6;
	struct rt_pickle_tensor *t;

	if (!right_count || a[0].kind != RT_PICKLE_STORAGE || a[1].kind != RT_PICKLE_INT ||
	    !is_numbers(&a[2]) || !is_numbers(&a[3]) || a[2].list->n != a[3].list->n ||
	    (n > 4 && !is_bool(&a[4])) ||
	    (version == DO_TENSOR_V3 && (a[6].kind != RT_PICKLE_GLOBAL || a[6].global->action != IS_DTYPE)))
		return bad(r, "a tensor whose parts are not storage, offset, size and stride");
	if (a[2].list->n > RT_TENSOR_DIMS_MAX)
		return rt_fail(r->err, RT_UNSUPPORTED, "a tensor of %zu dimensions at byte %zu; 8 are read",
			       a[2].list->n, r->op_at);
	/* The last argument marks tensors whose numbers are to be negated or conjugated. Hooks are functions. */
	if ((n > 4 && !is_empty(&a[5])) || (n > fixed && !is_empty(&a[fixed])))
		return rt_fail(r->err, RT_UNSUPPORTED,
			       "a tensor with hooks or metadata of its own at byte %zu", r->op_at);
	if (version != DO_TENSOR_V3 && a[0].storage->untyped)
		return bad(r, "a tensor of a storage without a type");
	t = allot(r, sizeof *t);
	if (!t)
		return -1;
	*t = (struct rt_pickle_tensor){
		.storage = a[0].storage,
		.dtype = version == DO_TENSOR_V3 ? a[6].global->dtype : a[0].storage->dtype,
		.offset = a[1].number,
		.ndim = (int)a[2].list->n,
	};
	for (int i = 0; i < t->ndim; i++) {
		t->shape[i] = a[2].list->items[i].number;
		t->stride[i] = a[3].list->items[i].number;
	}
	*ret = (struct rt_pickle_value){ .kind = RT_PICKLE_TENSOR, .tensor = t };
	return 0;
}

/* Python 2 wrote an OrderedDict's items as a list of [key, value]. */
static int ordered_dict(struct reader *r, const struct rt_pickle_value *a, size_t n,
			struct rt_pickle_value *ret)
{
	struct rt_pickle_list *dict;

	if (n > 1 || (n == 1 && a[0].kind != RT_PICKLE_LIST && a[0].kind != RT_PICKLE_TUPLE))
		return bad(r, "an OrderedDict that is not made from a list of items");
	dict = new_list(r, n ? 2 * a[0].list->n : 0);
	if (!dict)
		return -1;
	for (size_t i = 0; n && i < a[0].list->n; i++) {
		const struct rt_pickle_value *item = &a[0].list->items[i];

		if ((item->kind != RT_PICKLE_LIST && item->kind != RT_PICKLE_TUPLE) || item->list->n != 2)
			return bad(r, "an OrderedDict whose items are not pairs");
		if (list_add(r, dict, item->list->items, 2) < 0)
			return -1;
	}
	*ret = (struct rt_pickle_value){ .kind = RT_PICKLE_DICT, .list = dict };
	return 0;
}

static int call(struct reader *r, const struct rt_pickle_global *g, const struct rt_pickle_value *args,
		struct rt_pickle_value *ret)
{
	const struct rt_pickle_value *a;
	size_t n;

	if (args->kind != RT_PICKLE_TUPLE)
		return bad(r, "arguments that are not a tuple");
	a = args->list->items;
	n = args->list->n;
	switch (g->action) {
	case DO_ORDERED_DICT:
		return ordered_dict(r, a, n, ret);
	case DO_TENSOR:
	case DO_TENSOR_V2:
	case DO_TENSOR_V3:
		return rebuild_tensor(r, g->action, a, n, ret);
	case DO_PARAMETER:
		if ((n != 3 && n != 4) || a[0].kind != RT_PICKLE_TENSOR || !is_bool(&a[1]))
			return bad(r, "a parameter that does not wrap a tensor");
		if (!is_empty(&a[2]))
			return rt_fail(r->err, RT_UNSUPPORTED, "a parameter with hooks at byte %zu",
				       r->op_at);
		*ret = a[0];
		return 0;
	case DO_FROM_TYPE:
		/* its own function must make a tensor at once: no second level */
		if (n != 4 || a[0].kind != RT_PICKLE_GLOBAL || a[1].kind != RT_PICKLE_GLOBAL ||
		    a[1].global->action != IS_CLASS || a[2].kind != RT_PICKLE_TUPLE ||
		    (a[0].global->action != DO_TENSOR && a[0].global->action != DO_TENSOR_V2 &&
		     a[0].global->action != DO_TENSOR_V3 && a[0].global->action != DO_PARAMETER))
			return bad(r, "a tensor of a class that is none");
		return call(r, a[0].global, &a[2], ret);
	case DO_SIZE:
		if (n != 1 || !is_numbers(&a[0]))
			return bad(r, "a torch.Size that is not made from integers");
		*ret = (struct rt_pickle_value){ .kind = RT_PICKLE_TUPLE, .list = a[0].list };
		return 0;
	case DO_DEVICE:
		if (n < 1 || n > 2 || a[0].kind != RT_PICKLE_TEXT)
			return bad(r, "a device without a name");
		*ret = (struct rt_pickle_value){ .kind = RT_PICKLE_DEVICE };
		return 0;
	case DO_ENCODE:
		if (n != 2 || a[0].kind != RT_PICKLE_TEXT || a[1].kind != RT_PICKLE_TEXT)
			return bad(r, "bytes that are not made from a string");
		*ret = a[0];
		ret->kind = RT_PICKLE_BYTES;
		return 0;
	case IS_CLASS:
	case IS_STORAGE:
	case IS_UNTYPED:
	case IS_DTYPE:
		break;
	}
	return rt_fail(r->err, RT_UNSUPPORTED,
		       "the pickle calls '%s.%s' at byte %zu, which weights do not need", g->module, g->name,
		       r->op_at);
}

/* REDUCE and NEWOBJ: a class or function, and its arguments. */
static int do_call(struct reader *r, bool makes_object)
{
	struct rt_pickle_value *v = top(r, 2);

	if (!v)
		return -1;
	if (v[0].kind != RT_PICKLE_GLOBAL)
		return bad(r, "a call of what is no function");
	if (makes_object && v[0].global->action != DO_ORDERED_DICT && v[0].global->action != DO_SIZE)
		return rt_fail(r->err, RT_UNSUPPORTED, "the pickle makes an object of '%s.%s' at byte %zu",
			       v[0].global->module, v[0].global->name, r->op_at);
	if (call(r, v[0].global, &v[1], &v[0]) < 0)
		return -1;
	r->depth--;
	return 0;
}

/* The attributes of an OrderedDict (PyTorch hangs versions there, "_metadata") say nothing about weights. */
static int do_build(struct reader *r)
{
	struct rt_pickle_value *v = top(r, 2);

	if (!v)
		return -1;
	if (v[0].kind != RT_PICKLE_DICT || v[1].kind != RT_PICKLE_DICT)
		return rt_fail(r->err, RT_UNSUPPORTED,
			       "the pickle sets the state of %s at byte %zu, which weights do not need",
			       rt_pickle_kind_words(v[0].kind), r->op_at);
	r->depth--;
	return 0;
}

static int do_mark(struct reader *r)
{
	if (r->mark_count == MARKS_MAX)
		return bad(r, "nested more than 256 deep");
	r->marks[r->mark_count++] = r->depth;
	return 0;
}

static int do_pop(struct reader *r)
{
	if (above_mark(r) > 0) {
		r->depth--;
		return 0;
	}
	if (r->mark_count == 0)
		return bad(r, "the stack holds too few values");
	r->mark_count--; /* as Python: POP takes a mark too */
	return 0;
}

static int do_proto(struct reader *r)
{
	uint64_t v;

	if (next_number(r, 1, &v) < 0)
		return -1;
	if (v > PROTOCOL_MAX)
		return rt_fail(r->err, RT_UNSUPPORTED, "the pickle has protocol %d; up to 5 are read",
			       (int)v);
	return 0;
}

/* Frames only say how much to read ahead. */
static int do_frame(struct reader *r)
{
	uint64_t v;

	if (next_number(r, 8, &v) < 0)
		return -1;
	return v > r->n - r->at ? bad(r, "a frame longer than the pickle") : 0;
}

static int do_memo(struct reader *r, bool put, int index_bytes)
{
	uint64_t i;

	if (next_number(r, index_bytes, &i) < 0)
		return -1;
	return put ? memo_put(r, i) : memo_get(r, i);
}

static int do_marked_tuple(struct reader *r)
{
	size_t n;
	struct rt_pickle_value *v = take_mark(r, 0, &n);

	return v ? do_tuple(r, v, n) : -1;
}

static int do_top_tuple(struct reader *r, size_t n)
{
	struct rt_pickle_value *v = top(r, n);

	return v ? do_tuple(r, v, n) : -1;
}

static int refuse(struct reader *r, unsigned char op)
{
	const char *name = NULL;

	for (size_t i = 0; i < sizeof refused_opcodes / sizeof *refused_opcodes; i++) {
		if (refused_opcodes[i].code == op)
			name = refused_opcodes[i].name;
	}
	if (!name)
		return rt_fail(r->err, RT_INVALID, "the pickle has an unknown opcode 0x%02x at byte %zu", op,
			       r->op_at);
	return rt_fail(r->err, RT_UNSUPPORTED,
		       "the pickle has the opcode %s at byte %zu, which weights do not need", name, r->op_at);
}

/* Any opcode but STOP. */
static int step(struct reader *r, unsigned char op)
{
	size_t n;

	switch ((enum opcode)op) {
	case PROTO:
		return do_proto(r);
	case FRAME:
		return do_frame(r);
	case MARK:
		return do_mark(r);
	case POP:
		return do_pop(r);
	case POP_MARK:
		return take_mark(r, 0, &n) ? 0 : -1;
	case NONE:
		return push(r, (struct rt_pickle_value){ .kind = RT_PICKLE_NONE });
	case NEWTRUE:
	case NEWFALSE:
		return push(r, (struct rt_pickle_value){ .kind = RT_PICKLE_BOOL, .number = op == NEWTRUE });
	case BININT:
		return push_int(r, 4);
	case BININT1:
		return push_int(r, 1);
	case BININT2:
		return push_int(r, 2);
	case LONG1:
		return push_long(r, 1);
	case LONG4:
		return push_long(r, 4);
	case BINFLOAT:
		return push_real(r);
	case BINUNICODE8:
		return push_bytes(r, RT_PICKLE_TEXT, 8);
	case BINUNICODE:
	case BINSTRING:
		return push_bytes(r, RT_PICKLE_TEXT, 4);
	case SHORT_BINUNICODE:
	case SHORT_BINSTRING:
		return push_bytes(r, RT_PICKLE_TEXT, 1);
	case BINBYTES8:
		return push_bytes(r, RT_PICKLE_BYTES, 8);
	case BINBYTES:
		return push_bytes(r, RT_PICKLE_BYTES, 4);
	case SHORT_BINBYTES:
		return push_bytes(r, RT_PICKLE_BYTES, 1);
	case EMPTY_TUPLE:
		return push_list(r, RT_PICKLE_TUPLE);
	case TUPLE1:
	case TUPLE2:
	case TUPLE3:
		return do_top_tuple(r, (size_t)op - TUPLE1 + 1);
	case TUPLE:
		return do_marked_tuple(r);
	case EMPTY_LIST:
		return push_list(r, RT_PICKLE_LIST);
	case APPEND:
		return add_top(r, RT_PICKLE_LIST, 1);
	case APPENDS:
		return add_marked(r, RT_PICKLE_LIST);
	case EMPTY_SET:
		return push_list(r, RT_PICKLE_SET);
	case ADDITEMS:
		return add_marked(r, RT_PICKLE_SET);
	case EMPTY_DICT:
		return push_list(r, RT_PICKLE_DICT);
	case SETITEM:
		return add_top(r, RT_PICKLE_DICT, 2);
	case SETITEMS:
		return add_marked(r, RT_PICKLE_DICT);
	case GLOBAL:
		return do_global(r);
	case STACK_GLOBAL:
		return do_stack_global(r);
	case REDUCE:
		return do_call(r, false);
	case NEWOBJ:
		return do_call(r, true);
	case BUILD:
		return do_build(r);
	case BINPERSID:
		return do_persid(r);
	case BINGET:
		return do_memo(r, false, 1);
	case LONG_BINGET:
		return do_memo(r, false, 4);
	case BINPUT:
		return do_memo(r, true, 1);
	case LONG_BINPUT:
		return do_memo(r, true, 4);
	case MEMOIZE:
		return memo_put(r, r->memo_count);
	case STOP:
		break;
	}
	return refuse(r, op);
}

int rt_pickle_read(struct rt_pickle *p, const unsigned char *bytes, size_t n, size_t *ret_used,
		   struct rt_pickle_value *ret, struct rt_err *err)
{
	struct reader r = { .p = p, .bytes = bytes, .n = n, .err = err };
	int rc = -1;

	for (;;) {
		unsigned char op;

		r.op_at = r.at;
		if (r.at == n) {
			bad(&r, "it ends without its STOP");
			goto out;
		}
		op = bytes[r.at++];
		if (op == STOP)
			break;
		if (step(&r, op) < 0)
			goto out;
	}
	if (r.depth != 1 || r.mark_count != 0) {
		bad(&r, "it does not end with one value");
		goto out;
	}
	*ret = r.stack[0];
	*ret_used = r.at;
	rc = 0;
out:
	rt_budget_give(p->budget, r.stack_cap, sizeof *r.stack);
	rt_budget_give(p->budget, r.memo_cap, sizeof *r.memo);
	free(r.stack);
	free(r.memo);
	return rc;
}

const struct rt_pickle_value *rt_pickle_find(const struct rt_pickle_value *dict, const char *key)
{
	if (dict->kind != RT_PICKLE_DICT)
		return NULL;
	for (size_t i = dict->list->n; i >= 2; i -= 2) {
		const struct rt_pickle_value *k = &dict->list->items[i - 2];

		if (k->kind == RT_PICKLE_TEXT && same(key, k->bytes, k->len))
			return &dict->list->items[i - 1];
	}
	return NULL;
}
