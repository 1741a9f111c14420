// What becomes of a finished tile, 128 pixels x COLUMNS filters of float sums in shared memory,
// each row COLUMNS + 8 floats from the next: the epilogue and the store, and the statistics.
#pragma once
#include "channel.cuh"
#include "gather.cuh"
#include "implicit.h"

namespace gather {

__device__ __forceinline__ float finish(const Gather& g, int filter, float sum) {
    if (g.scale != nullptr) sum *= load(g.scale + filter);
    if (g.bias != nullptr) sum += load(g.bias + filter);
    return activate(g.activation, sum);
}

// target = activation(scale * sum + bias) + residual, one chunk of channels a thread, the same
// channels in every row. Calls see(pixel, values) for each chunk, values being the target's.
template <class Format, int COLUMNS, class See>
__device__ __forceinline__ void write_tile(const Gather& g, const float* tile, int64_t row0,
                                           int column0, int group, See see) {
    using Storage = typename Format::Storage;
    constexpr int PITCH = COLUMNS + 8, PER_ROW = COLUMNS / Format::CHUNK;
    int64_t rows = int64_t(g.images) * g.y.positions * g.x.positions;
    for (int i = int(threadIdx.x); i < ROWS * PER_ROW; i += THREADS<COLUMNS>) {
        int64_t row = row0 + i / PER_ROW;
        int column = column0 + i % PER_ROW * Format::CHUNK;
        if (row >= rows || column >= g.columns) continue;
        int64_t line = row / g.x.positions, n = line / g.y.positions;
        int x = int(row % g.x.positions) * g.x.target_step + g.x.target_first;
        int y = int(line % g.y.positions) * g.y.target_step + g.y.target_first;
        int64_t pixel = (n * g.y.target_size + y) * g.x.target_size + x;
        int filter = group * g.columns + column;
        Storage* target = static_cast<Storage*>(g.target) + pixel * g.target_pitch + filter;
        const Storage* residual = static_cast<const Storage*>(g.residual);
        if (residual != nullptr) residual += pixel * g.residual_pitch + filter;
        const float* from = tile + i / PER_ROW * PITCH + i % PER_ROW * Format::CHUNK;
        Chunk<Format> chunk;
        float values[Format::CHUNK] = {};
        UNROLL for (int e = 0; e < Format::CHUNK; e += 4) {
            union {
                float4 all;
                float one[4];
            } sum;
            sum.all = load_shared(reinterpret_cast<const float4*>(from + e));
            UNROLL for (int i = 0; i < 4; ++i) {
                if (column + e + i >= g.columns) continue;
                float value = finish(g, filter + e + i, sum.one[i]);
                if (residual != nullptr) value += widen(load(residual + e + i));
                values[e + i] = value;
                chunk.element[e + i] = rounded<Storage>(value);
            }
        }
        see(pixel, values);
        if (g.target_aligned && column + Format::CHUNK <= g.columns) {
            store(reinterpret_cast<uint4*>(target), chunk.all);
            continue;
        }
        UNROLL for (int e = 0; e < Format::CHUNK; ++e) {
            if (column + e < g.columns) store(target + e, chunk.element[e]);
        }
    }
}

// The float sums of this split, for finish_splits_kernel to add up.
template <int COLUMNS>
__device__ void write_partial(const Gather& g, const float* tile, int64_t row0, int column0,
                              int group, int split) {
    int64_t rows = int64_t(g.images) * g.y.positions * g.x.positions;
    int filters = int(gridDim.z) * g.columns;
    for (int i = int(threadIdx.x); i < ROWS * COLUMNS; i += THREADS<COLUMNS>) {
        int64_t row = row0 + i / COLUMNS;
        int column = column0 + i % COLUMNS;
        if (row >= rows || column >= g.columns) continue;
        store(g.partial + (split * rows + row) * filters + group * g.columns + column,
              load_shared(tile + i / COLUMNS * (COLUMNS + 8) + i % COLUMNS));
    }
}

// One output a thread; the splits are added in their order.
template <class Format>
__global__ void finish_splits_kernel(const Gather g, int filters) {
    using Storage = typename Format::Storage;
    int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, pixel = i / filters;
    int64_t pixels = int64_t(g.images) * g.y.positions * g.x.positions;
    int filter = int(i % filters);
    if (pixel >= pixels) return;
    float sum = load(g.partial + i);
    for (int split = 1; split < g.splits; ++split)
        sum += load(g.partial + split * pixels * filters + i);
    float value = finish(g, filter, sum);
    const Storage* residual = static_cast<const Storage*>(g.residual);
    if (residual != nullptr) value += widen(load(residual + pixel * g.residual_pitch + filter));
    store(static_cast<Storage*>(g.target) + pixel * g.target_pitch + filter,
          rounded<Storage>(value));
}

// Moments of each column of the tile, two passes over shared memory: two threads a column.
template <int COLUMNS>
__device__ void write_moments(const Gather& g, const float* tile, int64_t row0, int column0) {
    constexpr int PITCH = COLUMNS + 8, HALF = ROWS / 2;
    static_assert(THREADS<COLUMNS> == 2 * COLUMNS, "two threads a column");
    SHARED(Moments<float>, halves, [COLUMNS]);
    int column = int(threadIdx.x) % COLUMNS, half = int(threadIdx.x) / COLUMNS;
    int64_t rows = int64_t(g.images) * g.y.positions * g.x.positions - row0 - half * HALF;
    int count = rows < 0 ? 0 : rows < HALF ? int(rows) : HALF;
    const float* from = tile + half * HALF * PITCH + column;
    Moments<float> all = {float(count), 0, 0};
    for (int i = 0; i < count; ++i) all.mean += load_shared(from + i * PITCH);
    if (count > 0) all.mean /= float(count);
    for (int i = 0; i < count; ++i) {
        float distance = load_shared(from + i * PITCH) - all.mean;
        all.spread += distance * distance;
    }
    if (half == 1) halves[column] = all;
    __syncthreads();
    if (half == 1 || column0 + column >= g.columns) return;
    all.merge(halves[column]);
    int64_t filters = int64_t(gridDim.z) * g.columns;
    store(g.moments + row0 / ROWS * filters + blockIdx.z * g.columns + column0 + column, all);
}

// Sums over rows of the tile for one chunk of channels: of d, the gradient before normalisation and
// activation, and of d * xhat.
template <class Format>
struct ChunkSums {
    using Storage = typename Format::Storage;
    static constexpr int CHUNK = Format::CHUNK;
    int first, count;  // channels of the chunk that exist
    float sum[2][CHUNK] = {};

