/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled once for each instruction set, with RT_KERNELS_SET naming it: the loops are written so that gcc and clang
 * turn them into vectors of whatever width there is. */
#include "worker/torch/kernels_inline.h"

#define TEXT_OF(word) #word
#define TEXT(word)    TEXT_OF(word)

/* ---- elements ---- */

static void lower(uint16_t *out, const float *in, int64_t n)
{
#pragma omp parallel for simd if (n > SMALL)
	for (int64_t i = 0; i < n; i++)
		out[i] = lower1(in[i]);
}

static void raise(float *out, const uint16_t *in, int64_t n)
{
#pragma omp parallel for simd if (n > SMALL)
	for (int64_t i = 0; i < n; i++)
		out[i] = raise1(in[i]);
}

/* ---- functions ---- */

/* The standard normal distribution's Phi(x), and e^(-x^2/2) for its density: erfc(a) = e^(-a^2) erfcx(a), and erfcx is t times a
 * polynomial in t = 1 / (1 + 0.3 a), 2e-8 relative for a up to 9.5. */
static inline float phi1(float x, float *ret_e)
{
	float a = fabsf(x) * 0.707106781f, t, g, e;

	a = a > 9.4f ? 9.4f : a;
	e = exp1(-a * a);
	t = 1.0f / (1.0f + 0.3f * a);
	g = -0.129433817f;
	g = g * t + 0.485095214f;
	g = g * t - 0.51122398f;
	g = g * t + 0.546392333f;
	g = g * t - 0.0936294508f;
	g = g * t + 0.214435546f;
	g = g * t + 0.148482608f;
	g = g * t + 0.170691912f;
	g = g * t + 0.169189616f;
	g = 0.5f * e * g * t;
	*ret_e = e;
	return x > 0 ? 1.0f - g : x != x ? x : g;
}

static inline float tanh1(float x)
{
	float a = fabsf(x), e = exp1(-2.0f * (a > 20.0f ? 20.0f : a)), s = x * x;
	/* near 0 the quotient would cancel; there the series is exact to 1e-8 relative */
	float big = (1.0f - e) / (1.0f + e);
	float small =
		a *
		(1.0f + s * (-0.333333333f + s * (0.133333333f - s * (0.0539682540f - s * 0.0218694885f))));
	float y = a < 0.18f ? small : big;

	return x != x ? x : x < 0 ? -y : y;
}

#define GELU_ROOT  0.797884561f /* sqrt(2 / pi) */
#define GELU_CUBIC 0.044715f

static inline float act1(enum tc_act act, float x)
{
	float e;

	switch (act) {
	case TC_ACT_GELU:
		return x * phi1(x, &e);
	case TC_ACT_GELU_TANH:
		return 0.5f * x * (1.0f + tanh1(GELU_ROOT * (x + GELU_CUBIC * x * x * x)));
	case TC_ACT_RELU:
		return x < 0 ? 0.0f : x;
	case TC_ACT_SILU:
		return x / (1.0f + exp1(-x));
	case TC_ACT_TANH:
		return tanh1(x);
	}
	return x;
}

static inline float slope1(enum tc_act act, float x)
{
	float e, p, t;

	switch (act) {
	case TC_ACT_GELU:
		p = phi1(x, &e);
		return p + x * 0.398942280f * e; /* the density is e / sqrt(2 pi) */
	case TC_ACT_GELU_TANH:
		t = tanh1(GELU_ROOT * (x + GELU_CUBIC * x * x * x));
		return 0.5f * (1.0f + t) +
		       0.5f * x * (1.0f - t * t) * GELU_ROOT * (1.0f + 3.0f * GELU_CUBIC * x * x);
	case TC_ACT_RELU:
		return x > 0 ? 1.0f : 0.0f;
	case TC_ACT_SILU:
		p = 1.0f / (1.0f + exp1(-x));
		return p * (1.0f + x * (1.0f - p));
	case TC_ACT_TANH:
		t = tanh1(x);
		return 1.0f - t * t;
	}
	return 1.0f;
}

