"""Concatenations whose parts are written where they stand (ops/packed_place.py)."""

from .ops import Packed, begins_packed
from .ops.packed_place import Part, Whole


def gathered(layers):
    """{source: (the layer that concatenates it, its position there)}, of concatenations all of
    whose sources can write their outputs where they are told. A source belongs to the first one."""
    found = {}
    for layer in layers:
        if not layer.gathers or len(set(layer.sources)) < len(layer.sources):
            continue
        if all(s not in found and s >= 0 and layers[s].places for s in layer.sources):
            found |= {source: (layer, i) for i, source in enumerate(layer.sources)}
    return found


class Places:
    """Where the layers of one forward pass are to write their outputs."""

    def __init__(self, gathered):
        self._gathered, self._wholes = gathered, {}

    def __call__(self, layer, inputs):
        """Part for a layer's output, or None."""
        x = inputs[0]
        if layer.index not in self._gathered or not (isinstance(x, Packed) or begins_packed(x)):
            return None
        reader, position = self._gathered[layer.index]
        if reader.index not in self._wholes:
            channels = [shape[0] for shape in reader.in_shapes]
            self._wholes[reader.index] = Whole(channels) if reader.packs else None
        whole = self._wholes[reader.index]
        return Part(whole, position) if whole else None
