"""[dropout]  in training, each value is 0 with the given probability, the others grow to match."""

import torch

from .layer import Layer


class Dropout(Layer):
    """Random zeros in training; nothing otherwise.

    Works in place in Darknet: a later layer that names the layer before it reads the zeros too.
    """

    in_place = True

    def __init__(self, section, place):
        super().__init__(section, place)
        self.probability = section.float("probability", 0.2, 0.0, 1.0)
        section.ignore("dropblock_size_rel", "dropblock_size_abs")
        self.refuse({"dropblock": "values are dropped one by one"})
        if self.probability == 1:
            raise section.error("probability=1 would leave nothing", "probability")
        self.begin(place)

    def forward(self, x):
        if not self.training or self.probability == 0:
            return x
        kept = torch.rand_like(x) >= self.probability
        return x * kept / (1 - self.probability)

    def describe(self):
        return "", f"p = {self.probability:g}"
