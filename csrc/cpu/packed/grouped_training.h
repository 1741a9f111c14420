// The passes of a convolution in groups. As many neighbouring groups as fill whole channel blocks
// of x and y are a band: a dense convolution of its own, whose weight is zero between its groups.
#pragma once

#include "conv_training.h"

namespace yolo::packed {

class GroupedTraining : public ConvPasses {
 public:
    GroupedTraining(const Kernels& kernels, const ConvShape& shape, bool fast, int threads);
    static bool fits(const Kernels& kernels, const ConvShape& shape);

    long workspace() const override;
    const char* algorithm() const override { return band_.algorithm(); }

    void forward(Input x, const float* weight, Output y, float* workspace) const override;
    void gradients(Input dy, Input x, const float* weight, float* grad_weight, Output dx,
                   float* workspace) const override;

 private:
    template <class F>
    void each_band(float* workspace, F body) const;
    template <class F>
    void each_filter(F body) const;
    const float* dense(const float* weight, int band, float* to) const;
    void collect(const float* grad, int band, float* grad_weight) const;
    Input of_x(Input x, int band) const;
    Input of_y(Input y, int band) const;
    Input slice(Input tensor, int band, int64_t channels, long plane) const;
    long weights() const;  // of a band, zeros included
    long each() const;     // floats of a worker's memory

    const int together_;  // groups in a band
    const int bands_;
    const ConvTraining band_;
};

}  // namespace yolo::packed
