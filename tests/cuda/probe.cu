// Small kernels with known answers, and kernels with one known mistake each. Compiled for the
// emulator (all) and for a GPU (the right ones), where results must agree bit for bit.
#include "../../csrc/cuda/cuda_api.h"
#include "../../csrc/cuda/instructions.cuh"

namespace naive {
#include "../../benchmarks/ladder/naive.cu"
}

namespace {

// c (16 x 8) = a b^T for a (16 x depth), b (8 x depth), fragments loaded element by element.
template <int FORMAT>
__global__ void mma_kernel(const uint32_t* a, const uint32_t* b, float* c) {
    int lane = int(threadIdx.x), g = lane / 4, t = lane % 4;
    uint32_t left[4], right[2];
    for (int i = 0; i < 4; ++i) left[i] = a[(g + i % 2 * 8) * 8 + t + i / 2 * 4];
    for (int i = 0; i < 2; ++i) right[i] = b[g * 8 + t + i * 4];
    float sum[4] = {};
    if (FORMAT == YOLO_BFLOAT16) mma_bf16(sum, left, right);
    if (FORMAT == YOLO_FLOAT16) mma_fp16(sum, left, right);
    if (FORMAT == YOLO_FLOAT32) mma_tf32(sum, left, right);
    for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum[i];
}

// Every word that each lane gets from ldmatrix, plain and turned, of four 8 x 8 matrices.
__global__ void ldmatrix_kernel(const uint16_t* matrices, uint32_t* out) {
    SHARED(uint4, tile, [32]);
    tile[threadIdx.x] = reinterpret_cast<const uint4*>(matrices)[threadIdx.x];
    __syncthreads();
    uint32_t plain[4], turned[4];
    ldmatrix_x4<false>(plain, &tile[threadIdx.x]);
    ldmatrix_x4<true>(turned, &tile[threadIdx.x]);
    for (int i = 0; i < 4; ++i) {
        out[threadIdx.x * 8 + i] = plain[i];
        out[threadIdx.x * 8 + 4 + i] = turned[i];
    }
}

// Conversions between float and the 16-bit types, one value a thread.
__global__ void convert_kernel(const float* x, uint16_t* as_bf16, uint16_t* as_fp16, float* back,
                               uint32_t* as_tf32) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    as_bf16[i] = rounded<bf16>(x[i]).bits;
    as_fp16[i] = rounded<fp16>(x[i]).bits;
    back[i] = widen(fp16{uint16_t(i)});
    as_tf32[i] = reinterpret_cast<const uint32_t*>(x)[i];
    round_tf32(as_tf32[i]);
}

// Sum of 32 values by shuffles, a vote, and the value of the neighbour below.
__global__ void warp_kernel(const float* x, float* out) {
    float sum = x[threadIdx.x];
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
    out[threadIdx.x] = sum;
    out[32 + threadIdx.x] = __shfl_down_sync(~0u, x[threadIdx.x], 1);
    out[64 + threadIdx.x] = float(__ballot_sync(~0u, x[threadIdx.x] > 0) >> (threadIdx.x % 24));
    out[96 + threadIdx.x] = __shfl_sync(~0u, x[threadIdx.x], 5);
}

// Turns 64 values round through shared memory; WAITS: as it should be.
template <bool WAITS>
__global__ void barrier_kernel(const float* x, float* out) {
    SHARED(float, tile, [64]);
    tile[threadIdx.x] = x[threadIdx.x];
    if (WAITS) __syncthreads();
    out[threadIdx.x] = tile[63 - threadIdx.x];
}

template <bool WAITS>
__global__ void copy_kernel(const float* x, float* out) {
    SHARED(uint4, tile, [32]);
    copy_async_16(&tile[threadIdx.x], x + threadIdx.x * 4, 12);
    copy_commit();
    if (WAITS) copy_wait<0>();
    const float* mine = reinterpret_cast<const float*>(&tile[threadIdx.x]);
    for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + i] = mine[i];
    copy_wait<0>();
}

template <int STRIDE>
__global__ void stride_kernel(float* out) {
    SHARED(float, tile, [32 * STRIDE]);
    store_shared(&tile[threadIdx.x * STRIDE], 1.f);
    store(out + threadIdx.x * STRIDE, load_shared(&tile[threadIdx.x * STRIDE]));
}

