// Darknet's rearrangement of s x s blocks of pixels into channels: the small index is
// [o][c][i][j], the large one [c][i * s + o / s][j * s + o % s], for o < s * s.
#pragma once

#include <cstdint>

namespace yolo::cpu {

struct ReorgShape {
    int64_t n, c, h, w,
        s;  // c is the number of channels of the large index, c * s * s of the small
};

// y[small] = x[large]
template <typename T>
void reorg_pack(const ReorgShape& shape, const T* x, T* y, int threads);

// y[large] = x[small]
template <typename T>
void reorg_unpack(const ReorgShape& shape, const T* x, T* y, int threads);

}  // namespace yolo::cpu
