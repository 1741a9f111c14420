// What conv_implicit.cu and conv_implicit_grad_weight.cu share on the host.
#pragma once
#include "cuda_api.h"
#include "launch.cuh"

constexpr int WANTED_BLOCKS = 264;  // two for each multiprocessor of the largest chips
constexpr int LEAST_STEPS = 8;      // a split sum with fewer costs more than it wins

inline int round_up(int value, int multiple) {
    return (value + multiple - 1) / multiple * multiple;
}
inline int greatest_common_divisor(int a, int b) {
    return b == 0 ? a : greatest_common_divisor(b, a % b);
}

// NHWC whose pixels follow each other at one pitch through rows and images.
inline bool pixels_flat(const Strides& t, int rows, int columns) {
    return t.c == 1 && (rows == 1 || t.h == t.w * columns) && t.n == t.w * columns * rows;
}

// Whether every chunk of every pixel and group begins at a multiple of 16 bytes.
template <class Format>
bool chunks_aligned(const void* data, int64_t pitch, int channels, int groups) {
    return reinterpret_cast<uintptr_t>(data) % 16 == 0 && pitch % Format::CHUNK == 0 &&
           (groups == 1 || channels % Format::CHUNK == 0);
}

int64_t implicit_grad_weight_workspace(const YoloConv& call);
int implicit_grad_weight(const YoloConv& call, Stream stream);