#ifdef YOLO_EMULATOR
__global__ void deadlock_kernel() {
    if (threadIdx.x < 32) __syncthreads();
    if (threadIdx.x >= 32 && threadIdx.x < 40) __syncwarp();
    if (threadIdx.x >= 40 && threadIdx.x < 64) __syncthreads();
}
__global__ void mismatch_kernel() {
    if (threadIdx.x < 16)
        __syncwarp();
    else
        __shfl_sync(~0u, 1, 0);
}
__global__ void forgotten_kernel(const float* x) {
    SHARED(uint4, tile, [32]);
    copy_async_16(&tile[threadIdx.x], x, 16);
}
__global__ void missing_lanes_kernel(float* out) {
    uint32_t a[4] = {}, b[2] = {};
    float sum[4] = {};
    mma_bf16(sum, a, b);
    out[threadIdx.x] = sum[0];
}
#endif

}  // namespace

YOLO_CUDA_API int probe_mma(int type, const uint32_t* a, const uint32_t* b, float* c, void* s) {
    auto stream = static_cast<Stream>(s);
    auto kernel = type == YOLO_BFLOAT16  ? mma_kernel<YOLO_BFLOAT16>
                  : type == YOLO_FLOAT16 ? mma_kernel<YOLO_FLOAT16>
                                         : mma_kernel<YOLO_FLOAT32>;
    LAUNCH(kernel, dim3(1), dim3(32), 0, stream, a, b, c);
    return launch_status();
}
YOLO_CUDA_API int probe_ldmatrix(const uint16_t* matrices, uint32_t* out, void* s) {
    LAUNCH(ldmatrix_kernel, dim3(1), dim3(32), 0, static_cast<Stream>(s), matrices, out);
    return launch_status();
}
YOLO_CUDA_API int probe_convert(const float* x, uint16_t* as_bf16, uint16_t* as_fp16, float* back,
                                uint32_t* as_tf32, void* s) {
    LAUNCH(convert_kernel, dim3(256), dim3(256), 0, static_cast<Stream>(s), x, as_bf16, as_fp16,
           back, as_tf32);
    return launch_status();
}
YOLO_CUDA_API int probe_warp(const float* x, float* out, void* s) {
    LAUNCH(warp_kernel, dim3(1), dim3(32), 0, static_cast<Stream>(s), x, out);
    return launch_status();
}
YOLO_CUDA_API int probe_barrier(int waits, const float* x, float* out, void* s) {
    auto kernel = waits ? barrier_kernel<true> : barrier_kernel<false>;
    LAUNCH(kernel, dim3(1), dim3(64), 0, static_cast<Stream>(s), x, out);
    return launch_status();
}
YOLO_CUDA_API int probe_copy(int waits, const float* x, float* out, void* s) {
    auto kernel = waits ? copy_kernel<true> : copy_kernel<false>;
    LAUNCH(kernel, dim3(1), dim3(32), 0, static_cast<Stream>(s), x, out);
    return launch_status();
}
YOLO_CUDA_API int probe_stride(int stride, float* out, void* s) {
    auto kernel = stride == 1   ? stride_kernel<1>
                  : stride == 2 ? stride_kernel<2>
                                : stride_kernel<32>;
    LAUNCH(kernel, dim3(1), dim3(32), 0, static_cast<Stream>(s), out);
    return launch_status();
}
YOLO_CUDA_API int probe_naive(const float* x, const float* weight, float* y, int channels,
                              int height, int width, int filters, void* s) {
    const unsigned blocks = blocks_for(int64_t(filters) * height * width, 256);
    LAUNCH(naive::convolve, dim3(blocks), dim3(256), 0, static_cast<Stream>(s), x, weight, y,
           channels, height, width, filters);
    return launch_status();
}
#ifdef YOLO_EMULATOR
YOLO_CUDA_API int probe_mistake(int which, float* x, void* s) {
    if (which == 0) LAUNCH(deadlock_kernel, dim3(1), dim3(64), 0, s);
    if (which == 1) LAUNCH(mismatch_kernel, dim3(1), dim3(32), 0, s);
    if (which == 2) LAUNCH(forgotten_kernel, dim3(1), dim3(32), 0, s, x);
    if (which == 3) LAUNCH(missing_lanes_kernel, dim3(1), dim3(24), 0, s, x);
    if (which == 4) LAUNCH(missing_lanes_kernel, dim3(1), dim3(2048), 0, s, x);
    return launch_status();
}
#endif
