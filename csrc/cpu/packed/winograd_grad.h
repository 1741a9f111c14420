// The gradient by the weight of a 3x3 convolution, as the transpose of minimal filtering. With
// Y = A^T [(G g G^T) * (B^T d B)] A summed over tiles,
//
//     grad g = G^T [ sum over tiles of (A dY A^T) * (B^T d B) ] G
//
// 36 products [K x tiles] [tiles x C] take the place of 144 multiplications for each 16 pixels, or
// 81 where the stride is 2.

// Halves of A y, as of the input's transform.
template <class T>
INLINE void upper_output_transposed(const T* y, T* m) {
    const T a = y[0] + y[2], b = y[1] + y[3];
    m[0] = y[0];
    m[1] = a + b;
    m[2] = a - b;
}
template <class T>
INLINE void lower_output_transposed(const T* y, T* m) {
    const T c = y[0] + 4.f * y[2], d = 2.f * y[1] + 8.f * y[3];
    m[0] = c + d;
    m[1] = c - d;
    m[2] = y[3];
}
template <int LOWER, class From>
INLINE void dy_half(const float* dy, const From& from, float* out, long plane) {
    constexpr int GE = Transform<4>::E, H = GE / 2;
    vec half[H][4];
    UNROLL for (int j = 0; j < 4; ++j) {
        vec y[4], m[H];
        UNROLL for (int i = 0; i < 4; ++i) y[i] = load(dy + from(i, j));
        LOWER ? lower_output_transposed(y, m) : upper_output_transposed(y, m);
        UNROLL for (int e = 0; e < H; ++e) half[e][j] = m[e];
    }
    UNROLL for (int e = 0; e < H; ++e) {
        vec m[GE];
        upper_output_transposed(half[e], m);
        lower_output_transposed(half[e], m + H);
        UNROLL for (int f = 0; f < GE; ++f) store(out + ((LOWER * H + e) * GE + f) * plane, m[f]);
    }
}

// A dY A^T of a tile of 4 x 4 pixels.
template <class From>
INLINE void dy_transform(Transform<4>, const float* dy, const From& from, float* out, long plane) {
    dy_half<0>(dy, from, out, plane);
    dy_half<1>(dy, from, out, plane);
}
template <class From>
INLINE void dy_transform(Phases<false>, const float* dy, const From& from, float* out, long plane) {
    using F = Phases<false>;
    float columns[4 * F::LINE * V];
    for (int j = 0; j < 4; ++j) {
        vec y[4], m[F::LINE];
        UNROLL for (int i = 0; i < 4; ++i) y[i] = load(dy + from(i, j));
        F::output_transposed(y, m);
        UNROLL for (int e = 0; e < F::LINE; ++e) store(columns + (e * 4 + j) * V, m[e]);
    }
    for (int e = 0; e < F::LINE; ++e) {
        vec y[4], m[F::LINE];
        UNROLL for (int j = 0; j < 4; ++j) y[j] = load(columns + (e * 4 + j) * V);
        F::output_transposed(y, m);
        UNROLL for (int f = 0; f < F::LINE; ++f) store(out + (e * F::LINE + f) * plane, m[f]);
    }
}

// What hangs over the image is zero, as dy's border is.
template <class F>
static void dy_tile(F f, const View& dy, const TilePlace& at, int block, float* out, long plane) {
    const auto transform = [&](const float* data, const auto& from) __attribute__((always_inline)) {
        fetch_below<4, 4>(data, from, dy.row);
        dy_transform(f, data, from, out, plane);
    };
    read_window<4>(dy, at, block, 0, transform);
}

template <class Body>
INLINE void with_grad_filtering(const GradWeight& a, Body body) {
    a.stride_h == 2 ? body(Phases<false>{}) : body(Transform<4>{});
}

// Tiles first_tile .. first_tile + tiles of x and dy, transformed: [product][block][tile][V]
static void winograd_grad_tiles(const GradWeight& a, const Share& share) {
    Conv conv{};
    conv.x = a.x;
    const TileGrid grid = tile_grid(a.dy, a.mosaic, 4);
    const long x_plane = plane_v(a.x.blocks, a.tiles), dy_plane = plane_v(a.dy.blocks, a.tiles);
    const auto each = [&](int blocks, auto transform) __attribute__((always_inline)) {
        const Range units = part(blocks * a.tiles, share.index, share.count);
        for (int unit = units.begin; unit < units.end; ++unit)
            transform(place(grid, a.first_tile + unit % a.tiles), unit / a.tiles, long(unit) * V);
    };
    with_grad_filtering(a, [&](auto f) {
        each(a.x.blocks, [&](const TilePlace& at, int block, long to) {
            input_tile(f, conv, at, block, a.x_tiles + to, x_plane);
        });
        each(a.dy.blocks, [&](const TilePlace& at, int block, long to) {
            dy_tile(f, a.dy, at, block, a.dy_tiles + to, dy_plane);
        });
    });
}

