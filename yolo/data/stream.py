"""The order of images that can only be read one after another, from shards.

An epoch is all shards in an order by chance, and of their images the next one is always drawn from
SHUFFLED that wait. All that follows from the seed, so that a run goes on with the images it would
have got; for that it reads again, without decoding, what the epoch has read so far. Each rank of a
distributed training reads the whole stream and keeps its share of each batch.
"""

from collections import deque
from itertools import count, islice

import numpy as np

from .lists import DataError
from .paths import shown

SHUFFLED = 1000  # images, as they are in their files, of which the next one is drawn
NEIGHBOURS = 8  # images before one in the stream, that it may be combined with or replaced by


class StreamOrder:
    """As `loader.Order`, of a stream: draws (Raw, (seed, position), (height, width), neighbours).

    `neighbours` are the images before this one in the stream.
    """

    def __init__(self, dataset, sizes, seed=0, start=0, number=0, share=None):
        self.dataset, self.sizes, self.seed = dataset, sizes, seed
        self.start, self.number = start, number
        self.share = share or (lambda images: (0, images))

    def __iter__(self):
        stream = self._stream()
        for number in count(self.number):
            images, height, width = self.sizes(number)
            draws = [
                (raw, (self.seed, position), (height, width), neighbours)
                for position, raw, neighbours in islice(stream, images)
            ]
            yield draws[slice(*self.share(images))]

    def _stream(self):
        """(position, Raw, neighbours) from `start` on, epoch after epoch."""
        length = len(self.dataset)
        for epoch in count(self.start // length):
            position = epoch * length
            for raw, neighbours in self._epoch(epoch):
                if position >= self.start:
                    yield position, raw, neighbours
                position += 1

    def _epoch(self, epoch):
        """(Raw, neighbours) of each image once, shuffled."""
        rng = np.random.default_rng((self.seed, epoch))
        stream = self.dataset.raws(rng.permutation(len(self.dataset.urls)))
        waiting = list(islice(stream, SHUFFLED))
        before, given = deque(waiting, NEIGHBOURS), 0
        for raw in _shuffled(waiting, stream, rng):
            if given == len(self.dataset):
                raise self._miscounted("more than", given)
            yield raw, tuple(before)
            before.append(raw)
            given += 1
        if given < len(self.dataset):
            raise self._miscounted("only", given)

    def _miscounted(self, how, given):
        return DataError(
            f"{shown(self.dataset.path or '<shards>')}: {len(self.dataset)} images were promised, "
            f"but the shards hold {how} {given}; correct train_images"
        )


def _shuffled(waiting, stream, rng):
    """The items that wait and those of a stream, each drawn from those that wait."""
    for item in stream:
        k = int(rng.integers(len(waiting)))
        yield waiting[k]
        waiting[k] = item
    for k in rng.permutation(len(waiting)):
        yield waiting[int(k)]
