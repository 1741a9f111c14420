// An inference plan: packed weights, one arena for all activations, and a flat list of steps. It is
// built once for a network and an input size; run() then allocates nothing and asks no questions.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "memory.h"
#include "packed.h"

namespace yolo::packed {

// Where a tensor lies in the arena: `blocks` channel blocks from element `offset` on, border
// included.
struct Buffer {
    long offset;
    int images, blocks, height, width, border;
};

// Channel blocks first .. first + blocks of a buffer.
struct Slice {
    int buffer, first, blocks;
};

enum class Algorithm { direct, stem, depthwise, winograd2, winograd4, phases };

struct ConvGeometry {
    int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
};

class Plan {
 public:
    Plan(const Kernels& kernels, int threads, long arena_elements);

    // Elements that a buffer occupies, a multiple of 16.
    static long size(const Kernels& kernels, const Buffer& buffer);
    int buffer(const Buffer& buffer);

    // Steps run in the order of these calls. Planar tensors come in and go out by number, in the
    // order in which run() receives them; number 0 is the network's input, which a stem reads.
    void input(Slice y, int channels, int number);
    // weight: dense (physical outputs, physical inputs, r, s), for a stem (outputs, channels, r, s)
    // of the planar input, for a depthwise convolution (physical channels, r, s)
    void conv(Algorithm algorithm, Slice x, Slice y, const Slice* residual, const float* weight,
              const float* bias, const ConvGeometry& geometry, Activation activation);
    void stem(int channels, int height, int width, Slice y, const float* weight, const float* bias,
              const ConvGeometry& geometry, Activation activation);
    void max_pool(Slice x, Slice y, int size_h, int size_w, int stride_h, int stride_w,
                  int before_h, int before_w);
    void average_pool(Slice x, Slice y);
    void pointwise(Slice a, Slice b, Slice y, bool multiply, bool broadcast, Activation activation);
    void copy(Slice x, Slice y, const std::vector<int>& channel, int scale, float gain);
    void output(Slice x, int number, const std::vector<int>& channel,
                const std::vector<float>& logistic);

    // Steps first .. last. Those of `planar` that these steps do not touch may be null.
    void run(int first, int last, const std::vector<float*>& planar);

    int threads() const { return threads_; }
    int lanes() const { return kernels_.lanes; }
    int steps() const { return int(steps_.size()); }
    long weight_bytes() const { return weight_floats_ * 4; }
    long arena_bytes() const { return arena_.floats() * 4; }
    long scratch_bytes() const { return (scratch_floats_ * threads_ + shared_floats_) * 4; }

    // Milliseconds of each step in the last run, if timing was asked for: on the clock, and of
    // processor time in the slowest share, which other programs on the machine do not lengthen.
    bool timing = false;
    std::vector<double> milliseconds, processor_milliseconds;

 private:
    struct Io {
        const std::vector<float*>* planar;
        float* shared;
    };
    using Step = std::function<void(const Share&, const Io&)>;

    View view(Slice slice) const;
    const float* keep(Memory memory);
    void need(long scratch, long shared = 0);
    void winograd(Conv call, long tiles, bool shared);
    void run_step(const Step& step, const Io& io);
    void time_step(const Step& step, const Io& io);

    const Kernels& kernels_;
    int threads_;
    Caches caches_;
    long arena_elements_;
    Memory arena_, scratch_, shared_;
    std::vector<Buffer> buffers_;
    std::vector<Memory> weights_;
    std::vector<std::vector<int>> channels_;
    std::vector<Step> steps_;
    long weight_floats_ = 0, scratch_floats_ = 0, shared_floats_ = 0;
};

}  // namespace yolo::packed
