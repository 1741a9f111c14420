"""`random` of the last head: training at changing sizes, by Darknet's rules.

Every 10 iterations v is drawn from 1 to r (random=1: 1.4), or its reciprocal, and

    side = round(v * side of the cfg / resize_step + 1) * resize_step

The first 10 and the last 100 iterations have the largest size; after a measurement the cfg's own
size stays until the next draw. With dynamic_minibatch smaller images come in larger mini-batches.
Everything follows from the seed and the iteration, so the loader knows the sizes to come.
"""

import math
from dataclasses import dataclass

import numpy as np

PERIOD, LAST = 10, 100  # iterations between two draws; of the end, at the largest size
STREAM = 3  # keeps these draws apart from the loader's


@dataclass(frozen=True)
class Rhythm:
    """Iterations after which mAP is measured: at `first`, then every `every`, and at the end."""

    first: int
    every: int | None  # None: never
    end: int

    def due(self, iteration):
        """Whether it is measured after this iteration."""
        if self.every is None:
            return False
        if iteration == self.end:
            return True
        return iteration >= self.first and (iteration - self.first) % self.every == 0

    def between(self, start, stop):
        """Whether it is measured after one of the iterations start + 1 ... stop."""
        return any(self.due(iteration) for iteration in range(start + 1, stop + 1))


class Sizes:
    """(images, height, width) of the mini-batches of each iteration.

    start: the iteration that the training began with; rhythm: when mAP is measured.
    """

    def __init__(self, options, random, rhythm, start=0, seed=0):
        self.options, self.rhythm, self.start, self.seed = options, rhythm, start, seed
        self.reach = 1.4 if random == 1 else random
        self.own = options.height, options.width

    def __call__(self, iteration):
        """Of the iteration that follows `iteration` finished ones: that of the latest draw, or
        the cfg's own where mAP was measured since."""
        draw = iteration - (iteration - self.start) % PERIOD
        if not self.reach or self.rhythm.between(draw, iteration):
            return self.options.mini_batch, *self.own
        if draw == self.start or draw > self.options.max_batches - LAST:
            size = self.largest()
        else:
            size = self._drawn(draw)
        return self.images(*size), *size

    def _drawn(self, iteration):
        rng = np.random.default_rng((self.seed, STREAM, iteration))
        factor = rng.uniform(min(1, self.reach), max(1, self.reach))
        factor = factor if rng.random() < 0.5 else 1 / factor
        size = self._scaled(factor)
        larger = size[0] > self.own[0] or size[1] > self.own[1]
        return self.own if factor < 1 and larger else size

    def _scaled(self, factor):
        step = self.options.resize_step
        return tuple(max(step, math.floor(factor * n / step + 1.5) * step) for n in self.own)

    def largest(self):
        """(height, width) that no draw goes beyond."""
        return self._scaled(self.reach) if self.reach else self.own

    def all(self):
        """Every size that may be drawn, for checks before the first step."""
        if not self.reach:
            return {self.own}
        low, high = sorted((self.reach, 1 / self.reach))
        return {self._scaled(f) for f in np.linspace(low, high, 1000)} | {self.own}

    def images(self, height, width):
        """Images of a mini-batch; dynamic_minibatch: as many as the memory for the largest size
        holds, a fifth less where that is more than the cfg's."""
        count = self.options.mini_batch
        if not self.options.dynamic_minibatch:
            return count
        most = self.largest()
        held = count * most[0] * most[1] // (height * width)
        fewer = held * 8 // 10
        return max(1, fewer if fewer > count else held)


def random_of(net):
    """`random` of the last head that has it, as Darknet reads it; 0: one size."""
    heads = [layer for layer in net.layers if hasattr(layer, "random")]
    return heads[-1].random if heads else 0.0


def largest_size(net):
    """(height, width) that training a network of the cfg's size will come to."""
    return Sizes(net.options, random_of(net), None).largest()
