// Gradients of pools and enlargements, sums, and the maps that a strided convolution's gradient is
// made of.

// Adds `rest` to that d whose x, the first of n vectors `step` elements apart, is `top`; gives what
// nobody got.
INLINE vec hand_on(const float* x, float* d, int n, long step, vec top, vec rest) {
    for (int i = 0; i < n; ++i, x += step, d += step) {
        const ivec hit = load(x) == top;
        store(d, load(d) + (hit ? rest : vec{}));
        rest = hit ? vec{} : rest;
    }
    return rest;
}

// dx of the rows that one window row touches: of equal values the first of the window, row by row,
// gets the gradient, as in the planar kernels.
static void window_grad(const Pool& a, const View& dx, const View& dy, int image, int block, int p,
                        int q) {
    const Range rows = inside(p * a.stride_h - a.before_h, a.size_h, a.x.height);
    const Range columns = inside(q * a.stride_w - a.before_w, a.size_w, a.x.width);
    const vec y = load(pixel(a.y, image, block, p, q));
    vec rest = load(pixel(dy, image, block, p, q));
    for (int h = rows.begin; h < rows.end; ++h) {
        const float* x = pixel(a.x, image, block, h, columns.begin);
        float* d = pixel(dx, image, block, h, columns.begin);
        rest = hand_on(x, d, columns.end - columns.begin, V, y, rest);
    }
}

// The same for a whole plane, in fewer steps where windows are large: the first row that has a
// window's largest value gets its gradient, and in that row the first column. scratch: what rows
// have [height][out width], and the gradients of that.
static void separable_grad(const Pool& a, const View& dx, const View& dy, int image, int block,
                           float* scratch) {
    const long width = long(dy.width) * V, size = a.x.height * width;
    float *most = scratch, *sums = scratch + size;
    row_maxima(a, image, block, most);
    for (long i = 0; i < size; i += V) store(sums + i, vec{});
    for (int p = 0; p < dy.height; ++p) {
        const Range rows = inside(p * a.stride_h - a.before_h, a.size_h, a.x.height);
        const long first = rows.begin * width;
        for (int q = 0; q < dy.width; ++q)
            hand_on(most + first + q * V, sums + first + q * V, rows.end - rows.begin, width,
                    load(pixel(a.y, image, block, p, q)), load(pixel(dy, image, block, p, q)));
    }
    for (int h = 0; h < a.x.height; ++h)
        for (int q = 0; q < dy.width; ++q, most += V, sums += V) {
            const Range columns = inside(q * a.stride_w - a.before_w, a.size_w, a.x.width);
            hand_on(pixel(a.x, image, block, h, columns.begin),
                    pixel(dx, image, block, h, columns.begin), columns.end - columns.begin, V,
                    load(most), load(sums));
        }
}

// Windows of 2x2 that do not overlap: every cell of dx belongs to one.
static void max_pool_grad_2x2(const Pool& a, const View& dx, const View& dy, const Share& share) {
    each_row(dy, share, [&](int image, int block, int p) __attribute__((always_inline)) {
        const float* x = pixel(a.x, image, block, 2 * p, 0);
        const float* y = pixel(a.y, image, block, p, 0);
        const float* g = pixel(dy, image, block, p, 0);
        float* d = pixel(dx, image, block, 2 * p, 0);
        for (int q = 0; q < dy.width; ++q) {
            const vec top = load(y + q * V);
            vec rest = load(g + q * V);
            UNROLL for (int i = 0; i < 4; ++i) {
                const long at = 2L * q * V + i % 2 * V + i / 2 * a.x.row;
                const ivec hit = load(x + at) == top;
                store(d + at, hit ? rest : vec{});
                rest = hit ? vec{} : rest;
            }
        }
    });
}

