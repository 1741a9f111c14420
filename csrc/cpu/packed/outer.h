// The gradient by a weight: outer products of dy's channels with x's, summed over pixels.
//
//     sums[c][k] += sum over pixels of x[c] * dy[k]      c: P neighbouring channels of x,
//                                                        k: one or two vectors of dy's channels
//
// A register tile again: each x is broadcast once and used KV times, each dy is loaded once and
// used P times; the sums stay in registers over a whole chunk of rows.

constexpr int OUTER = V >= 8 ? V / 2 : V;  // P

struct OuterCall {
    const float *x, *dy;
    long x_step, x_row, x_image;  // floats between neighbouring pixels, rows and images
    long dy_row, dy_image, dy_block;
    int images, rows, columns;
    float* sums;  // [P][KV * V]
    bool resume;  // add to what `sums` holds
};

template <int P, int KV>
static void outer(const OuterCall& a) {
    vec acc[P][KV];
    UNROLL for (int p = 0; p < P; ++p) {
        UNROLL for (int k = 0; k < KV; ++k) acc[p][k] =
            a.resume ? load(a.sums + (p * KV + k) * V) : vec{};
    }
    for (int image = 0; image < a.images; ++image)
        for (int row = 0; row < a.rows; ++row) {
            const float* x = a.x + image * a.x_image + row * a.x_row;
            const float* dy = a.dy + image * a.dy_image + row * a.dy_row;
            for (int q = 0; q < a.columns; ++q, x += a.x_step, dy += V) {
                vec d[KV];
                UNROLL for (int k = 0; k < KV; ++k) d[k] = load(dy + k * a.dy_block);
                UNROLL for (int p = 0; p < P; ++p) {
                    const vec v = splat(x[p]);
                    UNROLL for (int k = 0; k < KV; ++k) acc[p][k] += v * d[k];
                }
            }
        }
    UNROLL for (int p = 0; p < P; ++p) {
        UNROLL for (int k = 0; k < KV; ++k) store(a.sums + (p * KV + k) * V, acc[p][k]);
    }
}

// One block of V channels of x with one panel of dy. sums: [V][width]
INLINE void outer_block(OuterCall call, bool wide) {
    for (int c = 0; c < V; c += OUTER) {
        wide ? outer<OUTER, 2>(call) : outer<OUTER, 1>(call);
        call.x += OUTER;
        call.sums += OUTER * V * (1 + wide);
    }
}

// How the shares divide panels x blocks x rows. Parts of the rows have sums of their own, which
// are added in order afterwards.
struct OuterGrid {
    int panel_parts, block_parts, row_parts;
};
static OuterGrid outer_grid(const GradWeight& a, int count) {
    const int panels = ceil_div(a.dy.blocks, 2), rows = a.dy.images * a.dy.height;
    OuterGrid best{1, 1, count};
    double least_cost = 0;
    for (int p = 1; p <= count; ++p)
        for (int b = 1; p * b <= count; ++b) {
            if (count % (p * b)) continue;
            const int r = count / (p * b);
            // partial sums cost their writing and adding
            const double cost = double(ceil_div(panels, p)) * ceil_div(a.x.blocks, b) *
                                (ceil_div(rows, r) + (r > 1 ? 20. : 0.));
            if (least_cost == 0 || cost < least_cost) best = {p, b, r}, least_cost = cost;
        }
    return best;
}
static long outer_size(const GradWeight& a) {
    return long(a.x.blocks) * V * a.dy.blocks * V * a.kernel_h * a.kernel_w;
}
static long grad_weight_sums(const GradWeight& a, int shares) {
    return outer_size(a) * outer_grid(a, shares).row_parts;
}

// A chunk is whole images or rows of one image: enough pixels to repay the loading of the sums, and
// its x and dy stay in L2 while all blocks meet all panels.
struct Chunk {
    int image, images, row, rows;
};
static Chunk next_chunk(const GradWeight& a, int row, int end, int want_rows) {
    const int h = a.dy.height, image = row / h, first = row % h;
    if (first == 0 && want_rows >= h && end - row >= h) {
        const int images = least(want_rows / h, (end - row) / h);
        return {image, images, 0, h};
    }
    return {image, 1, first, least(least(want_rows, h - first), end - row)};
}

// Of the pixels 0 .. n of dy those for which a tap finds x: 0 <= i * stride + offset < size.
INLINE Range reached(int n, int stride, int offset, int size) {
    const int begin = offset < 0 ? least(n, ceil_div(-offset, stride)) : 0;
    const int end = offset < size ? least(n, ceil_div(size - offset, stride)) : 0;
    return {begin, most(begin, end)};
}

