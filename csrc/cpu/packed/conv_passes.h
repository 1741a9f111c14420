// The passes of one packed convolution in training, of a fixed shape, and those of the
// normalisation after it. Weights are packed anew in each call, since each step changes them;
// memory is the caller's.
#pragma once

#include <memory>

#include "../../shapes.h"
#include "norm_training.h"

namespace yolo::packed {

class ConvPasses {
 public:
    ConvPasses(const Kernels& kernels, const ConvShape& shape, int threads)
        : kernels_(kernels), shape_(shape), threads_(threads) {}
    virtual ~ConvPasses() = default;

    // planar: x is an ordinary n c h w tensor, and nobody wants its gradient. fast: Winograd may be
    // used.
    static std::unique_ptr<ConvPasses> make(const Kernels& kernels, const ConvShape& shape,
                                            bool planar, bool fast, int threads);
    // Whether there are kernels for this convolution.
    static bool fits(const Kernels& kernels, const ConvShape& shape, bool planar);

    virtual long workspace() const = 0;  // floats, enough for any pass
    virtual const char* algorithm() const = 0;
    virtual bool wants_dz() const { return true; }  // whether backward() leaves dz in memory

    virtual void forward(Input x, const float* weight, Output y, float* workspace) const = 0;
    // The same; leaves what norm_statistics reads in the workspace.
    virtual void forward_moments(Input x, const float* weight, float* y, float* workspace) const;
    // Those that have an address.
    virtual void gradients(Input dy, Input x, const float* weight, float* grad_weight, Output dx,
                           float* workspace) const = 0;
    // The same with dy = dz from norm_act_sums in the workspace.
    virtual void backward(const Norm& norm, float* dz, Input x, const float* weight,
                          float* grad_weight, float* dx, float* workspace) const;

    NormSize norm_size() const;

 protected:
    const Kernels& kernels_;
    const ConvShape shape_;
    const int threads_;
};

}  // namespace yolo::packed
