"""Mean average precision as Darknet's `detector map` computes it.

Every box above 0.005 counts for the curve, suppression is at 0.45. A detection is right when it
overlaps a truth of its class by more than `iou` and no surer detection has taken that truth. The
counts at `thresh` (precision, recall, F1, average IoU) are separate: there the first detection in
Darknet's array takes the truth, even one below `thresh`.
"""

from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np
import torch

from .. import boxes as box
from ..legible import shown
from .curve import area_under_curve, interpolated, precision_recall

LOWEST, SUPPRESSION = 0.005, 0.45  # thresholds of detection and of suppression
AREA, VOC, COCO = 0, 11, 101  # points of the precision-recall curve


@dataclass
class Result:
    """What a measurement found. Numbers are 0..1; one that would be 0/0 is 0."""

    map: float  # mean of ap over all classes; those without a truth count as 0, as in Darknet
    ap: list[float]
    precision: float  # this and the following at `thresh`
    recall: float
    f1: float
    avg_iou: float  # over all detections above `thresh`, false ones count 0
    tp: int
    fp: int
    fn: int
    detections: int  # above 0.005, the points of the curve
    truths: int
    class_tp: list[int]
    class_fp: list[int]
    class_truths: list[int]
    iou: float = 0.5
    points: int = AREA
    thresh: float = 0.25
    images: int = 0
    skipped: list[str] = field(default_factory=list)  # why images could not be used

    @property
    def brief(self) -> str:
        """For a progress line."""
        return f"mAP {100 * self.map:.2f}%"

    @property
    def score(self) -> float:
        """What training takes for the measure of the best weights."""
        return self.map

    def to_dict(self, names=None) -> dict:
        """Plain Python, fit for json.dump."""
        return asdict(self) | ({} if names is None else {"names": list(names)})

    def report(self, names=None) -> str:
        """Darknet's printed report; remarks that it does not have stand at the end."""
        return "\n".join([*self._class_lines(names), *self._total_lines(), *self._remarks()])

    def _class_lines(self, names):
        yield f" detections_count = {self.detections}, unique_truth_count = {self.truths}"
        for c, (ap, tp, fp) in enumerate(zip(self.ap, self.class_tp, self.class_fp, strict=True)):
            name = names[c] if names is not None and c < len(names) else f"class {c}"
            counts = f"(TP = {tp}, FP = {fp})"
            yield f"class_id = {c}, name = {shown(name)}, ap = {100 * ap:.2f}%   \t {counts}"

    def _total_lines(self):
        at = f" for conf_thresh = {self.thresh:.2f}"
        yield (
            f"\n{at}, precision = {self.precision:.2f}, recall = {self.recall:.2f}, "
            f"F1-score = {self.f1:.2f}"
        )
        yield (
            f"{at}, TP = {self.tp}, FP = {self.fp}, FN = {self.fn}, "
            f"average IoU = {100 * self.avg_iou:.2f} %"
        )
        area = "Area-Under-Curve for each unique Recall"
        curve = area if self.points == AREA else f"{self.points} Recall-points"
        yield f"\n IoU threshold = {100 * self.iou:.0f} %, used {curve}"
        name = f"mean average precision (mAP@{self.iou:0.2f})"
        yield f" {name} = {self.map:f}, or {100 * self.map:.2f} %"

    def _remarks(self):
        present = [ap for ap, count in zip(self.ap, self.class_truths, strict=True) if count]
        if not present:
            yield " no truths: recall and ap are undefined, shown as 0"
        elif len(present) < len(self.ap):
            absent = f"{len(self.ap) - len(present)} of {len(self.ap)} classes have no truth here"
            others = 100 * sum(present) / len(present)
            yield f" {absent} and count as 0; the mean over the others is {others:.2f} %"
        if not self.tp + self.fp:
            yield f" nothing above {self.thresh:.2f}: precision is undefined, shown as 0"
        if self.skipped:
            yield f" {len(self.skipped)} images could not be used; the first: {self.skipped[0]}"