// One tap of one block of x with one panel of dy, over a chunk.
static void outer_tap(const GradWeight& a, const Chunk& chunk, int panel, int block, int r, int s,
                      OuterCall call) {
    const int up = chunk.row * a.stride_h - a.pad_h + r * a.dilation_h;
    const int left = s * a.dilation_w - a.pad_w;
    const Range rows = reached(chunk.rows, a.stride_h, up, a.x.height);
    const Range columns = reached(a.dy.width, a.stride_w, left, a.x.width);
    call.rows = rows.end - rows.begin, call.columns = columns.end - columns.begin;
    call.dy = pixel(a.dy, chunk.image, 2 * panel, chunk.row + rows.begin, columns.begin);
    call.x = pixel(a.x, chunk.image, block, up + rows.begin * a.stride_h,
                   left + columns.begin * a.stride_w);
    outer_block(call, 2 * panel + 1 < a.dy.blocks);
}

static void outer_chunk(const GradWeight& a, const Chunk& chunk, Range panels, Range blocks,
                        float* sums, bool resume) {
    const int taps = a.kernel_h * a.kernel_w;
    OuterCall call{};
    call.x_step = long(a.stride_w) * V, call.x_row = a.stride_h * a.x.row;
    call.x_image = a.x.image;
    call.dy_row = a.dy.row, call.dy_image = a.dy.image, call.dy_block = a.dy.block;
    call.images = chunk.images, call.resume = resume;
    for (int panel = panels.begin; panel < panels.end; ++panel) {
        const int width = V * least(2, a.dy.blocks - 2 * panel);
        for (int block = blocks.begin; block < blocks.end; ++block) {
            call.sums = sums + (long(panel) * 2 * a.x.blocks * V + long(block) * width) * V * taps;
            for (int t = 0; t < taps; ++t, call.sums += V * width)
                outer_tap(a, chunk, panel, block, t / a.kernel_w, t % a.kernel_w, call);
        }
    }
}

static void grad_weight(const GradWeight& a, const Share& share) {
    const OuterGrid grid = outer_grid(a, share.count);
    const int p = share.index % grid.panel_parts;
    const int b = share.index / grid.panel_parts % grid.block_parts;
    const int r = share.index / grid.panel_parts / grid.block_parts;
    const Range panels = part(ceil_div(a.dy.blocks, 2), p, grid.panel_parts);
    const Range blocks = part(a.x.blocks, b, grid.block_parts);
    const Range rows = part(a.dy.images * a.dy.height, r, grid.row_parts);
    float* sums = a.sums + r * outer_size(a);
    const int streams = blocks.end - blocks.begin + 2 * (panels.end - panels.begin);
    const long pixels =
        most(int(a.caches.l2 / 2 / (4L * V * streams)), a.kernel_h * a.kernel_w == 1 ? 192 : 512);
    const int want_rows = most(1, int(pixels / a.dy.width));
    for (int row = rows.begin; row < rows.end;) {
        const Chunk chunk = next_chunk(a, row, rows.end, want_rows);
        outer_chunk(a, chunk, panels, blocks, sums, row > rows.begin);
        row += chunk.images * chunk.rows;
    }
}

static void grad_weight_collect(const GradWeight& a, int shares, const Share& share) {
    const int parts = outer_grid(a, shares).row_parts, taps = a.kernel_h * a.kernel_w;
    const long size = outer_size(a);
    const Range units = part(ceil_div(a.dy.blocks, 2) * a.x.blocks, share.index, share.count);
    for (int unit = units.begin; unit < units.end; ++unit) {
        const int panel = unit / a.x.blocks, block = unit % a.x.blocks;
        const int width = V * least(2, a.dy.blocks - 2 * panel), n = V * width * taps;
        float* sums = a.sums + (long(panel) * 2 * a.x.blocks * V + long(block) * width) * V * taps;
        for (int i = 1; i < parts; ++i)
            for (int j = 0; j < n; j += V)
                store(sums + j, load(sums + j) + load(sums + i * size + j));
        const int k_end = least(width, a.filters - panel * 2 * V);
        const int c_end = least(V, a.channels - block * V);
        for (int k = 0; k < k_end; ++k) {
            float* out = a.grad + ((panel * 2L * V + k) * a.channels + long(block) * V) * taps;
            for (int c = 0; c < c_end; ++c)
                for (int t = 0; t < taps; ++t) *out++ = sums[(t * V + c) * width + k];
        }
    }
}
