#include "grouped_training.h"

#include <algorithm>

#include "shares.h"

namespace yolo::packed {
namespace {

// The fewest groups that fill whole blocks of both tensors; all of them, where none do.
int groups_together(const Kernels& kernels, const ConvShape& s) {
    for (int64_t n = 1; n < s.groups; ++n)
        if (s.groups % n == 0 && n * s.channels() % kernels.lanes == 0 &&
            n * s.filters() % kernels.lanes == 0)
            return int(n);
    return int(s.groups);
}

ConvShape band_shape(const ConvShape& s, int bands) {
    ConvShape b = s;
    b.c /= bands, b.k /= bands, b.groups = 1;
    return b;
}

}  // namespace

// All but one in as many products as there are groups together is by zero.
bool GroupedTraining::fits(const Kernels& kernels, const ConvShape& s) {
    const int together = groups_together(kernels, s);
    return together <= kernels.lanes && ConvTraining::fits(band_shape(s, 1), false);
}

GroupedTraining::GroupedTraining(const Kernels& kernels, const ConvShape& shape, bool fast,
                                 int threads)
    : ConvPasses(kernels, shape, threads),
      together_(groups_together(kernels, shape)),
      bands_(int(shape.groups) / together_),
      band_(kernels, band_shape(shape, bands_), false, fast, bands_ > 1 ? 1 : threads) {}

long GroupedTraining::weights() const {
    return together_ > 1 ? (shape_.k / bands_ * (shape_.c / bands_) * shape_.taps() + 15) / 16 * 16
                         : 0;
}
long GroupedTraining::each() const {
    return (band_.workspace() + 15) / 16 * 16 + 2 * weights();
}
long GroupedTraining::workspace() const {
    return threads_ * each();
}

// body(band, memory): bands are divided among the threads, each one is computed by one thread.
template <class F>
void GroupedTraining::each_band(float* workspace, F body) const {
    if (bands_ == 1) return body(0, workspace);
    cpu::parallel(threads_, bands_,
                  [&](int64_t band, int worker) { body(int(band), workspace + worker * each()); });
}

// body(k, c, in the band, in the group) for the weights of each filter of a band: where its first
// one lies in the dense weight and in the grouped one.
template <class F>
void GroupedTraining::each_filter(F body) const {
    const long filters = shape_.filters(), length = shape_.depth();
    for (long k = 0; k < together_ * filters; ++k)
        body((k * together_ + k / filters) * length, k * length, length);
}

const float* GroupedTraining::dense(const float* weight, int band, float* to) const {
    const float* from = weight + band * (shape_.weights() / bands_);
    if (together_ == 1) return from;
    std::fill_n(to, weights(), 0.f);
    each_filter([=](long there, long here, long n) { std::copy_n(from + here, n, to + there); });
    return to;
}

void GroupedTraining::collect(const float* grad, int band, float* grad_weight) const {
    float* to = grad_weight + band * (shape_.weights() / bands_);
    each_filter([=](long there, long here, long n) { std::copy_n(grad + there, n, to + here); });
}

Input GroupedTraining::slice(Input tensor, int band, int64_t channels, long plane) const {
    const int lanes = kernels_.lanes;
    const long blocks = (channels + lanes - 1) / lanes;
    return {tensor.data + band * (channels / bands_ / lanes) * plane * lanes,
            tensor.image ? tensor.image : blocks * plane * lanes};
}
Input GroupedTraining::of_x(Input x, int band) const {
    return slice(x, band, shape_.c, (shape_.h + 2 * BORDER) * (shape_.w + 2 * BORDER));
}
Input GroupedTraining::of_y(Input y, int band) const {
    return slice(y, band, shape_.k, (shape_.p + 2 * BORDER) * (shape_.q + 2 * BORDER));
}

void GroupedTraining::forward(Input x, const float* weight, Output y, float* workspace) const {
    each_band(workspace, [&](int band, float* memory) {
        float* rest = memory + 2 * weights();
        const Input to = of_y({y.data, y.image}, band);
        band_.forward(of_x(x, band), dense(weight, band, memory),
                      {const_cast<float*>(to.data), to.image}, rest);
    });
}

void GroupedTraining::gradients(Input dy, Input x, const float* weight, float* grad_weight,
                                Output dx, float* workspace) const {
    each_band(workspace, [&](int band, float* memory) {
        float *grad = memory + weights(), *rest = memory + 2 * weights();
        const Input from = of_y(dy, band);
        if (grad_weight && together_ > 1) {
            band_.grad_weight(from, of_x(x, band), grad, rest);
            collect(grad, band, grad_weight);
        } else if (grad_weight) {
            band_.grad_weight(from, of_x(x, band), grad_weight + band * (shape_.weights() / bands_),
                              rest);
        }
        if (!dx.data) return;
        const Input to = of_x({dx.data, dx.image}, band);
        band_.grad_x(from, dense(weight, band, memory), {const_cast<float*>(to.data), to.image},
                     rest);
    });
}

}  // namespace yolo::packed
