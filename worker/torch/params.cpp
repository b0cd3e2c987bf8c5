/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters in flat buffers: one for the values, and for those that are trained one for the gradients, two for AdamW's moments
 * and one for the bfloat16 copies. Matrices come first, so that neighbours (query, key, value) are one matrix to a product. */
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include "worker/torch/composed.hpp"
#include "worker/torch/inner.hpp"
#include "worker/torch/kernels.h"

#define ALIGNED 32 /* elements: a cache line of either type */

struct tc_params {
	bool train, bf16;
	int64_t total; /* elements of a flat buffer, gaps included */
	at::Tensor values, grads, moment1, moment2, low;
	std::vector<tc_param> list;
	std::vector<tc_tensor *> tensors; /* borrowed from the scope */
};

static int64_t count_of(const tc_param_spec &p)
{
	int64_t n = 1;

	for (int i = 0; i < p.ndim; i++)
		n *= p.shape[i];
	return n;
}

static at::Tensor view_of(const at::Tensor &flat, int64_t offset, const tc_param_spec &p)
{
	return flat.narrow(0, offset, count_of(p)).view(at::IntArrayRef(p.shape, (size_t)p.ndim));
}

/* Zeros from the system, which gives memory to a page when something is written there: most rows of a table never move. */
static at::Tensor flat_of(int64_t n, at::ScalarType type, at::Device device)
{
	if (!device.is_cpu())
		return at::zeros({ n }, at::TensorOptions().dtype(type).device(device));

	void *room = calloc((size_t)n + ALIGNED, c10::elementSize(type)), *aligned;

	if (!room)
		throw std::bad_alloc();
	aligned = (void *)(((uintptr_t)room + 63) / 64 * 64);
	return at::from_blob(
		aligned, { n }, [room](void *) { free(room); }, at::TensorOptions().dtype(type));
}

/* Where each parameter begins: matrices first, in their order, then the others. */
static void lay_out(tc_params *p, const tc_param_spec *specs, size_t n, int64_t *ret_matrices)
{
	int64_t at = 0;

	for (int matrices = 1; matrices >= 0; matrices--) {
		for (size_t i = 0; i < n; i++) {
			if (specs[i].matrix != (matrices == 1))
				continue;
			p->list[i].offset = at;
			at += (count_of(specs[i]) + ALIGNED - 1) / ALIGNED * ALIGNED;
		}
		if (matrices)
			*ret_matrices = at;
	}
	p->total = at;
}

struct tc_params *tc_params_new(struct tc_scope *s, const struct tc_param_spec *specs, size_t n, int flags)
{
	tc_params *p = new (std::nothrow) tc_params();

	if (!p) {
		tc_fail(s, RT_NO_MEMORY, "no memory for the parameters");
		return nullptr;
	}
	const int rc = effect(s, "params", {}, nullptr, [&](rt_err *) {
		int64_t matrices = 0;

		p->train = flags & TC_PARAMS_TRAIN;
		p->bf16 = flags & TC_PARAMS_BF16;
		p->list.resize(n);
		p->tensors.resize(n);
		lay_out(p, specs, n, &matrices);
		/* what is only read has its matrices in bfloat16 alone */
		const int64_t skipped = p->bf16 && !p->train ? matrices : 0;

		p->values = flat_of(p->total - skipped, at::kFloat, s->device);
		if (p->bf16)
			p->low = flat_of(matrices, at::kBFloat16, s->device);
		if (p->train) {
			p->grads = flat_of(p->total, at::kFloat, s->device);
			p->moment1 = flat_of(p->total, at::kFloat, s->device);
			p->moment2 = flat_of(p->total, at::kFloat, s->device);
		}
		for (size_t i = 0; i < n; i++) {
			tc_param &q = p->list[i];
			at::Tensor value;

			if (specs[i].matrix && p->bf16)
				q.low = view_of(p->low, q.offset, specs[i]);
			value = specs[i].matrix && skipped ? q.low
							   : view_of(p->values, q.offset - skipped, specs[i]);
			q.fresh = true;
			q.decay = specs[i].decay;
			q.table = specs[i].table;
			if (p->train) {
				/* a leaf of its own, not a view: it shares the buffer's memory all the same */
				value = value.detach();
				q.grad = view_of(p->grads, q.offset, specs[i]);
				if (q.table) {
					q.written.resize((size_t)specs[i].shape[0]);
					q.moving.resize((size_t)specs[i].shape[0]);
				}
			}
			p->tensors[i] = new tc_tensor{ value, nullptr, nullptr, nullptr, &q };
			tc_link(s, p->tensors[i]);
		}
		return 0;
	});

