// Around the convolutions in training: into and out of the packed layout, pools, enlargements.
#pragma once

#include <array>
#include <vector>

#include "../../shapes.h"
#include "tensor.h"
#include "training.h"

namespace yolo::packed {

using Size = std::array<int, 4>;  // n, channels, height, width

void pack(const Kernels& kernels, const Size& size, const float* planar, float* packed,
          int threads);
void unpack(const Kernels& kernels, const Size& size, const float* packed, float* planar,
            int threads);

void max_pool(const Kernels& kernels, const PoolShape& shape, Input x, float* y, int threads);
// dx from x, the pool's output y and the gradient by it
void max_pool_grad(const Kernels& kernels, const PoolShape& shape, Input x, const float* y,
                   Input dy, float* dx, int threads);

// Nearest-neighbour enlargement of x, whose size is given, and the gradient by it: sums over the
// blocks of x, y having that size. Values times gain.
void enlarge(const Kernels& kernels, const Size& size, int scale, float gain, Input x, float* y,
             int threads);
void block_sums(const Kernels& kernels, const Size& size, int scale, float gain, Input x, float* y,
                int threads);

// Darknet's [reorg] by a walk (channels, height, width, stride), see ../reorg.h: x with C s^2
// channels of the size `small` -> y with C of s times its height and width, or the other way.
void reorg(const Kernels& kernels, const Size& small, const std::array<int, 4>& walk, bool to_small,
           Input x, float* y, int threads);

// A part of a sum: so many channels that begin at channel block `first` of the result, times a
// factor of each, a pixel of each image (null: 1).
struct SumTerm {
    Input x;
    int channels, first;
    const float* factor;
};
void sum(const Kernels& kernels, const Size& size, const std::vector<SumTerm>& terms, Output y,
         int threads);

}  // namespace yolo::packed
