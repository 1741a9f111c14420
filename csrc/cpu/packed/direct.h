// Direct convolutions: packed input (any kernel, stride, dilation), planar input (the stem), and
// depthwise. Weights and taps are laid out in the order in which the register tile reads them.

constexpr int MAX_TAPS = 1024;  // r * s of a packed convolution, c * r * s of a stem

// Pixels of the largest tile, where x is packed: of stride 1 and 2, and of any.
#if defined(USE_AMX)
constexpr int LARGEST_TILE = MATRIX_TILE, ANY_TILE = MATRIX_TILE;
#else
constexpr int LARGEST_TILE = TILE, ANY_TILE = 4;
#endif

template <class T, int CV>
INLINE TileFn find_tile(int p, int wide, int stride) {
    constexpr int S1 = CV, S2 = 2 * CV;
    if (stride == 1) return wide ? TileTable<T, 2, S1, CV>::at(p) : TileTable<T, 1, S1, CV>::at(p);
    if (stride == 2) return wide ? TileTable<T, 2, S2, CV>::at(p) : TileTable<T, 1, S2, CV>::at(p);
    return wide ? TileTable<T, 2, 0, CV>::at(p) : TileTable<T, 1, 0, CV>::at(p);
}

// How `count` workers share a grid of panels x rows: `panel_parts` ways along the panels.
struct Split {
    Range panels, rows;
};
static Split split(const Share& share, int panels, int rows, bool prefer_panels) {
    int best = 1;
    long best_cost = 0;
    for (int parts = 1; parts <= share.count; ++parts) {
        if (share.count % parts) continue;
        const long cost = long(ceil_div(panels, parts)) * ceil_div(rows, share.count / parts);
        if (parts == 1 || cost < best_cost || (cost == best_cost && prefer_panels)) {
            best = parts;
            best_cost = cost;
        }
    }
    const int row_parts = share.count / best;
    return {part(panels, share.index % best, best), part(rows, share.index / best, row_parts)};
}

// Everything of a convolution that does not change from tile to tile.
struct DirectPass {
    const Conv& a;
    TileCall tile;
    Tiling columns;
    int stride_w;
    bool in_tile;   // the activation is done in the register tile
    bool streamed;  // y is written past the caches, unless sums wait in it, which lie in them
    Deferred* deferred = nullptr;  // where sums wait for their gate, unless null

    template <class T, int CV>
    TileFn tile_of(int p, int wide) const {
#if defined(USE_AMX)
        if constexpr (CV == V) return find_matrix_tile(p, wide);
#endif
        return find_tile<T, CV>(p, wide, stride_w);
    }

    // One output row of one panel. x: input at the row's first tap.
    template <class T, int CV>
    void row(const T* x, int image, int h, int first_block, int wide, bool last) {
        elem* y = pixel(a.y, image, first_block, h, 0);
        const elem* residual =
            a.add && last ? pixel(a.residual, image, first_block, h, 0) : nullptr;
        float sums[2 * LARGEST_TILE * V];  // what another activation is computed from
        const bool finishes = last && !in_tile;
        tile.sums = finishes ? sums : nullptr;
        tile.sums_block = LARGEST_TILE * V;
        tile.stream = streamed && last && !tile.resume;
        tile.deferred = last ? deferred : nullptr;
        tile.bias = last ? a.bias + first_block * V : nullptr;
        int done = -1;
        TileFn run = nullptr;
        for (int i = 0; i < columns.count; ++i) {
            const int p = columns.at(i);
            if (p != done) run = tile_of<T, CV>(p, wide);
            done = p;
            tile.pixels = p;
            tile.x = x;
            tile.y = y;
            tile.residual = residual;
            run(tile);
            if (finishes)
                for (int k = 0; k <= wide; ++k)
                    finish(y + k * a.y.block, sums + k * LARGEST_TILE * V,
                           residual ? residual + k * a.residual.block : nullptr, p, a.activation);
            x += long(p) * stride_w * CV;
            y += p * V;
            if (residual) residual += p * V;
        }
    }
};

static DirectPass direct_pass(const Conv& a, const long* taps, int tap_count, int largest) {
    TileCall t{};
    t.taps = taps;
    t.tap_count = tap_count;
    t.y_block = a.y.block;
    t.residual_block = a.residual.block;
    t.gate = gate_of(a.activation);
    const bool in_tile = sloped(a.activation) || t.gate != Gate::none;
    t.slope = in_tile ? slope_of(a.activation) : 1.f;
    return {a, t, tile_row(a.y.width, largest), a.stride_w, in_tile, in_tile && streams(a.y)};
}

