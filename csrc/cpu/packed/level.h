// All kernels of one instruction set, in the order in which they build on each other. A level file
// defines LEVEL, LANES, TILE and USE_..., opens its own namespace and includes this once.
// clang-format off
#include "simd.h"
#include "element.h"
#include "stream.h"
#include "deferred.h"
#include "tile.h"
#if defined(USE_AMX)
#include "amx.h"
#include "matrix.h"
#endif
#include "direct.h"
#include "depthwise.h"
#include "winograd.h"
#include "phases.h"
#include "filtering.h"
#include "pool.h"
#include "reshape.h"
#include "peak.h"
#if defined(USE_BF16)
constexpr const TrainingKernels* training = nullptr;  // it computes in fp32
#else
#include "dense.h"
#include "outer.h"
#include "stem_grad.h"
#include "winograd_grad.h"
#include "norm.h"
#include "depthwise_grad.h"
#include "spatial_grad.h"
#include "pointwise_grad.h"
#include "reorg.h"
#include "training_table.h"
#endif
#include "table.h"
// clang-format on
