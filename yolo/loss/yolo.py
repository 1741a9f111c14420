"""[yolo]: what a head's predictions should be, and how far they are from it.

x (B, n*(5+K), H, W) -> for each of the n anchors of each cell: x, y, w, h, objectness, K classes.

Three passes write `delta`, the direction in which each entry should move:

  A  every cell      objectness towards 0, unless some truth overlaps the predicted box enough
  B  every truth     the cells that it claims: box towards it, objectness to 1, its class up
  C  claimed cells   with iou_thresh < 1: box deltas over the number of classes the cell holds

For logistic entries delta is target - probability: the gradient of cross-entropy by the raw value.
Deltas are sums: nothing is divided by the number of images or of objects.
"""

from itertools import product

import torch
from torch import Tensor

from .. import boxes as box
from .box_delta import iou_delta, mse_delta
from .class_delta import ClassRule
from .head import HeadLoss, send
from .truth import Claims, claims, rounds, slots

# A cell may predict an object where any one class is more probable than this.
MATCH_PROBABILITY = 0.25
# Pairs of box and truth compared at once. On the CPU the intermediate results stay in its cache,
# and the allocator hands out the same pages again: five times as fast as all pairs at once.
PAIRS = {"cpu": 1 << 18, "cuda": 1 << 25}


def loss(layer, x: Tensor, boxes: Tensor, state) -> HeadLoss:
    """x: raw input of the head; boxes (N, 6): image index, class, x, y, w, h, relative.

    layer: the cfg's keys and `activate`; state: height and width of the network's input.
    """
    with torch.no_grad():
        head = _Head(layer, x, boxes, state)
        head.background()
        tally = head.objects()
        if layer.iou_thresh < 1:
            head.share()
        cost, terms = head.report(tally)
        delta = head.delta.view_as(x)
        if layer.delta_normalizer != 1:
            delta = delta * layer.delta_normalizer
    return HeadLoss(cost, delta, send(x, delta, cost), terms)


