"""Concatenations whose parts are written where they stand (ops/place.py).

Packed tensors stand there if all parts of a concatenation do. What is Unwritten (ops/unwritten.py)
is written there by itself, and parts of other kinds are copied beside it.
"""

from .ops import Packed, begins_packed, packed
from .ops.cuda.layout import ALIGNED
from .ops.place import Part, Whole


def gathered(layers):
    """{source: (the layer that concatenates it, its position there)}. A source belongs to the
    first one."""
    found = {}
    for layer in _gathering(layers):
        for i, source in enumerate(layer.sources):
            found.setdefault(source, (layer, i))
    return found


def gathered_packed(layers):
    """The same of concatenations all of whose sources can write packed outputs where they are
    told, and belong to no concatenation before."""
    found = {}
    for layer in _gathering(layers):
        if all(s not in found and s >= 0 and layers[s].places for s in layer.sources):
            found |= {source: (layer, i) for i, source in enumerate(layer.sources)}
    return found


def _gathering(layers):
    return [a for a in layers if a.gathers and len(set(a.sources)) == len(a.sources)]


class Places:
    """Where the layers of one forward pass are to write their outputs."""

    def __init__(self, layers, gathered, gathered_packed):
        """layers: those of this pass"""
        self._here = {layer.index for layer in layers}
        self._gathered, self._gathered_packed = gathered, gathered_packed
        self._wholes, self._wholes_packed = {}, {}

    def given(self, layer, inputs):
        """What a layer's forward is to be told as `place`, or None."""
        return self._wholes.get(layer.index) if layer.gathers else self._packed(layer, inputs)

    def _packed(self, layer, inputs):
        """Part for a layer's packed output, or None."""
        x = inputs[0]
        packs = isinstance(x, Packed) or begins_packed(x)
        if layer.index not in self._gathered_packed or not packs:
            return None
        reader, position = self._gathered_packed[layer.index]
        if reader.index not in self._wholes_packed:
            channels = [shape[0] for shape in reader.in_shapes]
            whole = Whole(packed.blocks(channels)) if reader.packs else None
            self._wholes_packed[reader.index] = whole
        whole = self._wholes_packed[reader.index]
        return Part(whole, position) if whole else None

    def unwritten(self, layer):
        """Part for a layer's Unwritten or concatenation, or None: where the concatenation that
        reads it is of another pass, or kernels could not read 16 bytes at once."""
        reader, position = self._gathered.get(layer.index, (None, 0))
        if reader is None or reader.index not in self._here:
            return None
        channels = [shape[0] for shape in reader.in_shapes]
        if any(c % ALIGNED for c in channels):
            return None
        if reader.index not in self._wholes:
            self._wholes[reader.index] = Whole(channels, self.unwritten(reader))
        return Part(self._wholes[reader.index], position)
