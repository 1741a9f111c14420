// 3x3 convolution of stride 1 by Winograd's minimal filtering F(m x m, 3 x 3), m = 4 or 2:
//
//     Y = A^T [ (G g G^T) * (B^T d B) ] A        d: (m+2) x (m+2) of x,  Y: m x m of y
//
// In the middle stand (m+2)^2 independent products [K x C] [C x tiles]: 36 multiplications give
// 16 outputs that take 144 directly (m = 2: 16 give 4 that take 36). filtering.h computes them.

template <int M>
struct Transform;

template <>
struct Transform<4> {
    static constexpr int E = 6;        // edge of a tile of x
    static constexpr int OUT = 4;      // of y
    static constexpr int LINE = E;     // products of a line of a tile
    static constexpr int WEIGHTS = E;  // weights of a line
    template <class T>
    INLINE void upper_input(const T* d, T* o) {
        const T a = d[4] - 4.f * d[2], b = d[3] - 4.f * d[1];
        o[0] = 4.f * d[0] - 5.f * d[2] + d[4];
        o[1] = a + b;
        o[2] = a - b;
    }
    template <class T>
    INLINE void lower_input(const T* d, T* o) {
        const T c = d[4] - d[2], e = 2.f * (d[3] - d[1]);
        o[0] = c + e;
        o[1] = c - e;
        o[2] = 4.f * d[1] - 5.f * d[3] + d[5];
    }
    template <class T>
    INLINE void output(const T* m, T* o) {
        const T a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
        o[0] = m[0] + a + c;
        o[1] = b + 2.f * d;
        o[2] = a + 4.f * c;
        o[3] = b + 8.f * d + m[5];
    }
    template <class Number, class T>
    INLINE void weight(const T* g, T* o) {
        const T a = g[0] * Number(1 / 24.) + g[2] * Number(1 / 6.), b = g[1] * Number(1 / 12.);
        const T c = (g[0] + g[2]) * Number(-1 / 6.), d = g[1] * Number(-1 / 6.);
        o[0] = g[0] * Number(.25);
        o[1] = c + d;
        o[2] = c - d;
        o[3] = a + b;
        o[4] = a - b;
        o[5] = g[2];
    }
    template <class T>
    INLINE void weight_transposed(const T* u, T* g) {
        const T a = u[1] + u[2], b = u[1] - u[2], c = u[3] + u[4], d = u[3] - u[4];
        const T third = (c - a) * (1 / 6.f);
        g[0] = u[0] * .25f - a * (1 / 6.f) + c * (1 / 24.f);
        g[1] = d * (1 / 12.f) - b * (1 / 6.f);
        g[2] = third + u[5];
    }
};

template <>
struct Transform<2> {
    static constexpr int E = 4, OUT = 2, LINE = E, WEIGHTS = E;
    template <class T>
    INLINE void upper_input(const T* d, T* o) {
        o[0] = d[0] - d[2];
        o[1] = d[1] + d[2];
    }
    template <class T>
    INLINE void lower_input(const T* d, T* o) {
        o[0] = d[2] - d[1];
        o[1] = d[1] - d[3];
    }
    template <class T>
    INLINE void output(const T* m, T* o) {
        o[0] = m[0] + m[1] + m[2];
        o[1] = m[1] - m[2] - m[3];
    }
    template <class Number, class T>
    INLINE void weight(const T* g, T* o) {
        const T a = (g[0] + g[2]) * Number(.5), b = g[1] * Number(.5);
        o[0] = g[0];
        o[1] = a + b;
        o[2] = a - b;
        o[3] = g[2];
    }
};

// The tiles of a batch, counted along the rows of a mosaic, then mosaics.
struct TileGrid {
    int m, across, down, total;
    Mosaic mosaic;
    int height, width;  // of an image and the gap after it
};
INLINE TileGrid tile_grid(const View& y, const Mosaic& mosaic, int m) {
    const int across = tiles_along(mosaic.across, y.width, m);
    const int down = tiles_along(mosaic.down, y.height, m);
    const int mosaics = y.images / (mosaic.across * mosaic.down);
    return {m, across, down, across * down * mosaics, mosaic, y.height + 1, y.width + 1};
}

// The first pixel of a tile, or of the gap after its image, which `right` images of the mosaic
// follow in its row, and `below` in its column, each `across` images after the other.
struct TilePlace {
    int image, h, w;
    int right, below, across;
};
INLINE TilePlace place(const TileGrid& g, int tile) {
    const int mosaic = tile / (g.across * g.down), inside = tile % (g.across * g.down);
    const int h = inside / g.across * g.m, w = inside % g.across * g.m;
    const int across = g.mosaic.across;
    const int row = g.mosaic.down > 1 ? h / g.height : 0, column = across > 1 ? w / g.width : 0;
    return {(mosaic * g.mosaic.down + row) * across + column,
            h - row * g.height,
            w - column * g.width,
            across - 1 - column,
            g.mosaic.down - 1 - row,
            across};
}

// N rows and N columns of a mosaic, as distances from the first pixel of a tile's image. Those of
// a gap or beyond the mosaic are of the border, which is zero.
template <int N>
struct Window {
    long rows[N], columns[N];
    int rows_in, columns_in;  // bit i: whether row or column i is of an image

