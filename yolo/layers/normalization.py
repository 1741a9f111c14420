"""[normalization]  y = x * n^-beta,  n = kappa + alpha * (sum of x^2 over neighbouring channels).

Channel k sees the channels from k - (size - 1) / 2 to k + size / 2, halves rounded down. As in
Darknet, whose running sum begins one channel short, channel size / 2 is missing from the sums that
should hold it and is subtracted from those that no longer do.
"""

import torch

from ..ops import conv2d
from .layer import Layer


class Normalization(Layer):
    """Local response normalisation."""

    def __init__(self, section, place):
        super().__init__(section, place)
        self.alpha = section.float("alpha", 0.0001)
        self.beta = section.float("beta", 0.75)
        self.kappa = section.float("kappa", 1.0)
        self.size = section.int("size", 5, 1)
        self.begin(place)
        self.band = torch.tensor(_band(self.out_shape[0], self.size))[:, :, None, None]

    def forward(self, x):
        n = self.kappa + self.alpha * conv2d(x * x, self.band.to(x))
        return x * n**-self.beta

    def describe(self):
        return "", f"{self.size} channels"


def _band(channels, size):
    """How often each channel (column) counts in the sum of each one (row)."""
    band = [
        [float(-((size - 1) // 2) <= other - k <= size // 2) for other in range(channels)]
        for k in range(channels)
    ]
    for k, row in enumerate(band):
        if size // 2 < channels:
            row[size // 2] = -1.0 if k > size // 2 + (size - 1) // 2 else 0.0
    return band
