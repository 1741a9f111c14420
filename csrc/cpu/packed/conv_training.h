// One packed convolution in training: forward and both gradients, of a fixed shape. Weights are
// packed anew in each call, since each step changes them; memory is the caller's.
#pragma once

#include "../../shapes.h"
#include "training.h"

namespace yolo::packed {

constexpr int BORDER = 1;  // of every packed tensor in training

// Floats of a packed tensor, and the tensor at `data`.
long packed_floats(const Kernels& kernels, int n, int channels, int height, int width);
View packed_view(const Kernels& kernels, const float* data, int n, int channels, int height,
                 int width);

// A part of a larger packed tensor: its images lie further apart (0: as near as they can).
struct Input {
    const float* data;
    long image;
};
struct Output {  // the same, to be written
    float* data;
    long image;
};

class ConvTraining {
 public:
    // planar: x is an ordinary n c h w tensor, and nobody wants its gradient. fast: Winograd may be
    // used.
    ConvTraining(const Kernels& kernels, const ConvShape& shape, bool planar, bool fast,
                 int threads);

    // Whether there are packed kernels for this convolution.
    static bool fits(const ConvShape& shape, bool planar);

    long workspace() const { return workspace_; }  // floats, enough for any of the three passes
    const char* algorithm() const;                 // stem, direct or winograd4

    void forward(Input x, const float* weight, float* y, float* workspace) const;
    void grad_x(const float* dy, const float* weight, float* dx, float* workspace) const;
    void grad_weight(const float* dy, Input x, float* grad, float* workspace) const;

 private:
    struct Room;
    void forward(Input x, const float* weight, float* y, Room& room) const;
    void grad_x(const float* dy, const float* weight, float* dx, Room& room) const;
    void grad_weight(const float* dy, Input x, float* grad, Room& room) const;

    void convolve(Conv call, const Dense& weight, bool winograd, Room& room) const;
    void direct(Conv call, const Dense& weight, Room& room) const;
    void winograd_by_tiles(Conv call, const Dense& weight, Room& room) const;
    void winograd_by_panels(Conv call, const Dense& weight, Room& room) const;
    void stem(Input x, const float* weight, const View& y, Room& room) const;
    void strided_grad_x(View dy, const float* weight, View dx, Room& room) const;
    Conv parity_conv(const View& dy, const float* weight, const View& dx, int odd_h, int odd_w,
                     Room& room) const;
    const float* packed_direct(const Conv& call, const Dense& weight, Room& room) const;
    void direct_grad_weight(GradWeight call, Room& room) const;
    void stem_grad_weight(GradWeight call, Room& room) const;
    void winograd_grad_weight(GradWeight call, Room& room) const;

    Conv conv(const View& x, const View& y, int stride) const;
    Dense dense(const float* weight) const;
    Dense turned(const float* weight) const;
    int count_tiles() const;  // of Winograd, of the whole batch
    View input(Input x) const;
    Planar image(Input x) const;
    float* zeros(int blocks, Room& room) const;
    View output(const float* y) const;
    template <class F>
    void divide(const Room& room, int shares, float* scratch, long scratch_each, F body) const;
    template <class F>
    void divide(const Room& room, F body) const;

    const Kernels& kernels_;
    const TrainingKernels& training_;
    ConvShape shape_;
    bool planar_, winograd_;
    int threads_;
    Mosaic mosaic_;
    Caches caches_;
    long workspace_ = 0;
};

}  // namespace yolo::packed
