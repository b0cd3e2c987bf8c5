/* SPDX-License-Identifier: Apache-2.0 */
/* Layers whose forward and backward are our own: products by oneDNN (gemm.hpp), everything between them by our kernels
 * (kernels.h), gradients of parameters straight into their flat buffers. libtorch's tape joins them: each is a node that returns the
 * gradient of its activations and has already put away those of its parameters.
 *
 * A node keeps plain pointers to parameters (tc_param): they outlive the tape, which dies with the step's scope. */
#include <cmath>
#include <cstring>
#include <stdexcept>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include "base/mix.h"
#include "worker/torch/composed.hpp"
#include "worker/torch/gemm.hpp"
#include "worker/torch/inner.hpp"
#include "worker/torch/kernels.h"

using at::Tensor;
using torch::autograd::Node;
using torch::autograd::variable_list;

/* ---- small helpers ---- */

static void want(bool ok, const char *what)
{
	if (!ok)
		throw std::runtime_error(what);
}

static bool is_bf16(const Tensor &t)
{
	return t.scalar_type() == at::kBFloat16;
}

static rt_elem elem_of(const Tensor &t)
{
	return is_bf16(t) ? RT_ELEM_BF16 : RT_ELEM_F32;
}

static at::TensorOptions type_of(bool bf16)
{
	return at::TensorOptions().dtype(bf16 ? at::kBFloat16 : at::kFloat);
}

static Tensor room(bool bf16, int64_t rows, int64_t cols)
{
	return at::empty({ rows, cols }, type_of(bf16));
}

static Tensor scratch(size_t floats)
{
	return at::empty({ (int64_t)floats }, type_of(false));
}

static float *floats(const Tensor &t)
{
	return t.defined() ? t.data_ptr<float>() : nullptr;
}

static const void *bytes(const Tensor &t)
{
	return t.defined() ? t.data_ptr() : nullptr;
}

/* A new draw: the n-th of a generator depends on its seed and n. */
static rt_drop draw(tc_rng *r, double p)
{
	want(p >= 0 && p <= 1, "the probability must be between 0 and 1");
	if (p == 0)
		return { 0, 0 };
	want(r != nullptr, "the generator is missing");
	return { (float)p, rt_mix64(r->key + r->next++ * RT_MIX_STEP) };
}

/* Where a parameter's gradient goes; *ret_add: it is added to what is there. NULL: it has none. */
static float *sink(tc_param *p, bool *ret_add)
{
	*ret_add = false;
	if (!p || !p->grad.defined())
		return nullptr;
	want(!p->table, "a table of embeddings is no layer's parameter");
	*ret_add = !p->fresh;
	p->fresh = false;
	return p->grad.data_ptr<float>();
}

/* ---- linear layers, side by side ---- */

struct side {
	Tensor w; /* as products read it */
	tc_param *weight, *bias;
	const float *b;
	int64_t out;
};

struct sides {
	std::vector<side> list;
	int64_t in, out; /* out: of all together */
	bool bf16;
	bool one; /* weights, biases and gradients lie behind one another: one product does for all */

	sides(const tc_affine *a, size_t n) : in(0), out(0), bf16(false), one(true)
	{
		want(n >= 1 && n <= TC_SIDE_MAX, "one to three layers go side by side");
		for (size_t i = 0; i < n; i++) {
			side d;

			want(a[i].w != nullptr, "a weight is missing");
			d.weight = a[i].w->param;
			d.w = d.weight && d.weight->low.defined() ? d.weight->low : a[i].w->t;
			d.bias = a[i].b ? a[i].b->param : nullptr;
			d.b = a[i].b ? a[i].b->t.data_ptr<float>() : nullptr;
			d.out = d.w.size(0);
			want(d.w.dim() == 2 && d.w.is_contiguous(), "a weight must be a contiguous matrix");
			want(i == 0 || d.w.size(1) == in, "layers side by side must have one width");
			want(!a[i].b || a[i].b->t.numel() == d.out,
			     "a bias has another length than its weight");
			bf16 = is_bf16(d.w);
			in = d.w.size(1);
			out += d.out;
			list.push_back(d);
		}
		for (size_t i = 1; i < n; i++)
			one = one && follows(list[i - 1], list[i]);
	}

