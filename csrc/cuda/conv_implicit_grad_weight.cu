// grad_weight on tensor cores: the sum over all output pixels, columns of x formed on the fly.
//
//     pass          rows   columns      depth    left      right               lands in
//     grad_weight   k      c, one tap   n*p*q    grad_y    pixels of x         k r s c, float
//
// Both operands have the depth as rows in memory. In 16-bit formats ldmatrix turns them; TF32
// words are read one by one.
//
//     tile in shared memory   depth rows of 128 (or 64) channels; chunk c of row i lies at
//                             c ^ (i % 8), for TF32 at c ^ (i % 4 * 2): no bank conflicts in either
//     sum split               `splits` ranges of pixels, partial sums in the workspace, added up in
//                             one fixed order: the same bits in every run
#include "cuda_api.h"
#include "implicit.h"
#include "tensor_tile.cuh"

namespace {

using namespace tensor_tile;

struct Problem {
    ConvShape a;
    const void *x, *grad_y;
    int64_t x_pitch, y_pitch;
    bool x_aligned, y_aligned;
    float* out;  // [split][k][r][s][c of a group]
    int splits, pixels_per_split;
};

template <class Format>
constexpr int DEPTH = 4 * Format::CHUNK;  // pixels a step: two mma steps

template <class Format, int CHANNELS>
__device__ __forceinline__ int place(int row, int chunk) {
    constexpr int CHUNKS = CHANNELS / Format::CHUNK;
    return row * CHUNKS + (chunk ^ (Format::CHUNK == 8 ? row % 8 : row % 4 * 2));
}

// Which part of the result this block sums up.
struct Part {
    int group, split, k0, c0, r, s;
};

template <class Format, int COLUMNS>
__device__ void load_step(const Problem& t, const Part& part, int pixel0, int end, uint4* left,
                          uint4* right) {
    using Storage = typename Format::Storage;
    const ConvShape& a = t.a;
    constexpr int LEFT = ROWS / Format::CHUNK, RIGHT = COLUMNS / Format::CHUNK;
    int filters = a.k / a.groups, channels = a.c / a.groups;
    const Storage* y = static_cast<const Storage*>(t.grad_y) + part.group * filters;
    const Storage* x = static_cast<const Storage*>(t.x) + part.group * channels;
    UNROLL for (int i = int(threadIdx.x); i < DEPTH<Format> * LEFT; i += THREADS<COLUMNS>) {
        int pixel = pixel0 + i / LEFT, k = part.k0 + i % LEFT * Format::CHUNK;
        bool inside = pixel < end && k < filters;
        copy_chunk<Format>(left + place<Format, ROWS>(i / LEFT, i % LEFT),
                           inside ? y + pixel * t.y_pitch + k : y, inside ? filters - k : 0,
                           t.y_aligned);
    }
    UNROLL for (int i = int(threadIdx.x); i < DEPTH<Format> * RIGHT; i += THREADS<COLUMNS>) {
        int pixel = pixel0 + i / RIGHT, c = part.c0 + i % RIGHT * Format::CHUNK;
        int line = pixel / a.q, n = line / a.p;
        int h = (line - n * a.p) * a.stride_y + part.r * a.dilation_y - a.pad_y;
        int w = (pixel - line * a.q) * a.stride_x + part.s * a.dilation_x - a.pad_x;
        bool inside = pixel < end && c < channels && unsigned(h) < unsigned(a.h) &&
                      unsigned(w) < unsigned(a.w);
        int64_t at = (int64_t(n) * a.h + h) * a.w + w;
        copy_chunk<Format>(right + place<Format, COLUMNS>(i / RIGHT, i % RIGHT),
                           inside ? x + at * t.x_pitch + c : x, inside ? channels - c : 0,
                           t.x_aligned);
    }
}

// Fragments of 16-bit formats, turned by ldmatrix: 16 pixels from `depth` on.
template <class Format, int COLUMNS>
__device__ __forceinline__ void turned_fragments(uint32_t (&a)[ROW_FRAGMENTS][4],
                                                 uint32_t (&b)[COLUMN_FRAGMENTS][2],
                                                 const uint4* left, const uint4* right, int depth,
                                                 int warp_row, int warp_column) {
    int lane = int(threadIdx.x) % 32;
    UNROLL for (int i = 0; i < ROW_FRAGMENTS; ++i) {
        int row = depth + lane / 16 * 8 + lane % 8, chunk = warp_row / 8 + i * 2 + lane / 8 % 2;
        ldmatrix_x4<true>(a[i], left + place<Format, ROWS>(row, chunk));
    }
    UNROLL for (int j = 0; j < COLUMN_FRAGMENTS; j += 2) {
        uint32_t pair[4];
        int row = depth + lane / 8 % 2 * 8 + lane % 8, chunk = warp_column / 8 + j + lane / 16;
        ldmatrix_x4<true>(pair, right + place<Format, COLUMNS>(row, chunk));
        two_fragments(pair, b[j], b[j + 1]);
    }
}

// Element (pixel, channel) of a tile of 32-bit words.
template <int CHANNELS>
__device__ __forceinline__ uint32_t word(const uint4* tile, int pixel, int channel) {
    const uint4* chunk = tile + place<Tf32, CHANNELS>(pixel, channel / 4);
    return load_shared(reinterpret_cast<const uint32_t*>(chunk) + channel % 4);
}

// Fragments of TF32: 8 pixels from `depth` on, word by word.
template <int COLUMNS>
__device__ __forceinline__ void word_fragments(uint32_t (&a)[ROW_FRAGMENTS][4],
                                               uint32_t (&b)[COLUMN_FRAGMENTS][2],
                                               const uint4* left, const uint4* right, int depth,
                                               int warp_row, int warp_column) {
    int lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
    UNROLL for (int i = 0; i < ROW_FRAGMENTS; ++i) {
        UNROLL for (int e = 0; e < 4; ++e) {
            a[i][e] = word<ROWS>(left, depth + t + e / 2 * 4, warp_row + i * 16 + g + e % 2 * 8);
        }
    }
    UNROLL for (int j = 0; j < COLUMN_FRAGMENTS; ++j) {
        UNROLL for (int e = 0; e < 2; ++e) {
            b[j][e] = word<COLUMNS>(right, depth + t + e * 4, warp_column + j * 8 + g);
        }
    }
}

template <class Format, int COLUMNS>
__device__ __forceinline__ void multiply_step(Accumulators& sum, const uint4* left,
                                              const uint4* right, int warp_row, int warp_column) {
    UNROLL for (int half = 0; half < 2; ++half) {
        uint32_t a[ROW_FRAGMENTS][4], b[COLUMN_FRAGMENTS][2];
        int depth = half * DEPTH<Format> / 2;
        if constexpr (Format::CHUNK == 8)
            turned_fragments<Format, COLUMNS>(a, b, left, right, depth, warp_row, warp_column);
        else
            word_fragments<COLUMNS>(a, b, left, right, depth, warp_row, warp_column);
        multiply<Format>(sum, a, b);
    }
}

template <int COLUMNS>
__device__ Part part_of(const Problem& t) {
    int channel_tiles = (t.a.c / t.a.groups + COLUMNS - 1) / COLUMNS;
    int tap = int(blockIdx.x) / channel_tiles;
    return {int(blockIdx.z) / t.splits,
            int(blockIdx.z) % t.splits,
            int(blockIdx.y) * ROWS,
            int(blockIdx.x) % channel_tiles * COLUMNS,
            tap / t.a.s,
            tap % t.a.s};
}

template <class Format, int COLUMNS>
__global__ void __launch_bounds__(THREADS<COLUMNS>, Format::CHUNK == 8 ? 2 : 1)
    grad_weight_kernel(const Problem t) {
    constexpr int LEFT = DEPTH<Format> * ROWS / Format::CHUNK;
    constexpr int STAGE = LEFT + DEPTH<Format> * COLUMNS / Format::CHUNK;
    SHARED_DYN(uint4, tiles);
    Part part = part_of<COLUMNS>(t);
    int warp = int(threadIdx.x) / 32;
    int warp_row = warp % 2 * WARP_ROWS, warp_column = warp / 2 * WARP_COLUMNS;
    int pixels = t.a.n * t.a.p * t.a.q, begin = part.split * t.pixels_per_split;
    int end = pixels - begin < t.pixels_per_split ? pixels : begin + t.pixels_per_split;
    int steps = begin < end ? (end - begin + DEPTH<Format> - 1) / DEPTH<Format> : 0;
    for (int i = 0; i < STAGES - 1; ++i) {
        uint4* stage = tiles + i * STAGE;
        if (i < steps)
            load_step<Format, COLUMNS>(t, part, begin + i * DEPTH<Format>, end, stage,
                                       stage + LEFT);
        copy_commit();
    }
    Accumulators sum = {};
    for (int i = 0; i < steps; ++i) {
        copy_wait<STAGES - 2>();
        __syncthreads();
        int ahead = i + STAGES - 1;
        uint4* next = tiles + ahead % STAGES * STAGE;
        if (ahead < steps)
            load_step<Format, COLUMNS>(t, part, begin + ahead * DEPTH<Format>, end, next,
                                       next + LEFT);
        copy_commit();
        const uint4* stage = tiles + i % STAGES * STAGE;
        multiply_step<Format, COLUMNS>(sum, stage, stage + LEFT, warp_row, warp_column);
    }
    copy_wait<0>();
    int filters = t.a.k / t.a.groups, channels = t.a.c / t.a.groups;
    int64_t first = int64_t(part.split) * t.a.k + part.group * filters;
    each_pair(sum, warp_row, warp_column, [&](int row, int column, float value, float next) {
        int k = part.k0 + row, c = part.c0 + column;
        if (k >= filters || c >= channels) return;
        int64_t tap = ((first + k) * t.a.r + part.r) * t.a.s + part.s;
        store(t.out + tap * channels + c, value);
        if (c + 1 < channels) store(t.out + tap * channels + c + 1, next);
    });
}

__global__ void add_splits_kernel(const float* partial, float* out, int64_t count, int splits) {
    int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= count) return;
    float sum = load(partial + i);
    for (int split = 1; split < splits; ++split) sum += load(partial + split * count + i);
    store(out + i, sum);
}

