"""Average precision as the PASCAL VOC development kit computes it, of 2007 and since 2010.

Detections of a class by falling score; each is compared with the truth of its class that it
overlaps most. It is right at an overlap of at least 0.5 with a truth that none before it took;
truths marked difficult need not be found, and what finds them does not count. Overlaps count
whole pixels, from 1: a box from 1 to 10 is 10 wide. Detections are those of `results.VocFiles`.
"""

from dataclasses import asdict, dataclass, field

import numpy as np

from .curve import area_under_curve, interpolated, precision_recall
from .results import LOWEST, SUPPRESSION, entries, voc_pixels

EDITIONS = {"voc07": 11, "voc12": 0}  # points of the curve; 0: the area under it


@dataclass
class Result:
    """AP of each class, 0..1; None where there is nothing to find."""

    protocol: str
    map: float  # mean over the classes that have something to be found
    ap: list
    class_truths: list[int]  # without difficult ones
    class_detections: list[int]
    images: int
    iou: float
    skipped: list[str] = field(default_factory=list)

    def to_dict(self, names=None) -> dict:
        """Plain Python, fit for json.dump."""
        return asdict(self) | ({} if names is None else {"names": list(names)})

    def report(self, names=None) -> str:
        """A table of the classes, and the mean."""
        from .table import class_table

        shown = [None if ap is None else 100 * ap for ap in self.ap]
        columns = {"truths": self.class_truths, "found": self.class_detections, "AP %": shown}
        lines = [class_table(columns, names)]
        lines.append(f"{self.protocol}: mAP@{self.iou:.2f} = {100 * self.map:.2f} %")
        if self.skipped:
            first = self.skipped[0]
            lines.append(f"{len(self.skipped)} images could not be used; the first: {first}")
        return "\n".join(lines)


class Tally:
    """Gathers detections and truths, image by image."""

    lowest, suppression = LOWEST, SUPPRESSION

    def __init__(self, classes, protocol="voc07", iou=0.5):
        self.classes, self.protocol, self.iou = classes, protocol, iou
        self.images = 0
        self.truths = [{} for _ in range(classes)]  # image -> (corners (n, 4), difficult (n,))
        self.found = [[] for _ in range(classes)]  # (score, image, corners)

    def see(self, seen):
        """Takes what a Pass saw of one image."""
        found = entries(seen)
        for corners, score, label in zip(
            voc_pixels(found), found.scores, found.classes, strict=True
        ):
            self.found[label].append((float(score), self.images, corners))
        hard = np.zeros((0, 5)) if seen.difficult is None else seen.difficult.numpy()
        boxes = np.concatenate([seen.truth.numpy(), hard]).astype(np.float64)
        difficult = np.arange(len(boxes)) >= len(seen.truth)
        low, high = boxes[:, 1:3] - boxes[:, 3:5] / 2, boxes[:, 1:3] + boxes[:, 3:5] / 2
        height, width = seen.shape
        corners = np.concatenate([low, high], axis=1) * (width, height, width, height) + 1
        for label in np.unique(boxes[:, 0]).astype(int):
            own = boxes[:, 0] == label
            self.truths[label][self.images] = corners[own], difficult[own]
        self.images += 1

    def curves(self):
        """(precision, recall) of each class, None of one with nothing to be found."""
        return [self._curve(label) for label in range(self.classes)]

    def _curve(self, label):
        count = self._count(label)
        if not count:
            return None
        ranked = sorted(self.found[label], key=lambda entry: -entry[0])  # ties stay in order
        taken, hits = set(), []
        for _, image, corners in ranked:
            overlap, number, difficult = self._best(label, image, corners)
            if overlap < self.iou:
                hits.append(False)
            elif not difficult:
                hits.append((image, number) not in taken)
                taken.add((image, number))
        return precision_recall(np.array(hits, bool), count)

    def _best(self, label, image, corners):
        """(overlap, number, difficult) of the truth that a detection overlaps most."""
        if image not in self.truths[label]:
            return -1.0, -1, False
        truths, difficult = self.truths[label][image]
        overlaps = pixel_iou(corners, truths)
        best = int(overlaps.argmax())
        return overlaps[best], best, difficult[best]

    def _count(self, label):
        return sum(int((~difficult).sum()) for _, difficult in self.truths[label].values())

    def result(self):
        """The Result of the images so far."""
        points = EDITIONS[self.protocol]
        area = area_under_curve if points == 0 else lambda p, r: interpolated(p, r, points)
        ap = [None if curve is None else area(*curve) for curve in self.curves()]
        present = [value for value in ap if value is not None]
        return Result(
            self.protocol,
            float(np.mean(present)) if present else 0.0,
            ap,
            [self._count(label) for label in range(self.classes)],
            [len(found) for found in self.found],
            self.images,
            self.iou,
        )


def pixel_iou(corners, others):
    """IoU of a box with others (n, 4), where the last pixel counts."""
    low, high = np.maximum(corners[:2], others[:, :2]), np.minimum(corners[2:], others[:, 2:])
    inside = (high - low + 1).clip(0).prod(axis=1)
    area = (corners[2:] - corners[:2] + 1).prod()
    return inside / (area + (others[:, 2:] - others[:, :2] + 1).prod(axis=1) - inside)
