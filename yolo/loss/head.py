"""What every head returns from its loss, and how a hand-written gradient enters autograd.

Darknet's heads do not differentiate a formula: they write `delta`, the direction in which each of
their inputs should move, by rules of their own. `send` turns such a delta into a scalar whose
backward pass hands `-delta` to the input, so that everything before the head is ordinary autograd.
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
    delta: Tensor  # shape of the head's input: minus the gradient with respect to it
    total: Tensor  # scalar of value `cost`; its backward sends -delta to the input
    averages: Averages = field(default_factory=Averages)
    terms: dict[str, float | int] = field(default_factory=dict)  # parts of the cost, by name
    output: Tensor | None = None  # what later layers read in training in place of forward's result


class _Send(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, delta, cost):
        ctx.delta, ctx.dtype = delta, x.dtype
        return x.new_tensor(cost, dtype=sum_type(x.dtype))  # a cost may leave the range of fp16

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_total):
        return (ctx.delta * -grad_total).to(ctx.dtype), None, None


def send(x: Tensor, delta: Tensor, cost: float) -> Tensor:
    """Scalar of value `cost`, whose gradient with respect to x is `-delta`, both of x's shape."""
    if delta.shape != x.shape:
        raise ValueError(f"send: delta {tuple(delta.shape)} and input {tuple(x.shape)} differ")
    return _Send.apply(x, delta.detach().to(x.device, sum_type(x.dtype)), cost)


def numbers(values: dict[str, Tensor]) -> dict[str, float]:
    """Scalars on any device as Python numbers, fetched at once."""
    like = next(iter(values.values()))
    stacked = torch.stack([value.to(like) for value in values.values()])
    return dict(zip(values, stacked.tolist(), strict=True))