	static bool follows(const side &a, const side &b)
	{
		const char *end = (const char *)a.w.data_ptr() + a.w.nbytes();
		const bool grads = a.weight && a.weight->grad.defined();

		if (end != b.w.data_ptr() || (a.b ? a.b + a.out != b.b : b.b != nullptr))
			return false;
		return !grads ||
		       (a.weight->grad.data_ptr<float>() + a.w.numel() == b.weight->grad.data_ptr<float>() &&
			(!a.bias ||
			 a.bias->grad.data_ptr<float>() + a.out == b.bias->grad.data_ptr<float>()));
	}
};

static Tensor forward_sides(const sides &p, const Tensor &x)
{
	const int64_t rows = x.size(0);
	Tensor y = room(p.bf16, rows, p.out);
	char *at = (char *)y.data_ptr();

	for (size_t i = 0; i < (p.one ? 1 : p.list.size()); i++) {
		const side &d = p.list[i];
		const int64_t out = p.one ? p.out : d.out;

		tc_gemm_run({ p.bf16, p.bf16, false, true, false, rows, out, p.in, x.data_ptr(),
			      d.w.data_ptr(), at, p.in, p.in, p.out, d.b });
		at += (size_t)out * y.element_size();
	}
	return y;
}

/* From the gradient of the output: those of weights (and biases, unless they have been summed already) are put away, that of x
 * is returned. */
static Tensor backward_sides(const sides &p, const Tensor &x, const Tensor &dy, bool biases)
{
	const int64_t rows = x.size(0);
	const char *at = (const char *)dy.data_ptr();
	Tensor dx = room(p.bf16, rows, p.in);

	for (size_t i = 0; i < (p.one ? 1 : p.list.size()); i++) {
		const side &d = p.list[i];
		const int64_t out = p.one ? p.out : d.out;
		bool add, same = true;
		float *g;

		tc_gemm_run({ p.bf16, p.bf16, false, false, i > 0, rows, p.in, out, at, d.w.data_ptr(),
			      dx.data_ptr(), p.out, p.in, p.in, nullptr });
		g = sink(d.weight, &add);
		for (size_t k = 1; p.one && k < p.list.size(); k++) {
			bool other;

			sink(p.list[k].weight, &other);
			same = same && other == add;
		}
		want(same, "layers side by side gather gradients together");
		if (g)
			tc_gemm_run({ p.bf16, false, true, false, add, out, p.in, rows, at, x.data_ptr(), g,
				      p.out, p.in, p.in, nullptr });
		g = biases && d.b ? sink(d.bias, &add) : nullptr;
		for (size_t k = 1; p.one && biases && k < p.list.size(); k++) {
			bool other;

			sink(p.list[k].bias, &other);
		}
		if (g)
			rt_kernels_get()->column_sum(elem_of(dy), g, at, p.out, rows, out, add);
		at += (size_t)out * dy.element_size();
	}
	return dx;
}

/* ---- nodes ---- */

static bool wants_grad(std::initializer_list<Tensor> in)
{
	for (const Tensor &t : in) {
		if (t.defined() && t.requires_grad())
			return at::GradMode::is_enabled();
	}
	return false;
}

static bool any_trained(const sides &p)
{
	for (const side &d : p.list) {
		if (d.weight && d.weight->grad.defined())
			return at::GradMode::is_enabled();
	}
	return false;
}

/* Ties the outputs (undefined: none of that place) to a new node: backward calls its apply with their gradients (undefined: 0), which returns those of `in`, in
 * this order. Parameters are not among them. */
template <class N>
static void tie(std::shared_ptr<N> node, std::initializer_list<Tensor> in, std::initializer_list<Tensor> out)
{
	torch::autograd::edge_list edges;

	for (const Tensor &t : in)
		edges.push_back(t.defined() ? torch::autograd::impl::gradient_edge(t)
					    : torch::autograd::Edge());
	node->set_next_edges(std::move(edges));
	for (Tensor t : out)
		torch::autograd::set_history(t, node);
}

template <class N, class... A> static std::shared_ptr<N> new_node(const A &...of)
{
	return std::shared_ptr<N>(new N(of...), torch::autograd::deleteNode);
}

/* The gradient of the k-th output, contiguous; undefined when nothing depends on it. */
static Tensor take(variable_list &grads, size_t k)
{
	return grads[k].defined() ? grads[k].contiguous() : grads[k];
}

/* x as products read it. */
static Tensor lowered(const Tensor &x, bool bf16)
{
	want(x.dim() == 2, "x must be (N, width)");
	return x.to(bf16 ? at::kBFloat16 : at::kFloat).contiguous();
}