/* The loop once for each activation, so that the choice is made outside it. */
#define EACH_ACT(act, LOOP)                                                                                  \
	switch (act) {                                                                                       \
	case TC_ACT_GELU:                                                                                    \
		LOOP(TC_ACT_GELU) break;                                                                     \
	case TC_ACT_GELU_TANH:                                                                               \
		LOOP(TC_ACT_GELU_TANH) break;                                                                \
	case TC_ACT_RELU:                                                                                    \
		LOOP(TC_ACT_RELU) break;                                                                     \
	case TC_ACT_SILU:                                                                                    \
		LOOP(TC_ACT_SILU) break;                                                                     \
	case TC_ACT_TANH:                                                                                    \
		LOOP(TC_ACT_TANH) break;                                                                     \
	}

/* ---- activations ---- */

/* Parts of a row's columns for the threads: whole cache lines. */
static int64_t column_step(int64_t cols)
{
	int64_t threads = omp_get_max_threads(), step = (cols + threads - 1) / threads;

	step = (step + 63) / 64 * 64;
	return step < 64 ? 64 : step;
}

#define ACT_LOOP_F32(A)                                                                                      \
	for (int64_t i = from; i < to; i++)                                                                  \
		((float *)y)[i] = act1(A, load_f32(x, i));
#define ACT_LOOP_BF16(A)                                                                                     \
	for (int64_t i = from; i < to; i++)                                                                  \
		((uint16_t *)y)[i] = lower1(act1(A, load_bf16(x, i)));

static void act_f32(enum tc_act act, void *restrict y, const void *restrict x, int64_t from, int64_t to)
{
	EACH_ACT(act, ACT_LOOP_F32)
}

static void act_bf16(enum tc_act act, void *restrict y, const void *restrict x, int64_t from, int64_t to)
{
	EACH_ACT(act, ACT_LOOP_BF16)
}

static void act(enum rt_elem elem, enum tc_act kind, void *y, const void *x, int64_t n)
{
	const int64_t piece = 4096, pieces = (n + piece - 1) / piece;

#pragma omp parallel for schedule(static) if (n > SMALL)
	for (int64_t p = 0; p < pieces; p++)
		CHOOSE(elem, act, kind, y, x, p * piece, (p + 1) * piece < n ? (p + 1) * piece : n);
}

/* One row's columns: dx, and dx added to sum. */
#define SLOPE_LOOP(E, A)                                                                                     \
	for (int64_t i = 0; i < n; i++) {                                                                    \
		float d = load_##E(dy, i) * slope1(A, load_##E(x, i));                                       \
		store_##E(dx, i, d);                                                                         \
		sum[i] += d;                                                                                 \
	}
#define SLOPE_LOOP_F32(A)  SLOPE_LOOP(f32, A)
#define SLOPE_LOOP_BF16(A) SLOPE_LOOP(bf16, A)

static void slope_f32(enum tc_act act, void *restrict dx, const void *restrict dy, const void *restrict x,
		      float *restrict sum, int64_t n)
{
	EACH_ACT(act, SLOPE_LOOP_F32)
}

static void slope_bf16(enum tc_act act, void *restrict dx, const void *restrict dy, const void *restrict x,
		       float *restrict sum, int64_t n)
{
	EACH_ACT(act, SLOPE_LOOP_BF16)
}

static void act_backward(enum rt_elem elem, enum tc_act kind, void *dx, const void *dy, const void *x,
			 int64_t rows, int64_t cols, float *dbias, bool add)
{
	const int64_t block = 1024, step = column_step(cols) < block ? column_step(cols) : block;

#pragma omp parallel for schedule(static) if (rows * cols > SMALL)
	for (int64_t c = 0; c < cols; c += step) {
		int64_t n = cols - c < step ? cols - c : step;
		float sum[1024] = { 0 };

		for (int64_t r = 0; r < rows; r++)
			CHOOSE(elem, slope, kind, to(elem, dx, r * cols + c), at(elem, dy, r * cols + c),
			       at(elem, x, r * cols + c), sum, n);
		for (int64_t i = 0; dbias && i < n; i++)
			dbias[c + i] = add ? dbias[c + i] + sum[i] : sum[i];
	}
}

