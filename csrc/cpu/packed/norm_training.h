// Batch normalisation with activation of packed tensors, over a mini-batch or with fixed
// statistics.
#pragma once

#include "tensor.h"
#include "training.h"

namespace yolo::packed {

struct NormSize {
    int n, channels, height, width;
};

// Parameters of the channels that exist; the kernels' arrays are filled up to whole blocks.
struct NormParameters {
    const float *mean, *rstd, *scale, *bias;
};

long norm_workspace(const Kernels& kernels, const NormSize& size);  // floats, for any call

// Partial sums of z's moments; they lie in the workspace, at norm_partial().
void norm_moments(const Kernels& kernels, const NormSize& size, const float* z, float* workspace,
                  int threads);
float* norm_partial(const Kernels& kernels, const NormSize& size, float* workspace);

// From those partial sums mean, 1 / sqrt(var + eps) of each channel; moves the rolling pair as
// ordinary training does.
void norm_statistics(const Kernels& kernels, const NormSize& size, double momentum, double eps,
                     float* rolling_mean, float* rolling_var, float* mean, float* rstd,
                     float* workspace);

// y = activation(scale * (z - mean) * rstd + bias)
void norm_act_forward(const Kernels& kernels, const NormSize& size, Input z,
                      const NormParameters& parameters, Activation activation, Output y,
                      float* workspace, int threads);

// The gradient, first pass: those by scale and bias, and what norm_grad, the second pass, reads to
// give dz; its arrays lie in the workspace. from_batch: mean and rstd depend on z.
Norm norm_act_sums(const Kernels& kernels, const NormSize& size, Input dy, const float* z,
                   const NormParameters& parameters, Activation activation, bool from_batch,
                   float* grad_scale, float* grad_bias, float* workspace, int threads);

// Both passes.
void norm_act_backward(const Kernels& kernels, const NormSize& size, Input dy, const float* z,
                       const NormParameters& parameters, Activation activation, bool from_batch,
                       float* dz, float* grad_scale, float* grad_bias, float* workspace,
                       int threads);

}  // namespace yolo::packed
