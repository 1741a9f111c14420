#include "conv_training.h"

#include <algorithm>

#include "conv_room.h"

namespace yolo::packed {
namespace {

constexpr int MIN_CHANNELS = 32;  // with fewer the transforms cost more than they save
constexpr long MIN_PIXELS = 256;

// Whether minimal filtering is faster. Of stride 2 it spares less, and maps that fill their tiles
// badly lose that again.
bool filters_well(const ConvShape& s) {
    const bool three = s.r == 3 && s.s == 3 && s.pad_y == 1 && s.pad_x == 1;
    if (!three || s.dilation_y != 1 || s.dilation_x != 1 || s.stride_y != s.stride_x) return false;
    if (s.stride_y > 2 || std::min(s.c, s.k) < MIN_CHANNELS) return false;
    const long pixels = s.p * s.q, tiles = ((s.p + M - 1) / M) * ((s.q + M - 1) / M);
    return s.n * pixels >= MIN_PIXELS && (s.stride_y == 1 || 4 * pixels >= 3 * M * M * tiles);
}

}  // namespace

bool ConvTraining::fits(const ConvShape& s, bool planar) {
    if (s.groups != 1 || s.taps() > MOST_TAPS) return false;
    const bool image = std::min(s.r, s.s) >= 3 && s.c <= 4;
    return !planar || (image && s.pad_y <= s.r / 2 && s.pad_x <= s.s / 2);
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

Conv ConvTraining::conv(const View& x, const View& y) const {
    Conv a{};
    a.x = x, a.y = y, a.activation = Activation::linear, a.caches = caches_;
    a.m = M, a.mosaic = mosaic_;
    a.kernel_h = int(shape_.r), a.kernel_w = int(shape_.s);
    a.pad_h = int(shape_.pad_y), a.pad_w = int(shape_.pad_x);
    a.stride_h = int(shape_.stride_y), a.stride_w = int(shape_.stride_x);
    a.dilation_h = int(shape_.dilation_y), a.dilation_w = int(shape_.dilation_x);
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
    Conv call = conv(View{}, y);
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

void ConvTraining::forward(Input x, const float* weight, Output y, Room& room) const {
    const View to = output({y.data, y.image});
    if (planar_) return stem(x, weight, to, room);
    convolve(conv(input(x), to), dense(weight), winograd_, room);
}

void ConvTraining::grad_x(Input dy, const float* weight, Output dx, Room& room) const {
    const View from = output(dy), to = input({dx.data, dx.image});
    const bool strided = shape_.stride_y > 1 || shape_.stride_x > 1;
    if (strided && !winograd_) return strided_grad_x(from, weight, to, room);
    Conv call = conv(from, to);
    call.pad_h = (call.kernel_h - 1) * call.dilation_h - call.pad_h;
    call.pad_w = (call.kernel_w - 1) * call.dilation_w - call.pad_w;
    call.up = strided;
    convolve(call, turned(weight), winograd_, room);
}

void ConvTraining::grad_weight(Input dy, Input x, float* grad, Room& room) const {
    GradWeight call{};
    call.dy = output(dy), call.grad = grad, call.caches = caches_;
    call.filters = int(shape_.k), call.channels = int(shape_.c);
    call.kernel_h = int(shape_.r), call.kernel_w = int(shape_.s);
    call.stride_h = int(shape_.stride_y), call.stride_w = int(shape_.stride_x);
    call.pad_h = int(shape_.pad_y), call.pad_w = int(shape_.pad_x);
    call.dilation_h = int(shape_.dilation_y), call.dilation_w = int(shape_.dilation_x);
    if (planar_) {
        call.image = image(x);
        return stem_grad_weight(call, room);
    }
    call.x = input(x), call.mosaic = mosaic_;
    winograd_ ? winograd_grad_weight(call, room) : direct_grad_weight(call, room);
}

void ConvTraining::stem_grad_weight(GradWeight call, Room& room) const {
    const long each = (training_.stem_grad_weight_scratch(call) + 15) / 16 * 16;
    call.sums = room.take(training_.stem_grad_weight_sums(call, threads_));
    float* scratch = room.take(threads_ * each);
    divide(room, threads_, scratch, each,
           [&](const Share& s) { training_.stem_grad_weight(call, s); });
    if (!room.counts()) training_.stem_grad_weight_collect(call, threads_);
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
