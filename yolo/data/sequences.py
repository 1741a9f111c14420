"""The order of [net] track=1: consecutive frames of videos, for networks that remember.

The list holds the frames of its videos in their order. A mini-batch of S streams and T time steps
is time-major, image t * S + s being frame t of stream s. Each stream begins at a frame drawn by
chance and goes on by 1 to `augment_speed` frames a step, the same for all streams of a sequence; a
sequence lasts for `sequence` mini-batches, and every image of it is varied alike.
"""

import itertools

import numpy as np

from .lists import DataError
from .loader import Order


class Sequences(Order):
    """An Order of sequences; options: those of [net]."""

    def __init__(self, options, length, *how, **more):
        super().__init__(length, *how, **more)
        self.options = options

    def __iter__(self):
        options, made = self.options, None
        for number in itertools.count(self.number):
            images, *size = self.sizes(number)
            streams, left = divmod(images, options.time_steps)
            if left:
                raise DataError(f"{images} images are no whole sequences of {options.time_steps}")
            iteration, part = divmod(number, options.subdivisions)
            group, begun = divmod(part, options.sequence(iteration))
            seed = self.seed, iteration, group
            if made != (seed, streams):  # drawn once for all its mini-batches
                made, rng = (seed, streams), np.random.default_rng(seed)
                starts = rng.integers(self.length, size=streams)
                speed = rng.integers(1, max(1, options.augment_speed), endpoint=True)
            steps = begun * options.time_steps + np.arange(options.time_steps)
            frames = (starts + speed * steps[:, None]) % self.length
            draws = [(int(frame), seed, tuple(size)) for frame in frames.flatten()]
            yield draws[slice(*self.share(images))]