#define GATE_LOOP(E, A)                                                                                      \
	for (int64_t i = 0; i < n; i++)                                                                      \
		store_##E(y, i, act1(A, load_##E(x, i)) * load_##E(x, n + i));
#define GATE_LOOP_F32(A)  GATE_LOOP(f32, A)
#define GATE_LOOP_BF16(A) GATE_LOOP(bf16, A)

static void gate_f32(enum tc_act act, void *restrict y, const void *restrict x, int64_t n)
{
	EACH_ACT(act, GATE_LOOP_F32)
}

static void gate_bf16(enum tc_act act, void *restrict y, const void *restrict x, int64_t n)
{
	EACH_ACT(act, GATE_LOOP_BF16)
}

static void gate(enum rt_elem elem, enum tc_act kind, void *y, const void *x, int64_t rows, int64_t cols)
{
#pragma omp parallel for schedule(static) if (rows * cols > SMALL)
	for (int64_t r = 0; r < rows; r++)
		CHOOSE(elem, gate, kind, to(elem, y, r * cols), at(elem, x, r * 2 * cols), cols);
}

#define UNGATE_LOOP(E, A)                                                                                    \
	for (int64_t i = 0; i < n; i++) {                                                                    \
		float a = load_##E(x, i), b = load_##E(x, n + i), d = load_##E(dy, i);                       \
		store_##E(dx, i, d *b *slope1(A, a));                                                        \
		store_##E(dx, n + i, d * act1(A, a));                                                        \
	}
#define UNGATE_LOOP_F32(A)  UNGATE_LOOP(f32, A)
#define UNGATE_LOOP_BF16(A) UNGATE_LOOP(bf16, A)

static void ungate_f32(enum tc_act act, void *restrict dx, const void *restrict dy, const void *restrict x,
		       int64_t n)
{
	EACH_ACT(act, UNGATE_LOOP_F32)
}

static void ungate_bf16(enum tc_act act, void *restrict dx, const void *restrict dy, const void *restrict x,
			int64_t n)
{
	EACH_ACT(act, UNGATE_LOOP_BF16)
}

static void gate_backward(enum rt_elem elem, enum tc_act kind, void *dx, const void *dy, const void *x,
			  int64_t rows, int64_t cols)
{
#pragma omp parallel for schedule(static) if (rows * cols > SMALL)
	for (int64_t r = 0; r < rows; r++)
		CHOOSE(elem, ungate, kind, to(elem, dx, r * 2 * cols), at(elem, dy, r * cols),
		       at(elem, x, r * 2 * cols), cols);
}

#define ADD_ROW(E)                                                                                           \
	static void add_row_##E(float *restrict sum, const void *restrict x, int64_t n)                      \
	{                                                                                                    \
		for (int64_t i = 0; i < n; i++)                                                              \
			sum[i] += load_##E(x, i);                                                            \
	}
BOTH(ADD_ROW)

static void column_sum(enum rt_elem elem, float *out, const void *x, int64_t ld, int64_t rows, int64_t cols,
		       bool add)
{
	const int64_t block = 1024, step = column_step(cols) < block ? column_step(cols) : block;

#pragma omp parallel for schedule(static) if (rows * cols > SMALL)
	for (int64_t c = 0; c < cols; c += step) {
		int64_t n = cols - c < step ? cols - c : step;
		float sum[1024] = { 0 };

		for (int64_t r = 0; r < rows; r++)
			CHOOSE(elem, add_row, sum, at(elem, x, r * ld + c), n);
		for (int64_t i = 0; i < n; i++)
			out[c + i] = add ? out[c + i] + sum[i] : sum[i];
	}
}

