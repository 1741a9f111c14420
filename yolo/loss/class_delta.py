"""How the class scores of a claimed cell should move."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class ClassRule:
    """The keys that shape it, read once per loss."""

    positive: float  # target of the truth's class
    negative: float  # target of every other class
    focal: bool
    normalizer: float  # cls_normalizer: Darknet applies it only where multipliers exist
    multipliers: Tensor | None  # (classes,), from counters_per_class

    @classmethod
    def of(cls, layer, like: Tensor) -> "ClassRule":
        eps = layer.label_smooth_eps
        return cls(
            1 - eps + eps / 2,
            eps / 2,
            bool(layer.focal_loss),
            layer.cls_normalizer,
            class_multipliers(layer, like),
        )

    def weight(self, labels: Tensor) -> Tensor | float:
        """The multiplier of each label, (m,), or 1 where the cfg counts no classes."""
        return 1.0 if self.multipliers is None else self.multipliers[labels]

    def delta(self, current: Tensor, probs: Tensor, labels: Tensor, first=False) -> Tensor:
        """current, probs: (m, classes), labels (m,) -> the new deltas (m, classes).

        A cell whose delta for the class (first: for class 0) is set already holds another object:
        it becomes positive for this class too, and nothing else changes. A cell seen first gets
        all of its classes."""
        at = labels[:, None]
        known = current.gather(1, at)
        score = probs.gather(1, at)
        weight = 1.0 if self.multipliers is None else self.multipliers[at]
        again = self.positive - score
        again = torch.where(again.isfinite(), again, known) * weight
        again = current.scatter(1, at, again)
        held = (current[:, :1] if first else known) != 0
        return torch.where(held, again, self._first(current, probs, at, score))

    def _first(self, current: Tensor, probs: Tensor, at: Tensor, score: Tensor) -> Tensor:
        if self.focal:
            return (torch.zeros_like(probs).scatter(1, at, 1) - probs) * focal_factor(score)
        target = torch.full_like(probs, self.negative).scatter(1, at, self.positive)
        delta = target - probs
        delta = torch.where(delta.isfinite(), delta, current)
        if self.multipliers is not None:
            scaled = delta.gather(1, at) * self.multipliers[at] * self.normalizer
            delta = delta.scatter(1, at, scaled)
        return delta


def focal_factor(score: Tensor) -> Tensor:
    """What the focal loss makes of a delta, given the probability of the true class: the slope of
    (1 - p)^2 ln p over that of ln p, times alpha = 0.5."""
    pt = score + 1e-15
    return -0.5 * (1 - pt) * (2 * pt * pt.log() + pt - 1)


def class_multipliers(layer, like: Tensor) -> Tensor | None:
    """Rare classes count more: the largest counter over a class's own, at most max_delta."""
    if layer.counters_per_class is None:
        return None
    counters = like.new_tensor(list(layer.counters_per_class))
    ratio = counters.max() / counters.clamp(min=1)
    return ratio if layer.max_delta is None else ratio.clamp(max=layer.max_delta)
