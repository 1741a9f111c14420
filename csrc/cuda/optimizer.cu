// Darknet's update of many tensors in one launch.
//
//     u <- clamp(update - grad, limit) - decay * w;   w <- clamp(w + rate * u, clip)
//     update <- momentum * u;   grad <- 0
//
// grad is PyTorch's, minus what Darknet accumulates; null stands for zeros. A limit or clip of 0
// clamps nothing, and NaN passes every clamp. rate and decay carry their factors of the
// batch. Where a tensor keeps a 16-bit copy for the kernels, the copy is written in the same pass.
#include "cuda_api.h"
#include "instructions.cuh"

namespace {

constexpr int THREADS = 256, BLOCKS = 64;  // blocks a tensor; each strides over it

__device__ __forceinline__ float clamped(float value, float limit) {
    if (limit == 0.f) return value;
    return value > limit ? limit : value < -limit ? -limit : value;
}

// One tensor a blockIdx.y.
__global__ void __launch_bounds__(THREADS)
    update_kernel(const YoloParameter* parameters, float rate, float momentum, bool clear) {
    YoloParameter p = parameters[blockIdx.y];
    int64_t stride = int64_t(gridDim.x) * THREADS;
    for (int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x; i < p.count; i += stride) {
        float w = load(p.weight + i);
        float u = load(p.update + i) - (p.grad != nullptr ? load(p.grad + i) : 0.f);
        u = clamped(u, p.limit) - p.decay * w;
        w = clamped(w + rate * p.rate * u, p.clip);
        store(p.update + i, momentum * u);
        store(p.weight + i, w);
        if (clear && p.grad != nullptr) store(p.grad + i, 0.f);
        if (p.half == nullptr) continue;
        if (p.half_type == YOLO_BFLOAT16)
            store(static_cast<bf16*>(p.half) + i, rounded<bf16>(w));
        else
            store(static_cast<fp16*>(p.half) + i, rounded<fp16>(w));
    }
}

}  // namespace

int yolo_cuda_update(const YoloParameter* parameters, int count, float rate, float momentum,
                     int clear, void* stream) {
    if (count < 0 || count > 65535) return YOLO_BAD_SHAPE;
    if (count == 0) return YOLO_OK;
    LAUNCH(update_kernel, dim3(BLOCKS, unsigned(count)), dim3(THREADS), 0,
           static_cast<Stream>(stream), parameters, rate, momentum, clear != 0);
    return launch_status();
}
