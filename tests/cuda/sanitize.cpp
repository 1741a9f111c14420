// Runs the kernels on tiny shapes under a sanitizer, which ends the program when it finds
// something: those of the emulator under the compiler's, or compiled by nvcc under
// compute-sanitizer. `race` runs a kernel that lacks a barrier instead: whoever looks for races
// must object.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "../../csrc/cuda/cuda_api.h"
#ifdef YOLO_EMULATOR
#include "../../csrc/emulator/emulator_api.h"
#else
#include <cuda_runtime.h>
#endif

YOLO_CUDA_API int probe_barrier(int waits, const float* x, float* out, void* stream);

namespace {

#ifdef YOLO_EMULATOR
template <class T>
using Memory = std::vector<T>;
int finish() {
    return YOLO_OK;
}
#else
// Memory that both sides read: an allocation for each tensor, so that a step outside is seen.
template <class T>
struct Managed {
    using value_type = T;
    Managed() = default;
    template <class Other>
    Managed(const Managed<Other>&) {}
    T* allocate(size_t count) {
        void* memory = nullptr;
        if (cudaMallocManaged(&memory, count * sizeof(T)) != cudaSuccess) throw std::bad_alloc();
        return static_cast<T*>(memory);
    }
    void deallocate(T* memory, size_t) { cudaFree(memory); }
    bool operator==(const Managed&) const { return true; }
    bool operator!=(const Managed&) const { return false; }
};
template <class T>
using Memory = std::vector<T, Managed<T> >;
int finish() {
    return int(cudaDeviceSynchronize());
}
#endif

void check(int status, const char* what) {
    if (status == YOLO_OK) status = finish();
    if (status == YOLO_OK) return;
    std::printf("%s: %s\n", what, yolo_cuda_message(status));
    std::exit(2);
}

// Memory of its own for every tensor, so that a step outside is seen; filled with small numbers.
struct Buffer {
    Memory<char> bytes;
    explicit Buffer(int64_t count, YoloType type) : bytes(size_t(count * size(type))) {
        for (int64_t i = 0; i < count; ++i) set(i, type, float(i * 7 % 13 - 6) / 8);
    }
    static int64_t size(YoloType type) {
        return type == YOLO_FLOAT64 ? 8 : type == YOLO_FLOAT32 ? 4 : 2;
    }
    void set(int64_t i, YoloType type, float value) {
        double wide = value;
        unsigned bits;
        std::memcpy(&bits, &value, 4);
        unsigned short half = type == YOLO_BFLOAT16 ? (unsigned short)(bits >> 16) : 0;
        const void* from = type == YOLO_FLOAT64   ? static_cast<void*>(&wide)
                           : type == YOLO_FLOAT32 ? static_cast<void*>(&value)
                                                  : static_cast<void*>(&half);
        std::memcpy(&bytes[size_t(i * size(type))], from, size_t(size(type)));
    }
    void* data() { return bytes.data(); }
};

Strides nhwc(int c, int h, int w) {
    return {int64_t(c) * h * w, 1, int64_t(c) * w, c};
}

int64_t im2col_workspace(const YoloConv* call, YoloPass) {
    return yolo_cuda_conv_im2col_workspace(&call->shape, call->type);
}

void convolve(ConvShape a, YoloType type, int64_t (*workspace)(const YoloConv*, YoloPass),
              int (*run)(const YoloConv*, YoloPass, void*), const char* what) {
    a.p = (a.h + 2 * a.pad_y - a.dilation_y * (a.r - 1) - 1) / a.stride_y + 1;
    a.q = (a.w + 2 * a.pad_x - a.dilation_x * (a.s - 1) - 1) / a.stride_x + 1;
    Buffer x(int64_t(a.n) * a.c * a.h * a.w, type), y(int64_t(a.n) * a.k * a.p * a.q, type);
    Buffer weight(int64_t(a.k) * a.c / a.groups * a.r * a.s, type);
    Buffer grad_weight(int64_t(a.k) * a.c / a.groups * a.r * a.s, YOLO_FLOAT64);
    YoloConv call = {};
    call.shape = a, call.type = type, call.activation = 8;  // linear
    call.x = x.data(), call.x_strides = nhwc(a.c, a.h, a.w);
    call.y = y.data(), call.y_strides = nhwc(a.k, a.p, a.q);
    call.splits = 2;
    bool tensor_cores = workspace != im2col_workspace && workspace != yolo_cuda_depthwise_workspace;
    bool stem = workspace == yolo_cuda_conv_stem_workspace;
    auto tile_count = [&](YoloPass pass) {
        return size_t(yolo_cuda_conv_implicit_tiles(&a, pass));
    };
    Memory<float> tiles(tile_count(YOLO_FORWARD) * a.k * 3 + tile_count(YOLO_GRAD_X) * a.c * 2);
    Buffer normed(int64_t(a.n) * a.c * a.h * a.w, type);
    Memory<float> channels(size_t(a.c), 0.5f);
    for (YoloPass pass : {YOLO_FORWARD, YOLO_GRAD_X, YOLO_GRAD_WEIGHT}) {
        if (stem && pass == YOLO_GRAD_X) continue;
        call.weight = pass == YOLO_GRAD_WEIGHT ? grad_weight.data() : weight.data();
        call.workspace_bytes = workspace(&call, pass);
        Memory<char> room(size_t(call.workspace_bytes));
        call.workspace = room.data();
        check(run(&call, pass, nullptr), what);
        if (pass == YOLO_GRAD_WEIGHT || !tensor_cores) continue;
        YoloConv more = call;  // the same without splits, with statistics or gradient sums
        more.tiles = tiles.data();
        if (pass == YOLO_GRAD_X) {
            more.normed = more.residual = normed.data();
            more.normed_pitch = more.residual_pitch = a.c;
            more.scale = more.mean = more.rstd = channels.data(), more.bias = channels.data();
        }
        check(run(&more, pass, nullptr), what);
    }
}

void normalise(YoloType type, int channels) {
    YoloType number = type == YOLO_FLOAT64 ? YOLO_FLOAT64 : YOLO_FLOAT32;
    int64_t rows = 35;
    Buffer x(rows * channels, type), y(rows * channels, type), grad(rows * channels, type);
    std::vector<Buffer> values(8, Buffer(channels, number));
    Memory<char> room(size_t(yolo_cuda_norm_workspace(rows, channels)));
    YoloNorm t = {};
    t.rows = rows, t.channels = channels, t.type = type, t.training = 1, t.activation = 18;
    t.x = {x.data(), channels}, t.y = {y.data(), channels}, t.grad_y = {y.data(), channels};
    t.grad_x = {grad.data(), channels}, t.workspace = room.data(), t.eps = 1e-5;
    t.scale = values[0].data(), t.bias = values[1].data(), t.mean = values[2].data();
    t.rstd = values[3].data(), t.rolling_mean = values[4].data();
    t.rolling_var = values[5].data();
    check(yolo_cuda_norm_forward(&t, nullptr), "norm_forward");
    t.grad_scale = values[6].data(), t.grad_bias = values[7].data();
    check(yolo_cuda_norm_backward(&t, nullptr), "norm_backward");
}

void prelu(int channels) {
    const int64_t rows = 137;
    Buffer x(rows * channels, YOLO_FLOAT32), y(rows * channels, YOLO_FLOAT32);
    Memory<float> slope(size_t(channels), 0.25f), grad(size_t(channels), 0.f);
    Memory<char> room(size_t(yolo_cuda_prelu_workspace(rows, channels)));
    YoloPrelu t = {rows,    channels, YOLO_FLOAT32, {x.data(), channels}, {}, {}, nullptr,
                   nullptr, {}};
    t.y = {y.data(), channels}, t.grad_y = t.x;
    t.slope = slope.data(), t.grad_slope = grad.data(), t.workspace = room.data();
    check(yolo_cuda_prelu(&t, YOLO_FORWARD, nullptr), "prelu");
    check(yolo_cuda_prelu(&t, YOLO_GRAD_X, nullptr), "prelu grad_x");
}

void pool() {
    Buffer x(2 * 5 * 6 * 7, YOLO_FLOAT32), y(2 * 5 * 3 * 4, YOLO_FLOAT32);
    Memory<int> index(2 * 5 * 3 * 4);
    YoloPool t = {2, 5, 6, 7, 3, 4, 2, 2, 2, 2, 0, 0, YOLO_FLOAT32, {}, {}, index.data()};
    t.x = {x.data(), 5}, t.y = {y.data(), 5};
    check(yolo_cuda_maxpool(&t, YOLO_FORWARD, nullptr), "maxpool");
    check(yolo_cuda_maxpool(&t, YOLO_GRAD_X, nullptr), "maxpool grad_x");
    check(yolo_cuda_avgpool(&t, YOLO_FORWARD, nullptr), "avgpool");
}

// Whole packs of channels, and odd ones.
void spp(int c) {
    const int h = 5, w = 9, levels = 3;
    Buffer x(2 * c * h * w, YOLO_FLOAT32), y(2 * c * h * w * levels, YOLO_FLOAT32);
    Memory<unsigned char> codes(size_t(2 * c * h * w * levels));
    YoloSpp t = {2, c, h, w, levels, {5, 9, 13}, YOLO_FLOAT32, {x.data(), c}, {}, {}, codes.data()};
    for (int i = 0; i < levels; ++i)
        t.y[i] = {reinterpret_cast<float*>(y.data()) + i * c, int64_t(levels) * c};
    check(yolo_cuda_spp(&t, YOLO_FORWARD, nullptr), "spp");
    t.other = t.x;
    check(yolo_cuda_spp(&t, YOLO_GRAD_X, nullptr), "spp grad_x");
}

// Regions inside, over the edges, far outside, of no image and without numbers.
void regions() {
    const float nan = NAN;
    Memory<float> all = {0, 0.1f, 0.2f,  0.7f, 0.9f, 1,   -0.4f, -0.1f, 1.3f, 1.2f,
                         1, 1e9f, -1e9f, 2e9f, 1,    7,   0,     0,     1,    1,
                         0, nan,  nan,   nan,  nan,  nan, 0,     0,     1,    1};
    const int c = 3, h = 5, w = 4, p = 2, q = 3, count = 6;
    Buffer x(2 * c * h * w, YOLO_FLOAT32), y(count * c * p * q, YOLO_FLOAT32);
    Memory<int> index(size_t(count * c * p * q));
    YoloRoi t = {2, c, h, w, count, p, q, 2, YOLO_FLOAT32, {}, {}, all.data(), index.data()};
    t.x = {x.data(), c}, t.y = {y.data(), c};
    for (YoloPass pass : {YOLO_FORWARD, YOLO_GRAD_X}) {
        check(yolo_cuda_roi_align(&t, pass, nullptr), "roi_align");
        check(yolo_cuda_roi_pool(&t, pass, nullptr), "roi_pool");
    }
}

// 40 cells that overlap, three classes, a full capacity.
void detect(int capacity) {
    const int cells = 40, classes = 3, width = 5 + classes;
    Memory<float> x(size_t(2 * cells * width)), settings(18, 1.f);
    Memory<float> boxes(size_t(2 * capacity * 4 + 4)), probs(size_t(2 * capacity * classes));
    Memory<unsigned char> kept(probs.size());
    Memory<int> counts(2), places(size_t(2 * capacity));
    for (size_t i = 0; i < x.size(); ++i) x[i] = float(i * 7 % 13 + 1) / 16;
    settings[0] = 0.1f, settings[1] = 0.4f;
    YoloDetect t = {};
    t.images = 2, t.classes = classes, t.capacity = capacity, t.grid_count = 1;
    t.settings = settings.data(), t.counts = counts.data(), t.cells = places.data();
    t.boxes = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(boxes.data()) + 15) / 16 * 16);
    t.probs = probs.data(), t.kept = kept.data();
    t.grids[0] = {{x.data(), 2 * width}, 4, 5, 2, 1, 1.1f, {0.4f, 0.5f}, {0.5f, 0.4f}};
    check(yolo_cuda_detect(&t, nullptr), "detect");
}

}  // namespace

