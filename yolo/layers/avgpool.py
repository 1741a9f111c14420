"""[avgpool]  x (C, H, W) -> (C, 1, 1): the mean of each channel."""

from ..ops import avgpool
from .layer import Layer


class Avgpool(Layer):
    """Global average."""

    packs = True

    def __init__(self, section, place):
        super().__init__(section, place)
        self.begin(place)

    def shape(self, x):
        return x[0], 1, 1

    def forward(self, x):
        return avgpool(x)

    def window(self):
        return max(self.in_shapes[0][1:]), 1
