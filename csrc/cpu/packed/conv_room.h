// How the passes of ConvTraining take memory and divide work.
#pragma once

#include "conv_training.h"
#include "shares.h"

namespace yolo::packed {

constexpr int M = 4;         // edge of a tile of y
constexpr int WEIGHTS = 36;  // of minimal filtering, in place of 9

// Takes pieces of the workspace one after the other. Without a base it only counts, and no kernel
// is to be called.
struct ConvTraining::Room {
    float* base;
    long used = 0;

    bool counts() const { return !base; }
    float* take(long floats) {
        float* piece = base ? base + used : nullptr;
        used += (floats + 15) / 16 * 16;
        return piece;
    }
};

// body(share) of so many shares; each thread has its own `scratch_each` floats of scratch.
template <class F>
void ConvTraining::divide(const Room& room, int shares, float* scratch, long scratch_each,
                          F body) const {
    if (!room.counts()) share(threads_, shares, scratch, scratch_each, body);
}
template <class F>
void ConvTraining::divide(const Room& room, F body) const {
    divide(room, shares_of(threads_), nullptr, 0, body);
}

}  // namespace yolo::packed
