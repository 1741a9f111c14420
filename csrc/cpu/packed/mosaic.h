// Images of a batch laid side by side for Winograd, whose tiles they fill better together than each
// alone: 13 lines take four tiles of 4, 2 x 13 with one line between them seven.
//
// Neighbours share one line of border, the gap: row h of a mosaic of images of height H is row
// h % (H + 1) of image row h / (H + 1), the gap where that is H; columns likewise.
#pragma once

namespace yolo::packed {

struct Mosaic {
    int across = 1, down = 1;  // images; a batch is so many whole mosaics
};

// Tiles of m lines that cover `images` images of `size` lines and the gaps between them.
static inline __attribute__((always_inline)) int tiles_along(int images, int size, int m) {
    return (images * (size + 1) - 1 + m - 1) / m;
}

// Tiles of m x m of a batch.
int mosaic_tiles(const Mosaic& mosaic, int images, int height, int width, int m);

// The mosaic with the fewest tiles; among equals the smallest.
Mosaic best_mosaic(int images, int height, int width, int m);

}  // namespace yolo::packed
