/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mix.h"
#include "worker/torch/composed.hpp"

#include <cmath>
#include <cstdlib>
#include <mutex>
#include <stdexcept>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tanh.h>

using at::Tensor;

#define LOWEST -3.4028234663852886e38f /* not -inf: a row of padding would have no probability at all */

bool tc_is_composed(const Tensor &t)
{
	return !t.is_cpu() || getenv("RT_TORCH_COMPOSED") != nullptr;
}

/* A parameter as an input of plain ops, whose backward adds to its gradient. */
static Tensor leaf_of(tc_tensor *t)
{
	if (t->param && at::GradMode::is_enabled())
		tc_param_gathers(t->param);
	return t->t;
}

static at::ScalarType type_of(const tc_affine &a)
{
	const bool low = a.w->t.scalar_type() == at::kBFloat16 || (a.w->param && a.w->param->low.defined());

	return low ? at::kBFloat16 : at::kFloat;
}

Tensor tc_composed_project(const Tensor &x, const tc_affine *a, size_t n)
{
	std::vector<Tensor> parts;

	for (size_t i = 0; i < n; i++) {
		const at::ScalarType type = type_of(a[i]);

		parts.push_back(at::linear(x.to(type), leaf_of(a[i].w).to(type),
					   a[i].b ? leaf_of(a[i].b).to(type) : Tensor()));
	}
	return n == 1 ? parts[0] : at::cat(parts, 1);
}

Tensor tc_composed_act(const Tensor &x, enum tc_act act)
{
	switch (act) {
	case TC_ACT_GELU:
		return at::gelu(x, "none");
	case TC_ACT_GELU_TANH:
		return at::gelu(x, "tanh");
	case TC_ACT_RELU:
		return at::relu(x);
	case TC_ACT_SILU:
		return at::silu(x);
	case TC_ACT_TANH:
		return at::tanh(x);
	}
	throw std::runtime_error("unknown activation");
}

Tensor tc_composed_norm(const Tensor &x, const tc_affine *norm, double eps)
{
	return at::layer_norm(x, { x.size(-1) }, norm && norm->w ? leaf_of(norm->w) : Tensor(),
			      norm && norm->b ? leaf_of(norm->b) : Tensor(), eps);
}

Tensor tc_composed_rotate(const Tensor &x, int64_t heads, const Tensor &cos, const Tensor &sin)
{
	const int64_t n = x.size(0), half = cos.size(1);
	const Tensor all = x.to(at::kFloat).view({ n, 3, heads, 2, half }), turned = all.narrow(1, 0, 2);
	const Tensor a = turned.select(3, 0), b = turned.select(3, 1); /* (n, 2, heads, half) */
	const Tensor c = cos.view({ n, 1, 1, half }), s = sin.view({ n, 1, 1, half });
	const Tensor both = at::stack({ a * c - b * s, b * c + a * s }, 3);

	return at::cat({ both, all.narrow(1, 2, 1) }, 1)
		.view({ n, 3 * heads * 2 * half })
		.to(x.scalar_type());
}

/* The draw depends on the generator's key and count, as in the kernels, though the numbers are libtorch's. */
Tensor tc_composed_dropout(const Tensor &x, tc_rng *r, double p)
{
	static std::mutex one_at_a_time; /* a GPU's generator is the library's only one */
	Tensor kept;

	if (!(p >= 0 && p <= 1))
		throw std::runtime_error("the probability must be between 0 and 1");
	if (p == 0)
		return x;
	if (!r)
		throw std::runtime_error("the generator is missing");
	const uint64_t seed = r->key ^ (++r->next * RT_MIX_STEP);

	kept = at::empty(x.sizes(), x.options().dtype(at::kFloat));
	if (x.is_cpu()) {
		kept.bernoulli_(1 - p, at::detail::createCPUGenerator(seed));
	} else {
		const std::lock_guard<std::mutex> hold(one_at_a_time);
		at::Generator gen = at::globalContext().defaultGenerator(x.device());

		gen.set_current_seed(seed);
		kept.bernoulli_(1 - p, gen);
	}
	return p == 1 ? x * 0 : x * kept.to(x.scalar_type()) * (1 / (1 - p));
}

