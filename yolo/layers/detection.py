"""[detection]  the head of YOLOv1: a vector for a grid of `side` x `side` cells; loss in
loss/detection.py.

Values: class scores of each cell, then confidences of each cell's boxes, then their x, y, w, h;
x, y within the cell, w, h relative to the image, or their square roots.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ..loss.detection import loss as detection_loss
from .head import MAX_ANCHORS, Head


@dataclass
class Parts:
    """The three blocks of values, of N images with S x S cells and n boxes each."""

    classes: Tensor  # (N, S*S, classes)
    confidence: Tensor  # (N, S*S, n)
    boxes: Tensor  # (N, S*S, n, 4) as the network gives them


class Detection(Head):
    """A detection head behind a connected layer."""

    def __init__(self, section, place):
        super().__init__(section, place)
        self.read_classes(section, 1)
        self.boxes_per_cell = section.int("num", 1, 1, MAX_ANCHORS)
        self.side = section.int("side", 7, 1, 1000)
        if section.int("coords", 1) != 4:
            raise section.error("coords must be 4: a box is x, y, w, h", "coords")
        self.softmax = section.bool("softmax", False)
        self.sqrt = section.bool("sqrt", False)
        self._read_loss(section)
        self.read_training(section)
        section.ignore("reorg")
        self.begin(place)

    def _read_loss(self, section):
        self.rescore = section.bool("rescore", False)
        self.forced = section.bool("forced", False)
        self.coord_scale = section.float("coord_scale", 1.0)
        self.object_scale = section.float("object_scale", 1.0)
        self.noobject_scale = section.float("noobject_scale", 1.0)
        self.class_scale = section.float("class_scale", 1.0)
        if self.forced and self.boxes_per_cell < 2:
            raise section.error("forced chooses between two boxes of a cell: num=2", "forced")

    def shape(self, x):
        each = 5 * self.boxes_per_cell + self.classes
        wanted = self.side**2 * each
        if prod(x) != wanted:
            raise self.section.error(
                f"needs side^2 * (5 * num + classes) = {self.side}^2 * {each} = {wanted} inputs, "
                f"and the layer before gives {prod(x)}",
                "side",
            )
        return wanted, 1, 1

    def split(self, x):
        """(N, values) of any shape -> Parts."""
        cells, n = self.side**2, self.boxes_per_cell
        sizes = [cells * self.classes, cells * n, cells * n * 4]
        classes, confidence, boxes = x.flatten(1).split(sizes, 1)
        return Parts(
            classes.unflatten(1, (cells, self.classes)),
            confidence.unflatten(1, (cells, n)),
            boxes.unflatten(1, (cells, n, 4)),
        )

    def forward(self, x):
        x = (x if x.dtype == torch.float64 else x.float()).flatten(1)[:, :, None, None]
        if not self.softmax:
            return x
        count = self.side**2 * self.classes
        scores = self.split(x).classes.softmax(2).flatten(1)[:, :, None, None]
        return torch.cat([scores, x[:, count:]], 1)

    def boxes(self, parts):
        """(N, S*S, n, 4) xywh relative to the image."""
        cell = torch.arange(self.side**2, device=parts.boxes.device)
        corner = torch.stack([cell % self.side, cell // self.side], 1)[:, None]
        center = (parts.boxes[..., :2] + corner) / self.side
        size = parts.boxes[..., 2:]
        return torch.cat([center, size * size if self.sqrt else size], -1)

    def decode(self, output, input_size):
        """Output of forward -> boxes, objectness, scores, as AnchorHead.decode has them."""
        parts = self.split(output)
        boxes = self.boxes(parts).transpose(1, 2).flatten(1, 2)
        scores = parts.classes[:, None].expand(-1, self.boxes_per_cell, -1, -1).flatten(1, 2)
        # no box is left out for its confidence alone, since scores may exceed 1 without a softmax
        confidence = parts.confidence.transpose(1, 2).flatten(1, 2)
        return boxes, torch.ones_like(confidence), scores * confidence[..., None]

    def loss(self, x, boxes, state):
        """boxes: (M, 6) image index, class, x, y, w, h, relative to the image."""
        return detection_loss(self, x, boxes, state)

    def describe(self):
        return "", f"{self.side} x {self.side}"
