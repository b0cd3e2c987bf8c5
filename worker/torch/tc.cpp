/* SPDX-License-Identifier: Apache-2.0 */
/* The only C++ of the worker. Every body runs inside pure() or effect(): no exception leaves this file. */
extern "C" {
#include "base/log.h"
}
#include "base/mix.h"
#include "worker/torch/inner.hpp"

#include <cassert>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <new>
#include <pthread.h>
#include <string>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/Version.h>
#include <ATen/core/Reduction.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/kl_div.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/util/Exception.h>
#include <torch/csrc/api/include/torch/version.h>

/* ---- errors ---- */

static std::string shape_of(const at::Tensor &t)
{
	std::string out = "(";

	for (int64_t i = 0; i < t.dim(); i++)
		out += (i ? ", " : "") + std::to_string(t.size(i));
	return out + ")";
}

static std::string describe(const char *op, const tc_tensor *const *in, size_t n)
{
	std::string out = op;

	if (n == 0)
		return out;
	for (size_t i = 0; i < n; i++)
		out += (i ? ", " : "(") + shape_of(in[i]->t) + " " + tc_dtype_name(tc_dtype_of(in[i]));
	return out + ")";
}

static bool is_out_of_memory(const char *what)
{
	return strstr(what, "out of memory") || strstr(what, "DefaultCPUAllocator");
}

/* One line: the library's messages may have several. */
static std::string one_line(const char *what)
{
	std::string out = what;

	while (!out.empty() && (out.back() == '\n' || out.back() == ' '))
		out.pop_back();
	for (char &c : out)
		c = c == '\n' ? ' ' : c;
	return out;
}

/* Must be called inside a catch block. Says in err what was thrown. */
void tc_explain(const char *op, const tc_tensor *const *in, size_t n, rt_err *err) noexcept
{
	try {
		const std::string where = describe(op, in, n);

		try {
			throw;
		} catch (const c10::Error &e) {
			const std::string why = one_line(e.what_without_backtrace());

			rt_log(RT_LOG_DEBUG, "-", "%s", e.what());
			if (is_out_of_memory(why.c_str()))
				rt_fail(err, RT_NO_MEMORY, "%s: not enough memory: %s", where.c_str(),
					why.c_str());
			else
				rt_fail(err, RT_INTERNAL, "%s: %s", where.c_str(), why.c_str());
		} catch (const std::bad_alloc &) {
			rt_fail(err, RT_NO_MEMORY, "%s: not enough memory", where.c_str());
		} catch (const std::exception &e) {
			const std::string why = one_line(e.what());

			rt_fail(err, is_out_of_memory(why.c_str()) ? RT_NO_MEMORY : RT_INTERNAL, "%s: %s",
				where.c_str(), why.c_str());
		} catch (...) {
			rt_fail(err, RT_INTERNAL, "%s: unknown error", where.c_str());
		}
	} catch (...) {
		rt_fail(err, RT_NO_MEMORY, "%s: not enough memory", op);
	}
}

bool tc_failed(const struct tc_scope *s)
{
	return !s || s->root->err.code != RT_OK;
}

int tc_check(const struct tc_scope *s, struct rt_err *err)
{
	if (!s)
		return rt_fail(err, RT_NO_MEMORY, "no memory for a scope");
	if (s->root->err.code == RT_OK)
		return 0;
	return rt_fail(err, s->root->err.code, "%s", s->root->err.msg);
}

struct tc_tensor *tc_fail(struct tc_scope *s, enum rt_code code, const char *fmt, ...)
{
	char msg[sizeof s->err.msg];
	va_list ap;

	if (tc_failed(s))
		return nullptr;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof msg, fmt, ap);
	va_end(ap);
	rt_fail(&s->root->err, code, "%s", msg);
	return nullptr;
}

/* ---- scopes ---- */

struct tc_scope *tc_scope_open(struct tc_scope *parent, int flags)
{
	tc_scope *s = new (std::nothrow) tc_scope();

	if (!s)
		return nullptr;
	s->parent = parent;
	s->root = parent ? parent->root : s;
	s->grad = !(flags & TC_NO_GRAD) && (!parent || parent->grad);
	s->device = parent	     ? parent->device
		    : flags & TC_GPU ? at::Device(at::kCUDA, 0)
				     : at::Device(at::kCPU);
	s->thread = pthread_self();
	if (parent) {
		assert(pthread_equal(parent->thread, s->thread));
		parent->open_children++;
	}
	return s;
}

