#include "planar.h"

#include <algorithm>

#include "shares.h"

namespace yolo::packed {
namespace {

constexpr int M = 4;  // F(4x4, 3x3)
constexpr int MIN_CHANNELS = 32;

long line(long floats) {
    return (floats + 15) / 16 * 16;
}

// One convolution of planar tensors: c input and k output channels, n images of h x w.
struct Pass {
    const Kernels& kernels;
    int n, c, k, h, w, threads;

    int blocks(int channels) const { return (channels + kernels.lanes - 1) / kernels.lanes; }
    int physical(int channels) const { return blocks(channels) * kernels.lanes; }

    View view(int channels, int border, float* base) const {
        View v{};
        v.images = n, v.blocks = blocks(channels), v.height = h, v.width = w, v.border = border;
        v.row = long(w + 2 * border) * kernels.lanes;
        v.block = v.row * (h + 2 * border);
        v.image = v.block * v.blocks;
        v.data = base + border * (v.row + kernels.lanes);
        return v;
    }
    long floats(int channels, int border) const {
        return line(view(channels, border, nullptr).image * n);
    }

    // Where the pieces of the workspace begin, in floats.
    struct Pieces {
        long x, y, dense, weight, bias, scratch, scratch_each, total;
    };
    Pieces pieces() const;
    Conv call(const Pieces& at, float* base) const;
    void run(const float* x, const float* weight, bool turned, const float* bias,
             Activation activation, float* y, float* workspace) const;
};

Conv Pass::call(const Pieces& at, float* base) const {
    Conv a{};
    a.kernel_h = a.kernel_w = 3;
    a.stride_h = a.stride_w = a.pad_h = a.pad_w = a.dilation_h = a.dilation_w = 1;
    a.caches = read_caches();
    a.m = M, a.mosaic = best_mosaic(n, h, w, M);
    a.tile_block = int(std::max(a.caches.l2 / 2 / (4L * 36 * physical(c)), 2L * kernels.max_tiles));
    a.x = view(c, 1, base + at.x);
    a.y = view(k, 0, base + at.y);
    a.weight = base + at.weight, a.bias = base + at.bias;
    return a;
}

Pass::Pieces Pass::pieces() const {
    Pieces at{};
    const long products = long(physical(k)) * physical(c);
    at.y = at.x + floats(c, 1);
    at.dense = at.y + floats(k, 0);
    at.weight = at.dense + line(9 * products);
    at.bias = at.weight + line(36 * products);
    at.scratch = at.bias + line(physical(k));
    float nothing;
    at.scratch_each = line(kernels.winograd_scratch(call(Pieces{}, &nothing), false));
    at.total = at.scratch + threads * at.scratch_each;
    return at;
}

// weight (k, c, 3, 3), or turned (c, k, 3, 3) to be read backwards -> dense physical (k, c, 3, 3)
void spread(const Pass& pass, const float* weight, bool turned, float* dense, const Share& share) {
    const int rows = pass.physical(pass.k), columns = pass.physical(pass.c);
    for (int k = share.index; k < rows; k += share.count)
        for (int c = 0; c < columns; ++c) {
            float* out = dense + (long(k) * columns + c) * 9;
            const bool exists = k < pass.k && c < pass.c;
            const float* in =
                turned ? weight + (long(c) * pass.k + k) * 9 : weight + (long(k) * pass.c + c) * 9;
            for (int t = 0; t < 9; ++t) out[t] = !exists ? 0.f : turned ? in[8 - t] : in[t];
        }
}

void Pass::run(const float* x, const float* weight, bool turned, const float* bias,
               Activation activation, float* y, float* workspace) const {
    const Pieces at = pieces();
    Conv a = call(at, workspace);
    a.activation = activation;
    for (int i = 0; i < physical(k); ++i) workspace[at.bias + i] = bias && i < k ? bias[i] : 0.f;
    float* dense = workspace + at.dense;
    const Convert in{a.x, {const_cast<float*>(x), n, c, h, w}, nullptr, nullptr};
    const Convert out{a.y, {y, n, k, h, w}, nullptr, nullptr};
    share(threads, [&](const Share& s) {
        spread(*this, weight, turned, dense, s);
        kernels.pack(in, s);
    });
    share(threads, [&](const Share& s) {
        kernels.pack_winograd(dense, physical(k), physical(c), a, workspace + at.weight, s);
    });
    share(threads, threads, workspace + at.scratch, at.scratch_each,
          [&](const Share& s) { kernels.winograd(a, s); });
    share(threads, [&](const Share& s) { kernels.unpack(out, s); });
}

Pass forward_pass(const Kernels& kernels, const ConvShape& s, int threads) {
    return {kernels, int(s.n), int(s.c), int(s.k), int(s.h), int(s.w), threads};
}
Pass grad_x_pass(const Kernels& kernels, const ConvShape& s, int threads) {
    return {kernels, int(s.n), int(s.k), int(s.c), int(s.h), int(s.w), threads};
}

}  // namespace

bool winograd_fits(const ConvShape& s) {
    const bool three = s.r == 3 && s.s == 3 && s.stride_y == 1 && s.stride_x == 1;
    const bool same = s.pad_y == 1 && s.pad_x == 1 && s.dilation_y == 1 && s.dilation_x == 1;
    // with fewer pixels than this the weights' transform costs more than it saves
    const bool large = s.n * s.h * s.w >= 256;
    return three && same && s.groups == 1 && std::min(s.c, s.k) >= MIN_CHANNELS && large;
}

long winograd_workspace(const Kernels& kernels, const ConvShape& shape, int threads) {
    return std::max(forward_pass(kernels, shape, threads).pieces().total,
                    grad_x_pass(kernels, shape, threads).pieces().total);
}

void winograd_forward(const Kernels& kernels, const ConvShape& shape, const float* x,
                      const float* weight, const float* bias, Activation activation, float* y,
                      float* workspace, int threads) {
    forward_pass(kernels, shape, threads).run(x, weight, false, bias, activation, y, workspace);
}

void winograd_grad_x(const Kernels& kernels, const ConvShape& shape, const float* grad_y,
                     const float* weight, float* grad_x, float* workspace, int threads) {
    grad_x_pass(kernels, shape, threads)
        .run(grad_y, weight, true, nullptr, Activation::linear, grad_x, workspace);
}

}  // namespace yolo::packed
