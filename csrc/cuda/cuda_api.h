// The CUDA kernels as plain functions: pointers, shapes, a stream. Nothing here allocates, waits
// or knows Python or PyTorch. Each function returns 0 or a status; yolo_cuda_message explains it.
// Compiled for the emulator the same functions take pointers to ordinary memory.
#pragma once
#include <cstdint>

#include "conv_shape.h"

#define YOLO_CUDA_API extern "C" __attribute__((visibility("default")))

enum YoloType : int { YOLO_FLOAT32, YOLO_FLOAT64, YOLO_BFLOAT16, YOLO_FLOAT16 };
enum YoloPass : int { YOLO_FORWARD, YOLO_GRAD_X, YOLO_GRAD_WEIGHT };
// Statuses of our own; those from 1 on are CUDA's.
enum YoloStatus : int {
    YOLO_OK = 0,
    YOLO_BAD_SHAPE = -1,
    YOLO_BAD_TYPE = -2,
    YOLO_WORKSPACE_TOO_SMALL = -3,
    YOLO_NOT_ALIGNED = -4,
    YOLO_EMULATOR_FAILED = -5
};

// x and y are gradients where the pass says so. bias: one value per filter, or null.
struct YoloConv {
    ConvShape shape;
    YoloType type;  // of x, weight and y
    void* x;
    Strides x_strides;
    void* weight;
    void* bias;
    void* y;
    Strides y_strides;
    void* workspace;
    int64_t workspace_bytes;
    // conv_implicit alone: y = activation(scale * conv + bias) + residual, each optional; grad_x is
    // that of the convolution + residual.
    const float* scale;
    const void* residual;
    int64_t residual_pitch;  // elements from pixel to pixel
    int activation;          // number of an activation; LINEAR where none
    int splits;              // of the sum; 0: chosen for grad_weight, 1 for forward
    // Or null. forward: receives count, mean and spread of conv as float. grad_x: receives the sums
    // of d and d * xhat for the normalisation and activation that made x of `normed`, d being the
    // gradient before them: see norm_act.cu. Their values are scale, bias, mean, rstd, activation.
    void* tiles;
    const void* normed;
    int64_t normed_pitch;
    const float *mean, *rstd;
};

YOLO_CUDA_API const char* yolo_cuda_message(int status);
YOLO_CUDA_API int yolo_cuda_device_count();
// 1000 * major + 10 * minor of the CUDA that the driver knows; 0 without one.
YOLO_CUDA_API int yolo_cuda_driver_version();
// Bytes of the structs below, in their order; -1 past the last. For callers in other languages.
YOLO_CUDA_API int64_t yolo_cuda_struct_bytes(int which);

// Stored columns: float and double, any strides with rows of y flat; weight is (k, c, r, s).
YOLO_CUDA_API int64_t yolo_cuda_conv_im2col_workspace(const ConvShape* shape, YoloType type);
YOLO_CUDA_API int yolo_cuda_conv_im2col(const YoloConv* call, YoloPass pass, void* stream);

// Tensor cores: bfloat16, float16, and float as TF32. x and y are NHWC with a pixel pitch (strides
// n, h, w may be those of a slice of channels), weight is (k, r, s, c), bias is float.
// grad_weight is written as float (k, r, s, c).
YOLO_CUDA_API int64_t yolo_cuda_conv_implicit_workspace(const YoloConv* call, YoloPass pass);
YOLO_CUDA_API int yolo_cuda_conv_implicit(const YoloConv* call, YoloPass pass, void* stream);
// How many tiles of pixels forward or grad_x has: YoloConv::tiles is [tile][filter] of 3 floats, or
// [tile][channel] of 2.
YOLO_CUDA_API int64_t yolo_cuda_conv_implicit_tiles(const ConvShape* shape, YoloPass pass);
// How many splits of the forward sum fill the chip where pixels and filters are few. The parts are
// added in one fixed order; statistics (tiles) are not taken from split sums.
YOLO_CUDA_API int yolo_cuda_conv_implicit_splits(const ConvShape* shape, YoloType type);

