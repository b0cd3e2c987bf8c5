/* SPDX-License-Identifier: Apache-2.0 */
/* Attention within each text, forward and backward, and the small products it is made of. Compiled once for each instruction set, as
 * kernels.c is. */
#include "worker/torch/kernels_inline.h"

#define LANES RT_KERNEL_LANES

#define ROUND_UP(n) (((n) + LANES - 1) / LANES * LANES)

typedef float vec __attribute__((vector_size(LANES * 4), aligned(4)));

/* ---- small products, for attention ---- */

/* c (m, n) = or += a b, where a(i, k) is a[i * rs + k * cs], b (K, n) and c have rows of ldb and ldc; n: a multiple of LANES.
 * Tiles of MR rows and NV vectors stay in registers. */
#define TILE(MR, NV)                                                                                         \
	static inline __attribute__((always_inline)) void tile_##MR##_##NV(                                  \
		float *c, int64_t ldc, const float *a, int64_t rs, int64_t cs, const float *b, int64_t ldb,  \
		int64_t depth, bool add)                                                                     \
	{                                                                                                    \
		vec acc[MR][NV];                                                                             \
                                                                                                             \
		for (int i = 0; i < MR; i++) {                                                               \
			for (int j = 0; j < NV; j++)                                                         \
				acc[i][j] = add ? *(const vec *)(c + i * ldc + j * LANES) : (vec){ 0 };      \
		}                                                                                            \
		for (int64_t k = 0; k < depth; k++) {                                                        \
			vec row[NV];                                                                         \
                                                                                                             \
			for (int j = 0; j < NV; j++)                                                         \
				row[j] = *(const vec *)(b + k * ldb + j * LANES);                            \
			for (int i = 0; i < MR; i++) {                                                       \
				for (int j = 0; j < NV; j++)                                                 \
					acc[i][j] += a[i * rs + k * cs] * row[j];                            \
			}                                                                                    \
		}                                                                                            \
		for (int i = 0; i < MR; i++) {                                                               \
			for (int j = 0; j < NV; j++)                                                         \
				*(vec *)(c + i * ldc + j * LANES) = acc[i][j];                               \
		}                                                                                            \
	}
TILE(6, 4)
TILE(6, 2)
TILE(6, 1)
TILE(1, 4)
TILE(1, 2)
TILE(1, 1)

#define TILE_COLUMN(NV)                                                                                      \
	static void column_##NV(float *c, int64_t ldc, const float *a, int64_t rs, int64_t cs,               \
				const float *b, int64_t ldb, int64_t m, int64_t depth, bool add)             \
	{                                                                                                    \
		int64_t i = 0;                                                                               \
                                                                                                             \
		for (; i + 6 <= m; i += 6)                                                                   \
			tile_6_##NV(c + i * ldc, ldc, a + i * rs, rs, cs, b, ldb, depth, add);               \
		for (; i < m; i++)                                                                           \
			tile_1_##NV(c + i * ldc, ldc, a + i * rs, rs, cs, b, ldb, depth, add);               \
	}
TILE_COLUMN(4)
TILE_COLUMN(2)
TILE_COLUMN(1)

static void product(float *c, int64_t ldc, const float *a, int64_t rs, int64_t cs, const float *b,
		    int64_t ldb, int64_t m, int64_t n, int64_t depth, bool add)
{
	int64_t j = 0;

	for (; j + 4 * LANES <= n; j += 4 * LANES)
		column_4(c + j, ldc, a, rs, cs, b + j, ldb, m, depth, add);
	for (; j + 2 * LANES <= n; j += 2 * LANES)
		column_2(c + j, ldc, a, rs, cs, b + j, ldb, m, depth, add);
	for (; j < n; j += LANES)
		column_1(c + j, ldc, a, rs, cs, b + j, ldb, m, depth, add);
}

/* ---- attention ---- */

/* One thread's room for one text and head; wide: the text's length, padded; deep: the head's size, padded. */
struct room {
	int64_t length, wide, deep;
	float *q, *k, *kt, *v,
		*vt; /* (RT_KERNEL_QUERIES, deep) (wide, deep) (deep, wide) (wide, deep) (deep, wide) */
	float *scores, *dscores; /* (RT_KERNEL_QUERIES, wide) */
	float *o;		 /* (RT_KERNEL_QUERIES, deep): out, or d_out and then dq */
	float *dk, *dv;		 /* (wide, deep) */
};

