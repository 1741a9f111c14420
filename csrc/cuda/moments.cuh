// Count, mean and spread of one channel over some rows, merged by Chan's rule: no difference of
// large numbers.
#pragma once
#include "instructions.cuh"

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
