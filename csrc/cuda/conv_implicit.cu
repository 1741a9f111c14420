// Convolution on tensor cores, columns formed on the fly. NHWC with a pixel pitch, weights k r s c.
//
//     pass      rows (pixels)  columns  depth    left                     right
//     forward   n*p*q          k        r*s*c    pixels of x              weight
//     grad_x    n*h*w          c        r*s*k    pixels of grad_y         weight, as c r s k
//
// Rows, columns and depth are those of one group. Both passes are one kernel: a row gathers source
// pixels at a regular grid of taps. grad_x of a strided convolution is split by the position of the
// pixel modulo the stride: each part reads only the taps that reach it, none that would be zero.
// Where there is one tap and row i is pixel i (1x1, stride 1) the rows are streamed, not gathered.
//
//     tile in shared memory   rows of 4 chunks of 16 bytes (64 bytes); chunk c of row i lies at
//                             c ^ (i / 2 % 4), so the 8 rows that ldmatrix reads fill all 32 banks
//     pipeline                4 stages of cp.async, one barrier a step
//     result                  through shared memory as float, then written 16 bytes a thread
//     statistics              on demand, mean and spread of each filter over the tile's 128 pixels
//     gradient sums           on demand, those that the backward pass of a normalisation needs,
//     over
//                             the same pixels, when grad_x is the gradient at what it has made
#include "arrange.cuh"
#include "cuda_api.h"
#include "implicit.h"
#include "tile_output.cuh"

