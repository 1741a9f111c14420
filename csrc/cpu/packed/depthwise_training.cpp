#include "depthwise_training.h"

#include <algorithm>

#include "shares.h"

namespace yolo::packed {
namespace {

constexpr long MOST_CELLS = 1024;

long whole_lines(long floats) {
    return (floats + 15) / 16 * 16;
}

}  // namespace

bool DepthwiseTraining::fits(const ConvShape& s) {
    return s.groups > 1 && s.groups == s.c && s.groups == s.k && s.taps() <= MOST_CELLS;
}

DepthwiseTraining::DepthwiseTraining(const Kernels& kernels, const ConvShape& shape, int threads)
    : ConvPasses(kernels, shape, threads) {}

int DepthwiseTraining::blocks() const {
    return int((shape_.c + kernels_.lanes - 1) / kernels_.lanes);
}
long DepthwiseTraining::filters() const {
    return blocks() * shape_.taps() * kernels_.lanes;
}

// The workspace: what the norm keeps there, then the filters, a bias of zeros, the sums of the
// gradient by the weight, and scratch memory of each worker.
struct DepthwiseTraining::Room {
    float *norm, *weight, *bias, *sums, *scratch;
    long floats;

    Room(const DepthwiseTraining& c, float* base) : norm(base) {
        long used = whole_lines(norm_workspace(c.kernels_, c.norm_size()));
        const auto take = [&](long size) {
            float* piece = base ? base + used : nullptr;
            used += whole_lines(size);
            return piece;
        };
        weight = take(c.filters());
        bias = take(c.blocks() * c.kernels_.lanes);
        sums = take(c.shape_.n * c.filters());
        scratch = take(0);
        floats = used;
    }
};

long DepthwiseTraining::scratch() const {
    float nothing;
    Room room(*this, nullptr);
    return whole_lines(
        kernels_.training->depthwise_scratch(call({&nothing, 0}, nullptr, &nothing, room)));
}
long DepthwiseTraining::workspace() const {
    return Room(*this, nullptr).floats + threads_ * scratch();
}

Depthwise DepthwiseTraining::call(Input x, const float* weight, float* z, const Room& room) const {
    const ConvShape& s = shape_;
    Depthwise d{};
    Conv& a = d.conv;
    a.x = packed_view(kernels_, x.data, s.n, s.c, s.h, s.w);
    if (x.image) a.x.image = x.image;
    a.y = packed_view(kernels_, z, s.n, s.k, s.p, s.q);
    a.activation = Activation::linear;
    a.kernel_h = int(s.r), a.kernel_w = int(s.s);
    a.stride_h = int(s.stride_y), a.stride_w = int(s.stride_x);
    a.pad_h = int(s.pad_y), a.pad_w = int(s.pad_x);
    a.dilation_h = int(s.dilation_y), a.dilation_w = int(s.dilation_x);
    a.weight = room.weight, a.bias = room.bias;
    if (weight) {
        pack(weight, room.weight);
        std::fill_n(room.bias, blocks() * kernels_.lanes, 0.f);
    }
    return d;
}

void DepthwiseTraining::run(void (*kernel)(const Depthwise&, const Share&), const Depthwise& call,
                            const Room& room) const {
    share(threads_, shares_of(threads_), room.scratch, scratch(),
          [&](const Share& s) { kernel(call, s); });
}

void DepthwiseTraining::forward(Input x, const float* weight, Output y, float* workspace) const {
    const Room room(*this, workspace);
    run(kernels_.training->depthwise_forward, call(x, weight, y.data, room), room);
}

void DepthwiseTraining::forward_moments(Input x, const float* weight, float* y,
                                        float* workspace) const {
    const Room room(*this, workspace);
    Depthwise d = call(x, weight, y, room);
    d.moments = norm_partial(kernels_, norm_size(), workspace);
    run(kernels_.training->depthwise_forward, d, room);
}

void DepthwiseTraining::gradients(Depthwise d, float* grad_weight, Output dx,
                                  const Room& room) const {
    const ConvShape& s = shape_;
    if (grad_weight) d.sums = room.sums;
    if (dx.data) d.dx = packed_view(kernels_, dx.data, s.n, s.c, s.h, s.w);
    run(kernels_.training->depthwise_backward, d, room);
    if (grad_weight) collect(room.sums, grad_weight);
}

void DepthwiseTraining::gradients(Input dy, Input x, const float* weight, float* grad_weight,
                                  Output dx, float* workspace) const {
    const Room room(*this, workspace);
    Depthwise d = call(x, weight, nullptr, room);
    d.dz = packed_view(kernels_, dy.data, shape_.n, shape_.k, shape_.p, shape_.q);
    if (dy.image) d.dz.image = dy.image;
    gradients(d, grad_weight, dx, room);
}

void DepthwiseTraining::backward(const Norm& norm, float*, Input x, const float* weight,
                                 float* grad_weight, float* dx, float* workspace) const {
    const Room room(*this, workspace);
    Depthwise d = call(x, weight, nullptr, room);
    d.norm = &norm;
    gradients(d, grad_weight, {dx, 0}, room);
}

// (C, 1, r, s) -> [C/V][t][V]
void DepthwiseTraining::pack(const float* weight, float* packed) const {
    const long lanes = kernels_.lanes, taps = shape_.taps();
    std::fill_n(packed, filters(), 0.f);
    for (long c = 0; c < shape_.c; ++c)
        for (long t = 0; t < taps; ++t)
            packed[(c / lanes * taps + t) * lanes + c % lanes] = weight[c * taps + t];
}

// The sums of all images, one image after the other, back to the order of the weight.
void DepthwiseTraining::collect(const float* sums, float* grad_weight) const {
    const long lanes = kernels_.lanes, taps = shape_.taps(), one = filters();
    for (long c = 0; c < shape_.c; ++c)
        for (long t = 0; t < taps; ++t) {
            const float* from = sums + (c / lanes * taps + t) * lanes + c % lanes;
            double sum = 0;
            for (long n = 0; n < shape_.n; ++n) sum += from[n * one];
            grad_weight[c * taps + t] = float(sum);
        }
}

}  // namespace yolo::packed