#define DROP_ROW(E)                                                                                          \
	static void drop_row_##E(void *restrict y, const void *restrict x, int64_t n, uint64_t key,          \
				 uint32_t below, float scale)                                                \
	{                                                                                                    \
		for (int64_t i = 0; i < n; i++) {                                                            \
			float v = load_##E(x, i) * scale;                                                    \
			store_##E(y, i, bits_at(key, (uint32_t)i) < below ? 0.0f : v);                       \
		}                                                                                            \
	}
BOTH(DROP_ROW)

static void dropout(enum rt_elem elem, void *y, const void *x, int64_t rows, int64_t cols,
		    struct rt_drop drop)
{
#pragma omp parallel for schedule(static) if (rows * cols > SMALL)
	for (int64_t r = 0; r < rows; r++)
		CHOOSE(elem, drop_row, to(elem, y, r * cols), at(elem, x, r * cols), cols, row_key(drop, r),
		       drop_below(drop), drop_scale(drop));
}

#define ROTATE_ROW(E)                                                                                        \
	static void rotate_row_##E(void *restrict y, const void *restrict x, const float *restrict cos,      \
				   const float *restrict sin, int64_t from, int64_t half, float sign)        \
	{                                                                                                    \
		for (int64_t i = 0; i < half; i++) {                                                         \
			float a = load_##E(x, from + i), b = load_##E(x, from + half + i);                   \
			store_##E(y, from + i, a * cos[i] - sign * b * sin[i]);                              \
			store_##E(y, from + half + i, b * cos[i] + sign * a * sin[i]);                       \
		}                                                                                            \
	}
BOTH(ROTATE_ROW)

static void rotate(enum rt_elem elem, void *y, const void *x, const float *cos, const float *sin,
		   int64_t rows, int64_t heads, int64_t size, bool back)
{
	const int64_t width = 3 * heads * size, half = size / 2;

#pragma omp parallel for schedule(static) if (rows * width > SMALL)
	for (int64_t r = 0; r < rows; r++) {
		for (int64_t h = 0; h < 2 * heads; h++)
			CHOOSE(elem, rotate_row, to(elem, y, r * width), at(elem, x, r * width),
			       cos + r * half, sin + r * half, h * size, half, back ? -1.0f : 1.0f);
		memcpy(to(elem, y, r * width + 2 * heads * size), at(elem, x, r * width + 2 * heads * size),
		       (size_t)(heads * size) * size_of(elem));
	}
}

/* ---- norm ---- */

/* h of one row: residual + drop(z); returns its sum. */
#define SUM_ROW(E)                                                                                           \
	static float sum_row_##E(float *restrict h, const void *restrict z, const float *restrict residual,  \
				 int64_t n, struct rt_drop drop, int64_t row)                                \
	{                                                                                                    \
		uint64_t key = row_key(drop, row);                                                           \
		uint32_t below = drop_below(drop);                                                           \
		float scale = drop_scale(drop), sum = 0;                                                     \
                                                                                                             \
		if (drop.p > 0) {                                                                            \
			for (int64_t i = 0; i < n; i++) {                                                    \
				float v = load_##E(z, i) * scale;                                            \
				h[i] = bits_at(key, (uint32_t)i) < below ? 0.0f : v;                         \
			}                                                                                    \
		} else {                                                                                     \
			for (int64_t i = 0; i < n; i++)                                                      \
				h[i] = load_##E(z, i);                                                       \
		}                                                                                            \
		_Pragma("omp simd reduction(+ : sum)") for (int64_t i = 0; i < n; i++)                       \
		{                                                                                            \
			h[i] += residual ? residual[i] : 0.0f;                                               \
			sum += h[i];                                                                         \
		}                                                                                            \
		return sum;                                                                                  \
	}
BOTH(SUM_ROW)

