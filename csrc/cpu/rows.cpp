// Compiled once per instruction set, with ISA as the name of its namespace.  No standard library
// function here: an inline one compiled for AVX-512 could be the copy that the linker keeps.
#include "rows.h"

#include "row_activations.h"

namespace yolo::cpu::ISA {
namespace {

template <typename T>
void bias_act(Activation f, const T* x, T bias, T* y, int64_t n) {
    choose<T>(f, [=](auto act) {
#pragma GCC ivdep
        for (int64_t i = 0; i < n; ++i) y[i] = act.value(x[i] + bias);
    });
}

template <typename T>
void bias_act_grad(Activation f, const T* grad_y, const T* x, T bias, T* grad_x, int64_t n) {
    choose<T>(f, [=](auto act) {
#pragma GCC ivdep
        for (int64_t i = 0; i < n; ++i) grad_x[i] = grad_y[i] * act.slope(x[i] + bias);
    });
}

// Partial sums that the compiler keeps in vector registers: their order is fixed, so results do
// not change from run to run.
constexpr int LANES = 64;
// Numbers summed in T before they join a double; small enough to stay in the first cache.
constexpr int64_t CHUNK = 2048;

template <typename T>
double total(const T* lanes) {
    double sum = 0;
    for (int j = 0; j < LANES; ++j) sum += lanes[j];
    return sum;
}

// Sum over i of value(i), in double between chunks.
template <typename T, typename Value>
double sum_of(int64_t n, Value value) {
    double sum = 0;
    for (int64_t start = 0; start < n; start += CHUNK) {
        int64_t stop = start + CHUNK < n ? start + CHUNK : n, i = start;
        T lanes[LANES] = {};
        for (; i + LANES <= stop; i += LANES) {
            for (int j = 0; j < LANES; ++j) lanes[j] += value(i + j);
        }
        for (int j = 0; i < stop; ++i, ++j) lanes[j] += value(i);
        sum += total(lanes);
    }
    return sum;
}

template <typename T>
void prelu(const T* x, T slope, T* y, int64_t n) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : slope * x[i];
}

template <typename T>
double prelu_grad(const T* grad_y, const T* x, T slope, T* grad_x, int64_t n) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) grad_x[i] = x[i] > 0 ? grad_y[i] : slope * grad_y[i];
    return sum_of<T>(n, [=](int64_t i) { return x[i] > 0 ? T(0) : grad_y[i] * x[i]; });
}

template <typename T>
void moments(const T* x, int64_t n, Moments& sum) {
    for (int64_t start = 0; start < n; start += CHUNK) {
        int64_t count = start + CHUNK < n ? CHUNK : n - start;
        const T* part = x + start;
        double mean = sum_of<T>(count, [=](int64_t i) { return part[i]; }) / count;
        T middle = static_cast<T>(mean);
        double distance = sum_of<T>(count, [=](int64_t i) { return part[i] - middle; }) / count;
        double m2 = sum_of<T>(count, [=](int64_t i) {
            T d = part[i] - middle;
            return d * d;
        });
        Moments chunk{static_cast<double>(count), middle + distance,
                      m2 - count * distance * distance};
        sum.merge(chunk);
    }
}

template <typename T>
void norm_act(Activation f, const T* x, const Channel<T>& channel, T* y, int64_t n) {
    const T mean = channel.mean, factor = channel.scale * channel.rstd, bias = channel.bias;
    choose<T>(f, [=](auto act) {
#pragma GCC ivdep
        for (int64_t i = 0; i < n; ++i) y[i] = act.value((x[i] - mean) * factor + bias);
    });
}

template <typename T>
void norm_act_sums(Activation f, const T* grad_y, const T* x, const Channel<T>& channel, int64_t n,
                   Sums& sums) {
    const T mean = channel.mean, rstd = channel.rstd, factor = channel.scale * rstd;
    const T bias = channel.bias;
    choose<T>(f, [=, &sums](auto act) {
        for (int64_t start = 0; start < n; start += CHUNK) {
            int64_t stop = start + CHUNK < n ? start + CHUNK : n, i = start;
            T g_lanes[LANES] = {}, gx_lanes[LANES] = {};
            for (; i + LANES <= stop; i += LANES) {
                for (int j = 0; j < LANES; ++j) {
                    T d = x[i + j] - mean, g = grad_y[i + j] * act.slope(d * factor + bias);
                    g_lanes[j] += g;
                    gx_lanes[j] += g * d;
                }
            }
            for (int j = 0; i < stop; ++i, ++j) {
                T d = x[i] - mean, g = grad_y[i] * act.slope(d * factor + bias);
                g_lanes[j] += g;
                gx_lanes[j] += g * d;
            }
            sums.g += total(g_lanes);
            sums.gz += total(gx_lanes) * rstd;
        }
    });
}

