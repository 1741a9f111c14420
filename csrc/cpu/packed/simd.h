// Vectors of V floats. Included once per instruction set, inside that level's own namespace;
// everything is static, so that no copy for one level can be linked into another.
//
// The including file defines LANES (V), TILE (pixels of the register tile) and, where the names
// exist, USE_AVX512 or USE_AVX2.

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")
#define NO_UNROLL _Pragma("GCC unroll 1")

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

// Activations x g(x) where g follows from e^x.
enum class Gate { none, mish, swish };
constexpr Gate gate_of(Activation a) {
    return a == Activation::mish ? Gate::mish : a == Activation::swish ? Gate::swish : Gate::none;
}

// What such a one holds between its steps; after the first e^x = exponential(m), where s is a power
// of two. With permutations 2^(j / V) for j = 0 .. V - 1 lies in one vector, so that a quadratic is
// enough for the rest, c2 (r^2 + b) with c2 taken into that vector: relative error V = 16: 4e-7,
// V = 8: 3.4e-6, a polynomial 6e-7.
struct Gated {
    vec r, s;
};
// From 44 on e^-x is nothing beside x, while e^2x is still finite.
INLINE vec below_limit(vec x) {
    return smaller(splat(44.f), x);
}
#if defined(USE_AVX512)
alignas(64) constexpr float POWERS[V] = {0.24547958f, 0.2563479f,  0.2676974f,  0.27954936f,
                                         0.29192606f, 0.30485073f, 0.31834763f, 0.33244208f,
                                         0.34716055f, 0.36253068f, 0.3785813f,  0.3953425f,
                                         0.4128458f,  0.43112406f, 0.45021155f, 0.47014412f};
// Adding 1.5 * 2^19, rounded down, leaves floor(16 t) in the low bits; what is reduced is t less a
// sixteenth of that. scalef takes floor(t), and too large a one to 0 or inf.
INLINE Gated gate_powers(vec x) {
    constexpr int DOWN = _MM_FROUND_TO_NEG_INF;
    const vec t = x * 1.44269504f;
    const vec j = _mm512_maskz_add_round_ps(ALL, t, splat(786432.f), DOWN | _MM_FROUND_NO_EXC);
    const vec reduced = _mm512_maskz_reduce_ps(ALL, t, 4 << 4 | DOWN);
    const vec power = _mm512_maskz_permutexvar_ps(ALL, (__m512i)j, *(const __m512*)POWERS);
    return {reduced + 1.41157196f, _mm512_maskz_scalef_ps(ALL, power, t)};
}
INLINE vec exponential(const Gated& m) {
    return (m.r * m.r + 2.08112486f) * m.s;
}
#else
constexpr float ROUND = 12582912.f;  // 1.5 * 2^23: adding it leaves the rounded sum in the low bits
#if defined(USE_AVX2)
// Less j where k's higher bits will be added to the exponent.
alignas(32) constexpr int POWERS[V] = {0x3b75faf1, 0x3b761f26, 0x3b7242bf, 0x3b6f7f9b,
                                       0x3b6def2e, 0x3b6dad3c, 0x3b6ed80a, 0x3b71909c};
INLINE Gated gate_powers(vec x) {
    constexpr float SCALE = V * 1.44269504f;
    const vec near = larger(splat(-44.f), below_limit(x)), shifted = near * SCALE + ROUND;
    const ivec k = reinterpret_cast<const ivec&>(shifted);
    const ivec power =
        (ivec)_mm256_permutevar8x32_epi32(*(const __m256i*)POWERS, (__m256i)k) + (k << 20);
    return {near * SCALE + 11.5448253f - (shifted - ROUND), reinterpret_cast<const vec&>(power)};
}
INLINE vec exponential(const Gated& m) {
    return (m.r * m.r + 133.144922f) * m.s;
}
#else
INLINE Gated gate_powers(vec x) {
    const vec t = larger(splat(-44.f), below_limit(x)) * 1.44269504f;
    const vec shifted = t + ROUND, f = t - (shifted - ROUND);
    vec p = f * 1.330024922e-3f + 9.669728714e-3f;
    p = p * f + 5.550560118e-2f;
    p = p * f + 2.402228132e-1f;
    p = p * f + 6.931471806e-1f;
    const ivec power = (reinterpret_cast<const ivec&>(shifted) + 127) << 23;
    return {p * f + 1.f, reinterpret_cast<const vec&>(power)};
}
INLINE vec exponential(const Gated& m) {
    return m.r * m.s;
}
#endif
#endif

// With u = e^x + 1 swish is x - x / u, and mish, x tanh(ln u), is x - 2 x / (u^2 + 1): in steps of
// about equal latency, between which the operations of others fit; after the last it is m.r.
// Beside multiply-adds mish costs six of them: additions and the like have units of their own.
constexpr int GATE_STEPS = 4;
INLINE void gate_step(Gate gate, int step, vec x, Gated& m) {
    if (step == 0) {
        m = gate_powers(x);
    } else if (step == 1) {
        const vec u = exponential(m) + 1.f;
        m.r = gate == Gate::mish ? u * u + 1.f : u + u;
    } else if (step == 2) {
        m.r = below_limit(x) / m.r;  // x itself might be inf / inf
    } else {
        m.r = x - m.r - m.r;
    }
}

// Of N vectors at once, step by step: one vector's operations would wait for each other.
template <int N>
INLINE void gate_all(Gate gate, vec (&x)[N]) {
    Gated m[N];
    UNROLL for (int step = 0; step < GATE_STEPS; ++step) {
        UNROLL for (int i = 0; i < N; ++i) gate_step(gate, step, x[i], m[i]);
    }
    UNROLL for (int i = 0; i < N; ++i) x[i] = m[i].r;
}
INLINE vec gate_one(Gate gate, vec x) {
    vec one[1] = {x};
    gate_all(gate, one);
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
    if constexpr (gate_of(A) != Gate::none) return gate_one(gate_of(A), x);
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