static float *carve(float **from, int64_t n)
{
	float *p = *from;

	*from += n;
	return p;
}

static struct room make_room(float *scratch, int64_t length, int64_t size, bool backward)
{
	struct room m = { .length = length, .wide = ROUND_UP(length), .deep = ROUND_UP(size) };
	int64_t all = m.wide * m.deep;

	m.q = carve(&scratch, RT_KERNEL_QUERIES * m.deep);
	m.o = carve(&scratch, RT_KERNEL_QUERIES * m.deep);
	m.scores = carve(&scratch, RT_KERNEL_QUERIES * m.wide);
	m.kt = carve(&scratch, all);
	if (!backward) {
		m.v = carve(&scratch, all);
		return m;
	}
	m.dscores = carve(&scratch, RT_KERNEL_QUERIES * m.wide);
	m.k = carve(&scratch, all);
	m.vt = carve(&scratch, all);
	m.dk = carve(&scratch, all);
	m.dv = carve(&scratch, all);
	return m;
}

/* rows of size elements, from ld apart, to rows of deep floats, the rest 0. */
#define GATHER(E)                                                                                            \
	static void gather_##E(float *restrict out, int64_t deep, const void *restrict in, int64_t ld,       \
			       int64_t rows, int64_t size)                                                   \
	{                                                                                                    \
		for (int64_t r = 0; r < rows; r++) {                                                         \
			for (int64_t i = 0; i < size; i++)                                                   \
				out[r * deep + i] = load_##E(in, r * ld + i);                                \
			for (int64_t i = size; i < deep; i++)                                                \
				out[r * deep + i] = 0;                                                       \
		}                                                                                            \
	}                                                                                                    \
	static void scatter_##E(void *restrict out, int64_t ld, const float *restrict in, int64_t deep,      \
				int64_t rows, int64_t size, float scale)                                     \
	{                                                                                                    \
		for (int64_t r = 0; r < rows; r++) {                                                         \
			for (int64_t i = 0; i < size; i++)                                                   \
				store_##E(out, r *ld + i, in[r * deep + i] * scale);                         \
		}                                                                                            \
	}                                                                                                    \
	/* the same, turned: out (deep, wide); unused columns 0 */                                           \
	static void turn_##E(float *restrict out, int64_t wide, const void *restrict in, int64_t ld,         \
			     int64_t rows, int64_t size)                                                     \
	{                                                                                                    \
		for (int64_t i = 0; i < size; i++) {                                                         \
			for (int64_t r = 0; r < rows; r++)                                                   \
				out[i * wide + r] = load_##E(in, r * ld + i);                                \
			for (int64_t r = rows; r < wide; r++)                                                \
				out[i * wide + r] = 0;                                                       \
		}                                                                                            \
	}
BOTH(GATHER)

/* Scaled scores of one query, bias and window applied; keys that do not count are -inf. Returns the largest. */
static float finish_scores(const struct rt_attention *a, float *restrict s, int64_t head, int64_t query,
			   int64_t length, int64_t wide)
{
	const float scale = a->scale;
	float top = -INFINITY;

	if (a->bias) {
		const float *restrict bias = a->bias + (head * a->bias_width + query) * a->bias_width;

		for (int64_t j = 0; j < length; j++)
			s[j] = s[j] * scale + bias[j];
	} else {
		for (int64_t j = 0; j < length; j++)
			s[j] *= scale;
	}
	if (a->window >= 0) {
		for (int64_t j = 0; j < length; j++)
			s[j] = j < query - a->window || j > query + a->window ? -INFINITY : s[j];
	}
	for (int64_t j = length; j < wide; j++)
		s[j] = -INFINITY;
#pragma omp simd reduction(max : top)
	for (int64_t j = 0; j < wide; j++)
		top = s[j] > top ? s[j] : top;
	return top;
}

static inline float exp_or_0(float x)
{
	return x == -INFINITY ? 0.0f : exp1(x);
}

