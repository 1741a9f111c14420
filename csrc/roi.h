// Where the bins of a region of interest lie on a feature map, the same for CPU and CUDA.
//
// A region is five numbers: image, left, top, right, bottom, the edges relative to the map, so that
// 0 and 1 are its borders. Rows and columns are independent: everything here is along one axis of
// `size` cells, with the region's edges `low` and `high` on it.
#pragma once

#include <cstdint>

#if defined(__CUDACC__) || defined(YOLO_EMULATOR)
#include "cuda/launch.cuh"
#define ROI_INLINE __host__ __device__ __forceinline__
#else
#define ROI_INLINE inline
#endif

namespace yolo::roi {

struct Shape {
    int64_t n, c, h, w;  // the map
    int64_t rois, p, q;  // regions, bins of each
    int64_t samples;     // along each axis of a bin; roi_align alone
};

// Two neighbouring cells and what each counts; both weights are 0 for what is off the map.
template <typename T>
struct Tap {
    int low, high;
    T weight_low, weight_high;

    ROI_INLINE T weight_of(int cell) const {
        return (cell == low ? weight_low : T(0)) + (cell == high ? weight_high : T(0));
    }
};

// roi_align: sample `i` of `samples` in bin `bin` of `bins`, interpolated between cell centres.
template <typename T>
ROI_INLINE Tap<T> tap(T low, T high, int size, int bins, int samples, int bin, int i) {
    T place = low * T(size) - T(0.5);
    place += (T(bin) + (T(i) + T(0.5)) / T(samples)) * ((high - low) * T(size) / T(bins));
    if (!(place >= T(-1) && place <= T(size))) return {0, 0, T(0), T(0)};  // NaN is off the map
    if (place <= T(0)) return {0, 0, T(1), T(0)};
    int cell = int(place);
    if (cell >= size - 1) return {size - 1, size - 1, T(1), T(0)};
    T share = place - T(cell);
    return {cell, cell + 1, T(1) - share, share};
}

struct Range {
    int first, last;  // cells first <= cell < last
};

template <typename T>
ROI_INLINE int rounded_cell(T edge, int size) {
    T place = edge * T(size) + T(0.5);
    if (!(place > T(-size))) return -size;  // as far off as matters; NaN, too
    if (place > T(2 * size)) return 2 * size;
    int cell = int(place);
    return T(cell) > place ? cell - 1 : cell;  // floor
}

ROI_INLINE int clamped(int64_t cell, int size) {
    return cell < 0 ? 0 : cell > size ? size : int(cell);
}

// roi_pool: the cells of a bin. Edges are rounded to cells, both of which belong to the region.
template <typename T>
ROI_INLINE Range cells(T low, T high, int size, int bins, int bin) {
    int first = rounded_cell(low, size), count = rounded_cell(high, size) - first + 1;
    if (count < 1) count = 1;
    int64_t begin = int64_t(bin) * count / bins;                 // floor
    int64_t end = (int64_t(bin + 1) * count + bins - 1) / bins;  // ceiling
    return {clamped(first + begin, size), clamped(first + end, size)};
}

// The image that a region lies on, or -1 for none.
template <typename T>
ROI_INLINE int64_t image_of(const T* region, int64_t images) {
    return region[0] >= T(0) && region[0] < T(images) ? int64_t(region[0]) : -1;
}

}  // namespace yolo::roi
