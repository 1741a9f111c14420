"""How many objects have a box at all, whatever its class: Darknet's `detector recall`.

Boxes of an objectness above 0.001 are kept, suppressed among themselves at 0.4; an object is found
when the box that fits it best overlaps it by more than 0.5.
"""

from dataclasses import asdict, dataclass

from .. import boxes as box
from ..predict import propose
from .images import Pass

LOWEST, SUPPRESSION, IOU = 0.001, 0.4, 0.5


@dataclass
class Result:
    """Totals over the images so far."""

    images: int = 0
    truths: int = 0
    found: int = 0
    proposals: int = 0
    overlap: float = 0.0  # sum over the truths of the best overlap

    @property
    def recall(self):
        return self.found / self.truths if self.truths else 0.0

    @property
    def average_iou(self):
        return self.overlap / self.truths if self.truths else 0.0

    def add(self, boxes, truth):
        """boxes (n, 4) of one image, truth (m, 5)."""
        self.images += 1
        self.truths += len(truth)
        self.proposals += len(boxes)
        if len(boxes) and len(truth):
            best = box.iou(truth[:, None, 1:], boxes[None]).max(1).values
            self.overlap += float(best.sum())
            self.found += int((best > IOU).sum())

    def line(self):
        """Darknet's line of an image, its number from 0."""
        each = self.proposals / max(1, self.images)
        return (
            f"{self.images - 1:5d} {self.found:5d} {self.truths:5d}\tRPs/Img: {each:.2f}\t"
            f"IOU: {100 * self.average_iou:.2f}%\tRecall:{100 * self.recall:.2f}%"
        )

    def to_dict(self):
        """Plain Python, fit for json.dump."""
        return asdict(self) | {"recall": self.recall, "average_iou": self.average_iou}


def recall(net, samples, workers=4, precision=None, progress=None):
    """The Result over a data set. progress: called with the Result so far after each image."""
    result = Result()
    for seen in Pass(net, samples, LOWEST, SUPPRESSION, 1, workers, precision, find=propose):
        result.add(seen.found.boxes_xywh, seen.truth)
        if progress:
            progress(result)
    return result
