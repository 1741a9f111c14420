// Max pooling and nearest-neighbour enlargement, NHWC with pixel pitches. One thread a result.
//
//     maxpool    y[n,p,q,c] = max of x[n, p * stride + i - offset, ..., c] over i < size, inside x;
//                index: place h * width + w of the first largest value, which alone gets grad_y
//     grad_x     each pixel gathers from the windows that cover it: no atomics, one fixed order
//     upsample   y[n,i,j,c] = scale * x[n, i / stride, j / stride, c];  grad_x sums each block
//     avgpool    y[n,c] = mean of x[n,:,:,c];  grad_x = grad_y / (h * w)
#include "cuda_api.h"
#include "pixels.cuh"

namespace {

template <class T>
__global__ void maxpool_kernel(YoloPool t) {
    using N = typename Compute<T>::type;
    Place at(thread_number(), t.p, t.q, t.c);
    if (at.n >= t.n) return;
    Largest<N> most = {N(-INFINITY)};
    for (int i = 0; i < t.size_y; ++i) {
        int y = at.y * t.stride_y + i - t.offset_y;
        if (y < 0 || y >= t.h) continue;
        for (int j = 0; j < t.size_x; ++j) {
            int x = at.x * t.stride_x + j - t.offset_x;
            if (x < 0 || x >= t.w) continue;
            N value = widen(load(row_of<T>(t.x, (at.n * t.h + y) * t.w + x) + at.c));
            if (!most.offer(value, y * t.w + x)) i = t.size_y, j = t.size_x;
        }
    }
    int64_t pixel = (at.n * t.p + at.y) * t.q + at.x;
    store(row_of<T>(t.y, pixel) + at.c, rounded<T>(most.value));
    if (t.index != nullptr) store(static_cast<int*>(t.index) + pixel * t.c + at.c, most.index);
}

template <class T>
__global__ void maxpool_grad_x_kernel(YoloPool t) {
    using N = typename Compute<T>::type;
    Place at(thread_number(), t.h, t.w, t.c);
    if (at.n >= t.n) return;
    N sum = 0;
    for (int i = 0; i < t.size_y; ++i) {
        int y = at.y + t.offset_y - i, p = y / t.stride_y;
        if (y < 0 || y % t.stride_y != 0 || p >= t.p) continue;
        for (int j = 0; j < t.size_x; ++j) {
            int x = at.x + t.offset_x - j, q = x / t.stride_x;
            if (x < 0 || x % t.stride_x != 0 || q >= t.q) continue;
            int64_t pixel = (at.n * t.p + p) * t.q + q;
            int index = load(static_cast<const int*>(t.index) + pixel * t.c + at.c);
            if (index == at.y * t.w + at.x) sum += widen(load(row_of<T>(t.y, pixel) + at.c));
        }
    }
    int64_t pixel = (at.n * t.h + at.y) * t.w + at.x;
    store(row_of<T>(t.x, pixel) + at.c, rounded<T>(sum));
}

template <class T>
__global__ void upsample_kernel(YoloUpsample t) {
    using N = typename Compute<T>::type;
    int height = t.h * t.stride, width = t.w * t.stride;
    Place at(thread_number(), height, width, t.c);
    if (at.n >= t.n) return;
    int64_t from = (at.n * t.h + at.y / t.stride) * t.w + at.x / t.stride;
    N value = N(t.scale) * widen(load(row_of<T>(t.x, from) + at.c));
    int64_t to = (at.n * height + at.y) * width + at.x;
    store(row_of<T>(t.y, to) + at.c, rounded<T>(value));
}

template <class T>
__global__ void upsample_grad_x_kernel(YoloUpsample t) {
    using N = typename Compute<T>::type;
    Place at(thread_number(), t.h, t.w, t.c);
    if (at.n >= t.n) return;
    N sum = 0;
    for (int i = 0; i < t.stride; ++i)
        for (int j = 0; j < t.stride; ++j) {
            int64_t row = (at.n * t.h + at.y) * t.stride + i;
            int64_t pixel = (row * t.w + at.x) * t.stride + j;
            sum += widen(load(row_of<T>(t.y, pixel) + at.c));
        }
    int64_t pixel = (at.n * t.h + at.y) * t.w + at.x;
    store(row_of<T>(t.x, pixel) + at.c, rounded<T>(N(t.scale) * sum));
}

constexpr int CHANNELS = 32, LINES = 8;

// A block sums 32 channels of one image.
template <class T>
__global__ void avgpool_kernel(YoloPool t) {
    using N = typename Compute<T>::type;
    SHARED(N, lines, [LINES][CHANNELS]);
    int c = int(blockIdx.x) * CHANNELS + int(threadIdx.x), pixels = t.h * t.w;
    int64_t first = int64_t(blockIdx.y) * pixels;
    N sum = 0;
    for (int i = int(threadIdx.y); i < pixels && c < t.c; i += LINES)
        sum += widen(load(row_of<T>(t.x, first + i) + c));
    lines[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || c >= t.c) return;
    for (int line = 1; line < LINES; ++line) sum += lines[line][threadIdx.x];
    store(row_of<T>(t.y, blockIdx.y) + c, rounded<T>(sum / N(pixels)));
}

template <class T>
__global__ void avgpool_grad_x_kernel(YoloPool t) {
    using N = typename Compute<T>::type;
    Place at(thread_number(), t.h, t.w, t.c);
    if (at.n >= t.n) return;
    N value = widen(load(row_of<T>(t.y, at.n) + at.c)) / N(t.h * t.w);
    store(row_of<T>(t.x, (at.n * t.h + at.y) * t.w + at.x) + at.c, rounded<T>(value));
}

// Of one image: small[i][j][d][y][x] = large[d][y][i][x][j], i and j below stride; NCHW memory.
template <class T>
__global__ void reorg_kernel(YoloReorg t) {
    int64_t large = thread_number(), rest = large;
    int j = int(rest % t.stride), x = int((rest /= t.stride) % t.w);
    int i = int((rest /= t.w) % t.stride), y = int((rest /= t.stride) % t.h);
    int d = int((rest /= t.h) % t.depth);
    int64_t n = rest / t.depth;
    if (n >= t.n) return;
    int64_t small = ((((n * t.stride + i) * t.stride + j) * t.depth + d) * t.h + y) * t.w + x;
    const T* from = static_cast<const T*>(t.x) + (t.reverse ? small : large);
    store(static_cast<T*>(t.y) + (t.reverse ? large : small), load(from));
}

}  // namespace