Tensor tc_composed_embed(size_t n, tc_tensor *const *tables, tc_tensor *const *ids, const int64_t *skip,
			 int64_t rows)
{
	Tensor sum;

	for (size_t k = 0; k < n; k++) {
		const Tensor table = leaf_of(tables[k]);
		const Tensor part = ids[k] ? at::embedding(table, ids[k]->t, skip[k])
					   : table.narrow(0, 0, 1).expand({ rows, table.size(1) });

		sum = k ? sum + part : part;
	}
	return sum;
}

/* Where each text's tokens are when all texts have the longest one's width, and back; padding repeats the text's first token. */
struct places {
	std::vector<int64_t> padded, packed;
	std::vector<float> mask; /* (texts, width): 0, or very low on padding */
	int64_t width;

	places(const tc_attention *a) : width(1)
	{
		for (int64_t t = 0; t < a->texts; t++)
			width = std::max(width, a->starts[t + 1] - a->starts[t]);
		for (int64_t t = 0; t < a->texts; t++) {
			const int64_t length = a->starts[t + 1] - a->starts[t];

			for (int64_t i = 0; i < width; i++) {
				padded.push_back(a->starts[t] + (i < length ? i : 0));
				mask.push_back(i < length ? 0 : LOWEST);
				if (i < length)
					packed.push_back(t * width + i);
			}
		}
	}
};

template <class T> static Tensor on(const at::Device &device, const std::vector<T> &v, at::ScalarType type)
{
	Tensor t = at::empty({ (int64_t)v.size() }, at::TensorOptions().dtype(type));

	memcpy(t.data_ptr(), v.data(), v.size() * sizeof(T));
	return t.to(device);
}

Tensor tc_composed_attend(const tc_attention *a)
{
	const Tensor query = a->query->t;
	const bool all = !a->key, both = a->key && !a->value;
	const int64_t width = query.size(1) / (all ? 3 : 1), heads = a->heads, size = width / heads;
	const Tensor kv = all ? query.narrow(1, width, 2 * width) : a->key->t;
	const Tensor key = all || both ? kv.narrow(1, 0, width) : kv;
	const Tensor value = all || both ? kv.narrow(1, width, width) : a->value->t;
	const places p(a);
	const Tensor padded = on(query.device(), p.padded, at::kLong),
		     packed = on(query.device(), p.packed, at::kLong);
	const int64_t queries = a->first_only ? 1 : p.width;
	const auto split = [&](const Tensor &x, int64_t n) {
		return x.view({ a->texts, n, heads, size }).transpose(1, 2); /* (texts, heads, n, size) */
	};
	Tensor q = all ? query.narrow(1, 0, width) : query, scores, y;

	q = split(a->first_only ? q.contiguous() : q.index_select(0, padded), queries);
	scores = at::matmul(q, split(key.index_select(0, padded), p.width).transpose(2, 3)).to(at::kFloat) *
		 a->scale;
	if (a->bias)
		scores = scores + a->bias->t.narrow(1, 0, queries).narrow(2, 0, p.width);
	scores = scores + on(query.device(), p.mask, at::kFloat).view({ a->texts, 1, 1, p.width });
	if (a->window >= 0) {
		const Tensor at_ =
			at::arange(p.width, at::TensorOptions().dtype(at::kLong).device(query.device()));
		const Tensor away = (at_.narrow(0, 0, queries).unsqueeze(1) - at_.unsqueeze(0)).abs();

		scores = scores.masked_fill(away.gt(a->window), LOWEST);
	}
	scores = tc_composed_dropout(at::softmax(scores, -1), a->rng, a->p).to(query.scalar_type());
	y = at::matmul(scores, split(value.index_select(0, padded), p.width));
	y = y.transpose(1, 2).reshape({ a->texts * queries, width });
	return a->first_only ? y : y.index_select(0, packed);
}
