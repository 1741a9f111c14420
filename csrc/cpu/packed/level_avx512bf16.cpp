// The packed kernels in bf16 with AVX512-BF16: 16 lanes of two channels, 32 registers.
#include "packed.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(                                                          \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma"))), \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")
#endif

#define LEVEL "avx512bf16"
#define LANES 16
#define TILE 14
#define USE_AVX512
#define USE_BF16
namespace yolo::packed {
namespace {
#include "level.h"
}  // namespace
#if defined(__clang__)
#pragma clang attribute pop
#endif

const Kernels* avx512bf16() {
    return avx512() && __builtin_cpu_supports("avx512bf16") ? &kernels : nullptr;
}
}  // namespace yolo::packed
#else
namespace yolo::packed {
const Kernels* avx512bf16() {
    return nullptr;
}
}  // namespace yolo::packed
#endif
