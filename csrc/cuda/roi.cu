// Regions of interest cut out of a map, NHWC with pixel pitches. One thread a result.
//
//     roi_align   y[r,p,q,c] = mean over the samples of the bin of x[image of r], interpolated
//     roi_pool    y[r,p,q,c] = max of the cells of the bin; index: place h * width + w of the
//                 first largest value, which alone gets grad_y, or -1
//     grad_x      each pixel gathers from the regions over it, region by region: no atomics, one
//                 fixed order. The weights of a sample are those of its row times its column.
#include "../roi.h"
#include "cuda_api.h"
#include "pixels.cuh"

namespace {

namespace roi = yolo::roi;

template <class N>
struct Region {
    N at[5];  // image, left, top, right, bottom
    int64_t image;

    __device__ Region(const YoloRoi& t, int64_t number) {
        UNROLL for (int i = 0; i < 5; ++i) {
            at[i] = load(static_cast<const N*>(t.regions) + number * 5 + i);
        }
        image = roi::image_of(at, t.n);
    }
    __device__ roi::Tap<N> row(const YoloRoi& t, int bin, int i) const {
        return roi::tap(at[2], at[4], t.h, t.p, t.samples, bin, i);
    }
    __device__ roi::Tap<N> col(const YoloRoi& t, int bin, int i) const {
        return roi::tap(at[1], at[3], t.w, t.q, t.samples, bin, i);
    }
    __device__ roi::Range rows(const YoloRoi& t, int bin) const {
        return roi::cells(at[2], at[4], t.h, t.p, bin);
    }
    __device__ roi::Range cols(const YoloRoi& t, int bin) const {
        return roi::cells(at[1], at[3], t.w, t.q, bin);
    }
    // Whether samples may count a cell: they lie between the edges, half a cell aside.
    __device__ bool reaches(const YoloRoi& t, int y, int x) const {
        return near(at[2] * N(t.h), at[4] * N(t.h), N(y)) &&
               near(at[1] * N(t.w), at[3] * N(t.w), N(x));
    }

