"""What [lstm] and [gru] share: fully connected gates of the input and of the state."""

from math import prod

from torch import nn

from .connected import Connected
from .recurrent import Recurrent


class Gated(Recurrent):
    """A recurrent layer of `output` values with gates that are fully connected and linear."""

    gates = 0

    def __init__(self, section, place):
        super().__init__(section, place)
        self.output = section.int("output", 1, 1)
        self.normalise = int(section.bool("batch_normalize", False))
        self.begin(place)

    def gates_of(self, place, inputs):
        """One layer a gate."""
        keys = {
            "output": self.output,
            "activation": "linear",
            "batch_normalize": self.normalise,
        }
        made = (self.inner(Connected, place, (inputs, 1, 1), **keys) for _ in range(self.gates))
        return nn.ModuleList(made)

    def inputs(self):
        return prod(self.in_shapes[0])

    def shape(self, x):
        return self.output, 1, 1

    def describe(self):
        return str(self.output), ""
