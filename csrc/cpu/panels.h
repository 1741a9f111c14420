// How the maps of a convolution are cut into matrices.
#pragma once

#include <algorithm>

#include "../choose.h"
#include "../shapes.h"
#include "columns.h"
#include "threads.h"

namespace yolo::cpu {

// The columns of one product: whole images [image, image + images), or of one image the output
// pixels [first, last).
struct Panel {
    int64_t image, images, first, last;

    int64_t width() const { return last - first; }  // of one image
    int64_t columns() const { return images * width(); }
};

struct Panels {
    const ConvShape& shape;
    const ConvPlan& plan;

    int64_t blocks() const { return ceil_div(shape.pixels(), plan.block); }
    int64_t count() const { return ceil_div(shape.n, plan.images) * blocks(); }

    Panel operator[](int64_t i) const {
        int64_t image = i / blocks() * plan.images, first = i % blocks() * plan.block;
        return {image, std::min(plan.images, shape.n - image), first,
                std::min(first + plan.block, shape.pixels())};
    }
};

// Part `i` of `parts` of `count` filters or channels.
inline Range part(int64_t count, int64_t parts, int64_t i) {
    return {count * i / parts, count * (i + 1) / parts};
}

// A matrix of columns as BLAS reads it: `columns` rows of it lie next to each other, `pitch` apart
// from one filter or tap to the next.
template <typename T>
struct Matrix {
    T* data;
    int64_t pitch;
};

// One convolution's sizes and addresses.
template <typename T>
struct Maps {
    const ConvShape& shape;
    const ConvPlan& plan;

    const T* in(const T* x, int64_t image, int64_t group, int64_t channel) const {
        return x + (image * shape.c + group * shape.channels() + channel) * shape.in_pixels();
    }
    T* in(T* x, int64_t image, int64_t group, int64_t channel) const {
        return const_cast<T*>(in(const_cast<const T*>(x), image, group, channel));
    }
    const T* out(const T* y, int64_t image, int64_t filter) const {
        return y + (image * shape.k + filter) * shape.pixels();
    }
    T* out(T* y, int64_t image, int64_t filter) const {
        return y + (image * shape.k + filter) * shape.pixels();
    }

    bool direct() const { return shape.pointwise() && plan.images == 1; }

    // Columns of channels `part` of a group, copied to `scratch` unless x itself will do.
    Matrix<const T> columns(const T* x, const Panel& panel, int64_t group, Range part,
                            T* scratch) const {
        if (direct()) {
            return {in(x, panel.image, group, part.first) + panel.first, shape.in_pixels()};
        }
        for (int64_t i = 0; i < panel.images; ++i) {
            fill_columns(shape, in(x, panel.image + i, group, part.first), part.last - part.first,
                         panel.first, panel.last, scratch + i * panel.width(), panel.columns());
        }
        return {scratch, panel.columns()};
    }

    // grad_y of several images side by side: for each filter, image after image.
    void gather(const T* grad_y, const Panel& panel, T* gathered, int threads) const {
        parallel(threads, shape.k, [&](int64_t filter, int) {
            for (int64_t i = 0; i < panel.images; ++i) {
                const T* from = out(grad_y, panel.image + i, filter);
                std::copy(from, from + panel.width(),
                          gathered + filter * panel.columns() + i * panel.width());
            }
        });
    }

    // The same for one image, where it lies, or what gather() left.
    Matrix<const T> outputs(const T* grad_y, const Panel& panel, int64_t group,
                            const T* gathered) const {
        int64_t filter = group * shape.filters();
        if (plan.images > 1) return {gathered + filter * panel.columns(), panel.columns()};
        return {out(grad_y, panel.image, filter) + panel.first, shape.pixels()};
    }
};

}  // namespace yolo::cpu
