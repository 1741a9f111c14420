// One convolution: x (n, c, h, w), weight (k, c/groups, r, s) -> y (n, k, p, q).
#pragma once
#include <cstdint>

struct ConvShape {
    int n, c, h, w;
    int k, r, s;
    int p, q;
    int stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x;
    int groups;
};

// Elements between neighbours of a tensor (n, c, h, w): NCHW, NHWC and slices of either.
struct Strides {
    int64_t n, c, h, w;
};

inline bool consistent(const ConvShape& a) {
    return a.n >= 0 && a.c > 0 && a.h > 0 && a.w > 0 && a.k > 0 && a.r > 0 && a.s > 0 &&
           a.groups > 0 && a.c % a.groups == 0 && a.k % a.groups == 0 && a.stride_y > 0 &&
           a.stride_x > 0 && a.dilation_y > 0 && a.dilation_x > 0 && a.pad_y >= 0 && a.pad_x >= 0 &&
           a.p == (a.h + 2 * a.pad_y - a.dilation_y * (a.r - 1) - 1) / a.stride_y + 1 &&
           a.q == (a.w + 2 * a.pad_x - a.dilation_x * (a.s - 1) - 1) / a.stride_x + 1 && a.p > 0 &&
           a.q > 0;
}