struct project_node : Node {
	sides layers;
	Tensor x;

	project_node(const sides &p) : layers(p)
	{
	}
	variable_list apply(variable_list &&grads) override
	{
		const Tensor dy = take(grads, 0);

		return { dy.defined() ? backward_sides(layers, x, dy, true) : Tensor() };
	}
	void release_variables() override
	{
		x.reset();
	}
};

/* A parameter is no input of a node, so a chain whose activations have no gradient yet needs another reason to be recorded. */
static Tensor recorded(const Tensor &x, const sides &p)
{
	if (x.requires_grad() || !any_trained(p))
		return x;
	return x.detach().set_requires_grad(true); /* a leaf that nobody reads */
}

struct tc_tensor *tc_project(struct tc_scope *s, struct tc_tensor *x, const struct tc_affine *a, size_t n)
{
	return pure(s, "project", { x }, [&] {
		if (tc_is_composed(x->t))
			return tc_composed_project(x->t, a, n);
		const sides p(a, n);
		const Tensor in = recorded(lowered(x->t, p.bf16), p);
		Tensor y;

		want(in.size(1) == p.in, "x has another width than the weight");
		{
			const at::NoGradGuard quiet;

			y = forward_sides(p, in);
		}
		if (wants_grad({ in })) {
			std::shared_ptr<project_node> node = new_node<project_node>(p);

			node->x = in.detach();
			tie(node, { in }, { y });
		}
		return y;
	});
}

struct project_act_node : Node {
	sides layers;
	Tensor x, before; /* before: what the activation was given */
	tc_act act;

	project_act_node(const sides &p) : layers(p)
	{
	}
	variable_list apply(variable_list &&grads) override
	{
		const Tensor dy = take(grads, 0);
		Tensor d;
		bool add;
		float *bias;

		if (!dy.defined())
			return { Tensor() };
		d = at::empty_like(before);
		bias = sink(layers.list[0].bias, &add);
		rt_kernels_get()->act_backward(elem_of(d), act, d.data_ptr(), dy.data_ptr(),
					       before.data_ptr(), d.size(0), d.size(1), bias, add);
		return { backward_sides(layers, x, d, false) };
	}
	void release_variables() override
	{
		x.reset();
		before.reset();
	}
};

struct tc_tensor *tc_project_act(struct tc_scope *s, struct tc_tensor *x, const struct tc_affine *a,
				 enum tc_act act)
{
	return pure(s, "project_act", { x }, [&] {
		if (tc_is_composed(x->t))
			return tc_composed_act(tc_composed_project(x->t, a, 1), act);
		const sides p(a, 1);
		const Tensor in = recorded(lowered(x->t, p.bf16), p);
		const bool record = wants_grad({ in });
		Tensor before, y;

		want(in.size(1) == p.in, "x has another width than the weight");
		{
			const at::NoGradGuard quiet;

			before = forward_sides(p, in);
			y = record ? at::empty_like(before) : before;
			rt_kernels_get()->act(elem_of(y), act, y.data_ptr(), before.data_ptr(), y.numel());
		}
		if (record) {
			std::shared_ptr<project_act_node> node = new_node<project_act_node>(p);

			node->x = in.detach();
			node->before = before;
			node->act = act;
			tie(node, { in }, { y });
		}
		return y;
	});
}

/* ---- norms ---- */

struct norm_params {
	tc_param *gamma, *beta;
	const float *gamma_at, *beta_at;
	float eps;

	norm_params(const tc_affine *a, double e)
	    : gamma(nullptr), beta(nullptr), gamma_at(nullptr), beta_at(nullptr), eps((float)e)
	{
		if (a && a->w) {
			gamma = a->w->param;
			gamma_at = a->w->t.data_ptr<float>();
		}
		if (a && a->b) {
			beta = a->b->param;
			beta_at = a->b->t.data_ptr<float>();
		}
	}
	bool trained() const
	{
		return at::GradMode::is_enabled() &&
		       ((gamma && gamma->grad.defined()) || (beta && beta->grad.defined()));
	}
};

struct norm_node : Node {
	std::unique_ptr<sides> layers; /* the linear layer before it, or NULL */
	norm_params norm;
	Tensor x, h, stats;
	rt_drop drop;
	bool bf16, need_residual;

