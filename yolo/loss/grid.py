"""What the losses of anchor heads share: values, predicted boxes, truths, and writing deltas.

A head predicts n boxes for each cell; behind the entries of a box's place stands its objectness,
then its class scores. All tensors are (B, n, entries, cells), cells running along the rows.
"""

import torch
from torch import Tensor

from .. import boxes as box
from ..ops import best_overlap, no_deltas
from .head import Averages
from .truth import Claims, slots


class Grid:
    """The activated values of a head, and the deltas being written for them."""

    def __init__(self, layer, x: Tensor, boxes: Tensor, state):
        """layer: an AnchorHead; x: its raw input; boxes (N, 6): image index, class, x, y, w, h,
        relative; state: height and width of the network's input, and how far training is."""
        images, _, height, width = x.shape
        x = x.detach()
        self.layer, self.grid, self.anchors = layer, (height, width), layer.boxes_per_cell
        self.input_size = state.height, state.width
        value, classes = layer.parts(x)
        value = layer.activate_boxes(value)
        self.predicted = layer.boxes(value, self.input_size).flatten(3)  # xywh, of the image
        self.value = value.flatten(3)  # up to the objectness
        self.raw_classes = classes.flatten(3)
        self.delta = no_deltas(value, images, self.anchors, layer.entries, height * width)
        self.at_objectness = layer.objectness_entry
        self.objectness = self.value[:, :, self.at_objectness]
        self.truths = slots(boxes, images, layer.max, layer.classes, layer.map)

    # Parts of the deltas

    @property
    def box_deltas(self) -> Tensor:
        return self.delta[:, :, : self.at_objectness]

    @property
    def class_deltas(self) -> Tensor:
        return self.delta[:, :, self.at_objectness + 1 :]

    @property
    def scores(self) -> Tensor:
        return self.layer.activate_classes(self.raw_classes, 2)

    def scores_of(self, taken: Claims) -> Tensor:
        """Scores of the claimed boxes alone, (m, classes): most of them nobody asks for."""
        image, anchor, cell = self.at(taken)
        return self.layer.activate_classes(self.raw_classes[image, anchor, :, cell], 1)

    def at(self, taken: Claims) -> tuple[Tensor, Tensor, Tensor]:
        """Indices of claimed boxes: image, anchor, cell."""
        return taken.image, taken.anchor, taken.row * self.grid[1] + taken.col

    def corner(self, taken: Claims) -> Tensor:
        """(m, 2) column and row of the claimed cells."""
        return torch.stack((taken.col, taken.row), 1)

    # Predictions and truths

    def best_overlap(self) -> Tensor:
        """Highest IoU of each predicted box with a truth of its image: (B, n, cells)."""
        return best_overlap(self.predicted, self.truths.xywh.to(self.predicted))

    def nearest(self, chosen: Tensor) -> Claims:
        """For each chosen box, (B, n, cells) bool, the truth that it overlaps most."""
        image, anchor, cell = chosen.nonzero(as_tuple=True)
        truths = self.truths.xywh.to(self.predicted)[image]
        predicted = self.predicted[image, anchor, :, cell]
        slot = box.iou(predicted[:, None], truths).argmax(1)
        labels = self.truths.labels.to(image.device)[image, slot]
        xywh = truths[torch.arange(len(slot), device=image.device), slot]
        return Claims(image, anchor, cell // self.grid[1], cell % self.grid[1], xywh, labels)

    # Report

    def tally(self, taken: Claims) -> dict[str, Tensor]:
        """Sums over the claimed boxes and over all, still on their device."""
        at = self.at(taken)
        predicted = self.predicted[at[0], at[1], :, at[2]]
        return {
            "iou": box.iou(predicted, taken.xywh).sum(),
            "obj": self.objectness[at].sum(),
            "noobj": self.objectness.sum(),
            "classes": self.scores_of(taken).gather(1, taken.labels[:, None]).sum(),
        }

    def averages(self, sums: dict[str, float], count: int) -> Averages:
        """The sums that `tally` named, as Averages of so many claimed boxes."""
        means = {key: sums[key] for key in ("iou", "obj", "noobj", "classes")}
        return Averages(count, self.objectness.numel(), **means)