int main(int count, char** arguments) {
    if (count > 1 && std::strcmp(arguments[1], "race") == 0) {
        Memory<float> x(64, 1.f), out(64);
        check(probe_barrier(0, x.data(), out.data(), nullptr), "race");
        return 0;
    }
    // the thread sanitizer reasons about what may happen: one order is enough for it
    bool once = count > 1 && std::strcmp(arguments[1], "once") == 0;
    for (int order = once ? 2 : 0; order < 3; ++order) {
#ifdef YOLO_EMULATOR
        emulator_set_order(order, 3);
#endif
        for (YoloType type : {YOLO_BFLOAT16, YOLO_FLOAT32}) {
            convolve({1, 16, 5, 6, 24, 3, 3, 0, 0, 2, 1, 1, 1, 1, 1, 1}, type,
                     yolo_cuda_conv_implicit_workspace, yolo_cuda_conv_implicit, "implicit");
            convolve({2, 3, 4, 5, 7, 2, 3, 0, 0, 1, 2, 0, 1, 1, 1, 1}, type,
                     yolo_cuda_conv_implicit_workspace, yolo_cuda_conv_implicit, "odd implicit");
            convolve({1, 8, 5, 6, 8, 3, 3, 0, 0, 2, 1, 1, 1, 1, 1, 8}, type,
                     yolo_cuda_depthwise_workspace, yolo_cuda_depthwise, "depthwise");
            if (type == YOLO_BFLOAT16)
                convolve({2, 3, 5, 7, 20, 3, 3, 0, 0, 2, 1, 1, 1, 1, 1, 1}, type,
                         yolo_cuda_conv_stem_workspace, yolo_cuda_conv_stem, "stem");
            normalise(type, 16);
            normalise(type, 5);
        }
        convolve({2, 6, 5, 4, 4, 3, 2, 0, 0, 2, 1, 1, 0, 1, 2, 2}, YOLO_FLOAT64, im2col_workspace,
                 yolo_cuda_conv_im2col, "im2col");
        pool();
        spp(8);
        spp(3);
        prelu(8);
        prelu(35);
        regions();
        detect(40);
        detect(7);
    }
    std::puts("clean");
    return 0;
}
