// Kernels over the packed layout nChw[V]c: V neighbouring channels of a pixel lie together, V being
// the vector length of the instruction set in use.
//
//     planar   x[n][c][h][w]
//     packed   x[n][c / V][h][w][c % V]        channels are padded with zeros to a multiple of V
//
// A packed tensor carries a border of zero pixels, so that a convolution reads outside the image
// without a test; whoever writes a tensor writes its border too. Nothing here knows Python or
// PyTorch, and nothing allocates: pointers and shapes come in, results go out.
//
// An element of a packed activation, and of the weight of a direct or Winograd convolution, is a
// float, or at the bf16 levels a bfloat16 (element.h); sums and everything else are floats.
#pragma once

#include <vector>

#include "../../activation.h"
#include "mosaic.h"

namespace yolo::packed {

// A packed tensor, or a slice of the channel blocks of one. Distances are in elements.
struct View {
    void* data;  // first channel of pixel (0, 0) of image 0; the border lies before and after
    int images;  // n
    int blocks;  // channels / V, rounded up
    int height, width;  // without the border
    int border;         // zero pixels on each side
    long row;           // from a pixel to the one below
    long block;         // from a channel block to the next
    long image;         // from an image to the next
};

struct Planar {  // an ordinary dense n c h w tensor
    float* data;
    int images, channels, height, width;
};

// One worker's part of a call: worker `index` of `count`, with `scratch` of its own.
struct Share {
    int index, count;
    float* scratch;
};

struct Caches {
    long l1, l2, l3;  // bytes of data cache that one core sees
};

// y = activation(conv(x) + bias) [+ residual]
//
// The packed weight of a direct convolution is [K/2V][C/V][r][s][V][2V] (the last panel is only V
// wide when the number of output blocks is odd), of a Winograd one [K/2V][6^2 or 4^2][C][2V], of a
// stem, which reads a planar image, [K/2V][c][r][s][2V], of a depthwise one [C/V][r][s][V]; the
// last two are floats at every level.
struct Conv {
    View x, y, residual;
    Planar image;        // what a stem reads instead of x
    const void* weight;  // packed
    const float* bias;   // one a physical output channel
    bool add;            // whether there is a residual
    Activation activation;
    int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
    Caches caches;
    // Winograd only: output tiles of m x m, in how large mosaics, how many tiles a worker takes at
    // a time, and, where the workers share the transformed input instead of each making its own,
    // where that lies. x has a border. With stride 2 m is 4; up: y is the gradient by the input,
    // whose tiles are 8 x 8, and x that by the output.
    int m, tile_block;
    Mosaic mosaic;
    bool up;
    float* shared;
};

struct Pool {
    View x, y;
    int size_h, size_w, stride_h, stride_w;
    int before_h, before_w;  // how far the first window starts above and left of the image
};

// How b is spread over a: not at all, its one pixel over the whole map, or its only channel over
// all channels.
enum class Spread { none, pixel, channel };

// y = activation(a * b) or activation(a + b)
struct Pointwise {
    View a, b, y;
    bool multiply;
    Spread spread;
    Activation activation;
};

struct Copy {
    View x, y;
    const int* channel;  // for each channel of y the channel of x, or -1 for zero; null: the same
    int scale;           // nearest-neighbour enlargement
    float gain;          // factor on the values
};

// planar -> packed (x is planar) or packed -> planar, with a factor, an offset and a logistic
// before them on some channels.
struct Convert {
    View packed;
    Planar planar;
    const int* channel;     // physical channel of each planar channel; null: the same
    const float* logistic;  // unpacking: per planar channel (whether, scale, shift), null: none
};

struct TrainingKernels;  // see training.h

// What an instruction set offers. Every function does the part `share` of its call; parts never
// write the same float, and calls that need a barrier in between are separate functions.
struct Kernels {
    const char* name;
    int lanes;      // V
    int max_tiles;  // pixels of the register tile
    int element;    // bytes of an element: 4, or 2 for bf16
    void (*direct)(const Conv&, const Share&);
    void (*stem)(const Conv&, const Share&);
    void (*depthwise)(const Conv&, const Share&);
    void (*winograd)(const Conv&, const Share&);         // each worker its own tiles
    void (*winograd_input)(const Conv&, const Share&);   // shared transform, then ...
    void (*winograd_output)(const Conv&, const Share&);  // ... each worker its own channels
    // of tiles first .. first + n: channel blocks of x -> v, then v times one panel's weights -> m
    // -> y
    void (*winograd_input_tiles)(const Conv&, int first, int n, void* v, const Share&);
    void (*winograd_output_tiles)(const Conv&, int first, int n, int panel, const void* v,
                                  float* m);
    void (*max_pool)(const Pool&, const Share&);
    void (*average_pool)(const Pool&, const Share&);  // over the whole map
    void (*pointwise)(const Pointwise&, const Share&);
    void (*copy)(const Copy&, const Share&);
    void (*pack)(const Convert&, const Share&);
    void (*unpack)(const Convert&, const Share&);
    // dense (K, C, r, s) -> the packed weight of Conv; C and K are multiples of V
    void (*pack_direct)(const float* w, int k, int c, int taps, void* packed, const Share&);
    void (*pack_stem)(const float* w, int k, int c, int taps, float* packed);
    void (*pack_winograd)(const float* w, int k, int c, const Conv&, void* packed, const Share&);
    // floats of scratch that one worker needs
    long (*direct_scratch)(const Conv&);
    long (*stem_scratch)(const Conv&);
    long (*winograd_floats)(const Conv&, int tiles);  // of so many transformed tiles of x
    long (*winograd_scratch)(const Conv&, bool shared);
    long (*winograd_shared)(const Conv&);
    long (*pool_scratch)(const Pool&);
    double (*peak)(long rounds, float* values);  // operations done: see peak.h
    const TrainingKernels* training;             // null at the bf16 levels
    bool (*agrees)();  // whether the processor computes what is expected; null: nobody doubts it
};

// The levels, best first; null where the compiler or the processor lacks one.
const Kernels* avx512();
const Kernels* avx2();
const Kernels* portable();
// The same for bf16.
const Kernels* amx();
const Kernels* avx512bf16();
const Kernels* portable_bf16();
const Kernels* amx_model();  // amx with its registers in memory: for tests

enum class Precision { fp32, bf16 };

// The level to use: the best one, or the one that YOLO_ISA=avx512|avx2|portable names. An unknown
// or unavailable name throws. In bf16 avx512 means avx512bf16, and the levels that only
// emulate it must be named.
std::vector<const Kernels*> levels(Precision precision);
const Kernels& choose(const char* name = nullptr, Precision precision = Precision::fp32);

Caches read_caches();

}  // namespace yolo::packed
