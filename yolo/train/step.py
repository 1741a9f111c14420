"""One iteration: forward and backward over its mini-batches, then the update.

It happens wholly or not at all: `Before` takes the network back to where the iteration began.
"""

import math
from dataclasses import dataclass, field

import torch

from ..errors import YoloError
from ..ops import precision as computing
from .finite import NotFinite, first_non_finite, gradients_finite


class TrainError(YoloError, RuntimeError):
    """Training cannot go on; the message names iteration, layer and images."""


class Before:
    """A network between two iterations; `back()` returns it there. Weights change in the update
    only, so that statistics, counters and gradients are all there is to undo."""

    def __init__(self, net):
        self.net, self.seen = net, net.seen
        self.statistics = [buffer.clone() for buffer in net.buffers()]

    @torch.no_grad()
    def back(self):
        """Undoes the mini-batches since."""
        for buffer, value in zip(self.net.buffers(), self.statistics, strict=True):
            buffer.copy_(value)
        self.net.zero_grad(set_to_none=True)
        self.net.seen = self.seen


@dataclass
class Outcome:
    """What the mini-batches of an iteration gave."""

    loss: float = 0.0
    images: int = 0
    paths: list = field(default_factory=list)
    heads: dict = field(default_factory=dict)  # layer -> Averages

    def add(self, report):
        """Books the heads of one mini-batch."""
        for layer, head in zip(report.indices, report.heads, strict=True):
            earlier = self.heads.get(layer)
            self.heads[layer] = head.averages + earlier if earlier else head.averages


def accumulate(net, batches, device, precision, between=lambda number: None):
    """Forward and backward over the `subdivisions` mini-batches of an iteration; `between` is
    called before each but the first."""
    outcome, subdivisions = Outcome(), net.options.subdivisions
    for number in range(subdivisions):
        if number:
            between(number)
        batch = next(batches)
        net.seen += len(batch.images)
        outcome.images += len(batch.images)
        outcome.paths += batch.paths
        with computing(precision):
            report = backward(net, batch, device)
        outcome.loss += report.cost / subdivisions
        outcome.add(report)
    return outcome


def backward(net, batch, device):
    """Adds the gradients of one mini-batch; NotFinite where they, or the loss, are not."""
    x = batch.images.to(device, non_blocking=True)
    report = net.loss(x, batch.truth.to(device))
    if not math.isfinite(report.cost):
        raise NotFinite("loss", first_non_finite(net, x), batch)
    report.total.backward()
    if not gradients_finite(net):
        raise NotFinite("gradient", first_non_finite(net, x), batch)
    return report
