#include "choose.h"

#include <algorithm>

namespace yolo {
namespace {

// Columns of one product, in numbers: with BLAS's packed copy they should stay in a second-level
// cache.  The limits here were measured with OpenBLAS on a core with 1 MB of it.
constexpr int64_t COLUMNS = 200 * 1024;
// Rows (channels * taps) that a forward product takes at a time; BLAS would cut there as well.
constexpr int64_t SLICE = 320;
// Fewer columns than this, and the product spends its time packing the weights.
constexpr int64_t NARROW = 320;
constexpr int64_t WIDE = 2048;
// Outputs of one product: they should still be in cache when bias and activation are applied.
constexpr int64_t OUTPUTS = 512 * 1024;
// A weight gradient up to this size is summed in parts over the batch.
constexpr int64_t SMALL_WEIGHTS = 64 * 1024;
constexpr int64_t MAX_PARTIALS = 8;
// Rows of columns (channels * taps) that one task should have at least.
constexpr int64_t ROWS = 384;

// Pixels to a block: as many equal blocks as `most` asks for, in whole cache lines.
int64_t equal_blocks(int64_t pixels, int64_t most) {
    int64_t blocks = ceil_div(pixels, std::max<int64_t>(most, 1));
    return std::min(pixels, ceil_div(ceil_div(pixels, blocks), 16) * 16);
}

int64_t wide_block(const ConvShape& shape) {
    int64_t by_columns = COLUMNS / std::min(SLICE, shape.depth()),
            by_outputs = OUTPUTS / shape.filters();
    return std::clamp(std::min(by_columns, by_outputs), NARROW, WIDE);
}

// Small maps: enough images to make the product wide, yet equal work for all `shares` threads.
int64_t images_of(const ConvShape& shape, int64_t width, int64_t shares) {
    if (shape.pixels() >= NARROW || shape.n < 2) return 1;
    int64_t wanted = std::max<int64_t>(width / shape.pixels(), 1);
    int64_t panels = ceil_div(ceil_div(shape.n, wanted), shares) * shares;
    return ceil_div(shape.n, std::min(panels, shape.n));
}

ConvPlan choose_forward(const ConvShape& shape, int threads) {
    ConvPlan plan;
    int64_t width = wide_block(shape);
    plan.images = images_of(shape, 2 * NARROW, threads);
    if (plan.images == 1 && shape.n * shape.groups < threads) {
        int64_t shares = ceil_div(threads, shape.n * shape.groups);
        width = std::min(width, std::max(ceil_div(shape.pixels(), shares), NARROW));
    }
    plan.block = plan.images > 1 ? shape.pixels() : equal_blocks(shape.pixels(), width);
    int64_t products = ceil_div(shape.n, plan.images) * ceil_div(shape.pixels(), plan.block);
    int64_t tasks = products * shape.groups;
    plan.parts = tasks < threads ? std::min(ceil_div(threads, tasks), shape.filters()) : 1;
    bool copies = !shape.pointwise() || plan.images > 1;
    plan.slice = shape.channels();
    if (copies && plan.parts == 1) {
        int64_t slices = ceil_div(shape.depth(), SLICE);
        plan.slice = std::max<int64_t>(ceil_div(shape.channels(), slices), 1);
    }
    int64_t columns = copies ? plan.slice * shape.taps() * plan.columns() : 0;
    int64_t outputs = plan.images > 1 ? shape.filters() * plan.columns() : 0;
    plan.workspace = (columns + outputs) * (plan.parts > 1 ? 1 : threads);
    return plan;
}

// Parts of the channels, whole channels each, with about ROWS rows or more to a part.
int64_t channel_parts(const ConvShape& shape, int64_t wanted) {
    int64_t most = std::max<int64_t>(shape.depth() / ROWS, 1);
    return std::min({wanted, most, shape.channels()});
}

int64_t part_rows(const ConvShape& shape, int64_t parts) {
    return ceil_div(shape.channels(), parts) * shape.taps();
}

ConvPlan choose_grad_x(const ConvShape& shape, int threads) {
    ConvPlan plan;
    plan.images = images_of(shape, WIDE, 1);
    if (plan.images > 1) {
        plan.block = shape.pixels();
        int64_t fitting = ceil_div(shape.depth() * plan.columns(), COLUMNS);
        plan.parts = channel_parts(shape, std::max<int64_t>(fitting, threads));
    } else {
        plan.block = equal_blocks(shape.pixels(), wide_block(shape));
        plan.parts = channel_parts(shape, ceil_div(threads, shape.n * shape.groups));
    }
    int64_t gathered = plan.images > 1 ? shape.k * plan.columns() : 0;
    bool direct = shape.pointwise() && plan.images == 1;
    int64_t columns = direct ? 0 : part_rows(shape, plan.parts) * plan.columns();
    plan.workspace = gathered + columns * threads;
    return plan;
}

ConvPlan choose_grad_weight(const ConvShape& shape, int threads) {
    ConvPlan plan;
    plan.images = images_of(shape, WIDE, 1);
    int64_t width = std::clamp(COLUMNS / shape.depth(), 2 * NARROW, WIDE);
    plan.block = plan.images > 1 ? shape.pixels() : equal_blocks(shape.pixels(), width);
    int64_t products = shape.n * ceil_div(shape.pixels(), plan.block);
    bool small = shape.depth() * shape.filters() <= SMALL_WEIGHTS && plan.images == 1;
    if (small) {
        plan.partials = std::min(products, MAX_PARTIALS);
    } else {
        int64_t fitting = ceil_div(shape.depth() * plan.columns(), COLUMNS);
        plan.parts = channel_parts(shape, std::max<int64_t>(fitting, threads));
    }
    int64_t gathered = plan.images > 1 ? shape.k * plan.columns() : 0;
    bool direct = shape.pointwise() && plan.images == 1;
    int64_t columns = direct ? 0 : part_rows(shape, plan.parts) * plan.columns();
    plan.workspace = gathered + columns * threads + plan.partials * shape.weights();
    return plan;
}

}  // namespace

ConvPlan choose(const ConvShape& shape, Pass pass, int threads) {
    if (shape.depthwise()) {
        ConvPlan plan;
        plan.algorithm = Algorithm::depthwise;
        return plan;
    }
    switch (pass) {
        case Pass::forward:
            return choose_forward(shape, threads);
        case Pass::grad_x:
            return choose_grad_x(shape, threads);
        case Pass::grad_weight:
            return choose_grad_weight(shape, threads);
    }
    return {};
}

}  // namespace yolo