static void unlink_tensor(tc_tensor *t)
{
	if (t->prev)
		t->prev->next = t->next;
	else
		t->owner->first = t->next;
	if (t->next)
		t->next->prev = t->prev;
}

void tc_link(tc_scope *s, tc_tensor *t)
{
	t->owner = s;
	t->prev = nullptr;
	t->next = s->first;
	if (s->first)
		s->first->prev = t;
	s->first = t;
}

void tc_drop(struct tc_tensor *t)
{
	if (!t)
		return;
	unlink_tensor(t);
	delete t;
}

void tc_scope_close(struct tc_scope *s)
{
	if (!s)
		return;
	assert(s->open_children == 0);
	assert(pthread_equal(s->thread, pthread_self()));
	while (s->first)
		tc_drop(s->first);
	if (s->parent)
		s->parent->open_children--;
	delete s;
}

struct tc_tensor *tc_keep(struct tc_scope *to, struct tc_tensor *t)
{
	if (tc_failed(to))
		return nullptr;
	if (!t)
		return tc_fail(to, RT_INTERNAL, "keep: the tensor is missing");
	unlink_tensor(t);
	tc_link(to, t);
	return t;
}

int tc_check_args(tc_scope *s, const char *op, const tc_tensor *const *in, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!in[i]) {
			tc_fail(s, RT_INTERNAL, "%s: argument %zu is missing", op, i + 1);
			return -1;
		}
	}
	return 0;
}

/* ---- dtypes and shapes ---- */

at::ScalarType tc_scalar_type(enum tc_dtype d)
{
	switch (d) {
	case TC_F32:
		return at::kFloat;
	case TC_F64:
		return at::kDouble;
	case TC_F16:
		return at::kHalf;
	case TC_BF16:
		return at::kBFloat16;
	case TC_I64:
		return at::kLong;
	case TC_I32:
		return at::kInt;
	case TC_U8:
		return at::kByte;
	case TC_BOOL:
		return at::kBool;
	}
	throw std::runtime_error("unknown dtype");
}

enum tc_dtype tc_dtype_of(const struct tc_tensor *t)
{
	switch (t ? t->t.scalar_type() : at::kFloat) {
	case at::kDouble:
		return TC_F64;
	case at::kHalf:
		return TC_F16;
	case at::kBFloat16:
		return TC_BF16;
	case at::kLong:
		return TC_I64;
	case at::kInt:
		return TC_I32;
	case at::kByte:
		return TC_U8;
	case at::kBool:
		return TC_BOOL;
	default:
		return TC_F32;
	}
}

size_t tc_dtype_size(enum tc_dtype dtype)
{
	static const unsigned char sizes[] = { 4, 8, 2, 2, 8, 4, 1, 1 };

	return sizes[dtype];
}

const char *tc_dtype_name(enum tc_dtype dtype)
{
	static const char *const names[] = { "f32", "f64", "f16", "bf16", "i64", "i32", "u8", "bool" };

	return names[dtype];
}

int tc_ndim(const struct tc_tensor *t)
{
	return t ? (int)t->t.dim() : 0;
}

int64_t tc_size(const struct tc_tensor *t, int dim)
{
	int ndim = tc_ndim(t);

	dim = dim < 0 ? dim + ndim : dim;
	return dim < 0 || dim >= ndim ? 0 : t->t.size(dim);
}

int64_t tc_numel(const struct tc_tensor *t)
{
	return t ? t->t.numel() : 0;
}

const void *tc_data(const struct tc_tensor *t)
{
	return t && t->t.is_contiguous() && t->t.device().is_cpu() ? t->t.data_ptr() : nullptr;
}

static at::IntArrayRef dims(int ndim, const int64_t *shape)
{
	if (ndim < 0 || ndim > TC_MAX_DIMS)
		throw std::runtime_error("a tensor has 0 to 8 dims");
	for (int i = 0; i < ndim; i++) {
		if (shape[i] < 0)
			throw std::runtime_error("a size is negative");
	}
	return at::IntArrayRef(shape, (size_t)ndim);
}

/* ---- making tensors ---- */

static at::Tensor borrow(enum tc_dtype dtype, int ndim, const int64_t *shape, const void *data)
{
	const at::IntArrayRef sizes = dims(ndim, shape);

	if (!data)
		throw std::runtime_error("the data is missing");
	return at::from_blob(const_cast<void *>(data), sizes,
			     at::TensorOptions().dtype(tc_scalar_type(dtype)));
}

