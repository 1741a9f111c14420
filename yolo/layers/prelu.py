"""[prelu]  y = x where x > 0, else slope * x, with one learned slope a channel.

Darknet has no such section. In a .weights file it is C values, the slopes, at the section's place.
"""

import torch
from torch import nn

from ..ops import prelu
from .layer import Layer


class Prelu(Layer):
    """Parametric rectifier (He et al. 2015), `slope` being where the slopes begin."""

    packs = True

    def __init__(self, section, place):
        super().__init__(section, place)
        self.initial = section.float("slope", 0.25)
        self.begin(place)
        place.check(section, "parameters", self.out_shape[0])
        self.slope = nn.Parameter(torch.empty(self.out_shape[0]))

    def forward(self, x):
        return prelu(x, self.slope)

    def stored(self):
        return (self.slope,)

    def reset_parameters(self, generator):
        self.slope.data.fill_(self.initial)

    def describe(self):
        return "prelu", ""