/* gamma * (h - mean) * rstd + beta to full and low, either of which may be NULL; full may be h itself. */
#define SCALE_ROW(E)                                                                                         \
	static void scale_row_##E(float *full, void *low, const float *h, const float *gamma,                \
				  const float *beta, int64_t n, float mean, float rstd)                      \
	{                                                                                                    \
		if (full && low) {                                                                           \
			_Pragma("omp simd") for (int64_t i = 0; i < n; i++)                                  \
			{                                                                                    \
				float v = (h[i] - mean) * rstd * (gamma ? gamma[i] : 1.0f) +                 \
					  (beta ? beta[i] : 0.0f);                                           \
				full[i] = v;                                                                 \
				store_##E(low, i, v);                                                        \
			}                                                                                    \
			return;                                                                              \
		}                                                                                            \
		_Pragma("omp simd") for (int64_t i = 0; i < n; i++)                                          \
		{                                                                                            \
			float v =                                                                            \
				(h[i] - mean) * rstd * (gamma ? gamma[i] : 1.0f) + (beta ? beta[i] : 0.0f);  \
			if (full)                                                                            \
				full[i] = v;                                                                 \
			else                                                                                 \
				store_##E(low, i, v);                                                        \
		}                                                                                            \
	}
BOTH(SCALE_ROW)

static void norm_row(const struct rt_norm_forward *n, int64_t r)
{
	const int64_t cols = n->cols;
	const float *residual = n->residual ? n->residual + r * cols : NULL, *h = residual;
	float *full = n->full ? n->full + r * cols : NULL;
	float mean = 0, var = 0, rstd;

	if (n->z) {
		float *room = n->h ? n->h + r * cols : full;

		mean = CHOOSE(n->elem, sum_row, room, at(n->elem, n->z, r * cols), residual, cols, n->drop,
			      r);
		h = room;
	} else {
#pragma omp simd reduction(+ : mean)
		for (int64_t i = 0; i < cols; i++)
			mean += h[i];
	}
	mean /= (float)cols;
#pragma omp simd reduction(+ : var)
	for (int64_t i = 0; i < cols; i++)
		var += (h[i] - mean) * (h[i] - mean);
	rstd = 1.0f / sqrtf(var / (float)cols + n->eps);
	if (n->stats) {
		n->stats[2 * r] = mean;
		n->stats[2 * r + 1] = rstd;
	}
	CHOOSE(n->elem, scale_row, full, n->low ? to(n->elem, n->low, r * cols) : NULL, h, n->gamma, n->beta,
	       cols, mean, rstd);
}

static void norm(const struct rt_norm_forward *n)
{
#pragma omp parallel for schedule(static) if (n->rows * n->cols > SMALL)
	for (int64_t r = 0; r < n->rows; r++)
		norm_row(n, r);
}

/* dz of one row from dh, and its sums into dbias. */
#define UNDROP_ROW(E)                                                                                        \
	static void undrop_row_##E(void *restrict dz, const float *restrict dh, float *restrict dbias,       \
				   int64_t n, struct rt_drop drop, int64_t row)                              \
	{                                                                                                    \
		uint64_t key = row_key(drop, row);                                                           \
		uint32_t below = drop_below(drop);                                                           \
		float scale = drop_scale(drop);                                                              \
                                                                                                             \
		if (drop.p > 0) {                                                                            \
			for (int64_t i = 0; i < n; i++) {                                                    \
				float v = dh[i] * scale;                                                     \
				v = bits_at(key, (uint32_t)i) < below ? 0.0f : v;                            \
				store_##E(dz, i, v);                                                         \
				dbias[i] += v;                                                               \
			}                                                                                    \
			return;                                                                              \
		}                                                                                            \
		for (int64_t i = 0; i < n; i++) {                                                            \
			store_##E(dz, i, dh[i]);                                                             \
			dbias[i] += dh[i];                                                                   \
		}                                                                                            \
	}
BOTH(UNDROP_ROW)