class Tally:
    """Matches detections with truths, image by image, and keeps what the curve needs."""

    lowest, suppression = LOWEST, SUPPRESSION

    def __init__(self, classes: int, iou: float, thresh: float):
        self.classes, self.iou, self.thresh = classes, iou, thresh
        self.images = self.truths = 0
        self.class_truths = np.zeros(classes, np.int64)
        self.class_tp, self.class_fp = np.zeros_like(self.class_truths), np.zeros(classes, np.int64)
        self.iou_sum = 0.0
        self.records = []  # (probability, class, number of the truth or -1) of each image

    def see(self, seen) -> None:
        """Takes what a Pass saw of one image."""
        self.add(seen.found, seen.truth, seen.difficult)

    def add(self, found, truth, difficult=None) -> None:
        """found: Candidates after suppression, in Darknet's order; truth (n, 5); difficult (n, 5):
        boxes that need not be found."""
        labels = self._labels(truth)
        rows, classes = torch.nonzero(found.probs, as_tuple=True)  # box by box, then by class
        prob = found.probs[rows, classes].numpy()
        boxes = found.boxes_xywh[rows]
        overlap, matched = match(boxes, classes, truth[:, 1:], labels, self.iou)
        kept = np.ones(len(prob), bool)
        if difficult is not None:  # what meets such a box and no other is forgotten, not false
            hard = match(boxes, classes, difficult[:, 1:], difficult[:, 0].long(), self.iou)[1]
            kept = (matched.numpy() >= 0) | (hard.numpy() < 0)
        classes, overlap, matched = classes.numpy(), overlap.numpy(), matched.numpy()
        # As Darknet, the counts at the threshold take no notice of difficult boxes.
        self._count(prob, classes, overlap, matched)
        numbers = np.where(matched >= 0, matched + self.truths, -1)
        self.records.append((prob[kept], classes[kept], numbers[kept]))
        self.class_truths += np.bincount(labels.numpy(), minlength=self.classes)
        self.truths += len(truth)
        self.images += 1

    def _labels(self, truth):
        labels = truth[:, 0].long()
        if len(labels) and not (labels.min() >= 0 and labels.max() < self.classes):
            raise ValueError(
                f"image {self.images + 1}: truths of classes {sorted(set(labels.tolist()))}, but "
                f"the network has classes 0 to {self.classes - 1}"
            )
        return labels

    def _count(self, prob, classes, overlap, matched):
        """The counts at `thresh`, where the first record of a truth takes it."""
        first = first_of_each(matched)
        shown = prob > self.thresh
        right, wrong = shown & first, shown & ~first
        self.class_tp += np.bincount(classes[right], minlength=self.classes)
        self.class_fp += np.bincount(classes[wrong], minlength=self.classes)
        self.iou_sum += float(overlap[right].sum())

    def result(self, points: int) -> Result:
        prob, classes, truth = self._all_records()
        ap = average_precisions(prob, classes, truth, self.class_truths, points)
        tp, fp = int(self.class_tp.sum()), int(self.class_fp.sum())
        fn = self.truths - tp
        return Result(
            map=float(np.mean(ap)),
            ap=ap,
            precision=_share(tp, tp + fp),
            recall=_share(tp, tp + fn),
            f1=_share(2 * tp, 2 * tp + fp + fn),
            avg_iou=_share(self.iou_sum, tp + fp),
            tp=tp,
            fp=fp,
            fn=fn,
            detections=len(prob),
            truths=self.truths,
            class_tp=self.class_tp.tolist(),
            class_fp=self.class_fp.tolist(),
            class_truths=self.class_truths.tolist(),
            iou=self.iou,
            points=points,
            thresh=self.thresh,
            images=self.images,
        )

    def curves(self):
        """(precision, recall) of each class, None of one without truths."""
        return class_curves(*self._all_records(), self.class_truths)

    def _all_records(self):
        if not self.records:
            return np.zeros(0, np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64)
        return tuple(np.concatenate(column) for column in zip(*self.records, strict=True))


def match(boxes, classes, truth_boxes, truth_classes, iou):
    """For each detection its largest overlap above `iou` with a truth of its class, and which.

    boxes (n, 4) and truth_boxes (m, 4) xywh; gives overlap (n) and the truth's number (n) or -1.
    """
    if not len(boxes) or not len(truth_boxes):
        return torch.zeros(len(boxes)), torch.full((len(boxes),), -1)
    overlap = box.iou(boxes[:, None], truth_boxes[None])
    overlap = overlap.where(classes[:, None] == truth_classes[None], 0)
    best, which = overlap.max(1)  # the first of equal ones, as Darknet
    return best, which.where(best > iou, -1)


def first_of_each(numbers):
    """True where a number that is not -1 stands for the first time."""
    first = np.zeros(len(numbers), bool)
    first[np.unique(numbers, return_index=True)[1]] = True
    return first & (numbers >= 0)


def class_curves(prob, classes, truth, class_truths):
    """(precision, recall) along the detections of each class, the surest first, or None."""
    rank = np.argsort(-prob, kind="stable")
    classes, right = classes[rank], first_of_each(truth[rank])
    return [
        precision_recall(right[classes == c], int(count)) if count else None
        for c, count in enumerate(class_truths)
    ]


def average_precisions(prob, classes, truth, class_truths, points=AREA) -> list[float]:
    """AP of each class. prob, class, number of the matched truth or -1: (n) in Darknet's order."""
    area = area_under_curve if points == AREA else partial(interpolated, points=points)
    curves = class_curves(prob, classes, truth, class_truths)
    return [area(*curve) if curve else 0.0 for curve in curves]


def _share(part, whole) -> float:
    return float(part / whole) if whole else 0.0
