#include "upsample.h"

#include <algorithm>

#include "threads.h"

namespace yolo::cpu {
namespace {

// body(row) for every row of every plane, many rows to a task.
template <typename Body>
void each_row(int64_t rows, int threads, Body body) {
    const int64_t runs = std::min<int64_t>(rows, int64_t{threads} * 8);
    parallel(threads, runs, [&](int64_t run, int) {
        for (int64_t row = rows * run / runs; row < rows * (run + 1) / runs; ++row) body(row);
    });
}

}  // namespace

template <typename T>
void enlarge(int64_t planes, int64_t h, int64_t w, int64_t s, double scale, const T* small,
             T* large, int threads) {
    const T factor = static_cast<T>(scale);
    each_row(planes * h, threads, [&](int64_t row) {
        const T* from = small + row * w;
        T* to = large + row * s * w * s;
        for (int64_t j = 0; j < w; ++j) std::fill(to + j * s, to + (j + 1) * s, from[j] * factor);
        for (int64_t i = 1; i < s; ++i) std::copy(to, to + w * s, to + i * w * s);
    });
}

template <typename T>
void block_sums(int64_t planes, int64_t h, int64_t w, int64_t s, double scale, const T* large,
                T* small, int threads) {
    const T factor = static_cast<T>(scale);
    each_row(planes * h, threads, [&](int64_t row) {
        const T* from = large + row * s * w * s;
        for (int64_t j = 0; j < w; ++j) {
            T sum = 0;
            for (int64_t i = 0; i < s; ++i) {
                for (int64_t l = 0; l < s; ++l) sum += from[i * w * s + j * s + l];
            }
            small[row * w + j] = sum * factor;
        }
    });
}

#define INSTANTIATE(T)                                                                       \
    template void enlarge<T>(int64_t, int64_t, int64_t, int64_t, double, const T*, T*, int); \
    template void block_sums<T>(int64_t, int64_t, int64_t, int64_t, double, const T*, T*, int);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace yolo::cpu
