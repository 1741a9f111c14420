// The matrix product in blocks: a panel of columns that stays in the cache, and a tile of outputs
// that stays in registers.
#include <cstring>
#include <vector>

constexpr int LANES = 16, WIDE = 2 * LANES, TALL = 8;  // a tile: 8 filters x 32 outputs
typedef float Vector __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));

// The columns of WIDE outputs from `first` on: panel[(c,r,s)][WIDE].
static void fill_panel(const float* x, float* panel, int channels, int height, int width,
                       int first) {
    for (int c = 0; c < channels; ++c)
        for (int r = 0; r < 3; ++r)
            for (int s = 0; s < 3; ++s)
                for (int n = 0; n < WIDE; ++n) {
                    const int p = (first + n) / width, q = (first + n) % width;
                    const int i = p + r - 1, j = q + s - 1;
                    const bool inside = i >= 0 && i < height && j >= 0 && j < width && p < height;
                    *panel++ = inside ? x[(c * height + i) * width + j] : 0;
                }
}

// 16 sums of vectors live in registers; each step loads 2 vectors and 8 numbers for 16 products.
static void tile(const float* weight, const float* panel, float out[TALL][WIDE], int depth) {
    Vector sum[TALL][2] = {};
    for (int l = 0; l < depth; ++l, weight += TALL, panel += WIDE) {
        const Vector low = *(const Vector*)panel, high = *(const Vector*)(panel + LANES);
        for (int k = 0; k < TALL; ++k) {
            sum[k][0] += weight[k] * low;
            sum[k][1] += weight[k] * high;
        }
    }
    std::memcpy(out, sum, sizeof(sum));
}

extern "C" void convolve(const float* x, const float* weight, float* y, int channels, int height,
                         int width, int filters) {
    const int depth = channels * 9, outputs = height * width;
    const int blocks = (filters + TALL - 1) / TALL;
    std::vector<float> packed(long(blocks) * depth * TALL, 0.f);  // [block][depth][TALL]
    for (int k = 0; k < filters; ++k)
        for (int l = 0; l < depth; ++l)
            packed[(long(k / TALL) * depth + l) * TALL + k % TALL] = weight[k * depth + l];
    std::vector<float> panel(long(depth) * WIDE);
    float out[TALL][WIDE];
    for (int first = 0; first < outputs; first += WIDE) {
        fill_panel(x, panel.data(), channels, height, width, first);
        const int count = outputs - first < WIDE ? outputs - first : WIDE;
        for (int block = 0; block < blocks; ++block) {
            tile(&packed[long(block) * depth * TALL], panel.data(), out, depth);
            for (int k = block * TALL; k < filters && k < (block + 1) * TALL; ++k)
                std::memcpy(y + long(k) * outputs + first, out[k % TALL], count * sizeof(float));
        }
    }
}
