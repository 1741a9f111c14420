"""[Gaussian_yolo]: the passes of [yolo], for boxes whose sides have a mean and a deviation each.

x (B, n*(9+K), H, W) -> for each anchor: x, s(x), y, s(y), w, s(w), h, s(h), objectness, K classes.

Means and deviations climb the likelihood of the truth's values ("Gaussian YOLOv3", Choi et al.
2019), means also an IoU where iou_loss asks for one. Where a truth has not its centre but a corner
in a cell, x and y are those of the corner.
"""

import torch
from torch import Tensor

from .box_delta import gaussian_delta, iou_gradient, target_entries
from .head import HeadLoss
from .truth import Claims, places
from .yolo import MATCH_PROBABILITY, Rows, YoloPasses, run, square

MEANS, DEVIATIONS = slice(0, 8, 2), slice(1, 8, 2)


def loss(layer, x: Tensor, boxes: Tensor, state) -> HeadLoss:
    """x: raw input of the head; boxes (N, 6): image index, class, x, y, w, h, relative.

    layer: the cfg's keys, activation and decoding; state: of the network, see network.State.
    """
    return run(_GaussianPasses, layer, x, boxes, state)


class _GaussianPasses(YoloPasses):
    filtered = False

    def places(self) -> Claims:
        return places(self.truths, self.grid, self.layer.point)

    def spared(self, held: Tensor, away: Tensor) -> Tensor:
        if not self.layer.objectness_smooth:
            return torch.zeros_like(away)
        return self.layer.obj_normalizer * (held**2 - self.objectness)

    def settle(self, ignored: Tensor) -> None:
        """With objectness_smooth they also get the class of the truth that they overlap most."""
        if self.layer.objectness_smooth:
            self.write_classes(self.nearest(ignored))

    def mislead(self, free: Tensor) -> None:
        """Adversarial step: what is seen with confidence should be missed."""
        scale = self.push(free)[:, :, None]
        scores = self.scores
        seen = scores * self.objectness[:, :, None] > MATCH_PROBABILITY
        fooled = seen & free[:, :, None]
        self.class_deltas.copy_(torch.where(fooled, -scale * scores, self.class_deltas))

    def box_steps(self, taken: Claims) -> Tensor:
        """What each claim adds to its cell's eight box entries: (m, 8)."""
        layer = self.layer
        image, anchor, cell = self.at(taken)
        value = self.value[image, anchor, :8, cell]
        corner = self.corner(taken) - layer.point * taken.xywh[:, 2:] * self.cells(value)
        target = target_entries(taken.xywh, corner, self.grid, self.sizes[anchor], False)
        weight = 2 - taken.xywh[:, 2:3] * taken.xywh[:, 3:4]
        mean, deviation = gaussian_delta(target, value[:, MEANS], value[:, DEVIATIONS], weight)
        if layer.iou_loss != "mse":
            mean = iou_gradient(layer.iou_loss, self.predicted[image, anchor, :, cell], taken.xywh)
            place, size = mean[:, :2], mean[:, 2:]
            mean = torch.cat((place + layer.point * size, size * value[:, 4:8:2].exp()), 1)
        step = torch.stack((mean * self.box_scale(taken), deviation * layer.uc_normalizer), 2)
        return self.tame(step.flatten(1))

    def cells(self, like: Tensor) -> Tensor:
        return like.new_tensor([self.grid[1], self.grid[0]])

    def claimed(self, before: Tensor, towards: Tensor) -> Tensor:
        return towards

    def class_step(self, before: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        return self.rule.delta(before, scores, labels, first=True)

    def share(self) -> None:
        """As in [yolo], but whatever iou_thresh is, and in every cell."""
        self.divide(self.objectness.new_ones((), dtype=torch.bool))

    def squares(self, moved: Rows) -> dict[str, Tensor]:
        image, anchor, cell = moved
        deviations = square(self.delta[image, anchor, DEVIATIONS, cell])
        return super().squares(moved) | {"deviations": deviations}

    def costs(self, sums: dict[str, float], count: int) -> tuple[float, dict[str, float]]:
        total = sums["boxes"] + sums["rest"]
        return total, {
            "class_loss": sums["rest"],
            "iou_loss": sums["boxes"] - sums["deviations"],
            "uc_loss": sums["deviations"],
            "total_loss": total,
        }
