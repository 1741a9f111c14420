// Depthwise convolution (one channel and one filter a group), NHWC with pixel pitches.
//
//     forward       y[p,q,c] = sum over r,s of weight[r,s,c] * x[p * stride + r * dilation - pad,
//     c] grad_x        the same sum from the other side: the windows that cover a pixel grad_weight
//     [r,s,c] = sum over n,p,q of grad_y * x: ranges of pixels, then one fixed order
//
// Bound by memory: a thread takes 16 bytes of channels where it can, weights lie as r s c.
#include "activation.cuh"
#include "pixels.cuh"

namespace {

constexpr int THREADS = 256;
constexpr int CHANNELS = 32, LINES = 8;
constexpr int LEAST_PIXELS = 512, MOST_RANGES = 128;

template <class T, int COUNT>
__global__ void __launch_bounds__(THREADS, 4) forward_kernel(YoloConv t) {
    using N = typename Compute<T>::type;
    const ConvShape& a = t.shape;
    int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x;
    int c = int(i % (a.c / COUNT)) * COUNT;
    int64_t pixel = i / (a.c / COUNT), n = pixel / a.q / a.p;
    if (n >= a.n) return;
    int h0 = int(pixel / a.q % a.p) * a.stride_y - a.pad_y;
    int w0 = int(pixel % a.q) * a.stride_x - a.pad_x;
    Values<T, COUNT> sum = {}, x, weight;
    for (int r = 0; r < a.r; ++r) {
        int h = h0 + r * a.dilation_y;
        if (h < 0 || h >= a.h) continue;
        for (int s = 0; s < a.s; ++s) {
            int w = w0 + s * a.dilation_x;
            if (w < 0 || w >= a.w) continue;
            x.load_from(static_cast<const T*>(t.x) + ((n * a.h + h) * a.w + w) * t.x_strides.w + c);
            weight.load_from(static_cast<const T*>(t.weight) + int64_t(r * a.s + s) * a.c + c);
            UNROLL for (int j = 0; j < COUNT; ++j) {
                sum.at[j] += x.at[j] * weight.at[j];
            }
        }
    }
    UNROLL for (int j = 0; j < COUNT; ++j) {
        N scale = t.scale != nullptr ? N(t.scale[c + j]) : N(1);
        N bias = t.bias != nullptr ? N(static_cast<const float*>(t.bias)[c + j]) : N(0);
        sum.at[j] = activate(t.activation, sum.at[j] * scale + bias);
    }
    sum.store_to(static_cast<T*>(t.y) + pixel * t.y_strides.w + c);
}

template <class T, int COUNT>
__global__ void __launch_bounds__(THREADS, 4) grad_x_kernel(YoloConv t) {
    const ConvShape& a = t.shape;
    int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x;
    int c = int(i % (a.c / COUNT)) * COUNT;
    int64_t pixel = i / (a.c / COUNT), n = pixel / a.w / a.h;
    if (n >= a.n) return;
    Values<T, COUNT> sum = {}, grad_y, weight;
    for (int r = 0; r < a.r; ++r) {
        int y = int(pixel / a.w % a.h) + a.pad_y - r * a.dilation_y, p = y / a.stride_y;
        if (y < 0 || y % a.stride_y != 0 || p >= a.p) continue;
        for (int s = 0; s < a.s; ++s) {
            int x = int(pixel % a.w) + a.pad_x - s * a.dilation_x, q = x / a.stride_x;
            if (x < 0 || x % a.stride_x != 0 || q >= a.q) continue;
            int64_t from = ((n * a.p + p) * a.q + q) * t.y_strides.w + c;
            grad_y.load_from(static_cast<const T*>(t.y) + from);
            weight.load_from(static_cast<const T*>(t.weight) + int64_t(r * a.s + s) * a.c + c);
            UNROLL for (int j = 0; j < COUNT; ++j) {
                sum.at[j] += grad_y.at[j] * weight.at[j];
            }
        }
    }
    sum.store_to(static_cast<T*>(t.x) + pixel * t.x_strides.w + c);
}

// One tap (blockIdx.z) of 32 channels over a range of output pixels.
template <class T>
__global__ void grad_weight_kernel(YoloConv t, int pixels_each, typename Compute<T>::type* out) {
    using N = typename Compute<T>::type;
    SHARED(N, lines, [LINES][CHANNELS]);
    const ConvShape& a = t.shape;
    int c = int(blockIdx.x) * CHANNELS + int(threadIdx.x);
    int r = int(blockIdx.z) / a.s, s = int(blockIdx.z) % a.s;
    int pixels = a.n * a.p * a.q, begin = int(blockIdx.y) * pixels_each;
    int end = pixels - begin < pixels_each ? pixels : begin + pixels_each;
    N sum = 0;
    for (int pixel = begin + int(threadIdx.y); pixel < end && c < a.c; pixel += LINES) {
        int h = pixel / a.q % a.p * a.stride_y + r * a.dilation_y - a.pad_y;
        int w = pixel % a.q * a.stride_x + s * a.dilation_x - a.pad_x;
        if (h < 0 || h >= a.h || w < 0 || w >= a.w) continue;
        int64_t from = (int64_t(pixel / a.q / a.p) * a.h + h) * a.w + w;
        sum += widen(load(static_cast<const T*>(t.y) + pixel * t.y_strides.w + c)) *
               widen(load(static_cast<const T*>(t.x) + from * t.x_strides.w + c));
    }
    lines[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || c >= a.c) return;
    for (int line = 1; line < LINES; ++line) sum += lines[line][threadIdx.x];
    store(out + (int64_t(blockIdx.y) * a.r * a.s + blockIdx.z) * a.c + c, sum);
}

template <class N>
__global__ void add_ranges_kernel(const N* partial, N* out, int count, int ranges) {
    int i = int(blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= count) return;
    N sum = 0;
    for (int range = 0; range < ranges; ++range) sum += load(partial + int64_t(range) * count + i);
    store(out + i, sum);
}

int ranges_of(const ConvShape& a) {
    int64_t count = (int64_t(a.n) * a.p * a.q + LEAST_PIXELS - 1) / LEAST_PIXELS;
    return int(count < 1 ? 1 : count > MOST_RANGES ? MOST_RANGES : count);
}

template <class T>
int grad_weight(const YoloConv& t, Stream stream) {
    using N = typename Compute<T>::type;
    const ConvShape& a = t.shape;
    int ranges = ranges_of(a), pixels_each = (a.n * a.p * a.q + ranges - 1) / ranges;
    int count = a.c * a.r * a.s;
    auto* partial = static_cast<N*>(t.workspace);
    auto kernel = grad_weight_kernel<T>;
    dim3 grid(blocks_for(a.c, CHANNELS), unsigned(ranges), unsigned(a.r * a.s));
    LAUNCH(kernel, grid, dim3(CHANNELS, LINES), 0, stream, t, pixels_each, partial);
    auto add = add_ranges_kernel<N>;
    LAUNCH(add, dim3(blocks_for(count, THREADS)), dim3(THREADS), 0, stream, partial,
           static_cast<N*>(t.weight), count, ranges);
    return launch_status();
}

template <class T>
int run(const YoloConv& t, YoloPass pass, Stream stream) {
    const ConvShape& a = t.shape;
    if (pass == YOLO_GRAD_WEIGHT) return grad_weight<T>(t, stream);
    YoloRows x = {t.x, t.x_strides.w}, y = {t.y, t.y_strides.w}, weight = {t.weight, a.c};
    bool wide = packs<T>(x, a.c) && packs<T>(y, a.c) && packs<T>(weight, a.c);
    int64_t pixels = int64_t(a.n) * (pass == YOLO_FORWARD ? a.p * a.q : a.h * a.w);
    if (pixels == 0) return YOLO_OK;
    dim3 grid(blocks_for(pixels * (a.c / (wide ? PACK<T> : 1)), THREADS));
    auto forward = wide ? forward_kernel<T, PACK<T>> : forward_kernel<T, 1>;
    auto backward = wide ? grad_x_kernel<T, PACK<T>> : grad_x_kernel<T, 1>;
    auto kernel = pass == YOLO_FORWARD ? forward : backward;
    LAUNCH(kernel, grid, dim3(THREADS), 0, stream, t);
    return launch_status();
}

}  // namespace

int64_t yolo_cuda_depthwise_workspace(const YoloConv* call, YoloPass pass) {
    const ConvShape& a = call->shape;
    if (pass != YOLO_GRAD_WEIGHT) return 0;
    return int64_t(ranges_of(a)) * a.c * a.r * a.s * int64_t(sizeof(double));
}

int yolo_cuda_depthwise(const YoloConv* call, YoloPass pass, void* stream) {
    const ConvShape& a = call->shape;
    if (!consistent(a) || a.groups != a.c || a.k != a.c || a.r * a.s > 65535) return YOLO_BAD_SHAPE;
    if (yolo_cuda_depthwise_workspace(call, pass) > call->workspace_bytes)
        return YOLO_WORKSPACE_TOO_SMALL;
    return with_type(call->type, [&](auto type) {
        return run<decltype(type)>(*call, pass, static_cast<Stream>(stream));
    });
}
