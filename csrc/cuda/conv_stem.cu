// Convolutions with few inputs to a sum, as the first layer has: r * s * c <= 32, 16-bit types.
//
//     forward       rows: pixels      columns: k              depth: r*s*c, padded to 32 by zeros
//     grad_weight   rows: k           columns: r*s*c, <= 32   depth: pixels
//
// x is read where it lies, by any strides (planar images too), straight into the registers of the
// fragments: neighbouring lanes read neighbouring values, and the first-level cache holds the
// window. Everything else of a block stays in registers: forward keeps the weights and goes over
// many tiles of pixels; grad_weight keeps its whole result and goes over a range of pixels. The
// ranges are added up in one fixed order.
#include "arrange.cuh"
#include "cuda_api.h"
#include "implicit.h"
#include "tile_output.cuh"

namespace {

using namespace tensor_tile;
using namespace gather;

constexpr int DEPTH = 32, COLUMNS = 64;
constexpr int WARPS = 4, WARP_PIXELS = 32;
constexpr int TILES_EACH = 8;      // of a block, forward
constexpr int RANGE = 2048;        // least pixels of a block, grad_weight
constexpr int MOST_RANGES = 1056;  // eight for each multiprocessor of the largest chips

struct Stem {
    Gather g;
    ConvShape a;
    Strides x;
};

// What index j of r*s*c reads: steps within the image from where a window begins.
struct Tap {
    int y, x, c;  // y < 0: padding of the depth

    __device__ __forceinline__ Tap(const ConvShape& a, int j) {
        bool exists = j < a.r * a.s * a.c;
        c = j % a.c;
        x = j / a.c % a.s * a.dilation_x;
        y = exists ? j / a.c / a.s * a.dilation_y : -1;
    }
};

// Where the window of an output pixel begins; a pixel past the end has none.
struct Window {
    int64_t image;
    int y, x;

    __device__ __forceinline__ Window(const Stem& t, int64_t pixel) {
        int64_t line = pixel / t.a.q, n = line / t.a.p;
        image = n < t.a.n ? n * t.x.n : -1;
        y = int(line % t.a.p) * t.a.stride_y - t.a.pad_y;
        x = int(pixel % t.a.q) * t.a.stride_x - t.a.pad_x;
    }
};

template <class Storage>
__device__ __forceinline__ uint32_t value_at(const Stem& t, const Window& at, const Tap& tap) {
    int y = at.y + tap.y, x = at.x + tap.x;
    bool inside = at.image >= 0 && tap.y >= 0 && unsigned(y) < unsigned(t.a.h) &&
                  unsigned(x) < unsigned(t.a.w);
    if (!inside) return 0;
    int64_t offset = at.image + tap.c * t.x.c + y * t.x.h + x * t.x.w;
    return load(static_cast<const Storage*>(t.g.source) + offset).bits;
}

// Two neighbours in one register.
__device__ __forceinline__ uint32_t pair_of(uint32_t low, uint32_t high) {
    return low | high << 16;
}

template <class Format>
__device__ void load_weights(const Stem& t, int column0, uint32_t (&b)[2][COLUMNS / 8][2]) {
    using Storage = typename Format::Storage;
    const Storage* weight = static_cast<const Storage*>(t.g.weight);
    int lane = int(threadIdx.x) % 32, depth = t.a.r * t.a.s * t.a.c;
    UNROLL for (int half = 0; half < 2; ++half) {
        UNROLL for (int j = 0; j < COLUMNS / 8; ++j) {
            UNROLL for (int e = 0; e < 2; ++e) {
                int filter = column0 + j * 8 + lane / 4, k = half * 16 + e * 8 + lane % 4 * 2;
                const Storage* from = weight + int64_t(filter) * depth + k;
                bool exists = filter < t.a.k;
                uint32_t low = exists && k < depth ? load(from).bits : 0;
                uint32_t high = exists && k + 1 < depth ? load(from + 1).bits : 0;
                b[half][j][e] = pair_of(low, high);
            }
        }
    }
}

// 16 pixels from `pixel` on, all of the depth.
template <class Format>
__device__ void load_pixels(const Stem& t, int64_t pixel, uint32_t (&a)[2][4]) {
    using Storage = typename Format::Storage;
    int lane = int(threadIdx.x) % 32;
    const Window windows[2] = {Window(t, pixel + lane / 4), Window(t, pixel + lane / 4 + 8)};
    UNROLL for (int half = 0; half < 2; ++half) {
        UNROLL for (int e = 0; e < 4; ++e) {
            int k = half * 16 + e / 2 * 8 + lane % 4 * 2;
            const Window& window = windows[e % 2];
            a[half][e] = pair_of(value_at<Storage>(t, window, Tap(t.a, k)),
                                 value_at<Storage>(t, window, Tap(t.a, k + 1)));
        }
    }
}

template <class Format>
__global__ void __launch_bounds__(WARPS * 32) stem_forward_kernel(const Stem t) {
    SHARED(float, result, [ROWS * (COLUMNS + 8)]);
    int column0 = int(blockIdx.y) * COLUMNS, columns = t.a.k - column0;
    int warp_row = int(threadIdx.x) / 32 * WARP_PIXELS, lane = int(threadIdx.x) % 32;
    uint32_t b[2][COLUMNS / 8][2];
    load_weights<Format>(t, column0, b);
    int64_t tiles = (int64_t(t.a.n) * t.a.p * t.a.q + ROWS - 1) / ROWS;
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        UNROLL for (int i = 0; i < WARP_PIXELS; i += 16) {
            uint32_t a[2][4];
            load_pixels<Format>(t, tile * ROWS + warp_row + i, a);
            UNROLL for (int j = 0; j < COLUMNS / 8; ++j) {
                if (j * 8 >= columns) continue;
                float sum[4] = {};
                Format::mma(sum, a[0], b[0][j]);
                Format::mma(sum, a[1], b[1][j]);
                float* to = result + (warp_row + i + lane / 4) * (COLUMNS + 8) + j * 8;
                to += lane % 4 * 2;
                store_shared(reinterpret_cast<float2*>(to), float2{sum[0], sum[1]});
                to += 8 * (COLUMNS + 8);
                store_shared(reinterpret_cast<float2*>(to), float2{sum[2], sum[3]});
            }
        }
        __syncthreads();
        write_tile<Format, COLUMNS>(t.g, result, tile * ROWS, column0, 0, [](auto...) {});
        if (t.g.moments != nullptr) write_moments<COLUMNS>(t.g, result, tile * ROWS, column0);
        __syncthreads();
    }
}