template <typename T>
void norm_act_grad(Activation f, const T* grad_y, const T* x, const Channel<T>& channel,
                   const MeanGradient<T>& mean_gradient, T* grad_x, int64_t n) {
    const T mean = channel.mean, rstd = channel.rstd, factor = channel.scale * rstd;
    const T bias = channel.bias, mean_g = mean_gradient.g, slope_gz = mean_gradient.gz * rstd;
    choose<T>(f, [=](auto act) {
#pragma GCC ivdep
        for (int64_t i = 0; i < n; ++i) {
            T d = x[i] - mean, g = grad_y[i] * act.slope(d * factor + bias);
            grad_x[i] = factor * (g - mean_g - d * slope_gz);
        }
    });
}

template <typename T>
double sum(const T* x, int64_t n) {
    return sum_of<T>(n, [=](int64_t i) { return x[i]; });
}

template <typename T>
void add(const T* __restrict x, T* __restrict y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

// body(step) with the common steps 1 and 2 known to the compiler.
template <typename Body>
void with_step(int64_t step, Body body) {
    struct One {
        operator int64_t() const { return 1; }
    };
    struct Two {
        operator int64_t() const { return 2; }
    };
    if (step == 1) return body(One());
    if (step == 2) return body(Two());
    body(step);
}

template <typename T>
void gather(const T* __restrict x, int64_t step, T* __restrict y, int64_t n) {
    with_step(step, [=](auto s) {
#pragma GCC ivdep
        for (int64_t i = 0; i < n; ++i) y[i] = x[i * s];
    });
}

template <typename T>
void scatter(const T* __restrict x, int64_t step, T* __restrict y, int64_t n) {
    with_step(step, [=](auto s) {
#pragma GCC ivdep
        for (int64_t i = 0; i < n; ++i) y[i * s] += x[i];
    });
}

template <typename T>
void multiply_gather(const T* __restrict x, int64_t step, T a, T* __restrict y, int64_t n) {
    with_step(step, [=](auto s) {
#pragma GCC ivdep
        for (int64_t i = 0; i < n; ++i) y[i] += a * x[i * s];
    });
}

template <typename T>
void multiply_scatter(const T* __restrict x, int64_t step, T a, T* __restrict y, int64_t n) {
    with_step(step, [=](auto s) {
#pragma GCC ivdep
        for (int64_t i = 0; i < n; ++i) y[i * s] += a * x[i];
    });
}

template <typename T>
double dot(const T* x, int64_t step, const T* y, int64_t n) {
    double result = 0;
    with_step(step, [=, &result](auto s) {
        result = sum_of<T>(n, [=](int64_t i) { return x[i * s] * y[i]; });
    });
    return result;
}

template <typename T>
void largest(const T* __restrict x, int64_t step, T* __restrict best, int64_t n) {
    with_step(step, [=](auto s) {
#pragma GCC ivdep
        for (int64_t i = 0; i < n; ++i) {
            T v = x[i * s], b = best[i];
            best[i] = v <= b ? b : (b != b ? b : v);
        }
    });
}

template <typename T, typename Step, typename From>
void largest_loop(const T* __restrict x, Step step, From from, T* __restrict best,
                  int32_t* __restrict at, int64_t n) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) {
        T v = x[i * step], b = best[i];
        bool keep = (v <= b) | (b != b);
        best[i] = keep ? b : v;
        at[i] = keep ? at[i] : from(static_cast<int32_t>(i));
    }
}

template <typename T>
void largest_at(const T* x, int64_t step, int32_t first, const int32_t* from, T* best, int32_t* at,
                int64_t n) {
    with_step(step, [=](auto s) {
        if (from) return largest_loop(x, s, [=](int32_t i) { return from[i]; }, best, at, n);
        auto place = [=](int32_t i) { return first + i * static_cast<int32_t>(int64_t{s}); };
        largest_loop(x, s, place, best, at, n);
    });
}

template <typename T>
constexpr Rows<T> TABLE = {
    bias_act<T>,        bias_act_grad<T>,    prelu<T>, prelu_grad<T>, moments<T>,   norm_act<T>,
    norm_act_sums<T>,   norm_act_grad<T>,    sum<T>,   add<T>,        gather<T>,    scatter<T>,
    multiply_gather<T>, multiply_scatter<T>, dot<T>,   largest<T>,    largest_at<T>};

}  // namespace

extern const Rows<float> rows_float;
extern const Rows<double> rows_double;
const Rows<float> rows_float = TABLE<float>;
const Rows<double> rows_double = TABLE<double>;

}  // namespace yolo::cpu::ISA
