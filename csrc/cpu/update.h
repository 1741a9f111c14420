// Darknet's update of many parameters in one pass over their memory.
#pragma once

#include <cstdint>
#include <vector>

namespace yolo::cpu {

// grad is PyTorch's, minus what Darknet accumulates; null stands for zeros.
template <typename T>
struct Parameter {
    T* weight;
    const T* grad;
    T* update;
    int64_t count;
    T decay, rate, limit, clip;
};

//     u <- clamp(update - grad, limit) - decay * w;   w <- clamp(w + rate * u, clip)
//     update <- momentum * u
//
// A limit or clip of 0 clamps nothing, and NaN passes every clamp.
template <typename T>
void update(const std::vector<Parameter<T>>& parameters, T momentum, int threads);

}  // namespace yolo::cpu
