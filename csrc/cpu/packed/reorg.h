// The order of [reorg] (../reorg.h), row by row: a row of a small channel is every s-th value of a
// row of a large one. All values of an image have one number, whatever their tensor's sizes are.

struct ReorgRow {
    int channel, row, column;  // of its first value
};
INLINE ReorgRow reorg_row(const View& v, int number) {
    return {number / v.width / v.height, number / v.width % v.height, number % v.width};
}

INLINE ReorgRow row_in_large(const Reorg& a, int channel, int row) {
    const int s = a.stride, number = (channel * a.small.height + row) * a.small.width;
    const int line = number / a.width, map = line / a.height, o = map / a.channels;
    const int upper = map % a.channels * a.height + line % a.height;
    return reorg_row(a.large, ((upper * s + o / s) * a.width + number % a.width) * s + o % s);
}

// Of the values column, column + s, ... of a row.
INLINE ReorgRow row_in_small(const Reorg& a, int channel, int row, int column) {
    const int s = a.stride, number = (channel * a.large.height + row) * a.large.width + column;
    const int line = number / s / a.width, upper = line / s, o = line % s * s + number % s;
    const int map = o * a.channels + upper / a.height;
    return reorg_row(a.small, (map * a.height + upper % a.height) * a.width + number / s % a.width);
}

// n values of one lane
INLINE void copy_lane(const float* x, long x_step, float* y, long y_step, int n) {
    for (int i = 0; i < n; ++i) y[i * y_step] = x[i * x_step];
}

// Calls body(channel, lane) for the channels of a block; the lanes after them are set to zero.
template <class F>
INLINE void each_lane(const View& y, int channels, int image, int block, int row, F body) {
    float* to = pixel(y, image, block, row, 0);
    for (int lane = 0; lane < V; ++lane) {
        if (block * V + lane < channels)
            body(block * V + lane, to + lane);
        else
            for (int i = 0; i < y.width; ++i) to[i * V + lane] = 0.f;
    }
}

static void reorg_to_small(const Reorg& a, const Share& share) {
    zero_border(a.small, share);
    each_row(a.small, share, [&](int image, int block, int row) {
        each_lane(a.small, a.small_channels, image, block, row, [&](int channel, float* to) {
            const ReorgRow at = row_in_large(a, channel, row);
            const float* from = pixel(a.large, image, at.channel / V, at.row, at.column);
            copy_lane(from + at.channel % V, long(a.stride) * V, to, V, a.small.width);
        });
    });
}

static void reorg_to_large(const Reorg& a, const Share& share) {
    zero_border(a.large, share);
    const int channels = a.small_channels / (a.stride * a.stride);
    each_row(a.large, share, [&](int image, int block, int row) {
        each_lane(a.large, channels, image, block, row, [&](int channel, float* to) {
            for (int column = 0; column < a.stride; ++column) {
                const ReorgRow at = row_in_small(a, channel, row, column);
                const float* from = pixel(a.small, image, at.channel / V, at.row, at.column);
                copy_lane(from + at.channel % V, V, to + column * V, long(a.stride) * V,
                          a.small.width);
            }
        });
    });
}
