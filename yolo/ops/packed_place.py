"""Parts of a concatenation of packed tensors (packed.py), written where they will stand.

whole = Whole([32, 64])
a = conv_norm_act(..., place=Part(whole, 0))     # its data is a slice of whole.data
b = conv_norm_act(..., place=Part(whole, 1))
packed.join([a, b])                              # is whole.data: nothing is copied
"""

from typing import NamedTuple

from . import packed_memory


class Whole:
    """Memory of a concatenation, taken when its first part is written."""

    def __init__(self, channels):
        """channels: of each part; of all but the last a multiple of V"""
        v = packed_memory.lanes()
        self.blocks = [-(-c // v) for c in channels]
        self.data = None


class Part(NamedTuple):
    whole: Whole
    index: int

    def data(self, shape):
        """Uninitialised memory of the part, shape (n, blocks, rows, columns, V)."""
        whole, first = self.whole, sum(self.whole.blocks[: self.index])
        n, blocks, *inside = shape
        if whole.data is None:
            whole.data = packed_memory.empty_data((n, sum(whole.blocks), *inside))
        return whole.data[:, first : first + blocks]


def whole_of(places):
    """The data whose parts, all of them and in their order, these places are; or None."""
    whole = places[0].whole if places[0] else None
    if whole and places == [Part(whole, i) for i in range(len(whole.blocks))]:
        return whole.data
    return None
