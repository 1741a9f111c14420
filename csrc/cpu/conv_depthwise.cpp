#include "conv_depthwise.h"

#include <algorithm>

#include "rows.h"
#include "threads.h"

namespace yolo::cpu {
namespace {

// body(tap, in, out, count): under tap r * S + s of filter plane (p, q), `count` output pixels from
// `out` on read the input pixels from `in` on, stride_x apart.  Output row by output row, so that
// each stays in cache for all its taps.
template <typename Body>
void each_row(const ConvShape& shape, Body body) {
    for (int64_t p = 0; p < shape.p; ++p) {
        for (int64_t tap = 0; tap < shape.taps(); ++tap) {
            int64_t y = p * shape.stride_y + tap / shape.s * shape.dilation_y - shape.pad_y;
            int64_t x = tap % shape.s * shape.dilation_x - shape.pad_x;
            Range q = inside(x, shape.stride_x, shape.w, shape.q);
            if (y < 0 || y >= shape.h || q.first == q.last) continue;
            body(tap, y * shape.w + q.first * shape.stride_x + x, p * shape.q + q.first,
                 q.last - q.first);
        }
    }
}

}  // namespace

template <typename T>
void conv_depthwise_forward(const ConvShape& shape, const T* x, const T* weight, const T* bias,
                            Activation f, T* y, int threads) {
    parallel(threads, shape.n * shape.k, [&](int64_t task, int) {
        const int64_t image = task / shape.k, filter = task % shape.k;
        const T* from = x + (image * shape.c + filter / shape.filters()) * shape.in_pixels();
        const T* taps = weight + filter * shape.taps();
        T* to = y + task * shape.pixels();
        std::fill(to, to + shape.pixels(), T(0));
        each_row(shape, [&](int64_t tap, int64_t in, int64_t out, int64_t count) {
            rows<T>().multiply_gather(from + in, shape.stride_x, taps[tap], to + out, count);
        });
        if (!bias && f == Activation::linear) return;
        rows<T>().bias_act(f, to, bias ? bias[filter] : T(0), to, shape.pixels());
    });
}

template <typename T>
void conv_depthwise_grad_x(const ConvShape& shape, const T* grad_y, const T* weight, T* grad_x,
                           int threads) {
    parallel(threads, shape.n * shape.c, [&](int64_t task, int) {
        const int64_t image = task / shape.c, first = task % shape.c * shape.filters();
        T* to = grad_x + task * shape.in_pixels();
        std::fill(to, to + shape.in_pixels(), T(0));
        for (int64_t filter = first; filter < first + shape.filters(); ++filter) {
            const T* from = grad_y + (image * shape.k + filter) * shape.pixels();
            const T* taps = weight + filter * shape.taps();
            each_row(shape, [&](int64_t tap, int64_t in, int64_t out, int64_t count) {
                rows<T>().multiply_scatter(from + out, shape.stride_x, taps[tap], to + in, count);
            });
        }
    });
}

template <typename T>
void conv_depthwise_grad_weight(const ConvShape& shape, const T* grad_y, const T* x, T* grad_weight,
                                int threads) {
    parallel(threads, shape.k * shape.taps(), [&](int64_t task, int) {
        const int64_t filter = task / shape.taps(), wanted = task % shape.taps();
        double sum = 0;
        for (int64_t image = 0; image < shape.n; ++image) {
            const T* left = grad_y + (image * shape.k + filter) * shape.pixels();
            const T* right = x + (image * shape.c + filter / shape.filters()) * shape.in_pixels();
            each_row(shape, [&](int64_t tap, int64_t in, int64_t out, int64_t count) {
                if (tap != wanted) return;
                sum += rows<T>().dot(right + in, shape.stride_x, left + out, count);
            });
        }
        grad_weight[task] = static_cast<T>(sum);
    });
}

#define INSTANTIATE(T)                                                                      \
    template void conv_depthwise_forward<T>(const ConvShape&, const T*, const T*, const T*, \
                                            Activation, T*, int);                           \
    template void conv_depthwise_grad_x<T>(const ConvShape&, const T*, const T*, T*, int);  \
    template void conv_depthwise_grad_weight<T>(const ConvShape&, const T*, const T*, T*, int);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace yolo::cpu