// sums of one panel and block [WEIGHTS^2][V][width] -> dense gradient
template <class F>
static void winograd_grad_block(const GradWeight& a, int panel, int block, int width,
                                const float* sums) {
    constexpr int E = F::WEIGHTS;
    const long plane = long(V) * width;
    const int c_end = least(V, a.channels - block * V);
    float taps[9][V];
    for (int k0 = 0; k0 < width; k0 += V)
        for (int c = 0; c < c_end; ++c) {
            const float* from = sums + long(c) * width + k0;
            vec half[3][E];
            UNROLL for (int f = 0; f < E; ++f) {
                vec u[E], g[3];
                UNROLL for (int e = 0; e < E; ++e) u[e] = load(from + (e * E + f) * plane);
                F::weight_transposed(u, g);
                UNROLL for (int r = 0; r < 3; ++r) half[r][f] = g[r];
            }
            UNROLL for (int r = 0; r < 3; ++r) {
                vec g[3];
                F::weight_transposed(half[r], g);
                UNROLL for (int s = 0; s < 3; ++s) store(taps[3 * r + s], g[s]);
            }
            const int first = panel * 2 * V + k0, k_end = least(V, a.filters - first);
            for (int k = 0; k < k_end; ++k) {
                float* out = a.grad + ((long(first) + k) * a.channels + block * V + c) * 9;
                UNROLL for (int t = 0; t < 9; ++t) out[t] = taps[t][k];
            }
        }
}

// Floats of the sums of one panel.
static long winograd_grad_sums(const GradWeight& a) {
    constexpr int E = Transform<4>::WEIGHTS;
    static_assert(E == Phases<false>::WEIGHTS);
    return 2L * V * a.x.blocks * V * E * E;
}

// Products of the transformed tiles; those with the same weight have a common sum. A share has its
// own panels and blocks of x. Sums lie [block][weight][V][2V]. Where all tiles come at once those
// of a run of blocks need not outlive it: they lie in the thread's scratch, which stays in cache.
// Otherwise each panel has its own. A run is one block where the panel's tiles of dy stay in cache
// until the next one, else all blocks, so that each of them is read once.
template <class F>
static void winograd_grad_products(const GradWeight& a, bool resume, bool last,
                                   const Share& share) {
    constexpr int PRODUCTS = F::LINE * F::LINE;
    const int panels = ceil_div(a.dy.blocks, 2);
    const int panel_parts = least(panels, share.count), block_parts = share.count / panel_parts;
    if (share.index >= panel_parts * block_parts) return;
    const Range mine = part(panels, share.index % panel_parts, panel_parts);
    const Range blocks = part(a.x.blocks, share.index / panel_parts, block_parts);
    const long x_plane = plane_v(a.x.blocks, a.tiles), dy_plane = plane_v(a.dy.blocks, a.tiles);
    const bool near = 4L * PRODUCTS * a.tiles * 2 * V <= a.caches.l2 / 2;
    const int run = near ? 1 : blocks.end - blocks.begin;
    OuterCall call{};
    call.x_step = V, call.dy_block = long(a.tiles) * V;
    call.images = call.rows = 1, call.columns = a.tiles;
    for (int panel = mine.begin; panel < mine.end; ++panel) {
        const bool wide = 2 * panel + 1 < a.dy.blocks;
        const int width = (1 + wide) * V;
        const long each = long(F::WEIGHTS) * F::WEIGHTS * V * width;  // sums of a block
        for (int first = blocks.begin; first < blocks.end; first += run) {
            const int end = least(first + run, blocks.end);
            float* sums =
                a.sums ? a.sums + panel * winograd_grad_sums(a) + first * each : share.scratch;
            for (int e = 0; e < PRODUCTS; ++e) {
                const bool begins = e / F::LINE < F::WEIGHTS && e % F::LINE < F::WEIGHTS;
                call.resume = resume || !begins;
                for (int block = first; block < end; ++block) {
                    call.dy = a.dy_tiles + e * dy_plane + 2L * panel * a.tiles * V;
                    call.x = a.x_tiles + e * x_plane + long(block) * a.tiles * V;
                    call.sums = sums + (block - first) * each + long(weight_of<F>(e)) * V * width;
                    outer_block(call, wide);
                }
            }
            for (int block = first; last && block < end; ++block)
                winograd_grad_block<F>(a, panel, block, width, sums + (block - first) * each);
        }
    }
}
static void winograd_grad_weight(const GradWeight& a, bool resume, bool last, const Share& share) {
    with_grad_filtering(
        a, [&](auto f) { winograd_grad_products<decltype(f)>(a, resume, last, share); });
}
