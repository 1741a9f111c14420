// Convolution 3x3, stride 1, padding 1, as its equation stands: one sum for each output.
//   y[k,p,q] = sum over c,r,s of weight[k,c,r,s] * x[c, p + r - 1, q + s - 1]
extern "C" void convolve(const float* x, const float* weight, float* y, int channels, int height,
                         int width, int filters) {
    for (int k = 0; k < filters; ++k)
        for (int p = 0; p < height; ++p)
            for (int q = 0; q < width; ++q) {
                float sum = 0;
                for (int c = 0; c < channels; ++c)
                    for (int r = 0; r < 3; ++r)
                        for (int s = 0; s < 3; ++s) {
                            const int i = p + r - 1, j = q + s - 1;
                            if (i < 0 || i >= height || j < 0 || j >= width) continue;
                            sum += weight[((k * channels + c) * 3 + r) * 3 + s] *
                                   x[(c * height + i) * width + j];
                        }
                y[(k * height + p) * width + q] = sum;
            }
}
