// The passes of ConvTraining tap by tap, of any kernel, stride and dilation.
#include <algorithm>
#include <vector>

#include "conv_room.h"

namespace yolo::packed {
namespace {

// What is made of a few images at a time, so that it is in cache when it is read.
constexpr long BYTES_AT_ONCE = 4 << 20;

int at_once(const View& v) {
    return int(std::clamp(BYTES_AT_ONCE / (4L * v.image), 1L, long(v.images)));
}
View images_of(View v, int first, int count) {
    v.data = static_cast<float*>(v.data) + first * v.image, v.images = count;
    return v;
}

// How far beyond the edges of x the taps of a convolution lie.
int beyond(int outputs, int stride, int kernel, int dilation, int pad, int size) {
    return std::max(pad, (outputs - 1) * stride + (kernel - 1) * dilation - pad - (size - 1));
}
int reach(const Conv& c) {
    const int h = beyond(c.y.height, c.stride_h, c.kernel_h, c.dilation_h, c.pad_h, c.x.height);
    const int w = beyond(c.y.width, c.stride_w, c.kernel_w, c.dilation_w, c.pad_w, c.x.width);
    return std::max(h, w);
}

// Whether no tap reaches y, or there is no y.
bool empty(const Conv& c) {
    return c.kernel_h * c.kernel_w == 0 || c.y.height == 0 || c.y.width == 0;
}

// The same map with another border in memory of its own, which place() gives it.
View with_border(View v, int border, int lanes) {
    v.data = nullptr, v.border = border;
    v.row = long(v.width + 2 * border) * lanes;
    v.block = v.row * (v.height + 2 * border), v.image = v.block * v.blocks;
    return v;
}
void place(View& v, int lanes, float* memory) {
    v.data = memory + v.border * (v.row + lanes);
}
long floats(const View& v) {
    return v.image * v.images;
}

// Along one axis, the pixels first, first + stride, ... of dx: which taps reach them, dy's nearest
// pixel first, and where in dy those of the first pixel lie.
struct Phase {
    std::vector<int> taps;
    int offset = 0, dilation = 1;  // of dy's pixels
};
Phase phase_of(int first, int stride, int kernel, int dilation, int pad) {
    Phase phase;
    std::vector<int> offsets;
    for (int t = kernel - 1; t >= 0; --t) {
        const int at = first + pad - t * dilation;
        if (at % stride) continue;
        phase.taps.push_back(t), offsets.push_back(at / stride);
    }
    if (!offsets.empty()) phase.offset = offsets[0];
    if (offsets.size() > 1) phase.dilation = offsets[1] - offsets[0];
    return phase;
}

}  // namespace

const float* ConvTraining::packed_direct(const Conv& call, const Dense& weight, Room& room) const {
    float* packed = room.take(long(call.y.blocks) * call.x.blocks * kernels_.lanes *
                              kernels_.lanes * weight.tap_count);
    divide(room, [&](const Share& s) { training_.pack_dense(weight, packed, s); });
    return packed;
}

// body(x, first): x some images from number `first` on, with a border as wide as asked for.
template <class F>
void ConvTraining::by_images(View x, int border, int most, Room& room, F body) const {
    const bool narrow = border > x.border;
    View wide = images_of(x, 0, most);
    float* memory = nullptr;
    if (narrow) {
        wide = with_border(wide, border, kernels_.lanes);
        memory = room.take(floats(wide));
    }
    if (room.counts()) return;
    if (narrow) place(wide, kernels_.lanes, memory);
    for (int first = 0; first < x.images; first += most) {
        View some = images_of(x, first, std::min(most, x.images - first));
        if (narrow) {
            const Copy copy{some, images_of(wide, 0, some.images), nullptr, 1, 1.f};
            divide(room, [&](const Share& s) { kernels_.copy(copy, s); });
            some = copy.y;
        }
        body(some, first);
    }
}

void ConvTraining::direct(Conv call, const Dense& weight, Room& room) const {
    call.weight = packed_direct(call, weight, room);
    const View y = call.y;
    const int border = reach(call), most = border > call.x.border ? at_once(call.x) : y.images;
    by_images(call.x, border, most, room, [&](const View& x, int first) {
        call.x = x, call.y = images_of(y, first, x.images);
        divide(room, [&](const Share& s) { kernels_.direct(call, s); });
    });
}

// Pixels of dx in rows and columns of one remainder by the stride are reached by the same taps:
// each such phase is a convolution of stride 1, and their results lie between each other.
void ConvTraining::strided_grad_x(const View& dy, const float* weight, const View& dx,
                                  Room& room) const {
    const int most = at_once(dx), down = int(shape_.stride_y), across = int(shape_.stride_x);
    std::vector<Conv> calls;
    std::vector<View> maps;
    int border = 0;
    for (int i = 0; i < down * across; ++i) {
        const Conv call = phase_conv(images_of(dy, 0, most), weight, images_of(dx, 0, most),
                                     i / across, i % across, room);
        calls.push_back(call), maps.push_back(call.y);
        if (!empty(call)) border = std::max(border, reach(call));
    }
    by_images(dy, border, most, room, [&](const View& from, int first) {
        for (Conv& call : calls) {
            call.x = from, call.y.images = from.images;
            if (!empty(call)) divide(room, [&](const Share& s) { kernels_.direct(call, s); });
        }
        const Interleaved all{maps.data(), images_of(dx, first, from.images), down, across};
        divide(room, [&](const Share& s) { training_.interleave(all, s); });
    });
}

// The convolution that gives the rows and columns of dx of one phase, its weight packed.
Conv ConvTraining::phase_conv(const View& dy, const float* weight, const View& dx, int row,
                              int column, Room& room) const {
    Conv call = conv(dy, dx);
    const Phase down = phase_of(row, call.stride_h, call.kernel_h, call.dilation_h, call.pad_h);
    const Phase across =
        phase_of(column, call.stride_w, call.kernel_w, call.dilation_w, call.pad_w);
    Dense part = turned(weight);
    part.tap_count = 0;
    for (int r : down.taps)
        for (int s : across.taps) part.taps[part.tap_count++] = r * call.kernel_w + s;
    View& map = call.y;
    map.height = (dx.height - row + call.stride_h - 1) / call.stride_h;
    map.width = (dx.width - column + call.stride_w - 1) / call.stride_w;
    map = with_border(map, 0, kernels_.lanes);
    call.kernel_h = int(down.taps.size()), call.kernel_w = int(across.taps.size());
    call.pad_h = -down.offset, call.pad_w = -across.offset;
    call.dilation_h = down.dilation, call.dilation_w = across.dilation;
    call.stride_h = call.stride_w = 1;
    if (empty(call)) return call;
    map.data = room.take(floats(map));
    call.bias = zeros(dx.blocks, room);
    call.weight = packed_direct(call, part, room);
    return call;
}

void ConvTraining::direct_grad_weight(GradWeight call, Room& room) const {
    call.sums = room.take(training_.grad_weight_sums(call, threads_));
    // shares have sums of their own
    divide(room, threads_, nullptr, 0, [&](const Share& s) { training_.grad_weight(call, s); });
    divide(room, [&](const Share& s) { training_.grad_weight_collect(call, threads_, s); });
}

}  // namespace yolo::packed
