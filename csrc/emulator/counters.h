// Counts what a launch would cost a GPU in bank conflicts and memory sectors.
#pragma once
#include "emulator.h"

namespace emulator {

// Groups the accesses of the block that has just ended into warp requests and adds them up.
void count_block();
// Wavefronts that one warp request to shared memory takes: 32 banks of 4 bytes, each of which
// serves one 4-byte word at a time; 16-byte accesses go by quarters of a warp, 8-byte by halves.
unsigned wavefronts(const void* const addresses[32], size_t bytes);
// Adds one request to shared memory, made by a whole warp at once.
void count_shared_request(const void* const addresses[32], size_t bytes);

}  // namespace emulator