	if (rc < 0) {
		tc_fail(s, RT_NO_MEMORY, "no memory for the parameters");
		delete p;
		return nullptr;
	}
	return p;
}

void tc_params_free(struct tc_params *p)
{
	delete p;
}

struct tc_tensor *tc_params_at(const struct tc_params *p, size_t i)
{
	return p->tensors[i];
}

/* Rows whose moments are not all zero: those that an update moves even without a gradient. */
static void find_moving(tc_param &q, const float *m, const float *v, int64_t cols)
{
	for (size_t r = 0; r < q.moving.size(); r++) {
		bool any = false;

		for (int64_t i = 0; i < cols && !any; i++)
			any = m[(int64_t)r * cols + i] != 0 || v[(int64_t)r * cols + i] != 0;
		q.moving[r] = any;
	}
}

int tc_params_ready(struct tc_scope *s, struct tc_params *p, struct rt_err *err)
{
	return effect(s, "params", {}, err, [&](rt_err *) {
		if (p->train && p->bf16 && !p->values.is_cpu())
			p->low.copy_(p->values.narrow(0, 0, p->low.numel()));
		else if (p->train && p->bf16)
			rt_kernels_get()->lower((uint16_t *)p->low.data_ptr(), p->values.data_ptr<float>(),
						p->low.numel());
		for (size_t i = 0; p->train && i < p->list.size(); i++) {
			tc_param &q = p->list[i];
			at::Tensor &t = p->tensors[i]->t;

			t.set_requires_grad(true);
			t.mutable_grad() = q.grad;
			q.table = q.table && !tc_is_composed(t);
			if (q.table)
				find_moving(q, p->moment1.data_ptr<float>() + q.offset,
					    p->moment2.data_ptr<float>() + q.offset, t.size(1));
		}
		return 0;
	});
}

void tc_params_begin(struct tc_params *p)
{
	for (tc_param &q : p->list)
		q.fresh = true;
}

void tc_param_gathers(tc_param *p)
{
	if (!p->grad.defined())
		return;
	p->table = false; /* from now on any row may have a gradient */
	if (p->fresh)
		p->grad.zero_();
	p->fresh = false;
}

struct tc_tensor *tc_params_moment(struct tc_scope *s, const struct tc_params *p, size_t i, int which)
{
	return pure(s, "moment", {}, [&] {
		const at::Tensor &flat = which == 1 ? p->moment1 : p->moment2, &t = p->tensors[i]->t;

		return flat.narrow(0, p->list[i].offset, t.numel()).view(t.sizes());
	});
}

/* The sums stay where the gradients are; one number comes back. */
static double composed_norm(const tc_params *p)
{
	at::Tensor total = at::zeros({}, p->grads.options());

	for (const tc_param &q : p->list) {
		if (!q.fresh)
			total = total + q.grad.norm().square();
	}
	return std::sqrt(total.item().toDouble());
}

int tc_params_grad_norm(struct tc_scope *s, const struct tc_params *p, double *ret, struct rt_err *err)
{
	return effect(s, "grad_norm", {}, err, [&](rt_err *) {
		const rt_kernels *k = rt_kernels_get();
		double total = 0;

		if (tc_is_composed(p->grads)) {
			*ret = composed_norm(p);
			return 0;
		}
		for (const tc_param &q : p->list) {
			const float *g = q.grad.data_ptr<float>();

			if (q.fresh)
				continue;
			if (!q.table) {
				total += k->sum_squares(g, q.grad.numel());
				continue;
			}
			for (int64_t row : q.rows)
				total += k->sum_squares(g + row * q.grad.size(1), q.grad.size(1));
		}
		*ret = std::sqrt(total);
		return 0;
	});
}