static void drop_probabilities(const struct rt_attention *a, float *restrict s, int64_t row, int64_t head,
			       int64_t wide)
{
	const uint64_t key = row_key(a->drop, row * a->heads + head);
	const uint32_t below = drop_below(a->drop);
	const float scale = drop_scale(a->drop);

	for (int64_t j = 0; j < wide; j++)
		s[j] = bits_at(key, (uint32_t)j) < below ? 0.0f : s[j] * scale;
}

static void attend(const struct rt_attention *a, int64_t text, int64_t head, float *scratch)
{
	const int64_t first = a->starts[text], length = a->starts[text + 1] - first, size = a->size;
	const int64_t queries = a->first_only ? 1 : length, from = a->first_only ? text : first,
		      col = head * size;
	struct room m = make_room(scratch, length, size, false);

	CHOOSE(a->elem, turn, m.kt, m.wide, at(a->elem, a->k, first * a->ldk + col), a->ldk, length, size);
	CHOOSE(a->elem, gather, m.v, m.deep, at(a->elem, a->v, first * a->ldv + col), a->ldv, length, size);
	for (int64_t q = 0; q < queries; q += RT_KERNEL_QUERIES) {
		int64_t n = queries - q < RT_KERNEL_QUERIES ? queries - q : RT_KERNEL_QUERIES;

		CHOOSE(a->elem, gather, m.q, m.deep, at(a->elem, a->q, (from + q) * a->ldq + col), a->ldq, n,
		       size);
		product(m.scores, m.wide, m.q, m.deep, 1, m.kt, m.wide, n, m.wide, size, false);
		for (int64_t i = 0; i < n; i++) {
			float *restrict s = m.scores + i * m.wide, sum = 0, over;
			float top = finish_scores(a, s, head, q + i, length, m.wide);

#pragma omp simd reduction(+ : sum)
			for (int64_t j = 0; j < m.wide; j++) {
				s[j] = exp_or_0(s[j] - top);
				sum += s[j];
			}
			over = 1.0f / sum;
			for (int64_t j = 0; j < m.wide; j++)
				s[j] *= over;
			if (a->lse)
				a->lse[(from + q + i) * a->heads + head] = top + logf(sum);
			if (a->drop.p > 0)
				drop_probabilities(a, s, from + q + i, head, m.wide);
		}
		product(m.o, m.deep, m.scores, m.wide, 1, m.v, m.deep, n, m.deep, length, false);
		CHOOSE(a->elem, scatter, to(a->elem, a->out, (from + q) * a->heads * size + col),
		       a->heads * size, m.o, m.deep, n, size, 1.0f);
	}
}

static int64_t longest_of(const struct rt_attention *a)
{
	int64_t longest = 1;

	for (int64_t t = 0; t < a->texts; t++) {
		int64_t n = a->starts[t + 1] - a->starts[t];

		longest = n > longest ? n : longest;
	}
	return longest;
}

void RT_KERNEL(attention)(const struct rt_attention *a)
{
	const size_t room = rt_kernels_attention_scratch(longest_of(a), a->size, false, 1);

#pragma omp parallel
	{
		float *mine = a->scratch + room * (size_t)omp_get_thread_num();

#pragma omp for schedule(dynamic, 4)
		for (int64_t i = 0; i < a->texts * a->heads; i++)
			attend(a, i / a->heads, i % a->heads, mine);
	}
}

/* One query's row of scores to probabilities (dropped ones in s), and of dscores to the scores' gradient. */
static void unscore(const struct rt_attention *a, const struct room *m, int64_t i, int64_t row, int64_t query,
		    int64_t head)
{
	float *restrict s = m->scores + i * m->wide, *restrict d = m->dscores + i * m->wide;
	const float lse = a->lse[row * a->heads + head];
	const uint64_t key = row_key(a->drop, row * a->heads + head);
	const uint32_t below = drop_below(a->drop);
	const float scale = drop_scale(a->drop);
	float sum = 0;

	finish_scores(a, s, head, query, m->length, m->wide);
	if (a->drop.p > 0) {
#pragma omp simd reduction(+ : sum)
		for (int64_t j = 0; j < m->wide; j++) {
			float p = exp_or_0(s[j] - lse),
			      kept = bits_at(key, (uint32_t)j) < below ? 0.0f : scale;

			s[j] = p;
			d[j] = j < m->length ? d[j] * kept : 0.0f;
			sum += p * d[j];
		}
		for (int64_t j = 0; j < m->wide; j++) {
			float p = s[j];

			s[j] = bits_at(key, (uint32_t)j) < below ? 0.0f : p * scale;
			d[j] = p * (d[j] - sum);
		}
		return;
	}
#pragma omp simd reduction(+ : sum)
	for (int64_t j = 0; j < m->wide; j++) {
		s[j] = exp_or_0(s[j] - lse);
		sum += s[j] * d[j];
	}
	for (int64_t j = 0; j < m->wide; j++)
		d[j] = s[j] * (d[j] - sum);
}

