"""[yolo]: what a head's predictions should be, and how far they are from it.

x (B, n*(5+K), H, W) -> for each of the n anchors of each cell: x, y, w, h, objectness, K classes.

Three passes write `delta`, the direction in which each entry should move:

  A  every cell      objectness towards 0, unless some truth overlaps the predicted box enough
  B  every truth     the cells that it claims: box towards it, objectness to 1, its class up
  C  claimed cells   with iou_thresh < 1: box deltas over the number of classes the cell holds

For logistic entries delta is target - probability: the gradient of cross-entropy by the raw value.
Deltas are sums: nothing is divided by the number of images or of objects.
"""

import torch
from torch import Tensor

from .. import boxes as box
from ..ops import highest
from ..ops.native import torch_alone
from .box_delta import iou_delta, mse_delta
from .class_delta import ClassRule
from .grid import Grid
from .head import Averages, HeadLoss, numbers
from .truth import Claims, by_shape, places, rounds

# A cell may predict an object where any one class is more probable than this.
MATCH_PROBABILITY = 0.25


Rows = tuple[Tensor, Tensor, Tensor]  # image, anchor, cell of some boxes


def loss(layer, x: Tensor, boxes: Tensor, state) -> HeadLoss:
    """x: raw input of the head; boxes (N, 6): image index, class, x, y, w, h, relative.

    layer: the cfg's keys, activation and decoding; state: of the network, see network.State.
    """
    return run(YoloPasses, layer, x, boxes, state)


@torch.no_grad()
def _deltas(head: "YoloPasses", state) -> tuple[Tensor, float, Averages, dict]:
    head.background()
    tally = head.objects()
    head.share()
    if state.filters and head.filtered:
        state.filters.apply(head.delta, state.iteration, head.layer.classes)
    moved = head.moved()
    report = head.report(tally, moved)
    return head.gradient(moved), *report


def run(passes: type["YoloPasses"], layer, x: Tensor, boxes: Tensor, state) -> HeadLoss:
    """All passes over one mini-batch."""
    with torch_alone():
        gradient, cost, averages, terms = _deltas(passes(layer, x, boxes, state), state)
    return HeadLoss.of(x, gradient.view_as(x), cost, averages, terms)


