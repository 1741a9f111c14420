// Batch normalisation fused with an activation, over x of shape (n, c, pixels).
//   z = (x - mean[c]) * rstd[c],   y = f(scale[c] * z + bias[c])
#pragma once

#include <cstdint>

#include "../activation.h"

namespace yolo::cpu {

struct NormShape {
    int64_t n, c, pixels;
};

// All of length c.  scale and bias are the layer's; mean and rstd those of this forward pass.
template <typename T>
struct NormChannels {
    const T *scale, *bias;
    T *mean, *rstd;
};

// Writes mean and rstd = 1 / sqrt(variance + eps), and moves the rolling pair towards the new
// statistics: rolling = (1 - momentum) rolling + momentum new, the variance there being unbiased.
template <typename T>
void batch_statistics(const NormShape& shape, const T* x, double momentum, double eps,
                      T* rolling_mean, T* rolling_var, T* mean, T* rstd, int threads);

template <typename T>
void norm_act_forward(const NormShape& shape, const T* x, const NormChannels<T>& channels,
                      Activation f, T* y, int threads);

// grad_x may be null.  from_batch: mean and rstd depend on x (training), so that grad_x loses its
// mean and its part along z.
template <typename T>
void norm_act_backward(const NormShape& shape, const T* grad_y, const T* x,
                       const NormChannels<T>& channels, Activation f, bool from_batch, T* grad_x,
                       T* grad_scale, T* grad_bias, int threads);

}  // namespace yolo::cpu
