// Pointwise sums and products, copies (upsampling, channel selection), and the way in and out of
// the packed layout.

static void pointwise(const Pointwise& a, const Share& share) {
    zero_border(a.y, share);
    const Range rows = part(a.y.images * a.y.blocks * a.y.height, share.index, share.count);
    for (int i = rows.begin; i < rows.end; ++i) {
        const int h = i % a.y.height, block = i / a.y.height % a.y.blocks;
        const int image = i / a.y.height / a.y.blocks;
        const elem* pa = pixel(a.a, image, block, h, 0);
        const bool channel = a.spread == Spread::channel, one = a.spread == Spread::pixel;
        const elem* pb = pixel(a.b, image, channel ? 0 : block, one ? 0 : h, 0);
        elem* y = pixel(a.y, image, block, h, 0);
        const int step = one ? 0 : V;
        with_activation(a.activation, [&](auto tag) __attribute__((always_inline)) {
            for (int w = 0; w < a.y.width; ++w) {
                const vec u = load(pa + w * V);
                const vec v = channel ? splat(widen(pb[w * V])) : load(pb + w * step);
                store(y + w * V, activate<decltype(tag)::value>(a.multiply ? u * v : u + v));
            }
        });
    }
}

// One row of one block of a Copy: a source of the same channels, or channel by channel.
static void copy_row(const Copy& a, int image, int block, int h) {
    elem* y = pixel(a.y, image, block, h, 0);
    if (!a.channel) {
        const elem* x = pixel(a.x, image, block, h / a.scale, 0);
        if (a.scale == 2) {
            for (int w = 0; w < a.y.width; ++w) store(y + w * V, load(x + (w >> 1) * V) * a.gain);
            return;
        }
        for (int w = 0; w < a.y.width; ++w) store(y + w * V, load(x + w / a.scale * V) * a.gain);
        return;
    }
    for (int c = 0; c < V; ++c) {
        const int from = a.channel[block * V + c];
        const elem* x = from < 0 ? nullptr : pixel(a.x, image, from / V, h / a.scale, 0) + from % V;
        for (int w = 0; w < a.y.width; ++w)
            y[w * V + c] = x ? narrow(widen(x[long(w / a.scale) * V]) * a.gain) : narrow(0.f);
    }
}

static void copy(const Copy& a, const Share& share) {
    zero_border(a.y, share);
    const Range rows = part(a.y.images * a.y.blocks * a.y.height, share.index, share.count);
    for (int i = rows.begin; i < rows.end; ++i)
        copy_row(a, i / a.y.height / a.y.blocks, i / a.y.height % a.y.blocks, i % a.y.height);
}

static void pack(const Convert& a, const Share& share) {
    const View& y = a.packed;
    const Planar& x = a.planar;
    zero_border(y, share);
    const Range rows = part(y.images * y.blocks * y.height, share.index, share.count);
    for (int i = rows.begin; i < rows.end; ++i) {
        const int h = i % y.height, block = i / y.height % y.blocks,
                  image = i / y.height / y.blocks;
        elem* out = pixel(y, image, block, h, 0);
        for (int c = 0; c < V; ++c) {
            const int channel = block * V + c;
            const bool exists = channel < x.channels;
            const float* in =
                exists ? x.data + ((1L * image * x.channels + channel) * x.height + h) * x.width
                       : nullptr;
            for (int w = 0; w < y.width; ++w) out[w * V + c] = narrow(in ? in[w] : 0.f);
        }
    }
}

// logistic of n floats in place; what is left over of a vector goes through a padded copy.
static void logistic_row(float* y, int n, float scale, float shift) {
    int i = 0;
    for (; i + V <= n; i += V) store(y + i, logistic(load(y + i)) * scale + shift);
    if (i == n) return;
    float rest[V] = {};
    for (int j = i; j < n; ++j) rest[j - i] = y[j];
    store(rest, logistic(load(rest)) * scale + shift);
    for (int j = i; j < n; ++j) y[j] = rest[j - i];
}

static void unpack(const Convert& a, const Share& share) {
    const View& x = a.packed;
    const Planar& y = a.planar;
    // V planes at a time, row by row: the channels of one block are read while they are near
    const int groups = ceil_div(y.channels, V);
    const Range rows = part(y.images * groups * y.height, share.index, share.count);
    for (int i = rows.begin; i < rows.end; ++i) {
        const int h = i % y.height, group = i / y.height % groups, image = i / y.height / groups;
        for (int c = group * V; c < least((group + 1) * V, y.channels); ++c) {
            const int from = a.channel ? a.channel[c] : c;
            const elem* in = pixel(x, image, from / V, h, 0) + from % V;
            float* out = y.data + ((1L * image * y.channels + c) * y.height + h) * y.width;
            for (int w = 0; w < y.width; ++w) out[w] = widen(in[w * V]);
            if (!a.logistic) continue;
            const float used = a.logistic[3 * c], scale = a.logistic[3 * c + 1];
            const float shift = a.logistic[3 * c + 2];
            if (used != 0.f)
                logistic_row(out, y.width, scale, shift);
            else if (scale != 1.f || shift != 0.f)
                for (int w = 0; w < y.width; ++w) out[w] = out[w] * scale + shift;
        }
    }
}
