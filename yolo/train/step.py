"""One iteration: forward and backward over its mini-batches, then the update.

It happens wholly or not at all: `Before` takes the network back to where the iteration began. Of
several ranks each works on its share of every mini-batch; what one of them meets, all act on.
"""

import math
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field

import torch

from .. import ranks
from ..errors import YoloError
from ..ops import precision as computing
from ..ops import statistics
from ..ops.native import torch_alone
from .finite import NotFinite, first_non_finite, gradients_finite


class TrainError(YoloError, RuntimeError):
    """Training cannot go on, on any rank; the message names iteration, layer and images."""

    on_every_rank = True  # so that only the first says it


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
    broken: int = 0  # images replaced so far
    heads: dict = field(default_factory=dict)  # layer -> Averages
    notes: list = field(default_factory=list)  # what each rank has to say

    def add(self, report, share):
        """Books one mini-batch, or the share of it that a rank has."""
        self.loss += share * report.cost
        for layer, head in zip(report.indices, report.heads, strict=True):
            self._add_head(layer, head.averages)

    def _add_head(self, layer, averages):
        earlier = self.heads.get(layer)
        self.heads[layer] = averages + earlier if earlier else averages

    def of_all_ranks(self):
        """The outcomes of all ranks together."""
        if ranks.count() == 1:
            return self
        found = ranks.everyone(asdict(self) | {"notes": ranks.notes.take()})
        whole = Outcome(sum(f["loss"] for f in found), self.images, sum(f["broken"] for f in found))
        whole.notes = [f["notes"] for f in found]
        for part in found:
            for layer, averages in part["heads"].items():
                kind = type(self.heads[int(layer)])  # every rank has the same layers
                whole._add_head(int(layer), kind(**averages))
        return whole


def accumulate(net, loss, batches, device, precision, between, reducer, scale):
    """Forward and backward over the `subdivisions` mini-batches of an iteration; `loss` is net.loss
    or does the same, `between` is called before each but the first, `reducer` sums the gradients of
    all ranks, `scale` is the LossScale that keeps them in range meanwhile."""
    outcome, subdivisions = Outcome(), net.options.subdivisions
    for number in range(subdivisions):
        if number:
            between(number)
        batch = next(batches)
        net.seen += batch.images_of_all
        outcome.images += batch.images_of_all
        with computing(precision), statistics("shared" if reducer.sync_bn else "own"):
            last = number + 1 == subdivisions
            report = backward(net, loss, batch, device, reducer, last, scale.value)
        outcome.add(report, len(batch.images) / batch.images_of_all / subdivisions)
    scale.undo(net)
    outcome.broken = getattr(batches, "skipped", 0)
    return outcome.of_all_ranks()


def backward(net, loss, batch, device, reducer, last, scale=1.0):
    """Adds the gradients of one mini-batch, times `scale`; NotFinite where they, or the loss, are
    not."""
    x = batch.images.to(device, non_blocking=True)
    report = loss(x, batch.truth.to(device))
    _check("loss", math.isfinite(report.cost), net, x, batch)
    with torch_alone() if _in_our_kernels(net, x) else nullcontext():
        with reducer.backward(last):
            (scale * report.total).backward()
        _check("gradient", gradients_finite(net), net, x, batch)
    if last:
        reducer.finish()
    return report


def _in_our_kernels(net, x):
    """Whether the packed kernels compute the whole backward pass, so that PyTorch adds up the
    weights' gradients and no more. Its threads would be awake beside them in all of it."""
    layers = (layer for layer in net.layers if not hasattr(layer, "loss"))
    return x.is_cpu and net.layout == "packed" and all(layer.packs for layer in layers)


def _check(what, good, net, x, batch):
    """Raises NotFinite on every rank where one of them has met it."""
    if ranks.any_rank(not good):
        own = None if good else NotFinite(what, first_non_finite(net, x), batch)
        raise NotFinite.agreed(own)
