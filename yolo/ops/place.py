"""Parts of a concatenation along the channels, written where they will stand.

whole = Whole([32, 64])
a = conv_norm_act(..., place=Part(whole, 0))     # its data is a slice of whole.data
b = conv_norm_act(..., place=Part(whole, 1))
packed.join([a, b])                              # is whole.data: nothing is copied

Sizes are those of dimension 1: blocks of packed tensors (packed.py), else channels.
"""

from typing import NamedTuple


class Whole:
    """Memory of a concatenation, taken when its first part is written."""

    def __init__(self, sizes, place=None):
        """sizes: of each part; place: the Part that this is of another concatenation"""
        self.sizes, self.place, self.data = sizes, place, None

    def take(self):
        """The data, to autograd no view, which is not kept here any more."""
        data, self.data = self.data, None
        return data.data


class Part(NamedTuple):
    whole: Whole
    index: int

    def data(self, shape, empty):
        """Uninitialised memory of the part, shape (n, size, ...); empty(shape) gives that of the
        whole."""
        whole, first = self.whole, sum(self.whole.sizes[: self.index])
        n, size, *inside = shape
        if whole.data is None:
            total = n, sum(whole.sizes), *inside
            whole.data = whole.place.data(total, empty) if whole.place else empty(total)
        return whole.data[:, first : first + size]


def whole_of(places):
    """The data whose parts, all of them and in their order, these places are; or None."""
    whole = places[0].whole if places[0] else None
    if whole and places == [Part(whole, i) for i in range(len(whole.sizes))]:
        return whole.data
    return None
