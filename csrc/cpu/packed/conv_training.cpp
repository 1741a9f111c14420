#include "conv_training.h"

#include <algorithm>

#include "shares.h"

namespace yolo::packed {
namespace {

constexpr int M = 4;              // edge of a tile of y
constexpr int WEIGHTS = 36;       // of minimal filtering, in place of 9
constexpr int MIN_CHANNELS = 32;  // with fewer the transforms cost more than they save
constexpr long MIN_PIXELS = 256;
constexpr long TILES_AT_ONCE = 112;
constexpr long MIN_GRAD_TILES = 64;
constexpr long PARITY_BYTES = 4 << 20;
constexpr long TRANSFORMED_BYTES = 2 << 20;  // of x and dy together

// Whether minimal filtering is faster. Of stride 2 it spares less, and maps that fill their tiles
// badly lose that again.
bool filters_well(const ConvShape& s) {
    if (s.r != 3 || s.stride_y > 2 || std::min(s.c, s.k) < MIN_CHANNELS) return false;
    const long pixels = s.p * s.q, tiles = ((s.p + M - 1) / M) * ((s.q + M - 1) / M);
    return s.n * pixels >= MIN_PIXELS && (s.stride_y == 1 || 4 * pixels >= 3 * M * M * tiles);
}

}  // namespace

// Takes pieces of the workspace one after the other. Without a base it only counts, and no kernel
// is to be called.
struct ConvTraining::Room {
    float* base;
    long used = 0;

