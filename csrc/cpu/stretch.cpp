#include "stretch.h"

#include <algorithm>
#include <vector>

#include "threads.h"

namespace yolo::cpu {
namespace {

// Of a new position: the two old neighbours and the share of the second.
struct Between {
    int64_t low, high;
    float share;
};

Between between(int64_t i, int64_t old, int64_t count) {
    // the last is set, since a single one lies there as well
    const double at =
        i == count - 1 ? double(old - 1) : double(i) * (double(old - 1) / (count - 1));
    const int64_t low = std::min(int64_t(at), std::max<int64_t>(old - 2, 0));
    return {low, std::min(low + 1, old - 1), float(at - low)};
}

}  // namespace

template <typename T>
void stretch(const StretchShape& s, const T* image, float* planes, int threads) {
    std::vector<Between> columns(s.new_w);
    for (int64_t j = 0; j < s.new_w; ++j) {
        columns[j] = between(j, s.w, s.new_w);
        columns[j].low *= s.channels;
        columns[j].high *= s.channels;
    }
    parallel(threads, s.new_h, [&](int64_t i, int) {
        const Between row = between(i, s.h, s.new_h);
        const T* above = image + row.low * s.w * s.channels;
        const T* below = image + row.high * s.w * s.channels;
        const auto blended = [=](int64_t at) {
            const float a = above[at];
            return a + (below[at] - a) * row.share;
        };
        for (int64_t c = 0; c < s.channels; ++c) {
            float* to = planes + (c * s.new_h + i) * s.new_w;
            for (int64_t j = 0; j < s.new_w; ++j) {
                const Between& column = columns[j];
                const float left = blended(column.low + c);
                const float right = blended(column.high + c);
                to[j] = left * (1 / 255.f) + (right - left) * (column.share / 255.f);
            }
        }
    });
}

template void stretch(const StretchShape&, const uint8_t*, float*, int);
template void stretch(const StretchShape&, const float*, float*, int);

}  // namespace yolo::cpu
