/* SPDX-License-Identifier: Apache-2.0 */
/* What the C++ files of this folder share: the structs behind the handles, and the templates that every body runs in, so that no
 * exception leaves them. Not for anyone else. */
#ifndef RT_WORKER_TORCH_INNER_HPP
#define RT_WORKER_TORCH_INNER_HPP

#include <initializer_list>
#include <pthread.h>
#include <vector>

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

extern "C" {
#include "base/err.h"
}
#include "worker/torch/tc.h"

struct tc_param;

struct tc_tensor {
	at::Tensor t;
	tc_scope *owner;
	tc_tensor *prev, *next; /* in the owner's list */
	tc_param *param;	/* what is kept beside a parameter (params.cpp), or NULL */
};

struct tc_scope {
	tc_scope *parent, *root;
	tc_tensor *first;
	bool grad;
	at::Device device{ at::kCPU }; /* where what is made in it goes */
	int open_children;
	pthread_t thread;
	rt_err err; /* the root's is the chain's */
};

struct tc_rng {
	at::Generator gen;  /* PyTorch's own numbers: randn, randperm */
	uint64_t key, next; /* dropout's: a hash of (key, counter), the same for any number of threads */
};

/* A parameter's gradient is a view of a flat buffer, written by the first to have something in a step and added to by the others. */
struct tc_param {
	at::Tensor low;	 /* bfloat16 copy for products, or undefined */
	at::Tensor grad; /* fp32, the parameter's shape; undefined when it is not trained */
	int64_t offset;	 /* in the flat buffers, in elements */
	bool fresh;	 /* nothing has been written in this step: what grad holds is old */
	bool decay;
	bool table;		      /* an embedding: only rows of `rows` have a gradient */
	std::vector<int64_t> rows;    /* table: rows written in the latest step, each once */
	std::vector<uint8_t> written; /* table: per row, 1 if it is in rows */
	std::vector<uint8_t> moving;  /* table: per row, 1 if its moments are not all 0 */
};

at::ScalarType tc_scalar_type(enum tc_dtype d);
void tc_link(tc_scope *s, tc_tensor *t);
void tc_explain(const char *op, const tc_tensor *const *in, size_t n, rt_err *err) noexcept;
/* 0 if all arguments are there; else makes s fail and names the first that is not. */
int tc_check_args(tc_scope *s, const char *op, const tc_tensor *const *in, size_t n);
/* libtorch's own backward will add to the gradient: it must hold zeros if nothing of this step is there yet. */
void tc_param_gathers(tc_param *p);

/* ---- the two templates all bodies run in ---- */

template <class F>
static tc_tensor *pure_n(tc_scope *s, const char *op, const tc_tensor *const *in, size_t n, F body) noexcept
{
	tc_tensor *out;

	if (tc_failed(s) || tc_check_args(s, op, in, n) < 0)
		return nullptr;
	try {
		const c10::AutoGradMode mode(s->grad);

		for (size_t i = 0; s->grad && i < n; i++) {
			if (in[i]->param)
				tc_param_gathers(in[i]->param);
		}
		out = new tc_tensor{ body(), nullptr, nullptr, nullptr, nullptr };
	} catch (...) {
		tc_explain(op, in, n, &s->root->err);
		return nullptr;
	}
	tc_link(s, out);
	return out;
}

template <class F>
static tc_tensor *pure(tc_scope *s, const char *op, std::initializer_list<const tc_tensor *> in,
		       F body) noexcept
{
	return pure_n(s, op, in.begin(), in.size(), body);
}

/* body: int(rt_err *). Gradient mode is off unless the scope has it and the body turns it on. */
template <class F>
static int effect(tc_scope *s, const char *op, std::initializer_list<const tc_tensor *> in, rt_err *err,
		  F body) noexcept
{
	rt_err own = RT_ERR_INIT;
	rt_err *to = err ? err : &own;

	if (tc_check(s, to) < 0)
		return -1;
	for (const tc_tensor *t : in) {
		if (!t)
			return rt_fail(to, RT_INTERNAL, "%s: an argument is missing", op);
	}
	try {
		const c10::AutoGradMode mode(false);

		return body(to);
	} catch (...) {
		tc_explain(op, in.begin(), in.size(), to);
		return -1;
	}
}

/* For calls without tensors or scopes. */
template <class F> static int plain(const char *op, rt_err *err, F body) noexcept
{
	try {
		return body();
	} catch (...) {
		rt_err own = RT_ERR_INIT;

		tc_explain(op, nullptr, 0, err ? err : &own);
		return -1;
	}
}

#endif
