// Max pooling by Darknet's rule, and the mean of whole planes.
#pragma once

#include <cstdint>

#include "../shapes.h"

namespace yolo::cpu {

// y[p, q] = largest x in the window; cells outside the image do not count.  at (or null) takes the
// index h * width + w of the winner within its plane, the first of equals row by row, -1 for an
// empty window (whose y is -infinity).  scratch: maxpool_scratch() bytes for each thread.
template <typename T>
void maxpool_forward(const PoolShape& shape, const T* x, T* y, int32_t* at, void* scratch,
                     int threads);

inline int64_t maxpool_scratch(const PoolShape& shape, int64_t itemsize) {
    return ceil_div(shape.h * shape.q * (itemsize + 4), 64) * 64;
}

// grad_x[at[p, q]] += grad_y[p, q]
template <typename T>
void maxpool_backward(const PoolShape& shape, const T* grad_y, const int32_t* at, T* grad_x,
                      int threads);

// planes x pixels -> planes
template <typename T>
void avgpool_forward(int64_t planes, int64_t pixels, const T* x, T* y, int threads);

template <typename T>
void avgpool_backward(int64_t planes, int64_t pixels, const T* grad_y, T* grad_x, int threads);

}  // namespace yolo::cpu
