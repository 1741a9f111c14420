// Depthwise convolution: every group has one input channel, so that a matrix product would have
// r * s rows.  Each tap is instead a row of x times one number, added to a row of y.
#pragma once

#include "../activation.h"
#include "../shapes.h"

namespace yolo::cpu {

template <typename T>
void conv_depthwise_forward(const ConvShape& shape, const T* x, const T* weight, const T* bias,
                            Activation f, T* y, int threads);

template <typename T>
void conv_depthwise_grad_x(const ConvShape& shape, const T* grad_y, const T* weight, T* grad_x,
                           int threads);

template <typename T>
void conv_depthwise_grad_weight(const ConvShape& shape, const T* grad_y, const T* x, T* grad_weight,
                                int threads);

}  // namespace yolo::cpu
