// Minimal filtering of whole maps. A block of tiles is transformed into V; for each panel of 2V
// output channels the products go to M, small enough to stay in cache, and M is transformed,
// finished and stored. F, the transforms of a tile, is one of those of winograd.h and phases.h:
//
//     F::OUT        edge of a tile of y
//     F::LINE       products of a line of a tile; LINE^2 of a tile
//     F::WEIGHTS    weights of a line, the last of which serves all products beyond it

template <class F>
INLINE int weight_of(int product) {
    return least(product / F::LINE, F::WEIGHTS - 1) * F::WEIGHTS +
           least(product % F::LINE, F::WEIGHTS - 1);
}

// body(F{}) with the F of a call
template <class Body>
INLINE void with_filtering(const Conv& a, Body body) {
    if (a.up) return body(Phases<true>{});
    if (a.stride_h == 2) return body(Phases<false>{});
    a.m == 4 ? body(Transform<4>{}) : body(Transform<2>{});
}

// A block of n tiles in V: for each of the products [group][C/V][p][V], groups of p <= TILE
// neighbouring tiles. An odd number of lines between products keeps them out of each other's way.
INLINE long plane_v(int blocks, int tiles) {
    return (long(blocks) * tiles + DEPTH) * V;
}
INLINE long plane_m(int tiles) {
    return (2L * tiles + 1) * V;
}

// Transforms channel blocks `blocks` of tiles first .. first + n into v.
template <class F>
static void input_block(F f, const Conv& a, int first, int n, Range blocks, elem* v) {
    const TileGrid grid = tile_grid(a.y, a.mosaic, F::OUT);
    const long plane = plane_v(a.x.blocks, n);
    const Tiling groups = tile_row(n, TILE);
    for (int block = blocks.begin; block < blocks.end; ++block)
        for (int g = 0, t = 0; g < groups.count; ++g) {
            const int p = groups.at(g);
            elem* out = v + (long(t) * a.x.blocks + long(block) * p) * V;
            for (int i = 0; i < p; ++i, ++t)
                input_tile(f, a, place(grid, first + t), block, out + i * V, plane);
        }
}

// The products of one panel over n tiles, then their output transform.
template <class F>
static void output_block(F f, const Conv& a, int first, int n, int panel, const elem* v, float* m) {
    const TileGrid grid = tile_grid(a.y, a.mosaic, F::OUT);
    const int wide = 2 * panel + 1 < a.y.blocks;
    const long channels = long(a.x.blocks) * V, slice = channels * (1 + wide) * V;
    const elem* weights =
        static_cast<const elem*>(a.weight) + channels * 2 * V * F::WEIGHTS * F::WEIGHTS * panel;
    const long in = plane_v(a.x.blocks, n), out = plane_m(n);
    const Tiling groups = tile_row(n, TILE);
    const long zero = 0;
    TileCall t{};
    t.taps = &zero;
    t.tap_count = 1;
    t.blocks = a.x.blocks;
    t.sums_block = long(n) * V;
    t.ahead = slice;
    for (int e = 0; e < F::LINE * F::LINE; ++e) {
        t.w = weights + slice * weight_of<F>(e);
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
            output_tile(f, a, place(grid, first + i), 2 * panel + k, m + (long(k) * n + i) * V,
                        out);
}

// Floats that hold V of so many tiles.
static long winograd_floats(const Conv& a, int tiles) {
    long floats = 0;
    with_filtering(a,
                   [&](auto f) { floats = f.LINE * f.LINE * plane_v(a.x.blocks, tiles) / DEPTH; });
    return floats;
}
// Of the whole batch.
static int tile_count(const Conv& a) {
    int count = 0;
    with_filtering(a, [&](auto f) { count = tile_grid(a.y, a.mosaic, f.OUT).total; });
    return count;
}
static long winograd_scratch(const Conv& a, bool shared) {
    const int tiles = shared ? tile_count(a) : a.tile_block;
    long floats = shared ? 0 : winograd_floats(a, tiles);
    with_filtering(a, [&](auto f) { floats += f.LINE * f.LINE * plane_m(tiles); });
    return floats;
}
static long winograd_shared(const Conv& a) {
    return winograd_floats(a, tile_count(a));
}

static void winograd(const Conv& a, const Share& share) {
    zero_border(a.y, share);
    with_filtering(a, [&](auto f) {
        const Range mine = part(tile_grid(a.y, a.mosaic, f.OUT).total, share.index, share.count);
        const Tiling blocks = tile_row(mine.end - mine.begin, a.tile_block);
        elem* v = reinterpret_cast<elem*>(share.scratch);
        float* m = share.scratch + winograd_floats(a, a.tile_block);
        for (int i = 0, first = mine.begin; i < blocks.count; first += blocks.at(i), ++i) {
            input_block(f, a, first, blocks.at(i), {0, a.x.blocks}, v);
            for (int panel = 0; panel < ceil_div(a.y.blocks, 2); ++panel)
                output_block(f, a, first, blocks.at(i), panel, v, m);
        }
    });
}

// The same in two halves, tiles first .. first + n of them.
static void winograd_input_tiles(const Conv& a, int first, int n, void* v, const Share& share) {
    if (first == 0) zero_border(a.y, share);
    const Range blocks = part(a.x.blocks, share.index, share.count);
    with_filtering(a, [&](auto f) { input_block(f, a, first, n, blocks, static_cast<elem*>(v)); });
}
static void winograd_output_tiles(const Conv& a, int first, int n, int panel, const void* v,
                                  float* m) {
    with_filtering(
        a, [&](auto f) { output_block(f, a, first, n, panel, static_cast<const elem*>(v), m); });
}

static void winograd_input(const Conv& a, const Share& share) {
    winograd_input_tiles(a, 0, tile_count(a), a.shared, share);
}
static void winograd_output(const Conv& a, const Share& share) {
    const Range panels = part(ceil_div(a.y.blocks, 2), share.index, share.count);
    for (int panel = panels.begin; panel < panels.end; ++panel)
        winograd_output_tiles(a, 0, tile_count(a), panel, a.shared, share.scratch);
}

// Dense (K, C, 3, 3) -> [K/2V][WEIGHTS^2][C/DEPTH][2V][DEPTH], transformed in double and rounded
// once. The E^2 results of a channel go far apart (often into one cache set), so they are collected
// first.
template <class F>
static void pack_winograd_panel(const float* w, int k0, int width, int c, elem* out) {
    constexpr int E = F::WEIGHTS, L = V / 2;
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
                F::template weight<double>(g[s], o);
                UNROLL for (int e = 0; e < E; ++e) half[e][s] = o[e];
            }
            UNROLL for (int e = 0; e < E; ++e) {
                dvec o[E];
                F::template weight<double>(half[e], o);
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
static void pack_winograd(const float* w, int k, int c, const Conv& a, void* packed,
                          const Share& share) {
    const Range panels = part(ceil_div(k, 2 * V), share.index, share.count);
    with_filtering(a, [&](auto f) {
        for (int panel = panels.begin; panel < panels.end; ++panel) {
            const int k0 = panel * 2 * V, width = least(2 * V, k - k0);
            elem* out = static_cast<elem*>(packed) + long(k0) * c * f.WEIGHTS * f.WEIGHTS;
            pack_winograd_panel<decltype(f)>(w, k0, width, c, out);
        }
    });
}
