// What differs between nvcc and the emulator when shared memory is declared and a kernel started.
#pragma once
#include <cstddef>
#include <cstdint>

#ifdef YOLO_EMULATOR

#include "../emulator/emulator.h"

using Stream = void*;
#define UNROLL
#define SHARED(T, name, ...) \
    auto& name = *reinterpret_cast<T(*) __VA_ARGS__>(emulator::shared_array(sizeof(T __VA_ARGS__)))
#define SHARED_DYN(T, name) T* name = static_cast<T*>(emulator::dynamic_shared_array())
#define LAUNCH(kernel, grid, block, bytes, stream, ...) \
    ((void)(stream), emulator::launch(grid, block, bytes, #kernel, [=] { kernel(__VA_ARGS__); }))

template <class Kernel>
int allow_shared(Kernel*, size_t) {
    return 0;
}

#else

#include <cuda_runtime.h>

using Stream = cudaStream_t;
#define UNROLL _Pragma("unroll")
#define SHARED(T, name, ...) __shared__ T name __VA_ARGS__
#define SHARED_DYN(T, name)                                          \
    extern __shared__ __align__(128) unsigned char dynamic_shared[]; \
    T* name = reinterpret_cast<T*>(dynamic_shared)
#define LAUNCH(kernel, grid, block, bytes, stream, ...) \
    kernel<<<grid, block, bytes, stream>>>(__VA_ARGS__)

// More than 48 KB of dynamic shared memory must be asked for, once per kernel and device.
template <class Kernel>
int allow_shared(Kernel* kernel, size_t bytes) {
    return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes));
}

#endif

// Status of the launches since the last call: 0, or a code that status_message explains.
int launch_status();

inline unsigned blocks_for(int64_t items, int per_block, int64_t most = 1 << 30) {
    int64_t blocks = (items + per_block - 1) / per_block;
    return unsigned(blocks < 1 ? 1 : blocks > most ? most : blocks);
}
