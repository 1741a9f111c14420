// The level amx with a model of its registers: what the tests run on any processor. Too slow for
// anything else.
#include <cstdio>
#include <cstdlib>

#include "packed.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"  // all of it is called from here alone
#endif

#define LEVEL "amx_model"
#define LANES 16
#define TILE 4
#define USE_BF16
#define USE_AMX
#define AMX_MODEL
namespace yolo::packed {
namespace {
#include "level.h"
}  // namespace

const Kernels* amx_model() {
    return &kernels;
}
}  // namespace yolo::packed
