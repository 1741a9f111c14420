#include "roi.h"

#include <algorithm>
#include <vector>

#include "threads.h"

namespace yolo::cpu {
namespace {

constexpr int64_t IMAGE = 0, LEFT = 1, TOP = 2, RIGHT = 3, BOTTOM = 4, NUMBERS = 5;

// Samples of one region along both axes.
template <typename T>
struct Taps {
    std::vector<roi::Tap<T>> rows, cols;

    void place(const RoiShape& s, const T* region) {
        along(rows, region[TOP], region[BOTTOM], s.h, s.p, s.samples);
        along(cols, region[LEFT], region[RIGHT], s.w, s.q, s.samples);
    }

 private:
    static void along(std::vector<roi::Tap<T>>& taps, T low, T high, int64_t size, int64_t bins,
                      int64_t samples) {
        taps.clear();
        for (int bin = 0; bin < bins; ++bin) {
            for (int i = 0; i < samples; ++i) {
                taps.push_back(roi::tap(low, high, int(size), int(bins), int(samples), bin, i));
            }
        }
    }
};

// body(p * q, row tap, column tap) for every sample of every bin.
template <typename T, typename Body>
void each_sample(const RoiShape& s, const Taps<T>& taps, Body body) {
    for (int64_t i = 0; i < s.p * s.samples; ++i) {
        for (int64_t j = 0; j < s.q * s.samples; ++j) {
            body(i / s.samples * s.q + j / s.samples, taps.rows[i], taps.cols[j]);
        }
    }
}

// Gradients: body(region, image, first channel, last channel) region by region, each thread with
// channels of its own, so that sums have one order.
template <typename T, typename Body>
void each_region(const RoiShape& s, const T* rois, T* grad_x, int threads, Body body) {
    const int64_t runs = std::min<int64_t>(s.c, int64_t{threads} * 2);
    parallel(threads, runs, [&](int64_t run, int) {
        const int64_t first = s.c * run / runs, last = s.c * (run + 1) / runs;
        for (int64_t n = 0; n < s.n; ++n) {
            T* planes = grad_x + n * s.c * s.h * s.w;
            std::fill(planes + first * s.h * s.w, planes + last * s.h * s.w, T(0));
        }
        for (int64_t r = 0; r < s.rois; ++r) {
            const int64_t image = roi::image_of(rois + r * NUMBERS + IMAGE, s.n);
            if (image >= 0) body(r, image, first, last);
        }
    });
}

}  // namespace

template <typename T>
void roi_align_forward(const RoiShape& s, const T* x, const T* rois, T* y, int threads) {
    const T share = T(1) / static_cast<T>(s.samples * s.samples);
    parallel(threads, s.rois, [&](int64_t r, int) {
        T* out = y + r * s.c * s.p * s.q;
        std::fill(out, out + s.c * s.p * s.q, T(0));
        const T* region = rois + r * NUMBERS;
        const int64_t image = roi::image_of(region, s.n);
        if (image < 0) return;
        Taps<T> taps;
        taps.place(s, region);
        for (int64_t c = 0; c < s.c; ++c, out += s.p * s.q) {
            const T* plane = x + (image * s.c + c) * s.h * s.w;
            each_sample(s, taps, [&](int64_t bin, const auto& row, const auto& col) {
                const T *above = plane + row.low * s.w, *below = plane + row.high * s.w;
                out[bin] += share * (row.weight_low * (col.weight_low * above[col.low] +
                                                       col.weight_high * above[col.high]) +
                                     row.weight_high * (col.weight_low * below[col.low] +
                                                        col.weight_high * below[col.high]));
            });
        }
    });
}

template <typename T>
void roi_align_backward(const RoiShape& s, const T* grad_y, const T* rois, T* grad_x, int threads) {
    const T share = T(1) / static_cast<T>(s.samples * s.samples);
    each_region(s, rois, grad_x, threads, [&](int64_t r, int64_t image, int64_t c, int64_t last) {
        Taps<T> taps;
        taps.place(s, rois + r * NUMBERS);
        for (; c < last; ++c) {
            T* plane = grad_x + (image * s.c + c) * s.h * s.w;
            const T* grad = grad_y + (r * s.c + c) * s.p * s.q;
            each_sample(s, taps, [&](int64_t bin, const auto& row, const auto& col) {
                const T g = share * grad[bin];
                T *above = plane + row.low * s.w, *below = plane + row.high * s.w;
                above[col.low] += g * row.weight_low * col.weight_low;
                above[col.high] += g * row.weight_low * col.weight_high;
                below[col.low] += g * row.weight_high * col.weight_low;
                below[col.high] += g * row.weight_high * col.weight_high;
            });
        }
    });
}

template <typename T>
void roi_pool_forward(const RoiShape& s, const T* x, const T* rois, T* y, int32_t* at,
                      int threads) {
    parallel(threads, s.rois, [&](int64_t r, int) {
        const T* region = rois + r * NUMBERS;
        const int64_t image = roi::image_of(region, s.n), bins = s.p * s.q;
        for (int64_t i = 0; i < bins; ++i) {
            roi::Range rows{0, 0}, cols{0, 0};
            if (image >= 0) {
                rows = roi::cells(region[TOP], region[BOTTOM], int(s.h), int(s.p), int(i / s.q));
                cols = roi::cells(region[LEFT], region[RIGHT], int(s.w), int(s.q), int(i % s.q));
            }
            for (int64_t c = 0; c < s.c; ++c) {
                const T* plane = x + (image * s.c + c) * s.h * s.w;
                T most = T(0);
                int32_t place = -1;
                for (int row = rows.first; row < rows.last; ++row) {
                    for (int col = cols.first; col < cols.last; ++col) {
                        const T value = plane[row * s.w + col];
                        if (place >= 0 && !(value > most) && value == value) continue;
                        most = value;  // the first value, a larger one, or NaN
                        place = static_cast<int32_t>(row * s.w + col);
                        if (value != value) row = rows.last, col = cols.last;  // NaN stays
                    }
                }
                y[(r * s.c + c) * bins + i] = most;
                at[(r * s.c + c) * bins + i] = place;
            }
        }
    });
}

template <typename T>
void roi_pool_backward(const RoiShape& s, const T* grad_y, const T* rois, const int32_t* at,
                       T* grad_x, int threads) {
    each_region(s, rois, grad_x, threads, [&](int64_t r, int64_t image, int64_t c, int64_t last) {
        for (; c < last; ++c) {
            T* plane = grad_x + (image * s.c + c) * s.h * s.w;
            const int64_t first = (r * s.c + c) * s.p * s.q;
            for (int64_t i = first; i < first + s.p * s.q; ++i) {
                if (at[i] >= 0) plane[at[i]] += grad_y[i];
            }
        }
    });
}

#define INSTANTIATE(T)                                                                          \
    template void roi_align_forward<T>(const RoiShape&, const T*, const T*, T*, int);           \
    template void roi_align_backward<T>(const RoiShape&, const T*, const T*, T*, int);          \
    template void roi_pool_forward<T>(const RoiShape&, const T*, const T*, T*, int32_t*, int);  \
    template void roi_pool_backward<T>(const RoiShape&, const T*, const T*, const int32_t*, T*, \
                                       int);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace yolo::cpu
