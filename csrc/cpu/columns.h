// im2col and its transpose.  Row (c, r, s) of the columns holds, for every output pixel, the value
// of x under that tap, 0 outside the image.
#pragma once

#include <cstdint>

#include "../shapes.h"

namespace yolo::cpu {

// Output pixels [first, last) of one image; x starts at the first of `channels` planes; row i of
// the columns starts at columns + i * pitch.
template <typename T>
void fill_columns(const ConvShape& shape, const T* x, int64_t channels, int64_t first, int64_t last,
                  T* columns, int64_t pitch);

// x += columns, each value where it came from; overwrites what the columns hold outside the image.
template <typename T>
void add_columns(const ConvShape& shape, T* columns, int64_t pitch, int64_t channels, int64_t first,
                 int64_t last, T* x);

}  // namespace yolo::cpu