struct update {
	const rt_kernels *k;
	float *p, *g, *m, *v;
	uint16_t *low; /* of the first `lows` elements */
	int64_t lows;
};

static void update_range(const update &u, const rt_adamw &how, int64_t from, int64_t n)
{
	u.k->adamw(&how, u.p + from, u.g + from, u.m + from, u.v + from,
		   from < u.lows ? u.low + from : nullptr, n);
}

/* A table's update where only some rows can move: those with a gradient or with moments. The rest would stay as they are, bit for
 * bit. Neighbouring rows go together. */
static void update_rows(const update &u, const rt_adamw &how, tc_param &q)
{
	const int64_t rows = q.grad.size(0), cols = q.grad.size(1);

	for (int64_t row : q.rows)
		q.moving[(size_t)row] = 1;
	for (int64_t r = 0; r < rows; r++) {
		int64_t end = r;

		while (end < rows && q.moving[(size_t)end])
			end++;
		if (end > r)
			update_range(u, how, q.offset + r * cols, (end - r) * cols);
		r = end;
	}
}

/* The same update of libtorch's plain ops. */
static void composed_update(tc_params *p, size_t i, const rt_adamw &k)
{
	tc_param &q = p->list[i];
	const int64_t n = q.grad.numel();
	at::Tensor v = p->moment2.narrow(0, q.offset, n), m = p->moment1.narrow(0, q.offset, n);
	at::Tensor value = p->values.narrow(0, q.offset, n);
	const at::Tensor g = q.grad.reshape({ n }) * (double)k.grad_scale;

	m.add_(g - m, (double)k.w1);
	v.mul_((double)k.beta2).addcmul_(g, g, (double)k.w2);
	value.mul_((double)k.keep)
		.addcdiv_(m, (v.sqrt() / (double)k.root).add_((double)k.eps), -(double)k.step_size);
}

int tc_params_adamw(struct tc_scope *s, struct tc_params *p, const struct tc_adamw *how, struct rt_err *err)
{
	return effect(s, "adamw", {}, err, [&](rt_err *to) {
		const bool composed = tc_is_composed(p->values);
		const update u = composed ? update()
					  : update{ rt_kernels_get(),
						    p->values.data_ptr<float>(),
						    p->grads.data_ptr<float>(),
						    p->moment1.data_ptr<float>(),
						    p->moment2.data_ptr<float>(),
						    p->bf16 ? (uint16_t *)p->low.data_ptr() : nullptr,
						    p->bf16 ? p->low.numel() : 0 };
		rt_adamw k = { .keep = 1,
			       .w1 = (float)(1 - how->beta1),
			       .beta2 = (float)how->beta2,
			       .w2 = (float)(1 - how->beta2),
			       .root = (float)std::sqrt(1 - std::pow(how->beta2, (double)how->step)),
			       .eps = (float)how->eps,
			       .step_size = (float)(how->lr / (1 - std::pow(how->beta1, (double)how->step))),
			       .grad_scale = (float)how->grad_scale };

		if (how->step < 1)
			return rt_fail(to, RT_INTERNAL, "adamw: steps count from 1 (got %lld)",
				       (long long)how->step);
		for (size_t i = 0; i < p->list.size(); i++) {
			tc_param &q = p->list[i];

			if (q.fresh)
				continue;
			k.keep = q.decay ? (float)(1 - how->lr * how->weight_decay) : 1;
			if (composed)
				composed_update(p, i, k);
			else if (q.table && k.keep == 1)
				update_rows(u, k, q);
			else
				update_range(u, k, q.offset, q.grad.numel());
		}
		return 0;
	});
}
