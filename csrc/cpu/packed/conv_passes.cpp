#include "conv_passes.h"

#include "conv_training.h"
#include "depthwise_training.h"
#include "grouped_training.h"
#include "shares.h"

namespace yolo::packed {

std::unique_ptr<ConvPasses> ConvPasses::make(const Kernels& kernels, const ConvShape& shape,
                                             bool planar, bool fast, int threads) {
    if (DepthwiseTraining::fits(shape))
        return std::make_unique<DepthwiseTraining>(kernels, shape, threads);
    if (shape.groups > 1) return std::make_unique<GroupedTraining>(kernels, shape, fast, threads);
    return std::make_unique<ConvTraining>(kernels, shape, planar, fast, threads);
}

bool ConvPasses::fits(const Kernels& kernels, const ConvShape& shape, bool planar) {
    if (shape.groups == 1) return ConvTraining::fits(shape, planar);
    return !planar && (DepthwiseTraining::fits(shape) || GroupedTraining::fits(kernels, shape));
}

NormSize ConvPasses::norm_size() const {
    return {int(shape_.n), int(shape_.k), int(shape_.p), int(shape_.q)};
}

void ConvPasses::forward_moments(Input x, const float* weight, float* y, float* workspace) const {
    forward(x, weight, {y, 0}, workspace);
    norm_moments(kernels_, norm_size(), y, workspace, threads_);
}

void ConvPasses::backward(const Norm& norm, float* dz, Input x, const float* weight,
                          float* grad_weight, float* dx, float* workspace) const {
    const NormSize s = norm_size();
    Norm call = norm;
    call.dz = packed_view(kernels_, dz, s.n, s.channels, s.height, s.width);
    share(threads_, [&](const Share& each) { kernels_.training->norm_grad(call, each); });
    gradients({dz, 0}, x, weight, grad_weight, {dx, 0}, workspace);
}

}  // namespace yolo::packed
