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

// x from -80, where mish is 0, to 44, where it is x and e^2x still finite; NaN may be anything.
INLINE vec within_mish(vec x) {
    return smaller(splat(44.f), larger(splat(-80.f), x));
}

// e^x for mish, N vectors at once: x V / ln 2 = k + r, e^x = 2^(k / V) 2^(r / V). The
// last factor is c2 ((r + a)^2 + b); c2 2^(j / V) for j = k mod V lies in one vector, less j where
// k's higher bits will be added to the exponent. Relative error V = 16: 4e-7, V = 8: 3.4e-6,
// without such a vector 6e-7.
#if defined(USE_AVX512) || defined(USE_AVX2)
#if defined(USE_AVX512)
alignas(64) constexpr int POWERS[V] = {
    0x3a75ea69, 0x3a7866d2, 0x3a761623, 0x3a7405e2, 0x3a7238ea, 0x3a70b236, 0x3a6f74e2, 0x3a6e842e,
    0x3a6de37d, 0x3a6d965c, 0x3a6da07c, 0x3a6e05bc, 0x3a6eca23, 0x3a6ff1e9, 0x3a718173, 0x3a737d59};
constexpr float POWER_A = 23.0915988f, POWER_B = 532.769575f;
INLINE ivec power(ivec k) {
    const ivec at = (ivec)_mm512_maskz_permutexvar_epi32(ALL, (__m512i)k, *(const __m512i*)POWERS);
    return at + (k << 19);
}
#else
alignas(32) constexpr int POWERS[V] = {0x3b75faf1, 0x3b761f26, 0x3b7242bf, 0x3b6f7f9b,
                                       0x3b6def2e, 0x3b6dad3c, 0x3b6ed80a, 0x3b71909c};
constexpr float POWER_A = 11.5448253f, POWER_B = 133.144922f;
INLINE ivec power(ivec k) {
    return (ivec)_mm256_permutevar8x32_epi32(*(const __m256i*)POWERS, (__m256i)k) + (k << 20);
}
#endif
template <int N>
INLINE void exponentials(const vec (&x)[N], vec (&e)[N]) {
    constexpr float SCALE = V * 1.44269504f, ROUND = 12582912.f;  // which leaves k in the low bits
    vec near[N], shifted[N];
    UNROLL for (int i = 0; i < N; ++i) near[i] = within_mish(x[i]);
    UNROLL for (int i = 0; i < N; ++i) shifted[i] = near[i] * SCALE + ROUND;
    UNROLL for (int i = 0; i < N; ++i) near[i] = near[i] * SCALE + POWER_A - (shifted[i] - ROUND);
    UNROLL for (int i = 0; i < N; ++i) e[i] = near[i] * near[i] + POWER_B;
    UNROLL for (int i = 0; i < N; ++i) {
        const ivec scale = power(reinterpret_cast<const ivec&>(shifted[i]));
        e[i] *= reinterpret_cast<const vec&>(scale);
    }
}
#else
template <int N>
INLINE void exponentials(const vec (&x)[N], vec (&e)[N]) {
    for (int i = 0; i < N; ++i) {
        const vec near = within_mish(x[i]);
        const vec shifted = near * 1.44269504f + 12582912.f;  // k in its low bits
        const vec f = near * 1.44269504f - (shifted - 12582912.f);
        vec p = f * 1.330024922e-3f + 9.669728714e-3f;
        p = p * f + 5.550560118e-2f;
        p = p * f + 2.402228132e-1f;
        p = p * f + 6.931471806e-1f;
        p = p * f + 1.f;
        const ivec bits =
            reinterpret_cast<const ivec&>(p) + (reinterpret_cast<const ivec&>(shifted) << 23);
        e[i] = reinterpret_cast<const vec&>(bits);
    }
}
#endif

// x tanh(ln(1 + e^x)) = x (n / (n + 2)) with n = e^x (e^x + 2), of N vectors at once, operation by
// operation: one vector's would wait for each other.
template <int N>
INLINE void mish(vec (&x)[N]) {
    vec e[N], n[N];
    exponentials(x, e);
    UNROLL for (int i = 0; i < N; ++i) n[i] = e[i] * (e[i] + 2.f);
    UNROLL for (int i = 0; i < N; ++i) n[i] = n[i] / (n[i] + 2.f);
    UNROLL for (int i = 0; i < N; ++i) x[i] *= n[i];
}
INLINE vec mish(vec x) {
    vec one[1] = {x};
    mish(one);
    return one[0];
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
