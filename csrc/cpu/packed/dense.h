// Dense weights into the packed layouts, in single precision and for either direction: training
// does it once a step. Outputs and inputs are filled up with zeros to whole blocks.

INLINE const float* cell(const Dense& w, int o, int i) {
    return o < w.outputs && i < w.inputs ? w.data + o * w.output_step + i * w.input_step : nullptr;
}

// V inputs of V outputs of one tap, `row` floats from an input to the next. Of a kernel of one cell
// the outputs lie together in memory in the gradient by x, the inputs forward.
INLINE void pack_square(const Dense& w, int o, int i, int tap, float* to, long row) {
    const float* from = w.data + o * w.output_step + i * w.input_step + w.taps[tap];
    if (o + V > w.outputs || i + V > w.inputs) {
        for (int d = 0; d < V; ++d)
            for (int j = 0; j < V; ++j)
                to[d * row + j] = o + j < w.outputs && i + d < w.inputs
                                      ? from[j * w.output_step + d * w.input_step]
                                      : 0.f;
    } else if (w.output_step == 1) {
        for (int d = 0; d < V; ++d) store(to + d * row, load(from + d * w.input_step));
    } else {
        for (int d = 0; d < V; ++d) {
            vec line;
            UNROLL for (int j = 0; j < V; ++j) line[j] = from[j * w.output_step + d * w.input_step];
            store(to + d * row, line);
        }
    }
}

static void pack_dense(const Dense& w, float* packed, const Share& share) {
    const int o_blocks = ceil_div(w.outputs, V), i_blocks = ceil_div(w.inputs, V);
    const int panels = ceil_div(o_blocks, 2), taps = w.tap_count;
    const Range mine = part(panels * i_blocks, share.index, share.count);
    for (int unit = mine.begin; unit < mine.end; ++unit) {
        const int panel = unit / i_blocks, block = unit % i_blocks;
        const int width = V * least(2, o_blocks - 2 * panel);
        float* out = packed + (long(panel) * 2 * i_blocks * V + long(block) * width) * V * taps;
        for (int t = 0; t < taps; ++t)
            for (int j = 0; j < width; j += V)
                pack_square(w, panel * 2 * V + j, block * V, t, out + t * V * width + j, width);
    }
}

// -> [K/2V][C * taps][2V]
static void pack_stem_dense(const Dense& w, float* packed) {
    const int blocks = ceil_div(w.outputs, V);
    for (int block = 0; block < blocks; block += 2) {
        const int width = V * least(2, blocks - block);
        for (int c = 0; c < w.inputs; ++c)
            for (int t = 0; t < w.tap_count; ++t)
                for (int j = 0; j < width; ++j) {
                    const float* from = cell(w, block * V + j, c);
                    *packed++ = from ? from[w.taps[t]] : 0.f;
                }
    }
}

// V outputs of one input: 9 taps -> WEIGHTS^2, `plane` apart.
template <class F>
static void pack_winograd_cell(const Dense& w, int o, int i, float* out, long plane) {
    constexpr int E = F::WEIGHTS;
    float taps[9][V];
    for (int j = 0; j < V; ++j) {
        const float* from = cell(w, o + j, i);
        UNROLL for (int t = 0; t < 9; ++t) taps[t][j] = from ? from[w.taps[t]] : 0.f;
    }
    vec half[3][E];
    UNROLL for (int s = 0; s < 3; ++s) {
        vec g[3];
        UNROLL for (int r = 0; r < 3; ++r) g[r] = load(taps[3 * r + s]);
        F::template weight<float>(g, half[s]);
    }
    UNROLL for (int e = 0; e < E; ++e) {
        vec g[3], u[E];
        UNROLL for (int s = 0; s < 3; ++s) g[s] = half[s][e];
        F::template weight<float>(g, u);
        UNROLL for (int f = 0; f < E; ++f) store(out + (e * E + f) * plane, u[f]);
    }
}

static void pack_winograd_dense(const Dense& w, const Conv& a, float* packed, const Share& share) {
    const int o_blocks = ceil_div(w.outputs, V), inputs = ceil_div(w.inputs, V) * V;
    const Range mine = part(ceil_div(o_blocks, 2) * inputs, share.index, share.count);
    with_filtering(a, [&](auto f) {
        for (int unit = mine.begin; unit < mine.end; ++unit) {
            const int panel = unit / inputs, i = unit % inputs;
            const int blocks = least(2, o_blocks - 2 * panel);
            float* out = packed + long(panel) * 2 * V * inputs * f.WEIGHTS * f.WEIGHTS +
                         long(i) * blocks * V;
            for (int b = 0; b < blocks; ++b)
                pack_winograd_cell<decltype(f)>(w, (2 * panel + b) * V, i, out + b * V,
                                                long(inputs) * blocks * V);
        }
    });
}