// r * s * c <= 32 in bfloat16 or float16, no groups, forward and grad_weight: x of any strides, the
// rest as above, tiles included.
YOLO_CUDA_API int64_t yolo_cuda_conv_stem_workspace(const YoloConv* call, YoloPass pass);
YOLO_CUDA_API int yolo_cuda_conv_stem(const YoloConv* call, YoloPass pass, void* stream);

// Depthwise convolution, any type: weight is (r, s, c), grad_weight the same as float (double for
// double); epilogue without residual.
YOLO_CUDA_API int64_t yolo_cuda_depthwise_workspace(const YoloConv* call, YoloPass pass);
YOLO_CUDA_API int yolo_cuda_depthwise(const YoloConv* call, YoloPass pass, void* stream);

// NHWC as rows (pixels) of channels, `pitch` elements from row to row.
struct YoloRows {
    void* data;
    int64_t pitch;
};

// Per-channel values are float, or double where type is double. training: mean and rstd are taken
// from x and written; else they are read (null: 0 and 1). Null scale, bias: 1 and 0. Sums of the
// gradient are taken where grad_bias is not null, and go into grad_x when training. Without y, or
// without grad_x, a call takes its sums alone. With tiles, those of a convolution's float results.
struct YoloNorm {
    int64_t rows;
    int channels;
    YoloType type;
    int training, activation;
    YoloRows x, y, residual, grad_y, grad_x;
    const void *scale, *bias;
    void *mean, *rstd, *rolling_mean, *rolling_var;
    void *grad_scale, *grad_bias;
    void* workspace;
    double momentum, eps;
    // What a convolution left of x (forward, training) or of grad_y (backward), or null.
    const void* tiles;
    int64_t tile_count;
};
YOLO_CUDA_API int64_t yolo_cuda_norm_workspace(int64_t rows, int channels);
YOLO_CUDA_API int yolo_cuda_norm_forward(const YoloNorm* call, void* stream);
YOLO_CUDA_API int yolo_cuda_norm_backward(const YoloNorm* call, void* stream);

// y: that of x, or in YOLO_GRAD_X the gradient of x; grad_slope is then written too. Slopes are
// float, or double where type is double; workspace: of YOLO_GRAD_X alone.
struct YoloPrelu {
    int64_t rows;
    int channels;
    YoloType type;
    YoloRows x, grad_y, y;
    const void* slope;
    void *grad_slope, *workspace;
};
YOLO_CUDA_API int64_t yolo_cuda_prelu_workspace(int64_t rows, int channels);
YOLO_CUDA_API int yolo_cuda_prelu(const YoloPrelu* call, YoloPass pass, void* stream);

// x and y are gradients in YOLO_GRAD_X. index: int32, dense (n, p, q, c), or null.
struct YoloPool {
    int n, c, h, w, p, q;
    int size_y, size_x, stride_y, stride_x, offset_y, offset_x;
    YoloType type;
    YoloRows x, y;
    void* index;
};
YOLO_CUDA_API int yolo_cuda_maxpool(const YoloPool* call, YoloPass pass, void* stream);
// y: one row an image. Sizes other than n c h w are not read.
YOLO_CUDA_API int yolo_cuda_avgpool(const YoloPool* call, YoloPass pass, void* stream);

// Max pools of one map, stride 1: odd sizes up to 15 that grow. y: one map each. codes: bytes,
// dense (levels, n, h, w, c), see spp.cu, or null. YOLO_GRAD_X: x and y are gradients, `other` is
// added to that of x where it is not absent.
constexpr int YOLO_SPP_LEVELS = 4;
struct YoloSpp {
    int n, c, h, w, levels, size[YOLO_SPP_LEVELS];
    YoloType type;
    YoloRows x, other, y[YOLO_SPP_LEVELS];
    void* codes;
};
YOLO_CUDA_API int yolo_cuda_spp(const YoloSpp* call, YoloPass pass, void* stream);

