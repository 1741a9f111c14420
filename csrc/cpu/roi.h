// Regions of interest, cut out of a map (n, c, h, w) as (rois, c, p, q); geometry: ../roi.h.
// rois: five numbers each. What lies off every image is 0 and has no gradient.
#pragma once

#include <cstdint>

#include "../roi.h"

namespace yolo::cpu {

using RoiShape = roi::Shape;

// y = mean over the samples of each bin of x, interpolated
template <typename T>
void roi_align_forward(const RoiShape& shape, const T* x, const T* rois, T* y, int threads);

template <typename T>
void roi_align_backward(const RoiShape& shape, const T* grad_y, const T* rois, T* grad_x,
                        int threads);

// y = largest x of each bin, 0 for an empty one; at: its place h * width + w, or -1
template <typename T>
void roi_pool_forward(const RoiShape& shape, const T* x, const T* rois, T* y, int32_t* at,
                      int threads);

template <typename T>
void roi_pool_backward(const RoiShape& shape, const T* grad_y, const T* rois, const int32_t* at,
                       T* grad_x, int threads);

}  // namespace yolo::cpu
