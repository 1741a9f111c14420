// Vectors of V floats. Included once per instruction set, inside that level's own namespace;
// everything is static, so that no copy for one level can be linked into another.
//
// The including file defines LANES (V), TILE (pixels of the register tile) and, where the names
// exist, USE_AVX512 or USE_AVX2.

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")

constexpr int V = LANES;

typedef float vec __attribute__((vector_size(4 * LANES), may_alias));
typedef int ivec __attribute__((vector_size(4 * LANES), may_alias));
typedef float uvec __attribute__((vector_size(4 * LANES), may_alias, aligned(4)));

// x - 0 is x for every x, so nothing but the broadcast remains; 0 + x would turn -0 into 0.
INLINE vec splat(float x) {
    return x - vec{};
}

#if defined(USE_AVX512)
// The masked forms (with every lane on they are the plain instructions) keep GCC 12 from warning
// about the undefined register inside its own plain ones.
constexpr __mmask16 ALL = 0xffff;
INLINE vec larger(vec a, vec b) {
    return _mm512_maskz_max_ps(ALL, a, b);
}
INLINE vec smaller(vec a, vec b) {
    return _mm512_maskz_min_ps(ALL, a, b);
}
// Good to 28 bits: a 14-bit guess and one Newton step, several times cheaper than a division.
INLINE vec reciprocal(vec d) {
    vec r = _mm512_maskz_rcp14_ps(ALL, d);
    return r * (2.f - d * r);
}
#elif defined(USE_AVX2)
INLINE vec larger(vec a, vec b) {
    return _mm256_max_ps(a, b);
}
INLINE vec smaller(vec a, vec b) {
    return _mm256_min_ps(a, b);
}
INLINE vec reciprocal(vec d) {
    return 1.f / d;
}
#else
INLINE vec larger(vec a, vec b) {
    return a > b ? a : b;
}
INLINE vec smaller(vec a, vec b) {
    return a < b ? a : b;
}
INLINE vec reciprocal(vec d) {
    return 1.f / d;
}
#endif

// e^r for |r| <= ln(2) / 2: minimax of relative error 1.1e-7
INLINE vec exponential_near_zero(vec r) {
    vec p = r * 8.312520387e-3f + 4.1890157644e-2f;
    p = p * r + 1.666711465e-1f;
    p = p * r + 4.9999231489e-1f;
    p = p * r + 1.f;
    return p * r + 1.f;
}

// x within +-80; NaN stays NaN, since of two operands that cannot be ordered the second is taken.
INLINE vec within_exponent(vec x) {
    return smaller(splat(80.f), larger(splat(-80.f), x));
}

// e^x for |x| <= 80 within 3 ulp: x = n ln 2 + r
#if defined(USE_AVX512)
INLINE vec exponential_within(vec x) {
    const vec n = _mm512_maskz_roundscale_ps(ALL, x * 1.44269504f, 0);
    const vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    return _mm512_maskz_scalef_ps(ALL, exponential_near_zero(r), n);
}
#else
// Adding 1.5 * 2^23 leaves the rounded n in the low bits of the sum; the shift drops the others.
INLINE vec exponential_within(vec x) {
    const vec shifted = x * 1.44269504f + 12582912.f;
    const vec n = shifted - 12582912.f;
    const vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    const ivec power = (reinterpret_cast<const ivec&>(shifted) + 127) << 23;
    return exponential_near_zero(r) * reinterpret_cast<const vec&>(power);
}
#endif

// Beyond |x| = 80 it stays at e^80 or e^-80.
INLINE vec exponential(vec x) {
    return exponential_within(within_exponent(x));
}

INLINE vec logistic(vec x) {
    return reciprocal(1.f + exponential(-x));
}

// x tanh(ln(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2); above 20 it equals x in fp32. Layers
// wait for it, so e^x is made with fewer operations than above, within 6e-7: as 2^k 2^f, k added to
// the exponent of 2^f. (Of a NaN it may be any number; x makes the product NaN.) The divider works
// beside the multipliers.
INLINE vec mish(vec x) {
    const vec near = smaller(splat(20.f), larger(splat(-80.f), x));
    const vec shifted = near * 1.44269504f + 12582912.f;  // k in its low bits
    const vec f = near * 1.44269504f - (shifted - 12582912.f);
    vec p = f * 1.330024922e-3f + 9.669728714e-3f;
    p = p * f + 5.550560118e-2f;
    p = p * f + 2.402228132e-1f;
    p = p * f + 6.931471806e-1f;
    p = p * f + 1.f;
    const ivec bits =
        reinterpret_cast<const ivec&>(p) + (reinterpret_cast<const ivec&>(shifted) << 23);
    const vec e = reinterpret_cast<const vec&>(bits);
    const vec n = e * e + (e + e);
    return x * n / (n + 2.f);
}

// Activations of the form max(x, slope x) cost one instruction and stay in the register tile.
INLINE bool sloped(Activation a) {
    return a == Activation::linear || a == Activation::leaky || a == Activation::relu;
}
INLINE float slope_of(Activation a) {
    return a == Activation::leaky ? 0.1f : a == Activation::relu ? 0.f : 1.f;
}

template <Activation A>
INLINE vec activate(vec x) {
    if constexpr (A == Activation::leaky) return larger(x, 0.1f * x);
    if constexpr (A == Activation::relu) return larger(vec{}, x);
    if constexpr (A == Activation::relu6) return smaller(splat(6.f), larger(vec{}, x));
    if constexpr (A == Activation::mish) return mish(x);
    if constexpr (A == Activation::swish) return x * logistic(x);
    if constexpr (A == Activation::logistic) return logistic(x);
    if constexpr (A == Activation::ramp) return larger(1.1f * x, 0.1f * x);
    if constexpr (A == Activation::tanh) return 2.f * logistic(2.f * x) - 1.f;
    return x;
}

// Calls body(tag) with the activation as a compile-time value `decltype(tag)::value`.
template <Activation A>
struct Tag {
    static constexpr Activation value = A;
};
template <class F>
INLINE void with_activation(Activation a, F body) {
    switch (a) {
        case Activation::linear:
            return body(Tag<Activation::linear>{});
        case Activation::leaky:
            return body(Tag<Activation::leaky>{});
        case Activation::relu:
            return body(Tag<Activation::relu>{});
        case Activation::relu6:
            return body(Tag<Activation::relu6>{});
        case Activation::mish:
            return body(Tag<Activation::mish>{});
        case Activation::swish:
            return body(Tag<Activation::swish>{});
        case Activation::logistic:
            return body(Tag<Activation::logistic>{});
        case Activation::ramp:
            return body(Tag<Activation::ramp>{});
        case Activation::tanh:
            return body(Tag<Activation::tanh>{});
    }
}

INLINE int ceil_div(int a, int b) {
    return (a + b - 1) / b;
}
INLINE int least(int a, int b) {
    return a < b ? a : b;
}
INLINE int most(int a, int b) {
    return a > b ? a : b;
}

struct Range {
    int begin, end;
};

// Part `index` of `count` nearly equal parts of 0..n.
INLINE Range part(int n, int index, int count) {
    return {int(long(n) * index / count), int(long(n) * (index + 1) / count)};
}
