// Weights in the order that the tensor-core kernels read: depth fastest, rows of depth at a pitch
// of whole chunks of 16 bytes, zeros up to the pitch.
#pragma once
#include "cuda_api.h"
#include "implicit.h"
#include "instructions.cuh"

namespace arrange {

constexpr int TILE = 32, LINES = 8;

// (k, r, s, c of a group) -> [k][r][s][pitch]: the same order, padded.
template <class Storage>
__global__ void pad_kernel(const Storage* weight, Storage* out, int64_t rows, int channels,
                           int pitch) {
    int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    int c = int(i % pitch);
    if (i / pitch >= rows) return;
    store(out + i, c < channels ? load(weight + i / pitch * channels + c) : Storage{});
}

// (k, r, s, c of a group) -> [c][r][s][pitch of k]: tiles of 32 x 32, turned in shared memory, so
// that memory is read and written along its rows. One tap of one group a blockIdx.z.
template <class Storage>
__global__ void turn_kernel(const Storage* weight, Storage* out, int filters, int taps,
                            int channels, int pitch) {
    SHARED(Storage, tile, [TILE][TILE + 1]);
    int group = int(blockIdx.z) / taps, tap = int(blockIdx.z) % taps;
    int c0 = int(blockIdx.x) * TILE, k0 = int(blockIdx.y) * TILE, x = int(threadIdx.x);
    for (int i = int(threadIdx.y); i < TILE; i += LINES) {
        int64_t k = k0 + i, at = ((group * filters + k) * taps + tap) * channels + c0 + x;
        bool inside = k < filters && c0 + x < channels;
        tile[i][x] = inside ? load(weight + at) : Storage{};
    }
    __syncthreads();
    for (int i = int(threadIdx.y); i < TILE; i += LINES) {
        int64_t c = c0 + i, at = ((group * channels + c) * taps + tap) * pitch + k0 + x;
        if (c < channels && k0 + x < pitch) store(out + at, tile[x][i]);
    }
}

// The weights of this call in the workspace, or where they are if they fit as they lie.
template <class Storage>
const void* padded(const YoloConv& call, int pitch, Stream stream) {
    const ConvShape& a = call.shape;
    int channels = a.c / a.groups;
    int64_t rows = int64_t(a.k) * a.r * a.s;
    if (pitch == channels) return call.weight;
    auto kernel = pad_kernel<Storage>;
    LAUNCH(kernel, dim3(blocks_for(rows * pitch, 256)), dim3(256), 0, stream,
           static_cast<const Storage*>(call.weight), static_cast<Storage*>(call.workspace), rows,
           channels, pitch);
    return call.workspace;
}

template <class Storage>
const void* turned(const YoloConv& call, int pitch, Stream stream) {
    const ConvShape& a = call.shape;
    int filters = a.k / a.groups, channels = a.c / a.groups, taps = a.r * a.s;
    dim3 grid(blocks_for(channels, TILE), blocks_for(pitch, TILE), unsigned(a.groups * taps));
    auto kernel = turn_kernel<Storage>;
    LAUNCH(kernel, grid, dim3(TILE, LINES), 0, stream, static_cast<const Storage*>(call.weight),
           static_cast<Storage*>(call.workspace), filters, taps, channels, pitch);
    return call.workspace;
}

}  // namespace arrange
