// Batch normalisation and activation, two passes each way. Backward computes the activation's slope
// again from z, which is cheaper than keeping another map.

template <Activation A>
INLINE vec slope(vec x) {
    const vec one = splat(1.f);
    if constexpr (A == Activation::leaky) return x > 0.f ? one : splat(0.1f);
    if constexpr (A == Activation::relu) return x > 0.f ? one : vec{};
    if constexpr (A == Activation::relu6) return (x > 0.f) & (x < 6.f) ? one : vec{};
    if constexpr (A == Activation::ramp) return x > 0.f ? splat(1.1f) : splat(0.1f);
    if constexpr (A == Activation::logistic) {
        const vec y = logistic(x);
        return y * (1.f - y);
    }
    if constexpr (A == Activation::tanh) {
        const vec y = activate<A>(x);
        return 1.f - y * y;
    }
    if constexpr (A == Activation::swish) {
        const vec s = logistic(x);
        return s * (1.f + x * (1.f - s));
    }
    if constexpr (A == Activation::mish) {  // above 20 it is 1 in fp32
        const vec near = smaller(splat(20.f), x), e = exponential(near), n = e * (e + 2.f);
        const vec inverse = reciprocal(n + 2.f);
        return inverse * (n + 4.f * near * e * (1.f + e) * inverse);
    }
    return one;
}

// The four numbers of V channels, and u = scale * xhat + bias.
struct NormBlock {
    vec mean, rstd, scale, bias;
    vec xhat(vec z) const { return (z - mean) * rstd; }
    vec u(vec z) const { return xhat(z) * scale + bias; }
};
INLINE NormBlock norm_block(const Norm& a, int block) {
    return {load(a.mean + block * V), load(a.rstd + block * V), load(a.scale + block * V),
            load(a.bias + block * V)};
}

// Sums over a row in four chains, added to (s, t) by body(s, t, pixel).
template <class F>
INLINE void row_sums(int n, vec& s, vec& t, F body) {
    vec a[4] = {}, b[4] = {};
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        UNROLL for (int j = 0; j < 4; ++j) body(a[j], b[j], i + j);
    }
    for (; i < n; ++i) body(a[0], b[0], i);
    s = (a[0] + a[1]) + (a[2] + a[3]);
    t = (b[0] + b[1]) + (b[2] + b[3]);
}

// Mean and sum of squares about it, of one block of one image: row by row about the row's own mean,
// rows merged as Chan does.
static void moments_of_plane(const View& z, int image, int block, float* partial) {
    vec mean{}, squares{}, unused;
    const float n = float(z.width);
    for (int h = 0; h < z.height; ++h) {
        const float* row = pixel(z, image, block, h, 0);
        vec sum, m2;
        row_sums(z.width, sum, unused, [=](vec& s, vec&, int i) __attribute__((always_inline)) {
            s += load(row + i * V);
        });
        const vec centre = sum * (1.f / n);
        row_sums(z.width, m2, unused, [=](vec& s, vec&, int i) __attribute__((always_inline)) {
            const vec d = load(row + i * V) - centre;
            s += d * d;
        });
        const vec delta = centre - mean;
        const float before = float(h) / float(h + 1);  // share of the rows so far
        mean += delta * (1.f / float(h + 1));
        squares += m2 + delta * delta * (n * before);
    }
    store(partial, mean);
    store(partial + V, squares);
}

static void moments(const Norm& a, const Share& share) {
    const Range planes = part(a.z.images * a.z.blocks, share.index, share.count);
    for (int i = planes.begin; i < planes.end; ++i)
        moments_of_plane(a.z, i / a.z.blocks, i % a.z.blocks, a.partial + 2L * i * V);
}

// body(row, image, block, h) for each row of this share.
template <class F>
INLINE void each_row(const View& v, const Share& share, F body) {
    const Range rows = part(v.images * v.blocks * v.height, share.index, share.count);
    for (int i = rows.begin; i < rows.end; ++i)
        body(i / v.height / v.blocks, i / v.height % v.blocks, i % v.height);
}

static void norm_act(const Norm& a, const Share& share) {
    zero_border(a.y, share);
    with_activation(a.activation, [&](auto tag) __attribute__((always_inline)) {
        with_stores(a.y, [&](auto stores) __attribute__((always_inline)) {
            each_row(a.z, share, [&](int image, int block, int h) __attribute__((always_inline)) {
                const NormBlock c = norm_block(a, block);
                const float* z = pixel(a.z, image, block, h, 0);
                float* y = pixel(a.y, image, block, h, 0);
                for (int i = 0; i < a.z.width * V; i += V)
                    stores.put(y + i, activate<decltype(tag)::value>(c.u(load(z + i))));
            });
        });
    });
}

// Sums of g and of g * xhat over one block of one image.
static void norm_sums(const Norm& a, const Share& share) {
    const Range planes = part(a.z.images * a.z.blocks, share.index, share.count);
    with_activation(a.activation, [&](auto tag) __attribute__((always_inline)) {
        for (int p = planes.begin; p < planes.end; ++p) {
            const int image = p / a.z.blocks, block = p % a.z.blocks;
            const NormBlock c = norm_block(a, block);
            vec g_sum{}, gx_sum{};
            for (int h = 0; h < a.z.height; ++h) {
                const float* z = pixel(a.z, image, block, h, 0);
                const float* dy = pixel(a.dy, image, block, h, 0);
                vec s, t;
                row_sums(a.z.width, s, t,
                         [=](vec& g_, vec& gx_, int i) __attribute__((always_inline)) {
                             const vec x = c.xhat(load(z + i * V));
                             const vec f = slope<decltype(tag)::value>(x * c.scale + c.bias);
                             const vec g = load(dy + i * V) * f;
                             g_ += g;
                             gx_ += g * x;
                         });
                g_sum += s;
                gx_sum += t;
            }
            store(a.partial + 2L * p * V, g_sum);
            store(a.partial + 2L * p * V + V, gx_sum);
        }
    });
}

// dz = scale * rstd * (g - mean of g - xhat * mean of g * xhat)
static void norm_grad(const Norm& a, const Share& share) {
    zero_border(a.dz, share);
    with_activation(a.activation, [&](auto tag) __attribute__((always_inline)) {
        with_stores(a.dz, [&](auto stores) __attribute__((always_inline)) {
            each_row(a.z, share, [&](int image, int block, int h) __attribute__((always_inline)) {
                const NormBlock c = norm_block(a, block);
                const vec factor = c.scale * c.rstd, mean_g = load(a.mean_g + block * V);
                const vec mean_gx = load(a.mean_gx + block * V);
                const float* z = pixel(a.z, image, block, h, 0);
                const float* dy = pixel(a.dy, image, block, h, 0);
                float* dz = pixel(a.dz, image, block, h, 0);
                for (int i = 0; i < a.z.width * V; i += V) {
                    const vec x = c.xhat(load(z + i));
                    const vec g = load(dy + i) * slope<decltype(tag)::value>(x * c.scale + c.bias);
                    stores.put(dz + i, factor * (g - mean_g - x * mean_gx));
                }
            });
        });
    });
}
