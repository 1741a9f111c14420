"""Where boxes lie once their image is cropped, scaled and flipped."""

import numpy as np


def place(boxes, shape, crop, size):
    """(n, 4) left, top, right, bottom in pixels of the output; not yet cut to it."""
    center, half = boxes[:, 1:3].astype(np.float64), boxes[:, 3:5] / 2
    edges = np.clip(np.concatenate((center - half, center + half), axis=1), 0, 1)
    edges *= np.tile((shape[1], shape[0]), 2)
    edges -= np.tile((crop.left, crop.top), 2)
    edges *= np.tile((size[1] / crop.width, size[0] / crop.height), 2)
    if crop.flip:
        edges[:, [0, 2]] = size[1] - edges[:, [2, 0]]
    return edges


def clip(edges, window, visible):
    """(kept, edges): which boxes still show in a window, and those cut to it. Dropped are boxes
    below one pixel and those of whose area less than the share `visible` is left."""
    low, high = np.array(window[:2]), np.array(window[2:])
    cut = np.clip(edges, np.tile(low, 2), np.tile(high, 2))
    sides, before = cut[:, 2:] - cut[:, :2], edges[:, 2:] - edges[:, :2]
    kept = (sides >= 1).all(1) & (sides.prod(1) >= visible * before.prod(1))
    return kept, cut[kept]


def rows(classes, edges, size, limit, rng):
    """Edges in pixels -> at most `limit` rows of class, x, y, w, h, relative, in random order."""
    order = rng.permutation(len(edges))[:limit]
    classes, edges = classes[order], edges[order] / np.tile((size[1], size[0]), 2)
    low, high = edges[:, :2], edges[:, 2:]
    return np.column_stack((classes, (low + high) / 2, high - low)).astype(np.float32)
