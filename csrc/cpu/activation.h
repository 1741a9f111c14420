// Activation with an optional bias per channel, over x of shape (n, c, pixels); bias may be null.
//   y = f(x + bias[c]),   grad_x = grad_y * f'(x + bias[c])
#pragma once

#include <cstdint>

#include "../activation.h"

namespace yolo::cpu {

struct PlaneShape {
    int64_t n, c, pixels;
};

template <typename T>
void bias_act_forward(const PlaneShape& shape, const T* x, const T* bias, Activation f, T* y,
                      int threads);

template <typename T>
void bias_act_backward(const PlaneShape& shape, const T* grad_y, const T* x, const T* bias,
                       Activation f, T* grad_x, int threads);

// y = x where x > 0, else slope[c] * x
template <typename T>
void prelu_forward(const PlaneShape& shape, const T* x, const T* slope, T* y, int threads);

// grad_slope[c] = sum of grad_y * x over images and pixels where x <= 0
template <typename T>
void prelu_backward(const PlaneShape& shape, const T* grad_y, const T* x, const T* slope, T* grad_x,
                    T* grad_slope, int threads);

// sums[c] = sum of x over images and pixels
template <typename T>
void channel_sums(const PlaneShape& shape, const T* x, T* sums, int threads);

}  // namespace yolo::cpu
