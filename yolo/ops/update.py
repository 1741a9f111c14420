"""Darknet's update of many parameters in one launch on CUDA.

u <- update - grad;  u <- clamp(u, limit);  u <- u - decay * w
w <- clamp(w + rate * u, clip);  update <- momentum * u          limit, clip 0: no clamp
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .backend import uses_torch
from .cuda.operators import kernels


class Entry(NamedTuple):
    """One parameter; rate times the common rate is its own."""

    weight: Tensor
    update: Tensor
    decay: float
    rate: float
    limit: float
    clip: float


def in_one_launch(parameter):
    """Whether update() takes this parameter."""
    return parameter.is_cuda and parameter.dtype == torch.float32 and not uses_torch()


def update(entries, rate, momentum):
    """Changes weights and updates in place; gradients are those of weight.grad (None: 0)."""
    device = entries[0].weight.device
    rows = [(e.weight, _gradient(e.weight), e.update, None, *e[2:]) for e in entries]
    table = kernels().parameter_table(rows, device)
    kernels().update(table, len(rows), rate, momentum, clear=False)
    for entry in entries:
        torch.autograd.graph.increment_version((entry.weight, entry.update))


def _gradient(weight):
    """The gradient in the order of memory that the weight has."""
    if weight.grad is None or weight.grad.stride() == weight.stride():
        return weight.grad
    return torch.empty_like(weight).copy_(weight.grad)
