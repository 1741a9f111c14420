#include "mosaic.h"

namespace yolo::packed {

int mosaic_tiles(const Mosaic& mosaic, int images, int height, int width, int m) {
    return tiles_along(mosaic.across, width, m) * tiles_along(mosaic.down, height, m) *
           (images / (mosaic.across * mosaic.down));
}

Mosaic best_mosaic(int images, int height, int width, int m) {
    Mosaic best;
    int fewest = mosaic_tiles(best, images, height, width, m);
    for (int size = 2; size <= images; ++size)
        for (int across = 1; across <= size; ++across) {
            if (images % size || size % across) continue;
            const Mosaic mosaic{across, size / across};
            const int tiles = mosaic_tiles(mosaic, images, height, width, m);
            if (tiles < fewest) best = mosaic, fewest = tiles;
        }
    return best;
}

}  // namespace yolo::packed
