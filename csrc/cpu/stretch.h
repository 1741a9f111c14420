// Images to the size of a network's input.
#pragma once

#include <cstdint>

namespace yolo::cpu {

struct StretchShape {
    int64_t h, w, channels, new_h, new_w;
};

// planes (channels, new_h, new_w) = image (h, w, channels) / 255, bilinear with aligned corners:
// Darknet's resize. T: uint8_t or float. On the calling thread alone: who prepares
// images ahead must not take the threads from the network.
template <typename T>
void stretch(const StretchShape& shape, const T* image, float* planes);

}  // namespace yolo::cpu
