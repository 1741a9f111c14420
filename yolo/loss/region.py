"""[region]: the loss of YOLOv2.

x (B, n*(5+K), H, W) -> for each of the n anchors of each cell: x, y, w, h, objectness, K classes.

First every box: objectness towards 0, unless it overlaps some truth enough; early in training also
its place towards the cell's middle, its size towards the anchor. Then every truth: the box of its
cell whose shape is nearest moves there. Objectness and place get the derivative of the logistic,
classes of a softmax do not. A later truth replaces what an earlier one wrote for the same box.
"""

import torch
from torch import Tensor

from .. import boxes as box
from .box_delta import target_entries
from .class_delta import focal_factor
from .grid import Grid
from .head import Averages, HeadLoss, numbers
from .truth import Claims, centred, places, rounds

WARM_UP, WARM_UP_SCALE = 12800, 0.01  # images in which boxes learn the anchors, how strongly
FROM_OVERLAP = -1  # classfix: the objectness of every box is its overlap with a truth
BY_OBJECTNESS = 2  # classfix: how much a class counts


def loss(layer, x: Tensor, boxes: Tensor, state) -> HeadLoss:
    """x: raw input of the head; boxes (N, 6): image index, class, x, y, w, h, relative.

    layer: the cfg's keys, activation and decoding; state: of the network, see network.State.
    """
    with torch.no_grad():
        head = _RegionPasses(layer, x, boxes, state)
        head.background()
        if state.seen < WARM_UP:
            head.warm_up()
        cost, averages, terms = head.report(head.objects())
        delta = head.delta.view_as(x)
    return HeadLoss.of(x, -delta, cost, averages, terms)


class _RegionPasses(Grid):
    def __init__(self, layer, x: Tensor, boxes: Tensor, state):
        super().__init__(layer, x, boxes, state)
        self.sizes = layer.anchor_sizes(self.grid, self.input_size).to(self.value)
        self.slope = self.objectness * (1 - self.objectness)
        self.count = 0

    def background(self) -> None:
        layer, overlap = self.layer, self.best_overlap()
        if layer.classfix == FROM_OVERLAP:
            target, near = overlap, torch.zeros_like(overlap, dtype=torch.bool)
        else:
            target, near = 0, overlap > layer.thresh
        away = layer.noobject_scale * (target - self.objectness) * self.slope
        self.delta[:, :, 4] = torch.where(near, 0, away)
        if layer.classfix > 0:
            found = self.nearest(near)
            by = self.objectness[self.at(found)] if layer.classfix == BY_OBJECTNESS else None
            self.write_classes(found, by)

    def warm_up(self) -> None:
        """Every box towards its anchor in the middle of its cell."""
        place = self.value[:, :, :2].sigmoid()
        self.delta[:, :, :2] = WARM_UP_SCALE * (0.5 - place) * place * (1 - place)
        self.delta[:, :, 2:4] = WARM_UP_SCALE * (0 - self.value[:, :, 2:4])

    def objects(self) -> dict[str, Tensor]:
        found = self.choose(places(self.truths, self.grid).to(self.value))
        self.count = len(found)
        for turn in rounds(found.to(self.truths.xywh), self.grid, self.anchors):
            taken = found[turn.to(self.value.device)]
            self.write_boxes(taken)
            self.write_objectness(taken)
            self.write_classes(taken)
        return self.tally(found)

    def choose(self, found: Claims) -> Claims:
        """The box of each truth's cell whose predicted shape is nearest; bias_match: whose
        anchor's is."""
        image, _, cell = self.at(found)
        shapes = self.predicted[image, :, 2:, cell]  # (m, n, 2)
        if self.layer.bias_match:
            shapes = self.sizes.expand_as(shapes)
        truth = centred(found.xywh[:, 2:])[:, None]
        found.anchor = box.iou(centred(shapes), truth).argmax(1)
        return found

    def write_boxes(self, taken: Claims) -> None:
        image, anchor, cell = self.at(taken)
        value = self.value[image, anchor, :4, cell]
        place = value[:, :2].sigmoid()
        sizes, corner = self.sizes[anchor], self.corner(taken)
        target = target_entries(taken.xywh, corner, self.grid, sizes, False)
        step = target - torch.cat((place, value[:, 2:]), 1)
        step[:, :2] *= place * (1 - place)
        self.delta[image, anchor, :4, cell] = self.layer.coord_scale * step

    def write_objectness(self, taken: Claims) -> None:
        at = self.at(taken)
        target = 1
        if self.layer.rescore:
            target = box.iou(self.predicted[at[0], at[1], :, at[2]], taken.xywh)
        towards = self.layer.object_scale * (target - self.objectness[at]) * self.slope[at]
        self.delta[at[0], at[1], 4, at[2]] = towards

    def write_classes(self, taken: Claims, by: Tensor | None = None) -> None:
        """by: what each claim counts, beside class_scale (m,)."""
        layer = self.layer
        image, anchor, cell = self.at(taken)
        score = self.scores_of(taken)
        target = torch.zeros_like(score).scatter(1, taken.labels[:, None], 1)
        counts = torch.ones_like(score, dtype=torch.bool)
        if layer.tree:
            target, counts = layer.tree.spread(target)
        step = layer.class_scale * (target - score)
        if layer.focal_loss and not layer.tree:
            step = step * focal_factor(score.gather(1, taken.labels[:, None]))
        if by is not None:
            step = step * by[:, None]
        before = self.class_deltas[image, anchor, :, cell]
        self.class_deltas[image, anchor, :, cell] = torch.where(counts, step, before)

    def report(self, tally: dict[str, Tensor]) -> tuple[float, Averages, dict[str, float | int]]:
        """Darknet's cost of this mini-batch, averages, and the parts of the cost an image."""
        parts = {"iou_loss": slice(0, 4), "obj_loss": slice(4, 5), "class_loss": slice(5, None)}
        squares = {k: torch.linalg.vector_norm(self.delta[:, :, v]) ** 2 for k, v in parts.items()}
        sums, images = numbers(tally | squares), max(1, len(self.delta))
        cost = sum(sums[name] for name in parts)
        terms = {name: sums[name] / images for name in parts}
        terms |= {"total_loss": cost / images, "left_out": self.truths.left_out}
        return cost, self.averages(sums, self.count), terms
