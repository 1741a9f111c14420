// The only place with PTX. Each wrapper has a device body and a host body that the emulator runs.
// Fragment layouts (lane = 4 g + t): an m16n8 result holds rows g, g + 8 and columns 2t, 2t + 1.
#pragma once
#include "launch.cuh"

// Storage types of 16 bits. Arithmetic happens in float.
struct bf16 {
    uint16_t bits;
};
struct fp16 {
    uint16_t bits;
};

#ifndef YOLO_EMULATOR

// Instructions that begin with sm_80. For sm_75 the kernels with tensor cores compile to a trap;
// there only those in float and double are called.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define ASM_80(...) __trap()
#define PURE_80(...) __trap()
#else
#define ASM_80(...) asm volatile(__VA_ARGS__)
#define PURE_80(...) asm(__VA_ARGS__)  // may be moved, and dropped where the result is not used
#endif

__device__ __forceinline__ uint32_t shared_address(const void* p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

__device__ __forceinline__ float widen(bf16 v) {
    return __uint_as_float(uint32_t(v.bits) << 16);
}
__device__ __forceinline__ float widen(fp16 v) {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v.bits));
    return f;
}
__device__ __forceinline__ void narrow(float f, bf16& v) {
    PURE_80("cvt.rn.bf16.f32 %0, %1;" : "=h"(v.bits) : "f"(f));
}
__device__ __forceinline__ void narrow(float f, fp16& v) {
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(v.bits) : "f"(f));
}

// Rounds a float in a register to TF32 (10 mantissa bits), ties away from zero.
__device__ __forceinline__ void round_tf32(uint32_t& bits) {
    PURE_80("cvt.rna.tf32.f32 %0, %0;" : "+r"(bits));
}

// 8x8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8, and gets
// elements (g, 2t), (g, 2t + 1) of each. TRANS: elements (2t, g), (2t + 1, g).
template <bool TRANS>
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&d)[4], const void* row) {
    uint32_t address = shared_address(row);
    if (TRANS)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                     : "r"(address));
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                     : "r"(address));
}

