#include "conv_im2col.h"

#include <algorithm>

#include "blas.h"
#include "panels.h"
#include "rows.h"

namespace yolo::cpu {
namespace {

template <typename T>
struct Forward {
    Maps<T> maps;
    const T *x, *weight, *bias;
    Activation f;
    T* y;

    const ConvShape& shape() const { return maps.shape; }

    // Where the product of filters `part` lands: in y, or for several images in `outputs`.
    Matrix<T> target(const Panel& panel, int64_t group, Range part, T* outputs) const {
        if (maps.plan.images > 1) return {outputs + part.first * panel.columns(), panel.columns()};
        const int64_t first = group * shape().filters() + part.first;
        return {maps.out(y, panel.image, first) + panel.first, shape().pixels()};
    }

    // to = or += filters `part` of a group times the columns of channels `slice`.
    void multiply(const Panel& panel, int64_t group, Range part, Range slice,
                  Matrix<const T> columns, Matrix<T> to) const {
        const int64_t first = group * shape().filters() + part.first, depth = shape().depth();
        gemm<T>('N', 'N', panel.columns(), part.last - part.first,
                (slice.last - slice.first) * shape().taps(), columns.data, columns.pitch,
                weight + first * depth + slice.first * shape().taps(), depth,
                slice.first ? T(1) : T(0), to.data, to.pitch);
    }

    void finish(const Panel& panel, int64_t group, Range part, Matrix<T> from) const {
        if (maps.plan.images == 1 && !bias && f == Activation::linear) return;
        for (int64_t k = part.first; k < part.last; ++k) {
            finish(panel, group * shape().filters() + k, from.data + (k - part.first) * from.pitch);
        }
    }

    // Bias and activation while the product is in cache, and the way to y.
    void finish(const Panel& panel, int64_t filter, const T* from) const {
        const T shift = bias ? bias[filter] : T(0);
        for (int64_t i = 0; i < panel.images; ++i) {
            rows<T>().bias_act(f, from + i * panel.width(), shift,
                               maps.out(y, panel.image + i, filter) + panel.first, panel.width());
        }
    }
};

// Each task owns one panel: columns of some channels, which stay in cache, times all filters.
template <typename T>
void forward_by_panel(const Forward<T>& pass, T* workspace, int threads) {
    const ConvShape& shape = pass.shape();
    const Panels panels{shape, pass.maps.plan};
    const int64_t share = pass.maps.plan.workspace / threads;
    parallel(threads, panels.count() * shape.groups, [&](int64_t task, int worker) {
        const Panel panel = panels[task / shape.groups];
        const int64_t group = task % shape.groups;
        const Range filters = {0, shape.filters()};
        T *outputs = workspace + worker * share, *scratch = outputs;
        if (pass.maps.plan.images > 1) scratch += shape.filters() * panel.columns();
        auto to = pass.target(panel, group, filters, outputs);
        for (int64_t c = 0; c < shape.channels(); c += pass.maps.plan.slice) {
            const Range slice = {c, std::min(c + pass.maps.plan.slice, shape.channels())};
            auto columns = pass.maps.columns(pass.x, panel, group, slice, scratch);
            pass.multiply(panel, group, filters, slice, columns, to);
        }
        pass.finish(panel, group, filters, to);
    });
}

// Fewer panels than threads: all threads fill the columns of one, then share its filters.
template <typename T>
void forward_by_filter(const Forward<T>& pass, T* workspace, int threads) {
    const ConvShape& shape = pass.shape();
    const Panels panels{shape, pass.maps.plan};
    const int64_t parts = pass.maps.plan.parts;
    for (int64_t i = 0; i < panels.count() * shape.groups; ++i) {
        const Panel panel = panels[i / shape.groups];
        const int64_t group = i % shape.groups, row = shape.taps() * panel.columns();
        const bool direct = pass.maps.direct();
        parallel(direct ? 1 : threads, direct ? 0 : shape.channels(), [&](int64_t c, int) {
            pass.maps.columns(pass.x, panel, group, {c, c + 1}, workspace + c * row);
        });
        Matrix<const T> columns = {workspace, panel.columns()};
        if (direct) columns = pass.maps.columns(pass.x, panel, group, {0, 1}, nullptr);
        T* outputs = workspace + (direct ? 0 : shape.channels() * row);
        parallel(threads, parts, [&](int64_t task, int) {
            const Range filters = part(shape.filters(), parts, task);
            auto to = pass.target(panel, group, filters, outputs);
            pass.multiply(panel, group, filters, {0, shape.channels()}, columns, to);
            pass.finish(panel, group, filters, to);
        });
    }
}

template <typename T>
struct GradX {
    Maps<T> maps;
    const T *grad_y, *weight;
    T* grad_x;