static void attend_backward(const struct rt_attention *a, int64_t text, int64_t head, float *scratch)
{
	const int64_t first = a->starts[text], length = a->starts[text + 1] - first, size = a->size;
	const int64_t queries = a->first_only ? 1 : length, from = a->first_only ? text : first,
		      col = head * size;
	const int64_t width = a->heads * size;
	struct room m = make_room(scratch, length, size, true);

	CHOOSE(a->elem, turn, m.kt, m.wide, at(a->elem, a->k, first * a->ldk + col), a->ldk, length, size);
	CHOOSE(a->elem, gather, m.k, m.deep, at(a->elem, a->k, first * a->ldk + col), a->ldk, length, size);
	CHOOSE(a->elem, turn, m.vt, m.wide, at(a->elem, a->v, first * a->ldv + col), a->ldv, length, size);
	for (int64_t q = 0; q < queries; q += RT_KERNEL_QUERIES) {
		int64_t n = queries - q < RT_KERNEL_QUERIES ? queries - q : RT_KERNEL_QUERIES;

		CHOOSE(a->elem, gather, m.q, m.deep, at(a->elem, a->q, (from + q) * a->ldq + col), a->ldq, n,
		       size);
		CHOOSE(a->elem, gather, m.o, m.deep, at(a->elem, a->d_out, (from + q) * width + col), width,
		       n, size);
		product(m.scores, m.wide, m.q, m.deep, 1, m.kt, m.wide, n, m.wide, size, false);
		product(m.dscores, m.wide, m.o, m.deep, 1, m.vt, m.wide, n, m.wide, size, false);
		for (int64_t i = 0; i < n; i++) {
			unscore(a, &m, i, from + q + i, q + i, head);
			for (int64_t j = 0; a->dbias && j < length; j++)
				a->dbias[(head * a->bias_width + q + i) * a->bias_width + j] +=
					m.dscores[i * m.wide + j];
		}
		product(m.dv, m.deep, m.scores, 1, m.wide, m.o, m.deep, length, m.deep, n, q > 0);
		product(m.dk, m.deep, m.dscores, 1, m.wide, m.q, m.deep, length, m.deep, n, q > 0);
		product(m.o, m.deep, m.dscores, m.wide, 1, m.k, m.deep, n, m.deep, length, false);
		CHOOSE(a->elem, scatter, to(a->elem, a->dq, (from + q) * a->ldq + col), a->ldq, m.o, m.deep,
		       n, size, a->scale);
	}
	CHOOSE(a->elem, scatter, to(a->elem, a->dk, first * a->ldk + col), a->ldk, m.dk, m.deep, length, size,
	       a->scale);
	CHOOSE(a->elem, scatter, to(a->elem, a->dv, first * a->ldv + col), a->ldv, m.dv, m.deep, length, size,
	       1.0f);
}

void RT_KERNEL(attention_backward)(const struct rt_attention *a)
{
	const size_t room = rt_kernels_attention_scratch(longest_of(a), a->size, true, 1);

#pragma omp parallel
	{
		float *mine = a->scratch + room * (size_t)omp_get_thread_num();

		if (a->dbias) { /* a head's sums over the texts are one thread's, in the texts' order */
#pragma omp for schedule(static)
			for (int64_t h = 0; h < a->heads; h++) {
				for (int64_t t = 0; t < a->texts; t++)
					attend_backward(a, t, h, mine);
			}
		} else {
#pragma omp for schedule(dynamic, 4)
			for (int64_t i = 0; i < a->texts * a->heads; i++)
				attend_backward(a, i / a->heads, i % a->heads, mine);
		}
	}
}
