#include "reorg.h"

#include "threads.h"

namespace yolo::cpu {
namespace {

// body(small, large) with the places of pixel 0 of each row of the small index; the next pixel is
// 1 further in the small and s further in the large.
template <typename Body>
void each_row(const ReorgShape& shape, int threads, Body body) {
    const int64_t s = shape.s, rows = s * s * shape.c;
    parallel(threads, shape.n * rows, [&](int64_t task, int) {
        const int64_t n = task / rows, row = task % rows, o = row / shape.c, c = row % shape.c;
        const int64_t image = n * rows * shape.h * shape.w;
        for (int64_t i = 0; i < shape.h; ++i) {
            int64_t large = ((c * shape.h + i) * s + o / s) * shape.w * s + o % s;
            body(image + (row * shape.h + i) * shape.w, image + large);
        }
    });
}

}  // namespace

template <typename T>
void reorg_pack(const ReorgShape& shape, const T* x, T* y, int threads) {
    each_row(shape, threads, [&](int64_t small, int64_t large) {
        for (int64_t j = 0; j < shape.w; ++j) y[small + j] = x[large + j * shape.s];
    });
}

template <typename T>
void reorg_unpack(const ReorgShape& shape, const T* x, T* y, int threads) {
    each_row(shape, threads, [&](int64_t small, int64_t large) {
        for (int64_t j = 0; j < shape.w; ++j) y[large + j * shape.s] = x[small + j];
    });
}

#define INSTANTIATE(T)                                                 \
    template void reorg_pack<T>(const ReorgShape&, const T*, T*, int); \
    template void reorg_unpack<T>(const ReorgShape&, const T*, T*, int);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace yolo::cpu
