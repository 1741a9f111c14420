"""[batchnorm]  y = scale * (x - mean) / sqrt(variance + 1e-5) + bias, per channel."""

import torch
from torch import nn

from ..ops import batch_norm_act
from .layer import Layer

EPS = 1e-5


def rolling_buffers(layer, channels):
    """The statistics used outside training; both begin at 0, the variance too, as in Darknet."""
    layer.register_buffer("rolling_mean", torch.zeros(channels))
    layer.register_buffer("rolling_var", torch.zeros(channels))


class Batchnorm(Layer):
    """Batch normalisation on its own."""

    def __init__(self, section, place):
        super().__init__(section, place)
        self.begin(place)
        channels = self.out_shape[0]
        place.check(section, "parameters", 4 * channels)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.scale = nn.Parameter(torch.ones(channels))
        rolling_buffers(self, channels)

    def forward(self, x):
        rolling = self.rolling_mean, self.rolling_var
        return batch_norm_act(x, self.scale, self.bias, *rolling, self.training, eps=EPS)

    def stored(self):
        return self.bias, self.scale, self.rolling_mean, self.rolling_var
