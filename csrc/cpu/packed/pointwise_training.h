// Products, activations and average pools of packed tensors in training.
#pragma once

#include "spatial_training.h"

namespace yolo::packed {

// y = f(a * b) or f(a + b), b being spread over a, whose size is given.
void pointwise(const Kernels& kernels, const Size& size, Input a, Input b, bool multiply,
               Spread spread, Activation activation, float* y, int threads);
// The gradients of y = a * b; db may be null.
void product_grad(const Kernels& kernels, const Size& size, Input a, Input b, Spread spread,
                  Input dy, float* da, float* db, int threads);

// y = x where x > 0, else x * slope, a pixel (n, c, 1, 1); and its gradients.
void prelu(const Kernels& kernels, const Size& size, Input x, Input slope, float* y, int threads);
void prelu_grad(const Kernels& kernels, const Size& size, Input x, Input slope, Input dy, float* dx,
                float* dslope, int threads);

// y = f(x), and dx = dy * f'(x).
void activate_map(const Kernels& kernels, const Size& size, Activation activation, Input x,
                  float* y, int threads);
void slope_product(const Kernels& kernels, const Size& size, Activation activation, Input x,
                   Input dy, float* dx, int threads);

// y = x / (1 - probability), but 0 with that probability; of equal keys in the same places.
void drop(const Kernels& kernels, const Size& size, double probability,
          const std::array<unsigned, 2>& key, Input x, float* y, int threads);

// Means over the maps of x, whose size is given, and the gradient.
void average_pool(const Kernels& kernels, const Size& size, Input x, float* y, int threads);
void average_pool_grad(const Kernels& kernels, const Size& size, Input dy, float* dx, int threads);

}  // namespace yolo::packed