struct YoloUpsample {
    int n, c, h, w, stride;
    YoloType type;
    double scale;
    YoloRows x, y;
};
YOLO_CUDA_API int yolo_cuda_upsample(const YoloUpsample* call, YoloPass pass, void* stream);

// Darknet's rearrangement of (depth, h, stride, w, stride) into (stride, stride, depth, h, w) of
// each image, or back if reverse; x and y are dense.
struct YoloReorg {
    int n, depth, h, w, stride, reverse;
    YoloType type;
    const void* x;
    void* y;
};
YOLO_CUDA_API int yolo_cuda_reorg(const YoloReorg* call, void* stream);

// The raw map of one [yolo] head: of each pixel `anchors` times x, y, w, h, objectness, classes.
constexpr int YOLO_DETECT_GRIDS = 8, YOLO_DETECT_ANCHORS = 8, YOLO_DETECT_MOST = 4096;
struct YoloGrid {
    YoloRows x;
    int h, w, anchors;
    int activated;  // new_coords: the convolution has applied the logistic function
    float scale_x_y;
    float widths[YOLO_DETECT_ANCHORS], heights[YOLO_DETECT_ANCHORS];  // relative to the input
};
// Boxes of a batch after suppression. Where an image has more than `capacity` cells above the
// threshold, counts says how many, and the rest of its results covers the first `capacity` alone.
struct YoloDetect {
    int images, classes, capacity, grid_count;
    YoloType type;
    float beta;             // < 0: boxes are similar by IoU; else by DIoU with this exponent
    const float* settings;  // of the device: thresh, nms, and eight numbers an image, see detect.cu
    int *counts, *cells;    // (images), (images, capacity)
    float *boxes, *probs;   // (images, capacity, 4), (images, capacity, classes): x, y, w, h and
                            // objectness * score, 0 where that is not above thresh
    unsigned char* kept;    // as probs: whether the entry is above thresh and not suppressed
    YoloGrid grids[YOLO_DETECT_GRIDS];
};
YOLO_CUDA_API int yolo_cuda_detect(const YoloDetect* call, void* stream);

// Regions of interest, see roi.h: five floats each (doubles where type is double). x: the map; y:
// n = rois, height p, width q; gradients in YOLO_GRAD_X. index: int32, dense (rois, p, q, c), of
// roi_pool alone; samples: of roi_align alone.
struct YoloRoi {
    int n, c, h, w, rois, p, q, samples;
    YoloType type;
    YoloRows x, y;
    const void* regions;
    void* index;
};
YOLO_CUDA_API int yolo_cuda_roi_align(const YoloRoi* call, YoloPass pass, void* stream);
YOLO_CUDA_API int yolo_cuda_roi_pool(const YoloRoi* call, YoloPass pass, void* stream);

// Calls in a row, as a whole network: call is a pointer to the struct that the function takes, pass
// is not read where it takes none. Ends at the first that fails; *done counts those that did not.
enum YoloFunction : int {
    YOLO_CALL_IM2COL,
    YOLO_CALL_IMPLICIT,
    YOLO_CALL_STEM,
    YOLO_CALL_DEPTHWISE,
    YOLO_CALL_NORM_FORWARD,
    YOLO_CALL_MAXPOOL,
    YOLO_CALL_AVGPOOL,
    YOLO_CALL_UPSAMPLE,
    YOLO_CALL_REORG,
    YOLO_CALL_SPP,
    YOLO_CALL_PRELU
};
struct YoloStep {
    YoloFunction function;
    YoloPass pass;
    const void* call;
};
YOLO_CUDA_API int yolo_cuda_run(const YoloStep* steps, int count, int* done, void* stream);

// The table of parameters lies in the memory of the device.
struct YoloParameter {
    float *weight, *grad, *update;
    void* half;  // 16-bit copy of the weight, or null
    int64_t count;
    float decay, rate;  // times the batch; times the common rate
    float limit, clip;  // of |update - grad| and of |weight|; 0: none
    int64_t half_type;
};
YOLO_CUDA_API int yolo_cuda_update(const YoloParameter* parameters, int count, float rate,
                                   float momentum, int clear, void* stream);