struct tc_tensor *tc_from_data(struct tc_scope *s, enum tc_dtype dtype, int ndim, const int64_t *shape,
			       const void *data)
{
	return pure(s, "from_data", {}, [&] {
		const at::Tensor t = borrow(dtype, ndim, shape, data);

		return s->device.is_cpu() ? t.clone() : t.to(s->device);
	});
}

struct tc_tensor *tc_from_borrowed(struct tc_scope *s, enum tc_dtype dtype, int ndim, const int64_t *shape,
				   const void *data)
{
	return pure(s, "from_borrowed", {}, [&] { return borrow(dtype, ndim, shape, data).to(s->device); });
}

struct tc_tensor *tc_full(struct tc_scope *s, enum tc_dtype dtype, int ndim, const int64_t *shape,
			  double value)
{
	return pure(s, "full", {}, [&] {
		return at::full(dims(ndim, shape), value,
				at::TensorOptions().dtype(tc_scalar_type(dtype)).device(s->device));
	});
}

struct tc_tensor *tc_zeros(struct tc_scope *s, enum tc_dtype dtype, int ndim, const int64_t *shape)
{
	return tc_full(s, dtype, ndim, shape, 0);
}

struct tc_tensor *tc_ones(struct tc_scope *s, enum tc_dtype dtype, int ndim, const int64_t *shape)
{
	return tc_full(s, dtype, ndim, shape, 1);
}

struct tc_tensor *tc_zeros_like(struct tc_scope *s, struct tc_tensor *t)
{
	return pure(s, "zeros_like", { t }, [&] { return at::zeros_like(t->t.detach()); });
}

struct tc_tensor *tc_arange(struct tc_scope *s, enum tc_dtype dtype, int64_t n)
{
	return pure(s, "arange", {}, [&] {
		return at::arange(n, at::TensorOptions().dtype(tc_scalar_type(dtype)).device(s->device));
	});
}

struct tc_tensor *tc_clone(struct tc_scope *s, struct tc_tensor *t)
{
	return pure(s, "clone", { t }, [&] { return t->t.detach().clone(); });
}

struct tc_tensor *tc_detach(struct tc_scope *s, struct tc_tensor *t)
{
	return pure(s, "detach", { t }, [&] { return t->t.detach(); });
}

struct tc_tensor *tc_to(struct tc_scope *s, struct tc_tensor *t, enum tc_dtype dtype)
{
	return pure(s, "to", { t }, [&] { return t->t.to(tc_scalar_type(dtype)); });
}

/* ---- random numbers ---- */

static void seed_rng(tc_rng *r, uint64_t seed)
{
	r->gen.set_current_seed(seed);
	r->key = rt_mix64(seed + RT_MIX_STEP);
	r->next = 0;
}

struct tc_rng *tc_rng_new(uint64_t seed)
{
	tc_rng *r = nullptr;

	plain("rng", nullptr, [&] {
		r = new tc_rng{ at::detail::createCPUGenerator(seed), 0, 0 };
		seed_rng(r, seed);
		return 0;
	});
	return r;
}

void tc_rng_free(struct tc_rng *r)
{
	delete r;
}

int tc_rng_seed(struct tc_rng *r, uint64_t seed, struct rt_err *err)
{
	return plain("rng_seed", err, [&] {
		seed_rng(r, seed);
		return 0;
	});
}

size_t tc_rng_state_size(void)
{
	size_t size = 0;

	plain("rng_state_size", nullptr, [&] {
		size = 2 * sizeof(uint64_t) + (size_t)at::detail::createCPUGenerator(0).get_state().numel();
		return 0;
	});
	return size;
}

int tc_rng_get_state(const struct tc_rng *r, void *out, size_t size, struct rt_err *err)
{
	return plain("rng_get_state", err, [&] {
		const at::Tensor state = r->gen.get_state();
		char *to = static_cast<char *>(out);

		if (size < 2 * sizeof(uint64_t) + (size_t)state.numel())
			return rt_fail(err, RT_INTERNAL, "rng_get_state: %zu bytes are too few", size);
		memcpy(to, &r->key, sizeof r->key);
		memcpy(to + sizeof r->key, &r->next, sizeof r->next);
		memcpy(to + 2 * sizeof(uint64_t), state.data_ptr(), (size_t)state.numel());
		return 0;
	});
}

