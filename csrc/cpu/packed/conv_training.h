// The passes of a dense convolution.
#pragma once

#include "conv_passes.h"

namespace yolo::packed {

class ConvTraining : public ConvPasses {
 public:
    // planar: x is an ordinary n c h w tensor, and nobody wants its gradient. fast: Winograd may be
    // used.
    ConvTraining(const Kernels& kernels, const ConvShape& shape, bool planar, bool fast,
                 int threads);

    // Whether there are packed kernels for this convolution.
    static bool fits(const ConvShape& shape, bool planar);

    long workspace() const override { return workspace_; }
    const char* algorithm() const override;  // stem, direct, winograd4 or phases

    void forward(Input x, const float* weight, Output y, float* workspace) const override;
    void grad_x(Input dy, const float* weight, Output dx, float* workspace) const;
    void grad_weight(Input dy, Input x, float* grad, float* workspace) const;
    void gradients(Input dy, Input x, const float* weight, float* grad_weight, Output dx,
                   float* workspace) const override;

 private:
    struct Room;
    void forward(Input x, const float* weight, Output y, Room& room) const;
    void grad_x(Input dy, const float* weight, Output dx, Room& room) const;
    void grad_weight(Input dy, Input x, float* grad, Room& room) const;

    void convolve(Conv call, const Dense& weight, bool winograd, Room& room) const;
    void direct(Conv call, const Dense& weight, Room& room) const;
    void winograd_by_tiles(Conv call, const Dense& weight, Room& room) const;
    void winograd_by_panels(Conv call, const Dense& weight, Room& room) const;
    void stem(Input x, const float* weight, const View& y, Room& room) const;
    void strided_grad_x(const View& dy, const float* weight, const View& dx, Room& room) const;
    Conv phase_conv(const View& dy, const float* weight, const View& dx, int row, int column,
                    Room& room) const;
    template <class F>
    void by_images(View x, int border, int most, Room& room, F body) const;
    const float* packed_direct(const Conv& call, const Dense& weight, Room& room) const;
    void direct_grad_weight(GradWeight call, Room& room) const;
    void stem_grad_weight(GradWeight call, Room& room) const;
    void winograd_grad_weight(GradWeight call, Room& room) const;

    Conv conv(const View& x, const View& y) const;
    Dense dense(const float* weight) const;
    Dense turned(const float* weight) const;
    int count_tiles() const;  // of Winograd, of the whole batch
    View input(Input x) const;
    Planar image(Input x) const;
    float* zeros(int blocks, Room& room) const;
    View output(Input y) const;
    template <class F>
    void divide(const Room& room, int shares, float* scratch, long scratch_each, F body) const;
    template <class F>
    void divide(const Room& room, F body) const;

    const TrainingKernels& training_;
    bool planar_, winograd_;
    Mosaic mosaic_;
    Caches caches_;
    long workspace_ = 0;
};

}  // namespace yolo::packed
