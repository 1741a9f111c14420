"""How a predicted box should move: Darknet's deltas for mse and for the IoU family.

All functions take m cells at once: boxes xywh (m, 4) relative to the image, and return (m, 4), the
direction to add to the four box entries. Darknet's formulas are kept where they differ from the
gradient they stand for, since trained models and published settings are balanced against them:

- the iou family has a gradient for the edges, and w, h get right - left, bottom - top: twice the
  derivative by the size;
- w and h pass through exp, but x and y do not get the derivative of the logistic;
- diou and ciou subtract a term for the hull in x and y that the derivative would add;
- overlaps are not clamped at zero, so boxes apart in both directions count as overlapping.
"""

from math import sqrt

import torch
from torch import Tensor


def target_entries(truth: Tensor, corner: Tensor, grid: tuple, anchor: Tensor, new: bool):
    """The four entries that would give `truth`: (m, 4).

    corner: column and row of the cell (m, 2); grid: (height, width) in cells; anchor: (m, 2),
    relative to the network's input.
    """
    cells = truth.new_tensor([grid[1], grid[0]])
    ratio = truth[:, 2:] / anchor
    size = (ratio / 4).sqrt() if new else ratio.log()
    return torch.cat((truth[:, :2] * cells - corner, size), 1)


def mse_delta(value: Tensor, truth: Tensor, corner: Tensor, grid: tuple, anchor: Tensor, new: bool):
    """Towards the entries that would give `truth`; small boxes count up to twice as much.

    value: the four entries as the head outputs them; the others as in target_entries().
    """
    weight = 2 - truth[:, 2] * truth[:, 3]
    return weight[:, None] * (target_entries(truth, corner, grid, anchor, new) - value)


def gaussian_delta(target: Tensor, mean: Tensor, deviation: Tensor, weight: Tensor):
    """Of means and of deviations, towards values under which `target` is more likely.

    As coded: the deviation counts 0.3 more in the density than in the distance."""
    distance = (target - mean) / deviation
    density = (-distance * distance / 2).exp() / (sqrt(2 * torch.pi) * (deviation + 0.3))
    share = 0.5 * weight * density / (density + 1e-9)
    slope = distance * distance / deviation - 1 / (deviation + 0.3)
    return share * distance / deviation, share * slope


def iou_delta(kind: str, predicted: Tensor, truth: Tensor, value: Tensor, new: bool) -> Tensor:
    """Derivative of iou, giou, diou or ciou as Darknet computes it, for entries x, y, w, h."""
    step = iou_gradient(kind, predicted, truth)
    if not new:
        step = torch.cat((step[:, :2], step[:, 2:] * value[:, 2:].exp()), 1)
    return step


def iou_gradient(kind: str, predicted: Tensor, truth: Tensor) -> Tensor:
    """The same before the step through exp: by the predicted x, y, w, h."""
    size = torch.where(predicted[:, 2:] == 0, 1, predicted[:, 2:])
    p = _Pair(torch.cat((predicted[:, :2], size), 1), truth)
    edges = p.overlap_gradient()
    if kind == "giou":
        hull = p.hull_gradient()
        edges = torch.where(p.apart, hull, edges + hull)
    low, high = edges[:, :2], edges[:, 2:]
    step = torch.cat((low + high, high - low), 1)
    if kind in ("diou", "ciou"):
        extra = p.distance_gradient()
        if kind == "ciou":
            extra = extra + p.aspect_gradient()
        has_hull = (p.diagonal > 0)[:, None]
        step = torch.where(has_hull, torch.where(p.apart, extra, step + extra), step)
    return step


class _Pair:
    """Quantities that predicted and true boxes share. Edges are (m, 2): x first, then y."""

    def __init__(self, predicted: Tensor, truth: Tensor):
        self.predicted, self.truth = predicted, truth
        self.low, self.high = _corners(predicted)
        self.low_t, self.high_t = _corners(truth)
        self.size = self.high - self.low
        self.inter = torch.minimum(self.high, self.high_t) - torch.maximum(self.low, self.low_t)
        self.apart = (self.inter <= 0).any(1, keepdim=True)
        self.hull = torch.maximum(self.high, self.high_t) - torch.minimum(self.low, self.low_t)
        self.diagonal = (self.hull * self.hull).sum(1)
        self.area_i = self.inter.prod(1, keepdim=True)
        areas = self.size.prod(1, keepdim=True) + (self.high_t - self.low_t).prod(1, keepdim=True)
        self.union = areas - self.area_i

    def by_edges(self, moves_low: Tensor, moves_high: Tensor, extent: Tensor) -> Tensor:
        """Change of an area of size `extent` (m, 2) by its left, top, right, bottom edge: (m, 4).

        An edge that moves changes the area by the extent of the other direction."""
        across = extent.flip(1)
        return torch.cat((-across * moves_low, across * moves_high), 1)

    def overlap_terms(self) -> tuple[Tensor, Tensor]:
        """Change of intersection and of union by the predicted box's edges."""
        always = torch.ones_like(self.low)
        inter = self.by_edges(self.low > self.low_t, self.high < self.high_t, self.inter)
        return inter, self.by_edges(always, always, self.size) - inter

    def overlap_gradient(self) -> Tensor:
        """Of intersection / union by left, top, right, bottom: (m, 4)."""
        inter, union = self.overlap_terms()
        step = (self.union * inter - self.area_i * union) / self.union**2
        step = torch.where(self.union > 0, step, 0)
        # A box too thin for its edges to differ moves as a whole, by its right or lower edge.
        flat = (self.low >= self.high).repeat(1, 2)
        return torch.where(flat, step[:, 2:].repeat(1, 2), step)

    def hull_gradient(self) -> Tensor:
        """Of union / hull by left, top, right, bottom: (m, 4)."""
        _, union = self.overlap_terms()
        hull = self.by_edges(self.low < self.low_t, self.high > self.high_t, self.hull)
        area = self.hull.prod(1, keepdim=True)
        return torch.where(area > 0, (area * union - self.union * hull) / area**2, 0)

    def distance_gradient(self) -> Tensor:
        """The coded stand-in for the derivative of -(distance / diagonal)^2 by x, y, w, h."""
        away = self.truth[:, :2] - self.predicted[:, :2]
        distance = (away * away).sum(1, keepdim=True)
        diagonal = self.diagonal[:, None]
        grows_high = (self.high > self.high_t).to(away)
        grows_low = (self.low < self.low_t).to(away)
        center = (grows_high - grows_low) * 2 * self.hull * distance
        size = (grows_high + grows_low) * self.hull * distance
        move = (2 * away * diagonal - center) / diagonal**2
        return torch.cat((move, size / diagonal**2), 1)

    def aspect_gradient(self) -> Tensor:
        """The coded stand-in for the derivative of -alpha v by x, y, w, h."""
        w, h = self.predicted[:, 2], self.predicted[:, 3]
        angle = torch.atan2(self.truth[:, 2], self.truth[:, 3]) - torch.atan2(w, h)
        v = 4 / torch.pi**2 * angle * angle
        overlap = (self.area_i / self.union).squeeze(1)
        factor = v / (1 - overlap + v + 1e-6) * (8 / torch.pi**2) * angle
        none = torch.zeros_like(w)
        return torch.stack((none, none, factor * h, -factor * w), 1)


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    half = boxes[:, 2:] / 2
    return boxes[:, :2] - half, boxes[:, :2] + half
