// What the losses of heads ask about every predicted box.
#pragma once

#include <cstdint>

namespace yolo::cpu {

struct OverlapShape {
    int64_t images, groups, cells, truths;  // groups of boxes of an image; truths of an image
};

// best (images, groups, cells): highest intersection over union of each box with a truth of its
// image; 0 for a box that is not finite. boxes (images, groups, 4, cells), planes of x, y, w, h;
// truths (images, truths, 4). Boxes without any area give 0.
template <typename T>
void best_overlap(const OverlapShape& shape, const T* boxes, const T* truths, T* best, int threads);

// y (planes, cells) = max over the classes of x (planes, classes, cells), NaN if one is; `step`
// values lie from one plane of x to the next.
template <typename T>
void highest(int64_t planes, int64_t classes, int64_t cells, int64_t step, const T* x, T* y,
             int threads);

}  // namespace yolo::cpu
