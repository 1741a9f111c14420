// Activations by themselves, prelu, dropout, and the gradients of products, activations, average
// pools.

static void activate_map(const View& x, const View& y, Activation activation, const Share& share) {
    zero_border(y, share);
    with_activation(activation, [&](auto tag) __attribute__((always_inline)) {
        each_row(y, share, [&](int image, int block, int h) __attribute__((always_inline)) {
            const float* from = pixel(x, image, block, h, 0);
            float* to = pixel(y, image, block, h, 0);
            for (int i = 0; i < y.width * V; i += V)
                store(to + i, activate<decltype(tag)::value>(load(from + i)));
        });
    });
}

static void slope_product(const Slope& a, const Share& share) {
    zero_border(a.dx, share);
    with_activation(a.activation, [&](auto tag) __attribute__((always_inline)) {
        each_row(a.dx, share, [&](int image, int block, int h) __attribute__((always_inline)) {
            const float* x = pixel(a.x, image, block, h, 0);
            const float* dy = pixel(a.dy, image, block, h, 0);
            float* dx = pixel(a.dx, image, block, h, 0);
            for (int i = 0; i < a.dx.width * V; i += V)
                store(dx + i, load(dy + i) * slope<decltype(tag)::value>(load(x + i)));
        });
    });
}

static void equal_product_grad(const Product& a, const Share& share) {
    each_row(a.da, share, [&](int image, int block, int h) __attribute__((always_inline)) {
        const float* x = pixel(a.a, image, block, h, 0);
        const float* factor = pixel(a.b, image, block, h, 0);
        const float* dy = pixel(a.dy, image, block, h, 0);
        float* da = pixel(a.da, image, block, h, 0);
        for (int i = 0; i < a.da.width * V; i += V) store(da + i, load(dy + i) * load(factor + i));
        if (!a.db.data) return;
        float* db = pixel(a.db, image, block, h, 0);
        for (int i = 0; i < a.da.width * V; i += V) store(db + i, load(dy + i) * load(x + i));
    });
}

// b is a pixel, or with `rectified` the slopes of x <= 0, whose y = x * b. Row sums first: shorter
// chains round less.
template <bool rectified>
static void pixel_product_grad(const Product& a, const Share& share) {
    const Range planes = part(a.da.images * a.da.blocks, share.index, share.count);
    for (int p = planes.begin; p < planes.end; ++p) {
        const int image = p / a.da.blocks, block = p % a.da.blocks;
        const vec factor = load(pixel(a.b, image, block, 0, 0));
        vec sum{}, unused;
        for (int h = 0; h < a.da.height; ++h) {
            const float* x = pixel(a.a, image, block, h, 0);
            const float* dy = pixel(a.dy, image, block, h, 0);
            float* da = pixel(a.da, image, block, h, 0);
            vec row;
            row_sums(a.da.width, row, unused,
                     [=](vec& s, vec&, int i) __attribute__((always_inline)) {
                         const vec g = load(dy + i * V), v = load(x + i * V);
                         const ivec passed = rectified ? v > 0.f : ivec{};
                         s += passed ? vec{} : g * v;
                         store(da + i * V, passed ? g : g * factor);
                     });
            sum += row;
        }
        if (a.db.data) store(pixel(a.db, image, block, 0, 0), sum);
    }
}

// Lanes 0 .. n of v, zeros after them.
INLINE vec first_lanes(vec v, int n) {
    for (int c = n; c < V; ++c) v[c] = 0.f;
    return v;
}

