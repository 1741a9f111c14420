// Packed float tensors in training, in memory of the caller's.
#pragma once

#include "packed.h"

namespace yolo::packed {

constexpr int BORDER = 1;  // of every packed tensor in training

// Floats of a packed tensor, and the tensor at `data`.
long packed_floats(const Kernels& kernels, int n, int channels, int height, int width);
View packed_view(const Kernels& kernels, const float* data, int n, int channels, int height,
                 int width);

// A part of a larger packed tensor: its images lie further apart (0: as near as they can).
struct Input {
    const float* data;
    long image;
};

// The same, to be written.
struct Output {
    float* data;
    long image;
};

}  // namespace yolo::packed