int columns_of(const ConvShape& a) {
    return a.c / a.groups <= 64 ? 64 : 128;
}
int64_t weights_of(const ConvShape& a) {
    return int64_t(a.k) * a.r * a.s * (a.c / a.groups);
}
int depth_of(const YoloConv& call) {
    return call.type == YOLO_FLOAT32 ? 16 : 32;
}

int splits_of(const YoloConv& call) {
    const ConvShape& a = call.shape;
    int columns = columns_of(a);
    int64_t blocks = int64_t((a.k / a.groups + ROWS - 1) / ROWS) * a.r * a.s * a.groups *
                     ((a.c / a.groups + columns - 1) / columns);
    int64_t pixels = int64_t(a.n) * a.p * a.q, step = depth_of(call);
    int64_t splits = call.splits > 0 ? call.splits : (WANTED_BLOCKS + blocks - 1) / blocks;
    int64_t most = pixels / (step * (call.splits > 0 ? 1 : LEAST_STEPS));
    return int(splits < 1 || most < 1 ? 1 : splits < most ? splits : most);
}

template <class Format, int COLUMNS>
int launch(const Problem& t, Stream stream) {
    constexpr size_t BYTES = DEPTH<Format> * (ROWS + COLUMNS) / Format::CHUNK * 16 * STAGES;
    const ConvShape& a = t.a;
    dim3 grid(unsigned((a.c / a.groups + COLUMNS - 1) / COLUMNS * a.r * a.s),
              unsigned((a.k / a.groups + ROWS - 1) / ROWS), unsigned(a.groups * t.splits));
    auto kernel = grad_weight_kernel<Format, COLUMNS>;
    int status = allow_shared(kernel, BYTES);
    if (status != YOLO_OK) return status;
    LAUNCH(kernel, grid, dim3(THREADS<COLUMNS>), BYTES, stream, t);
    return launch_status();
}

