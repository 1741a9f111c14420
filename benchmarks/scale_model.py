"""The alpha-beta model of a training step on N ranks, and what it predicts where none were at hand.

    all-reduce of b bytes    ring   2 (N - 1) alpha + 2 (N - 1) / N * b * beta
                             tree   2 log2(N) alpha + 2 b * beta           the smaller of the two
    bucket k                 begins when its gradients are there and bucket k - 1 has gone
    step                     ends with the backward pass, or with the last bucket if that is later

alpha: seconds a message takes to start; beta: seconds a byte takes.
"""

from dataclasses import dataclass
from math import log2


@dataclass(frozen=True)
class Link:
    """What ranks are joined by."""

    alpha: float
    beta: float

    def seconds(self, ranks, size):
        """An all-reduce of so many bytes."""
        if ranks == 1:
            return 0.0
        ring = 2 * (ranks - 1) * self.alpha + 2 * (ranks - 1) / ranks * size * self.beta
        tree = 2 * log2(ranks) * self.alpha + 2 * size * self.beta
        return min(ring, tree)


@dataclass(frozen=True)
class Step:
    """A step of one rank without exchange: its seconds, and for each bucket the bytes and the
    share of the step after which its gradients are there."""

    seconds: float
    buckets: tuple

    def on(self, ranks, link, factor=1.0):
        """Seconds on so many ranks; factor: of the bytes, 0.5 for bfloat16."""
        free = 0.0
        for size, ready in self.buckets:
            free = max(free, ready * self.seconds) + link.seconds(ranks, size * factor)
        return max(self.seconds, free)

    def after(self, ranks, link):
        """Seconds where nothing overlaps: every core computes, and exchanging takes cores too."""
        return self.seconds + sum(link.seconds(ranks, size) for size, _ in self.buckets)

    def merged(self, limit):
        """The same with buckets of at least `limit` bytes."""
        found, held = [], 0
        for place, (size, ready) in enumerate(self.buckets, start=1):
            held += size
            if held >= limit or place == len(self.buckets):
                found.append((held, ready))
                held = 0
        return Step(self.seconds, tuple(found))


def fit(ranks, samples):
    """The Link of measured (bytes, seconds): least squares of relative errors, by a ring."""
    rows = [
        (2 * (ranks - 1) / t, 2 * (ranks - 1) / ranks * size / t) for size, t in samples
    ]  # alpha * row[0] + beta * row[1] = 1
    aa, ab, bb = (sum(r[i] * r[j] for r in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    a, b = (sum(r[i] for r in rows) for i in (0, 1))
    determinant = aa * bb - ab * ab
    return Link(max(0.0, (a * bb - b * ab) / determinant), (b * aa - a * ab) / determinant)
