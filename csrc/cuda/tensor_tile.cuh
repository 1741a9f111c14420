// What the tensor-core kernels share: number formats, 16-byte chunks, and the product of one warp.
//
//     block tile   128 rows x TILE_COLUMNS (64 or 128)    warps: 2 down, TILE_COLUMNS / 32 across
//     warp tile    64 x 32: 4 x 4 fragments of 16 x 8     64 accumulators a thread
//     depth step   two mma steps: 32 elements of 16 bits or 16 of TF32
#pragma once
#include "instructions.cuh"

namespace tensor_tile {

constexpr int ROWS = 128, WARP_ROWS = 64, WARP_COLUMNS = 32;
constexpr int ROW_FRAGMENTS = WARP_ROWS / 16, COLUMN_FRAGMENTS = WARP_COLUMNS / 8;
constexpr int STAGES = 4;

template <int COLUMNS>
constexpr int THREADS = (ROWS / WARP_ROWS) * (COLUMNS / WARP_COLUMNS) * 32;

// A format: how it is stored, how many elements fill 16 bytes, which mma multiplies it.
struct Bf16 {
    using Storage = bf16;
    static constexpr int CHUNK = 8;
    static __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4],
                                               const uint32_t (&b)[2]) {
        mma_bf16(d, a, b);
    }
    template <int N>
    static __device__ __forceinline__ void prepare(uint32_t (&)[N]) {}
};
struct Fp16 {
    using Storage = fp16;
    static constexpr int CHUNK = 8;
    static __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4],
                                               const uint32_t (&b)[2]) {
        mma_fp16(d, a, b);
    }
    template <int N>
    static __device__ __forceinline__ void prepare(uint32_t (&)[N]) {}
};
struct Tf32 {
    using Storage = float;
    static constexpr int CHUNK = 4;
    static __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4],
                                               const uint32_t (&b)[2]) {
        mma_tf32(d, a, b);
    }
    // Rounded, not truncated as the hardware would: half the error, and no bias towards zero.
    template <int N>
    static __device__ __forceinline__ void prepare(uint32_t (&operand)[N]) {
        UNROLL for (int i = 0; i < N; ++i) round_tf32(operand[i]);
    }
};

template <class Format>
union Chunk {
    uint4 all;
    typename Format::Storage element[Format::CHUNK];
};

// One chunk to shared memory: `valid` elements of `source`, zeros after them. Sources that may
// begin anywhere (odd channel counts) are read element by element, at once instead of later.
template <class Format>
__device__ __forceinline__ void copy_chunk(uint4* target, const typename Format::Storage* source,
                                           int valid, bool aligned) {
    using Storage = typename Format::Storage;
    valid = valid < 0 ? 0 : valid > Format::CHUNK ? Format::CHUNK : valid;
    if (aligned) {
        copy_async_16(target, source, valid * int(sizeof(Storage)));
        return;
    }
    Chunk<Format> chunk;
    chunk.all = uint4{0, 0, 0, 0};
    UNROLL for (int i = 0; i < Format::CHUNK; ++i) {
        if (i < valid) chunk.element[i] = load(source + i);
    }
    store_shared(target, chunk.all);
}

struct Accumulators {
    float value[ROW_FRAGMENTS][COLUMN_FRAGMENTS][4];
};

template <class Format>
__device__ __forceinline__ void multiply(Accumulators& sum, uint32_t (&a)[ROW_FRAGMENTS][4],
                                         uint32_t (&b)[COLUMN_FRAGMENTS][2]) {
    UNROLL for (int i = 0; i < ROW_FRAGMENTS; ++i) Format::prepare(a[i]);
    UNROLL for (int j = 0; j < COLUMN_FRAGMENTS; ++j) Format::prepare(b[j]);
    UNROLL for (int i = 0; i < ROW_FRAGMENTS; ++i) {
        UNROLL for (int j = 0; j < COLUMN_FRAGMENTS; ++j) Format::mma(sum.value[i][j], a[i], b[j]);
    }
}

// Splits the four matrices of one ldmatrix into two fragments of the right operand.
__device__ __forceinline__ void two_fragments(const uint32_t (&from)[4], uint32_t (&first)[2],
                                              uint32_t (&second)[2]) {
    first[0] = from[0];
    first[1] = from[1];
    second[0] = from[2];
    second[1] = from[3];
}

// Calls f(row, column, value, next) for each pair of neighbours in a row that this thread holds.
template <class F>
__device__ __forceinline__ void each_pair(const Accumulators& sum, int warp_row, int warp_column,
                                          F f) {
    int lane = int(threadIdx.x) % 32;
    UNROLL for (int i = 0; i < ROW_FRAGMENTS; ++i) {
        UNROLL for (int j = 0; j < COLUMN_FRAGMENTS; ++j) {
            UNROLL for (int half = 0; half < 2; ++half) {
                const float (&value)[4] = sum.value[i][j];
                f(warp_row + i * 16 + half * 8 + lane / 4, warp_column + j * 8 + lane % 4 * 2,
                  value[half * 2], value[half * 2 + 1]);
            }
        }
    }
}

}  // namespace tensor_tile