template <class Format>
int run(const YoloConv& call, Stream stream) {
    const ConvShape& a = call.shape;
    int splits = splits_of(call), pixels = a.n * a.p * a.q;
    int range = round_up((pixels + splits - 1) / splits, DEPTH<Format>);
    auto* out = static_cast<float*>(call.weight);
    Problem t = {a,
                 call.x,
                 call.y,
                 call.x_strides.w,
                 call.y_strides.w,
                 chunks_aligned<Format>(call.x, call.x_strides.w, a.c / a.groups, a.groups),
                 chunks_aligned<Format>(call.y, call.y_strides.w, a.k / a.groups, a.groups),
                 splits == 1 ? out : static_cast<float*>(call.workspace),
                 splits,
                 range};
    int status =
        columns_of(a) == 64 ? launch<Format, 64>(t, stream) : launch<Format, 128>(t, stream);
    if (status != YOLO_OK || splits == 1) return status;
    int64_t count = weights_of(a);
    LAUNCH(add_splits_kernel, dim3(blocks_for(count, 256)), dim3(256), 0, stream,
           static_cast<const float*>(call.workspace), out, count, splits);
    return launch_status();
}

}  // namespace

int64_t implicit_grad_weight_workspace(const YoloConv& call) {
    int splits = splits_of(call);
    return splits == 1 ? 0 : weights_of(call.shape) * splits * int64_t(sizeof(float));
}

int implicit_grad_weight(const YoloConv& call, Stream stream) {
    const ConvShape& a = call.shape;
    int64_t pixels = int64_t(a.n) * a.p * a.q;
    if (pixels >= int64_t(1) << 31 || int64_t(a.groups) * splits_of(call) > 65535)
        return YOLO_BAD_SHAPE;
    if (call.type == YOLO_FLOAT32) return run<Tf32>(call, stream);
    if (call.type == YOLO_BFLOAT16) return run<Bf16>(call, stream);
    return run<Fp16>(call, stream);
}