    const ConvShape& shape() const { return maps.shape; }

    void clear(const Panel& panel, int64_t group, Range part) const {
        for (int64_t i = 0; i < panel.images; ++i) {
            T* plane = maps.in(grad_x, panel.image + i, group, part.first);
            std::fill(plane, plane + (part.last - part.first) * shape().in_pixels(), T(0));
        }
    }

    // Adds one panel's share to channels `part` of a group.
    void multiply(const Panel& panel, int64_t group, Range part, const T* gathered,
                  T* scratch) const {
        const int64_t depth = shape().depth(), taps = shape().taps(), filters = shape().filters();
        const int64_t channels = part.last - part.first;
        auto outputs = maps.outputs(grad_y, panel, group, gathered);
        const T* taps_of_part = weight + group * filters * depth + part.first * taps;
        Matrix<T> to = {scratch, panel.columns()};
        if (maps.direct()) {
            to = {maps.in(grad_x, panel.image, group, part.first) + panel.first,
                  shape().in_pixels()};
        }
        gemm<T>('N', 'T', panel.columns(), channels * taps, filters, outputs.data, outputs.pitch,
                taps_of_part, depth, T(0), to.data, to.pitch);
        if (maps.direct()) return;
        for (int64_t i = 0; i < panel.images; ++i) {
            add_columns(shape(), scratch + i * panel.width(), panel.columns(), channels,
                        panel.first, panel.last,
                        maps.in(grad_x, panel.image + i, group, part.first));
        }
    }
};

// A task owns channels of one image and walks over that image's blocks.
template <typename T>
void grad_x_by_image(const GradX<T>& pass, T* workspace, int threads) {
    const ConvShape& shape = pass.shape();
    const Panels panels{shape, pass.maps.plan};
    const int64_t parts = pass.maps.plan.parts, share = pass.maps.plan.workspace / threads;
    parallel(threads, shape.n * shape.groups * parts, [&](int64_t task, int worker) {
        const Range channels = part(shape.channels(), parts, task % parts);
        const int64_t group = task / parts % shape.groups, image = task / parts / shape.groups;
        if (!pass.maps.direct()) {
            pass.clear({image, 1, 0, shape.pixels()}, group, channels);
        }
        for (int64_t block = 0; block < panels.blocks(); ++block) {
            pass.multiply(panels[image * panels.blocks() + block], group, channels, nullptr,
                          workspace + worker * share);
        }
    });
}

// A task owns channels of all images of a panel.
template <typename T>
void grad_x_by_channel(const GradX<T>& pass, T* workspace, int threads) {
    const ConvShape& shape = pass.shape();
    const ConvPlan& plan = pass.maps.plan;
    const Panels panels{shape, plan};
    T* scratch = workspace + shape.k * plan.columns();
    const int64_t share = (plan.workspace - shape.k * plan.columns()) / threads;
    for (int64_t i = 0; i < panels.count(); ++i) {
        const Panel panel = panels[i];
        pass.maps.gather(pass.grad_y, panel, workspace, threads);
        parallel(threads, shape.groups * plan.parts, [&](int64_t task, int worker) {
            const Range channels = part(shape.channels(), plan.parts, task % plan.parts);
            pass.clear(panel, task / plan.parts, channels);
            pass.multiply(panel, task / plan.parts, channels, workspace, scratch + worker * share);
        });
    }
}

template <typename T>
struct GradWeight {
    Maps<T> maps;
    const T *grad_y, *x;

    const ConvShape& shape() const { return maps.shape; }

