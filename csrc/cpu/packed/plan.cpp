#include "plan.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <memory>
#include <stdexcept>

#include "shares.h"

namespace yolo::packed {
namespace {

void require(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(std::string("plan: ") + message);
}

// A slab per worker, 64 bytes apart at least so that no two write one cache line.
long padded(long floats) {
    return (floats + 31) / 16 * 16;
}

// How far a convolution reads outside the image on any side.
int reach(const Conv& a) {
    const int below = (a.y.height - 1) * a.stride_h + (a.kernel_h - 1) * a.dilation_h - a.pad_h -
                      (a.x.height - 1);
    const int right =
        (a.y.width - 1) * a.stride_w + (a.kernel_w - 1) * a.dilation_w - a.pad_w - (a.x.width - 1);
    return std::max({a.pad_h, a.pad_w, below, right});
}

bool same_size(const View& a, const View& b) {
    return a.images == b.images && a.blocks == b.blocks && a.height == b.height &&
           a.width == b.width;
}

// Memory for so many elements, which the caller writes. Whoever touches a page first waits until
// the system has cleared it, which takes longer than packing a weight into it: workers share that.
Memory elements(const Kernels& kernels, long count) {
    return Memory((count * kernels.element + 3) / 4, Memory::Uninitialised{});
}

void clear(Memory& memory, int threads) {
    const int parts = 4 * threads;
    cpu::parallel(threads, parts, [&](int64_t i, int) {
        const long begin = memory.floats() * i / parts, end = memory.floats() * (i + 1) / parts;
        std::fill(memory.data() + begin, memory.data() + end, 0.f);
    });
}

}  // namespace

Plan::Plan(const Kernels& kernels, int threads, long arena_elements)
    : kernels_(kernels),
      threads_(threads),
      caches_(read_caches()),
      arena_elements_(arena_elements),
      arena_(elements(kernels, arena_elements)) {
    require(threads >= 1, "threads must be at least 1");
    clear(arena_, threads);
}

// Elements from one channel block to the next. A tile reads the same pixels of many of them, which
// a multiple of 512 bytes apart would share few sets of the first-level cache: those get five lines
// more.
static long plane(const Kernels& kernels, const Buffer& b) {
    constexpr long CLOSE = 512, MORE = 5 * 64;
    const long pixels = long(b.height + 2 * b.border) * (b.width + 2 * b.border);
    const long elements = pixels * kernels.lanes;
    return elements * kernels.element % CLOSE ? elements : elements + MORE / kernels.element;
}

long Plan::size(const Kernels& kernels, const Buffer& b) {
    return (plane(kernels, b) * b.images * b.blocks + 15) / 16 * 16;
}

int Plan::buffer(const Buffer& b) {
    require(b.images >= 1 && b.blocks >= 1 && b.height >= 1 && b.width >= 1 && b.border >= 0,
            "a buffer has no pixels");
    require(b.offset >= 0 && b.offset % 16 == 0 && b.offset + size(kernels_, b) <= arena_elements_,
            "a buffer leaves the arena");
    buffers_.push_back(b);
    return int(buffers_.size()) - 1;
}

View Plan::view(Slice slice) const {
    require(slice.buffer >= 0 && slice.buffer < int(buffers_.size()), "no such buffer");
    const Buffer& b = buffers_[slice.buffer];
    require(slice.first >= 0 && slice.blocks >= 1 && slice.first + slice.blocks <= b.blocks,
            "a slice leaves its buffer");
    View v{};
    v.images = b.images, v.blocks = slice.blocks, v.height = b.height, v.width = b.width;
    v.border = b.border;
    v.row = long(b.width + 2 * b.border) * kernels_.lanes;
    v.block = plane(kernels_, b);
    v.image = v.block * b.blocks;
    const long first = b.offset + slice.first * v.block + b.border * (v.row + kernels_.lanes);
    v.data = reinterpret_cast<char*>(arena_.data()) + first * kernels_.element;
    return v;
}

const float* Plan::keep(Memory memory) {
    weight_floats_ += memory.floats();
    weights_.push_back(std::move(memory));
    return weights_.back().data();
}

void Plan::need(long scratch, long shared) {
    scratch_floats_ = std::max(scratch_floats_, padded(scratch));
    shared_floats_ = std::max(shared_floats_, padded(shared));
}

void Plan::input(Slice y, int channels, int number) {
    Convert call{};
    call.packed = view(y);
    call.planar = {nullptr, call.packed.images, channels, call.packed.height, call.packed.width};
    require(channels <= call.packed.blocks * kernels_.lanes, "the input has too many channels");
    steps_.push_back([this, call, number](const Share& share, const Io& io) {
        Convert c = call;
        c.planar.data = io.planar->at(number);
        kernels_.pack(c, share);
    });
}

static Conv make_conv(const ConvGeometry& g, Activation activation, const Caches& caches) {
    require(g.kernel_h >= 1 && g.kernel_w >= 1 && g.stride_h >= 1 && g.stride_w >= 1 &&
                g.dilation_h >= 1 && g.dilation_w >= 1 && g.pad_h >= 0 && g.pad_w >= 0,
            "kernel, stride and dilation must be positive, padding not negative");
    Conv call{};
    call.kernel_h = g.kernel_h, call.kernel_w = g.kernel_w;
    call.stride_h = g.stride_h, call.stride_w = g.stride_w;
    call.pad_h = g.pad_h, call.pad_w = g.pad_w;
    call.dilation_h = g.dilation_h, call.dilation_w = g.dilation_w;
    call.activation = activation, call.caches = caches;
    return call;
}

void Plan::stem(int channels, int height, int width, Slice y, const float* weight,
                const float* bias, const ConvGeometry& geometry, Activation activation) {
    Conv call = make_conv(geometry, activation, caches_);
    call.y = view(y);
    call.image = {nullptr, call.y.images, channels, height, width};
    const int taps = call.kernel_h * call.kernel_w, outputs = call.y.blocks * kernels_.lanes;
    require(channels * taps <= 1024, "a stem has more than 1024 products an output");
    Memory packed(long(outputs) * channels * taps), kept_bias(outputs);
    kernels_.pack_stem(weight, outputs, channels, taps, packed.data());
    std::copy(bias, bias + outputs, kept_bias.data());
    call.weight = keep(std::move(packed)), call.bias = keep(std::move(kept_bias));
    need(kernels_.stem_scratch(call));
    steps_.push_back([this, call](const Share& share, const Io& io) {
        Conv c = call;
        c.image.data = io.planar->at(0);
        kernels_.stem(c, share);
    });
}

void Plan::conv(Algorithm algorithm, Slice x, Slice y, const Slice* residual, const float* weight,
                const float* bias, const ConvGeometry& geometry, Activation activation) {
    Conv call = make_conv(geometry, activation, caches_);
    call.x = view(x), call.y = view(y);
    if (residual) {
        call.residual = view(*residual), call.add = true;
        require(same_size(call.residual, call.y), "residual and output differ in shape");
    }
    require(call.x.images == call.y.images, "input and output differ in images");
    require(reach(call) <= call.x.border, "the input's border is narrower than the padding");
    const int taps = call.kernel_h * call.kernel_w;
    require(taps <= 1024, "a kernel has more than 1024 cells");
    const int outputs = call.y.blocks * kernels_.lanes, inputs = call.x.blocks * kernels_.lanes;
    Memory kept_bias(outputs);
    std::copy(bias, bias + outputs, kept_bias.data());
    call.bias = keep(std::move(kept_bias));

    if (algorithm == Algorithm::depthwise) {
        require(call.x.blocks == call.y.blocks, "depthwise input and output differ in channels");
        Memory packed(long(outputs) * taps);
        for (int c = 0; c < outputs; ++c)
            for (int t = 0; t < taps; ++t)
                packed.data()[(long(c / kernels_.lanes) * taps + t) * kernels_.lanes +
                              c % kernels_.lanes] = weight[long(c) * taps + t];
        call.weight = keep(std::move(packed));
        steps_.push_back([this, call](const Share& s, const Io&) { kernels_.depthwise(call, s); });
        return;
    }
    const bool fast = algorithm != Algorithm::direct, phases = algorithm == Algorithm::phases;
    call.m = algorithm == Algorithm::winograd2 ? 2 : 4;
    require(!fast || call.m == 2 || kernels_.element == 4, "bf16 is too coarse for 4x4 tiles");
    const int cells = !fast ? taps : call.m == 2 ? 16 : 36;
    Memory packed = elements(kernels_, long(outputs) * inputs * cells);
    share(threads_, [&](const Share& share) {
        if (fast)
            kernels_.pack_winograd(weight, outputs, inputs, call, packed.data(), share);
        else
            kernels_.pack_direct(weight, outputs, inputs, taps, packed.data(), share);
    });
    call.weight = keep(std::move(packed));
    if (!fast) {
        need(kernels_.direct_scratch(call));
        steps_.push_back([this, call](const Share& s, const Io&) { kernels_.direct(call, s); });
        return;
    }
    const int stride = phases ? 2 : 1;
    require(taps == 9 && call.kernel_h == 3 && call.stride_h == stride && call.stride_w == stride &&
                call.dilation_h == 1 && call.dilation_w == 1 && call.pad_h == 1 && call.pad_w == 1,
            "minimal filtering takes 3x3 kernels of padding 1, dilation 1, of stride 2 by phases "
            "and of stride 1 otherwise");
    // Workers that each take tiles of their own need no barrier, but every one of them reads all
    // weights; where those are large, or tiles few, they share one transform and split the panels.
    if (!phases) call.mosaic = best_mosaic(call.y.images, call.y.height, call.y.width, call.m);
    const long tiles =
        mosaic_tiles(call.mosaic, call.y.images, call.y.height, call.y.width, call.m);
    const long weights = 1L * kernels_.element * outputs * inputs * cells;
    winograd(call, tiles, weights > 6 * caches_.l2 || tiles < 26 * threads_);
}

void Plan::winograd(Conv call, long tiles, bool shared) {
    call.tile_block = 64;  // to measure one
    const long tile_bytes = 4 * kernels_.winograd_scratch(call, false) / call.tile_block;
    const long fit = caches_.l2 / 2 / tile_bytes;
    const int least = 2 * kernels_.max_tiles;
    call.tile_block = int(std::clamp(fit, long(least), std::max(tiles, long(least))));
    need(kernels_.winograd_scratch(call, shared), shared ? kernels_.winograd_shared(call) : 0);
    if (!shared) {
        steps_.push_back([this, call](const Share& s, const Io&) { kernels_.winograd(call, s); });
        return;
    }
    steps_.push_back([this, call](const Share& s, const Io& io) {
        Conv c = call;
        c.shared = io.shared;
        kernels_.winograd_input(c, s);
    });
    steps_.push_back([this, call](const Share& s, const Io& io) {
        Conv c = call;
        c.shared = io.shared;
        kernels_.winograd_output(c, s);
    });
}

void Plan::max_pool(Slice x, Slice y, int size_h, int size_w, int stride_h, int stride_w,
                    int before_h, int before_w) {
    const Pool call{view(x), view(y), size_h, size_w, stride_h, stride_w, before_h, before_w};
    require(call.x.blocks == call.y.blocks, "pooling input and output differ in channels");
    need(kernels_.pool_scratch(call));
    steps_.push_back([this, call](const Share& s, const Io&) { kernels_.max_pool(call, s); });
}

void Plan::average_pool(Slice x, Slice y) {
    const Pool call{view(x), view(y), 0, 0, 0, 0, 0, 0};
    require(call.x.blocks == call.y.blocks && call.y.height == 1 && call.y.width == 1,
            "an average pool leaves one pixel of the same channels");
    steps_.push_back([this, call](const Share& s, const Io&) { kernels_.average_pool(call, s); });
}

void Plan::pointwise(Slice a, Slice b, Slice y, bool multiply, bool broadcast,
                     Activation activation) {
    const Pointwise call{
        view(a), view(b), view(y), multiply, broadcast ? Spread::pixel : Spread::none, activation};
    require(same_size(call.a, call.y) && call.b.blocks == call.y.blocks &&
                (broadcast ? call.b.height == 1 && call.b.width == 1 : same_size(call.b, call.y)),
            "pointwise operands differ in shape");
    steps_.push_back([this, call](const Share& s, const Io&) { kernels_.pointwise(call, s); });
}

void Plan::copy(Slice x, Slice y, const std::vector<int>& channel, int scale, float gain) {
    Copy call{view(x), view(y), nullptr, scale, gain};
    require(scale >= 1 && call.y.height == call.x.height * scale &&
                call.y.width == call.x.width * scale,
            "a copy's output is its input times the scale");
    if (channel.empty()) {
        require(call.x.blocks == call.y.blocks, "a copy's input and output differ in channels");
    } else {
        require(
            int(channel.size()) == call.y.blocks * kernels_.lanes &&
                *std::max_element(channel.begin(), channel.end()) < call.x.blocks * kernels_.lanes,
            "a copy needs one input channel for each output channel");
        channels_.push_back(channel);
        call.channel = channels_.back().data();  // the inner vector's storage never moves
    }
    steps_.push_back([this, call](const Share& s, const Io&) { kernels_.copy(call, s); });
}

void Plan::output(Slice x, int number, const std::vector<int>& channel,
                  const std::vector<float>& logistic) {
    Convert call{};
    call.packed = view(x);
    call.planar = {nullptr, call.packed.images, int(channel.size()), call.packed.height,
                   call.packed.width};
    require(
        !channel.empty() && *std::min_element(channel.begin(), channel.end()) >= 0 &&
            *std::max_element(channel.begin(), channel.end()) < call.packed.blocks * kernels_.lanes,
        "an output names a channel that its tensor lacks");
    require(logistic.empty() || logistic.size() == 3 * channel.size(),
            "an output's logistic has three numbers a channel");
    channels_.push_back(channel);
    call.channel = channels_.back().data();
    if (!logistic.empty()) {
        Memory kept(long(logistic.size()));
        std::copy(logistic.begin(), logistic.end(), kept.data());
        call.logistic = keep(std::move(kept));
    }
    steps_.push_back([this, call, number](const Share& share, const Io& io) {
        Convert c = call;
        c.planar.data = io.planar->at(number);
        kernels_.unpack(c, share);
    });
}

void Plan::run_step(const Step& step, const Io& io) {
    share(threads_, threads_, scratch_.data(), scratch_floats_,
          [&](const Share& s) { step(s, io); });
}

static double processor_time() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

void Plan::time_step(const Step& step, const Io& io) {
    std::vector<double> shares(threads_);
    const Step timed = [&](const Share& share, const Io& same) {
        const double start = processor_time();
        step(share, same);
        shares[share.index] = processor_time() - start;
    };
    const auto start = std::chrono::steady_clock::now();
    run_step(timed, io);
    const std::chrono::duration<double, std::milli> wall = std::chrono::steady_clock::now() - start;
    milliseconds.push_back(wall.count());
    processor_milliseconds.push_back(*std::max_element(shares.begin(), shares.end()));
}

void Plan::run(int first, int last, const std::vector<float*>& planar) {
    require(0 <= first && first <= last && last <= steps(), "no such steps");
    if (scratch_.floats() < scratch_floats_ * threads_)
        scratch_ = Memory(scratch_floats_ * threads_);
    if (shared_.floats() < shared_floats_) shared_ = Memory(shared_floats_);
    const Io io{&planar, shared_.data()};
    if (first == 0) milliseconds.clear(), processor_milliseconds.clear();
    for (int i = first; i < last; ++i) timing ? time_step(steps_[i], io) : run_step(steps_[i], io);
}

}  // namespace yolo::packed
