"""Filters of [net] that silence deltas of [yolo] heads: very large ones, which wrong labels cause,
and very small ones.

    num_sigmas_reject_badlabels    in the last quarter of training, deltas beyond so many deviations
    badlabels_rejection_percentage in the last quarter, about so many percent of the deltas
    equidistant_point              from that iteration on, small deltas, up to a rising bound

All heads share the statistics, which move by a hundredth with every mini-batch.
"""

import torch
from torch import Tensor, nn

RATE = 0.01  # how far the statistics move with each mini-batch
STEP = 0.01  # how far the bound of the percentage moves
EQUIDISTANT = 1.4  # small deltas: at most this many averages


class DeltaFilters(nn.Module):
    """statistics: maximum, mean and deviation of the non-zero deltas; the bound of the percentage.
    A buffer, so that it is saved and restored with the network."""

    def __init__(self, options):
        super().__init__()
        self.percentage = options.badlabels_rejection_percentage
        self.sigmas = options.num_sigmas_reject_badlabels
        self.equidistant = options.equidistant_point
        self.max_batches = options.max_batches
        self.register_buffer("statistics", torch.zeros(4, dtype=torch.float64))

    def apply(self, delta: Tensor, iteration: int, classes: int) -> None:
        """Zeroes what is filtered out of the deltas (of any shape) of one head."""
        start = self.max_batches * 3 // 4
        late = iteration > start
        equal = bool(self.equidistant) and iteration > self.equidistant
        if not (equal or (late and (self.percentage or self.sigmas))):
            return
        size = delta.abs()
        present = size[size != 0].double()
        if not len(present):
            return
        maximum, mean, deviation, bound = self.statistics.tolist()
        progress = (iteration - self.equidistant) / max(1, self.max_batches - self.equidistant)
        smallest = EQUIDISTANT * mean * progress
        maximum = moved(maximum or present.max().item(), present.max().item())
        mean = moved(mean, present.mean().item())
        if late and self.sigmas:
            limit = mean + deviation * self.sigmas
            done = (iteration - start) / max(1, start)
            spread = (delta[delta != 0].double() - mean).square().mean().sqrt()
            deviation = moved(deviation, spread.item())
            smallest = min(limit, mean) * progress
            delta[size > max(limit, maximum - done * abs(maximum - limit))] = 0
        if late and self.percentage:
            bound = self.reject_share(delta, bound or maximum, classes)
        if equal:
            delta[delta.abs() < smallest] = 0
        self.statistics.copy_(torch.tensor([maximum, mean, deviation, bound]))

    def reject_share(self, delta: Tensor, bound: float, classes: int) -> float:
        """Zeroes deltas above the bound; returns the next one, nearer to the percentage."""
        count = (delta != 0).sum().item()
        large = delta.abs() > bound
        delta[large] = 0
        percent = 100 * large.sum().item() * (classes + 5) / max(1, count)
        if percent > self.percentage:
            return bound + STEP
        return bound - STEP if bound > STEP else bound


def moved(average: float, value: float) -> float:
    return (1 - RATE) * average + RATE * value


def delta_filters(options) -> DeltaFilters | None:
    """The filters that [net] asks for, or None."""
    asked = (
        options.badlabels_rejection_percentage,
        options.num_sigmas_reject_badlabels,
        options.equidistant_point,
    )
    return DeltaFilters(options) if any(asked) else None
