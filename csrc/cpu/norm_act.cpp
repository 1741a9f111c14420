#include "norm_act.h"

#include <cmath>

#include "rows.h"
#include "threads.h"

namespace yolo::cpu {
namespace {

template <typename T>
Channel<T> channel(const NormChannels<T>& all, int64_t c) {
    return {all.mean[c], all.rstd[c], all.scale[c], all.bias[c]};
}

// body(offset) for each image's row of channel c.
template <typename Body>
void each_row(const NormShape& shape, int64_t c, Body body) {
    for (int64_t n = 0; n < shape.n; ++n) body((n * shape.c + c) * shape.pixels);
}

}  // namespace

template <typename T>
void batch_statistics(const NormShape& shape, const T* x, double momentum, double eps,
                      T* rolling_mean, T* rolling_var, T* mean, T* rstd, int threads) {
    parallel(threads, shape.c, [&](int64_t c, int) {
        Moments sum;
        each_row(shape, c, [&](int64_t at) { rows<T>().moments(x + at, shape.pixels, sum); });
        double unbiased = sum.count > 1 ? sum.m2 / (sum.count - 1) : 0;
        mean[c] = static_cast<T>(sum.mean);
        rstd[c] = static_cast<T>(1 / std::sqrt(sum.m2 / sum.count + eps));
        rolling_mean[c] = static_cast<T>((1 - momentum) * rolling_mean[c] + momentum * sum.mean);
        rolling_var[c] = static_cast<T>((1 - momentum) * rolling_var[c] + momentum * unbiased);
    });
}

template <typename T>
void norm_act_forward(const NormShape& shape, const T* x, const NormChannels<T>& channels,
                      Activation f, T* y, int threads) {
    parallel(threads, shape.c, [&](int64_t c, int) {
        Channel<T> one = channel(channels, c);
        each_row(shape, c,
                 [&](int64_t at) { rows<T>().norm_act(f, x + at, one, y + at, shape.pixels); });
    });
}

// The activation's slope is computed again from x: cheaper than a second tensor kept for it.
template <typename T>
void norm_act_backward(const NormShape& shape, const T* grad_y, const T* x,
                       const NormChannels<T>& channels, Activation f, bool from_batch, T* grad_x,
                       T* grad_scale, T* grad_bias, int threads) {
    const double count = static_cast<double>(shape.n * shape.pixels);
    parallel(threads, shape.c, [&](int64_t c, int) {
        Channel<T> one = channel(channels, c);
        Sums sums;
        each_row(shape, c, [&](int64_t at) {
            rows<T>().norm_act_sums(f, grad_y + at, x + at, one, shape.pixels, sums);
        });
        grad_scale[c] = static_cast<T>(sums.gz);
        grad_bias[c] = static_cast<T>(sums.g);
        if (!grad_x) return;
        MeanGradient<T> mean{};
        if (from_batch) mean = {static_cast<T>(sums.g / count), static_cast<T>(sums.gz / count)};
        each_row(shape, c, [&](int64_t at) {
            rows<T>().norm_act_grad(f, grad_y + at, x + at, one, mean, grad_x + at, shape.pixels);
        });
    });
}

#define INSTANTIATE(T)                                                                            \
    template void batch_statistics<T>(const NormShape&, const T*, double, double, T*, T*, T*, T*, \
                                      int);                                                       \
    template void norm_act_forward<T>(const NormShape&, const T*, const NormChannels<T>&,         \
                                      Activation, T*, int);                                       \
    template void norm_act_backward<T>(const NormShape&, const T*, const T*,                      \
                                       const NormChannels<T>&, Activation, bool, T*, T*, T*, int);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace yolo::cpu
