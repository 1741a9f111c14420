// The gradient by a stem's weight: x is the planar image, and the sums of a register tile are taps
// of one channel.

constexpr int STEM_TAPS = 9;  // in a register tile, at most

template <int T>
static void stem_outer(const float* x, const long* taps, int step, const float* dy, int columns,
                       float* sums) {
    vec acc[T];
    UNROLL for (int t = 0; t < T; ++t) acc[t] = load(sums + t * V);
    for (int q = 0; q < columns; ++q, x += step, dy += V) {
        const vec d = load(dy);
        UNROLL for (int t = 0; t < T; ++t) acc[t] += splat(x[taps[t]]) * d;
    }
    UNROLL for (int t = 0; t < T; ++t) store(sums + t * V, acc[t]);
}
constexpr decltype(&stem_outer<1>) stem_outers[] = {
    nullptr,       stem_outer<1>, stem_outer<2>, stem_outer<3>, stem_outer<4>,
    stem_outer<5>, stem_outer<6>, stem_outer<7>, stem_outer<8>, stem_outer<STEM_TAPS>};

// The stem as a Conv, for the strip of the image that a worker copies with a border.
static Conv stem_of(const GradWeight& a) {
    Conv conv{};
    conv.image = a.image, conv.caches = a.caches;
    conv.kernel_h = a.kernel_h, conv.kernel_w = a.kernel_w;
    conv.stride_h = a.stride_h, conv.stride_w = a.stride_w;
    conv.pad_h = a.pad_h, conv.pad_w = a.pad_w;
    conv.dilation_h = a.dilation_h, conv.dilation_w = a.dilation_w;
    return conv;
}
static long stem_grad_size(const GradWeight& a) {
    return long(a.dy.blocks) * V * a.image.channels * a.kernel_h * a.kernel_w;
}
static long stem_grad_weight_sums(const GradWeight& a, int shares) {
    return shares * stem_grad_size(a);
}
static long stem_grad_weight_scratch(const GradWeight& a) {
    return stem_scratch(stem_of(a));
}

static void stem_grad_weight(const GradWeight& a, const Share& share) {
    const Conv conv = stem_of(a);
    const int strip_rows = stem_strip_rows(conv);
    const int count = a.kernel_h * a.kernel_w, parts = ceil_div(count, STEM_TAPS);
    const long row = stem_row(conv), size = stem_grad_size(a);
    float* sums = a.sums + share.index * size;
    for (long i = 0; i < size; i += V) store(sums + i, vec{});
    const Range rows = part(a.dy.images * a.dy.height, share.index, share.count);
    for (int row0 = rows.begin; row0 < rows.end;) {
        const int image = row0 / a.dy.height, h0 = row0 % a.dy.height;
        const int n = least(least(strip_rows, rows.end - row0), a.dy.height - h0);
        const int input_rows = stem_strip_input(conv, n);
        copy_strip(conv, image, h0 * a.stride_h - a.pad_h, input_rows, share.scratch);
        long taps[MOST_TAPS];
        for (int t = 0; t < count; ++t)
            taps[t] = t / a.kernel_w * a.dilation_h * row + t % a.kernel_w * a.dilation_w;
        for (int block = 0; block < a.dy.blocks; ++block)
            for (int c = 0; c < a.image.channels; ++c)
                for (int j = 0; j < parts; ++j) {
                    const Range mine = part(count, j, parts);
                    for (int i = 0; i < n; ++i)
                        stem_outers[mine.end - mine.begin](
                            share.scratch + (long(c) * input_rows + i * a.stride_h) * row,
                            taps + mine.begin, a.stride_w, pixel(a.dy, image, block, h0 + i, 0),
                            a.dy.width,
                            sums + ((long(block) * a.image.channels + c) * count + mine.begin) * V);
                }
        row0 += n;
    }
}

static void stem_grad_weight_collect(const GradWeight& a, int shares) {
    const long size = stem_grad_size(a), depth = long(a.channels) * a.kernel_h * a.kernel_w;
    for (int i = 1; i < shares; ++i)
        for (long j = 0; j < size; j += V)
            store(a.sums + j, load(a.sums + j) + load(a.sums + i * size + j));
    for (int k = 0; k < a.filters; ++k)
        for (long t = 0; t < depth; ++t)
            a.grad[k * depth + t] = a.sums[(k / V * depth + t) * V + k % V];
}