int tc_rng_set_state(struct tc_rng *r, const void *state, size_t size, struct rt_err *err)
{
	return plain("rng_set_state", err, [&] {
		const size_t want = tc_rng_state_size();
		const char *from = static_cast<const char *>(state);
		at::Tensor bytes;

		if (size != want)
			return rt_fail(
				err, RT_INVALID,
				"the state of the random numbers has %zu bytes, this libtorch's has %zu",
				size, want);
		bytes = at::empty({ (int64_t)(size - 2 * sizeof(uint64_t)) },
				  at::TensorOptions().dtype(at::kByte));
		memcpy(bytes.data_ptr(), from + 2 * sizeof(uint64_t), (size_t)bytes.numel());
		r->gen.set_state(bytes);
		memcpy(&r->key, from, sizeof r->key);
		memcpy(&r->next, from + sizeof r->key, sizeof r->next);
		return 0;
	});
}

struct tc_tensor *tc_randn(struct tc_scope *s, struct tc_rng *r, enum tc_dtype dtype, int ndim,
			   const int64_t *shape, double mean, double std)
{
	return pure(s, "randn", {}, [&] {
		if (!r)
			throw std::runtime_error("the generator is missing");
		return at::empty(dims(ndim, shape), at::TensorOptions().dtype(tc_scalar_type(dtype)))
			.normal_(mean, std, r->gen)
			.to(s->device);
	});
}

struct tc_tensor *tc_randperm(struct tc_scope *s, struct tc_rng *r, int64_t n)
{
	return pure(s, "randperm", {}, [&] {
		if (!r)
			throw std::runtime_error("the generator is missing");
		return at::randperm(n, r->gen, at::TensorOptions().dtype(at::kLong)).to(s->device);
	});
}

/* ---- arithmetic ---- */

struct tc_tensor *tc_add(struct tc_scope *s, struct tc_tensor *a, struct tc_tensor *b)
{
	return pure(s, "add", { a, b }, [&] { return a->t + b->t; });
}

struct tc_tensor *tc_sub(struct tc_scope *s, struct tc_tensor *a, struct tc_tensor *b)
{
	return pure(s, "sub", { a, b }, [&] { return a->t - b->t; });
}

struct tc_tensor *tc_mul(struct tc_scope *s, struct tc_tensor *a, struct tc_tensor *b)
{
	return pure(s, "mul", { a, b }, [&] { return a->t * b->t; });
}

struct tc_tensor *tc_div(struct tc_scope *s, struct tc_tensor *a, struct tc_tensor *b)
{
	return pure(s, "div", { a, b }, [&] { return a->t / b->t; });
}

struct tc_tensor *tc_scale(struct tc_scope *s, struct tc_tensor *a, double factor)
{
	return pure(s, "scale", { a }, [&] { return a->t * factor; });
}

struct tc_tensor *tc_add_scalar(struct tc_scope *s, struct tc_tensor *a, double value)
{
	return pure(s, "add_scalar", { a }, [&] { return a->t + value; });
}

struct tc_tensor *tc_exp(struct tc_scope *s, struct tc_tensor *a)
{
	return pure(s, "exp", { a }, [&] { return a->t.exp(); });
}

struct tc_tensor *tc_log(struct tc_scope *s, struct tc_tensor *a)
{
	return pure(s, "log", { a }, [&] { return a->t.log(); });
}

struct tc_tensor *tc_tanh(struct tc_scope *s, struct tc_tensor *a)
{
	return pure(s, "tanh", { a }, [&] { return a->t.tanh(); });
}

struct tc_tensor *tc_relu(struct tc_scope *s, struct tc_tensor *a)
{
	return pure(s, "relu", { a }, [&] { return a->t.relu(); });
}

struct tc_tensor *tc_silu(struct tc_scope *s, struct tc_tensor *a)
{
	return pure(s, "silu", { a }, [&] { return at::silu(a->t); });
}

struct tc_tensor *tc_sigmoid(struct tc_scope *s, struct tc_tensor *a)
{
	return pure(s, "sigmoid", { a }, [&] { return a->t.sigmoid(); });
}

struct tc_tensor *tc_softplus(struct tc_scope *s, struct tc_tensor *a)
{
	return pure(s, "softplus", { a }, [&] { return at::softplus(a->t); });
}

struct tc_tensor *tc_sqrt(struct tc_scope *s, struct tc_tensor *a)
{
	return pure(s, "sqrt", { a }, [&] { return a->t.sqrt(); });
}

