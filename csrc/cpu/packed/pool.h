// Pooling over packed tensors: a vector holds V channels of one pixel, so windows need no shuffles.

constexpr float LOWEST = -3.4028234663852886e38f;

// Largest of n vectors that lie `step` elements apart.
template <class T>
INLINE vec window_max(const T* x, int n, long step) {
    vec m = splat(LOWEST);
    for (int i = 0; i < n; ++i) m = larger(m, load(x + i * step));
    return m;
}

// Cells begin .. end of a window of `size` at `first` that lie inside 0 .. limit.
INLINE Range inside(int first, int size, int limit) {
    return {most(first, 0), least(first + size, limit)};
}

// Of every row and column of windows: most [height][out width].
static void row_maxima(const Pool& a, int image, int block, float* most) {
    for (int h = 0; h < a.x.height; ++h) {
        const elem* x = pixel(a.x, image, block, h, 0);
        for (int q = 0; q < a.y.width; ++q, most += V) {
            const Range r = inside(q * a.stride_w - a.before_w, a.size_w, a.x.width);
            store(most, window_max(x + long(r.begin) * V, r.end - r.begin, V));
        }
    }
}

// A window is separable: first along each row into scratch, then down. Windows may leave the image;
// cells outside do not count.
static void max_pool_plane(const Pool& a, int image, int block, float* scratch) {
    const int out_w = a.y.width;
    row_maxima(a, image, block, scratch);
    for (int p = 0; p < a.y.height; ++p) {
        const Range r = inside(p * a.stride_h - a.before_h, a.size_h, a.x.height);
        elem* y = pixel(a.y, image, block, p, 0);
        for (int q = 0; q < out_w; ++q)
            store(y + q * V, window_max(scratch + (long(r.begin) * out_w + q) * V, r.end - r.begin,
                                        long(out_w) * V));
    }
}

// 2x2 windows of stride 2, the usual case, need no scratch.
static void max_pool_2x2_row(const Pool& a, int image, int block, int p) {
    const elem* x = pixel(a.x, image, block, 2 * p, 0);
    elem* y = pixel(a.y, image, block, p, 0);
    for (int q = 0; q < a.y.width; ++q, x += 2 * V) {
        const vec top = larger(load(x), load(x + V));
        store(y + q * V, larger(top, larger(load(x + a.x.row), load(x + a.x.row + V))));
    }
}

static void max_pool(const Pool& a, const Share& share) {
    zero_border(a.y, share);
    const bool simple = a.size_h == 2 && a.size_w == 2 && a.stride_h == 2 && a.stride_w == 2 &&
                        a.before_h == 0 && a.before_w == 0 && a.y.height * 2 <= a.x.height &&
                        a.y.width * 2 <= a.x.width;
    const int planes = a.y.images * a.y.blocks, units = simple ? planes * a.y.height : planes;
    const Range mine = part(units, share.index, share.count);
    for (int i = mine.begin; i < mine.end; ++i) {
        const int plane = simple ? i / a.y.height : i;
        const int image = plane / a.y.blocks, block = plane % a.y.blocks;
        if (simple)
            max_pool_2x2_row(a, image, block, i % a.y.height);
        else
            max_pool_plane(a, image, block, share.scratch);
    }
}
static long pool_scratch(const Pool& a) {
    return long(a.x.height) * a.y.width * V;
}

static void average_pool(const Pool& a, const Share& share) {
    zero_border(a.y, share);
    const Range planes = part(a.y.images * a.y.blocks, share.index, share.count);
    for (int i = planes.begin; i < planes.end; ++i) {
        const int image = i / a.y.blocks, block = i % a.y.blocks;
        vec sum{};
        for (int h = 0; h < a.x.height; ++h) {  // row sums first: shorter chains round less
            const elem* x = pixel(a.x, image, block, h, 0);
            vec row{};
            for (int w = 0; w < a.x.width; ++w) row += load(x + w * V);
            sum += row;
        }
        store(pixel(a.y, image, block, 0, 0), sum * (1.f / (float(a.x.height) * a.x.width)));
    }
}