int yolo_cuda_maxpool(const YoloPool* call, YoloPass pass, void* stream) {
    const YoloPool& t = *call;
    if (t.size_y < 1 || t.size_x < 1 || t.stride_y < 1 || t.stride_x < 1) return YOLO_BAD_SHAPE;
    bool forward = pass == YOLO_FORWARD;
    int64_t items = int64_t(t.n) * t.c * (forward ? int64_t(t.p) * t.q : int64_t(t.h) * t.w);
    return with_type(t.type, [&](auto type) {
        using T = decltype(type);
        return launch_each(forward ? maxpool_kernel<T> : maxpool_grad_x_kernel<T>, items, t,
                           stream);
    });
}

int yolo_cuda_upsample(const YoloUpsample* call, YoloPass pass, void* stream) {
    const YoloUpsample& t = *call;
    if (t.stride < 1) return YOLO_BAD_SHAPE;
    bool forward = pass == YOLO_FORWARD;
    int64_t items = int64_t(t.n) * t.c * t.h * t.w * (forward ? t.stride * t.stride : 1);
    return with_type(t.type, [&](auto type) {
        using T = decltype(type);
        return launch_each(forward ? upsample_kernel<T> : upsample_grad_x_kernel<T>, items, t,
                           stream);
    });
}

int yolo_cuda_avgpool(const YoloPool* call, YoloPass pass, void* stream) {
    const YoloPool& t = *call;
    if (t.h * t.w < 1 || t.n > 65535) return YOLO_BAD_SHAPE;
    if (t.n == 0) return YOLO_OK;
    return with_type(t.type, [&](auto type) {
        using T = decltype(type);
        int64_t items = int64_t(t.n) * t.c * t.h * t.w;
        if (pass == YOLO_GRAD_X) return launch_each(avgpool_grad_x_kernel<T>, items, t, stream);
        auto forward = avgpool_kernel<T>;
        dim3 grid(blocks_for(t.c, CHANNELS), unsigned(t.n)), block(CHANNELS, LINES);
        LAUNCH(forward, grid, block, 0, static_cast<Stream>(stream), t);
        return launch_status();
    });
}

int yolo_cuda_reorg(const YoloReorg* call, void* stream) {
    const YoloReorg& t = *call;
    int64_t items = int64_t(t.n) * t.depth * t.h * t.w * t.stride * t.stride;
    return with_type(t.type, [&](auto type) {
        return launch_each(reorg_kernel<decltype(type)>, items, t, stream);
    });
}