	norm_node(const norm_params &n) : norm(n)
	{
	}
	/* grads: of full and of low; returns those of x (with a layer) and of the residual */
	variable_list apply(variable_list &&grads) override
	{
		const Tensor full = take(grads, 0), low = take(grads, 1);
		const int64_t rows = h.size(0), cols = h.size(1);
		const int threads = tc_get_threads();
		const Tensor room_ = scratch(rt_kernels_norm_scratch(rows, cols, threads));
		Tensor dh, dz;
		bool add[3] = { false, false, false };
		rt_norm_backward n = {};

		if (!full.defined() && !low.defined())
			return layers ? variable_list{ Tensor(), Tensor() } : variable_list{ Tensor() };
		if (need_residual || !layers)
			dh = room(false, rows, cols);
		if (layers)
			dz = room(bf16, rows, cols);
		n.elem = bf16 ? RT_ELEM_BF16 : RT_ELEM_F32;
		n.rows = rows;
		n.cols = cols;
		n.dfull = floats(full);
		n.dlow = bytes(low);
		n.h = floats(h);
		n.stats = floats(stats);
		n.gamma = norm.gamma_at;
		n.drop = drop;
		n.dh = floats(dh);
		n.dz = dz.defined() ? dz.data_ptr() : nullptr;
		n.dgamma = sink(norm.gamma, &add[0]);
		n.dbeta = sink(norm.beta, &add[1]);
		n.dbias = layers ? sink(layers->list[0].bias, &add[2]) : nullptr;
		n.add_dgamma = add[0];
		n.add_dbeta = add[1];
		n.add_dbias = add[2];
		n.scratch = floats(room_);
		rt_kernels_get()->norm_backward(&n);
		if (!layers)
			return { dh };
		return { backward_sides(*layers, x, dz, false), dh };
	}
	void release_variables() override
	{
		x.reset();
		h.reset();
		stats.reset();
	}
};

/* The one place that runs the norm. z: (rows, cols) or undefined. In fp32 *low stays undefined: full serves. */
static void run_norm(const norm_params &p, bool bf16, const Tensor &z, const Tensor &residual, rt_drop drop,
		     bool record, Tensor *full, Tensor *low, Tensor *h, Tensor *stats)
{
	const Tensor &like = z.defined() ? z : residual;
	const int64_t rows = like.size(0), cols = like.size(1);
	rt_norm_forward n = {};

	want(cols > 0 && (!residual.defined() || residual.size(1) == cols), "the residual has another width");
	*full = room(false, rows, cols);
	if (bf16)
		*low = room(true, rows, cols);
	if (record) {
		*h = z.defined() ? room(false, rows, cols) : residual.detach();
		*stats = room(false, rows, 2);
	}
	n.elem = bf16 ? RT_ELEM_BF16 : RT_ELEM_F32;
	n.rows = rows;
	n.cols = cols;
	n.z = bytes(z);
	n.residual = floats(residual);
	n.gamma = p.gamma_at;
	n.beta = p.beta_at;
	n.eps = p.eps;
	n.drop = drop;
	n.h = z.defined() ? floats(*h) : nullptr;
	n.stats = floats(*stats);
	n.full = floats(*full);
	n.low = low->defined() ? low->data_ptr() : nullptr;
	rt_kernels_get()->norm(&n);
}

/* A second result of an op: of the same scope. */
static tc_tensor *second(tc_scope *s, tc_tensor *first, const Tensor &low)
{
	if (!first || !low.defined())
		return first;
	return pure(s, "low", {}, [&] { return low; });
}

struct tc_tensor *tc_project_norm(struct tc_scope *s, struct tc_tensor *x, const struct tc_affine *a,
				  struct tc_rng *r, double p, struct tc_tensor *residual,
				  const struct tc_affine *norm, double eps, struct tc_tensor **ret_low)
{
	Tensor low;
	tc_tensor *out = pure(s, "project_norm", { x, residual }, [&] {
		if (tc_is_composed(x->t)) {
			const Tensor z = tc_composed_project(x->t, a, 1);
			const Tensor h = residual->t + tc_composed_dropout(z, r, p).to(at::kFloat);
			const Tensor y = tc_composed_norm(h, norm, eps);

			if (is_bf16(z))
				low = y.to(at::kBFloat16);
			return y;
		}
		const sides l(a, 1);
		const norm_params n(norm, eps);
		const Tensor in = recorded(lowered(x->t, l.bf16), l), rest = residual->t.contiguous();
		const bool record = wants_grad({ in, rest });
		const rt_drop drop = draw(r, p);
		Tensor full, h, stats;

		want(in.size(1) == l.in, "x has another width than the weight");
		want(rest.scalar_type() == at::kFloat && rest.dim() == 2 && rest.size(0) == in.size(0) &&
			     rest.size(1) == l.out,
		     "the residual must be fp32 (N, out)");
		{
			const at::NoGradGuard quiet;

			run_norm(n, l.bf16, forward_sides(l, in), rest, drop, record, &full, &low, &h,
				 &stats);
		}
		if (record) {
			std::shared_ptr<norm_node> node = new_node<norm_node>(n);

			node->layers.reset(new sides(l));
			node->x = in.detach();
			node->h = h;
			node->stats = stats;
			node->drop = drop;
			node->bf16 = l.bf16;
			node->need_residual = rest.requires_grad();
			tie(node, { in, rest }, { full, low });
		}
		return full;
	});

	*ret_low = second(s, out, low);
	return out;
}