    long operator()(int i, int j) const { return rows[i] + columns[j]; }
    bool has_row(int i) const { return rows_in >> i & 1; }
    bool has_column(int i) const { return columns_in >> i & 1; }
};
template <int N>
INLINE int window_lines(int at, int size, int images, long step, long image, long* lines) {
    if (at + N <= size) {
        UNROLL for (int i = 0; i < N; ++i) lines[i] = (at + i) * step;
        return (1 << N) - 1;
    }
    int in = 0;
    long start = 0;
    UNROLL for (int i = 0; i < N; ++i, ++at) {
        if (at > size && images > 0) at = 0, start += image, --images;
        lines[i] = start + least(at, size) * step;
        in |= (at >= 0 && at < size) << i;
    }
    return in;
}
// From `before` rows and columns before the tile's first pixel on.
template <int N>
INLINE Window<N> window(const View& v, const TilePlace& at, int before) {
    Window<N> w;
    w.rows_in =
        window_lines<N>(at.h - before, v.height, at.below, v.row, at.across * v.image, w.rows);
    w.columns_in = window_lines<N>(at.w - before, v.width, at.right, V, v.image, w.columns);
    return w;
}

// The same for a window inside one image or its border, as distances from its first pixel.
struct Lattice {
    long row;
    long operator()(int i, int j) const { return i * row + j * V; }
};

// body(data, from): row i and column j of the window lie at data[from(i, j)].
template <int N, class F>
INLINE void read_window(const View& v, const TilePlace& at, int block, int before, F body) {
    const int h = at.h - before, w = at.w - before;
    if (h + N <= v.height + before && w + N <= v.width + before)
        body(pixel(v, at.image, block, h, w), Lattice{v.row});
    else
        body(pixel(v, at.image, block, 0, 0), window<N>(v, at, before));
}

// Fetches what the tile below reads first.
template <int M, int N, class From>
INLINE void fetch_below(const elem* x, const From& from, long row) {
    UNROLL for (int i = 0; i < M; ++i) {
        UNROLL for (int j = 0; j < M; ++j) {
            if (new_line<elem>(j * V)) __builtin_prefetch(x + from(i, j) + N * row, 0, 2);
        }
    }
}

// Half of the rows of B^T d B: all of them at once would not fit the registers.
template <int M, int LOWER, class From>
INLINE void input_half(const elem* x, const From& from, elem* v, long plane) {
    using F = Transform<M>;
    constexpr int E = F::E, H = E / 2;
    vec half[H][E];
    UNROLL for (int j = 0; j < E; ++j) {
        vec d[E], o[H];
        UNROLL for (int i = 0; i < E; ++i) d[i] = load(x + from(i, j));
        LOWER ? F::lower_input(d, o) : F::upper_input(d, o);
        UNROLL for (int i = 0; i < H; ++i) half[i][j] = o[i];
    }
    UNROLL for (int i = 0; i < H; ++i) {
        vec o[E];
        F::upper_input(half[i], o);
        F::lower_input(half[i], o + H);
        UNROLL for (int j = 0; j < E; ++j) store(v + ((LOWER * H + i) * E + j) * plane, o[j]);
    }
}

template <int M>
static void input_tile(Transform<M>, const Conv& a, const TilePlace& at, int block, elem* v,
                       long plane) {
    constexpr int E = Transform<M>::E;
    const auto transform = [&](const elem* x, const auto& from) __attribute__((always_inline)) {
        fetch_below<M, E>(x, from, a.x.row);
        input_half<M, 0>(x, from, v, plane);
        input_half<M, 1>(x, from, v, plane);
    };
    read_window<E>(a.x, at, block, 1, transform);
}

template <int N>
static void activate_row(vec (&x)[N], Activation activation) {
    with_activation(activation, [&](auto tag) __attribute__((always_inline)) {
        UNROLL for (int i = 0; i < N; ++i) x[i] = activate<decltype(tag)::value>(x[i]);
    });
}

// Where a tile of M x M pixels of y goes: bias, activation, residual, row by row.
template <int M>
class TileRows {
 public:
    TileRows(const Conv& a, const TilePlace& at, int block)
        : activation_(a.activation),
          bias_(load(a.bias + block * V)),
          slope_(splat(sloped(activation_) ? slope_of(activation_) : 1.f)),
          to_(window<M>(a.y, at, 0)),
          y_(pixel(a.y, at.image, block, 0, 0)) {
        if (!a.add) return;
        add_ = window<M>(a.residual, at, 0);
        residual_ = pixel(a.residual, at.image, block, 0, 0);
    }

    bool has(int row) const { return to_.has_row(row); }
    void write(int row, vec (&sums)[M]) const {
        UNROLL for (int j = 0; j < M; ++j) sums[j] += bias_;
        if (gate_of(activation_) != Gate::none)
            gate_all(gate_of(activation_), sums);
        else if (!sloped(activation_))
            activate_row(sums, activation_);
        UNROLL for (int j = 0; j < M; ++j) {
            if (!to_.has_column(j)) continue;
            vec r = larger(sums[j], slope_ * sums[j]);
            if (residual_) r += load(residual_ + add_(row, j));
            store(y_ + to_(row, j), r);
        }
    }

 private:
    const Activation activation_;
    const vec bias_, slope_;
    const Window<M> to_;
    Window<M> add_{};
    elem* const y_;
    const elem* residual_ = nullptr;
};

template <int M>
static void output_tile(Transform<M>, const Conv& a, const TilePlace& at, int block, const float* m,
                        long plane) {
    constexpr int E = Transform<M>::E;
    vec half[M][E];
    UNROLL for (int j = 0; j < E; ++j) {
        vec d[E], o[M];
        UNROLL for (int i = 0; i < E; ++i) d[i] = load(m + (i * E + j) * plane);
        Transform<M>::output(d, o);
        UNROLL for (int i = 0; i < M; ++i) half[i][j] = o[i];
    }
    const TileRows<M> rows(a, at, block);
    for (int i = 0; i < M; ++i) {
        if (!rows.has(i)) continue;
        vec o[M];
        Transform<M>::output(half[i], o);
        rows.write(i, o);
    }
}
