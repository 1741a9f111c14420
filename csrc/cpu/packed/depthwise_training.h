// The passes of a depthwise convolution: each channel has one r x s filter of its own. Any size,
// stride, padding and dilation.
#pragma once

#include "conv_passes.h"

namespace yolo::packed {

class DepthwiseTraining : public ConvPasses {
 public:
    DepthwiseTraining(const Kernels& kernels, const ConvShape& shape, int threads);
    static bool fits(const ConvShape& shape);

    long workspace() const override;
    const char* algorithm() const override { return "depthwise"; }
    bool wants_dz() const override { return false; }

    void forward(Input x, const float* weight, Output y, float* workspace) const override;
    void forward_moments(Input x, const float* weight, float* y, float* workspace) const override;
    void gradients(Input dy, Input x, const float* weight, float* grad_weight, Output dx,
                   float* workspace) const override;
    void backward(const Norm& norm, float* dz, Input x, const float* weight, float* grad_weight,
                  float* dx, float* workspace) const override;

 private:
    struct Room;
    Depthwise call(Input x, const float* weight, float* z, const Room& room) const;
    void run(void (*kernel)(const Depthwise&, const Share&), const Depthwise& call,
             const Room& room) const;
    void gradients(Depthwise call, float* grad_weight, Output dx, const Room& room) const;
    void pack(const float* weight, float* packed) const;
    void collect(const float* sums, float* grad_weight) const;
    int blocks() const;
    long filters() const;  // floats of all filters
    long scratch() const;  // of a worker
};

}  // namespace yolo::packed