// Rows of a row block: its input should stay in half of L2 while every panel passes over it, but
// fewer than ~100 pixels would not repay the reading of the weights.
static int block_rows(const Conv& a) {
    const long row_bytes = long(sizeof(elem)) * a.x.blocks * a.stride_h * a.x.row;
    const long fit = a.caches.l2 / 2 / row_bytes;
    return most(int(fit), ceil_div(100, a.y.width));
}

// Channel blocks whose weights are kept close: in L1 for short vectors, whose tiles are too small
// to hide the distance to L2, otherwise in half of L2. Sums wait in y for the next ones, which
// only fp32 allows.
static int chunk_blocks(const Conv& a, int tap_count) {
    if (DEPTH > 1) return a.x.blocks;
    const long budget = V < 16 ? a.caches.l1 / 2 : a.caches.l2 / 2;
    return most(1, int(budget / (4L * V * tap_count * 2 * V)));
}

// Rows of one panel, channel blocks `blocks` added, `chunk` of them at a time.
static void direct_panel(DirectPass& pass, int panel, Range rows, Range blocks, int chunk) {
    const Conv& a = pass.a;
    const int wide = 2 * panel + 1 < a.y.blocks, taps = pass.tile.tap_count;
    const elem* w =
        static_cast<const elem*>(a.weight) + long(panel) * 2 * V * a.x.blocks * V * taps;
    for (int c0 = blocks.begin; c0 < blocks.end; c0 += chunk) {
        pass.tile.blocks = least(chunk, blocks.end - c0);
        pass.tile.resume = c0 > 0;
        pass.tile.w = w + long(c0) * V * taps * (1 + wide) * V;
        const bool last = c0 + pass.tile.blocks == a.x.blocks;
        for (int row = rows.begin; row < rows.end; ++row) {
            const int image = row / a.y.height, h = row % a.y.height;
            const elem* x = pixel(a.x, image, c0, h * a.stride_h - a.pad_h, -a.pad_w);
            pass.row<elem, V>(x, image, h, 2 * panel, wide, last);
        }
    }
    if (pass.deferred)
        wide ? finish_deferred<2>(*pass.deferred) : finish_deferred<1>(*pass.deferred);
}

static void direct(const Conv& a, const Share& share) {
    zero_border(a.y, share);
    long taps[MAX_TAPS];
    int count = 0;
    for (int r = 0; r < a.kernel_h; ++r)
        for (int s = 0; s < a.kernel_w; ++s)
            taps[count++] = r * a.dilation_h * a.x.row + long(s) * a.dilation_w * V;
    const bool defers = DEFERS && gate_of(a.activation) != Gate::none;
    const int largest = a.stride_w > 2 ? ANY_TILE : defers ? DEFERRED_TILE : LARGEST_TILE;
    DirectPass pass = direct_pass(a, taps, count, largest);
    Deferred room;
    if (defers) pass.deferred = &room;
    pass.tile.x_block = a.x.block;
    pass.tile.step = long(a.stride_w) * V;
    pass.tile.ahead = 1024;

    const int panels = ceil_div(a.y.blocks, 2), rows = a.y.images * a.y.height;
    const long weight_floats = 1L * a.y.blocks * V * a.x.blocks * V * count;
    const Split mine = split(share, panels, rows, weight_floats > a.x.images * a.x.image);
    const int rows_at_once = block_rows(a);
    // Channel blocks of a row block's input that stay in half of L2 while all panels use them; with
    // fewer than 8 the partial sums would cost too much.
    const long block_bytes = long(sizeof(elem)) * rows_at_once * a.stride_h * a.x.row;
    const int fit = DEPTH > 1 ? a.x.blocks : most(8, int(a.caches.l2 / 2 / block_bytes));
    const int chunk = least(chunk_blocks(a, count), fit), near = fit / chunk * chunk;
    for (int row0 = mine.rows.begin; row0 < mine.rows.end; row0 += rows_at_once) {
        const Range block{row0, least(row0 + rows_at_once, mine.rows.end)};
        for (int c0 = 0; c0 < a.x.blocks; c0 += near)
            for (int panel = mine.panels.begin; panel < mine.panels.end; ++panel)
                direct_panel(pass, panel, block, {c0, least(c0 + near, a.x.blocks)}, chunk);
    }
    if (pass.streamed) Streamed::finish();
#if defined(USE_AMX)
    release_matrices();
#endif
}

static long direct_scratch(const Conv&) {
    return 0;
}

