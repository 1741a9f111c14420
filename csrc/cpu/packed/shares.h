// How the threads divide a call of a packed kernel.
#pragma once

#include "../threads.h"
#include "packed.h"

namespace yolo::packed {

// More shares than threads: a thread that is done early, or began early, takes from the others.
inline int shares_of(int threads) {
    constexpr int EACH = 4;
    return threads == 1 ? 1 : EACH * threads;
}

// body(share) for each of `count` shares; each thread has its own `scratch_each` floats of scratch.
template <class F>
void share(int threads, int count, float* scratch, long scratch_each, F body) {
    cpu::parallel(threads, count, [&](int64_t task, int worker) {
        body(Share{int(task), count, scratch + worker * scratch_each});
    });
}

template <class F>
void share(int threads, F body) {
    share(threads, shares_of(threads), nullptr, 0, body);
}

}  // namespace yolo::packed
