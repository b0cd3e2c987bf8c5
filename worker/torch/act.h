/* SPDX-License-Identifier: Apache-2.0 */
/* The activations that fused layers and kernels have. */
#ifndef RT_WORKER_TORCH_ACT_H
#define RT_WORKER_TORCH_ACT_H

enum tc_act { TC_ACT_GELU /* erf */, TC_ACT_GELU_TANH, TC_ACT_RELU, TC_ACT_SILU, TC_ACT_TANH };

#endif
