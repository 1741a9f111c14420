// The packed kernels with what every processor of the architecture has: 4 lanes (SSE2, NEON), as
// the compiler's own vector types, without a single intrinsic.
#include "training.h"

#define LEVEL "portable"
#define LANES 4
#if defined(__aarch64__)
#define TILE 12  // 32 registers
#else
#define TILE 6  // 16 registers
#endif
namespace yolo::packed {
namespace {
#include "level.h"
}  // namespace

const Kernels* portable() {
    return &kernels;
}
}  // namespace yolo::packed
