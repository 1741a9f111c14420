// Depthwise convolutions in training, plane by plane (one block of one image), so that what one
// pass leaves is still in cache when the next reads it:
//
//     forward     z = x * weight, and the moments of z
//     backward    dz in scratch memory, nowhere else; from it dx, and the plane's sums of
//                     grad_weight[t] = sum over p, q of dz[p,q] * x[p,q at tap t]

constexpr int SUM_TAPS = 9;  // sums in registers

static View plane_of(View v, int image, int block) {
    v.data = pixel(v, image, block, 0, 0);
    v.images = v.blocks = 1;
    return v;
}

// A plane of scratch memory.
static View scratch_plane(float* memory, int height, int width, int border) {
    View v{};
    v.images = v.blocks = 1, v.height = height, v.width = width, v.border = border;
    v.row = long(width + 2 * border) * V;
    v.block = v.image = v.row * (height + 2 * border);
    v.data = memory + border * (v.row + V);
    return v;
}

// How far taps reach beyond x, and those of dx beyond dz, on the side where they reach furthest.
static int reach_of_x(int x, int z, int kernel, int stride, int pad, int dilation) {
    return most(most(pad, 0), (z - 1) * stride + (kernel - 1) * dilation - pad - (x - 1));
}
static int reach_of_dz(int x, int z, int kernel, int stride, int pad, int dilation) {
    const int before = ((kernel - 1) * dilation - pad + stride - 1) / stride;
    return most(most(before, 0), (x - 1 + pad) / stride - (z - 1));
}
static int reach(const Conv& a, int (*one)(int, int, int, int, int, int)) {
    return most(one(a.x.height, a.y.height, a.kernel_h, a.stride_h, a.pad_h, a.dilation_h),
                one(a.x.width, a.y.width, a.kernel_w, a.stride_w, a.pad_w, a.dilation_w));
}
// The planes of x and dz as the taps need them; x is copied only where its own border is too small.
static View copy_of_x(const Conv& a, float* memory) {
    const int border = reach(a, reach_of_x);
    if (border > a.x.border) return scratch_plane(memory, a.x.height, a.x.width, border);
    View none{};
    return none;
}
static View scratch_dz(const Conv& a, float* memory) {
    return scratch_plane(memory, a.y.height, a.y.width, reach(a, reach_of_dz));
}
static long depthwise_scratch(const Depthwise& a) {
    return copy_of_x(a.conv, nullptr).image + scratch_dz(a.conv, nullptr).image;
}

static void copy_plane(const View& from, const View& to) {
    zero_border(to, {0, 1, nullptr});
    for (int h = 0; h < from.height; ++h) {
        const float* x = pixel(from, 0, 0, h, 0);
        float* y = pixel(to, 0, 0, h, 0);
        for (int i = 0; i < from.width * V; i += V) store(y + i, load(x + i));
    }
}
static View bordered_x(const Conv& a, int image, int block, float* memory) {
    const View x = plane_of(a.x, image, block), copy = copy_of_x(a, memory);
    if (!copy.data) return x;
    copy_plane(x, copy);
    return copy;
}

static void depthwise_forward(const Depthwise& a, const Share& share) {
    const View& z = a.conv.y;
    const int taps = a.conv.kernel_h * a.conv.kernel_w;
    const Range planes = part(z.images * z.blocks, share.index, share.count);
    for (int i = planes.begin; i < planes.end; ++i) {
        const int image = i / z.blocks, block = i % z.blocks;
        Conv plane = a.conv;
        plane.x = bordered_x(a.conv, image, block, share.scratch);
        plane.y = plane_of(z, image, block);
        plane.weight = static_cast<const float*>(a.conv.weight) + long(block) * taps * V;
        depthwise(plane, {0, 1, nullptr});
        if (a.moments) moments_of_plane(plane.y, 0, 0, a.moments + 2L * i * V);
    }
}

// The second pass of the norm's gradient over one plane, or a copy of dz where that is given.
static void write_dz(const Depthwise& a, int image, int block, const View& dz) {
    if (!a.norm) return copy_plane(plane_of(a.dz, image, block), dz);
    Norm n = *a.norm;
    n.z = plane_of(n.z, image, block), n.dy = plane_of(n.dy, image, block), n.dz = dz;
    const float** const arrays[] = {&n.mean, &n.rstd, &n.scale, &n.bias, &n.mean_g, &n.mean_gx};
    for (const float** each : arrays) *each += block * V;
    norm_grad(n, {0, 1, nullptr});
}