// The stem reads a planar image without a border: each worker copies the rows it needs into a
// bordered strip of its own.
static int stem_strip_rows(const Conv& a) {
    const long row_bytes = 4L * a.image.channels * (a.image.width + 2 * a.pad_w) * a.stride_h;
    return most(1, int(a.caches.l2 / 4 / row_bytes));
}
static long stem_row(const Conv& a) {
    return a.image.width + 2 * a.pad_w + long(a.kernel_w - 1) * a.dilation_w;
}
static int stem_strip_input(const Conv& a, int rows) {
    return (rows - 1) * a.stride_h + (a.kernel_h - 1) * a.dilation_h + 1;
}
static long stem_scratch(const Conv& a) {
    return stem_row(a) * stem_strip_input(a, stem_strip_rows(a)) * a.image.channels;
}

static void copy_strip(const Conv& a, int image, int first, int rows, float* strip) {
    const long row = stem_row(a);
    const int width = a.image.width, height = a.image.height;
    for (int c = 0; c < a.image.channels; ++c) {
        const float* plane = a.image.data + (1L * image * a.image.channels + c) * height * width;
        for (int i = 0; i < rows; ++i, strip += row) {
            const int h = first + i;
            for (int j = 0; j < a.pad_w; ++j) strip[j] = 0.f;
            const bool inside = h >= 0 && h < height;
            for (int j = 0; j < width; ++j)
                strip[a.pad_w + j] = inside ? plane[long(h) * width + j] : 0.f;
            for (long j = a.pad_w + width; j < row; ++j) strip[j] = 0.f;
        }
    }
}

static void stem(const Conv& a, const Share& share) {
    zero_border(a.y, share);
    const int strip_rows = stem_strip_rows(a);
    const int panels = ceil_div(a.y.blocks, 2);
    const Range rows = part(a.y.images * a.y.height, share.index, share.count);
    long taps[MAX_TAPS];
    const int tap_count = a.image.channels * a.kernel_h * a.kernel_w;
    DirectPass pass = direct_pass(a, taps, tap_count, a.stride_w <= 2 ? TILE : 4);
    pass.tile.blocks = 1;
    pass.tile.step = a.stride_w;
    for (int row0 = rows.begin; row0 < rows.end;) {
        const int image = row0 / a.y.height, h0 = row0 % a.y.height;
        const int n = least(least(strip_rows, rows.end - row0), a.y.height - h0);
        const int input_rows = stem_strip_input(a, n);
        copy_strip(a, image, h0 * a.stride_h - a.pad_h, input_rows, share.scratch);
        int t = 0;
        for (int c = 0; c < a.image.channels; ++c)
            for (int r = 0; r < a.kernel_h; ++r)
                for (int s = 0; s < a.kernel_w; ++s)
                    taps[t++] =
                        (c * input_rows + r * a.dilation_h) * stem_row(a) + long(s) * a.dilation_w;
        for (int panel = 0; panel < panels; ++panel) {
            const int wide = 2 * panel + 1 < a.y.blocks;
            pass.tile.w = static_cast<const float*>(a.weight) + long(panel) * 2 * V * tap_count;
            for (int i = 0; i < n; ++i)
                pass.row<float, 1>(share.scratch + stem_row(a) * i * a.stride_h, image, h0 + i,
                                   2 * panel, wide, true);
        }
        row0 += n;
    }
    if (pass.streamed) Streamed::finish();
}

// Dense (K, C, taps) -> [K/2V][C/V][taps][V/DEPTH][2V][DEPTH]; a last single block makes a panel of
// width V.
static void pack_direct(const float* w, int k, int c, int taps, void* packed, const Share& share) {
    const Range panels = part(ceil_div(k, 2 * V), share.index, share.count);
    for (int panel = panels.begin; panel < panels.end; ++panel) {
        const int width = least(2 * V, k - panel * 2 * V);
        elem* out = static_cast<elem*>(packed) + long(panel) * 2 * V * c * taps;
        for (int block = 0; block < c; block += V)
            for (int t = 0; t < taps; ++t)
                for (int i = block; i < block + V; i += DEPTH)
                    for (int j = panel * 2 * V; j < panel * 2 * V + width; ++j)
                        for (int d = 0; d < DEPTH; ++d)
                            *out++ = narrow(w[(long(j) * c + i + d) * taps + t]);
    }
}

// Dense (K, C * taps) -> [K/2V][C * taps][2V]
static void pack_stem(const float* w, int k, int c, int taps, float* packed) {
    for (int k0 = 0; k0 < k; k0 += 2 * V)
        for (long t = 0; t < long(c) * taps; ++t)
            for (int j = k0; j < least(k0 + 2 * V, k); ++j) *packed++ = w[j * long(c) * taps + t];
}
