// The gradient by the weight of a 3x3 convolution of stride 1, as the transpose of Winograd's
// F(4x4, 3x3). With Y = A^T [(G g G^T) * (B^T d B)] A summed over tiles,
//
//     grad g = G^T [ sum over tiles of (A dY A^T) * (B^T d B) ] G
//
// 36 products [K x tiles] [tiles x C] take the place of 144 multiplications for each 16 pixels.

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
template <class T>
INLINE void weight_transposed(const T* u, T* g) {
    const T a = u[1] + u[2], b = u[1] - u[2], c = u[3] + u[4], d = u[3] - u[4];
    const T third = (c - a) * (1 / 6.f);
    g[0] = u[0] * .25f - a * (1 / 6.f) + c * (1 / 24.f);
    g[1] = d * (1 / 12.f) - b * (1 / 6.f);
    g[2] = third + u[5];
}

constexpr int GE = Transform<4>::E, GE2 = GE * GE;

// The forward convolution in two halves, for callers that divide the work themselves.
static void winograd_input_tiles(const Conv& a, int first, int n, float* v, const Share& share) {
    if (first == 0) zero_border(a.y, share);
    input_block<4>(a, first, n, part(a.x.blocks, share.index, share.count), v);
}
static void winograd_output_tiles(const Conv& a, int first, int n, int panel, const float* v,
                                  float* m) {
    output_block<4>(a, first, n, panel, v, m);
}

template <int LOWER, class From>
INLINE void dy_half(const float* dy, const From& from, float* out, long plane) {
    constexpr int H = GE / 2;
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

// A dY A^T of one tile; what hangs over the image is zero, as dy's border is.
static void dy_tile(const View& dy, const TilePlace& at, int block, float* out, long plane) {
    const auto transform = [&](const float* data, const auto& from) __attribute__((always_inline)) {
        fetch_below<4, 4>(data, from, dy.row);
        dy_half<0>(data, from, out, plane);
        dy_half<1>(data, from, out, plane);
    };
    read_window<4>(dy, at, block, 0, transform);
}

static long winograd_floats(int blocks, int tiles) {
    return GE2 * plane_v(blocks, tiles);
}

// Tiles first_tile .. first_tile + tiles of x and dy, transformed: [36][block][tile][V]
static void winograd_grad_tiles(const GradWeight& a, const Share& share) {
    Conv conv{};
    conv.x = a.x, conv.y = a.dy, conv.m = 4, conv.mosaic = a.mosaic;
    const TileGrid grid = tile_grid(conv);
    const long x_plane = plane_v(a.x.blocks, a.tiles), dy_plane = plane_v(a.dy.blocks, a.tiles);
    const auto each = [&](int blocks, auto transform) __attribute__((always_inline)) {
        const Range units = part(blocks * a.tiles, share.index, share.count);
        for (int unit = units.begin; unit < units.end; ++unit)
            transform(place(grid, a.first_tile + unit % a.tiles), unit / a.tiles, long(unit) * V);
    };
    each(a.x.blocks, [&](const TilePlace& at, int block, long to) {
        input_tile<4>(conv, at, block, a.x_tiles + to, x_plane);
    });
    each(a.dy.blocks, [&](const TilePlace& at, int block, long to) {
        dy_tile(a.dy, at, block, a.dy_tiles + to, dy_plane);
    });
}

// sums of one panel [36][C][width] -> dense gradient
static void winograd_grad_panel(const GradWeight& a, int panel, int block, int width,
                                const float* sums) {
    const long plane = long(a.x.blocks) * V * width;
    const int c_end = least(V, a.channels - block * V);
    float taps[9][V];
    for (int k0 = 0; k0 < width; k0 += V)
        for (int c = 0; c < c_end; ++c) {
            const float* from = sums + (long(block) * V + c) * width + k0;
            vec half[3][GE];
            UNROLL for (int f = 0; f < GE; ++f) {
                vec u[GE], g[3];
                UNROLL for (int e = 0; e < GE; ++e) u[e] = load(from + (e * GE + f) * plane);
                weight_transposed(u, g);
                UNROLL for (int r = 0; r < 3; ++r) half[r][f] = g[r];
            }
            UNROLL for (int r = 0; r < 3; ++r) {
                vec g[3];
                weight_transposed(half[r], g);
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
    return 2L * V * a.x.blocks * V * GE2;
}

// Products of the transformed tiles. A share has its own panels and blocks of x. Where all tiles
// come at once the sums of a panel, [36][C][2V], need not outlive it: they lie in the thread's
// scratch, which stays in cache. Otherwise each panel has its own.
static void winograd_grad_weight(const GradWeight& a, bool resume, bool last, const Share& share) {
    const int panels = ceil_div(a.dy.blocks, 2);
    const int panel_parts = least(panels, share.count), block_parts = share.count / panel_parts;
    if (share.index >= panel_parts * block_parts) return;
    const Range mine = part(panels, share.index % panel_parts, panel_parts);
    const Range blocks = part(a.x.blocks, share.index / panel_parts, block_parts);
    const long x_plane = plane_v(a.x.blocks, a.tiles), dy_plane = plane_v(a.dy.blocks, a.tiles);
    OuterCall call{};
    call.x_step = V, call.dy_block = long(a.tiles) * V;
    call.images = call.rows = 1, call.columns = a.tiles, call.resume = resume;
    for (int panel = mine.begin; panel < mine.end; ++panel) {
        const bool wide = 2 * panel + 1 < a.dy.blocks;
        const int width = (1 + wide) * V;
        float* sums = a.sums ? a.sums + panel * winograd_grad_sums(a) : share.scratch;
        for (int e = 0; e < GE2; ++e)
            for (int block = blocks.begin; block < blocks.end; ++block) {
                call.dy = a.dy_tiles + e * dy_plane + 2L * panel * a.tiles * V;
                call.x = a.x_tiles + e * x_plane + long(block) * a.tiles * V;
                call.sums = sums + (long(e) * a.x.blocks + block) * V * width;
                outer_block(call, wide);
            }
        for (int block = blocks.begin; last && block < blocks.end; ++block)
            winograd_grad_panel(a, panel, block, width, sums);
    }
}