constexpr int STEP = WARPS * 16;  // pixels that a block takes at once, 16 a warp

// 16 bytes of filters each: STEP pixels of grad_y, chunk c of row i at c ^ (i % 8).
template <class Format>
__device__ void load_grad_y(const Stem& t, int64_t pixel0, int64_t end, int filter0, uint4* tile) {
    using Storage = typename Format::Storage;
    for (int i = int(threadIdx.x); i < STEP * COLUMNS / 8; i += WARPS * 32) {
        int row = i / 8, filter = filter0 + i % 8 * 8;
        bool inside = pixel0 + row < end && filter < t.a.k;
        const Storage* from = static_cast<const Storage*>(t.g.target);
        copy_chunk<Format>(tile + row * 8 + (i % 8 ^ row % 8),
                           inside ? from + (pixel0 + row) * t.g.target_pitch + filter : from,
                           inside ? t.a.k - filter : 0, t.g.target_aligned);
    }
    copy_commit();
    copy_wait<0>();
}

// partial: [range][k][r*s*c]
template <class Format>
__global__ void __launch_bounds__(WARPS * 32)
    stem_grad_weight_kernel(const Stem t, int64_t range, float* partial) {
    using Storage = typename Format::Storage;
    SHARED(uint4, tile, [STEP * COLUMNS / 8]);
    SHARED(float, sums, [COLUMNS * DEPTH]);
    int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
    int filter0 = int(blockIdx.y) * COLUMNS, depth = t.a.r * t.a.s * t.a.c;
    int64_t pixels = int64_t(t.a.n) * t.a.p * t.a.q, begin = blockIdx.x * range;
    int64_t end = begin + range < pixels ? begin + range : pixels;
    float sum[COLUMNS / 16][DEPTH / 8][4] = {};
    for (int64_t pixel0 = begin; pixel0 < end; pixel0 += STEP) {
        __syncthreads();  // all are done with the tile before
        load_grad_y<Format>(t, pixel0, end, filter0, tile);
        __syncthreads();
        uint32_t b[DEPTH / 8][2];
        UNROLL for (int j = 0; j < DEPTH / 8; ++j) {
            Tap tap(t.a, j * 8 + lane / 4);
            UNROLL for (int e = 0; e < 2; ++e) {
                int64_t pixel = pixel0 + warp * 16 + e * 8 + lane % 4 * 2;
                b[j][e] = pair_of(value_at<Storage>(t, Window(t, pixel), tap),
                                  value_at<Storage>(t, Window(t, pixel + 1), tap));
            }
        }
        UNROLL for (int i = 0; i < COLUMNS / 16; ++i) {
            uint32_t a[4];
            int row = warp * 16 + lane / 16 * 8 + lane % 8, chunk = i * 2 + lane / 8 % 2;
            ldmatrix_x4<true>(a, tile + row * 8 + (chunk ^ row % 8));
            UNROLL for (int j = 0; j < DEPTH / 8; ++j) Format::mma(sum[i][j], a, b[j]);
        }
    }
    for (int turn = 0; turn < WARPS; ++turn) {  // one warp after the other: one fixed order
        if (turn == warp) {
            UNROLL for (int i = 0; i < COLUMNS / 16; ++i) {
                UNROLL for (int j = 0; j < DEPTH / 8; ++j) {
                    UNROLL for (int e = 0; e < 4; ++e) {
                        int row = i * 16 + e / 2 * 8 + lane / 4, column = j * 8 + lane % 4 * 2;
                        float* to = sums + row * DEPTH + column + e % 2;
                        *to = (turn == 0 ? 0.f : *to) + sum[i][j][e];
                    }
                }
            }
        }
        __syncthreads();
    }
    for (int i = int(threadIdx.x); i < COLUMNS * depth; i += WARPS * 32) {
        int filter = filter0 + i / depth;
        if (filter >= t.a.k) break;
        store(partial + (int64_t(blockIdx.x) * t.a.k + filter) * depth + i % depth,
              load_shared(sums + i / depth * DEPTH + i % depth));
    }
}

