"""What every head returns from its loss, and how a hand-written gradient enters autograd.

Darknet's heads do not differentiate a formula: they write `delta`, the direction in which each of
their inputs should move, by rules of their own. `send` turns such a delta into a scalar whose
backward pass hands `-delta` to the input, so that everything before the head is ordinary autograd.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass
class HeadLoss:
    """One head's loss over one mini-batch, summed over its images."""

    cost: float  # what Darknet reports for this layer
    delta: Tensor  # shape of the head's input: minus the gradient with respect to it
    total: Tensor  # scalar of value `cost`; its backward sends -delta to the input
    terms: dict[str, float | int] = field(default_factory=dict)  # the parts, by name


class _Send(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, delta, cost):
        ctx.delta = delta
        return x.new_tensor(cost)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_total):
        return ctx.delta * -grad_total, None, None


def send(x: Tensor, delta: Tensor, cost: float) -> Tensor:
    """Scalar of value `cost`, whose gradient with respect to x is `-delta`, both of x's shape."""
    if delta.shape != x.shape:
        raise ValueError(f"send: delta {tuple(delta.shape)} and input {tuple(x.shape)} differ")
    return _Send.apply(x, delta.detach().to(x), cost)