namespace {

using namespace tensor_tile;
using namespace gather;

template <class Format>
__device__ __forceinline__ void multiply_step(Accumulators& sum, const uint4* left,
                                              const uint4* right, int warp_row, int warp_column) {
    int lane = int(threadIdx.x) % 32;
    UNROLL for (int half = 0; half < 2; ++half) {
        uint32_t a[ROW_FRAGMENTS][4], b[COLUMN_FRAGMENTS][2], pair[4];
        UNROLL for (int i = 0; i < ROW_FRAGMENTS; ++i) {
            ldmatrix_x4<false>(a[i],
                               left + place(warp_row + i * 16 + lane % 16, half * 2 + lane / 16));
        }
        UNROLL for (int j = 0; j < COLUMN_FRAGMENTS; j += 2) {
            int row = warp_column + j * 8 + lane / 16 * 8 + lane % 8;
            ldmatrix_x4<false>(pair, right + place(row, half * 2 + lane / 8 % 2));
            two_fragments(pair, b[j], b[j + 1]);
        }
        multiply<Format>(sum, a, b);
    }
}

// SUMS: the epilogue of grad_x that leaves gradient sums; a kernel of its own, for its registers.
template <class Format, int COLUMNS, bool POINTWISE, bool SUMS>
__global__ void __launch_bounds__(THREADS<COLUMNS>, 2) gather_kernel(const Gather g) {
    constexpr int STAGE = (ROWS + COLUMNS) * CHUNKS;
    SHARED_DYN(uint4, tiles);
    int column_tiles = (g.columns + COLUMNS - 1) / COLUMNS;
    int row_tile = int(blockIdx.x) / column_tiles;  // neighbours share source pixels
    int column0 = int(blockIdx.x) % column_tiles * COLUMNS;
    int warp = int(threadIdx.x) / 32;
    int warp_row = warp % 2 * WARP_ROWS, warp_column = warp / 2 * WARP_COLUMNS;
    int group = int(blockIdx.z), split = int(blockIdx.y);
    Loader<Format, COLUMNS, POINTWISE> loader(g, int64_t(row_tile) * ROWS, column0, group);
    int all_steps = g.y.taps * g.x.taps * ((g.channels + loader.DEPTH - 1) / loader.DEPTH);
    int begin = all_steps * split / g.splits, steps = all_steps * (split + 1) / g.splits - begin;
    if (split > 0) loader.begin_at(g, begin);
    for (int i = 0; i < STAGES - 1; ++i) {
        uint4* stage = tiles + i * STAGE;
        if (i < steps) loader.load_step(g, stage, stage + ROWS * CHUNKS);
        copy_commit();
    }
    Accumulators sum = {};
    for (int i = 0; i < steps; ++i) {
        copy_wait<STAGES - 2>();
        __syncthreads();  // stage i is there for all, and all are done with stage i - 1
        uint4* next = tiles + (i + STAGES - 1) % STAGES * STAGE;
        if (i + STAGES - 1 < steps) loader.load_step(g, next, next + ROWS * CHUNKS);
        copy_commit();
        const uint4* stage = tiles + i % STAGES * STAGE;
        multiply_step<Format>(sum, stage, stage + ROWS * CHUNKS, warp_row, warp_column);
    }
    copy_wait<0>();
    __syncthreads();
    float* result = reinterpret_cast<float*>(tiles);
    each_pair(sum, warp_row, warp_column, [&](int row, int column, float value, float next) {
        float* to = result + row * (COLUMNS + 8) + column;
        store_shared(reinterpret_cast<float2*>(to), float2{value, next});
    });
    __syncthreads();
    int64_t row0 = int64_t(row_tile) * ROWS;
    if (g.splits > 1) return write_partial<COLUMNS>(g, result, row0, column0, group, split);
    if constexpr (SUMS) return write_gradient<Format, COLUMNS>(g, result, row0, column0, group);
    write_tile<Format, COLUMNS>(g, result, row0, column0, group, [](auto...) {});
    if (g.moments != nullptr) write_moments<COLUMNS>(g, result, row0, column0);
}

// Tiles of rows in one launch.
int64_t tiles_of(const Gather& g) {
    return (int64_t(g.images) * g.y.positions * g.x.positions + ROWS - 1) / ROWS;
}

template <class Format, int COLUMNS>
int launch_gather(const Gather& g, int groups, Stream stream) {
    constexpr size_t STAGE_BYTES = (ROWS + COLUMNS) * CHUNKS * 16 * STAGES;
    constexpr size_t RESULT_BYTES = ROWS * (COLUMNS + 8) * sizeof(float);
    constexpr size_t BYTES = STAGE_BYTES > RESULT_BYTES ? STAGE_BYTES : RESULT_BYTES;
    if (tiles_of(g) == 0) return YOLO_OK;
    int64_t tiles = tiles_of(g) * ((g.columns + COLUMNS - 1) / COLUMNS);
    dim3 grid(blocks_for(tiles, 1), unsigned(g.splits), unsigned(groups));
    bool stream_rows = pointwise(g);
    auto kernel = stream_rows ? gather_kernel<Format, COLUMNS, true, false>
                              : gather_kernel<Format, COLUMNS, false, false>;
    if (g.sums != nullptr)
        kernel = stream_rows ? gather_kernel<Format, COLUMNS, true, true>
                             : gather_kernel<Format, COLUMNS, false, true>;
    int status = allow_shared(kernel, BYTES);
    if (status != YOLO_OK) return status;
    LAUNCH(kernel, grid, dim3(THREADS<COLUMNS>), BYTES, stream, g);
    return launch_status();
}

template <class Format>
int launch_gather(const Gather& g, int groups, Stream stream) {
    return g.columns <= 64 ? launch_gather<Format, 64>(g, groups, stream)
                           : launch_gather<Format, 128>(g, groups, stream);
}

int element_bytes(const YoloConv& call) {
    return call.type == YOLO_FLOAT32 ? 4 : 2;
}

// Steps of the sum of one output: channels by chunks of DEPTH, times taps.
int depth_steps(const YoloConv& call) {
    const ConvShape& a = call.shape;
    int depth = 64 / element_bytes(call);
    return a.r * a.s * ((a.c / a.groups + depth - 1) / depth);
}

int forward_splits(const YoloConv& call) {
    int most = depth_steps(call);
    return call.splits < 1 || call.tiles != nullptr ? 1 : call.splits < most ? call.splits : most;
}

// Bytes for the weights of the forward pass where they must be padded, in multiples of 16.
int64_t weight_room(const YoloConv& call) {
    const ConvShape& a = call.shape;
    int pitch = round_up(a.c / a.groups, 16 / element_bytes(call));
    int64_t taps = int64_t(a.r) * a.s;
    return pitch == a.c / a.groups ? 0 : a.k * taps * pitch * element_bytes(call);
}

template <class Format>
int forward(const YoloConv& call, Stream stream) {
    const ConvShape& a = call.shape;
    Gather g = output_of<Format>(call);
    g.channels = a.c / a.groups;
    g.source = call.x, g.source_pitch = call.x_strides.w;
    g.source_aligned = chunks_aligned<Format>(call.x, call.x_strides.w, g.channels, a.groups);
    g.weight_pitch = round_up(g.channels, Format::CHUNK), g.r = a.r, g.s = a.s;
    g.weight = arrange::padded<typename Format::Storage>(call, g.weight_pitch, stream);
    g.splits = forward_splits(call);
    if (g.splits == 1) return launch_gather<Format>(g, a.groups, stream);
    g.partial = reinterpret_cast<float*>(static_cast<char*>(call.workspace) + weight_room(call));
    int status = launch_gather<Format>(g, a.groups, stream);
    if (status != YOLO_OK) return status;
    auto finish = finish_splits_kernel<Format>;
    LAUNCH(finish, dim3(blocks_for(int64_t(a.n) * a.p * a.q * a.k, 256)), dim3(256), 0, stream, g,
           a.k);
    return launch_status();
}

int positions_of(int part, int h, int stride) {
    return part < h ? (h - part + stride - 1) / stride : 0;
}

// The pixels h = position * stride + part: taps r with (part + pad - r * dilation) % stride == 0
// reach them, at p = position + (part + pad - r * dilation) / stride. Such r lie period apart.
Axis part_axis(int part, int h, int p, int r, int stride, int pad, int dilation) {
    int period = stride / greatest_common_divisor(stride, dilation), first = 0;
    while (first < period && (part + pad - first * dilation) % stride != 0) ++first;
    int taps = first < period && first < r ? (r - first + period - 1) / period : 0;
    int offset = taps > 0 ? (part + pad - first * dilation) / stride : 0;
    return {positions_of(part, h, stride),
            p,
            1,
            offset,
            -period * dilation / stride,
            taps,
            first,
            period,
            h,
            stride,
            part};
}

template <class Format>
int grad_x(const YoloConv& call, Stream stream) {
    const ConvShape& a = call.shape;
    Gather g = {};
    g.images = a.n, g.channels = a.k / a.groups, g.columns = a.c / a.groups;
    g.source = call.y, g.source_pitch = call.y_strides.w;
    g.source_aligned = chunks_aligned<Format>(call.y, call.y_strides.w, g.channels, a.groups);
    g.weight_pitch = round_up(g.channels, Format::CHUNK), g.r = a.r, g.s = a.s;
    g.weight = arrange::turned<typename Format::Storage>(call, g.weight_pitch, stream);
    g.splits = 1;
    g.target = call.x, g.target_pitch = call.x_strides.w;
    g.target_aligned = chunks_aligned<Format>(call.x, call.x_strides.w, g.columns, a.groups);
    g.activation = LINEAR;
    g.residual = call.residual, g.residual_pitch = call.residual_pitch;
    g.sums = static_cast<Sums<float>*>(call.tiles);
    g.normed = {call.normed,
                call.normed_pitch,
                chunks_aligned<Format>(call.normed, call.normed_pitch, g.columns, a.groups),
                call.mean,
                call.rstd,
                call.scale,
                static_cast<const float*>(call.bias),
                call.activation};
    for (int y = 0; y < a.stride_y; ++y)
        for (int x = 0; x < a.stride_x; ++x) {
            g.y = part_axis(y, a.h, a.p, a.r, a.stride_y, a.pad_y, a.dilation_y);
            g.x = part_axis(x, a.w, a.q, a.s, a.stride_x, a.pad_x, a.dilation_x);
            int status = launch_gather<Format>(g, a.groups, stream);
            if (status != YOLO_OK) return status;
            g.first_tile += int(tiles_of(g));
        }
    return YOLO_OK;
}

template <class Format>
int run(const YoloConv& call, YoloPass pass, Stream stream) {
    if (pass == YOLO_FORWARD) return forward<Format>(call, stream);
    if (pass == YOLO_GRAD_X) return grad_x<Format>(call, stream);
    return implicit_grad_weight(call, stream);
}

}  // namespace