struct tc_tensor *tc_norm(struct tc_scope *s, struct tc_tensor *x, const struct tc_affine *norm, double eps,
			  bool bf16, struct tc_tensor **ret_low)
{
	Tensor low;
	tc_tensor *out = pure(s, "norm", { x }, [&] {
		if (tc_is_composed(x->t)) {
			const Tensor y = tc_composed_norm(x->t, norm, eps);

			if (bf16)
				low = y.to(at::kBFloat16);
			return y;
		}
		const norm_params n(norm, eps);
		Tensor in = x->t.contiguous(), full, h, stats;

		want(in.scalar_type() == at::kFloat && in.dim() == 2, "x must be fp32 (N, width)");
		if (!in.requires_grad() && n.trained())
			in = in.detach().set_requires_grad(true);
		const bool record = wants_grad({ in });
		{
			const at::NoGradGuard quiet;

			run_norm(n, bf16, Tensor(), in, { 0, 0 }, record, &full, &low, &h, &stats);
		}
		if (record) {
			std::shared_ptr<norm_node> node = new_node<norm_node>(n);

			node->h = h;
			node->stats = stats;
			node->drop = { 0, 0 };
			node->bf16 = bf16;
			node->need_residual = true;
			tie(node, { in }, { full, low });
		}
		return full;
	});

	*ret_low = second(s, out, low);
	return out;
}

/* ---- gates ---- */

struct gate_node : Node {
	Tensor x;
	tc_act act;

	variable_list apply(variable_list &&grads) override
	{
		const Tensor dy = take(grads, 0);
		Tensor dx;

		if (!dy.defined())
			return { Tensor() };
		dx = at::empty_like(x);
		rt_kernels_get()->gate_backward(elem_of(x), act, dx.data_ptr(), dy.data_ptr(), x.data_ptr(),
						x.size(0), x.size(1) / 2);
		return { dx };
	}
	void release_variables() override
	{
		x.reset();
	}
};

struct tc_tensor *tc_gate(struct tc_scope *s, struct tc_tensor *x, enum tc_act act)
{
	return pure(s, "gate", { x }, [&] {
		if (tc_is_composed(x->t)) {
			const int64_t half = x->t.size(1) / 2;

			return tc_composed_act(x->t.narrow(1, 0, half), act) * x->t.narrow(1, half, half);
		}
		const Tensor in = x->t.contiguous();
		Tensor y;

		want(in.dim() == 2 && in.size(1) % 2 == 0, "x must be (N, 2 I)");
		{
			const at::NoGradGuard quiet;

			y = room(is_bf16(in), in.size(0), in.size(1) / 2);
			rt_kernels_get()->gate(elem_of(in), act, y.data_ptr(), in.data_ptr(), y.size(0),
					       y.size(1));
		}
		if (wants_grad({ in })) {
			std::shared_ptr<gate_node> node = new_node<gate_node>();

			node->x = in.detach();
			node->act = act;
			tie(node, { in }, { y });
		}
		return y;
	});
}

/* ---- rotary positions ---- */

struct rotate_node : Node {
	Tensor cos, sin;
	int64_t heads;

	variable_list apply(variable_list &&grads) override
	{
		const Tensor dy = take(grads, 0);
		Tensor dx;

		if (!dy.defined())
			return { Tensor() };
		dx = at::empty_like(dy);
		rt_kernels_get()->rotate(elem_of(dy), dx.data_ptr(), dy.data_ptr(), floats(cos), floats(sin),
					 dy.size(0), heads, 2 * cos.size(1), true);
		return { dx };
	}
	void release_variables() override
	{
		cos.reset();
		sin.reset();
	}
};