#define YOLO_MMA(NAME, SHAPE)                                                                   \
    __device__ __forceinline__ void NAME(float (&d)[4], const uint32_t (&a)[4],                 \
                                         const uint32_t (&b)[2]) {                              \
        ASM_80("mma.sync.aligned." SHAPE                                                        \
               " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" : "+f"(d[0]),           \
               "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), \
               "r"(b[0]), "r"(b[1]));                                                           \
    }
// d (16 x 8) += a (16 x 16) b (16 x 8) for 16-bit types, a (16 x 8) b (8 x 8) for TF32.
YOLO_MMA(mma_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32")
YOLO_MMA(mma_fp16, "m16n8k16.row.col.f32.f16.f16.f32")
YOLO_MMA(mma_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")
#undef YOLO_MMA

// 16 bytes from global to shared memory, of which the first `valid` are read and the rest zero.
__device__ __forceinline__ void copy_async_16(void* target, const void* source, int valid) {
    ASM_80("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(target)),
           "l"(source), "r"(valid));
}
__device__ __forceinline__ void copy_commit() {
    ASM_80("cp.async.commit_group;");
}
template <int GROUPS_LEFT>
__device__ __forceinline__ void copy_wait() {
    ASM_80("cp.async.wait_group %0;" ::"n"(GROUPS_LEFT));
}

__device__ __forceinline__ int popcount(unsigned bits) {
    return __popc(bits);
}

// Vector accesses through one door, so that the emulator can count them.
template <class T>
__device__ __forceinline__ T load(const T* p) {
    return *p;
}
template <class T>
__device__ __forceinline__ void store(T* p, T value) {
    *p = value;
}
template <class T>
__device__ __forceinline__ T load_shared(const T* p) {
    return *p;
}
template <class T>
__device__ __forceinline__ void store_shared(T* p, T value) {
    *p = value;
}

#else

inline int popcount(unsigned bits) {
    return __builtin_popcount(bits);
}

inline float bits_to_float(uint32_t bits) {
    float f;
    std::memcpy(&f, &bits, sizeof f);
    return f;
}
inline uint32_t float_to_bits(float f) {
    uint32_t bits;
    std::memcpy(&bits, &f, sizeof bits);
    return bits;
}

inline float widen(bf16 v) {
    return bits_to_float(uint32_t(v.bits) << 16);
}
inline void narrow(float f, bf16& v) {
    uint32_t bits = float_to_bits(f);
    if (f != f)
        v.bits = 0x7fff;
    else
        v.bits = uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // to nearest, ties to even
}
inline float widen(fp16 v) {
    int exponent = v.bits >> 10 & 31, mantissa = v.bits & 1023;
    float sign = (v.bits & 0x8000) != 0 ? -1.f : 1.f;
    if (exponent == 31) return mantissa != 0 ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * ldexpf(float(mantissa), -24);
    return sign * ldexpf(float(mantissa | 1024), exponent - 25);
}
inline void narrow(float f, fp16& v) {
    uint16_t sign = uint16_t(float_to_bits(f) >> 16 & 0x8000);
    float size = fabsf(f);
    if (f != f) {
        v.bits = 0x7fff;
    } else if (size >= 65520.f) {
        v.bits = sign | 0x7c00;
    } else {
        int exponent = size < 6.103515625e-05f ? -14 : ilogbf(size);
        float quanta = nearbyintf(ldexpf(size, 10 - exponent));  // of 2^(exponent - 10)
        v.bits = uint16_t(sign | (uint16_t((exponent + 14) << 10) + uint16_t(quanta)));
    }
}
inline void round_tf32(uint32_t& bits) {
    if ((bits & 0x7f800000) != 0x7f800000) bits = (bits + 0x1000) & 0xffffe000;
}

namespace emulator {

struct RowOfMatrix {
    const void* row;
    uint32_t* result;
};
template <bool TRANS>
UNSEEN void ldmatrix_warp(void* const lanes[32]) {
    const void* rows[32];
    for (int i = 0; i < 32; ++i) rows[i] = static_cast<RowOfMatrix*>(lanes[i])->row;
    if (counting) count_shared_matrix(rows);
    for (int i = 0; i < 32; ++i)
        for (int m = 0; m < 4; ++m) {
            uint16_t pair[2];
            for (int e = 0; e < 2; ++e) {
                int row = TRANS ? i % 4 * 2 + e : i / 4, column = TRANS ? i / 4 : i % 4 * 2 + e;
                std::memcpy(&pair[e], static_cast<const char*>(rows[m * 8 + row]) + column * 2, 2);
            }
            std::memcpy(&static_cast<RowOfMatrix*>(lanes[i])->result[m], pair, 4);
        }
}

struct Fragments {
    float* d;
    const uint32_t *a, *b;
};
struct Bf16Element {
    static constexpr int DEPTH = 16;
    static float of(uint32_t word, int half) { return widen(bf16{uint16_t(word >> 16 * half)}); }
};
struct Fp16Element {
    static constexpr int DEPTH = 16;
    static float of(uint32_t word, int half) { return widen(fp16{uint16_t(word >> 16 * half)}); }
};
struct Tf32Element {  // the hardware ignores the low 13 bits
    static constexpr int DEPTH = 8;
    static float of(uint32_t word, int) { return bits_to_float(word & 0xffffe000); }
};

// One product for the whole warp, sums in double: unlike the hardware, which truncates.
template <class Element>
UNSEEN void mma_warp(void* const lanes[32]) {
    constexpr int DEPTH = Element::DEPTH, PER_WORD = DEPTH / 8;
    float a[16][DEPTH], b[DEPTH][8];
    for (int i = 0; i < 32; ++i) {
        auto* lane = static_cast<Fragments*>(lanes[i]);
        for (int word = 0; word < 4; ++word)
            for (int e = 0; e < PER_WORD; ++e)
                a[i / 4 + word % 2 * 8][(i % 4 * PER_WORD + e) + word / 2 * DEPTH / 2] =
                    Element::of(lane->a[word], e);
        for (int word = 0; word < 2; ++word)
            for (int e = 0; e < PER_WORD; ++e)
                b[(i % 4 * PER_WORD + e) + word * DEPTH / 2][i / 4] = Element::of(lane->b[word], e);
    }
    for (int i = 0; i < 32; ++i)
        for (int j = 0; j < 4; ++j) {
            float& d = static_cast<Fragments*>(lanes[i])->d[j];
            double sum = d;
            for (int k = 0; k < DEPTH; ++k)
                sum += double(a[i / 4 + j / 2 * 8][k]) * b[k][i % 4 * 2 + j % 2];
            d = float(sum);
        }
    ++counters.mma;
}

template <class Element>
void mma(const char* what, float* d, const uint32_t* a, const uint32_t* b, Site site) {
    Fragments mine = {d, a, b};
    meet(what, site, false, &mine, whole_warp(site, mma_warp<Element>));
}

}  // namespace emulator

template <bool TRANS>
void ldmatrix_x4(uint32_t (&d)[4], const void* row, YOLO_SITE) {
    emulator::reads(row, 16);
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0)
        emulator::fail(site, "ldmatrix needs rows aligned to 16 bytes");
    emulator::RowOfMatrix mine = {row, d};
    emulator::meet("ldmatrix", site, false, &mine,
                   emulator::whole_warp(site, emulator::ldmatrix_warp<TRANS>));
}
inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], YOLO_SITE) {
    emulator::mma<emulator::Bf16Element>("mma_bf16", d, a, b, site);
}
inline void mma_fp16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], YOLO_SITE) {
    emulator::mma<emulator::Fp16Element>("mma_fp16", d, a, b, site);
}
inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], YOLO_SITE) {
    emulator::mma<emulator::Tf32Element>("mma_tf32", d, a, b, site);
}

