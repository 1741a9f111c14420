// Sums over rows (pixels), channel by channel: a block takes 32 channels of a range of rows, and
// what is known of the ranges is merged in one fixed order.
#pragma once
#include "instructions.cuh"

namespace ranges {

constexpr int CHANNELS = 32, LINES = 8;  // of a block
constexpr int LEAST_ROWS = 128, MOST = 256;

struct Ranges {
    int count;
    int64_t rows_each;
};

inline Ranges of(int64_t rows) {
    int64_t count = (rows + LEAST_ROWS - 1) / LEAST_ROWS;
    count = count < 1 ? 1 : count > MOST ? MOST : count;
    return {int(count), (rows + count - 1) / count};
}

// The block's part of out[range][channel]: value(row) of its rows merged, of the thread's channel
// c.
template <class Part, class Value>
__device__ __forceinline__ void merge_range(Part (&lines)[LINES][CHANNELS], Ranges ranges,
                                            int64_t rows, int channels, int c, Part* out,
                                            Value value) {
    int64_t begin = blockIdx.y * ranges.rows_each, end = begin + ranges.rows_each;
    if (end > rows) end = rows;
    Part all = {};
    for (int64_t row = begin + threadIdx.y; row < end && c < channels; row += LINES)
        all.merge(value(row));
    lines[threadIdx.y][threadIdx.x] = all;
    __syncthreads();
    if (threadIdx.y != 0 || c >= channels) return;
    for (int line = 1; line < LINES; ++line) all.merge(lines[line][threadIdx.x]);
    store(out + int64_t(blockIdx.y) * channels + c, all);
}

}  // namespace ranges
