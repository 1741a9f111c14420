// Leaky rectifier with one learned slope a channel, over rows (pixels) of channels.
//
//     forward     y = x where x > 0, else slope * x
//     grad_x      = grad_y where x > 0, else slope * grad_y
//     grad_slope  = sum over the rows of grad_y * x where x is not above 0, in one fixed order
#include "cuda_api.h"
#include "pixels.cuh"
#include "ranges.cuh"

namespace {

using ranges::CHANNELS;
using ranges::LINES;
using ranges::Ranges;

constexpr int THREADS = 256;

template <class N>
struct Sum {
    N value;

    __device__ void merge(const Sum& other) { value += other.value; }
};

// t.y from x, or from the gradient beside it.
template <class T, int COUNT>
__global__ void __launch_bounds__(THREADS) prelu_kernel(YoloPrelu t, YoloRows from) {
    using N = typename Compute<T>::type;
    int64_t i = thread_number(), packs_each = t.channels / COUNT, row = i / packs_each;
    int c = int(i % packs_each) * COUNT;
    if (row >= t.rows) return;
    Values<T, COUNT> x, value;
    x.load_from(row_of<T>(t.x, row) + c);
    value.load_from(row_of<T>(from, row) + c);
    UNROLL for (int j = 0; j < COUNT; ++j) {
        N slope = load(static_cast<const N*>(t.slope) + c + j);
        value.at[j] *= x.at[j] > N(0) ? N(1) : slope;
    }
    value.store_to(row_of<T>(t.y, row) + c);
}

template <class T>
__global__ void prelu_sums_kernel(YoloPrelu t, Ranges ranges, Sum<typename Compute<T>::type>* out) {
    using N = typename Compute<T>::type;
    SHARED(Sum<N>, lines, [LINES][CHANNELS]);
    int c = int(blockIdx.x) * CHANNELS + int(threadIdx.x);
    ranges::merge_range(lines, ranges, t.rows, t.channels, c, out, [&](int64_t row) {
        N x = widen(load(row_of<T>(t.x, row) + c));
        return Sum<N>{x > N(0) ? N(0) : x * widen(load(row_of<T>(t.grad_y, row) + c))};
    });
}

template <class N>
__global__ void prelu_add_kernel(YoloPrelu t, int count, const Sum<N>* partial) {
    int c = int(thread_number());
    if (c >= t.channels) return;
    N sum = 0;
    for (int i = 0; i < count; ++i) sum += load(partial + int64_t(i) * t.channels + c).value;
    store(static_cast<N*>(t.grad_slope) + c, sum);
}

template <class T>
void sum_slopes(const YoloPrelu& t, Stream stream) {
    using N = typename Compute<T>::type;
    Ranges parts = ranges::of(t.rows);
    auto* room = static_cast<Sum<N>*>(t.workspace);
    auto first = prelu_sums_kernel<T>;
    auto last = prelu_add_kernel<N>;
    dim3 grid(blocks_for(t.channels, CHANNELS), parts.count), block(CHANNELS, LINES);
    LAUNCH(first, grid, block, 0, stream, t, parts, room);
    LAUNCH(last, dim3(blocks_for(t.channels, THREADS)), dim3(THREADS), 0, stream, t, parts.count,
           room);
}

template <class T>
int run(const YoloPrelu& t, YoloPass pass, Stream stream) {
    if (pass == YOLO_GRAD_X) sum_slopes<T>(t, stream);
    YoloRows from = pass == YOLO_FORWARD ? t.x : t.grad_y;
    bool wide =
        packs<T>(t.x, t.channels) && packs<T>(from, t.channels) && packs<T>(t.y, t.channels);
    auto kernel = wide ? prelu_kernel<T, PACK<T>> : prelu_kernel<T, 1>;
    int64_t items = t.rows * (t.channels / (wide ? PACK<T> : 1));
    LAUNCH(kernel, dim3(blocks_for(items, THREADS)), dim3(THREADS), 0, stream, t, from);
    return launch_status();
}

}  // namespace

int64_t yolo_cuda_prelu_workspace(int64_t rows, int channels) {
    return ranges::of(rows).count * channels * int64_t(sizeof(Sum<double>));
}

int yolo_cuda_prelu(const YoloPrelu* call, YoloPass pass, void* stream) {
    if (call->rows < 0 || call->channels < 1 || pass == YOLO_GRAD_WEIGHT) return YOLO_BAD_SHAPE;
    if (call->rows == 0) return YOLO_OK;
    return with_type(call->type, [&](auto type) {
        return run<decltype(type)>(*call, pass, static_cast<Stream>(stream));
    });
}