int64_t yolo_cuda_conv_implicit_workspace(const YoloConv* call, YoloPass pass) {
    const ConvShape& a = call->shape;
    int size = element_bytes(*call);
    int64_t taps = int64_t(a.r) * a.s;
    if (pass == YOLO_GRAD_WEIGHT) return implicit_grad_weight_workspace(*call);
    if (pass == YOLO_GRAD_X) return a.c * taps * round_up(a.k / a.groups, 16 / size) * size;
    int splits = forward_splits(*call);
    int64_t outputs = int64_t(a.n) * a.p * a.q * a.k;
    return weight_room(*call) + (splits > 1 ? outputs * splits * int64_t(sizeof(float)) : 0);
}

int yolo_cuda_conv_implicit_splits(const ConvShape* a, YoloType type) {
    YoloConv call = {};
    call.shape = *a, call.type = type;
    int columns = a->k / a->groups <= 64 ? 64 : 128;
    int64_t blocks = yolo_cuda_conv_implicit_tiles(a, YOLO_FORWARD) * a->groups *
                     ((a->k / a->groups + columns - 1) / columns);
    int64_t splits = WANTED_BLOCKS / blocks, most = depth_steps(call) / LEAST_STEPS;
    return int(splits < 1 || most < 1 ? 1 : splits < most ? splits : most);
}

