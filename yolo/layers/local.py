"""[local]  a convolution whose weights differ from place to place (YOLOv1).

x (C, H, W) -> y (filters, P, Q):  y = f(weight[place] . window + bias), a bias for each value.
"""

from math import prod, sqrt

import torch
import torch.nn.functional as F
from torch import nn

from ..ops import ACTIVATIONS, activate
from .layer import Layer


class Local(Layer):
    """Locally connected layer; weights lie place after place, as in the file."""

    def __init__(self, section, place):
        super().__init__(section, place)
        self.filters = section.int("filters", 1, 1)
        self.size = section.int("size", 1, 1)
        self.stride = section.int("stride", 1, 1)
        self.pad = section.int("pad", 0, 0)  # cells on each side, not whether to pad
        self.activation = section.choice("activation", ACTIVATIONS, "logistic")
        self.places = None
        self.begin(place)
        depth, outputs = self.in_shapes[0][0] * self.size**2, prod(self.out_shape)
        self.places = self.out_shape[1:]
        place.check(section, "parameters", outputs * depth + outputs)
        self.weight = nn.Parameter(torch.empty(prod(self.places), self.filters, depth))
        self.bias = nn.Parameter(torch.zeros(self.out_shape))

    def shape(self, x):
        rows, cols = (self._steps(cells) for cells in x[1:])
        if self.places not in (None, (rows, cols)):
            raise self.section.error(
                f"has weights for {self.places[0]} x {self.places[1]} places, not for {rows} x "
                f"{cols}: a network with this layer keeps its size"
            )
        return self.filters, rows, cols

    def _steps(self, cells):
        """Places along one side; Darknet computes it twice, and the two must agree."""
        declared = (cells - (1 if self.pad else self.size)) // self.stride + 1
        sampled = (cells + 2 * self.pad - self.size) // self.stride + 1
        if declared != sampled:
            raise self.section.error(
                f"pad={self.pad} does not go with size={self.size}: pad counts cells, and Darknet "
                "has the number of places right for pad=0, or for pad=1 with size=3",
                "pad",
            )
        return declared

    def forward(self, x):
        columns = F.unfold(x, self.size, padding=self.pad, stride=self.stride)  # (N, depth, places)
        y = torch.bmm(self.weight, columns.permute(2, 1, 0))  # (places, filters, N)
        y = y.permute(2, 1, 0).reshape(-1, *self.bias.shape)
        return activate(y + self.bias, self.activation)

    def stored(self):
        return self.bias, self.weight

    def reset_parameters(self, generator):
        # Darknet fills the first place alone and leaves 0 in the others
        bound = sqrt(2 / self.weight.shape[2])
        self.weight.data.uniform_(-bound, bound, generator=generator)

    def flops(self):
        return 2 * self.weight.numel()

    def window(self):
        return self.size, self.stride

    def describe(self):
        return str(self.filters), f"{self.size} x {self.size} / {self.stride}"
