// Convolution 3x3, stride 1, padding 1: one thread for each output (k, p, q).
// load(p) is *p; on the emulator it is counted.
__global__ void convolve(const float* x, const float* weight, float* y, int channels, int height,
                         int width, int filters) {
    const int output = int(blockIdx.x * blockDim.x + threadIdx.x);
    if (output >= filters * height * width) return;
    const int k = output / (height * width), p = output / width % height, q = output % width;
    float sum = 0;
    for (int c = 0; c < channels; ++c)
        for (int r = 0; r < 3; ++r)
            for (int s = 0; s < 3; ++s) {
                const int i = p + r - 1, j = q + s - 1;
                if (i < 0 || i >= height || j < 0 || j >= width) continue;
                sum += load(weight + ((k * channels + c) * 3 + r) * 3 + s) *
                       load(x + (c * height + i) * width + j);
            }
    store(y + output, sum);
}