__global__ void add_ranges_kernel(const float* partial, float* out, int count, int ranges) {
    int i = int(blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= count) return;
    float sum = 0;
    for (int range = 0; range < ranges; ++range) sum += load(partial + int64_t(range) * count + i);
    store(out + i, sum);
}

int ranges_of(const ConvShape& a) {
    int64_t count = (int64_t(a.n) * a.p * a.q + RANGE - 1) / RANGE;
    return int(count < 1 ? 1 : count > MOST_RANGES ? MOST_RANGES : count);
}

template <class Format>
Stem stem_of(const YoloConv& call) {
    const ConvShape& a = call.shape;
    Stem t = {output_of<Format>(call), a, call.x_strides};
    t.g.source = call.x, t.g.weight = call.weight;
    return t;
}

template <class Format>
int forward(const YoloConv& call, Stream stream) {
    const ConvShape& a = call.shape;
    int64_t tiles = (int64_t(a.n) * a.p * a.q + ROWS - 1) / ROWS;
    if (tiles == 0) return YOLO_OK;
    auto kernel = stem_forward_kernel<Format>;
    dim3 grid(blocks_for(tiles, TILES_EACH), blocks_for(a.k, COLUMNS));
    LAUNCH(kernel, grid, dim3(WARPS * 32), 0, stream, stem_of<Format>(call));
    return launch_status();
}

template <class Format>
int grad_weight(const YoloConv& call, Stream stream) {
    const ConvShape& a = call.shape;
    int ranges = ranges_of(a), count = a.k * a.r * a.s * a.c;
    int64_t pixels = int64_t(a.n) * a.p * a.q, each = (pixels + ranges - 1) / ranges;
    auto* partial = static_cast<float*>(call.workspace);
    auto kernel = stem_grad_weight_kernel<Format>;
    LAUNCH(kernel, dim3(unsigned(ranges), blocks_for(a.k, COLUMNS)), dim3(WARPS * 32), 0, stream,
           stem_of<Format>(call), each, partial);
    LAUNCH(add_ranges_kernel, dim3(blocks_for(count, 256)), dim3(256), 0, stream, partial,
           static_cast<float*>(call.weight), count, ranges);
    return launch_status();
}

template <class Format>
int run(const YoloConv& call, YoloPass pass, Stream stream) {
    return pass == YOLO_FORWARD ? forward<Format>(call, stream) : grad_weight<Format>(call, stream);
}

}  // namespace

int64_t yolo_cuda_conv_stem_workspace(const YoloConv* call, YoloPass pass) {
    const ConvShape& a = call->shape;
    return pass == YOLO_FORWARD ? 0 : int64_t(ranges_of(a)) * a.k * a.r * a.s * a.c * 4;
}

int yolo_cuda_conv_stem(const YoloConv* call, YoloPass pass, void* stream) {
    const ConvShape& a = call->shape;
    if (!consistent(a) || a.groups != 1 || a.r * a.s * a.c > DEPTH || pass == YOLO_GRAD_X ||
        !pixels_flat(call->y_strides, a.p, a.q) || a.k > 65535)
        return YOLO_BAD_SHAPE;
    if (yolo_cuda_conv_stem_workspace(call, pass) > call->workspace_bytes)
        return YOLO_WORKSPACE_TOO_SMALL;
    auto s = static_cast<Stream>(stream);
    if (call->type == YOLO_BFLOAT16) return run<Bf16>(*call, pass, s);
    if (call->type == YOLO_FLOAT16) return run<Fp16>(*call, pass, s);
    return YOLO_BAD_TYPE;
}
