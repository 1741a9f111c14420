#include "predicted.h"

#include <algorithm>
#include <cmath>

#include "threads.h"

namespace yolo::cpu {
namespace {

constexpr int64_t RUN = 128;  // boxes that stay in registers and L1 while all truths pass by

// Left, top, right, bottom and area of up to RUN boxes; those that are not finite become points.
template <typename T>
struct Boxes {
    T left[RUN], top[RUN], right[RUN], bottom[RUN], area[RUN];

    void read(const T* planes, int64_t cells, int64_t count) {
        const T *x = planes, *y = x + cells, *w = y + cells, *h = w + cells;
        for (int64_t i = 0; i < count; ++i) {
            const T broken = (x[i] - x[i]) + (y[i] - y[i]) + (w[i] - w[i]) + (h[i] - h[i]);
            const bool whole = broken == 0;  // inf - inf and NaN - NaN are NaN
            const T cx = whole ? x[i] : 0, cy = whole ? y[i] : 0;
            const T half_w = whole ? w[i] / 2 : 0, half_h = whole ? h[i] / 2 : 0;
            left[i] = cx - half_w, right[i] = cx + half_w;
            top[i] = cy - half_h, bottom[i] = cy + half_h;
            area[i] = (right[i] - left[i]) * (bottom[i] - top[i]);
        }
    }
};

// best = max(best, intersection / union), a union of 0 counting as 1
template <typename T>
void meet(const Boxes<T>& b, const T* xywh, T* best, int64_t count) {
    const T left = xywh[0] - xywh[2] / 2, right = xywh[0] + xywh[2] / 2;
    const T top = xywh[1] - xywh[3] / 2, bottom = xywh[1] + xywh[3] / 2;
    const T area = (right - left) * (bottom - top);
    for (int64_t i = 0; i < count; ++i) {
        const T width = std::max(std::min(right, b.right[i]) - std::max(left, b.left[i]), T(0));
        const T height = std::max(std::min(bottom, b.bottom[i]) - std::max(top, b.top[i]), T(0));
        const T inter = width * height, together = area + b.area[i] - inter;
        best[i] = std::max(best[i], inter / (together == 0 ? T(1) : together));
    }
}

}  // namespace

template <typename T>
void best_overlap(const OverlapShape& s, const T* boxes, const T* truths, T* best, int threads) {
    const int64_t runs = (s.cells + RUN - 1) / RUN;
    parallel(threads, s.images * s.groups * runs, [&](int64_t task, int) {
        const int64_t group = task / runs, first = task % runs * RUN;
        const int64_t count = std::min(RUN, s.cells - first);
        Boxes<T> mine;
        mine.read(boxes + group * 4 * s.cells + first, s.cells, count);
        T* out = best + group * s.cells + first;
        std::fill(out, out + count, T(0));
        const T* truth = truths + group / s.groups * s.truths * 4;
        for (int64_t t = 0; t < s.truths; ++t) meet(mine, truth + 4 * t, out, count);
    });
}

template void best_overlap(const OverlapShape&, const float*, const float*, float*, int);
template void best_overlap(const OverlapShape&, const double*, const double*, double*, int);

template <typename T>
void highest(int64_t planes, int64_t classes, int64_t cells, int64_t step, const T* x, T* y,
             int threads) {
    parallel(threads, planes, [&](int64_t plane, int) {
        const T* from = x + plane * step;
        T* to = y + plane * cells;
        std::copy(from, from + cells, to);
        for (int64_t c = 1; c < classes; ++c) {
            from += cells;
            for (int64_t i = 0; i < cells; ++i)
                to[i] = from[i] > to[i] || from[i] != from[i] ? from[i] : to[i];
        }
    });
}

template void highest(int64_t, int64_t, int64_t, int64_t, const float*, float*, int);
template void highest(int64_t, int64_t, int64_t, int64_t, const double*, double*, int);

}  // namespace yolo::cpu
