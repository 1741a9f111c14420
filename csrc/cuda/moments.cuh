// What is known of one channel over some rows, and how it is merged with what is known over others.
#pragma once
#include "instructions.cuh"

// By Chan's rule: no difference of large numbers.
template <class N>
struct Moments {
    N count, mean, spread;  // spread: sum of squared distances from the mean

    __device__ __forceinline__ void merge(const Moments& other) {
        N total = count + other.count;
        if (other.count == N(0)) return;
        N distance = other.mean - mean, share = other.count / total;
        mean += distance * share;
        spread += other.spread + distance * distance * count * share;
        count = total;
    }
};

// Of the backward pass, d being the gradient at the input of the activation.
template <class N>
struct Sums {
    N d, d_hat;  // sum of d and of d * xhat

    __device__ __forceinline__ void merge(const Sums& other) {
        d += other.d;
        d_hat += other.d_hat;
    }
};
