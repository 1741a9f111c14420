// Around the convolutions in training: into and out of the packed layout, pools, enlargements.
#pragma once

#include <array>
#include <vector>

#include "../../shapes.h"
#include "training.h"

namespace yolo::packed {

using Size = std::array<int, 4>;  // n, channels, height, width

void pack(const Kernels& kernels, const Size& size, const float* planar, float* packed,
          int threads);
void unpack(const Kernels& kernels, const Size& size, const float* packed, float* planar,
            int threads);

void max_pool(const Kernels& kernels, const PoolShape& shape, const float* x, float* y,
              int threads);
// dx from x, the pool's output y and the gradient by it
void max_pool_grad(const Kernels& kernels, const PoolShape& shape, const float* x, const float* y,
                   const float* dy, float* dx, int threads);

// Nearest-neighbour enlargement of x, whose size is given, and the gradient by it: sums over the
// blocks of x, y having that size. Values times gain.
void enlarge(const Kernels& kernels, const Size& size, int scale, float gain, const float* x,
             float* y, int threads);
void block_sums(const Kernels& kernels, const Size& size, int scale, float gain, const float* x,
                float* y, int threads);

// A part of a sum: n images of `channels` channels, `image` floats apart (0: as near as they can),
// that begin at channel block `first` of the result.
struct SumTerm {
    const float* x;
    long image;
    int channels, first;
};
void sum(const Kernels& kernels, const Size& size, const std::vector<SumTerm>& terms, float* y,
         int threads);

}  // namespace yolo::packed
