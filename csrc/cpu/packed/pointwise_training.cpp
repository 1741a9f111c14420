#include "pointwise_training.h"

#include "shares.h"
#include "tensor.h"

namespace yolo::packed {
namespace {

View view(const Kernels& kernels, const Size& s, const float* data) {
    return packed_view(kernels, data, s[0], s[1], s[2], s[3]);
}
View view(const Kernels& kernels, const Size& s, Input x) {
    View v = view(kernels, s, x.data);
    if (x.image) v.image = x.image;
    return v;
}
Size pixel_of(const Size& s) {
    return {s[0], s[1], 1, 1};
}
// Of what is spread over a tensor of the size s.
Size size_of(Spread spread, const Size& s) {
    if (spread == Spread::channel) return {s[0], 1, s[2], s[3]};
    return spread == Spread::pixel ? pixel_of(s) : s;
}

Product product(const Kernels& kernels, const Size& size, Input a, Input b, Spread spread, Input dy,
                float* da, float* db) {
    const Size of_b = size_of(spread, size);
    return {view(kernels, size, a),
            view(kernels, of_b, b),
            view(kernels, size, dy),
            view(kernels, size, da),
            db ? view(kernels, of_b, db) : View{},
            spread,
            size[1]};
}

}  // namespace

void pointwise(const Kernels& kernels, const Size& size, Input a, Input b, bool multiply,
               Spread spread, Activation activation, float* y, int threads) {
    const Pointwise call{view(kernels, size, a),
                         view(kernels, size_of(spread, size), b),
                         view(kernels, size, y),
                         multiply,
                         spread,
                         activation};
    share(threads, [&](const Share& s) { kernels.pointwise(call, s); });
}

void product_grad(const Kernels& kernels, const Size& size, Input a, Input b, Spread spread,
                  Input dy, float* da, float* db, int threads) {
    const Product call = product(kernels, size, a, b, spread, dy, da, db);
    share(threads, [&](const Share& s) { kernels.training->product_grad(call, s); });
}

void prelu(const Kernels& kernels, const Size& size, Input x, Input slope, float* y, int threads) {
    const Pointwise call{view(kernels, size, x), view(kernels, pixel_of(size), slope),
                         view(kernels, size, y), true,
                         Spread::pixel,          Activation::linear};
    share(threads, [&](const Share& s) { kernels.training->prelu(call, s); });
}

void prelu_grad(const Kernels& kernels, const Size& size, Input x, Input slope, Input dy, float* dx,
                float* dslope, int threads) {
    const Product call = product(kernels, size, x, slope, Spread::pixel, dy, dx, dslope);
    share(threads, [&](const Share& s) { kernels.training->prelu_grad(call, s); });
}

void activate_map(const Kernels& kernels, const Size& size, Activation activation, Input x,
                  float* y, int threads) {
    const View from = view(kernels, size, x), to = view(kernels, size, y);
    share(threads,
          [&](const Share& s) { kernels.training->activate_map(from, to, activation, s); });
}

void slope_product(const Kernels& kernels, const Size& size, Activation activation, Input x,
                   Input dy, float* dx, int threads) {
    const Slope call{view(kernels, size, x), view(kernels, size, dy), view(kernels, size, dx),
                     activation};
    share(threads, [&](const Share& s) { kernels.training->slope_product(call, s); });
}

void drop(const Kernels& kernels, const Size& size, double probability,
          const std::array<unsigned, 2>& key, Input x, float* y, int threads) {
    constexpr int NUMBERS = 1 << 24;
    const Drop call{
        view(kernels, size, x), view(kernels, size, y),     size[1],
        {key[0], key[1]},       int(probability * NUMBERS), float(1 / (1 - probability))};
    share(threads, [&](const Share& s) { kernels.training->drop(call, s); });
}

void average_pool(const Kernels& kernels, const Size& size, Input x, float* y, int threads) {
    const Pool call{view(kernels, size, x), view(kernels, pixel_of(size), y), 0, 0, 0, 0, 0, 0};
    share(threads, [&](const Share& s) { kernels.average_pool(call, s); });
}

void average_pool_grad(const Kernels& kernels, const Size& size, Input dy, float* dx, int threads) {
    const View from = view(kernels, pixel_of(size), dy), to = view(kernels, size, dx);
    share(threads, [&](const Share& s) { kernels.training->average_pool_grad(to, from, s); });
}

}  // namespace yolo::packed