struct tc_tensor *tc_erf(struct tc_scope *s, struct tc_tensor *a)
{
	return pure(s, "erf", { a }, [&] { return a->t.erf(); });
}

struct tc_tensor *tc_clamp(struct tc_scope *s, struct tc_tensor *a, double least, double most)
{
	return pure(s, "clamp", { a }, [&] { return at::clamp(a->t, least, most); });
}

struct tc_tensor *tc_gelu(struct tc_scope *s, struct tc_tensor *a, enum tc_gelu kind)
{
	return pure(s, "gelu", { a }, [&] { return at::gelu(a->t, kind == TC_GELU_TANH ? "tanh" : "none"); });
}

struct tc_tensor *tc_eq(struct tc_scope *s, struct tc_tensor *a, struct tc_tensor *b)
{
	return pure(s, "eq", { a, b }, [&] { return a->t.eq(b->t); });
}

/* ---- products ---- */

struct tc_tensor *tc_matmul(struct tc_scope *s, struct tc_tensor *a, struct tc_tensor *b)
{
	return pure(s, "matmul", { a, b }, [&] { return at::matmul(a->t, b->t); });
}

struct tc_tensor *tc_bmm(struct tc_scope *s, struct tc_tensor *a, struct tc_tensor *b)
{
	return pure(s, "bmm", { a, b }, [&] { return at::bmm(a->t, b->t); });
}

struct tc_tensor *tc_linear(struct tc_scope *s, struct tc_tensor *x, struct tc_tensor *w, struct tc_tensor *b)
{
	if (!b)
		return pure(s, "linear", { x, w }, [&] { return at::linear(x->t, w->t); });
	return pure(s, "linear", { x, w, b }, [&] { return at::linear(x->t, w->t, b->t); });
}

/* ---- shapes ---- */

struct tc_tensor *tc_transpose(struct tc_scope *s, struct tc_tensor *t, int dim0, int dim1)
{
	return pure(s, "transpose", { t }, [&] { return t->t.transpose(dim0, dim1); });
}

struct tc_tensor *tc_permute(struct tc_scope *s, struct tc_tensor *t, int ndim, const int64_t *order)
{
	return pure(s, "permute", { t }, [&] { return t->t.permute(dims(ndim, order)); });
}

struct tc_tensor *tc_reshape(struct tc_scope *s, struct tc_tensor *t, int ndim, const int64_t *shape)
{
	return pure(s, "reshape", { t }, [&] {
		if (ndim < 0 || ndim > TC_MAX_DIMS)
			throw std::runtime_error("a tensor has 0 to 8 dims");
		return t->t.reshape(at::IntArrayRef(shape, (size_t)ndim));
	});
}

struct tc_tensor *tc_contiguous(struct tc_scope *s, struct tc_tensor *t)
{
	return pure(s, "contiguous", { t }, [&] { return t->t.contiguous(); });
}

struct tc_tensor *tc_narrow(struct tc_scope *s, struct tc_tensor *t, int dim, int64_t start, int64_t length)
{
	return pure(s, "narrow", { t }, [&] { return t->t.narrow(dim, start, length); });
}

struct tc_tensor *tc_select(struct tc_scope *s, struct tc_tensor *t, int dim, int64_t index)
{
	return pure(s, "select", { t }, [&] { return t->t.select(dim, index); });
}

struct tc_tensor *tc_index_select(struct tc_scope *s, struct tc_tensor *t, int dim, struct tc_tensor *index)
{
	return pure(s, "index_select", { t, index }, [&] { return t->t.index_select(dim, index->t); });
}

struct tc_tensor *tc_gather(struct tc_scope *s, struct tc_tensor *t, int dim, struct tc_tensor *index)
{
	return pure(s, "gather", { t, index }, [&] { return t->t.gather(dim, index->t); });
}

struct tc_tensor *tc_cat(struct tc_scope *s, struct tc_tensor *const *list, size_t n, int dim)
{
	return pure_n(s, "cat", list, n, [&] {
		std::vector<at::Tensor> parts;

		for (size_t i = 0; i < n; i++)
			parts.push_back(list[i]->t);
		return at::cat(parts, dim);
	});
}

/* ---- layers and losses ---- */

