// The CUDA block model on the CPU, as kernels see it: the same .cu file compiles with nvcc for a
// GPU and with g++ for this. Each CUDA thread is a fiber that runs until it must wait; blocks run
// one after another. Lanes of a warp are not in lock step, so a missing __syncwarp shows.
// What is not modelled: weak memory order, rounding of the tensor cores, time.
#pragma once
#include <math.h>  // exp(float) and friends outside of std, as CUDA has them

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#include "fiber.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict

struct Index3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

namespace emulator {

// Where in a kernel something was called: named in error messages, groups counted accesses.
struct Site {
    const char* file;
    int line;
};
#define YOLO_SITE emulator::Site site = {__builtin_FILE(), __builtin_LINE()}

enum class Space { shared_read, shared_write, global_read, global_write };

// What hardware would have done; sums over a launch. A request is one instruction of one warp.
struct Counters {
    uint64_t shared_requests, shared_wavefronts;  // equal when no bank conflicts
    uint64_t global_requests, global_sectors;     // sectors of 32 bytes
    uint64_t global_bytes;
    uint64_t mma, block_barriers, warp_barriers;
};

// What one lane does for the whole warp touches the other lanes' stacks: no race of the kernel.
#define UNSEEN __attribute__((no_sanitize("thread")))

struct Thread {
    Index3 index;
    unsigned linear;  // within the block
};
extern Thread* self;  // the CUDA thread that is running
extern Index3 block_index;
extern dim3 block_size, grid_size;
extern Counters counters;
extern bool counting;

inline unsigned lane() {
    return self->linear % 32;
}
inline unsigned warp() {
    return self->linear / 32;
}

void launch(dim3 grid, dim3 block, size_t dynamic_bytes, const char* name,
            const std::function<void()>& body);
// Empty when every launch since the last call ended well.
const char* take_error();
// Ends the block that is running with a message; never returns to the kernel.
[[noreturn]] void fail(Site site, const char* format, ...) __attribute__((format(printf, 2, 3)));

void sync_block(Site site);
// The next __shared__ array of this thread; every block finds NaN in it.
void* shared_array(size_t bytes);
void* dynamic_shared_array();

// All living lanes of the warp meet; the last to arrive runs `act` once for the whole warp.
// arguments[i] is null where lane i has ended.
using Act = void (*)(void* const arguments[32]);
void meet(const char* what, Site site, bool fence, void* argument, Act act);

// For operations that need all 32 lanes: fails where some have ended.
Act whole_warp(Site site, Act act);

// cp.async: the target holds NaN from the issue on and the data only after the matching wait.
void copy_async(void* target, const void* source, size_t bytes, size_t valid, Site site);
void copy_commit();
void copy_wait(size_t groups_left);

// Order in which threads and blocks run: 0 forward, 1 reverse, 2 random.
void set_order(int order, uint64_t seed);
// How many of the first and of the last blocks of each launch run; 0: all of them.
void set_ends(unsigned count);

void count_access(Space space, const void* address, size_t bytes, Site site);
// The eight-row reads of one ldmatrix.
void count_shared_matrix(const void* const rows[32]);
inline void count(Space space, const void* address, size_t bytes, Site site) {
    if (counting) count_access(space, address, bytes, site);
}

template <class T>
struct Exchange {
    T value;
    unsigned source;
    T result;
};

template <class T>
T shuffle(const char* what, T value, unsigned source, Site site) {
    Exchange<T> mine = {value, source % 32, value};
    meet(what, site, false, &mine, [](void* const lanes[32]) UNSEEN {
        for (int i = 0; i < 32; ++i) {
            auto* lane = static_cast<Exchange<T>*>(lanes[i]);
            if (lane == nullptr || lanes[lane->source] == nullptr) continue;
            lane->result = static_cast<Exchange<T>*>(lanes[lane->source])->value;
        }
    });
    return mine.result;
}

unsigned ballot(bool vote, Site site);

}  // namespace emulator

#define threadIdx (emulator::self->index)
#define blockIdx (emulator::block_index)
#define blockDim (emulator::block_size)
#define gridDim (emulator::grid_size)
#define __syncthreads() emulator::sync_block({__FILE__, __LINE__})

inline void __syncwarp(unsigned = ~0u, YOLO_SITE) {
    emulator::meet("__syncwarp", site, true, nullptr, [](void* const*) {});
}
template <class T>
T __shfl_sync(unsigned, T value, int source, YOLO_SITE) {
    return emulator::shuffle("__shfl_sync", value, unsigned(source), site);
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask, YOLO_SITE) {
    return emulator::shuffle("__shfl_xor_sync", value, emulator::lane() ^ unsigned(mask), site);
}
// A lane whose source lies past the end of the warp keeps its own value, as on the hardware.
template <class T>
T __shfl_down_sync(unsigned, T value, int delta, YOLO_SITE) {
    unsigned source = emulator::lane() + unsigned(delta);
    return emulator::shuffle("__shfl_down_sync", value, source < 32 ? source : emulator::lane(),
                             site);
}
inline unsigned __ballot_sync(unsigned, bool vote, YOLO_SITE) {
    return emulator::ballot(vote, site);
}
inline bool __any_sync(unsigned, bool vote, YOLO_SITE) {
    return emulator::ballot(vote, site) != 0;
}

// All fibers share one thread of the machine and are never interrupted, so these are atomic.
template <class T>
T atomicAdd(T* address, T value) {
    T before = *address;
    *address = before + value;
    return before;
}
template <class T>
T atomicMax(T* address, T value) {
    T before = *address;
    if (before < value) *address = value;
    return before;
}
inline void __threadfence() {}