inline void copy_async_16(void* target, const void* source, int valid, YOLO_SITE) {
    emulator::count(emulator::Space::global_read, source, size_t(valid), site);
    emulator::count(emulator::Space::shared_write, target, 16, site);
    emulator::copy_async(target, source, 16, size_t(valid), site);
}
inline void copy_commit() {
    emulator::copy_commit();
}
template <int GROUPS_LEFT>
void copy_wait() {
    emulator::copy_wait(GROUPS_LEFT);
}

template <class T>
T load(const T* p, YOLO_SITE) {
    emulator::count(emulator::Space::global_read, p, sizeof(T), site);
    return *p;
}
template <class T>
void store(T* p, T value, YOLO_SITE) {
    emulator::count(emulator::Space::global_write, p, sizeof(T), site);
    *p = value;
}
template <class T>
T load_shared(const T* p, YOLO_SITE) {
    emulator::count(emulator::Space::shared_read, p, sizeof(T), site);
    return *p;
}
template <class T>
void store_shared(T* p, T value, YOLO_SITE) {
    emulator::count(emulator::Space::shared_write, p, sizeof(T), site);
    *p = value;
}

#endif

// Every number type as the type that it is computed in.
template <class T>
struct Compute {
    using type = float;
};
template <>
struct Compute<double> {
    using type = double;
};
__device__ __forceinline__ float widen(float v) {
    return v;
}
__device__ __forceinline__ double widen(double v) {
    return v;
}
__device__ __forceinline__ void narrow(float f, float& v) {
    v = f;
}
__device__ __forceinline__ void narrow(double f, double& v) {
    v = f;
}

template <class To, class From>
__device__ __forceinline__ To rounded(From f) {
    To v;
    narrow(f, v);
    return v;
}
