#include "stretch.h"

#include <algorithm>
#include <vector>

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
void stretch(const StretchShape& s, const T* image, float* planes) {
    std::vector<Between> columns(s.new_w);
    for (int64_t j = 0; j < s.new_w; ++j) columns[j] = between(j, s.w, s.new_w);
    const int64_t line = s.w * s.channels;
    std::vector<float> blended(line);
    for (int64_t i = 0; i < s.new_h; ++i) {
        const Between row = between(i, s.h, s.new_h);
        const T *above = image + row.low * line, *below = image + row.high * line;
        for (int64_t k = 0; k < line; ++k) {
            const float a = above[k];
            blended[k] = a + (below[k] - a) * row.share;
        }
        for (int64_t c = 0; c < s.channels; ++c) {
            float* to = planes + (c * s.new_h + i) * s.new_w;
            for (int64_t j = 0; j < s.new_w; ++j) {
                const float left = blended[columns[j].low * s.channels + c];
                const float right = blended[columns[j].high * s.channels + c];
                to[j] = (left + (right - left) * columns[j].share) * (1 / 255.f);
            }
        }
    }
}

template void stretch(const StretchShape&, const uint8_t*, float*);
template void stretch(const StretchShape&, const float*, float*);

}  // namespace yolo::cpu