 private:
    static __device__ bool near(N low, N high, N cell) {
        return cell >= (low < high ? low : high) - N(2) && cell <= (low < high ? high : low) + N(2);
    }
};

template <class T>
__global__ void roi_align_kernel(YoloRoi t) {
    using N = typename Compute<T>::type;
    Place at(thread_number(), t.p, t.q, t.c);
    if (at.n >= t.rois) return;
    Region<N> region(t, at.n);
    N sum = 0;
    for (int i = 0; i < t.samples && region.image >= 0; ++i) {
        roi::Tap<N> row = region.row(t, at.y, i);
        int64_t above = (region.image * t.h + row.low) * t.w;
        int64_t below = (region.image * t.h + row.high) * t.w;
        for (int j = 0; j < t.samples; ++j) {
            roi::Tap<N> col = region.col(t, at.x, j);
            auto value = [&](int64_t line, int cell) {
                return widen(load(row_of<T>(t.x, line + cell) + at.c));
            };
            sum += row.weight_low * (col.weight_low * value(above, col.low) +
                                     col.weight_high * value(above, col.high)) +
                   row.weight_high * (col.weight_low * value(below, col.low) +
                                      col.weight_high * value(below, col.high));
        }
    }
    int64_t pixel = (at.n * t.p + at.y) * t.q + at.x;
    store(row_of<T>(t.y, pixel) + at.c, rounded<T>(sum / N(t.samples * t.samples)));
}

template <class T>
__global__ void roi_align_grad_x_kernel(YoloRoi t) {
    using N = typename Compute<T>::type;
    Place at(thread_number(), t.h, t.w, t.c);
    if (at.n >= t.n) return;
    N sum = 0;
    for (int r = 0; r < t.rois; ++r) {
        Region<N> region(t, r);
        if (region.image != at.n || !region.reaches(t, at.y, at.x)) continue;
        for (int p = 0; p < t.p; ++p) {
            N in_row = 0;
            for (int i = 0; i < t.samples; ++i) in_row += region.row(t, p, i).weight_of(at.y);
            for (int q = 0; q < t.q && in_row != N(0); ++q) {
                N in_col = 0;
                for (int j = 0; j < t.samples; ++j) in_col += region.col(t, q, j).weight_of(at.x);
                if (in_col == N(0)) continue;
                int64_t pixel = (int64_t(r) * t.p + p) * t.q + q;
                sum += in_row * in_col * widen(load(row_of<T>(t.y, pixel) + at.c));
            }
        }
    }
    int64_t pixel = (at.n * t.h + at.y) * t.w + at.x;
    store(row_of<T>(t.x, pixel) + at.c, rounded<T>(sum / N(t.samples * t.samples)));
}

template <class T>
__global__ void roi_pool_kernel(YoloRoi t) {
    using N = typename Compute<T>::type;
    Place at(thread_number(), t.p, t.q, t.c);
    if (at.n >= t.rois) return;
    Region<N> region(t, at.n);
    roi::Range rows = region.rows(t, at.y), cols = region.cols(t, at.x);
    Largest<N> most = {N(0)};
    for (int y = rows.first; y < rows.last && region.image >= 0; ++y) {
        for (int x = cols.first; x < cols.last; ++x) {
            N value = widen(load(row_of<T>(t.x, (region.image * t.h + y) * t.w + x) + at.c));
            if (!most.offer(value, y * t.w + x)) y = rows.last, x = cols.last;
        }
    }
    int64_t pixel = (at.n * t.p + at.y) * t.q + at.x;
    store(row_of<T>(t.y, pixel) + at.c, rounded<T>(most.value));
    store(static_cast<int*>(t.index) + pixel * t.c + at.c, most.index);
}

template <class T>
__global__ void roi_pool_grad_x_kernel(YoloRoi t) {
    using N = typename Compute<T>::type;
    Place at(thread_number(), t.h, t.w, t.c);
    if (at.n >= t.n) return;
    N sum = 0;
    for (int r = 0; r < t.rois; ++r) {
        Region<N> region(t, r);
        if (region.image != at.n) continue;
        for (int p = 0; p < t.p; ++p) {
            roi::Range rows = region.rows(t, p);
            if (at.y < rows.first || at.y >= rows.last) continue;
            for (int q = 0; q < t.q; ++q) {
                roi::Range cols = region.cols(t, q);
                if (at.x < cols.first || at.x >= cols.last) continue;
                int64_t pixel = (int64_t(r) * t.p + p) * t.q + q;
                int index = load(static_cast<const int*>(t.index) + pixel * t.c + at.c);
                if (index == at.y * t.w + at.x) sum += widen(load(row_of<T>(t.y, pixel) + at.c));
            }
        }
    }
    int64_t pixel = (at.n * t.h + at.y) * t.w + at.x;
    store(row_of<T>(t.x, pixel) + at.c, rounded<T>(sum));
}

// A thread for each value of y forward, of x backward.
template <class Kernel>
int run(const YoloRoi& t, YoloPass pass, void* stream, Kernel forward, Kernel backward) {
    int64_t regions = int64_t(t.rois) * t.p * t.q, pixels = int64_t(t.n) * t.h * t.w;
    int64_t items = t.c * (pass == YOLO_FORWARD ? regions : pixels);
    if (t.h < 1 || t.w < 1 || t.p < 1 || t.q < 1) return YOLO_BAD_SHAPE;
    return launch_each(pass == YOLO_FORWARD ? forward : backward, items, t, stream);
}

}  // namespace

int yolo_cuda_roi_align(const YoloRoi* call, YoloPass pass, void* s) {
    if (call->samples < 1) return YOLO_BAD_SHAPE;
    return with_type(call->type, [&](auto type) {
        using T = decltype(type);
        return run(*call, pass, s, roi_align_kernel<T>, roi_align_grad_x_kernel<T>);
    });
}

int yolo_cuda_roi_pool(const YoloRoi* call, YoloPass pass, void* s) {
    return with_type(call->type, [&](auto type) {
        using T = decltype(type);
        return run(*call, pass, s, roi_pool_kernel<T>, roi_pool_grad_x_kernel<T>);
    });
}
