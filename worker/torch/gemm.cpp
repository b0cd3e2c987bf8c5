/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/torch/gemm.hpp"

#include <cstring>
#include <unordered_map>

#include <dnnl.hpp>

#define KEPT 1024 /* shapes; packed batches have as many as there are sums of lengths */

namespace
{

struct shape {
	int64_t m, n, k, lda, ldb, ldc, flags;
	bool operator==(const shape &o) const
	{
		return memcmp(this, &o, sizeof o) == 0;
	}
};

struct hash {
	size_t operator()(const shape &s) const
	{
		uint64_t h = 0;

		for (int64_t v : { s.m, s.n, s.k, s.lda, s.ldb, s.ldc, s.flags })
			h = (h ^ (uint64_t)v) * 0x9e3779b97f4a7c15u;
		return (size_t)(h ^ (h >> 32));
	}
};

struct product {
	dnnl::matmul op;
	dnnl::memory::desc a, b, c, bias;
};

/* What oneDNN needs to run, and the products made so far: making one takes longer than a small one runs. One thread's own. */
struct library {
	dnnl::engine engine{ dnnl::engine::kind::cpu, 0 };
	dnnl::stream stream{ engine };
	std::unordered_map<shape, product, hash> made;
};

product make(library &lib, const tc_gemm &g)
{
	using dnnl::memory;
	const memory::data_type in = g.bf16 ? memory::data_type::bf16 : memory::data_type::f32;
	const memory::data_type out = g.result_bf16 ? memory::data_type::bf16 : memory::data_type::f32;
	const memory::dims sa = g.turned_a ? memory::dims{ 1, g.lda } : memory::dims{ g.lda, 1 };
	const memory::dims sb = g.turned_b ? memory::dims{ 1, g.ldb } : memory::dims{ g.ldb, 1 };
	product p;
	dnnl::primitive_attr attr;

	p.a = memory::desc({ g.m, g.k }, in, sa);
	p.b = memory::desc({ g.k, g.n }, in, sb);
	p.c = memory::desc({ g.m, g.n }, out, memory::dims{ g.ldc, 1 });
	if (g.bias)
		p.bias = memory::desc({ 1, g.n }, memory::data_type::f32, memory::dims{ g.n, 1 });
	if (g.add) {
		dnnl::post_ops ops;

		ops.append_sum(1.0f);
		attr.set_post_ops(ops);
	}
#if DNNL_VERSION_MAJOR >= 3
	p.op = dnnl::matmul(dnnl::matmul::primitive_desc(lib.engine, p.a, p.b, p.bias, p.c, attr));
#else
	const dnnl::matmul::desc how =
		g.bias ? dnnl::matmul::desc(p.a, p.b, p.bias, p.c) : dnnl::matmul::desc(p.a, p.b, p.c);

	p.op = dnnl::matmul(dnnl::matmul::primitive_desc(how, attr, lib.engine));
#endif
	return p;
}

} // namespace

void tc_gemm_run(const tc_gemm &g)
{
	static thread_local library lib;
	const shape key = { g.m,
			    g.n,
			    g.k,
			    g.lda,
			    g.ldb,
			    g.ldc,
			    g.bf16 | g.result_bf16 << 1 | g.turned_a << 2 | g.turned_b << 3 | g.add << 4 |
				    (g.bias != nullptr) << 5 };
	auto found = lib.made.find(key);

	if (g.m == 0 || g.n == 0)
		return;
	if (found == lib.made.end()) {
		if (lib.made.size() >= KEPT)
			lib.made.clear();
		found = lib.made.emplace(key, make(lib, g)).first;
	}
	const product &p = found->second;
	std::unordered_map<int, dnnl::memory> args = {
		{ DNNL_ARG_SRC, dnnl::memory(p.a, lib.engine, const_cast<void *>(g.a)) },
		{ DNNL_ARG_WEIGHTS, dnnl::memory(p.b, lib.engine, const_cast<void *>(g.b)) },
		{ DNNL_ARG_DST, dnnl::memory(p.c, lib.engine, g.c) },
	};

	if (g.bias)
		args.emplace(DNNL_ARG_BIAS, dnnl::memory(p.bias, lib.engine, const_cast<float *>(g.bias)));
	p.op.execute(lib.stream, args);
	lib.stream.wait();
}
