// The tile of a direct convolution in AMX: up to 32 pixels by one or two vectors of output
// channels, summed in matrix registers.
//
//     acc[m][k] += x[m] w[k]      m: 16 pixels, k: 16 output channels, over 16 or 32 products
//
// x: a row for each pixel, whose 16 channels are 32 bytes; those of its right neighbour follow, so
// that two taps side by side are one product of twice the depth. w: the packed weight as it lies,
// a row for two channels. Where the pixels do not fill both m, these overlap.

enum Register { SUMS, X2 = 4, X1, W2, W1 };  // SUMS: four; X2 and W2: two taps at once

constexpr int MATRIX_TILE = 32;

static void shape_matrices(int pixels) {
    MatrixShapes shapes{};
    shapes.palette = 1;
    for (int t = SUMS; t <= W1; ++t) {
        shapes.bytes[t] = t == X1 ? 32 : 64;
        shapes.rows[t] = t == W2 ? 16 : t == W1 ? 8 : pixels;
    }
    load_shapes(shapes);
}

// distance: bytes between pixels; other: elements from the first m to the other
template <int MV, int KV, int X, int W>
INLINE void add_products(const elem* x, long distance, long other, const elem* w) {
    constexpr long ROW = 64 * KV;
    load_matrix<X>(x, distance);
    load_matrix<W>(w, ROW);
    dot<SUMS, X, W>();
    if constexpr (KV > 1) {
        load_matrix<W>(w + V * DEPTH, ROW);
        dot<SUMS + 1, X, W>();
    }
    if constexpr (MV > 1) {
        load_matrix<X>(x + other, distance);
        if constexpr (KV > 1) {
            dot<SUMS + 3, X, W>();
            load_matrix<W>(w, ROW);
        }
        dot<SUMS + 2, X, W>();
    }
}

template <int N, int KV>
INLINE void put_sums(TileCall& a, const float* sums) {
    vec acc[KV][N];
    UNROLL for (int k = 0; k < KV; ++k) {
        UNROLL for (int p = 0; p < N; ++p) acc[k][p] = load(sums + (k * MATRIX_TILE + p) * V);
    }
    store_tile<N, KV>(a, acc);
    a.y += N * V;
    if (a.residual) a.residual += N * V;
    if (a.sums) a.sums += N * V;
}

template <int MV, int KV>
static void matrix_tile(const TileCall& a) {
    const int rows = ceil_div(a.pixels, MV), other = a.pixels - rows;
    zero_matrix<SUMS>();
    if constexpr (KV > 1) zero_matrix<SUMS + 1>();
    if constexpr (MV > 1) zero_matrix<SUMS + 2>();
    if constexpr (MV > 1 && KV > 1) zero_matrix<SUMS + 3>();
    const elem* w = static_cast<const elem*>(a.w);
    const elem* x = static_cast<const elem*>(a.x);
    const long distance = a.step * long(sizeof(elem)), far = other * a.step;
    constexpr long TAP = V * KV * V;  // elements of its weights
    for (int block = 0; block < a.blocks; ++block, x += a.x_block)
        for (int t = 0; t < a.tap_count;) {
            const elem* xt = x + a.taps[t];
            if (t + 1 < a.tap_count && a.taps[t + 1] - a.taps[t] == V) {
                add_products<MV, KV, X2, W2>(xt, distance, far, w);
                t += 2, w += 2 * TAP;
            } else {
                add_products<MV, KV, X1, W1>(xt, distance, far, w);
                t += 1, w += TAP;
            }
        }
    alignas(64) float sums[KV][MATRIX_TILE * V];
    constexpr long PIXEL = sizeof(float) * V;
    store_matrix<SUMS>(sums[0], PIXEL);
    if constexpr (KV > 1) store_matrix<SUMS + 1>(sums[1], PIXEL);
    if constexpr (MV > 1) store_matrix<SUMS + 2>(sums[0] + other * V, PIXEL);
    if constexpr (MV > 1 && KV > 1) store_matrix<SUMS + 3>(sums[1] + other * V, PIXEL);
    TileCall part = a;
    int p = 0;
    for (; p + 4 <= a.pixels; p += 4) put_sums<4, KV>(part, sums[0] + p * V);
    for (; p < a.pixels; ++p) put_sums<1, KV>(part, sums[0] + p * V);
}

// The tile of p pixels; the registers have its shape from here on.
static TileFn find_matrix_tile(int p, int wide) {
    const int parts = ceil_div(p, 16);
    shape_matrices(ceil_div(p, parts));
    if (parts == 1) return wide ? matrix_tile<1, 2> : matrix_tile<1, 1>;
    return wide ? matrix_tile<2, 2> : matrix_tile<2, 1>;
}

// Whether tiles of all sizes compute the sums of small whole numbers, which are exact.
static bool compare_matrices() {
    constexpr int BLOCKS = 2, TAPS = 3, LINE = (MATRIX_TILE + TAPS) * V;
    elem x[BLOCKS * LINE], w[BLOCKS * TAPS * V * 2 * V];
    float sums[2 * MATRIX_TILE * V];
    for (int i = 0; i < BLOCKS * LINE; ++i) x[i] = narrow(float(i * 7 % 11 - 5));
    for (int i = 0; i < BLOCKS * TAPS * V * 2 * V; ++i) w[i] = narrow(float(i * 5 % 13 - 6));
    const long taps[TAPS] = {0, V, 2 * V};
    bool agree = true;
    for (int wide = 0; wide < 2; ++wide)
        for (int p = 1; p <= MATRIX_TILE; ++p) {
            TileCall a{};
            a.x = x, a.w = w, a.taps = taps, a.tap_count = TAPS, a.blocks = BLOCKS;
            a.x_block = LINE, a.step = V, a.pixels = p;
            a.sums = sums, a.sums_block = MATRIX_TILE * V;
            find_matrix_tile(p, wide)(a);
            for (int i = 0; i < (1 + wide) * p * V; ++i) {
                const int k = i / V / p, pixel = i / V % p, n = i % V;
                float sum = 0;
                for (int t = 0; t < BLOCKS * TAPS; ++t)
                    for (int c = 0; c < V; ++c)
                        sum +=
                            widen(x[t / TAPS * LINE + (pixel + t % TAPS) * V + c]) *
                            widen(
                                w[((t * V / 2 + c / 2) * (1 + wide) + k) * 2 * V + 2 * n + c % 2]);
                agree &= sums[(k * MATRIX_TILE + pixel) * V + n] == sum;
            }
        }
    release_matrices();
    return agree;
}
static bool matrices_agree() {
    static const bool agree = compare_matrices();
    return agree;
}