    bool counts() const { return !base; }
    float* take(long floats) {
        float* piece = base ? base + used : nullptr;
        used += (floats + 15) / 16 * 16;
        return piece;
    }
};

// body(share) of so many shares; each thread has its own `scratch_each` floats of scratch.
template <class F>
void ConvTraining::divide(const Room& room, int shares, float* scratch, long scratch_each,
                          F body) const {
    if (!room.counts()) share(threads_, shares, scratch, scratch_each, body);
}
template <class F>
void ConvTraining::divide(const Room& room, F body) const {
    divide(room, shares_of(threads_), nullptr, 0, body);
}

bool ConvTraining::fits(const ConvShape& s, bool planar) {
    const bool square = s.r == s.s && s.stride_y == s.stride_x && s.pad_y == s.pad_x;
    if (!square || s.groups != 1 || s.dilation_y != 1 || s.dilation_x != 1) return false;
    if (planar) return s.r >= 3 && s.taps() <= MOST_TAPS && s.c <= 4 && s.pad_y <= s.r / 2;
    const bool three = s.r == 3 && s.pad_y == 1 && s.stride_y <= 2;
    return three || (s.r == 1 && s.pad_y == 0 && s.stride_y == 1);
}

ConvTraining::ConvTraining(const Kernels& kernels, const ConvShape& shape, bool planar, bool fast,
                           int threads)
    : ConvPasses(kernels, shape, threads),
      training_(*kernels.training),
      planar_(planar),
      winograd_(fast && !planar && filters_well(shape)),
      caches_(read_caches()) {
    if (winograd_ && shape.stride_y == 1)
        mosaic_ = best_mosaic(int(shape.n), int(shape.p), int(shape.q), M);
    float nothing;
    Room forward_room{nullptr}, grad_x_room{nullptr}, grad_weight_room{nullptr};
    forward({&nothing, 0}, &nothing, {&nothing, 0}, forward_room);
    if (!planar) grad_x({&nothing, 0}, &nothing, {&nothing, 0}, grad_x_room);
    grad_weight({&nothing, 0}, {&nothing, 0}, &nothing, grad_weight_room);
    workspace_ = std::max({forward_room.used, grad_x_room.used, grad_weight_room.used});
}

const char* ConvTraining::algorithm() const {
    if (planar_) return "stem";
    return !winograd_ ? "direct" : shape_.stride_y == 2 ? "phases" : "winograd4";
}

int ConvTraining::count_tiles() const {
    return mosaic_tiles(mosaic_, int(shape_.n), int(shape_.p), int(shape_.q), M);
}
View ConvTraining::input(Input x) const {
    View v = packed_view(kernels_, x.data, shape_.n, shape_.c, shape_.h, shape_.w);
    if (x.image) v.image = x.image;
    return v;
}
Planar ConvTraining::image(Input x) const {
    return {const_cast<float*>(x.data), int(shape_.n), int(shape_.c), int(shape_.h), int(shape_.w)};
}
View ConvTraining::output(Input y) const {
    View v = packed_view(kernels_, y.data, shape_.n, shape_.k, shape_.p, shape_.q);
    if (y.image) v.image = y.image;
    return v;
}

Conv ConvTraining::conv(const View& x, const View& y, int stride) const {
    Conv a{};
    a.x = x, a.y = y, a.activation = Activation::linear, a.caches = caches_;
    a.m = M, a.mosaic = mosaic_;
    a.kernel_h = a.kernel_w = int(shape_.r), a.pad_h = a.pad_w = int(shape_.pad_y);
    a.stride_h = a.stride_w = stride, a.dilation_h = a.dilation_w = 1;
    return a;
}

Dense ConvTraining::dense(const float* weight) const {
    const int taps = int(shape_.taps());
    Dense d{weight, int(shape_.k), int(shape_.c), taps, shape_.c * taps, taps, {}};
    for (int t = 0; t < taps; ++t) d.taps[t] = t;
    return d;
}
Dense ConvTraining::turned(const float* weight) const {
    const int taps = int(shape_.taps());
    Dense d{weight, int(shape_.c), int(shape_.k), taps, taps, shape_.c * taps, {}};
    for (int t = 0; t < taps; ++t) d.taps[t] = taps - 1 - t;
    return d;
}

const float* ConvTraining::packed_direct(const Conv& call, const Dense& weight, Room& room) const {
    float* packed = room.take(long(call.y.blocks) * call.x.blocks * kernels_.lanes *
                              kernels_.lanes * weight.tap_count);
    divide(room, [&](const Share& s) { training_.pack_dense(weight, packed, s); });
    return packed;
}

void ConvTraining::direct(Conv call, const Dense& weight, Room& room) const {
    call.weight = packed_direct(call, weight, room);
    divide(room, [&](const Share& s) { kernels_.direct(call, s); });
}

// Every worker has tiles of its own and reads all weights.
void ConvTraining::winograd_by_tiles(Conv call, const Dense& weight, Room& room) const {
    call.tile_block = 64;  // to measure one
    const long tile_bytes = 4 * kernels_.winograd_scratch(call, false) / call.tile_block;
    call.tile_block = int(std::max(caches_.l2 / 2 / tile_bytes, 2L * kernels_.max_tiles));
    const long each = (kernels_.winograd_scratch(call, false) + 15) / 16 * 16;
    float* packed =
        room.take(WEIGHTS * long(call.y.blocks) * call.x.blocks * kernels_.lanes * kernels_.lanes);
    float* scratch = room.take(threads_ * each);
    call.weight = packed;
    divide(room, [&](const Share& s) { training_.pack_winograd_dense(weight, call, packed, s); });
    // no share has fewer tiles than repay the reading of all weights
    const int shares = std::clamp(count_tiles() / call.tile_block, threads_, shares_of(threads_));
    divide(room, shares, scratch, each, [&](const Share& s) { kernels_.winograd(call, s); });
}

// Large weights: all tiles are transformed first, then each worker takes panels of output channels,
// whose weights it transforms where only it reads them.
void ConvTraining::winograd_by_panels(Conv call, const Dense& weight, Room& room) const {
    const int lanes = kernels_.lanes, panels = (call.y.blocks + 1) / 2;
    const long tiles = count_tiles(), groups = (tiles + TILES_AT_ONCE - 1) / TILES_AT_ONCE;
    const long most = (tiles + groups - 1) / groups;
    call.tile_block = int(most);
    const long v_floats = kernels_.winograd_floats(call, int(most)),
               v_each = (v_floats + 15) / 16 * 16;
    const long panel_floats = WEIGHTS * long(call.x.blocks) * lanes * 2 * lanes;
    const long m_floats = kernels_.winograd_scratch(call, false) - v_floats;
    const long each = panel_floats + (m_floats + 15) / 16 * 16;
    float* v = room.take(groups * v_each);
    float* scratch = room.take(threads_ * each);
    auto first = [=](long group) { return int(tiles * group / groups); };
    divide(room, [&](const Share& s) {
        for (long g = 0; g < groups; ++g)
            kernels_.winograd_input_tiles(call, first(g), first(g + 1) - first(g), v + g * v_each,
                                          s);
    });
    if (room.counts()) return;
    cpu::parallel(threads_, panels, [&](int64_t panel, int worker) {
        float* packed = scratch + worker * each;
        Dense mine = weight;
        const int done = int(panel) * 2 * lanes;
        mine.data += done * weight.output_step;
        mine.outputs = std::min(2 * lanes, weight.outputs - done);
        training_.pack_winograd_dense(mine, call, packed, Share{0, 1, nullptr});
        Conv part = call;
        part.weight = packed;
        part.y.blocks = std::min(2, call.y.blocks - 2 * int(panel));
        part.y.data = static_cast<float*>(call.y.data) + 2 * panel * call.y.block;
        for (long g = 0; g < groups; ++g)
            kernels_.winograd_output_tiles(part, first(g), first(g + 1) - first(g), 0,
                                           v + g * v_each, packed + panel_floats);
    });
}

// y = x * weight
void ConvTraining::convolve(Conv call, const Dense& weight, bool winograd, Room& room) const {
    call.bias = zeros(call.y.blocks, room);
    if (!winograd) return direct(call, weight, room);
    const long weights =
        4L * WEIGHTS * call.y.blocks * call.x.blocks * kernels_.lanes * kernels_.lanes;
    if (weights > 6 * caches_.l2 || count_tiles() < 26 * threads_)
        return winograd_by_panels(call, weight, room);
    winograd_by_tiles(call, weight, room);
}

// The kernels add a bias to what they compute; here normalisation brings its own.
float* ConvTraining::zeros(int blocks, Room& room) const {
    float* bias = room.take(long(blocks) * kernels_.lanes);
    if (!room.counts()) std::fill(bias, bias + blocks * kernels_.lanes, 0.f);
    return bias;
}

void ConvTraining::stem(Input x, const float* weight, const View& y, Room& room) const {
    Conv call = conv(View{}, y, int(shape_.stride_y));
    call.image = image(x);
    call.bias = zeros(y.blocks, room);
    const Dense source = dense(weight);
    const long each = (kernels_.stem_scratch(call) + 15) / 16 * 16;
    float* packed = room.take(long(y.blocks) * kernels_.lanes * source.inputs * source.tap_count);
    float* scratch = room.take(threads_ * each);
    call.weight = packed;
    if (room.counts()) return;
    training_.pack_stem_dense(source, packed);
    divide(room, shares_of(threads_), scratch, each,
           [&](const Share& s) { kernels_.stem(call, s); });
}

// Every pixel of dx is reached by other taps according to the parity of its row and column: four
// convolutions of stride 1, with 1, 2, 2 and 4 of the 9 taps, whose results lie between each other.
// They are made of a few images at a time, so that they are still in cache when they are merged.
void ConvTraining::strided_grad_x(View dy, const float* weight, View dx, Room& room) const {
    const int images = dx.images;
    const long image_bytes = 4L * dx.image;
    const int group = int(std::clamp(PARITY_BYTES / image_bytes, 1L, long(images)));
    dx.images = dy.images = group;
    Conv calls[4];
    for (int i = 0; i < 4; ++i) calls[i] = parity_conv(dy, weight, dx, i / 2, i % 2, room);
    if (room.counts()) return;
    for (int image = 0; image < images; image += group) {
        const int n = std::min(group, images - image);
        View maps[4], to = dx;
        for (int i = 0; i < 4; ++i) {
            Conv& call = calls[i];
            call.x.data = static_cast<float*>(dy.data) + image * dy.image;
            call.x.images = call.y.images = n;
            maps[i] = call.y;
            if (!call.y.height || !call.y.width) continue;
            divide(room, [&](const Share& s) { kernels_.direct(call, s); });
        }
        to.data = static_cast<float*>(dx.data) + image * dx.image, to.images = n;
        divide(room, [&](const Share& s) { training_.interleave(maps, to, s); });
    }
}

// The convolution that gives the rows and columns of dx of one parity, its weight packed.
Conv ConvTraining::parity_conv(const View& dy, const float* weight, const View& dx, int odd_h,
                               int odd_w, Room& room) const {
    static constexpr int TAPS[2][2] = {{1, 1}, {2, 0}};  // of even, odd; the second one pixel on
    View map = dx;
    map.height = (dx.height + 1 - odd_h) / 2, map.width = (dx.width + 1 - odd_w) / 2;
    map.border = 0;
    map.row = long(map.width) * kernels_.lanes;
    map.block = map.row * map.height, map.image = map.block * map.blocks;
    map.data = room.take(map.image * map.images);
    Conv call = conv(dy, map, 1);
    call.pad_h = call.pad_w = 0, call.bias = zeros(dx.blocks, room);
    call.kernel_h = 1 + odd_h, call.kernel_w = 1 + odd_w;
    Dense part = turned(weight);
    part.tap_count = call.kernel_h * call.kernel_w;
    for (int t = 0; t < part.tap_count; ++t)
        part.taps[t] = 3 * TAPS[odd_h][t / call.kernel_w] + TAPS[odd_w][t % call.kernel_w];
    call.weight = packed_direct(call, part, room);
    return call;
}

void ConvTraining::forward(Input x, const float* weight, Output y, Room& room) const {
    const View to = output({y.data, y.image});
    if (planar_) return stem(x, weight, to, room);
    convolve(conv(input(x), to, int(shape_.stride_y)), dense(weight), winograd_, room);
}

void ConvTraining::grad_x(Input dy, const float* weight, Output dx, Room& room) const {
    const View from = output(dy), to = input({dx.data, dx.image});
    if (shape_.stride_y == 2 && !winograd_) return strided_grad_x(from, weight, to, room);
    Conv call = conv(from, to, int(shape_.stride_y));
    call.up = shape_.stride_y == 2;
    convolve(call, turned(weight), winograd_, room);
}

void ConvTraining::grad_weight(Input dy, Input x, float* grad, Room& room) const {
    GradWeight call{};
    call.dy = output(dy), call.grad = grad, call.caches = caches_;
    call.filters = int(shape_.k), call.channels = int(shape_.c);
    call.size = int(shape_.r), call.stride = int(shape_.stride_y), call.pad = int(shape_.pad_y);
    if (planar_) {
        call.image = image(x);
        return stem_grad_weight(call, room);
    }
    call.x = input(x), call.mosaic = mosaic_;
    winograd_ ? winograd_grad_weight(call, room) : direct_grad_weight(call, room);
}

void ConvTraining::direct_grad_weight(GradWeight call, Room& room) const {
    call.sums = room.take(training_.grad_weight_sums(call, threads_));
    // shares have sums of their own
    divide(room, threads_, nullptr, 0, [&](const Share& s) { training_.grad_weight(call, s); });
    divide(room, [&](const Share& s) { training_.grad_weight_collect(call, threads_, s); });
}

void ConvTraining::stem_grad_weight(GradWeight call, Room& room) const {
    const long each = (training_.stem_grad_weight_scratch(call) + 15) / 16 * 16;
    call.sums = room.take(training_.stem_grad_weight_sums(call, threads_));
    float* scratch = room.take(threads_ * each);
    divide(room, threads_, scratch, each,
           [&](const Share& s) { training_.stem_grad_weight(call, s); });
    if (!room.counts()) training_.stem_grad_weight_collect(call, threads_);
}

void ConvTraining::winograd_grad_weight(GradWeight call, Room& room) const {
    const int tiles = count_tiles();
    const Conv x = conv(call.x, call.dy, call.stride), dy = conv(call.dy, call.dy, call.stride);
    const auto floats = [&](const Conv& map, int n) { return kernels_.winograd_floats(map, n); };
    const long bytes = 4 * (floats(x, 64) + floats(dy, 64)) / 64;
    const int fit = int(std::max(TRANSFORMED_BYTES / bytes, MIN_GRAD_TILES));
    // A single chunk spares the sums their way to memory and back.
    const int chunks = tiles <= 2 * fit ? 1 : (tiles + fit - 1) / fit;
    const int most = (tiles + chunks - 1) / chunks;
    call.x_tiles = room.take(floats(x, most));
    call.dy_tiles = room.take(floats(dy, most));
    const long panel_sums = training_.winograd_grad_sums(call);
    float* scratch = nullptr;  // the sums of a thread's panel, where there are no later chunks
    if (chunks == 1)
        scratch = room.take(panel_sums * threads_);
    else
        call.sums = room.take(panel_sums * ((call.dy.blocks + 1) / 2));
    for (int i = 0; i < chunks; ++i) {
        call.first_tile = int(long(tiles) * i / chunks);
        call.tiles = int(long(tiles) * (i + 1) / chunks) - call.first_tile;
        divide(room, [&](const Share& s) { training_.winograd_grad_tiles(call, s); });
        divide(room, shares_of(threads_), scratch, panel_sums, [&](const Share& s) {
            training_.winograd_grad_weight(call, i > 0, i + 1 == chunks, s);
        });
    }
}

void ConvTraining::forward(Input x, const float* weight, Output y, float* workspace) const {
    Room room{workspace};
    forward(x, weight, y, room);
}
void ConvTraining::grad_x(Input dy, const float* weight, Output dx, float* workspace) const {
    Room room{workspace};
    grad_x(dy, weight, dx, room);
}
void ConvTraining::grad_weight(Input dy, Input x, float* grad, float* workspace) const {
    Room room{workspace};
    grad_weight(dy, x, grad, room);
}
void ConvTraining::gradients(Input dy, Input x, const float* weight, float* grad, Output dx,
                             float* workspace) const {
    if (grad) grad_weight(dy, x, grad, workspace);
    if (dx.data) grad_x(dy, weight, dx, workspace);
}

}  // namespace yolo::packed
