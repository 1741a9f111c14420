// The activations as numbers in, numbers out.  For files compiled once per instruction set:
// everything is in the unnamed namespace, nothing comes from the standard library.
#pragma once

#include "../activation.h"
#include "vector_math.h"

namespace yolo::cpu {
namespace {

// f(x), and f' from x and y = f(x); the slopes at 0 are Darknet's (y > 0 counts as positive).
template <typename T>
struct Linear {
    static T value(T x) { return x; }
    static T slope(T) { return 1; }
};

template <typename T>
struct Logistic {
    static T value(T x) { return 1 / (1 + exponential(-x)); }
    static T slope(T x) {
        T y = value(x);
        return y * (1 - y);
    }
};

template <typename T>
struct Leaky {
    static T value(T x) { return x > 0 ? x : T(0.1) * x; }
    static T slope(T x) { return x > 0 ? T(1) : T(0.1); }
};

template <typename T>
struct Relu {
    static T value(T x) { return x < 0 ? T(0) : x; }
    static T slope(T x) { return x > 0 ? T(1) : T(0); }
};

template <typename T>
struct Relu6 {
    static T value(T x) {
        T positive = x < 0 ? T(0) : x;
        return positive > 6 ? T(6) : positive;
    }
    static T slope(T x) {
        T positive = x > 0 ? T(1) : T(0);
        return x < 6 ? positive : T(0);
    }
};

template <typename T>
struct Ramp {
    static T value(T x) { return x > 0 ? T(1.1) * x : T(0.1) * x; }
    static T slope(T x) { return x > 0 ? T(1.1) : T(0.1); }
};

template <typename T>
struct Tanh {
    static T value(T x) { return 2 / (1 + exponential(-2 * x)) - 1; }
    static T slope(T x) {
        T y = value(x);
        return 1 - y * y;
    }
};

template <typename T>
struct Swish {
    static T value(T x) { return x / (1 + exponential(-x)); }
    static T slope(T x) {
        T sigmoid = 1 / (1 + exponential(-x));
        return sigmoid * (1 + x * (1 - sigmoid));
    }
};

// tanh(log(1 + e)) = n / (n + 2) with e = exp(x), n = e (e + 2): one exponential, no cancellation.
// Above 20 both are 1 to the last digit of a float; beyond 40 e^2 would overflow.
template <typename T>
struct Mish {
    static T limit(T x) { return x > 40 ? T(40) : x; }
    static T value(T x) {
        T e = exponential(limit(x)), n = e * (e + 2);
        return x * (n / (n + 2));
    }
    static T slope(T x) {
        T e = exponential(limit(x)), n = e * (e + 2), inverse = 1 / (n + 2);
        return inverse * (n + 4 * limit(x) * e * (1 + e) * inverse);
    }
};

// Calls body(f) with the activation's functions as type, so that each loop is compiled for each.
template <typename T, typename Body>
void choose(Activation f, Body body) {
    switch (f) {
        case Activation::linear:
            return body(Linear<T>());
        case Activation::logistic:
            return body(Logistic<T>());
        case Activation::leaky:
            return body(Leaky<T>());
        case Activation::relu:
            return body(Relu<T>());
        case Activation::relu6:
            return body(Relu6<T>());
        case Activation::ramp:
            return body(Ramp<T>());
        case Activation::tanh:
            return body(Tanh<T>());
        case Activation::swish:
            return body(Swish<T>());
        case Activation::mish:
            return body(Mish<T>());
    }
}

}  // namespace
}  // namespace yolo::cpu