    __device__ __forceinline__ ChunkSums(const Gather& g, int group, int column)
        : first(group * g.columns + column), count(g.columns - column) {}

    __device__ __forceinline__ void add(const Normed& t, int64_t pixel,
                                        const float (&grad)[CHUNK]) {
        const Storage* from = static_cast<const Storage*>(t.x) + pixel * t.pitch + first;
        Chunk<Format> x = {};
        if (t.aligned && count >= CHUNK) {
            x.all = load(reinterpret_cast<const uint4*>(from));
        } else {
            UNROLL for (int e = 0; e < CHUNK; ++e) {
                if (e < count) x.element[e] = load(from + e);
            }
        }
        UNROLL for (int e = 0; e < CHUNK; ++e) {
            if (e >= count) continue;
            Channel<float> channel(t.mean, t.rstd, t.scale, t.bias, first + e);
            float value = widen(x.element[e]), d = channel.gradient(t.activation, value, grad[e]);
            sum[0][e] += d;
            sum[1][e] += d * channel.hat(value);
        }
    }
};

// write_tile, and the sums of this tile, over its rows in one fixed order.
template <class Format, int COLUMNS>
__device__ __forceinline__ void write_gradient(const Gather& g, float* tile, int64_t row0,
                                               int column0, int group) {
    constexpr int PER_ROW = COLUMNS / Format::CHUNK, LINES = THREADS<COLUMNS> / PER_ROW;
    static_assert(THREADS<COLUMNS> % PER_ROW == 0, "a thread has one chunk of channels");
    static_assert(THREADS<COLUMNS> == 2 * COLUMNS, "two threads a column");
    int line = int(threadIdx.x) / PER_ROW, at = int(threadIdx.x) % PER_ROW * Format::CHUNK;
    ChunkSums<Format> mine(g, group, column0 + at);
    write_tile<Format, COLUMNS>(g, tile, row0, column0, group,
                                [&](int64_t pixel, const float (&values)[Format::CHUNK]) {
                                    mine.add(g.normed, pixel, values);
                                });
    __syncthreads();  // the tile has been read: its memory takes the sums of each line
    UNROLL for (int which = 0; which < 2; ++which) {
        UNROLL for (int e = 0; e < Format::CHUNK; ++e)
            store_shared(tile + (which * LINES + line) * COLUMNS + at + e, mine.sum[which][e]);
    }
    __syncthreads();
    int which = int(threadIdx.x) / COLUMNS, column = int(threadIdx.x) % COLUMNS;
    if (column0 + column >= g.columns) return;
    float all = 0;
    for (int i = 0; i < LINES; ++i)
        all += load_shared(tile + (which * LINES + i) * COLUMNS + column);
    int64_t channels = int64_t(gridDim.z) * g.columns;
    Sums<float>* out = g.sums + (g.first_tile + row0 / ROWS) * channels + group * g.columns;
    store(which == 0 ? &out[column0 + column].d : &out[column0 + column].d_hat, all);
}

// The forward pass as far as its output goes: positions, target and epilogue.
template <class Format>
Gather output_of(const YoloConv& call) {
    const ConvShape& a = call.shape;
    Gather g = {};
    g.y = {a.p, a.h, a.stride_y, -a.pad_y, a.dilation_y, a.r, 0, 1, a.p, 1, 0};
    g.x = {a.q, a.w, a.stride_x, -a.pad_x, a.dilation_x, a.s, 0, 1, a.q, 1, 0};
    g.images = a.n, g.columns = a.k / a.groups;
    g.target = call.y, g.target_pitch = call.y_strides.w;
    g.target_aligned = chunks_aligned<Format>(call.y, call.y_strides.w, g.columns, a.groups);
    g.scale = call.scale, g.bias = static_cast<const float*>(call.bias);
    g.residual = call.residual, g.residual_pitch = call.residual_pitch;
    g.activation = call.activation;
    g.moments = static_cast<Moments<float>*>(call.tiles);
    return g;
}

}  // namespace gather
