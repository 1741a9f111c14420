// What tests ask of the emulator beside running kernels.
#pragma once
#include <cstdint>

#define EMULATOR_API extern "C" __attribute__((visibility("default")))

// Order of threads and blocks: 0 forward, 1 reverse, 2 random.
EMULATOR_API void emulator_set_order(int order, uint64_t seed);
// How many of the first and of the last blocks of each launch run; 0: all of them.
EMULATOR_API void emulator_set_ends(unsigned count);
// Starts counting from zero (on = 1), or ends it and fills eight values: shared requests and
// wavefronts, global requests, sectors and bytes, mma, block barriers, warp barriers.
EMULATOR_API void emulator_count(int on, uint64_t* values);
