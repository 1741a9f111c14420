// Darknet's activations by number: y = f(x), and the factor g of grad_x = grad_y * g, taken from
// x or from y as Darknet takes it. Numbers are the places in yolo.ops.ACTIVATIONS.
#pragma once
#include "instructions.cuh"

enum Activation : int {
    LOGISTIC,
    LOGGY,
    RELU,
    RELU6,
    RELIE,
    LEAKY,
    REVLEAKY,
    RAMP,
    LINEAR,
    TANH,
    ELU,
    SELU,
    GELU,
    PLSE,
    HARDTAN,
    LHTAN,
    STAIR,
    SWISH,
    MISH,
    HARD_MISH,
    ACTIVATION_COUNT  // the normalize_* family needs a whole pixel and is no function of one value
};

constexpr double SELU_SCALE = 1.0507, SELU_ALPHA = 1.6732;

template <class T>
__device__ __forceinline__ T sigmoid(T x) {
    return T(1) / (T(1) + exp(-x));
}

// mish = x n / (n + 2) with e = exp(x), n = e (e + 2): one exponential. Above 20 it is x.
__device__ __forceinline__ float mish(float x) {
    float e = exp(x), n = e * (e + 2.f);
    return x > 20.f ? x : x * (n / (n + 2.f));
}
// From the same n: tanh(softplus) = t = n / (n + 2), and its derivative is 4 e (e + 1) / (n + 2)^2.
__device__ __forceinline__ float mish_gradient(float x) {
    float e = exp(x), n = e * (e + 2.f), inverse = 1.f / (n + 2.f);
    return x > 20.f ? 1.f : n * inverse + x * (4.f * e * (e + 1.f) * inverse * inverse);
}
__device__ __forceinline__ double mish(double x) {
    return x > 20 ? x : x * tanh(x < -20 ? exp(x) : log1p(exp(x)));
}
__device__ __forceinline__ double mish_gradient(double x) {
    double s = x > 20 ? x : x < -20 ? exp(x) : log1p(exp(x)), t = tanh(s);
    return x * (1 - t * t) * -expm1(-s) + t;
}

template <class T>
__device__ __forceinline__ T stair(T x) {
    T n = floor(x), half = floor(x / T(2));
    return n == T(2) * floor(n / T(2)) ? half : (x - n) + half;
}

template <class T>
__device__ __forceinline__ T activate_rare(int activation, T x) {
    switch (activation) {
        case LOGGY:
            return T(2) * sigmoid(x) - T(1);
        case RELU6:
            return x < T(0) ? T(0) : x > T(6) ? T(6) : x;
        case RELIE:
            return x > T(0) ? x : T(0.01) * x;
        case RAMP:
            return x > T(0) ? T(1.1) * x : T(0.1) * x;
        case TANH:
            return tanh(x);
        case ELU:
            return x >= T(0) ? x : expm1(x);
        case SELU:
            return T(SELU_SCALE) * (x >= T(0) ? x : T(SELU_ALPHA) * expm1(x));
        case GELU:
            return T(0.5) * x * (T(1) + tanh(T(0.797885) * x + T(0.035677) * x * x * x));
        case PLSE:
            return x < T(-4)  ? T(0.01) * (x + T(4))
                   : x > T(4) ? T(0.01) * (x - T(4)) + T(1)
                              : x / T(8) + T(0.5);
        case HARDTAN:
            return x < T(-1) ? T(-1) : x > T(1) ? T(1) : x;
        case LHTAN:
            return x < T(0) ? T(0.001) * x : x > T(1) ? T(0.001) * (x - T(1)) + T(1) : x;
        case STAIR:
            return stair(x);
        case HARD_MISH:
            return x > T(0) ? x : x > T(-2) ? x * x / T(2) + x : T(0);
        default:
            return x;
    }
}

template <class T>
__device__ __forceinline__ T activate(int activation, T x) {
    switch (activation) {
        case LINEAR:
            return x;
        case LEAKY:
        case REVLEAKY:
            return x > T(0) ? x : T(0.1) * x;
        case RELU:
            return x < T(0) ? T(0) : x;
        case LOGISTIC:
            return sigmoid(x);
        case SWISH:
            return x * sigmoid(x);
        case MISH:
            return mish(x);
        default:
            return activate_rare(activation, x);
    }
}

template <class T>
__device__ __forceinline__ T gelu_gradient(T y) {
    T inner = T(0.0356774) * y * y * y + T(0.797885) * y, sech = T(1) / cosh(inner);
    return T(0.5) * tanh(inner) + (T(0.0535161) * y * y * y + T(0.398942) * y) * sech * sech +
           T(0.5);
}

template <class T>
__device__ __forceinline__ T gradient_rare(int activation, T x, T y) {
    T u = (y + T(1)) / T(2);
    switch (activation) {
        case LOGGY:
            return T(2) * u * (T(1) - u);
        case RELU6:
            return y > T(0) && y < T(6) ? T(1) : T(0);
        case RELIE:
            return y > T(0) ? T(1) : T(0.01);
        case RAMP:
            return y > T(0) ? T(1.1) : T(0.1);
        case TANH:
            return T(1) - y * y;
        case ELU:
            return y >= T(0) ? T(1) : y + T(1);
        case SELU:
            return y >= T(0) ? T(SELU_SCALE) : y + T(SELU_SCALE * SELU_ALPHA);
        case GELU:
            return gelu_gradient(y);
        case PLSE:
            return y < T(0) || y > T(1) ? T(0.01) : T(0.125);
        case HARDTAN:
            return y > T(-1) && y < T(1) ? T(1) : T(0);
        case LHTAN:
            return y > T(0) && y < T(1) ? T(1) : T(0.001);
        case STAIR:
            return y == floor(y) ? T(0) : T(1);
        case HARD_MISH:
            return x > T(0) ? T(1) : x > T(-2) ? x + T(1) : T(0);
        default:
            return T(1);
    }
}

template <class T>
__device__ __forceinline__ T activation_gradient(int activation, T x, T y) {
    switch (activation) {
        case LINEAR:
            return T(1);
        case LEAKY:
        case REVLEAKY:
            return y > T(0) ? T(1) : T(0.1);
        case RELU:
            return y > T(0) ? T(1) : T(0);
        case LOGISTIC:
            return y * (T(1) - y);
        case SWISH:
            return y + sigmoid(x) * (T(1) - y);
        case MISH:
            return mish_gradient(x);
        default:
            return gradient_rare(activation, x, y);
    }
}
