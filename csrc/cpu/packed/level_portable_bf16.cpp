// The packed kernels in bf16 without an instruction for it: what the tests run on any processor.
// Too slow for anything else.
#include "packed.h"

#define LEVEL "portable_bf16"
#define LANES 4
#define TILE 4
#define USE_BF16
namespace yolo::packed {
namespace {
#include "level.h"
}  // namespace

const Kernels* portable_bf16() {
    return &kernels;
}
}  // namespace yolo::packed
