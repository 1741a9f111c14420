// What a float of an activation or a weight is in memory: the level's `elem`. Arithmetic is in fp32
// whatever it is; with USE_BF16 it is bfloat16, the upper half of a float, and the multiply-adds of
// the register tile take two neighbouring input channels at once:
//
//     weight   [..][V][2V] becomes [..][V/2][2V][2]
//
// so that one 32-bit lane holds channels c and c + 1.

INLINE vec load(const float* p) {
    return *reinterpret_cast<const uvec*>(p);
}
INLINE void store(float* p, vec v) {
    *reinterpret_cast<uvec*>(p) = v;
}

#if !defined(USE_BF16)

typedef float elem;
constexpr int DEPTH = 1;  // input channels that a multiply-add takes

INLINE float widen(elem x) {
    return x;
}
INLINE elem narrow(float x) {
    return x;
}
// V weights of DEPTH channels, channel i of them in channel[i]
INLINE void store_weights(elem* p, const vec* channel) {
    store(p, channel[0]);
}

#else

typedef unsigned short elem;
constexpr int DEPTH = 2;

typedef unsigned bits __attribute__((vector_size(4 * LANES), may_alias));
typedef unsigned ubits __attribute__((vector_size(4 * LANES), may_alias, aligned(2)));
typedef elem halves __attribute__((vector_size(2 * LANES), may_alias, aligned(2)));

INLINE float widen(elem x) {
    const unsigned high = unsigned(x) << 16;
    float y;
    __builtin_memcpy(&y, &high, 4);
    return y;
}
INLINE bits bits_of(vec v) {
    return reinterpret_cast<const bits&>(v);
}
INLINE vec vec_of(bits b) {
    return reinterpret_cast<const vec&>(b);
}

// Rounded to nearest, ties to even, into the upper half; NaN stays NaN.
INLINE bits rounded(vec v) {
    const bits b = bits_of(v), quiet = b | 0x00400000u;
    return v == v ? b + (0x7fffu + ((b >> 16) & 1u)) : quiet;
}
INLINE elem narrow(float x) {
    unsigned b;
    __builtin_memcpy(&b, &x, 4);
    return elem((x == x ? b + (0x7fffu + ((b >> 16) & 1u)) : b | 0x00400000u) >> 16);
}
INLINE vec load(const elem* p) {
    const halves h = *reinterpret_cast<const halves*>(p);
    return vec_of(__builtin_convertvector(h, bits) << 16);
}
INLINE void store(elem* p, vec v) {
#if defined(USE_AVX512)
    const auto h = _mm512_maskz_cvtneps_pbh(ALL, v);
    __builtin_memcpy(p, &h, sizeof h);
#else
    *reinterpret_cast<halves*>(p) = __builtin_convertvector(rounded(v) >> 16, halves);
#endif
}
INLINE void store_weights(elem* p, const vec* channel) {
    const bits pair = rounded(channel[0]) >> 16 | (rounded(channel[1]) & 0xffff0000u);
    *reinterpret_cast<ubits*>(p) = pair;
}

#endif

// What a multiply-add takes, for T = elem or float: V lanes of weights, and one pixel's DEPTH
// channels, the same for every lane. With AVX-512 the instruction itself reads and spreads these.
// Out of a register that two share it is as fast alone, but not beside a deferred gate: 64 -> 64
// channels with mish fell from 0.83 to 0.79 of the peak.
INLINE vec load_weights(const float* w) {
    return load(w);
}
INLINE void add_product(vec& acc, const float* x, vec w) {
#if defined(USE_AVX512)
    asm("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*x));
#else
    acc += splat(*x) * w;
#endif
}
template <class T>
constexpr int depth = sizeof(T) == sizeof(float) ? 1 : DEPTH;

#if defined(USE_BF16)
INLINE bits load_weights(const elem* w) {
    return *reinterpret_cast<const ubits*>(w);
}
INLINE void add_product(vec& acc, const elem* x, bits w) {
#if defined(USE_AVX512)
    asm("vdpbf16ps %2%{1to16%}, %1, %0"
        : "+v"(acc)
        : "v"(w), "m"(*reinterpret_cast<const elem(*)[DEPTH]>(x)));
#else
    unsigned pair;
    __builtin_memcpy(&pair, x, 4);
    const bits v = pair - bits{};
    acc += vec_of(v << 16) * vec_of(w << 16);
    acc += vec_of(v & 0xffff0000u) * vec_of(w & 0xffff0000u);
#endif
}
#endif

// y = activation(sums) [+ residual] over n vectors.
static void finish(elem* y, const float* sums, const elem* residual, int n, Activation activation) {
    with_activation(activation, [=](auto tag) __attribute__((always_inline)) {
        for (int i = 0; i < n * V; i += V) {
            vec v = activate<decltype(tag)::value>(load(sums + i));
            if (residual) v += load(residual + i);
            store(y + i, v);
        }
    });
}

INLINE elem* pixel(const View& v, int image, int block, int row, int column) {
    return static_cast<elem*>(v.data) + image * v.image + block * v.block + row * v.row +
           long(column) * V;
}

// Writes the zero border of this share's channel blocks.
static void zero_border(const View& v, const Share& share) {
    if (v.border == 0) return;
    const Range planes = part(v.images * v.blocks, share.index, share.count);
    const int full = v.width + 2 * v.border;
    for (int i = planes.begin; i < planes.end; ++i) {
        elem* top = pixel(v, i / v.blocks, i % v.blocks, -v.border, -v.border);
        for (int h = 0; h < v.height + 2 * v.border; ++h, top += v.row) {
            const bool edge = h < v.border || h >= v.height + v.border;
            const int left = edge ? full : v.border;
            for (int w = 0; w < left; ++w) store(top + w * V, vec{});
            if (edge) continue;
            for (int w = full - v.border; w < full; ++w) store(top + w * V, vec{});
        }
    }
}
