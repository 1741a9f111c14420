"""[implicit]  a learned map (filters, atoms, 1) that does not depend on the input.

Made to be read by a [shortcut], [scale_channels] or [sam].
"""

import torch
from torch import nn

from .layer import Layer


class Implicit(Layer):
    """Implicit knowledge, the same for every image."""

    def __init__(self, section, place):
        super().__init__(section, place)
        self.mean = section.float("mean", 0.0)
        self.std = section.float("std", 0.2, 0.0)  # half the width of the initial values' range
        self.filters = section.int("filters", 128, 1)
        self.atoms = section.int("atoms", 1, 1)
        self.begin(place)
        place.check(section, "parameters", self.filters * self.atoms)
        self.weight = nn.Parameter(torch.empty(self.out_shape))

    def shape(self, x):
        return self.filters, self.atoms, 1

    def forward(self, x):
        return self.weight.expand(len(x), *self.weight.shape)

    def stored(self):
        return (self.weight,)

    def reset_parameters(self, generator):
        low, high = self.mean - self.std, self.mean + self.std
        self.weight.data.uniform_(low, high, generator=generator)

    def describe(self):
        return str(self.filters), f"{self.atoms} atoms"