class YoloPasses(Grid):
    """The passes of [yolo]; [Gaussian_yolo] has steps of its own in some of them."""

    filtered = True  # whether the filters of [net] for bad labels see this head

    def __init__(self, layer, x: Tensor, boxes: Tensor, state):
        super().__init__(layer, x, boxes, state)
        self.adversarial = getattr(state, "adversarial", False)
        self.rewritten = self.delta.new_zeros(())  # box deltas added to cells that had some
        self.claimed_boxes = []  # numbers of those that truths move, image by image
        self.rule = ClassRule.of(layer, self.value)
        sizes = layer.anchor_sizes(self.grid, self.input_size)
        self.sizes = sizes[list(layer.mask)].to(self.value)  # (n, 2), relative to the input
        self.claims = by_shape(self.places(), sizes, layer)

    def places(self) -> Claims:
        """The cells in which the truths lie."""
        # Images with objects have broken objectness read as 0; elsewhere it shows in the cost.
        has_truth = self.truths.usable.any(1).to(self.value.device)[:, None, None]
        broken = has_truth & ~self.objectness.isfinite()
        self.objectness = torch.where(broken, 0, self.objectness)
        return places(self.truths, self.grid)

    # Pass A

    def background(self) -> None:
        """Objectness towards 0 everywhere, except where a box already overlaps some truth."""
        layer, overlap = self.layer, self.best_overlap()
        best = layer.activate_classes(highest(self.raw_classes), 2)  # which keeps their order
        match = best > MATCH_PROBABILITY
        held = torch.where(match, overlap, 0)
        ignored = held > layer.ignore_thresh
        away = layer.obj_normalizer * (0 - self.objectness)
        self.delta[:, :, self.at_objectness] = torch.where(ignored, self.spared(held, away), away)
        self.settle(ignored)
        if self.adversarial:
            self.mislead(~ignored)
        if layer.truth_thresh < 1:
            self.near_truths(overlap)

    def spared(self, held: Tensor, away: Tensor) -> Tensor:
        """Objectness deltas of boxes that overlap a truth by `held`, more than ignore_thresh."""
        if not self.layer.objectness_smooth:
            return torch.zeros_like(away)
        return torch.maximum(away, self.layer.obj_normalizer * (held - self.objectness))

    def settle(self, ignored: Tensor) -> None:
        """What else such boxes get: nothing, here."""

    def near_truths(self, overlap: Tensor) -> None:
        """truth_thresh: a box this close to a truth is an object, whatever its anchor."""
        found = self.nearest(overlap > self.layer.truth_thresh)
        at = self.at(found)
        quality = overlap[at] ** 2
        target = quality if self.layer.objectness_smooth else 1
        towards = self.layer.obj_normalizer * (target - self.objectness[at])
        self.delta[at[0], at[1], self.at_objectness, at[2]] = towards
        self.write_classes(found)
        if self.layer.objectness_smooth:
            score = self.scores_of(found).gather(1, found.labels[:, None])[:, 0]
            towards = self.rule.weight(found.labels) * (quality - score)
            self.class_deltas[at[0], at[1], found.labels, at[2]] = towards
        self.write_boxes(found, self.box_steps(found))

    def mislead(self, free: Tensor) -> None:
        """Adversarial step: what is seen with confidence should be missed and moved, and other
        classes seen instead. free: (B, n, cells), cells that no truth spares."""
        scale = self.push(free)[:, :, None]
        scores = self.scores
        confidence = scores * self.objectness[:, :, None]
        seen = confidence > MATCH_PROBABILITY
        other = (confidence < MATCH_PROBABILITY).to(scores)
        fooled = (seen.any(2) & free)[:, :, None]
        step = scale * (torch.where(seen, 0, other) - scores)
        self.class_deltas.copy_(torch.where(fooled, step, self.class_deltas))
        moved = scale * (0 - self.value[:, :, : self.at_objectness])
        self.box_deltas.add_(torch.where(fooled, moved, 0))

    def push(self, free: Tensor) -> Tensor:
        """Objectness towards 0, the larger the box the more; returns the boxes' weights."""
        area = self.predicted[:, :, 2] * self.predicted[:, :, 3]
        scale = torch.where(area > 0, area.sqrt(), area)
        away = scale * self.layer.obj_normalizer * (0 - self.objectness)
        entry = self.delta[:, :, self.at_objectness]
        entry.copy_(torch.where(free, away, entry))
        return scale

    # Pass B

    def objects(self) -> dict[str, Tensor]:
        """Deltas of the cells that truths claim, in the order of the truths."""
        taken = self.claims.to(self.value)
        steps = self.box_steps(taken)
        for turn in rounds(self.claims, self.grid, self.anchors):
            turn = turn.to(self.value.device)
            self.write_boxes(taken[turn], steps[turn])
            self.write_objectness(taken[turn])
            self.write_classes(taken[turn])
        return self.tally(taken)

    def tally(self, taken: Claims) -> dict[str, Tensor]:
        sums = super().tally(taken)
        if self.layer.iou_loss == "giou":
            image, anchor, cell = self.at(taken)
            predicted = self.predicted[image, anchor, :, cell]
            sums["giou"] = box.giou(predicted, taken.xywh).sum()
        return sums

    def box_steps(self, taken: Claims) -> Tensor:
        """What each claim adds to its cell's four box entries: (m, 4)."""
        layer = self.layer
        image, anchor, cell = self.at(taken)
        value = self.value[image, anchor, :4, cell]
        scale = self.box_scale(taken)
        if layer.iou_loss == "mse":
            sizes = self.sizes[anchor]
            corner = self.corner(taken)
            step = mse_delta(value, taken.xywh, corner, self.grid, sizes, layer.new_coords)
            return step * scale
        predicted = self.predicted[image, anchor, :, cell]
        step = iou_delta(layer.iou_loss, predicted, taken.xywh, value, layer.new_coords) * scale
        return self.tame(step)

    def box_scale(self, taken: Claims) -> Tensor | float:
        """iou_normalizer times the weight of each claim's class: (m, 1), or a number."""
        scale = self.layer.iou_normalizer * self.rule.weight(taken.labels)
        return scale[:, None] if isinstance(scale, Tensor) else scale

    def tame(self, step: Tensor) -> Tensor:
        """What is not finite becomes 0, the rest stays within max_delta."""
        limit = self.layer.max_delta
        step = torch.where(step.isfinite(), step, 0)
        return step if limit is None else step.clamp(-limit, limit)

    def write_boxes(self, taken: Claims, steps: Tensor) -> None:
        image, anchor, cell = self.at(taken)
        before = self.box_deltas[image, anchor, :, cell]
        self.box_deltas[image, anchor, :, cell] = before + steps
        self.rewritten += (before != 0).any(1).sum()

    def write_objectness(self, taken: Claims) -> None:
        at = self.at(taken)
        weight = self.rule.weight(taken.labels) * self.layer.obj_normalizer
        towards = weight * (1 - self.objectness[at])
        before = self.delta[at[0], at[1], self.at_objectness, at[2]]
        self.delta[at[0], at[1], self.at_objectness, at[2]] = self.claimed(before, towards)

    def claimed(self, before: Tensor, towards: Tensor) -> Tensor:
        """Objectness deltas of claimed boxes, given those of pass A."""
        # As Darknet has it: positives keep what pass A wrote unless that was exactly 0.
        return (
            torch.where(before == 0, towards, before) if self.layer.objectness_smooth else towards
        )

    def write_classes(self, taken: Claims) -> None:
        image, anchor, cell = self.at(taken)
        self.claimed_boxes.append((image * self.anchors + anchor) * self.delta.shape[3] + cell)
        before = self.class_deltas[image, anchor, :, cell]
        step = self.class_step(before, self.scores_of(taken), taken.labels)
        self.class_deltas[image, anchor, :, cell] = step

    def class_step(self, before: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        return self.rule.delta(before, scores, labels)

    # Pass C

    def share(self) -> None:
        """Cells that hold several classes got as many box deltas: take the mean."""
        if self.layer.iou_thresh < 1:
            self.divide(self.delta[:, :, self.at_objectness] != 0)

    def divide(self, cells: Tensor) -> None:
        """Box deltas over the number of classes that the cells hold."""
        boxes = self.box_deltas
        image, anchor, cell = ((boxes != 0).any(2) & cells).nonzero(as_tuple=True)
        held = (self.class_deltas[image, anchor, :, cell] > 0).sum(1, keepdim=True).clamp(min=1)
        boxes[image, anchor, :, cell] = boxes[image, anchor, :, cell] / held

    # Report

    def moved(self) -> Rows:
        """Image, anchor and cell of the boxes that have more deltas than that of objectness: all
        others are 0, which saves passes over all of them."""
        images, anchors, _, cells = self.delta.shape
        number = torch.arange(0, device=self.delta.device)
        if self.adversarial:
            number = torch.arange(images * anchors * cells, device=self.delta.device)
        elif self.claimed_boxes:
            number = torch.cat(self.claimed_boxes).unique()
        return number // (anchors * cells), number // cells % anchors, number % cells

    def gradient(self, moved: Rows) -> Tensor:
        """Minus the deltas, times delta_normalizer, in their memory."""
        factor = -self.layer.delta_normalizer
        image, anchor, cell = moved
        moved_deltas = self.delta[image, anchor, :, cell] * factor
        self.delta[:, :, self.at_objectness] *= factor
        self.delta[image, anchor, :, cell] = moved_deltas
        return self.delta

    def report(
        self, tally: dict[str, Tensor], moved: Rows
    ) -> tuple[float, Averages, dict[str, float | int]]:
        """Darknet's cost of this mini-batch, averages, and the parts of the cost an image."""
        sums = numbers(tally | self.squares(moved) | {"rewritten": self.rewritten})
        count, images = len(self.claims), max(1, len(self.delta))
        cost, parts = self.costs(sums, count)
        terms = {name: value / images for name, value in parts.items()}
        terms |= {"rewritten": int(sums["rewritten"]), "left_out": self.truths.left_out}
        return cost, self.averages(sums, count), terms

    def squares(self, moved: Rows) -> dict[str, Tensor]:
        """Squares of the deltas, by parts of the loss."""
        image, anchor, cell = moved
        rows, end = self.delta[image, anchor, :, cell], self.at_objectness
        objectness = square(self.delta[:, :, end])
        return {"boxes": square(rows[:, :end]), "rest": objectness + square(rows[:, end + 1 :])}

    def costs(self, sums: dict[str, float], count: int) -> tuple[float, dict[str, float]]:
        layer, total = self.layer, sums["boxes"] + sums["rest"]
        class_loss = layer.obj_normalizer * sums["rest"]
        cost = total
        if layer.iou_loss != "mse" and layer.show_details:
            # The box part is a mean over objects, and giou is the only one to report itself.
            similar = sums["giou" if layer.iou_loss == "giou" else "iou"]
            cost = layer.iou_normalizer * (count - similar) / max(1, count) + class_loss
        return cost, {
            "class_loss": class_loss,
            "iou_loss": total - class_loss,
            "total_loss": total,
        }


def square(deltas: Tensor) -> Tensor:
    """Sum of the squares."""
    return torch.linalg.vector_norm(deltas) ** 2