// T taps of one row: sums[t] += sum over its pixels of dz * x
template <int T>
static void sum_taps(const float* x, const long* taps, long step, const float* dz, int columns,
                     float* sums) {
    vec acc[T] = {};
    for (int q = 0; q < columns; ++q, x += step, dz += V) {
        const vec d = load(dz);
        UNROLL for (int t = 0; t < T; ++t) acc[t] += load(x + taps[t]) * d;
    }
    UNROLL for (int t = 0; t < T; ++t) store(sums + t * V, load(sums + t * V) + acc[t]);
}
constexpr decltype(&sum_taps<1>) sums_of_taps[] = {
    nullptr,     sum_taps<1>, sum_taps<2>, sum_taps<3>, sum_taps<4>,
    sum_taps<5>, sum_taps<6>, sum_taps<7>, sum_taps<8>, sum_taps<SUM_TAPS>};

// The plane's sums of the gradient by the weight: [t][V]
static void weight_sums(const Conv& a, const View& x, const View& dz, float* sums) {
    long taps[MAX_TAPS];
    const int count = a.kernel_h * a.kernel_w, parts = ceil_div(count, SUM_TAPS);
    for (int t = 0; t < count; ++t) {
        taps[t] = t / a.kernel_w * a.dilation_h * x.row + t % a.kernel_w * a.dilation_w * V;
        store(sums + t * V, vec{});
    }
    for (int p = 0; p < dz.height; ++p)
        for (int i = 0; i < parts; ++i) {
            const Range mine = part(count, i, parts);
            sums_of_taps[mine.end - mine.begin](
                pixel(x, 0, 0, p * a.stride_h - a.pad_h, -a.pad_w), taps + mine.begin,
                long(a.stride_w) * V, pixel(dz, 0, 0, p, 0), dz.width, sums + mine.begin * V);
        }
}

// The taps that reach the pixels of dx whose row and column leave the remainders (h, w) when
// divided by the strides, and their weights. Taps lie at offsets from dz[row / stride].
struct TapsOf {
    int count = 0;
    long at[MAX_TAPS];
    float weight[MAX_TAPS * V];

    TapsOf(const Conv& a, const View& dz, const float* w, int h, int w_) {
        for (int r = 0; r < a.kernel_h; ++r)
            for (int s = 0; s < a.kernel_w; ++s) {
                const int i = h + a.pad_h - r * a.dilation_h, j = w_ + a.pad_w - s * a.dilation_w;
                if (i % a.stride_h || j % a.stride_w) continue;
                at[count] = i / a.stride_h * dz.row + j / a.stride_w * V;
                store(weight + count++ * V, load(w + (r * a.kernel_w + s) * V));
            }
    }
};

static void grad_x_of_plane(const Conv& a, const float* weight, const View& dz, const View& dx) {
    zero_border(dx, {0, 1, nullptr});
    for (int parity = 0; parity < a.stride_h * a.stride_w; ++parity) {
        const int h0 = parity / a.stride_w, w0 = parity % a.stride_w;
        const TapsOf taps(a, dz, weight, h0, w0);
        const Tiling columns = tile_row(ceil_div(dx.width - w0, a.stride_w), DEPTHWISE_PIXELS);
        const long y_step = long(a.stride_w) * V;
        for (int h = h0; h < dx.height; h += a.stride_h) {
            const float* from = pixel(dz, 0, 0, h / a.stride_h, 0);
            float* to = pixel(dx, 0, 0, h, w0);
            for (int j = 0; j < columns.count; ++j) {
                const int n = columns.at(j);
                depthwise_tiles[n](from, taps.at, taps.count, V, taps.weight, vec{}, 1.f, nullptr,
                                   to, y_step, nullptr);
                from += n * V, to += n * y_step;
            }
        }
    }
}

static void depthwise_backward(const Depthwise& a, const Share& share) {
    const View& z = a.conv.y;
    const int taps = a.conv.kernel_h * a.conv.kernel_w;
    const View dz = scratch_dz(a.conv, share.scratch);
    const Range planes = part(z.images * z.blocks, share.index, share.count);
    for (int i = planes.begin; i < planes.end; ++i) {
        const int image = i / z.blocks, block = i % z.blocks;
        write_dz(a, image, block, dz);
        if (a.sums) {
            const View x = bordered_x(a.conv, image, block, share.scratch + dz.image);
            weight_sums(a.conv, x, dz, a.sums + long(i) * taps * V);
        }
        if (a.dx.data) {
            const float* weight = static_cast<const float*>(a.conv.weight) + long(block) * taps * V;
            grad_x_of_plane(a.conv, weight, dz, plane_of(a.dx, image, block));
        }
    }
}
