// Nearest-neighbour enlargement by s, and its transpose, the sum over s x s blocks.
#pragma once

#include <cstdint>

namespace yolo::cpu {

// large[i, j] = scale * small[i / s, j / s] for each of `planes` planes, small being h x w
template <typename T>
void enlarge(int64_t planes, int64_t h, int64_t w, int64_t s, double scale, const T* small,
             T* large, int threads);

// small[i, j] = scale * sum of the s x s block of large
template <typename T>
void block_sums(int64_t planes, int64_t h, int64_t w, int64_t s, double scale, const T* large,
                T* small, int threads);

}  // namespace yolo::cpu
