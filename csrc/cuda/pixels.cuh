// NHWC tensors as rows of channels: row i begins at data + i * pitch. Kernels take 16 bytes of
// channels at once where addresses allow it, else one channel.
#pragma once
#include "cuda_api.h"
#include "instructions.cuh"

template <class T>
constexpr int PACK = 16 / int(sizeof(T));

// COUNT numbers of type T as the type that they are computed in.
template <class T, int COUNT>
struct Values {
    using Number = typename Compute<T>::type;
    Number at[COUNT];

    __device__ __forceinline__ void load_from(const T* p) {
        if constexpr (COUNT == 1) {
            at[0] = widen(load(p));
        } else {
            union {
                uint4 all;
                T one[COUNT];
            } pack;
            pack.all = load(reinterpret_cast<const uint4*>(p));
            UNROLL for (int i = 0; i < COUNT; ++i) {
                at[i] = widen(pack.one[i]);
            }
        }
    }
    __device__ __forceinline__ void store_to(T* p) const {
        if constexpr (COUNT == 1) {
            store(p, rounded<T>(at[0]));
        } else {
            union {
                uint4 all;
                T one[COUNT];
            } pack;
            UNROLL for (int i = 0; i < COUNT; ++i) {
                pack.one[i] = rounded<T>(at[i]);
            }
            store(reinterpret_cast<uint4*>(p), pack.all);
        }
    }
};

// Whether rows of this tensor can be read 16 bytes at a time.
template <class T>
bool packs(const YoloRows& t, int channels) {
    return t.data == nullptr || (reinterpret_cast<uintptr_t>(t.data) % 16 == 0 &&
                                 t.pitch % PACK<T> == 0 && channels % PACK<T> == 0);
}

template <class T>
__device__ __forceinline__ T* row_of(const YoloRows& t, int64_t row) {
    return static_cast<T*>(t.data) + row * t.pitch;
}

// Place of thread i in an NHWC tensor of height x width x channels.
struct Place {
    int c, x, y;
    int64_t n;

    __device__ Place(int64_t i, int height, int width, int channels) {
        c = int(i % channels);
        x = int(i / channels % width);
        y = int(i / channels / width % height);
        n = i / channels / width / height;
    }
};

__device__ __forceinline__ int64_t thread_number() {
    return int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
}

// Runs a kernel with a thread for each of `items` results.
template <class Call>
int launch_each(void (*kernel)(Call), int64_t items, const Call& call, void* stream) {
    constexpr int THREADS = 256;
    if (items == 0) return YOLO_OK;
    LAUNCH(kernel, dim3(blocks_for(items, THREADS)), dim3(THREADS), 0, static_cast<Stream>(stream),
           call);
    return launch_status();
}

// The first largest of the values that it is offered, and where that was; NaN is the largest.
template <class N>
struct Largest {
    N value;
    int index = -1;

    // false: no other can be larger
    __device__ __forceinline__ bool offer(N other, int place) {
        bool number = other == other;
        if (index < 0 || other > value || !number) value = other, index = place;
        return number;
    }
};

// Runs f with the C++ type that a YoloType names: f(T{}).
template <class F>
int with_type(YoloType type, F f) {
    switch (type) {
        case YOLO_FLOAT32:
            return f(float{});
        case YOLO_FLOAT64:
            return f(double{});
        case YOLO_BFLOAT16:
            return f(bf16{});
        case YOLO_FLOAT16:
            return f(fp16{});
    }
    return YOLO_BAD_TYPE;
}
