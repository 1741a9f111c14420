"""What every head returns from its loss, and how a hand-written gradient enters autograd.

Darknet's heads do not differentiate a formula: they write `delta`, the direction in which each of
their inputs should move, by rules of their own. `send` turns it into a scalar whose backward pass
hands the gradient, `-delta`, to the input, so that all before the head is ordinary autograd.
"""

from dataclasses import dataclass, field
from math import isfinite

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..ops.precision import sum_type


@dataclass
class Averages:
    """What training shows of a head. Kept as sums, so that those of several mini-batches add up."""

    objects: int = 0  # truths that a box of this head answered for; images of a classifier
    boxes: int = 0  # boxes that the head predicted
    iou: float = 0.0  # over objects: overlap of prediction and truth
    obj: float = 0.0  # over objects: objectness of the prediction
    noobj: float = 0.0  # over all boxes: objectness
    classes: float = 0.0  # over objects: probability of the true class

    def __add__(self, other: "Averages") -> "Averages":
        return Averages(**{k: v + getattr(other, k) for k, v in vars(self).items()})

    def columns(self) -> dict[str, int | float | None]:
        """Means by the names that are shown; None where there is nothing to average."""

        def mean(total, count):
            return total / count if count and isfinite(total) else None

        return {
            "objects": self.objects,
            "iou": mean(self.iou, self.boxes and self.objects),
            "obj": mean(self.obj, self.boxes and self.objects),
            "no-obj": mean(self.noobj, self.boxes),
            "class": mean(self.classes, self.objects),
        }

    def __str__(self) -> str:
        shown = {k: "-" if v is None else f"{v:.3g}" for k, v in self.columns().items()}
        return "  ".join(f"{name} {value}" for name, value in shown.items())


@dataclass
class HeadLoss:
    """One head's loss over one mini-batch, summed over its images."""

    cost: float  # what Darknet reports for this layer
    gradient: Tensor  # with respect to the head's input, of its shape: minus Darknet's delta
    total: Tensor  # scalar of value `cost`; its backward sends the gradient to the input
    averages: Averages = field(default_factory=Averages)
    terms: dict[str, float | int] = field(default_factory=dict)  # parts of the cost, by name
    output: Tensor | None = None  # what later layers read in training in place of forward's result

    @classmethod
    def of(cls, x: Tensor, gradient: Tensor, cost: float, *rest) -> "HeadLoss":
        """Of the head's input and the gradient with respect to it; rest: the other fields."""
        return cls(cost, gradient, send(x, gradient, cost), *rest)

    @property
    def delta(self) -> Tensor:
        """The direction in which the head's input should move."""
        return -self.gradient


class _Send(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gradient, cost):
        ctx.gradient, ctx.dtype = gradient, x.dtype
        return x.new_tensor(cost, dtype=sum_type(x.dtype))  # a cost may leave the range of fp16

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_total):
        # Most totals are added up as they are. (A GPU would have to be waited for.)
        same = grad_total.is_cpu and grad_total.item() == 1
        gradient = ctx.gradient if same else ctx.gradient * grad_total
        return gradient.to(ctx.dtype), None, None


def send(x: Tensor, gradient: Tensor, cost: float) -> Tensor:
    """Scalar of value `cost` with this gradient with respect to x, both of x's shape."""
    if gradient.shape != x.shape:
        raise ValueError(
            f"send: gradient {tuple(gradient.shape)} and input {tuple(x.shape)} differ"
        )
    return _Send.apply(x, gradient.detach().to(x.device, sum_type(x.dtype)), cost)


def numbers(values: dict[str, Tensor]) -> dict[str, float]:
    """Scalars on any device as Python numbers, fetched at once."""
    like = next(iter(values.values()))
    stacked = torch.stack([value.to(like) for value in values.values()])
    return dict(zip(values, stacked.tolist(), strict=True))
