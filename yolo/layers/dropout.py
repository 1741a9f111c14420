"""[dropout]  in training, each value is 0 with the given probability, the others grow to match.

dropblock=1: in each channel one square of s x s values may be 0 instead, its probability and its
side growing with the iterations until 0.85 max_batches.
"""

import torch

from ..ops import Packed, multiply, packed, packed_pointwise
from .layer import Layer

GROWS = 0.85  # of max_batches
SIDE = 7  # cells, where no size is given


class Dropout(Layer):
    """Random zeros in training; nothing otherwise.

    Works in place in Darknet: a later layer that names the layer before it reads the zeros too.
    """

    in_place = True
    packs = True

    def __init__(self, section, place):
        super().__init__(section, place)
        self.probability = section.float("probability", 0.2, 0.0, 1.0)
        self.dropblock = section.bool("dropblock", False)
        self.relative = section.float("dropblock_size_rel", 0.0, 0.0, 1.0)
        self.side = int(section.float("dropblock_size_abs", 0.0, 0.0)) or (
            0 if self.relative else SIDE
        )
        if self.probability == 1:
            raise section.error("probability=1 would leave nothing", "probability")
        self.grows_until = GROWS * place.options.max_batches
        self.iteration = 0  # the network keeps it up to date
        self.begin(place)

    @property
    def changes(self):
        return "its squares grow with the iterations" if self.dropblock else None

    def forward(self, x):
        if not self.training or self.probability == 0:
            return x
        if isinstance(x, Packed) and not self.dropblock:
            return packed_pointwise.drop(x, self.probability)
        draw = torch.rand(x.shape, dtype=x.dtype, device=x.device)
        factors = self._blocks(draw) if self.dropblock else self._cells(draw)
        return multiply(x, packed.pack(factors) if isinstance(x, Packed) else factors)

    def _cells(self, draw):
        return (draw >= self.probability).to(draw.dtype) / (1 - self.probability)

    def _blocks(self, draw):
        """Where in a channel the smallest of random numbers is small enough, a square begins."""
        height, width = draw.shape[2:]
        grown = min(1.0, self.iteration / self.grows_until) if self.grows_until else 1.0
        side = self._block(height, width, grown)
        least, at = draw.flatten(2).min(2)
        hit = least < self.probability * grown / side**2
        rows = _covered(at // width, side, height)
        cols = _covered(at % width, side, width)
        dropped = hit[..., None, None] & rows[..., :, None] & cols[..., None, :]
        share = dropped.to(draw.dtype).mean((1, 2, 3), keepdim=True)
        return ~dropped / (1 - share).clamp(min=1 / draw[0].numel())

    def _block(self, height, width, grown):
        """The side of a square by now."""
        smaller = min(height, width)
        side = min(self.side, smaller) if self.side else self.relative * smaller
        return max(1, int(grown * side))

    def describe(self):
        return "block" if self.dropblock else "", f"p = {self.probability:g}"


def _covered(start, side, cells):
    """(N, C) first cell -> (N, C, cells) whether a cell is covered; squares stay inside."""
    last = cells - side
    start = torch.where(start > last, start - last, start).clamp(max=last)[..., None]
    cell = torch.arange(cells, device=start.device)
    return (cell >= start) & (cell < start + side)
