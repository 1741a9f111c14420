// The passes of ConvTraining by minimal filtering.
#include <algorithm>

#include "conv_room.h"

namespace yolo::packed {
namespace {

constexpr long TILES_AT_ONCE = 112;
constexpr long MIN_GRAD_TILES = 64;
constexpr long TRANSFORMED_BYTES = 2 << 20;  // of x and dy together

}  // namespace

// Every worker has tiles of its own and reads all weights.
void ConvTraining::winograd_by_tiles(Conv call, const Dense& weight, Room& room) const {
    call.tile_block = 64;  // to measure one
    const long tile_bytes = 4 * kernels_.winograd_scratch(call, false) / call.tile_block;
    call.tile_block = int(std::max(caches_.l2 / 2 / tile_bytes, 2L * kernels_.max_tiles));
    const long each = (kernels_.winograd_scratch(call, false) + 15) / 16 * 16;
    float* packed =
        room.take(WEIGHTS * long(call.y.blocks) * call.x.blocks * kernels_.lanes * kernels_.lanes);
    float* scratch = room.take(threads_ * each);
    call.weight = packed;
    divide(room, [&](const Share& s) { training_.pack_winograd_dense(weight, call, packed, s); });
    // no share has fewer tiles than repay the reading of all weights
    const int shares = std::clamp(count_tiles() / call.tile_block, threads_, shares_of(threads_));
    divide(room, shares, scratch, each, [&](const Share& s) { kernels_.winograd(call, s); });
}

// Large weights: all tiles are transformed first, then each worker takes panels of output channels,
// whose weights it transforms where only it reads them.
void ConvTraining::winograd_by_panels(Conv call, const Dense& weight, Room& room) const {
    const int lanes = kernels_.lanes, panels = (call.y.blocks + 1) / 2;
    const long tiles = count_tiles(), groups = (tiles + TILES_AT_ONCE - 1) / TILES_AT_ONCE;
    const long most = (tiles + groups - 1) / groups;
    call.tile_block = int(most);
    const long v_floats = kernels_.winograd_floats(call, int(most)),
               v_each = (v_floats + 15) / 16 * 16;
    const long panel_floats = WEIGHTS * long(call.x.blocks) * lanes * 2 * lanes;
    const long m_floats = kernels_.winograd_scratch(call, false) - v_floats;
    const long each = panel_floats + (m_floats + 15) / 16 * 16;
    float* v = room.take(groups * v_each);
    float* scratch = room.take(threads_ * each);
    auto first = [=](long group) { return int(tiles * group / groups); };
    divide(room, [&](const Share& s) {
        for (long g = 0; g < groups; ++g)
            kernels_.winograd_input_tiles(call, first(g), first(g + 1) - first(g), v + g * v_each,
                                          s);
    });
    if (room.counts()) return;
    cpu::parallel(threads_, panels, [&](int64_t panel, int worker) {
        float* packed = scratch + worker * each;
        Dense mine = weight;
        const int done = int(panel) * 2 * lanes;
        mine.data += done * weight.output_step;
        mine.outputs = std::min(2 * lanes, weight.outputs - done);
        training_.pack_winograd_dense(mine, call, packed, Share{0, 1, nullptr});
        Conv part = call;
        part.weight = packed;
        part.y.blocks = std::min(2, call.y.blocks - 2 * int(panel));
        part.y.data = static_cast<float*>(call.y.data) + 2 * panel * call.y.block;
        for (long g = 0; g < groups; ++g)
            kernels_.winograd_output_tiles(part, first(g), first(g + 1) - first(g), 0,
                                           v + g * v_each, packed + panel_floats);
    });
}

void ConvTraining::winograd_grad_weight(GradWeight call, Room& room) const {
    const int tiles = count_tiles();
    const Conv x = conv(call.x, call.dy), dy = conv(call.dy, call.dy);
    const auto floats = [&](const Conv& map, int n) { return kernels_.winograd_floats(map, n); };
    const long bytes = 4 * (floats(x, 64) + floats(dy, 64)) / 64;
    const int fit = int(std::max(TRANSFORMED_BYTES / bytes, MIN_GRAD_TILES));
    // A single chunk spares the sums their way to memory and back.
    const int chunks = tiles <= 2 * fit ? 1 : (tiles + fit - 1) / fit;
    const int most = (tiles + chunks - 1) / chunks;
    call.x_tiles = room.take(floats(x, most));
    call.dy_tiles = room.take(floats(dy, most));
    const long panel_sums = training_.winograd_grad_sums(call);
    float* scratch = nullptr;  // the sums of a thread's panel, where there are no later chunks
    if (chunks == 1)
        scratch = room.take(panel_sums * threads_);
    else
        call.sums = room.take(panel_sums * ((call.dy.blocks + 1) / 2));
    for (int i = 0; i < chunks; ++i) {
        call.first_tile = int(long(tiles) * i / chunks);
        call.tiles = int(long(tiles) * (i + 1) / chunks) - call.first_tile;
        divide(room, [&](const Share& s) { training_.winograd_grad_tiles(call, s); });
        divide(room, shares_of(threads_), scratch, panel_sums, [&](const Share& s) {
            training_.winograd_grad_weight(call, i > 0, i + 1 == chunks, s);
        });
    }
}

}  // namespace yolo::packed
