// The packed kernels with AVX2 and FMA: 8 lanes, 16 registers.
#include "training.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#define LEVEL "avx2"
#define LANES 8
#define TILE 6
#define USE_AVX2
namespace yolo::packed {
namespace {
#include "level.h"
}  // namespace
#if defined(__clang__)
#pragma clang attribute pop
#endif

const Kernels* avx2() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kernels : nullptr;
}
}  // namespace yolo::packed
#else
namespace yolo::packed {
const Kernels* avx2() {
    return nullptr;
}
}  // namespace yolo::packed
#endif
