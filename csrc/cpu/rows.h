// Loops over rows of numbers, the only CPU code whose speed hangs on the vector width.  rows.cpp is
// compiled once per instruction set; rows<T>() is the table of the best one this machine runs.
#pragma once

#include <cstdint>

#include "../activation.h"

namespace yolo::cpu {

// One channel's way through batch normalisation: z = (x - mean) * rstd, u = scale * z + bias.
template <typename T>
struct Channel {
    T mean, rstd, scale, bias;
};

// Of one channel's gradient g before the activation: its mean, and that of g * z.
template <typename T>
struct MeanGradient {
    T g, gz;
};

struct Sums {
    double g = 0, gz = 0;
};

// Count, mean and sum of squared distances from it; merged as Chan does, so that a large mean
// costs no digits.
struct Moments {
    double count = 0, mean = 0, m2 = 0;

    void merge(const Moments& other) {
        if (other.count == 0) return;
        double total = count + other.count, delta = other.mean - mean;
        mean += delta * (other.count / total);
        m2 += other.m2 + delta * delta * (count * other.count / total);
        count = total;
    }
};

template <typename T>
struct Rows {
    // y = f(x + bias), in place allowed
    void (*bias_act)(Activation f, const T* x, T bias, T* y, int64_t n);
    // grad_x = grad_y * f'(x + bias)
    void (*bias_act_grad)(Activation f, const T* grad_y, const T* x, T bias, T* grad_x, int64_t n);

    // y = x where x > 0, else slope * x
    void (*prelu)(const T* x, T slope, T* y, int64_t n);
    // grad_x of it; returns grad_slope, the sum of grad_y * x where x <= 0
    double (*prelu_grad)(const T* grad_y, const T* x, T slope, T* grad_x, int64_t n);

    void (*moments)(const T* x, int64_t n, Moments& sum);
    // y = f(u)
    void (*norm_act)(Activation f, const T* x, const Channel<T>& channel, T* y, int64_t n);
    // g = grad_y * f'(u): adds sum of g and of g * z
    void (*norm_act_sums)(Activation f, const T* grad_y, const T* x, const Channel<T>& channel,
                          int64_t n, Sums& sums);
    // grad_x = scale * rstd * (g - mean.g - z * mean.gz)
    void (*norm_act_grad)(Activation f, const T* grad_y, const T* x, const Channel<T>& channel,
                          const MeanGradient<T>& mean, T* grad_x, int64_t n);

    double (*sum)(const T* x, int64_t n);
    void (*add)(const T* x, T* y, int64_t n);                                 // y[i] += x[i]
    void (*gather)(const T* x, int64_t step, T* y, int64_t n);                // y[i] = x[i step]
    void (*scatter)(const T* x, int64_t step, T* y, int64_t n);               // y[i step] += x[i]
    void (*multiply_gather)(const T* x, int64_t step, T a, T* y, int64_t n);  // y[i] += a x[i step]
    void (*multiply_scatter)(const T* x, int64_t step, T a, T* y,
                             int64_t n);                             // y[i step] += a x[i]
    double (*dot)(const T* x, int64_t step, const T* y, int64_t n);  // sum x[i step] y[i]

    // Where x[i step] > best[i], or is NaN: best[i] = x[i step].
    void (*largest)(const T* x, int64_t step, T* best, int64_t n);
    // The same, and the place of the winner: at[i] = first + i step, or from[i] where given.
    void (*largest_at)(const T* x, int64_t step, int32_t first, const int32_t* from, T* best,
                       int32_t* at, int64_t n);
};

template <typename T>
const Rows<T>& rows();

// Name of the instruction set in use: "avx512", "avx2" or "base".  The environment variable
// YOLO_ISA picks a lower one.
const char* isa_name();

// For tests: changes it, while no kernel runs; false where this machine lacks it.
bool use_isa(const char* name);

}  // namespace yolo::cpu
