"""Which class is taken for which: detections above a threshold against truths of any class."""

import numpy as np
import torch

from .. import boxes as box


class Confusion:
    """`counts[truth, found]`; the last row is background that was found to be something, the last
    column truths that were not found.

    Each truth goes with one detection at most: the pairs that overlap by more than `iou` are taken
    by falling overlap, whatever their classes. A box counts with its most probable class.
    """

    def __init__(self, classes, thresh=0.25, iou=0.5):
        self.classes, self.thresh, self.iou = classes, thresh, iou
        self.counts = np.zeros((classes + 1, classes + 1), np.int64)

    def see(self, seen):
        """Takes what a Pass saw of one image."""
        best, labels = seen.found.probs.max(1) if seen.found.probs.numel() else _nothing()
        sure = best > self.thresh
        boxes, labels = seen.found.boxes_xywh[sure], labels[sure]
        truths = seen.truth[:, 0].long()
        overlap = box.iou(seen.truth[:, None, 1:], boxes[None]).numpy()
        pairs = np.argwhere(overlap > self.iou)
        pairs = pairs[np.argsort(-overlap[tuple(pairs.T)], kind="stable")]
        lost, new = set(range(len(truths))), set(range(len(boxes)))
        for t, d in pairs.tolist():
            if t in lost and d in new:
                lost.remove(t)
                new.remove(d)
                self.counts[truths[t], labels[d]] += 1
        for t in lost:
            self.counts[truths[t], self.classes] += 1
        for d in new:
            self.counts[self.classes, labels[d]] += 1


def _nothing():
    return torch.zeros(0), torch.zeros(0, dtype=torch.long)