int64_t yolo_cuda_conv_implicit_tiles(const ConvShape* a, YoloPass pass) {
    auto tiles = [&](int64_t rows, int64_t columns) {
        return (a->n * rows * columns + ROWS - 1) / ROWS;
    };
    if (pass == YOLO_FORWARD) return tiles(a->p, a->q);
    int64_t all = 0;
    for (int y = 0; y < a->stride_y; ++y)
        for (int x = 0; x < a->stride_x; ++x)
            all += tiles(positions_of(y, a->h, a->stride_y), positions_of(x, a->w, a->stride_x));
    return all;
}

int yolo_cuda_conv_implicit(const YoloConv* call, YoloPass pass, void* stream) {
    const ConvShape& a = call->shape;
    constexpr int64_t MOST_LINES = int64_t(1) << 31;  // rows of pixels in a batch
    if (!consistent(a) || int64_t(a.n) * a.h >= MOST_LINES || int64_t(a.n) * a.p >= MOST_LINES ||
        int64_t(a.groups) * a.r * a.s > 65535 ||
        (pass == YOLO_FORWARD && forward_splits(*call) > 65535) ||
        !pixels_flat(call->x_strides, a.h, a.w) || !pixels_flat(call->y_strides, a.p, a.q))
        return YOLO_BAD_SHAPE;
    if (yolo_cuda_conv_implicit_workspace(call, pass) > call->workspace_bytes)
        return YOLO_WORKSPACE_TOO_SMALL;
    auto s = static_cast<Stream>(stream);
    if (call->type == YOLO_FLOAT32) return run<Tf32>(*call, pass, s);
    if (call->type == YOLO_BFLOAT16) return run<Bf16>(*call, pass, s);
    if (call->type == YOLO_FLOAT16) return run<Fp16>(*call, pass, s);
    return YOLO_BAD_TYPE;
}