#define GATHER_GRAD(E)                                                                                       \
	static void gather_grad_##E(float *restrict g, const float *restrict full, const void *restrict low, \
				    int64_t n)                                                               \
	{                                                                                                    \
		if (full && low) {                                                                           \
			for (int64_t i = 0; i < n; i++)                                                      \
				g[i] = full[i] + load_##E(low, i);                                           \
			return;                                                                              \
		}                                                                                            \
		for (int64_t i = 0; i < n; i++)                                                              \
			g[i] = full ? full[i] : low ? load_##E(low, i) : 0.0f;                               \
	}
BOTH(GATHER_GRAD)

/* sums: (3, cols) of dgamma, dbeta, dbias. g, dh_room: cols floats. */
static void norm_row_backward(const struct rt_norm_backward *n, int64_t r, float *restrict sums,
			      float *restrict g, float *restrict dh_room)
{
	const int64_t cols = n->cols;
	const float *restrict h = n->h + r * cols, *restrict gamma = n->gamma;
	float *restrict dh = n->dh ? n->dh + r * cols : dh_room;
	const float mean = n->stats[2 * r], rstd = n->stats[2 * r + 1];
	float a = 0, b = 0;

	CHOOSE(n->elem, gather_grad, g, n->dfull ? n->dfull + r * cols : NULL,
	       n->dlow ? at(n->elem, n->dlow, r * cols) : NULL, cols);
#pragma omp simd reduction(+ : a, b)
	for (int64_t i = 0; i < cols; i++) {
		float x = (h[i] - mean) * rstd, d = g[i] * (gamma ? gamma[i] : 1.0f);

		sums[i] += g[i] * x;
		sums[cols + i] += g[i];
		a += d;
		b += d * x;
	}
	a /= (float)cols;
	b /= (float)cols;
	for (int64_t i = 0; i < cols; i++) {
		float x = (h[i] - mean) * rstd, d = g[i] * (gamma ? gamma[i] : 1.0f);

		dh[i] = (d - a - x * b) * rstd;
	}
	if (n->dz)
		CHOOSE(n->elem, undrop_row, to(n->elem, n->dz, r * cols), dh, sums + 2 * cols, cols, n->drop,
		       r);
}

static void reduce_chunks(float *out, const float *sums, int64_t chunks, int64_t stride, int64_t cols,
			  bool add)
{
	for (int64_t i = 0; out && i < cols; i++) {
		float v = add ? out[i] : 0;

		for (int64_t c = 0; c < chunks; c++)
			v += sums[c * stride + i];
		out[i] = v;
	}
}

static void norm_backward(const struct rt_norm_backward *n)
{
	const int64_t cols = n->cols, chunks = (n->rows + RT_KERNEL_CHUNK - 1) / RT_KERNEL_CHUNK,
		      stride = 3 * cols;

#pragma omp parallel if (n->rows * n->cols > SMALL)
	{
		float *g = n->scratch + chunks * stride + omp_get_thread_num() * 2 * cols, *room = g + cols;

#pragma omp for schedule(static)
		for (int64_t c = 0; c < chunks; c++) {
			float *sums = n->scratch + c * stride;
			int64_t end =
				(c + 1) * RT_KERNEL_CHUNK < n->rows ? (c + 1) * RT_KERNEL_CHUNK : n->rows;

			memset(sums, 0, (size_t)stride * sizeof *sums);
			for (int64_t r = c * RT_KERNEL_CHUNK; r < end; r++)
				norm_row_backward(n, r, sums, g, room);
		}
	}
	reduce_chunks(n->dgamma, n->scratch, chunks, stride, cols, n->add_dgamma);
	reduce_chunks(n->dbeta, n->scratch + cols, chunks, stride, cols, n->add_dbeta);
	reduce_chunks(n->dbias, n->scratch + 2 * cols, chunks, stride, cols, n->add_dbias);
}

/* ---- embeddings ---- */

