// The source of conv_implicit: which pixels and which weights a tile reads, and how they get into
// shared memory. Along each axis the taps of a pass form an arithmetic progression.
#pragma once
#include <type_traits>

#include "moments.cuh"
#include "tensor_tile.cuh"

namespace gather {

using namespace tensor_tile;

constexpr int CHUNKS = 4;  // of 16 bytes in a row of a tile

// One axis of the gather: source = position * step + first + tap * tap_step.
struct Axis {
    int positions, source_size;
    int step, first, tap_step;
    int taps, weight_first, weight_step;         // which taps of the weight
    int target_size, target_step, target_first;  // where a position lands in the output
};

// The normalisation and activation whose output is what grad_x is the gradient of.
struct Normed {
    const void* x;
    int64_t pitch;
    bool aligned;
    const float *mean, *rstd, *scale, *bias;
    int activation;
};

struct Gather {
    Axis y, x;
    int images, channels, columns;  // of one group
    const void* source;
    int64_t source_pitch;
    bool source_aligned, target_aligned;
    const void* weight;  // [column][r][s][weight_pitch]
    int weight_pitch, r, s;
    void* target;
    int64_t target_pitch;
    const float *scale, *bias;
    const void* residual;
    int64_t residual_pitch;
    int activation;
    Moments<float>* moments;  // [row tile][filter of all groups], or null
    Sums<float>* sums;        // the same of grad_x, or null
    int first_tile;           // of this launch
    Normed normed;
    // The sum split along its depth: partial sums, [split][pixel][filter of all groups].
    int splits;
    float* partial;
};

__device__ __forceinline__ int place(int row, int chunk) {
    return row * CHUNKS + (chunk ^ (row / 2 % 4));
}

// Row i of the product is pixel i of the source: a 1x1 convolution with stride 1, which is a plain
// product of matrices.
inline bool pointwise(const Gather& g) {
    auto stays = [](const Axis& a) {
        return a.taps == 1 && a.step == 1 && a.first == 0 && a.positions == a.source_size;
    };
    return stays(g.y) && stays(g.x);
}

// The source pixels of the ROWS / PASS rows of a tile that one thread copies.
template <class Storage, int COUNT, int PASS>
struct GatheredRows {
    const Storage* source;
    int image[COUNT];  // number of the image's first row of pixels
    int y[COUNT], x[COUNT];

    __device__ GatheredRows(const Gather& g, const Storage* source_, int64_t first)
        : source(source_) {
        UNROLL for (int i = 0; i < COUNT; ++i) {
            int64_t position = first + i * PASS;
            int in_row = int(position % g.x.positions);
            int64_t line = position / g.x.positions;
            int64_t n = line / g.y.positions;
            bool exists = n < g.images;
            image[i] = exists ? int(n) * g.y.source_size : 0;
            // a row past the end lies far outside the image, where all is zero
            y[i] = exists ? int(line % g.y.positions) * g.y.step + g.y.first : -(1 << 29);
            x[i] = in_row * g.x.step + g.x.first;
        }
    }

    // The pixel of row i at this tap; null outside of the image.
    __device__ const Storage* at(const Gather& g, int i, int tap_y, int tap_x) const {
        int at_y = y[i] + tap_y * g.y.tap_step, at_x = x[i] + tap_x * g.x.tap_step;
        bool inside = unsigned(at_y) < unsigned(g.y.source_size) &&
                      unsigned(at_x) < unsigned(g.x.source_size);
        int64_t pixel = int64_t(image[i] + at_y) * g.x.source_size + at_x;
        return inside ? source + pixel * g.source_pitch : nullptr;
    }
};

template <class Storage, int COUNT, int PASS>
struct StreamedRows {
    const Storage* pixel[COUNT];

    __device__ StreamedRows(const Gather& g, const Storage* source, int64_t first) {
        int64_t rows = int64_t(g.images) * g.y.positions * g.x.positions;
        UNROLL for (int i = 0; i < COUNT; ++i) {
            int64_t position = first + i * PASS;
            pixel[i] = position < rows ? source + position * g.source_pitch : nullptr;
        }
    }

    __device__ const Storage* at(const Gather&, int i, int, int) const { return pixel[i]; }
};

// Copies tiles of both operands, step by step: channels fastest, then taps. Each thread copies the
// same chunk of the same rows in every step.
template <class Format, int COLUMNS, bool POINTWISE>
struct Loader {
    static constexpr int PASS = THREADS<COLUMNS> / CHUNKS;  // rows copied at once
    static constexpr int DEPTH = CHUNKS * Format::CHUNK, COUNT = ROWS / PASS;
    using Storage = typename Format::Storage;
    using Rows = std::conditional_t<POINTWISE, StreamedRows<Storage, COUNT, PASS>,
                                    GatheredRows<Storage, COUNT, PASS>>;

    const Storage* source;
    int row, chunk, channel = 0, tap_y = 0, tap_x = 0;
    Rows rows;
    const Storage* filter[COLUMNS / PASS];

    // The first step of this split.
    __device__ void begin_at(const Gather& g, int step) {
        int steps_each = (g.channels + DEPTH - 1) / DEPTH, tap = step / steps_each;
        channel = step % steps_each * DEPTH;
        tap_y = tap / g.x.taps;
        tap_x = tap % g.x.taps;
    }

    __device__ Loader(const Gather& g, int64_t row0, int column0, int group)
        : source(static_cast<const Storage*>(g.source) + group * g.channels),
          row(int(threadIdx.x) / CHUNKS),
          chunk(int(threadIdx.x) % CHUNKS),
          rows(g, source, row0 + row) {
        const Storage* weight = static_cast<const Storage*>(g.weight);
        UNROLL for (int i = 0; i < COLUMNS / PASS; ++i) {
            int column = column0 + row + i * PASS;
            filter[i] = column < g.columns ? weight + (int64_t(group) * g.columns + column) * g.r *
                                                          g.s * g.weight_pitch
                                           : nullptr;
        }
    }

    __device__ void load_step(const Gather& g, uint4* left, uint4* right) {
        int c = channel + chunk * Format::CHUNK, left_over = g.channels - c;
        UNROLL for (int i = 0; i < COUNT; ++i) {
            const Storage* pixel = rows.at(g, i, tap_y, tap_x);
            bool inside = pixel != nullptr && left_over > 0;
            copy_chunk<Format>(left + place(row + i * PASS, chunk), inside ? pixel + c : source,
                               inside ? left_over : 0, g.source_aligned);
        }
        int r = g.y.weight_first + tap_y * g.y.weight_step;
        int s = g.x.weight_first + tap_x * g.x.weight_step;
        UNROLL for (int i = 0; i < COLUMNS / PASS; ++i) {
            bool inside = filter[i] != nullptr && left_over > 0;
            int64_t offset = inside ? int64_t(r * g.s + s) * g.weight_pitch + c : 0;
            const Storage* from = inside ? filter[i] : static_cast<const Storage*>(g.weight);
            copy_chunk<Format>(right + place(row + i * PASS, chunk), from + offset,
                               inside ? left_over : 0, true);
        }
        channel += DEPTH;
        if (channel < g.channels) return;
        channel = 0;
        if (++tap_x < g.x.taps) return;
        tap_x = 0;
        ++tap_y;
    }
};

}  // namespace gather