struct tc_tensor *tc_rotate(struct tc_scope *s, struct tc_tensor *x, int64_t heads, struct tc_tensor *cos,
			    struct tc_tensor *sin)
{
	return pure(s, "rotate", { x, cos, sin }, [&] {
		if (tc_is_composed(x->t))
			return tc_composed_rotate(x->t, heads, cos->t, sin->t);
		const Tensor in = x->t.contiguous(), c = cos->t.contiguous(), d = sin->t.contiguous();
		Tensor y;

		want(in.dim() == 2 && c.dim() == 2 && c.sizes() == d.sizes() && c.size(0) == in.size(0) &&
			     in.size(1) == 3 * heads * 2 * c.size(1) && c.scalar_type() == at::kFloat &&
			     d.scalar_type() == at::kFloat,
		     "x must be (N, 3 * heads * size), cos and sin fp32 (N, size / 2)");
		{
			const at::NoGradGuard quiet;

			y = at::empty_like(in);
			rt_kernels_get()->rotate(elem_of(in), y.data_ptr(), in.data_ptr(), floats(c),
						 floats(d), in.size(0), heads, 2 * c.size(1), false);
		}
		if (wants_grad({ in })) {
			std::shared_ptr<rotate_node> node = new_node<rotate_node>();

			node->cos = c;
			node->sin = d;
			node->heads = heads;
			tie(node, { in }, { y });
		}
		return y;
	});
}

/* ---- dropout ---- */

struct dropout_node : Node {
	rt_drop drop;

	variable_list apply(variable_list &&grads) override
	{
		const Tensor dy = take(grads, 0);
		Tensor dx;

		if (!dy.defined())
			return { Tensor() };
		dx = at::empty_like(dy);
		rt_kernels_get()->dropout(elem_of(dy), dx.data_ptr(), dy.data_ptr(), 1, dy.numel(), drop);
		return { dx };
	}
};

struct tc_tensor *tc_dropout(struct tc_scope *s, struct tc_rng *r, struct tc_tensor *x, double p)
{
	return pure(s, "dropout", { x }, [&] {
		if (tc_is_composed(x->t))
			return tc_composed_dropout(x->t, r, p);
		const Tensor in = x->t.contiguous();
		Tensor y;

		want(r != nullptr, "the generator is missing");
		want(is_bf16(in) || in.scalar_type() == at::kFloat, "dropout is for fp32 and bf16");
		if (p == 0)
			return x->t;
		const rt_drop drop = draw(r, p);
		{
			const at::NoGradGuard quiet;

			y = at::empty_like(in);
			rt_kernels_get()->dropout(elem_of(in), y.data_ptr(), in.data_ptr(), 1, in.numel(),
						  drop);
		}
		if (wants_grad({ in })) {
			std::shared_ptr<dropout_node> node = new_node<dropout_node>();

			node->drop = drop;
			tie(node, { in }, { y });
		}
		return y;
	});
}

/* ---- embeddings ---- */

/* A new step: the rows of the step before go back to zero. */
static float *table_sink(tc_param *p)
{
	const int64_t cols = p->grad.size(1);
	float *g = p->grad.data_ptr<float>();

	if (!p->fresh)
		return g;
	p->fresh = false;
	for (int64_t row : p->rows) {
		memset(g + row * cols, 0, (size_t)cols * sizeof *g);
		p->written[(size_t)row] = 0;
	}
	p->rows.clear();
	return g;
}

struct embed_node : Node {
	size_t n;
	tc_param *table[TC_TABLES_MAX];
	Tensor ids[TC_TABLES_MAX];
	int64_t skip[TC_TABLES_MAX];

	variable_list apply(variable_list &&grads) override
	{
		const Tensor dy = take(grads, 0);

		for (size_t k = 0; dy.defined() && k < n; k++) {
			const int64_t *which = ids[k].defined() ? ids[k].data_ptr<int64_t>() : nullptr;
			bool add;
			float *g;

			if (!table[k] || !table[k]->grad.defined())
				continue;
			if (!table[k]->table) {
				g = sink(table[k], &add);
				if (!add)
					table[k]->grad.zero_();
			} else {
				g = table_sink(table[k]);
				for (int64_t i = 0; i < (which ? dy.size(0) : 1); i++) {
					const int64_t row = which ? which[i] : 0;

					if (row == skip[k] || table[k]->written[(size_t)row])
						continue;
					table[k]->written[(size_t)row] = 1;
					table[k]->rows.push_back(row);
				}
			}
			rt_kernels_get()->embed_backward(g, which, floats(dy), dy.size(0), dy.size(1),
							 skip[k]);
		}
		return { Tensor() };
	}
	void release_variables() override
	{
		for (Tensor &t : ids)
			t.reset();
	}
};

