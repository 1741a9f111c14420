"""Anchors that fit a data set: k-means over box sizes with the distance 1 - IoU of centred boxes.

As Darknet's calc_anchors: centres start at k different boxes, ties go to the first centre, a
centre moves to the mean of its boxes, until no box changes its centre. Ours starts from a seed and
keeps the best of several starts.
"""

import numpy as np

from .lists import DataError

ROUNDS, STARTS = 1000, 8


def box_sizes(dataset, height, width):
    """(n, 2) float64: width and height of every box of a data set, in pixels of the network."""
    rows = [dataset.boxes(index)[0][:, 3:5] for index in range(len(dataset))]
    sizes = np.concatenate([*rows, np.zeros((0, 2))]).astype(np.float64) * (width, height)
    return sizes[(sizes > 0).all(axis=1)]


def overlaps(sizes, anchors):
    """(n, k) IoU of sizes (n, 2) and anchors (k, 2), both centred at the same point."""
    inside = np.minimum(sizes[:, None], anchors[None]).prod(axis=2)
    return inside / (sizes.prod(axis=1)[:, None] + anchors.prod(axis=1)[None] - inside)


def average_iou(sizes, anchors):
    """Mean over the boxes of the IoU with the anchor that fits best."""
    return float(overlaps(sizes, anchors).max(axis=1).mean())


def fit_anchors(sizes, count, seed=0):
    """(count, 2) anchors for box sizes (n, 2), by rising area."""
    if len(np.unique(sizes, axis=0)) < count:
        raise DataError(f"{count} anchors need as many different boxes, got {len(sizes)} boxes")
    rng = np.random.default_rng(seed)
    found = [_cluster(sizes, _start(sizes, count, rng)) for _ in range(STARTS)]
    best = max(found, key=lambda anchors: average_iou(sizes, anchors))
    return best[np.argsort(best.prod(axis=1))]


def _start(sizes, count, rng):
    return rng.permutation(np.unique(sizes, axis=0))[:count]


def _cluster(sizes, anchors):
    nearest = None
    for _ in range(ROUNDS):
        now = overlaps(sizes, anchors).argmax(axis=1)
        if nearest is not None and (now == nearest).all():
            break
        nearest = now
        means = [sizes[nearest == k].mean(axis=0) for k in range(len(anchors)) if (now == k).any()]
        kept = [k for k in range(len(anchors)) if (now == k).any()]
        anchors = anchors.copy()
        anchors[kept] = means
    return anchors
