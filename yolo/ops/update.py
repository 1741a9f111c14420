"""Darknet's update of many parameters: one pass over their memory, in one call.

u <- update - grad;  u <- clamp(u, limit);  u <- u - decay * w
w <- clamp(w + rate * u, clip);  update <- momentum * u          limit, clip 0: no clamp

Twin: DarknetSGD's own passes with PyTorch's operators. On the CPU these take twice the memory
traffic, and PyTorch's threads then watch for more work and slow the kernels that follow.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .backend import uses_torch
from .cuda.operators import kernels
from .native import library, threads

TYPES = {"cuda": (torch.float32,), "cpu": (torch.float32, torch.float64)}


class Entry(NamedTuple):
    """One parameter; rate times the common rate is its own."""

    weight: Tensor
    update: Tensor
    decay: float
    rate: float
    limit: float
    clip: float


def in_one_call(parameter):
    """Whether update() takes this parameter."""
    return not uses_torch() and parameter.dtype in TYPES.get(parameter.device.type, ())


def update(entries, rate, momentum):
    """Changes weights and updates in place; gradients are those of weight.grad (None: 0)."""
    run = _on_cuda if entries[0].weight.is_cuda else _on_cpu
    run(entries, rate, momentum)
    for entry in entries:
        torch.autograd.graph.increment_version((entry.weight, entry.update))


def _on_cuda(entries, rate, momentum):
    rows = [(e.weight, _gradient(e.weight), e.update, None, *e[2:]) for e in entries]
    table = kernels().parameter_table(rows, entries[0].weight.device)
    kernels().update(table, len(rows), rate, momentum, clear=False)


def _on_cpu(entries, rate, momentum):
    gradients = [_gradient(e.weight) for e in entries]  # held until the call has read them
    rows = []
    for e, gradient in zip(entries, gradients, strict=True):
        pointers = [0 if t is None else t.data_ptr() for t in (e.weight, gradient, e.update)]
        rows.append((*pointers, e.weight.numel(), e.decay, rate * e.rate, e.limit, e.clip))
    library().update(entries[0].weight.element_size(), rows, momentum, threads())


def _gradient(weight):
    """The gradient in the order of memory that the weight has."""
    if weight.grad is None or weight.grad.stride() == weight.stride():
        return weight.grad
    return torch.empty_like(weight).copy_(weight.grad)
