"""[detection]: the loss of YOLOv1, squared distances with a weight for each kind of value.

Each cell answers for the first truth in it: its class scores move to that class, and the box that
overlaps the truth most (where none does, the one with the nearest numbers) moves there. Every other
box learns confidence 0. Deltas go straight to the values, without a derivative of softmax or root.
"""

import torch
from torch import Tensor

from .. import boxes as box
from .head import Averages, HeadLoss, numbers
from .truth import Claims, places, rounds, slots

RANDOM_UNTIL = 64000  # images in which `random` chooses the box
SMALL = 0.1  # area below which `forced` takes the second box


def loss(layer, x: Tensor, boxes: Tensor, state) -> HeadLoss:
    """x: raw input of the head; boxes (N, 6): image index, class, x, y, w, h, relative.

    layer: the cfg's keys and decoding; state: of the network, see network.State.
    """
    with torch.no_grad():
        head = _Cells(layer, x, boxes, state)
        head.background()
        cost, averages, terms = head.report(head.objects())
        delta = head.delta.view_as(x)
    return HeadLoss.of(x, -delta, cost, averages, terms)


class _Cells:
    """Values and deltas of the head, in blocks (see layers/detection.py)."""

    def __init__(self, layer, x: Tensor, boxes: Tensor, state):
        self.layer = layer
        value = layer(x.detach())
        self.delta = torch.zeros_like(value)
        self.value, self.to = layer.split(value), layer.split(self.delta)  # views
        self.predicted = layer.boxes(self.value)  # (B, cells, n, 4)
        grid = layer.side, layer.side
        self.truths = slots(boxes, len(x), layer.max, layer.classes, layer.map)
        found = places(self.truths, grid)
        first = rounds(found, grid, 1)
        self.found = (found[first[0]] if first else found).to(value)
        self.draws = layer.random and state.seen < RANDOM_UNTIL

    def background(self) -> None:
        """Every confidence towards 0."""
        self.to.confidence.copy_(self.layer.noobject_scale * (0 - self.value.confidence))

    def objects(self) -> dict[str, Tensor]:
        layer, taken = self.layer, self.found
        cell = taken.image, taken.row * layer.side + taken.col
        scores = self.value.classes[cell]
        target = torch.zeros_like(scores).scatter(1, taken.labels[:, None], 1)
        self.to.classes[cell] = layer.class_scale * (target - scores)
        at = *cell, self.responsible(taken, cell)
        overlap = box.iou(self.predicted[at], taken.xywh)
        confidence = self.value.confidence[at]
        wanted = overlap if layer.rescore else 1
        self.to.confidence[at] = layer.object_scale * (wanted - confidence)
        self.to.boxes[at] = layer.coord_scale * (self.targets(taken) - self.value.boxes[at])
        return {
            "iou": overlap.sum(),
            "obj": confidence.sum(),
            "noobj": self.value.confidence.sum(),
            "classes": (scores * target).sum(),
        }

    def targets(self, taken: Claims) -> Tensor:
        """The values that would give each truth: (m, 4)."""
        corner = torch.stack((taken.col, taken.row), 1)
        size = taken.xywh[:, 2:]
        place = taken.xywh[:, :2] * self.layer.side - corner
        return torch.cat((place, size.sqrt() if self.layer.sqrt else size), 1)

    def responsible(self, taken: Claims, cell: tuple[Tensor, Tensor]) -> Tensor:
        """Which box of the cell answers for each truth: (m,)."""
        if self.draws:
            return torch.randint_like(taken.image, self.layer.boxes_per_cell)
        if self.layer.forced:
            return (taken.xywh[:, 2] * taken.xywh[:, 3] < SMALL).long()
        predicted = self.predicted[cell]
        overlap = box.iou(predicted, taken.xywh[:, None])
        distance = ((predicted - taken.xywh[:, None]) ** 2).sum(2)
        return torch.where((overlap > 0).any(1), overlap.argmax(1), distance.argmin(1))

    def report(self, tally: dict[str, Tensor]) -> tuple[float, Averages, dict[str, float | int]]:
        """Darknet's cost of this mini-batch, averages, and the parts of the cost an image."""
        parts = {"iou_loss": "boxes", "obj_loss": "confidence", "class_loss": "classes"}
        squares = {k: (getattr(self.to, v) ** 2).sum() for k, v in parts.items()}
        sums, images = numbers(tally | squares), max(1, len(self.delta))
        cost = sum(sums[name] for name in parts)
        terms = {name: sums[name] / images for name in parts}
        terms |= {"total_loss": cost / images, "left_out": self.truths.left_out}
        means = {name: sums[name] for name in tally}
        return cost, Averages(len(self.found), self.value.confidence.numel(), **means), terms
