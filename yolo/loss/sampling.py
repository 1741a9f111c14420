"""What both stages of Faster R-CNN share: which boxes answer for a truth, which of them are drawn,
and how far a box is from where it should be."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import boxes as box
from .truth import Slots

IGNORED, NEGATIVE, POSITIVE = -1, 0, 1


@dataclass
class RegionAverages:
    """What training shows of a stage, as sums."""

    images: int = 0
    objects: int = 0  # truths
    positives: int = 0  # boxes that answered for one
    judged: int = 0  # boxes that were drawn, positive or not
    right: int = 0  # of them those whose class was right
    class_loss: float = 0.0
    box_loss: float = 0.0

    def __add__(self, other: "RegionAverages") -> "RegionAverages":
        return RegionAverages(**{k: v + getattr(other, k) for k, v in vars(self).items()})

    def columns(self) -> dict[str, int | float | None]:
        """Losses and positives of an image; the share of boxes whose class was right."""
        images, judged = self.images or None, self.judged or None
        return {
            "objects": self.objects,
            "positives": images and self.positives / images,
            "right": judged and self.right / judged,
            "class-loss": images and self.class_loss / images,
            "box-loss": images and self.box_loss / images,
        }

    def __str__(self) -> str:
        shown = {k: "-" if v is None else f"{v:.3g}" for k, v in self.columns().items()}
        return "  ".join(f"{name} {value}" for name, value in shown.items())


@dataclass
class Sampling:
    """How boxes are drawn to train on: up to `count` an image, `fraction` of them positive."""

    count: int
    fraction: float
    positive: float  # overlap with a truth from which a box is positive
    negative: float  # overlap below which it is negative
    lowest: float = 0.0  # and from which; what overlaps less is left out

    def labels(self, best: Tensor) -> Tensor:
        """Largest overlap of each box with a truth -> POSITIVE, NEGATIVE or IGNORED."""
        labels = torch.full_like(best, IGNORED, dtype=torch.long)
        labels[(best < self.negative) & (best >= self.lowest)] = NEGATIVE
        labels[best >= self.positive] = POSITIVE
        return labels

    def draw(self, labels: Tensor) -> Tensor:
        """Places of the boxes of one image that are drawn: positives, then negatives."""
        positives = drawn(labels == POSITIVE, int(self.count * self.fraction))
        negatives = drawn(labels == NEGATIVE, self.count - len(positives))
        return torch.cat((positives, negatives))

    def regions(self, proposals: Tensor, truths: Tensor) -> Tensor:
        """Those of one image that are drawn, of the proposals (n, 4) xyxy and the truths; one
        region where none of them may be."""
        found = torch.cat((proposals, truths))
        if not len(found):
            return proposals.new_tensor([[0, 0, 1, 1]])
        overlap = box.iou_matrix(found, truths)
        best = overlap.amax(1) if len(truths) else overlap.new_zeros(len(found))
        chosen = self.draw(self.labels(best))
        return found[chosen] if len(chosen) else found[:1]


def drawn(mask: Tensor, count: int) -> Tensor:
    """Places of at most `count` true entries, each as likely as any other."""
    places = mask.nonzero().squeeze(1)
    if len(places) <= count:
        return places
    return places[torch.randperm(len(places))[:count].to(places.device)]


def overlaps(boxes_xywh: Tensor, truths: Slots) -> Tensor:
    """(A, 4) of every image, or (B, A, 4) -> IoU (B, A, T) with the truths, 0 with no truth."""
    boxes = boxes_xywh.expand(len(truths.xywh), *boxes_xywh.shape[-2:])
    found = box.iou(boxes[:, :, None], truths.xywh.to(boxes)[:, None])
    return found * truths.usable.to(boxes.device)[:, None]


def smooth_l1(distance: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Value and derivative: (sigma d)^2 / 2 where |d| < 1 / sigma^2, else |d| - 1 / (2 sigma^2)."""
    square = sigma * sigma
    near = distance.abs() * square < 1
    value = torch.where(near, 0.5 * square * distance**2, distance.abs() - 0.5 / square)
    return value, torch.where(near, square * distance, distance.sign())
