"""Anchors that fit a data set: k-means over box sizes with the distance 1 - IoU of centred boxes.

As Darknet's calc_anchors: centres start at k different boxes, ties go to the first centre, a
centre moves to the mean of its boxes, until no box changes its centre. Ours starts from a seed and
keeps the best of several starts.
"""

import numpy as np

from .image import ImageError
from .labels import LabelError
from .lists import DataError

ROUNDS, STARTS = 1000, 8


def gather(dataset, progress=None):
    """(boxes (n, 5), messages): all boxes of a data set, and why images have none to give."""
    rows, broken = [np.zeros((0, 5), np.float32)], []
    for index in range(len(dataset)):
        try:
            rows.append(dataset.boxes(index)[0])
        except (ImageError, LabelError) as error:
            broken.append(str(error))
        if progress:
            progress(index + 1)
    return np.concatenate(rows), broken


def box_sizes(boxes, height, width):
    """(n, 2) float64: width and height of boxes (n, 5) in pixels of the network."""
    sizes = boxes[:, 3:5].astype(np.float64) * (width, height)
    return sizes[(sizes > 0).all(axis=1)]


def overlaps(sizes, anchors):
    """(n, k) IoU of sizes (n, 2) and anchors (k, 2), both centred at the same point."""
    inside = np.minimum(sizes[:, None], anchors[None]).prod(axis=2)
    return inside / (sizes.prod(axis=1)[:, None] + anchors.prod(axis=1)[None] - inside)


def average_iou(sizes, anchors):
    """Mean over the boxes of the IoU with the anchor that fits best."""
    return float(overlaps(sizes, anchors).max(axis=1).mean())


def recall(sizes, anchors, iou=0.5):
    """Share of the boxes that some anchor overlaps by more than `iou`."""
    return float((overlaps(sizes, anchors).max(axis=1) > iou).mean())


def masks(anchors, strides):
    """The numbers of the anchors for each head, whose grids have these strides in pixels.

    By size, as Darknet's authors advise: an anchor below 30 pixels belongs to stride 8, below 60
    to stride 16, larger ones to stride 32; between other strides the border is 3.75 times the
    finer one. `anchors` (k, 2) run by rising area. Every head gets at least one.
    """
    order = np.argsort(strides, kind="stable")
    borders = 3.75 * np.asarray(strides, np.float64)[order][:-1]
    if len(anchors) < len(strides):
        raise DataError(f"{len(anchors)} anchors are too few for {len(strides)} heads")
    ends = np.searchsorted(np.sqrt(anchors.prod(axis=1)), borders)
    for k in range(len(ends)):  # one at least for each head before, and for each after
        ends[k] = np.clip(ends[k], ends[k - 1] + 1 if k else 1, len(anchors) - len(ends) + k)
    found = [[]] * len(strides)
    for head, part in zip(order, np.split(np.arange(len(anchors)), ends), strict=True):
        found[head] = part.tolist()
    return found


def fit_anchors(sizes, count, seed=0):
    """(count, 2) anchors for box sizes (n, 2), by rising area."""
    if len(np.unique(sizes, axis=0)) < count:
        raise DataError(f"{count} anchors need as many different boxes, got {len(sizes)} boxes")
    rng = np.random.default_rng(seed)
    found = [_cluster(sizes, _start(sizes, count, rng)) for _ in range(STARTS)]
    best = max(found, key=lambda anchors: average_iou(sizes, anchors))
    return best[np.argsort(best.prod(axis=1))]


def anchor_text(anchors, size, unit):
    """Anchors (k, 2) in pixels as Darknet writes them: whole pixels; of small networks, and of
    heads with a unit (w, h) of their own, fractions. size: (height, width) of the network."""
    form = "{:.0f},{:.0f}" if size[1] > 32 and unit == (1, 1) else "{:.4f},{:.4f}"
    return ", ".join(form.format(*pair) for pair in anchors / unit)


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
