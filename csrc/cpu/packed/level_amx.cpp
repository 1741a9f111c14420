// The packed kernels in bf16 with AVX512-BF16, direct convolutions in the matrix registers of AMX.
#include "packed.h"

#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) || __GNUC__ >= 11)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__clang__)
#pragma clang attribute push(                                                                \
    __attribute__((target(                                                                   \
        "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,xsave,amx-tile,amx-bf16"))), \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,xsave,amx-tile,amx-bf16")
#endif

#define LEVEL "amx"
#define LANES 16
#define TILE 14
#define USE_AVX512
#define USE_BF16
#define USE_AMX
namespace yolo::packed {
namespace {
#include "level.h"

// Linux saves the registers only for processes that ask; no other system is asked here.
bool registers_granted() {
    constexpr unsigned BF16 = 1u << 22, TILES = 1u << 24;  // of CPUID 7, EDX
    constexpr int SHAPES = 17, DATA = 18;                  // of XCR0
    constexpr long ARCH_REQ_XCOMP_PERM = 0x1023;
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & (BF16 | TILES)) != (BF16 | TILES))
        return false;
    const auto kept = _xgetbv(0);
    return (kept >> SHAPES & 1) && (kept >> DATA & 1) &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, DATA) == 0;
}
}  // namespace
#if defined(__clang__)
#pragma clang attribute pop
#endif

const Kernels* amx() {
    static const bool granted = avx512bf16() && registers_granted();
    return granted ? &kernels : nullptr;
}
}  // namespace yolo::packed
#else
namespace yolo::packed {
const Kernels* amx() {
    return nullptr;
}
}  // namespace yolo::packed
#endif