class _Head:
    """The activated values (B, n, 5+K, cells) of a head, and the deltas being written for them."""

    def __init__(self, layer, x: Tensor, boxes: Tensor, state):
        images, channels, height, width = x.shape
        self.layer, self.grid, self.anchors = layer, (height, width), len(layer.mask)
        self.adversarial = getattr(state, "adversarial", False)
        x = x.detach()
        value = layer.activate(x if x.dtype == torch.float64 else x.float())
        shape = (images, self.anchors, channels // self.anchors, height * width)
        self.value = value.reshape(shape)
        self.delta = torch.zeros_like(self.value)
        self.rewritten = self.delta.new_zeros(())  # box deltas added to cells that had some
        self.rule = ClassRule.of(layer, self.value)
        sizes = torch.tensor(layer.anchors).float() / torch.tensor([state.width, state.height])
        self.sizes = sizes[list(layer.mask)].to(self.value)  # (n, 2), relative to the input
        self.predicted = self.decode()
        self.truths = slots(boxes, images, layer.max, layer.classes, layer.map)
        self.claims = claims(self.truths, self.grid, sizes, layer)
        # Images with objects have broken objectness read as 0; elsewhere it shows in the cost.
        has_truth = self.truths.usable.any(1).to(x.device)[:, None, None]
        raw = self.value[:, :, 4]
        self.objectness = torch.where(has_truth & ~raw.isfinite(), 0, raw)

    def decode(self) -> Tensor:
        """Predicted boxes, xywh relative to the image: (B, n, 4, cells)."""
        height, width = self.grid
        cells = torch.arange(height * width, device=self.value.device)
        corner = torch.stack((cells % width, cells // width))
        center = (self.value[:, :, :2] + corner) / corner.new_tensor([[width], [height]])
        size = self.value[:, :, 2:4]
        size = 4 * size * size if self.layer.new_coords else size.exp()
        return torch.cat((center, size * self.sizes[..., None]), 2)

    # Pass A

    def background(self) -> None:
        """Objectness towards 0 everywhere, except where a box already overlaps some truth."""
        layer, o = self.layer, self.objectness
        overlap = self.best_overlap()
        match = self.value[:, :, 5:].amax(2) > MATCH_PROBABILITY
        held = torch.where(match, overlap, 0)
        away = layer.obj_normalizer * (0 - o)
        spared = torch.zeros_like(away)
        if layer.objectness_smooth:
            spared = torch.maximum(away, layer.obj_normalizer * (held - o))
        ignored = held > layer.ignore_thresh
        self.delta[:, :, 4] = torch.where(ignored, spared, away)
        if self.adversarial:
            self.mislead(~ignored)
        if layer.truth_thresh < 1:
            self.near_truths(overlap)

    def best_overlap(self) -> Tensor:
        """Highest IoU of each predicted box with a truth of its image: (B, n, cells)."""
        planes = self.predicted.transpose(1, 2).flatten(2)  # (B, 4, n*cells): contiguous edges
        planes = torch.where(planes.isfinite().all(1, keepdim=True), planes, 0)
        predicted = box.xywh_to_xyxy(planes.transpose(1, 2))
        truths = box.xywh_to_xyxy(self.truths.xywh.to(planes))
        images, count, _ = predicted.shape
        slots_used = truths.shape[1]
        best = planes.new_zeros(images, count)
        budget = PAIRS.get(planes.device.type, PAIRS["cuda"])
        group = max(1, budget // (count * slots_used))
        length = max(1, budget // (group * slots_used))
        for i, j in product(range(0, images, group), range(0, count, length)):
            part = predicted[i : i + group, j : j + length]
            pairs = box.iou_matrix(truths[i : i + group], part)
            best[i : i + group, j : j + length] = pairs.amax(1)
        return best.view(images, self.anchors, -1)

    def near_truths(self, overlap: Tensor) -> None:
        """truth_thresh: a box this close to a truth is an object, whatever its anchor."""
        image, anchor, cell = (overlap > self.layer.truth_thresh).nonzero(as_tuple=True)
        truths = self.truths.xywh.to(overlap)[image]
        predicted = self.predicted[image, anchor, :, cell]
        nearest = box.iou(predicted[:, None], truths).argmax(1)
        labels = self.truths.labels.to(image.device)[image, nearest]
        row, col = cell // self.grid[1], cell % self.grid[1]
        xywh = truths[torch.arange(len(nearest), device=image.device), nearest]
        found = Claims(image, anchor, row, col, xywh, labels)
        quality = overlap[image, anchor, cell] ** 2
        target = quality if self.layer.objectness_smooth else 1
        o = self.objectness[image, anchor, cell]
        self.delta[image, anchor, 4, cell] = self.layer.obj_normalizer * (target - o)
        self.write_classes(found)
        if self.layer.objectness_smooth:
            score = self.value[image, anchor, 5 + labels, cell]
            towards = self.rule.weight(labels) * (quality - score)
            self.delta[image, anchor, 5 + labels, cell] = towards
        self.write_boxes(found, self.box_steps(found))

    def mislead(self, free: Tensor) -> None:
        """Adversarial step: what is seen with confidence should be missed and moved, and other
        classes seen instead. free: (B, n, cells), cells that no truth spares."""
        area = self.predicted[:, :, 2] * self.predicted[:, :, 3]
        scale = torch.where(area > 0, area.sqrt(), area)
        o = self.objectness
        away = scale * self.layer.obj_normalizer * (0 - o)
        self.delta[:, :, 4] = torch.where(free, away, self.delta[:, :, 4])
        scores = self.value[:, :, 5:]
        confidence = scores * o[:, :, None]
        seen = confidence > MATCH_PROBABILITY
        other = (confidence < MATCH_PROBABILITY).to(scores)
        fooled = (seen.any(2) & free)[:, :, None]
        step = scale[:, :, None] * (torch.where(seen, 0, other) - scores)
        self.delta[:, :, 5:] = torch.where(fooled, step, self.delta[:, :, 5:])
        moved = scale[:, :, None] * (0 - self.value[:, :, :4])
        self.delta[:, :, :4] += torch.where(fooled, moved, 0)

    # Pass B

    def objects(self) -> dict[str, Tensor]:
        """Deltas of the cells that truths claim, in the order of the truths."""
        taken = self.claims.to(self.value)
        at = self.at(taken)
        steps = self.box_steps(taken)
        for turn in rounds(self.claims, self.grid, self.anchors):
            turn = turn.to(self.value.device)
            self.write_boxes(taken[turn], steps[turn])
            self.write_objectness(taken[turn])
            self.write_classes(taken[turn])
        predicted = self.predicted[at[0], at[1], :, at[2]]
        return {
            "iou": box.iou(predicted, taken.xywh).sum(),
            "giou": box.giou(predicted, taken.xywh).sum(),
            "obj": self.objectness[at].sum(),
        }

    def at(self, taken: Claims) -> tuple[Tensor, Tensor, Tensor]:
        return taken.image, taken.anchor, taken.row * self.grid[1] + taken.col

    def box_steps(self, taken: Claims) -> Tensor:
        """What each claim adds to its cell's four box entries: (m, 4)."""
        layer = self.layer
        image, anchor, cell = self.at(taken)
        value = self.value[image, anchor, :4, cell]
        scale = layer.iou_normalizer * self.rule.weight(taken.labels)
        if isinstance(scale, Tensor):
            scale = scale[:, None]
        if layer.iou_loss == "mse":
            corner = torch.stack((taken.col, taken.row), 1)
            sizes = self.sizes[anchor]
            step = mse_delta(value, taken.xywh, corner, self.grid, sizes, layer.new_coords)
            return step * scale
        predicted = self.predicted[image, anchor, :, cell]
        step = iou_delta(layer.iou_loss, predicted, taken.xywh, value, layer.new_coords) * scale
        step = torch.where(step.isfinite(), step, 0)
        return step if layer.max_delta is None else step.clamp(-layer.max_delta, layer.max_delta)

    def write_boxes(self, taken: Claims, steps: Tensor) -> None:
        image, anchor, cell = self.at(taken)
        before = self.delta[image, anchor, :4, cell]
        self.delta[image, anchor, :4, cell] = before + steps
        self.rewritten += (before != 0).any(1).sum()

    def write_objectness(self, taken: Claims) -> None:
        at = self.at(taken)
        image, anchor, cell = at
        weight = self.rule.weight(taken.labels) * self.layer.obj_normalizer
        towards = weight * (1 - self.objectness[at])
        if self.layer.objectness_smooth:
            # As Darknet has it: positives keep what pass A wrote unless that was exactly 0.
            before = self.delta[image, anchor, 4, cell]
            towards = torch.where(before == 0, towards, before)
        self.delta[image, anchor, 4, cell] = towards

    def write_classes(self, taken: Claims) -> None:
        image, anchor, cell = self.at(taken)
        before = self.delta[image, anchor, 5:, cell]
        scores = self.value[image, anchor, 5:, cell]
        self.delta[image, anchor, 5:, cell] = self.rule.delta(before, scores, taken.labels)

    # Pass C

    def share(self) -> None:
        """Cells that hold several classes got as many box deltas: take the mean."""
        boxes = self.delta[:, :, :4]
        moved = (boxes != 0).any(2) & (self.delta[:, :, 4] != 0)
        image, anchor, cell = moved.nonzero(as_tuple=True)
        held = (self.delta[image, anchor, 5:, cell] > 0).sum(1, keepdim=True).clamp(min=1)
        boxes[image, anchor, :, cell] = boxes[image, anchor, :, cell] / held

    def report(self, tally: dict[str, Tensor]) -> tuple[float, dict[str, float | int]]:
        """Darknet's cost of this mini-batch, and the numbers of its progress line."""
        tally = tally | {
            "rewritten": self.rewritten,
            "boxes": torch.linalg.vector_norm(self.delta[:, :, :4]) ** 2,
            "rest": torch.linalg.vector_norm(self.delta[:, :, 4:]) ** 2,
            "noobj": self.objectness.sum() / max(1, self.objectness.numel()),
        }
        values = torch.stack([value.to(self.delta) for value in tally.values()]).tolist()
        sums = dict(zip(tally, values, strict=True))
        return self.costs(sums)

    def costs(self, sums: dict[str, float]) -> tuple[float, dict[str, float | int]]:
        layer, images, count = self.layer, max(1, len(self.delta)), len(self.claims)
        total = sums["boxes"] + sums["rest"]
        class_loss = layer.obj_normalizer * sums["rest"]
        cost = total
        if layer.iou_loss != "mse" and layer.show_details:
            # The box part is a mean over objects, and giou is the only one to report itself.
            similar = sums["giou"] if layer.iou_loss == "giou" else sums["iou"]
            cost = layer.iou_normalizer * (count - similar) / max(1, count) + class_loss
        return cost, {
            "count": count,
            "avg_iou": sums["iou"] / max(1, count),
            "obj": sums["obj"] / max(1, count),
            "noobj": sums["noobj"],
            "class_loss": class_loss / images,
            "iou_loss": (total - class_loss) / images,
            "total_loss": total / images,
            "rewritten": int(sums["rewritten"]),
            "left_out": self.truths.left_out,
        }
