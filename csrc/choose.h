// Shape, pass and machine -> how a convolution is computed: plain functions, tested without a GPU.
#pragma once

#include <cstdint>

#include "shapes.h"

namespace yolo {

enum class Pass : int { forward, grad_x, grad_weight };

enum class Algorithm : int { im2col, depthwise };

inline constexpr const char* ALGORITHM_NAMES[] = {"im2col", "depthwise"};

// Columns of several whole images, or of a block of one image's pixels, make one matrix product.
struct ConvPlan {
    Algorithm algorithm = Algorithm::im2col;
    int64_t images = 1;     // images whose columns stand side by side
    int64_t block = 0;      // output pixels of one image in one product
    int64_t slice = 0;      // forward: channels whose columns are multiplied at a time
    int64_t parts = 1;      // tasks sharing one product: parts of the filters or of the channels
    int64_t partials = 0;   // grad_weight: sums over parts of the batch, added up at the end
    int64_t workspace = 0;  // numbers (not bytes) that the pass needs as scratch

    int64_t columns() const { return images * block; }
};

ConvPlan choose(const ConvShape& shape, Pass pass, int threads);

}  // namespace yolo