struct tc_tensor *tc_embedding(struct tc_scope *s, struct tc_tensor *table, struct tc_tensor *ids,
			       int64_t padding_idx)
{
	return pure(s, "embedding", { table, ids },
		    [&] { return at::embedding(table->t, ids->t, padding_idx); });
}

struct tc_tensor *tc_layer_norm(struct tc_scope *s, struct tc_tensor *x, struct tc_tensor *w,
				struct tc_tensor *b, double eps)
{
	if (!b)
		return pure(s, "layer_norm", { x, w },
			    [&] { return at::layer_norm(x->t, w->t.sizes(), w->t, {}, eps); });
	return pure(s, "layer_norm", { x, w, b },
		    [&] { return at::layer_norm(x->t, w->t.sizes(), w->t, b->t, eps); });
}

struct tc_tensor *tc_softmax(struct tc_scope *s, struct tc_tensor *x, int dim)
{
	return pure(s, "softmax", { x }, [&] { return at::softmax(x->t, dim); });
}

struct tc_tensor *tc_log_softmax(struct tc_scope *s, struct tc_tensor *x, int dim)
{
	return pure(s, "log_softmax", { x }, [&] { return at::log_softmax(x->t, dim); });
}

static int64_t reduction_of(enum tc_reduction r)
{
	return r == TC_NONE ? at::Reduction::None : r == TC_MEAN ? at::Reduction::Mean : at::Reduction::Sum;
}

struct tc_tensor *tc_cross_entropy(struct tc_scope *s, struct tc_tensor *logits, struct tc_tensor *target,
				   enum tc_reduction reduction)
{
	return pure(s, "cross_entropy", { logits, target }, [&] {
		return at::cross_entropy_loss(logits->t, target->t, {}, reduction_of(reduction));
	});
}

struct tc_tensor *tc_kl_div(struct tc_scope *s, struct tc_tensor *log_input, struct tc_tensor *target,
			    enum tc_reduction reduction)
{
	return pure(s, "kl_div", { log_input, target }, [&] {
		if (!log_input->t.sizes().equals(target->t.sizes()))
			throw std::runtime_error("the shapes must be the same");
		return at::kl_div(log_input->t, target->t, reduction_of(reduction));
	});
}

struct tc_tensor *tc_sum(struct tc_scope *s, struct tc_tensor *x)
{
	return pure(s, "sum", { x }, [&] { return x->t.sum(); });
}

struct tc_tensor *tc_mean(struct tc_scope *s, struct tc_tensor *x)
{
	return pure(s, "mean", { x }, [&] { return x->t.mean(); });
}

struct tc_tensor *tc_sum_dim(struct tc_scope *s, struct tc_tensor *x, int dim, bool keep_dim)
{
	return pure(s, "sum_dim", { x }, [&] { return x->t.sum(at::IntArrayRef{ dim }, keep_dim); });
}

struct tc_tensor *tc_argmax(struct tc_scope *s, struct tc_tensor *x, int dim)
{
	return pure(s, "argmax", { x }, [&] { return x->t.argmax(dim); });
}

/* ---- gradients ---- */

int tc_require_grad(struct tc_scope *s, struct tc_tensor *t, bool on, struct rt_err *err)
{
	return effect(s, "require_grad", { t }, err, [&](rt_err *) {
		t->t.set_requires_grad(on);
		return 0;
	});
}

int tc_backward(struct tc_scope *s, struct tc_tensor *loss, struct rt_err *err)
{
	return effect(s, "backward", { loss }, err, [&](rt_err *) {
		loss->t.backward();
		return 0;
	});
}

bool tc_has_grad(const struct tc_tensor *t)
{
	return t && t->t.grad().defined();
}

struct tc_tensor *tc_grad(struct tc_scope *s, struct tc_tensor *t)
{
	return pure(s, "grad", { t }, [&] {
		if (!t->t.grad().defined())
			throw std::runtime_error("there is no gradient");
		return t->t.grad();
	});
}

/* ---- effects ---- */

int tc_item_f64(struct tc_scope *s, struct tc_tensor *t, double *ret, struct rt_err *err)
{
	return effect(s, "item", { t }, err, [&](rt_err *) {
		*ret = t->t.item().toDouble();
		return 0;
	});
}

static int check_count(const tc_tensor *t, size_t n, const char *op, rt_err *err)
{
	if ((int64_t)n == t->t.numel())
		return 0;
	return rt_fail(err, RT_INTERNAL, "%s: the tensor has %lld elements, not %zu", op,
		       (long long)t->t.numel(), n);
}