    // sums (of one group, at its channel `part`) = or += this panel's share
    void multiply(const Panel& panel, int64_t group, Range part, bool first, const T* gathered,
                  T* scratch, T* sums) const {
        auto columns = maps.columns(x, panel, group, part, scratch);
        auto outputs = maps.outputs(grad_y, panel, group, gathered);
        gemm<T>('T', 'N', (part.last - part.first) * shape().taps(), shape().filters(),
                panel.columns(), columns.data, columns.pitch, outputs.data, outputs.pitch,
                first ? T(0) : T(1), sums, shape().depth());
    }
};

// Small weights: each task sums over its share of the panels, then the sums are added in order.
template <typename T>
void grad_weight_by_panel(const GradWeight<T>& pass, T* grad_weight, T* workspace, int threads) {
    const ConvShape& shape = pass.shape();
    const ConvPlan& plan = pass.maps.plan;
    const Panels panels{shape, plan};
    const int64_t size = shape.weights(), group_size = size / shape.groups;
    T* scratch = workspace + plan.partials * size;
    const int64_t share = (plan.workspace - plan.partials * size) / threads;
    parallel(threads, plan.partials * shape.groups, [&](int64_t task, int worker) {
        const int64_t group = task % shape.groups, partial = task / shape.groups;
        const Range mine = part(panels.count(), plan.partials, partial);
        for (int64_t i = mine.first; i < mine.last; ++i) {
            pass.multiply(panels[i], group, {0, shape.channels()}, i == mine.first, nullptr,
                          scratch + worker * share,
                          workspace + partial * size + group * group_size);
        }
    });
    std::copy(workspace, workspace + size, grad_weight);
    for (int64_t i = 1; i < plan.partials; ++i) {
        rows<T>().add(workspace + i * size, grad_weight, size);
    }
}

// A task owns channels of the weights and walks over the whole batch.
template <typename T>
void grad_weight_by_channel(const GradWeight<T>& pass, T* grad_weight, T* workspace, int threads) {
    const ConvShape& shape = pass.shape();
    const ConvPlan& plan = pass.maps.plan;
    const Panels panels{shape, plan};
    const int64_t gathered = plan.images > 1 ? shape.k * plan.columns() : 0;
    T* scratch = workspace + gathered;
    const int64_t share = (plan.workspace - gathered) / threads;
    auto walk = [&](Range mine) {
        parallel(threads, shape.groups * plan.parts, [&](int64_t task, int worker) {
            const int64_t group = task / plan.parts;
            const Range channels = part(shape.channels(), plan.parts, task % plan.parts);
            T* sums = grad_weight + group * shape.filters() * shape.depth();
            for (int64_t i = mine.first; i < mine.last; ++i) {
                pass.multiply(panels[i], group, channels, i == 0, workspace,
                              scratch + worker * share, sums + channels.first * shape.taps());
            }
        });
    };
    if (plan.images == 1) return walk({0, panels.count()});
    for (int64_t i = 0; i < panels.count(); ++i) {
        pass.maps.gather(pass.grad_y, panels[i], workspace, threads);
        walk({i, i + 1});
    }
}

}  // namespace

template <typename T>
void conv_im2col_forward(const ConvShape& shape, const ConvPlan& plan, const T* x, const T* weight,
                         const T* bias, Activation f, T* y, T* workspace, int threads) {
    Forward<T> pass{{shape, plan}, x, weight, bias, f, y};
    if (plan.parts > 1) return forward_by_filter(pass, workspace, threads);
    forward_by_panel(pass, workspace, threads);
}

template <typename T>
void conv_im2col_grad_x(const ConvShape& shape, const ConvPlan& plan, const T* grad_y,
                        const T* weight, T* grad_x, T* workspace, int threads) {
    GradX<T> pass{{shape, plan}, grad_y, weight, grad_x};
    if (plan.images > 1) return grad_x_by_channel(pass, workspace, threads);
    grad_x_by_image(pass, workspace, threads);
}

template <typename T>
void conv_im2col_grad_weight(const ConvShape& shape, const ConvPlan& plan, const T* grad_y,
                             const T* x, T* grad_weight, T* workspace, int threads) {
    GradWeight<T> pass{{shape, plan}, grad_y, x};
    if (plan.partials > 0) return grad_weight_by_panel(pass, grad_weight, workspace, threads);
    grad_weight_by_channel(pass, grad_weight, workspace, threads);
}

#define INSTANTIATE(T)                                                                             \
    template void conv_im2col_forward<T>(const ConvShape&, const ConvPlan&, const T*, const T*,    \
                                         const T*, Activation, T*, T*, int);                       \
    template void conv_im2col_grad_x<T>(const ConvShape&, const ConvPlan&, const T*, const T*, T*, \
                                        T*, int);                                                  \
    template void conv_im2col_grad_weight<T>(const ConvShape&, const ConvPlan&, const T*,          \
                                             const T*, T*, T*, int);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace yolo::cpu