static void max_pool_grad(const Pool& a, const View& dx, const View& dy, const Share& share) {
    zero_border(dx, share);
    const bool simple = a.size_h == 2 && a.size_w == 2 && a.stride_h == 2 && a.stride_w == 2 &&
                        a.before_h == 0 && a.before_w == 0 && a.y.height * 2 == a.x.height &&
                        a.y.width * 2 == a.x.width;
    if (simple) return max_pool_grad_2x2(a, dx, dy, share);
    // steps for a value: through its window; or down it, and through each row of x twice
    const bool separable = a.size_h * a.size_w > a.size_h + 2 * a.stride_h * a.size_w;
    const Range planes = part(dx.images * dx.blocks, share.index, share.count);
    for (int i = planes.begin; i < planes.end; ++i) {
        const int image = i / dx.blocks, block = i % dx.blocks;
        for (int h = 0; h < dx.height; ++h) {
            float* row = pixel(dx, image, block, h, 0);
            for (int w = 0; w < dx.width * V; w += V) store(row + w, vec{});
        }
        if (separable) {
            separable_grad(a, dx, dy, image, block, share.scratch);
            continue;
        }
        for (int p = 0; p < a.y.height; ++p)
            for (int q = 0; q < a.y.width; ++q) window_grad(a, dx, dy, image, block, p, q);
    }
}

// y = gain * sum over each scale x scale block of x
static void block_sums(const Copy& a, const Share& share) {
    zero_border(a.y, share);
    each_row(a.y, share, [&](int image, int block, int h) __attribute__((always_inline)) {
        float* y = pixel(a.y, image, block, h, 0);
        for (int w = 0; w < a.y.width; ++w) {
            vec sum{};
            for (int i = 0; i < a.scale; ++i) {
                const float* x = pixel(a.x, image, block, h * a.scale + i, w * a.scale);
                for (int j = 0; j < a.scale; ++j) sum += load(x + j * V);
            }
            store(y + w * V, sum * a.gain);
        }
    });
}

static void interleave(const Interleaved& a, const Share& share) {
    const View& y = a.y;
    zero_border(y, share);
    with_stores(y, [&](auto stores) __attribute__((always_inline)) {
        each_row(y, share, [&](int image, int block, int h) __attribute__((always_inline)) {
            float* out = pixel(y, image, block, h, 0);
            for (int first = 0; first < least(a.stride_w, y.width); ++first) {
                const View& map = a.maps[h % a.stride_h * a.stride_w + first];
                const float* x = map.data ? pixel(map, image, block, h / a.stride_h, 0) : nullptr;
                for (int w = first; w < y.width; w += a.stride_w, x += x ? V : 0)
                    stores.put(out + long(w) * V, x ? load(x) : vec{});
            }
        });
    });
}

// N vectors of one block, `offset` floats from its corner: the terms that have it, in their order.
template <int N, class Stores>
INLINE void sum_vectors(const Term* terms, int count, const View& y, int image, int block,
                        long offset, Stores stores) {
    vec acc[N] = {};
    for (int t = 0; t < count; ++t) {
        const int from = block - terms[t].first;
        if (from < 0 || from >= terms[t].x.blocks) continue;
        const float* x = pixel(terms[t].x, image, from, 0, 0) + offset;
        if (terms[t].factor.data) {
            const vec factor = load(pixel(terms[t].factor, image, from, 0, 0));
            UNROLL for (int i = 0; i < N; ++i) acc[i] += factor * load(x + i * V);
        } else {
            UNROLL for (int i = 0; i < N; ++i) acc[i] += load(x + i * V);
        }
    }
    float* out = pixel(y, image, block, 0, 0) + offset;
    UNROLL for (int i = 0; i < N; ++i) stores.put(out + i * V, acc[i]);
}

static void sum(const Term* terms, int count, const View& y, const Share& share) {
    const Range planes = part(y.images * y.blocks, share.index, share.count);
    with_stores(y, [&](auto stores) __attribute__((always_inline)) {
        for (int i = planes.begin; i < planes.end; ++i) {
            const int image = i / y.blocks, block = i % y.blocks;
            long j = -y.border * (y.row + V), end = j + y.block;
            for (; j + 8 * V <= end; j += 8 * V)
                sum_vectors<8>(terms, count, y, image, block, j, stores);
            for (; j < end; j += V) sum_vectors<1>(terms, count, y, image, block, j, stores);
        }
    });
}
