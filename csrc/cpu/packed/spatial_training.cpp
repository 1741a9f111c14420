#include "spatial_training.h"

#include <memory>

#include "shares.h"

namespace yolo::packed {
namespace {

View view(const Kernels& kernels, const Size& s, const float* data, int scale = 1) {
    return packed_view(kernels, data, s[0], s[1], scale * s[2], scale * s[3]);
}

Convert convert(const Kernels& kernels, const Size& s, const float* packed, const float* planar) {
    return {view(kernels, s, packed),
            {const_cast<float*>(planar), s[0], s[1], s[2], s[3]},
            nullptr,
            nullptr};
}

View view(const Kernels& kernels, const Size& s, Input x, int scale = 1) {
    View v = view(kernels, s, x.data, scale);
    if (x.image) v.image = x.image;
    return v;
}

Pool pool(const Kernels& kernels, const PoolShape& s, Input x, Input y) {
    const int n = int(s.n), c = int(s.c);
    return {view(kernels, {n, c, int(s.h), int(s.w)}, x),
            view(kernels, {n, c, int(s.p), int(s.q)}, y),
            int(s.size_y),
            int(s.size_x),
            int(s.stride_y),
            int(s.stride_x),
            int(s.offset_y),
            int(s.offset_x)};
}

}  // namespace

void pack(const Kernels& kernels, const Size& size, const float* planar, float* packed,
          int threads) {
    const Convert call = convert(kernels, size, packed, planar);
    share(threads, [&](const Share& s) { kernels.pack(call, s); });
}

void unpack(const Kernels& kernels, const Size& size, const float* packed, float* planar,
            int threads) {
    const Convert call = convert(kernels, size, packed, planar);
    share(threads, [&](const Share& s) { kernels.unpack(call, s); });
}

void max_pool(const Kernels& kernels, const PoolShape& shape, Input x, float* y, int threads) {
    const Pool call = pool(kernels, shape, x, {y, 0});
    const long each = (kernels.pool_scratch(call) + 15) / 16 * 16;
    std::unique_ptr<float[]> scratch(new float[threads * each]);
    share(threads, shares_of(threads), scratch.get(), each,
          [&](const Share& s) { kernels.max_pool(call, s); });
}

void max_pool_grad(const Kernels& kernels, const PoolShape& shape, Input x, const float* y,
                   Input dy, float* dx, int threads) {
    const Pool call = pool(kernels, shape, x, {y, 0});
    const Pool gradients = pool(kernels, shape, {dx, 0}, dy);
    const long each = (2 * kernels.pool_scratch(call) + 15) / 16 * 16;
    std::unique_ptr<float[]> scratch(new float[threads * each]);
    share(threads, shares_of(threads), scratch.get(), each, [&](const Share& s) {
        kernels.training->max_pool_grad(call, gradients.x, gradients.y, s);
    });
}

void enlarge(const Kernels& kernels, const Size& size, int scale, float gain, Input x, float* y,
             int threads) {
    const Copy call{view(kernels, size, x), view(kernels, size, y, scale), nullptr, scale, gain};
    share(threads, [&](const Share& s) { kernels.copy(call, s); });
}

void block_sums(const Kernels& kernels, const Size& size, int scale, float gain, Input x, float* y,
                int threads) {
    const Copy call{view(kernels, size, x, scale), view(kernels, size, y), nullptr, scale, gain};
    share(threads, [&](const Share& s) { kernels.training->block_sums(call, s); });
}

void reorg(const Kernels& kernels, const Size& small, const std::array<int, 4>& walk, bool to_small,
           Input x, float* y, int threads) {
    const auto [channels, height, width, stride] = walk;
    const Size large{small[0], small[1] / (stride * stride), small[2] * stride, small[3] * stride};
    const Input of_small = to_small ? Input{y, 0} : x, of_large = to_small ? x : Input{y, 0};
    const Reorg call{view(kernels, small, of_small),
                     view(kernels, large, of_large),
                     small[1],
                     channels,
                     height,
                     width,
                     stride};
    const auto run = to_small ? kernels.training->reorg_to_small : kernels.training->reorg_to_large;
    share(threads, [&](const Share& s) { run(call, s); });
}

void sum(const Kernels& kernels, const Size& size, const std::vector<SumTerm>& terms, Output y,
         int threads) {
    std::vector<Term> parts;
    for (const SumTerm& t : terms) {
        const View x = view(kernels, {size[0], t.channels, size[2], size[3]}, t.x);
        const Size pixel{size[0], t.channels, 1, 1};
        parts.push_back({x, t.factor ? view(kernels, pixel, t.factor) : View{}, t.first});
    }
    const View out = view(kernels, size, Input{y.data, y.image});
    share(threads,
          [&](const Share& s) { kernels.training->sum(parts.data(), int(parts.size()), out, s); });
}

}  // namespace yolo::packed