static void embed(const struct rt_embed *e, float *out)
{
#pragma omp parallel for schedule(static) if (e->rows * e->cols > SMALL)
	for (int64_t r = 0; r < e->rows; r++) {
		float *restrict y = out + r * e->cols;

		for (size_t t = 0; t < e->tables; t++) {
			const float *restrict row = e->table[t] + (e->ids[t] ? e->ids[t][r] : 0) * e->cols;

			if (t == 0)
				memcpy(y, row, (size_t)e->cols * sizeof *y);
			for (int64_t i = 0; t > 0 && i < e->cols; i++)
				y[i] += row[i];
		}
	}
}

static void embed_backward(float *grad, const int64_t *ids, const float *dy, int64_t rows, int64_t cols,
			   int64_t skip)
{
	const int64_t step = column_step(cols);

#pragma omp parallel for schedule(static) if (rows * cols > SMALL)
	for (int64_t c = 0; c < cols; c += step) {
		int64_t n = cols - c < step ? cols - c : step;

		for (int64_t r = 0; r < rows; r++) {
			int64_t id = ids ? ids[r] : 0;
			float *restrict g = grad + id * cols + c;
			const float *restrict d = dy + r * cols + c;

			for (int64_t i = 0; id != skip && i < n; i++)
				g[i] += d[i];
		}
	}
}

/* ---- optimizer ---- */

/* In pieces of fixed size, so that the sum does not depend on the number of threads. */
static double sum_squares(const float *x, int64_t n)
{
	const int64_t piece = 16384, pieces = (n + piece - 1) / piece;
	double total = 0;

	for (int64_t base = 0; base < pieces; base += 256) {
		double partial[256];
		int64_t end = pieces - base < 256 ? pieces - base : 256;

#pragma omp parallel for schedule(static) if (end > 4)
		for (int64_t p = 0; p < end; p++) {
			int64_t from = (base + p) * piece, stop = from + piece < n ? from + piece : n;
			double sum = 0;

#pragma omp simd reduction(+ : sum)
			for (int64_t i = from; i < stop; i++)
				sum += (double)x[i] * (double)x[i];
			partial[p] = sum;
		}
		for (int64_t p = 0; p < end; p++)
			total += partial[p];
	}
	return total;
}

static inline void adamw1(const struct rt_adamw *k, float *p, float g, float *m, float *v)
{
	const float mi = *m + k->w1 * (g - *m), vi = *v * k->beta2 + k->w2 * g * g;

	*m = mi;
	*v = vi;
	*p = *p * k->keep - k->step_size * (mi / (sqrtf(vi) / k->root + k->eps));
}

static void adamw(const struct rt_adamw *how, float *p, const float *g, float *m, float *v, uint16_t *low,
		  int64_t n)
{
	const struct rt_adamw k = *how;
	const int64_t piece = 8192, pieces = (n + piece - 1) / piece;

#pragma omp parallel for schedule(static) if (n > SMALL)
	for (int64_t part = 0; part < pieces; part++) {
		const int64_t from = part * piece, stop = from + piece < n ? from + piece : n;

		if (low) {
#pragma omp simd
			for (int64_t i = from; i < stop; i++) {
				adamw1(&k, p + i, g[i] * k.grad_scale, m + i, v + i);
				low[i] = lower1(p[i]);
			}
		} else {
#pragma omp simd
			for (int64_t i = from; i < stop; i++)
				adamw1(&k, p + i, g[i] * k.grad_scale, m + i, v + i);
		}
	}
}

extern const struct rt_kernels RT_KERNEL(table);
const struct rt_kernels RT_KERNEL(table) = {
	.name = TEXT(RT_KERNELS_SET),
	.lower = lower,
	.raise = raise,
	.act = act,
	.act_backward = act_backward,
	.gate = gate,
	.gate_backward = gate_backward,
	.column_sum = column_sum,
	.dropout = dropout,
	.rotate = rotate,
	.norm = norm,
	.norm_backward = norm_backward,
	.attention = RT_KERNEL(attention),
	.attention_backward = RT_KERNEL(attention_backward),
	.embed = embed,
	.embed_backward = embed_backward,
	.sum_squares = sum_squares,
	.adamw = adamw,
};
