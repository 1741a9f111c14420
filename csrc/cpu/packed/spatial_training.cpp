#include "spatial_training.h"

#include <memory>

#include "conv_training.h"
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

Pool pool(const Kernels& kernels, const PoolShape& s, const float* x, const float* y) {
    const int n = int(s.n), c = int(s.c);
    return {packed_view(kernels, x, n, c, int(s.h), int(s.w)),
            packed_view(kernels, y, n, c, int(s.p), int(s.q)),
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

void max_pool(const Kernels& kernels, const PoolShape& shape, const float* x, float* y,
              int threads) {
    const Pool call = pool(kernels, shape, x, y);
    const long each = (kernels.pool_scratch(call) + 15) / 16 * 16;
    std::unique_ptr<float[]> scratch(new float[threads * each]);
    share(threads, shares_of(threads), scratch.get(), each,
          [&](const Share& s) { kernels.max_pool(call, s); });
}

void max_pool_grad(const Kernels& kernels, const PoolShape& shape, const float* x, const float* y,
                   const float* dy, float* dx, int threads) {
    const Pool call = pool(kernels, shape, x, y), gradients = pool(kernels, shape, dx, dy);
    share(threads, [&](const Share& s) {
        kernels.training->max_pool_grad(call, gradients.x, gradients.y, s);
    });
}

void enlarge(const Kernels& kernels, const Size& size, int scale, float gain, const float* x,
             float* y, int threads) {
    const Copy call{view(kernels, size, x), view(kernels, size, y, scale), nullptr, scale, gain};
    share(threads, [&](const Share& s) { kernels.copy(call, s); });
}

void block_sums(const Kernels& kernels, const Size& size, int scale, float gain, const float* x,
                float* y, int threads) {
    const Copy call{view(kernels, size, x, scale), view(kernels, size, y), nullptr, scale, gain};
    share(threads, [&](const Share& s) { kernels.training->block_sums(call, s); });
}

void sum(const Kernels& kernels, const Size& size, const std::vector<SumTerm>& terms, float* y,
         int threads) {
    std::vector<Term> parts;
    for (const SumTerm& t : terms) {
        Term part{view(kernels, {size[0], t.channels, size[2], size[3]}, t.x), t.first};
        if (t.image) part.x.image = t.image;
        parts.push_back(part);
    }
    const View out = view(kernels, size, y);
    share(threads,
          [&](const Share& s) { kernels.training->sum(parts.data(), int(parts.size()), out, s); });
}

}  // namespace yolo::packed
