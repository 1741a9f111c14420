#include "activation.h"

#include <algorithm>

#include "../shapes.h"
#include "rows.h"
#include "threads.h"

namespace yolo::cpu {
namespace {

// body(c, first, count) over pieces of all planes: short planes travel together, long ones in
// parts, so that no task is too small to be worth handing out.
template <typename Body>
void each_piece(const PlaneShape& shape, int threads, Body body) {
    constexpr int64_t PIECE = 32768;
    const int64_t parts = std::max<int64_t>(1, shape.pixels / PIECE);
    const int64_t part = ceil_div(shape.pixels, parts), pieces = shape.n * shape.c * parts;
    const int64_t batch = std::max<int64_t>(1, PIECE / std::max<int64_t>(1, part));
    parallel(threads, ceil_div(pieces, batch), [&](int64_t task, int) {
        for (int64_t i = task * batch; i < std::min(pieces, (task + 1) * batch); ++i) {
            int64_t plane = i / parts, start = i % parts * part;
            body(plane % shape.c, plane * shape.pixels + start,
                 std::min(part, shape.pixels - start));
        }
    });
}

}  // namespace

template <typename T>
void bias_act_forward(const PlaneShape& shape, const T* x, const T* bias, Activation f, T* y,
                      int threads) {
    each_piece(shape, threads, [&](int64_t c, int64_t at, int64_t count) {
        rows<T>().bias_act(f, x + at, bias ? bias[c] : T(0), y + at, count);
    });
}

template <typename T>
void bias_act_backward(const PlaneShape& shape, const T* grad_y, const T* x, const T* bias,
                       Activation f, T* grad_x, int threads) {
    each_piece(shape, threads, [&](int64_t c, int64_t at, int64_t count) {
        rows<T>().bias_act_grad(f, grad_y + at, x + at, bias ? bias[c] : T(0), grad_x + at, count);
    });
}

template <typename T>
void prelu_forward(const PlaneShape& shape, const T* x, const T* slope, T* y, int threads) {
    each_piece(shape, threads, [&](int64_t c, int64_t at, int64_t count) {
        rows<T>().prelu(x + at, slope[c], y + at, count);
    });
}

template <typename T>
void prelu_backward(const PlaneShape& shape, const T* grad_y, const T* x, const T* slope, T* grad_x,
                    T* grad_slope, int threads) {
    parallel(threads, shape.c, [&](int64_t c, int) {
        double sum = 0;
        for (int64_t n = 0; n < shape.n; ++n) {
            int64_t at = (n * shape.c + c) * shape.pixels;
            sum += rows<T>().prelu_grad(grad_y + at, x + at, slope[c], grad_x + at, shape.pixels);
        }
        grad_slope[c] = static_cast<T>(sum);
    });
}

template <typename T>
void channel_sums(const PlaneShape& shape, const T* x, T* sums, int threads) {
    parallel(threads, shape.c, [&](int64_t c, int) {
        double sum = 0;
        for (int64_t n = 0; n < shape.n; ++n) {
            sum += rows<T>().sum(x + (n * shape.c + c) * shape.pixels, shape.pixels);
        }
        sums[c] = static_cast<T>(sum);
    });
}

#define INSTANTIATE(T)                                                                             \
    template void bias_act_forward<T>(const PlaneShape&, const T*, const T*, Activation, T*, int); \
    template void bias_act_backward<T>(const PlaneShape&, const T*, const T*, const T*,            \
                                       Activation, T*, int);                                       \
    template void prelu_forward<T>(const PlaneShape&, const T*, const T*, T*, int);                \
    template void prelu_backward<T>(const PlaneShape&, const T*, const T*, const T*, T*, T*, int); \
    template void channel_sums<T>(const PlaneShape&, const T*, T*, int);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace yolo::cpu
