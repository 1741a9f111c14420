// Darknet's update of many tensors in one launch.
//
//     u <- update - grad - decay * w;   w <- w + rate * u;   update <- momentum * u;   grad <- 0
//
// grad is PyTorch's, minus what Darknet accumulates; rate and decay carry their factors of the
// batch. Where a tensor keeps a 16-bit copy for the kernels, the copy is written in the same pass.
#include "cuda_api.h"
#include "instructions.cuh"

namespace {

constexpr int THREADS = 256, BLOCKS = 64;  // blocks a tensor; each strides over it

// One tensor a blockIdx.y.
__global__ void __launch_bounds__(THREADS)
    update_kernel(const YoloParameter* parameters, float rate, float momentum, bool clear) {
    YoloParameter p = parameters[blockIdx.y];
    int64_t stride = int64_t(gridDim.x) * THREADS;
    for (int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x; i < p.count; i += stride) {
        float w = load(p.weight + i);
        float u = load(p.update + i) - load(p.grad + i) - p.decay * w;
        w += rate * p.rate * u;
        store(p.update + i, momentum * u);
        store(p.weight + i, w);
        if (clear) store(p.grad + i, 0.f);
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
