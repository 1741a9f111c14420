// Sizes of the operations.  Letters: n images, c x h x w input, k filters, r x s taps, p x q
// output.
#pragma once

#include <cstdint>

namespace yolo {

struct ConvShape {
    int64_t n, c, h, w;
    int64_t k, r, s;
    int64_t p, q;
    int64_t stride_y, stride_x;
    int64_t pad_y, pad_x;
    int64_t dilation_y, dilation_x;
    int64_t groups;

    int64_t channels() const { return c / groups; }        // input channels of one group
    int64_t filters() const { return k / groups; }         // filters of one group
    int64_t taps() const { return r * s; }                 // cells under one filter
    int64_t depth() const { return channels() * taps(); }  // products in one output value
    int64_t in_pixels() const { return h * w; }            // of one channel
    int64_t pixels() const { return p * q; }               // of one filter's map
    int64_t weights() const { return k * channels() * taps(); }
    bool depthwise() const { return groups > 1 && channels() == 1; }

    // The columns of x are x itself.
    bool pointwise() const {
        return taps() == 1 && stride_y == 1 && stride_x == 1 && pad_y == 0 && pad_x == 0;
    }
};

struct PoolShape {
    int64_t n, c, h, w;
    int64_t p, q;
    int64_t size_y, size_x;
    int64_t stride_y, stride_x;
    int64_t offset_y, offset_x;  // rows above, columns left of the image where window 0 starts

    int64_t planes() const { return n * c; }
    int64_t in_pixels() const { return h * w; }
    int64_t pixels() const { return p * q; }
};

// Indices i in [first, last) for which 0 <= i * stride + offset < size, clipped to [0, count).
struct Range {
    int64_t first, last;
};

inline Range inside(int64_t offset, int64_t stride, int64_t size, int64_t count) {
    int64_t first = offset < 0 ? (-offset + stride - 1) / stride : 0;
    int64_t last = offset < size ? (size - offset + stride - 1) / stride : 0;
    first = first < count ? first : count;
    last = last < count ? last : count;
    return {first, last > first ? last : first};
}

inline int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

}  // namespace yolo
