// One channel of a batch normalisation: xhat = (x - mean) * rstd, u = scale * xhat + bias.
#pragma once
#include "activation.cuh"

template <class N>
struct Channel {
    N mean, rstd, scale, bias;

    // Each array has a value per channel; null: 0, 1, 1 and 0.
    __device__ __forceinline__ Channel(const void* mean_, const void* rstd_, const void* scale_,
                                       const void* bias_, int c)
        : mean(mean_ ? load(static_cast<const N*>(mean_) + c) : N(0)),
          rstd(rstd_ ? load(static_cast<const N*>(rstd_) + c) : N(1)),
          scale(scale_ ? load(static_cast<const N*>(scale_) + c) : N(1)),
          bias(bias_ ? load(static_cast<const N*>(bias_) + c) : N(0)) {}

    __device__ __forceinline__ N hat(N x) const { return (x - mean) * rstd; }
    __device__ __forceinline__ N input(N x) const { return hat(x) * scale + bias; }
    // d: the gradient at u, the input of the activation
    __device__ __forceinline__ N gradient(int activation, N x, N grad_y) const {
        N u = input(x);
        return grad_y * activation_gradient(activation, u, activate(activation, u));
    }
};