// Row by row: the row of db holds the sums over blocks until its lanes are added up.
static void channel_product_grad(const Product& a, const Share& share) {
    const Range rows = part(a.da.images * a.da.height, share.index, share.count);
    for (int i = rows.begin; i < rows.end; ++i) {
        const int image = i / a.da.height, h = i % a.da.height, width = a.da.width;
        const float* factor = pixel(a.b, image, 0, h, 0);
        float* db = a.db.data ? pixel(a.db, image, 0, h, 0) : nullptr;
        for (int block = 0; block < a.da.blocks; ++block) {
            const float* x = pixel(a.a, image, block, h, 0);
            const float* dy = pixel(a.dy, image, block, h, 0);
            float* da = pixel(a.da, image, block, h, 0);
            const int lanes = least(V, a.channels - block * V);
            for (int w = 0; w < width; ++w) {
                const vec g = load(dy + w * V);
                store(da + w * V, g * splat(factor[w * V]));
                if (!db) continue;
                const vec product = g * load(x + w * V), before = block ? load(db + w * V) : vec{};
                store(db + w * V, before + (lanes < V ? first_lanes(product, lanes) : product));
            }
        }
        for (int w = 0; db && w < width; ++w) {
            float sum = 0.f;
            for (int c = 0; c < V; ++c) sum += db[w * V + c];
            store(db + w * V, first_lanes(splat(sum), 1));
        }
    }
}

static void product_grad(const Product& a, const Share& share) {
    zero_border(a.da, share);
    if (a.db.data) zero_border(a.db, share);
    if (a.spread == Spread::channel) return channel_product_grad(a, share);
    a.spread == Spread::pixel ? pixel_product_grad<false>(a, share) : equal_product_grad(a, share);
}

// y = a where a > 0, else a * b, b being a pixel of each image
static void prelu(const Pointwise& a, const Share& share) {
    zero_border(a.y, share);
    each_row(a.y, share, [&](int image, int block, int h) __attribute__((always_inline)) {
        const vec slope = load(pixel(a.b, image, block, 0, 0));
        const float* x = pixel(a.a, image, block, h, 0);
        float* y = pixel(a.y, image, block, h, 0);
        for (int i = 0; i < a.y.width * V; i += V) {
            const vec v = load(x + i);
            store(y + i, v > 0.f ? v : v * slope);
        }
    });
}

static void prelu_grad(const Product& a, const Share& share) {
    zero_border(a.da, share);
    if (a.db.data) zero_border(a.db, share);
    pixel_product_grad<true>(a, share);
}

// Every pixel has the same share of its channel's mean.
static void average_pool_grad(const View& dx, const View& dy, const Share& share) {
    zero_border(dx, share);
    const float each = 1.f / (float(dx.height) * float(dx.width));
    each_row(dx, share, [&](int image, int block, int h) __attribute__((always_inline)) {
        const vec g = load(pixel(dy, image, block, 0, 0)) * each;
        float* row = pixel(dx, image, block, h, 0);
        for (int i = 0; i < dx.width * V; i += V) store(row + i, g);
    });
}

typedef unsigned wordvec __attribute__((vector_size(4 * LANES), may_alias));

// A bijection of 32 bits whose every input bit changes half of the output bits (C. Wellons'
// lowbias32, 2018).
INLINE wordvec mixed(wordvec x) {
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

static void drop(const Drop& a, const Share& share) {
    zero_border(a.y, share);
    const int height = a.y.height, width = a.y.width;
    wordvec lane;
    for (int c = 0; c < V; ++c) lane[c] = unsigned(c * height * width);
    each_row(a.y, share, [&](int image, int block, int h) __attribute__((always_inline)) {
        const float* x = pixel(a.x, image, block, h, 0);
        float* y = pixel(a.y, image, block, h, 0);
        const unsigned row = (unsigned(image) * a.channels + block * V) * height + h;
        wordvec place = lane + row * unsigned(width);
        for (int i = 0; i < width * V; i += V, place += 1u) {
            const wordvec number = mixed(mixed(place ^ a.key[0]) + a.key[1]) >> 8;
            const ivec kept = reinterpret_cast<const ivec&>(number) >= a.threshold;
            store(y + i, kept ? load(x + i) * a.factor : vec{});
        }
    });
}
