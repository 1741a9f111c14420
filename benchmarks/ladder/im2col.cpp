// The same convolution as one matrix product: y = weight * columns.
#include <vector>

// columns[(c,r,s)][(p,q)] = x[c, p + r - 1, q + s - 1], 0 outside of the image.
static void im2col(const float* x, float* columns, int channels, int height, int width) {
    for (int c = 0; c < channels; ++c)
        for (int r = 0; r < 3; ++r)
            for (int s = 0; s < 3; ++s)
                for (int p = 0; p < height; ++p)
                    for (int q = 0; q < width; ++q) {
                        const int i = p + r - 1, j = q + s - 1;
                        const bool inside = i >= 0 && i < height && j >= 0 && j < width;
                        *columns++ = inside ? x[(c * height + i) * width + j] : 0;
                    }
}

// The innermost loop runs along rows of both matrices: the compiler turns it into vectors.
static void multiply(const float* a, const float* b, float* y, int rows, int depth, int columns) {
    for (int i = 0; i < rows; ++i) {
        float* out = y + long(i) * columns;
        for (int j = 0; j < columns; ++j) out[j] = 0;
        for (int l = 0; l < depth; ++l) {
            const float factor = a[i * depth + l];
            const float* row = b + long(l) * columns;
            for (int j = 0; j < columns; ++j) out[j] += factor * row[j];
        }
    }
}

extern "C" void convolve(const float* x, const float* weight, float* y, int channels, int height,
                         int width, int filters) {
    std::vector<float> columns(long(channels) * 9 * height * width);
    im2col(x, columns.data(), channels, height, width);
    multiply(weight, columns.data(), y, filters, channels * 9, height * width);
}
