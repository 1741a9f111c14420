#include "tensor.h"

namespace yolo::packed {

View packed_view(const Kernels& kernels, const float* data, int n, int channels, int height,
                 int width) {
    View v{};
    v.images = n, v.blocks = (channels + kernels.lanes - 1) / kernels.lanes, v.height = height,
    v.width = width;
    v.border = BORDER;
    v.row = long(width + 2 * BORDER) * kernels.lanes;
    v.block = v.row * (height + 2 * BORDER);
    v.image = v.block * v.blocks;
    v.data = const_cast<float*>(data) + BORDER * (v.row + kernels.lanes);
    return v;
}

long packed_floats(const Kernels& kernels, int n, int channels, int height, int width) {
    float nothing;
    return packed_view(kernels, &nothing, n, channels, height, width).image * n;
}

}  // namespace yolo::packed
