// Winograd's convolution between ordinary planar tensors, for training: pack, convolve, unpack, all
// in a workspace of the caller's. 3x3, stride 1, padding 1, dilation 1, no groups.
#pragma once

#include "../../shapes.h"
#include "packed.h"

namespace yolo::packed {

// Whether `shape` is such a convolution with enough channels for the transforms to pay.
bool winograd_fits(const ConvShape& shape);

// Floats of workspace for either pass.
long winograd_workspace(const Kernels& kernels, const ConvShape& shape, int threads);

// y = x * weight + bias (bias may be null)
void winograd_forward(const Kernels& kernels, const ConvShape& shape, const float* x,
                      const float* weight, const float* bias, Activation activation, float* y,
                      float* workspace, int threads);

// grad_x: the same with the weight's filters turned by 180 degrees, channels and filters exchanged
void winograd_grad_x(const Kernels& kernels, const ConvShape& shape, const float* grad_y,
                     const float* weight, float* grad_x, float* workspace, int threads);

}  // namespace yolo::packed
