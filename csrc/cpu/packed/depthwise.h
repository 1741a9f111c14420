// Depthwise convolution: every channel has its own r x s filter, so a vector of V channels is
// multiplied element by element. Bound by reading x, not by arithmetic.

// step, y_step: from a pixel of x, y to the next one taken
template <int P>
static void depthwise_tile(const elem* x, const long* taps, int tap_count, long step,
                           const float* w, vec bias, float slope, const elem* residual, elem* y,
                           long y_step, float* sums) {
    vec acc[P];
    UNROLL for (int p = 0; p < P; ++p) acc[p] = bias;
    for (int t = 0; t < tap_count; ++t) {
        const vec wt = load(w + t * V);
        UNROLL for (int p = 0; p < P; ++p) acc[p] += wt * load(x + taps[t] + p * step);
    }
    UNROLL for (int p = 0; p < P; ++p) {
        vec v = larger(acc[p], slope * acc[p]);
        if (sums) {
            store(sums + p * V, v);
            continue;
        }
        if (residual) v += load(residual + p * V);
        store(y + p * y_step, v);
    }
}

constexpr int DEPTHWISE_PIXELS = 6;
constexpr decltype(&depthwise_tile<1>) depthwise_tiles[] = {
    nullptr,           depthwise_tile<1>, depthwise_tile<2>, depthwise_tile<3>,
    depthwise_tile<4>, depthwise_tile<5>, depthwise_tile<6>};

static void depthwise(const Conv& a, const Share& share) {
    zero_border(a.y, share);
    long taps[MAX_TAPS];
    int count = 0;
    for (int r = 0; r < a.kernel_h; ++r)
        for (int s = 0; s < a.kernel_w; ++s)
            taps[count++] = r * a.dilation_h * a.x.row + long(s) * a.dilation_w * V;
    float sums[DEPTHWISE_PIXELS * V];  // what another activation is computed from
    const bool in_tile = sloped(a.activation);
    const float slope = in_tile ? slope_of(a.activation) : 1.f;
    const Tiling columns = tile_row(a.y.width, DEPTHWISE_PIXELS);
    const long step = long(a.stride_w) * V;
    const Range rows = part(a.y.images * a.y.blocks * a.y.height, share.index, share.count);
    for (int i = rows.begin; i < rows.end; ++i) {
        const int h = i % a.y.height, block = i / a.y.height % a.y.blocks;
        const int image = i / a.y.height / a.y.blocks;
        const elem* x = pixel(a.x, image, block, h * a.stride_h - a.pad_h, -a.pad_w);
        elem* y = pixel(a.y, image, block, h, 0);
        const elem* residual = a.add ? pixel(a.residual, image, block, h, 0) : nullptr;
        const float* w = static_cast<const float*>(a.weight) + long(block) * count * V;
        const vec bias = load(a.bias + block * V);
        for (int j = 0, q = 0; j < columns.count; q += columns.at(j), ++j) {
            const int p = columns.at(j);
            const elem* added = residual ? residual + q * V : nullptr;
            depthwise_tiles[p](x + q * step, taps, count, step, w, bias, slope, added, y + q * V, V,
                               in_tile ? nullptr : sums);
            if (!in_tile) finish(y + q * V, sums, added, p, a.activation);
        }
    }
}