struct tc_tensor *tc_embed(struct tc_scope *s, size_t n, struct tc_tensor *const *tables,
			   struct tc_tensor *const *ids, const int64_t *skip, int64_t rows)
{
	return pure(s, "embed", {}, [&] {
		rt_embed e = {};
		bool record = false;
		std::shared_ptr<embed_node> node = new_node<embed_node>();
		Tensor y;

		want(n >= 1 && n <= TC_TABLES_MAX && tables[0], "one to three tables are added up");
		if (tc_is_composed(tables[0]->t))
			return tc_composed_embed(n, tables, ids, skip, rows);
		node->n = n;
		e.rows = rows;
		e.cols = tables[0]->t.size(1);
		e.tables = n;
		for (size_t k = 0; k < n; k++) {
			want(tables[k] && tables[k]->t.dim() == 2 && tables[k]->t.size(1) == e.cols &&
				     tables[k]->t.scalar_type() == at::kFloat && tables[k]->t.is_contiguous(),
			     "tables must be fp32 (V, H) of one width");
			e.table[k] = floats(tables[k]->t);
			if (ids[k]) {
				const Tensor &which = ids[k]->t;

				want(which.scalar_type() == at::kLong && which.is_contiguous() &&
					     which.numel() == rows,
				     "ids must be I64 (N)");
				for (int64_t i = 0; i < rows; i++) {
					const int64_t id = which.data_ptr<int64_t>()[i];

					want(id >= 0 && id < tables[k]->t.size(0),
					     "an id is outside its table");
				}
				node->ids[k] = which;
				e.ids[k] = which.data_ptr<int64_t>();
			}
			node->table[k] = tables[k]->param;
			node->skip[k] = skip[k];
			record = record || (tables[k]->param && tables[k]->param->grad.defined());
		}
		{
			const at::NoGradGuard quiet;

			y = room(false, rows, e.cols);
			rt_kernels_get()->embed(&e, floats(y));
		}
		if (record && at::GradMode::is_enabled())
			tie(node, { Tensor() }, { y });
		return y;
	});
}

/* ---- attention ---- */

struct attend_node : Node {
	Tensor query, key, value, bias, lse;
	std::vector<int64_t> starts;
	rt_attention how; /* without pointers to tensors */
	bool need_bias;

	void fill(rt_attention *a) const
	{
		const int64_t width = how.heads * how.size;
		const bool all = !key.defined();
		const char *q = (const char *)query.data_ptr();
		const char *kv = all ? q : (const char *)key.data_ptr();
		const int64_t e = (int64_t)query.element_size();

		*a = how;
		a->elem = elem_of(query);
		a->starts = starts.data();
		a->q = q;
		a->k = all ? q + width * e : kv;
		a->v = all		 ? q + 2 * width * e
		       : value.defined() ? (const char *)value.data_ptr()
					 : kv + width * e;
		a->ldq = query.size(1);
		a->ldk = all ? query.size(1) : key.size(1);
		a->ldv = all ? query.size(1) : value.defined() ? value.size(1) : key.size(1);
		a->bias = floats(bias);
		a->lse = floats(lse);
	}
	int64_t longest() const
	{
		int64_t n = 1;

		for (size_t t = 1; t < starts.size(); t++)
			n = std::max(n, starts[t] - starts[t - 1]);
		return n;
	}
	variable_list apply(variable_list &&grads) override
	{
		const Tensor dy = take(grads, 0);
		const Tensor room_ =
			scratch(rt_kernels_attention_scratch(longest(), how.size, true, tc_get_threads()));
		const bool all = !key.defined();
		const int64_t width = how.heads * how.size, e = (int64_t)query.element_size();
		Tensor dq, dk, dv, dbias;
		rt_attention a;

		if (!dy.defined())
			return { Tensor(), Tensor(), Tensor(), Tensor() };
		fill(&a);
		dq = at::empty_like(query);
		dk = all ? dq : at::empty_like(key);
		dv = all ? dq : value.defined() ? at::empty_like(value) : dk;
		if (need_bias)
			dbias = at::zeros_like(bias);
		a.d_out = dy.data_ptr();
		a.dq = dq.data_ptr();
		a.dk = all ? (char *)dq.data_ptr() + width * e : dk.data_ptr();
		a.dv = all		 ? (char *)dq.data_ptr() + 2 * width * e
		       : value.defined() ? dv.data_ptr()
					 : (char *)dk.data_ptr() + width * e;
		a.dbias = floats(dbias);
		a.scratch = floats(room_);
		rt_kernels_get()->attention_backward(&a);
		return { dq, all ? Tensor() : dk, value.defined() ? dv : Tensor(), dbias };
	}
	void release_variables() override
	{
		query.reset();
		key.reset();
		value.reset();
		bias.reset();
		lse.reset();
	}
};

