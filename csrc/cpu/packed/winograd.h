// 3x3 convolution of stride 1 by Winograd's minimal filtering F(m x m, 3 x 3), m = 4 or 2:
//
//     Y = A^T [ (G g G^T) * (B^T d B) ] A        d: (m+2) x (m+2) of x,  Y: m x m of y
//
// In the middle stand (m+2)^2 independent products [K x C] [C x tiles]: 36 multiplications give
// 16 outputs that take 144 directly (m = 2: 16 give 4 that take 36). A block of tiles is
// transformed into V; for each panel of 2V output channels the products go to M, small enough to
// stay in cache, and M is transformed, finished and stored.

template <int M>
struct Transform;

template <>
struct Transform<4> {
    static constexpr int E = 6;  // edge of a tile
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
};

template <>
struct Transform<2> {
    static constexpr int E = 4;
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
INLINE TileGrid tile_grid(const Conv& a) {
    const Mosaic mosaic = a.mosaic;
    const int across = tiles_along(mosaic.across, a.y.width, a.m);
    const int down = tiles_along(mosaic.down, a.y.height, a.m);
    const int mosaics = a.y.images / (mosaic.across * mosaic.down);
    return {a.m, across, down, across * down * mosaics, mosaic, a.y.height + 1, a.y.width + 1};
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

// A block of n tiles in V: for each of the E^2 products [group][C/V][p][V], groups of p <= TILE
// neighbouring tiles. An odd number of lines between products keeps them out of each other's way.
INLINE long plane_v(int blocks, int tiles) {
    return (long(blocks) * tiles + DEPTH) * V;
}
INLINE long plane_m(int tiles) {
    return (2L * tiles + 1) * V;
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
static void input_tile(const Conv& a, const TilePlace& at, int block, elem* v, long plane) {
    constexpr int E = Transform<M>::E;
    const auto transform = [&](const elem* x, const auto& from) __attribute__((always_inline)) {
        fetch_below<M, E>(x, from, a.x.row);
        input_half<M, 0>(x, from, v, plane);
        input_half<M, 1>(x, from, v, plane);
    };
    read_window<E>(a.x, at, block, 1, transform);
}

// Transforms channel blocks `blocks` of tiles first .. first + n into v.
template <int M>
static void input_block(const Conv& a, int first, int n, Range blocks, elem* v) {
    const TileGrid grid = tile_grid(a);
    const long plane = plane_v(a.x.blocks, n);
    const Tiling groups = tile_row(n, TILE);
    for (int block = blocks.begin; block < blocks.end; ++block)
        for (int g = 0, t = 0; g < groups.count; ++g) {
            const int p = groups.at(g);
            elem* out = v + (long(t) * a.x.blocks + long(block) * p) * V;
            for (int i = 0; i < p; ++i, ++t)
                input_tile<M>(a, place(grid, first + t), block, out + i * V, plane);
        }
}

template <int N>
static void activate_row(vec (&x)[N], Activation activation) {
    with_activation(activation, [&](auto tag) __attribute__((always_inline)) {
        UNROLL for (int i = 0; i < N; ++i) x[i] = activate<decltype(tag)::value>(x[i]);
    });
}

template <int M>
static void output_tile(const Conv& a, const TilePlace& at, int block, const float* m, long plane) {
    constexpr int E = Transform<M>::E;
    vec half[M][E];
    UNROLL for (int j = 0; j < E; ++j) {
        vec d[E], o[M];
        UNROLL for (int i = 0; i < E; ++i) d[i] = load(m + (i * E + j) * plane);
        Transform<M>::output(d, o);
        UNROLL for (int i = 0; i < M; ++i) half[i][j] = o[i];
    }
    const vec bias = load(a.bias + block * V);
    const bool is_sloped = sloped(a.activation), is_mish = a.activation == Activation::mish;
    const vec slope = splat(is_sloped ? slope_of(a.activation) : 1.f);
    const auto to = window<M>(a.y, at, 0);
    Window<M> add{};
    if (a.add) add = window<M>(a.residual, at, 0);
    elem* y = pixel(a.y, at.image, block, 0, 0);
    const elem* residual = a.add ? pixel(a.residual, at.image, block, 0, 0) : nullptr;
    for (int i = 0; i < M; ++i) {
        if (!to.has_row(i)) continue;
        vec o[M];
        Transform<M>::output(half[i], o);
        UNROLL for (int j = 0; j < M; ++j) o[j] += bias;
        if (is_mish)
            mish(o);
        else if (!is_sloped)
            activate_row(o, a.activation);
        UNROLL for (int j = 0; j < M; ++j) {
            if (!to.has_column(j)) continue;
            vec r = larger(o[j], slope * o[j]);
            if (residual) r += load(residual + add(i, j));
            store(y + to(i, j), r);
        }
    }
}

// The products of one panel over n tiles, then their output transform.
template <int M>
static void output_block(const Conv& a, int first, int n, int panel, const elem* v, float* m) {
    constexpr int E2 = Transform<M>::E * Transform<M>::E;
    const TileGrid grid = tile_grid(a);
    const int wide = 2 * panel + 1 < a.y.blocks;
    const long channels = long(a.x.blocks) * V, panel_size = channels * (1 + wide) * V;
    const long in = plane_v(a.x.blocks, n), out = plane_m(n);
    const Tiling groups = tile_row(n, TILE);
    const long zero = 0;
    TileCall t{};
    t.taps = &zero;
    t.tap_count = 1;
    t.blocks = a.x.blocks;
    t.sums_block = long(n) * V;
    t.ahead = panel_size;
    for (int e = 0; e < E2; ++e) {
        t.w = static_cast<const elem*>(a.weight) + channels * 2 * V * E2 * panel + panel_size * e;
        for (int g = 0, at = 0; g < groups.count; at += groups.at(g), ++g) {
            const int p = groups.at(g);
            t.x = v + e * in + at * channels;
            t.x_block = long(p) * V;
            t.sums = m + e * out + long(at) * V;
            find_tile<elem, V>(p, wide, 1)(t);
        }
    }
    for (int k = 0; k <= wide; ++k)
        for (int i = 0; i < n; ++i)
            output_tile<M>(a, place(grid, first + i), 2 * panel + k, m + (long(k) * n + i) * V,
                           out);
}

// Floats that hold V of so many tiles.
static long transformed_floats(const Conv& a, int tiles) {
    return (a.m + 2) * (a.m + 2) * plane_v(a.x.blocks, tiles) / DEPTH;
}

template <int M>
static void winograd_tiles(const Conv& a, const Share& share) {
    zero_border(a.y, share);
    const Range mine = part(tile_grid(a).total, share.index, share.count);
    const Tiling blocks = tile_row(mine.end - mine.begin, a.tile_block);
    elem* v = reinterpret_cast<elem*>(share.scratch);
    float* m = share.scratch + transformed_floats(a, a.tile_block);
    for (int i = 0, first = mine.begin; i < blocks.count; first += blocks.at(i), ++i) {
        input_block<M>(a, first, blocks.at(i), {0, a.x.blocks}, v);
        for (int panel = 0; panel < ceil_div(a.y.blocks, 2); ++panel)
            output_block<M>(a, first, blocks.at(i), panel, v, m);
    }
}
static void winograd(const Conv& a, const Share& share) {
    a.m == 4 ? winograd_tiles<4>(a, share) : winograd_tiles<2>(a, share);
}

static void winograd_input(const Conv& a, const Share& share) {
    zero_border(a.y, share);
    const Range blocks = part(a.x.blocks, share.index, share.count);
    const int n = tile_grid(a).total;
    elem* v = reinterpret_cast<elem*>(a.shared);
    a.m == 4 ? input_block<4>(a, 0, n, blocks, v) : input_block<2>(a, 0, n, blocks, v);
}
static void winograd_output(const Conv& a, const Share& share) {
    const Range panels = part(ceil_div(a.y.blocks, 2), share.index, share.count);
    const int n = tile_grid(a).total;
    const elem* v = reinterpret_cast<const elem*>(a.shared);
    for (int panel = panels.begin; panel < panels.end; ++panel)
        a.m == 4 ? output_block<4>(a, 0, n, panel, v, share.scratch)
                 : output_block<2>(a, 0, n, panel, v, share.scratch);
}

static long winograd_scratch(const Conv& a, bool shared) {
    const int tiles = shared ? tile_grid(a).total : a.tile_block;
    return (a.m + 2) * (a.m + 2) * plane_m(tiles) + (shared ? 0 : transformed_floats(a, tiles));
}
static long winograd_shared(const Conv& a) {
    return transformed_floats(a, tile_grid(a).total);
}

// Dense (K, C, 3, 3) -> [K/2V][E^2][C/DEPTH][2V][DEPTH], transformed in double and rounded once.
// The E^2 results of a channel go far apart (often into one cache set), so they are collected
// first.
template <int M>
static void pack_winograd_panel(const float* w, int k0, int width, int c, elem* out) {
    constexpr int E = Transform<M>::E, L = V / 2;
    typedef double dvec __attribute__((vector_size(8 * L)));
    typedef float hvec __attribute__((vector_size(4 * L), may_alias, aligned(4)));
    float collected[E * E][2][DEPTH][V];
    for (int i = 0; i < c; ++i) {
        for (int j = 0; j < width; j += L) {
            dvec g[3][3] = {}, half[E][3];
            for (int l = 0; l < L; ++l) {
                const float* cell = w + ((k0 + j + l) * long(c) + i) * 9;
                UNROLL for (int t = 0; t < 9; ++t) g[t % 3][t / 3][l] = cell[t];
            }
            UNROLL for (int s = 0; s < 3; ++s) {
                dvec o[E];
                Transform<M>::template weight<double>(g[s], o);
                UNROLL for (int e = 0; e < E; ++e) half[e][s] = o[e];
            }
            UNROLL for (int e = 0; e < E; ++e) {
                dvec o[E];
                Transform<M>::template weight<double>(half[e], o);
                UNROLL for (int f = 0; f < E; ++f) {
                    float* to = &collected[e * E + f][j / V][i % DEPTH][j % V];
                    *reinterpret_cast<hvec*>(to) = __builtin_convertvector(o[f], hvec);
                }
            }
        }
        if (i % DEPTH != DEPTH - 1) continue;
        for (int e = 0; e < E * E; ++e)
            for (int j = 0; j < width; j += V) {
                vec channel[DEPTH];
                for (int d = 0; d < DEPTH; ++d) channel[d] = load(collected[e][j / V][d]);
                elem* line = out + (long(e) * c + i - (DEPTH - 1)) * width;
                store_weights(line + j * DEPTH, channel);
            }
    }
}
static void pack_winograd(const float* w, int k, int c, int m, void* packed, const Share& share) {
    const Range panels = part(ceil_div(k, 2 * V), share.index, share.count);
    for (int panel = panels.begin; panel < panels.end; ++panel) {
        const int k0 = panel * 2 * V, width = least(2 * V, k - k0);
        elem* out = static_cast<elem*>(packed) + long(k0) * c * (m + 2) * (m + 2);
        m == 4 ? pack_winograd_panel<4>(w, k0, width, c, out)
               : pack_winograd_panel<2>(w, k0, width, c, out);
    }
}
