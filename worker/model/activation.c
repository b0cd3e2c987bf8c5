/* SPDX-License-Identifier: Apache-2.0 */
/* Activations that few models use, each as the library (ACT2FN) defines it. */
#include <math.h>

#include "worker/model/parts.h"

static struct tc_tensor *laplace(struct tc_scope *s, struct tc_tensor *x)
{
	const double mu = 0.707107, sigma = 0.282095;

	x = tc_scale(s, tc_add_scalar(s, x, -mu), 1 / (sigma * sqrt(2)));
	return tc_scale(s, tc_add_scalar(s, tc_erf(s, x), 1), 0.5);
}

static struct tc_tensor *hardswish(struct tc_scope *s, struct tc_tensor *x)
{
	return tc_mul(s, x, tc_scale(s, tc_clamp(s, tc_add_scalar(s, x, 3), 0, 6), 1.0 / 6));
}

static struct tc_tensor *leaky_relu(struct tc_scope *s, struct tc_tensor *x)
{
	struct tc_tensor *negative = tc_relu(s, tc_scale(s, x, -1));

	return tc_add(s, tc_relu(s, x), tc_scale(s, negative, -0.01));
}

struct tc_tensor *rt_part_activation_rare(struct tc_scope *s, enum rt_activation act, struct tc_tensor *x)
{
	x = tc_to(s, x, TC_F32);
	switch (act) {
	case RT_ACT_GELU_CLIPPED:
		return tc_clamp(s, tc_gelu(s, x, TC_GELU_EXACT), -10, 10);
	case RT_ACT_HARDSWISH:
		return hardswish(s, x);
	case RT_ACT_LAPLACE:
		return laplace(s, x);
	case RT_ACT_LEAKY_RELU:
		return leaky_relu(s, x);
	case RT_ACT_LINEAR:
		return x;
	case RT_ACT_MISH:
		return tc_mul(s, x, tc_tanh(s, tc_softplus(s, x)));
	case RT_ACT_QUICK_GELU:
		return tc_mul(s, x, tc_sigmoid(s, tc_scale(s, x, 1.702)));
	case RT_ACT_RELU_SQUARED:
		x = tc_relu(s, x);
		return tc_mul(s, x, x);
	case RT_ACT_RELU6:
		return tc_clamp(s, x, 0, 6);
	case RT_ACT_SIGMOID:
		return tc_sigmoid(s, x);
	case RT_ACT_SQRT_SOFTPLUS:
		return tc_sqrt(s, tc_softplus(s, x));
	default:
		return tc_fail(s, RT_INTERNAL, "unknown activation");
	}
}