static void check_attention(const tc_attention *a, const attend_node &n)
{
	const int64_t tokens = a->starts[a->texts], queries = a->first_only ? a->texts : tokens;
	const int64_t width = n.how.heads * n.how.size;
	const int64_t parts = 1 + (n.key.defined() ? 0 : 2);

	want(n.query.dim() == 2 && n.query.size(0) == queries && n.query.size(1) == parts * width &&
		     n.how.size > 0,
	     "query has another shape than the texts and heads ask for");
	want(!n.key.defined() || (n.key.dim() == 2 && n.key.size(0) == tokens &&
				  n.key.scalar_type() == n.query.scalar_type() &&
				  n.key.size(1) == (n.value.defined() ? 1 : 2) * width),
	     "key has another shape than the texts and heads ask for");
	want(!n.value.defined() ||
		     (n.value.dim() == 2 && n.value.size(0) == tokens && n.value.size(1) == width &&
		      n.value.scalar_type() == n.query.scalar_type()),
	     "value has another shape than the texts and heads ask for");
	want(!a->first_only || n.key.defined(), "the first tokens' queries must be a tensor of their own");
	want(!n.bias.defined() || (n.bias.dim() == 3 && n.bias.size(0) == n.how.heads &&
				   n.bias.size(1) == n.bias.size(2) && n.bias.size(1) >= n.longest() &&
				   n.bias.scalar_type() == at::kFloat),
	     "bias must be fp32 (heads, W, W) with W at least the longest text");
}

struct tc_tensor *tc_attend(struct tc_scope *s, const struct tc_attention *a)
{
	return pure(s, "attend", { a->query }, [&] {
		if (a->query && tc_is_composed(a->query->t))
			return tc_composed_attend(a);
		std::shared_ptr<attend_node> node = new_node<attend_node>();
		const Tensor query = a->query->t.contiguous(),
			     key = a->key ? a->key->t.contiguous() : Tensor();
		const Tensor value = a->value ? a->value->t.contiguous() : Tensor();
		const Tensor bias = a->bias ? a->bias->t.contiguous() : Tensor();
		const bool record = wants_grad({ query, key, value, bias });
		rt_attention run;
		Tensor y, room_;

		want(a->heads > 0 && a->texts > 0, "attention needs heads and texts");
		node->query = query.detach();
		node->key = key.defined() ? key.detach() : key;
		node->value = value.defined() ? value.detach() : value;
		node->bias = bias.defined() ? bias.detach() : bias;
		node->need_bias = bias.defined() && bias.requires_grad();
		node->starts.assign(a->starts, a->starts + a->texts + 1);
		node->how = {};
		node->how.texts = a->texts;
		node->how.heads = a->heads;
		node->how.size = query.size(1) / (key.defined() ? 1 : 3) / a->heads;
		node->how.first_only = a->first_only;
		node->how.scale = (float)a->scale;
		node->how.bias_width = bias.defined() ? bias.size(1) : 0;
		node->how.window = a->window;
		node->how.drop = draw(a->rng, a->p);
		check_attention(a, *node);
		{
			const at::NoGradGuard quiet;

			y = room(is_bf16(query), query.size(0), node->how.heads * node->how.size);
			if (record)
				node->lse = room(false, query.size(0), a->heads);
			room_ = scratch(rt_kernels_attention_scratch(node->longest(), node->how.size, false,
								     tc_get_threads()));
			node->fill(&run);
			run.out = y.data_ptr();
			run.scratch = floats(room_);
			rt_kernels_get()->attention(&run);
		}
		if (record)
			tie(node, { query, key, value, bias }, { y });
		return y;
	});
}
