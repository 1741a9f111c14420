// The packed kernels with AVX-512: 16 lanes, 32 registers.
#include "training.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#endif

#define LEVEL "avx512"
#define LANES 16
#define TILE 14
#define USE_AVX512
namespace yolo::packed {
namespace {
#include "level.h"
}  // namespace
#if defined(__clang__)
#pragma clang attribute pop
#endif

const Kernels* avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
               ? &kernels
               : nullptr;
}
}  // namespace yolo::packed
#else
namespace yolo::packed {
const Kernels* avx512() {
    return nullptr;
}
}  // namespace yolo::packed
#endif