int tc_read(struct tc_scope *s, struct tc_tensor *t, enum tc_dtype dtype, void *out, size_t n,
	    struct rt_err *err)
{
	return effect(s, "read", { t }, err, [&](rt_err *to) {
		if (check_count(t, n, "read", to) < 0)
			return -1;
		if (n)
			borrow(dtype, (int)t->t.dim(), t->t.sizes().data(), out).copy_(t->t);
		return 0;
	});
}

int tc_write(struct tc_scope *s, struct tc_tensor *t, enum tc_dtype dtype, const void *data, size_t n,
	     struct rt_err *err)
{
	return effect(s, "write", { t }, err, [&](rt_err *to) {
		if (check_count(t, n, "write", to) < 0)
			return -1;
		if (n)
			t->t.copy_(borrow(dtype, (int)t->t.dim(), t->t.sizes().data(), data));
		return 0;
	});
}

int tc_copy(struct tc_scope *s, struct tc_tensor *to, struct tc_tensor *from, struct rt_err *err)
{
	return effect(s, "copy", { to, from }, err, [&](rt_err *why) {
		if (!to->t.sizes().equals(from->t.sizes()))
			return rt_fail(why, RT_INTERNAL, "copy: the shapes differ");
		to->t.copy_(from->t);
		return 0;
	});
}

int tc_fill(struct tc_scope *s, struct tc_tensor *t, double value, struct rt_err *err)
{
	return effect(s, "fill", { t }, err, [&](rt_err *) {
		t->t.fill_(value);
		return 0;
	});
}

int tc_all_finite(struct tc_scope *s, struct tc_tensor *t, bool *ret, struct rt_err *err)
{
	return effect(s, "all_finite", { t }, err, [&](rt_err *) {
		*ret = at::isfinite(t->t).all().item().toBool();
		return 0;
	});
}

/* ---- the library and the machine ---- */

const char *tc_version(void)
{
	return TORCH_VERSION;
}

int tc_set_threads(int n, struct rt_err *err)
{
	if (n < 1)
		return rt_fail(err, RT_INVALID, "the number of threads must be above 0 (got %d)", n);
	return plain("set_threads", err, [&] {
		at::set_num_threads(n);
		return 0;
	});
}

int tc_get_threads(void)
{
	int n = 0;

	plain("get_threads", nullptr, [&] {
		n = at::get_num_threads();
		return 0;
	});
	return n;
}

void tc_describe(char *out, size_t size)
{
	out[0] = '\0';
	plain("describe", nullptr, [&] {
		snprintf(out, size, "%s", at::show_config().c_str());
		return 0;
	});
}

/* Several BLAS libraries may be loaded; the one that the name sgemm_ leads to is the one libtorch calls. */
bool tc_blas(char *out, size_t size, char *path, size_t path_size)
{
	typedef char *(*config_fn)(void);
	void *gemm = dlsym(RTLD_DEFAULT, "sgemm_"), *library, *config = nullptr;
	char resolved[4096] = "";
	Dl_info info;

	path[0] = '\0';
	if (gemm && dladdr(gemm, &info) && info.dli_fname) {
		snprintf(path, path_size, "%s",
			 realpath(info.dli_fname, resolved) ? resolved : info.dli_fname);
		library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
		if (library) {
			config = dlsym(library, "openblas_get_config");
			dlclose(library);
		}
	}
	if (config && strstr(path, "openblas")) {
		snprintf(out, size, "%s", reinterpret_cast<config_fn>(config)());
		return true;
	}
	if (strstr(path, "openblas") || strstr(path, "blis") || strstr(path, "mkl")) {
		snprintf(out, size,
			 strstr(path, "openblas") ? "OpenBLAS"
			 : strstr(path, "mkl")	  ? "MKL"
						  : "BLIS");
		return true;
	}
	if (!gemm || strstr(path, "torch")) {
		snprintf(out, size, "inside libtorch");
		return true;
	}
	snprintf(out, size, strstr(path, "atlas") ? "ATLAS" : "reference BLAS");
	return false;
}

int tc_gpu_count(void)
{
	int n = 0;

	plain("gpu_count", nullptr, [&] {
		if (c10::impl::hasDeviceGuardImpl(c10::DeviceType::CUDA))
			n = c10::impl::getDeviceGuardImpl(c10::DeviceType::CUDA)->deviceCount();
		return 0;
	});
	return n;
}
