// 3x3 convolution of stride 2 by minimal filtering of its phases, and its gradient by x. Along one
// axis, with o[i] = x[2i - 1] and e[i] = x[2i],
//
//     y[i]      = w0 o[i] + w2 o[i + 1]  +  w1 e[i]
//     dx[2i+1]  = w2 dy[i] + w0 dy[i + 1]          dx[2i] = w1 dy[i]
//
// Two taps are F(4, 2): 5 products give 4 outputs that take 8. One tap takes 4 products for 4
// outputs. So 9 products, with 6 different weights, take the place of 12: on both axes 81, with 36
// weights, instead of 144. filtering.h computes them.

// F(4, 2) at the points 0, 1, -1, 2 and infinity.
template <class T>
INLINE void two_taps_input(const T* d, T* v) {
    const T a = d[3] - d[1], b = d[3] - d[2];
    v[0] = 2.f * (d[0] - d[2]) + a;
    v[1] = b - 2.f * d[1];
    v[2] = b + 2.f * (d[1] - d[2]);
    v[3] = a;
    v[4] = d[4] - d[2] - 2.f * a;
}
template <class T>
INLINE void two_taps_output(const T* m, T* y) {
    const T a = m[1] + m[2], b = m[1] - m[2];
    y[0] = m[0] + a + m[3];
    y[1] = b + 2.f * m[3];
    y[2] = a + 4.f * m[3];
    y[3] = b + 8.f * m[3] + m[4];
}

// A line of the convolution (UP = false) and of its gradient by x (UP = true).
template <bool UP>
struct Phases {
    static constexpr int TWO_TAPS = 5;  // products of two taps; those of one tap follow
    static constexpr int E = UP ? 5 : 9, OUT = UP ? 8 : 4, LINE = 9, WEIGHTS = 6;
    static constexpr int STEP = UP ? 4 : 8;    // pixels of x from tile to tile
    static constexpr int BEFORE = UP ? 0 : 1;  // ... that a tile reads before its first

    template <class T>
    INLINE void input(const T* x, T* v) {
        if constexpr (UP) {
            two_taps_input(x, v);
            UNROLL for (int i = 0; i < 4; ++i) v[TWO_TAPS + i] = x[i];
        } else {
            const T odd[TWO_TAPS] = {x[0], x[2], x[4], x[6], x[8]};
            two_taps_input(odd, v);
            UNROLL for (int i = 0; i < 4; ++i) v[TWO_TAPS + i] = x[2 * i + 1];
        }
    }
    template <class T>
    INLINE void output(const T* m, T* y) {
        T two[4];
        two_taps_output(m, two);
        UNROLL for (int i = 0; i < 4; ++i) {
            const T one = m[TWO_TAPS + i];
            if constexpr (UP)
                y[2 * i] = one, y[2 * i + 1] = two[i];
            else
                y[i] = two[i] + one;
        }
    }
    template <class Number, class T>
    INLINE void weight(const T* g, T* o) {
        o[0] = g[0] * Number(.5);
        o[1] = (g[0] + g[2]) * Number(-.5);
        o[2] = (g[2] - g[0]) * Number(1 / 6.);
        o[3] = g[0] * Number(1 / 6.) + g[2] * Number(1 / 3.);
        o[4] = g[2];
        o[5] = g[1];
    }
    template <class T>
    INLINE void output_transposed(const T* y, T* m) {
        const T a = y[0] + y[2], b = y[1] + y[3];
        m[0] = y[0];
        m[1] = a + b;
        m[2] = a - b;
        m[3] = y[0] + 2.f * y[1] + 4.f * y[2] + 8.f * y[3];
        m[4] = y[3];
        UNROLL for (int i = 0; i < 4; ++i) m[TWO_TAPS + i] = y[i];
    }
    template <class T>
    INLINE void weight_transposed(const T* u, T* g) {
        const T third = (u[3] - u[2]) * (1 / 6.f);
        g[0] = (u[0] - u[1]) * .5f + third;
        g[1] = u[5];
        g[2] = (u[2] + 2.f * u[3]) * (1 / 6.f) - u[1] * .5f + u[4];
    }
};

template <bool UP>
static void input_tile(Phases<UP>, const Conv& a, const TilePlace& at, int block, elem* v,
                       long plane) {
    using F = Phases<UP>;
    TilePlace from = at;
    from.h = at.h / F::OUT * F::STEP, from.w = at.w / F::OUT * F::STEP;
    read_window<F::E>(
        a.x, from, block, F::BEFORE,
        [&](const elem* x, const auto& pixel_at) __attribute__((always_inline)) {
            float columns[F::LINE * F::E * V];
            fetch_below<F::STEP, F::E>(x, pixel_at, a.x.row);
            for (int j = 0; j < F::E; ++j) {
                vec d[F::E], o[F::LINE];
                UNROLL for (int i = 0; i < F::E; ++i) d[i] = load(x + pixel_at(i, j));
                F::input(d, o);
                UNROLL for (int i = 0; i < F::LINE; ++i) store(columns + (i * F::E + j) * V, o[i]);
            }
            for (int i = 0; i < F::LINE; ++i) {
                vec d[F::E], o[F::LINE];
                UNROLL for (int j = 0; j < F::E; ++j) d[j] = load(columns + (i * F::E + j) * V);
                F::input(d, o);
                UNROLL for (int j = 0; j < F::LINE; ++j) store(v + (i * F::LINE + j) * plane, o[j]);
            }
        });
}

template <bool UP>
static void output_tile(Phases<UP>, const Conv& a, const TilePlace& at, int block, const float* m,
                        long plane) {
    using F = Phases<UP>;
    float columns[F::OUT * F::LINE * V];
    for (int j = 0; j < F::LINE; ++j) {
        vec d[F::LINE], o[F::OUT];
        UNROLL for (int i = 0; i < F::LINE; ++i) d[i] = load(m + (i * F::LINE + j) * plane);
        F::output(d, o);
        UNROLL for (int i = 0; i < F::OUT; ++i) store(columns + (i * F::LINE + j) * V, o[i]);
    }
    const TileRows<F::OUT> rows(a, at, block);
    for (int i = 0; i < F::OUT; ++i) {
        if (!rows.has(i)) continue;
        vec d[F::LINE], o[F::OUT];
        UNROLL for (int j = 0; j < F::LINE; ++j) d[j] = load(columns + (i * F::LINE + j) * V);
        F::output(d, o);
        rows.write(i, o);
    }
}
