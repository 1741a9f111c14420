// Packed kernels that only training needs: gradients, batch normalisation over the mini-batch, and
// weights rearranged for each step. Layouts, shares and borders are those of packed.h; gradients by
// an activation have its layout, border included.
#pragma once

#include "packed.h"

namespace yolo::packed {

// A dense (K, C, r, s) weight as one convolution needs it: element (output o, input i, tap t)
// lies at data[o * output_step + i * input_step + taps[t]]. The gradient by the input is the
// convolution with outputs and inputs exchanged and taps in another order.
constexpr int MOST_TAPS = 121;  // of a dense convolution
struct Dense {
    const float* data;
    int outputs, inputs, tap_count;
    long output_step, input_step;
    int taps[MOST_TAPS];
};

// The gradient by a weight, grad[k, c, t] = sum over pixels of dy[k] x[c at tap t]. Sums lie as the
// packed weight of Conv does: direct [K/2V][C/V][t][V][2V], stem [K/V][t][V].
struct GradWeight {
    View x, dy;
    Planar image;  // what a stem reads instead of x
    float* sums;
    float* grad;  // dense (K, C, r, s)
    int filters, channels;
    int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
    Caches caches;
    // Winograd only: tiles transformed at a time, the first of them, and the transformed tiles
    int tiles, first_tile;
    Mosaic mosaic;
    float *x_tiles, *dy_tiles;
};

// A map y put together of others: pixel (h, w) is that of maps[h % stride_h * stride_w + w %
// stride_w] at (h / stride_h, w / stride_w), or zero where that map has no data.
struct Interleaved {
    const View* maps;
    View y;
    int stride_h, stride_w;
};

// One channel's value of each array is at its physical index.
struct Norm {
    View z, y;  // y = activation(scale * xhat + bias), xhat = (z - mean) * rstd
    Activation activation;
    const float *mean, *rstd, *scale, *bias;
    float* partial;  // [image * block][2][V]: mean and squares about it, or sums of g and g * xhat
    View dy, dz;
    const float *mean_g, *mean_gx;  // means of g = dy f' and of g * xhat; zero if z's are constants
};

// A depthwise convolution z = x * weight, and its passes that are made plane by plane.
struct Depthwise {
    Conv conv;         // y is z, the bias zero
    float* moments;    // forward: like `partial` of Norm; null: not wanted
    const Norm* norm;  // backward: what dz is computed from; null: it is given
    View dz;
    View dx;      // without data: not wanted
    float* sums;  // of the gradient by the weight, [image * block][t][V]; null: not wanted
};

// dx = dy * f'(x)
struct Slope {
    View x, dy, dx;
    Activation activation;
};

// The gradients of y = a * b: da = dy * b and, where it has data, db = dy * a, summed over what b
// is spread over. a has so many planar channels.
struct Product {
    View a, b, dy, da, db;
    Spread spread;
    int channels;
};

// y = x * factor where a random number of 24 bits is at least `threshold`, 0 elsewhere. The number
// of a value depends on the key and on its place among `channels` planar channels alone.
struct Drop {
    View x, y;
    int channels;
    unsigned key[2];
    int threshold;
    float factor;
};

// [reorg]: the same values as C s^2 small channels and as C of s times the height and width; sizes
// of its walk, of whose channels, height and width each of the two may be.
struct Reorg {
    View small, large;
    int small_channels, channels, height, width, stride;
};

// Channel blocks first .. first + x.blocks of a sum; factor: of x's channels, a pixel of each
// image, 1 without data.
struct Term {
    View x, factor;
    int first;
};

struct TrainingKernels {
    void (*pack_dense)(const Dense&, float* packed, const Share&);  // -> direct
    void (*pack_winograd_dense)(const Dense&, const Conv&, float* packed, const Share&);
    void (*pack_stem_dense)(const Dense&, float* packed);
    // grad_weight: sums of each share's part, then all of them -> `grad`
    void (*grad_weight)(const GradWeight&, const Share&);
    void (*grad_weight_collect)(const GradWeight&, int shares, const Share&);
    void (*stem_grad_weight)(const GradWeight&, const Share&);
    void (*stem_grad_weight_collect)(const GradWeight&, int shares);
    void (*winograd_grad_tiles)(const GradWeight&, const Share&);
    void (*winograd_grad_weight)(const GradWeight&, bool resume, bool last, const Share&);
    void (*interleave)(const Interleaved&, const Share&);
    void (*depthwise_forward)(const Depthwise&, const Share&);
    void (*depthwise_backward)(const Depthwise&, const Share&);
    void (*moments)(const Norm&, const Share&);
    void (*norm_act)(const Norm&, const Share&);
    void (*norm_sums)(const Norm&, const Share&);
    void (*norm_grad)(const Norm&, const Share&);
    void (*max_pool_grad)(const Pool&, const View& dx, const View& dy, const Share&);
    void (*average_pool_grad)(const View& dx, const View& dy, const Share&);
    void (*activate_map)(const View& x, const View& y, Activation, const Share&);
    void (*drop)(const Drop&, const Share&);
    void (*slope_product)(const Slope&, const Share&);
    void (*product_grad)(const Product&, const Share&);
    void (*prelu)(const Pointwise&, const Share&);  // b: the slopes, a pixel of each image
    void (*prelu_grad)(const Product&, const Share&);
    void (*reorg_to_small)(const Reorg&, const Share&);
    void (*reorg_to_large)(const Reorg&, const Share&);
    void (*block_sums)(const Copy&, const Share&);  // the gradient of an enlargement
    // y = sum of the terms, borders included; zero where none reaches
    void (*sum)(const Term*, int count, const View& y, const Share&);
    // floats
    long (*grad_weight_sums)(const GradWeight&, int shares);
    long (*stem_grad_weight_sums)(const GradWeight&, int shares);
    long (*stem_grad_weight_scratch)(const GradWeight&);
    long (*winograd_grad_sums)(const GradWeight&);
    long (*depthwise_scratch)(const Depthwise&);  // of one worker
};

}  // namespace yolo::packed
