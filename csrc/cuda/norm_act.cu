// Batch normalisation, activation and residual over rows (pixels) of channels.
//
//     forward     mean, var over all rows; u = scale * (x - mean) * rstd + bias
//                 y = activation(u) + residual
//     backward    d = grad_y * activation'(u), u computed again from x
//                 grad_bias = sum d,  grad_scale = sum d * xhat,  xhat = (x - mean) * rstd
//                 grad_x = scale * rstd * (d - grad_bias / rows - xhat * grad_scale / rows)
//
// Sums: see ranges.cuh. The spread is summed around the first value of the range and merged by
// Chan's rule: no difference of large numbers. Without statistics (evaluation) grad_x = scale *
// rstd * d.
#include <type_traits>

#include "channel.cuh"
#include "cuda_api.h"
#include "moments.cuh"
#include "pixels.cuh"
#include "ranges.cuh"

namespace {

using ranges::CHANNELS;
using ranges::LINES;
using ranges::Ranges;

constexpr int THREADS = 256;

template <class T>
__global__ void moments_kernel(YoloNorm t, Ranges ranges, Moments<typename Compute<T>::type>* out) {
    using N = typename Compute<T>::type;
    SHARED(Moments<N>, lines, [LINES][CHANNELS]);
    int c = int(blockIdx.x) * CHANNELS + int(threadIdx.x);
    int64_t begin = blockIdx.y * ranges.rows_each, end = begin + ranges.rows_each;
    if (end > t.rows) end = t.rows;
    N count = 0, sum = 0, squares = 0, first = 0;
    if (c < t.channels && begin < end) first = widen(load(row_of<T>(t.x, begin) + c));
    if (c < t.channels) {
        for (int64_t row = begin + threadIdx.y; row < end; row += LINES) {
            N distance = widen(load(row_of<T>(t.x, row) + c)) - first;
            count += N(1);
            sum += distance;
            squares += distance * distance;
        }
    }
    N mean = count > N(0) ? sum / count : N(0);
    lines[threadIdx.y][threadIdx.x] = {count, first + mean, squares - sum * mean};
    __syncthreads();
    if (threadIdx.y != 0 || c >= t.channels) return;
    Moments<N> all = lines[0][threadIdx.x];
    for (int line = 1; line < LINES; ++line) all.merge(lines[line][threadIdx.x]);
    store(out + int64_t(blockIdx.y) * t.channels + c, all);
}

// Many tiles (of a convolution) become few: a block merges MERGED tiles of 32 channels.
constexpr int MERGED = 256;

template <class Part>
__global__ void merge_kernel(const Part* tiles, int64_t count, int channels, Part* out) {
    SHARED(Part, lines, [LINES][CHANNELS]);
    int c = int(blockIdx.x) * CHANNELS + int(threadIdx.x);
    int64_t begin = int64_t(blockIdx.y) * MERGED;
    int64_t end = begin + MERGED < count ? begin + MERGED : count;
    Part all = {};
    for (int64_t tile = begin + threadIdx.y; tile < end && c < channels; tile += LINES)
        all.merge(load(tiles + tile * channels + c));
    lines[threadIdx.y][threadIdx.x] = all;
    __syncthreads();
    if (threadIdx.y != 0 || c >= channels) return;
    for (int line = 1; line < LINES; ++line) all.merge(lines[line][threadIdx.x]);
    store(out + int64_t(blockIdx.y) * channels + c, all);
}

// mean, rstd of each channel; rolling <- rolling + momentum * (new - rolling), var unbiased.
template <class N>
__global__ void statistics_kernel(YoloNorm t, int ranges, const Moments<N>* partial) {
    int c = int(blockIdx.x * blockDim.x + threadIdx.x);
    if (c >= t.channels) return;
    Moments<N> all = load(partial + c);
    for (int i = 1; i < ranges; ++i) all.merge(load(partial + int64_t(i) * t.channels + c));
    N spread = all.spread > N(0) ? all.spread : N(0);
    store(static_cast<N*>(t.mean) + c, all.mean);
    store(static_cast<N*>(t.rstd) + c, N(1) / sqrt(spread / all.count + N(t.eps)));
    if (t.rolling_mean == nullptr) return;
    N* rolling_mean = static_cast<N*>(t.rolling_mean) + c;
    N* rolling_var = static_cast<N*>(t.rolling_var) + c;
    N unbiased = all.count > N(1) ? spread / (all.count - N(1)) : N(0);
    store(rolling_mean, load(rolling_mean) + N(t.momentum) * (all.mean - load(rolling_mean)));
    store(rolling_var, load(rolling_var) + N(t.momentum) * (unbiased - load(rolling_var)));
}

template <class N>
__device__ __forceinline__ Channel<N> channel_of(const YoloNorm& t, int c) {
    return {t.mean, t.rstd, t.scale, t.bias, c};
}

template <class T, int COUNT>
__global__ void __launch_bounds__(THREADS) apply_kernel(YoloNorm t) {
    using N = typename Compute<T>::type;
    int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x;
    int packs_each = t.channels / COUNT;
    int64_t row = i / packs_each;
    int c0 = int(i % packs_each) * COUNT;
    if (row >= t.rows) return;
    Values<T, COUNT> x, residual = {};
    x.load_from(row_of<T>(t.x, row) + c0);
    if (t.residual.data != nullptr) residual.load_from(row_of<T>(t.residual, row) + c0);
    UNROLL for (int j = 0; j < COUNT; ++j) {
        N y = activate(t.activation, channel_of<N>(t, c0 + j).input(x.at[j]));
        x.at[j] = t.residual.data != nullptr ? y + residual.at[j] : y;
    }
    x.store_to(row_of<T>(t.y, row) + c0);
}

// Sums of d and of d * xhat over a range of rows.
template <class T>
__global__ void sums_kernel(YoloNorm t, Ranges ranges, Sums<typename Compute<T>::type>* out) {
    using N = typename Compute<T>::type;
    SHARED(Sums<N>, lines, [LINES][CHANNELS]);
    int c = int(blockIdx.x) * CHANNELS + int(threadIdx.x);
    Channel<N> channel = channel_of<N>(t, c < t.channels ? c : 0);
    ranges::merge_range(lines, ranges, t.rows, t.channels, c, out, [&](int64_t row) {
        N x = widen(load(row_of<T>(t.x, row) + c));
        N d = channel.gradient(t.activation, x, widen(load(row_of<T>(t.grad_y, row) + c)));
        return Sums<N>{d, d * channel.hat(x)};
    });
}

template <class N>
__global__ void add_sums_kernel(YoloNorm t, int ranges, const Sums<N>* partial) {
    int c = int(blockIdx.x * blockDim.x + threadIdx.x);
    if (c >= t.channels) return;
    Sums<N> all = load(partial + c);
    for (int i = 1; i < ranges; ++i) all.merge(load(partial + int64_t(i) * t.channels + c));
    store(static_cast<N*>(t.grad_bias) + c, all.d);
    store(static_cast<N*>(t.grad_scale) + c, all.d_hat);
}

template <class T, int COUNT>
__global__ void __launch_bounds__(THREADS) grad_x_kernel(YoloNorm t) {
    using N = typename Compute<T>::type;
    int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x;
    int packs_each = t.channels / COUNT;
    int64_t row = i / packs_each;
    int c0 = int(i % packs_each) * COUNT;
    if (row >= t.rows) return;
    Values<T, COUNT> x, grad;
    x.load_from(row_of<T>(t.x, row) + c0);
    grad.load_from(row_of<T>(t.grad_y, row) + c0);
    UNROLL for (int j = 0; j < COUNT; ++j) {
        Channel<N> channel = channel_of<N>(t, c0 + j);
        N d = channel.gradient(t.activation, x.at[j], grad.at[j]);
        if (t.training) {
            N sum = load(static_cast<const N*>(t.grad_bias) + c0 + j);
            N sum_hat = load(static_cast<const N*>(t.grad_scale) + c0 + j);
            d -= (sum + channel.hat(x.at[j]) * sum_hat) / N(t.rows);
        }
        grad.at[j] = channel.scale * channel.rstd * d;
    }
    grad.store_to(row_of<T>(t.grad_x, row) + c0);
}

unsigned channel_blocks(const YoloNorm& t) {
    return blocks_for(t.channels, CHANNELS);
}

// The last step of a sum over rows: `last` merges what is known of some ranges of them. From what
// a convolution left in t.tiles, without a pass over x, or from that of `first`, which takes a
// pass.
template <class N, template <class> class Part, class First>
void merge_ranges(const YoloNorm& t, Stream stream, First first,
                  void (*last)(YoloNorm, int, const Part<N>*)) {
    auto* room = static_cast<Part<N>*>(t.workspace);
    const Part<N>* partial = room;
    int64_t count = t.tile_count;
    if (t.tiles == nullptr) {
        Ranges parts = ranges::of(t.rows);
        count = parts.count;
        LAUNCH(first, dim3(channel_blocks(t), parts.count), dim3(CHANNELS, LINES), 0, stream, t,
               parts, room);
    } else if constexpr (std::is_same_v<N, float>) {  // no convolution leaves tiles of doubles
        partial = static_cast<const Part<N>*>(t.tiles);
        if (count > MERGED) {
            int64_t groups = (count + MERGED - 1) / MERGED;
            auto merge = merge_kernel<Part<N>>;
            LAUNCH(merge, dim3(channel_blocks(t), unsigned(groups)), dim3(CHANNELS, LINES), 0,
                   stream, partial, count, t.channels, room);
            partial = room, count = groups;
        }
    }
    LAUNCH(last, dim3(blocks_for(t.channels, THREADS)), dim3(THREADS), 0, stream, t, int(count),
           partial);
}

template <class T>
int forward(const YoloNorm& t, Stream stream) {
    if (t.rows == 0) return YOLO_OK;
    using N = typename Compute<T>::type;
    if (t.training) merge_ranges<N, Moments>(t, stream, moments_kernel<T>, statistics_kernel<N>);
    if (t.y.data == nullptr) return launch_status();
    bool wide =
        packs<T>(t.x, t.channels) && packs<T>(t.y, t.channels) && packs<T>(t.residual, t.channels);
    auto kernel = wide ? apply_kernel<T, PACK<T>> : apply_kernel<T, 1>;
    int64_t items = t.rows * (t.channels / (wide ? PACK<T> : 1));
    LAUNCH(kernel, dim3(blocks_for(items, THREADS)), dim3(THREADS), 0, stream, t);
    return launch_status();
}

template <class T>
int backward(const YoloNorm& t, Stream stream) {
    if (t.rows == 0) return YOLO_OK;
    using N = typename Compute<T>::type;
    if (t.grad_bias != nullptr)
        merge_ranges<N, Sums>(t, stream, sums_kernel<T>, add_sums_kernel<N>);
    if (t.grad_x.data == nullptr) return launch_status();
    bool wide = packs<T>(t.x, t.channels) && packs<T>(t.grad_y, t.channels) &&
                packs<T>(t.grad_x, t.channels);
    auto kernel = wide ? grad_x_kernel<T, PACK<T>> : grad_x_kernel<T, 1>;
    int64_t items = t.rows * (t.channels / (wide ? PACK<T> : 1));
    LAUNCH(kernel, dim3(blocks_for(items, THREADS)), dim3(THREADS), 0, stream, t);
    return launch_status();
}

bool acceptable(const YoloNorm& t) {
    bool tiles_fit = t.tiles == nullptr || (t.type != YOLO_FLOAT64 && t.tile_count > 0 &&
                                            t.tile_count <= int64_t(65535) * MERGED);
    return t.rows >= 0 && t.channels > 0 && t.activation >= 0 && t.activation < ACTIVATION_COUNT &&
           tiles_fit;
}

}  // namespace

int64_t yolo_cuda_norm_workspace(int64_t rows, int channels) {
    // Tiles of a convolution have as many rows as the shortest range, but for the last of each part
    // of a strided one; their sums need a third of this room.
    int64_t parts = ranges::of(rows).count, merged = rows / ranges::LEAST_ROWS / MERGED + 1;
    return (parts > merged ? parts : merged) * channels * int64_t(sizeof(Moments<double>));
}

int yolo_cuda_norm_forward(const YoloNorm* call, void* stream) {
    if (!acceptable(*call)) return YOLO_BAD_SHAPE;
    return with_type(call->type, [&](auto t) {
        return forward<decltype(t)>(*call, static_cast<Stream>(stream));
    });
}

int yolo_cuda_norm_backward(const YoloNorm* call, void* stream) {
    if (!acceptable(*call) || (call->training && call->grad_bias == nullptr)) return YOLO_BAD_SHAPE;
    return with_type(call->type, [&](auto t) {
        return backward<decltype(t)>(*call, static_cast<Stream>(stream));
    });
}
