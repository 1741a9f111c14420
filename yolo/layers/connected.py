"""[connected]  x (C, H, W) -> (output, 1, 1):  y = f(norm(weight x) + bias)."""

from math import prod, sqrt

import torch
from torch import nn

from ..ops import ACTIVATIONS, batch_norm_act, bias_act, linear
from .batchnorm import EPS, rolling_buffers
from .layer import Layer


class Connected(Layer):
    """Fully connected layer."""

    def __init__(self, section, place):
        super().__init__(section, place)
        self.output = section.int("output", 1, 1)
        self.activation = section.choice("activation", ACTIVATIONS, "logistic")
        self.batch_normalize = section.bool("batch_normalize", False)
        self.inputs = None
        self.begin(place)
        self.inputs = prod(self.in_shapes[0])
        each = 4 if self.batch_normalize else 1
        count = self.output * self.inputs + each * self.output
        place.check(section, "parameters", count)
        self.weight = nn.Parameter(torch.empty(self.output, self.inputs))
        self.bias = nn.Parameter(torch.zeros(self.output))
        if self.batch_normalize:
            self.scale = nn.Parameter(torch.ones(self.output))
            rolling_buffers(self, self.output)

    def shape(self, x):
        if self.inputs not in (None, prod(x)):
            raise self.section.error(
                f"has weights for {self.inputs} inputs and cannot take {prod(x)}: a network with "
                "this layer keeps its size"
            )
        return self.output, 1, 1

    def forward(self, x):
        y = linear(x.flatten(1), self.weight)
        if self.batch_normalize:
            rolling = self.rolling_mean, self.rolling_var
            channels = self.scale, self.bias, *rolling
            y = batch_norm_act(y, *channels, self.training, self.activation, eps=EPS)
        else:
            y = bias_act(y, self.bias, self.activation)
        return y[:, :, None, None]

    def stored(self):
        # unlike [convolutional], batch normalisation comes after the weights
        yield self.bias
        yield self.weight
        if self.batch_normalize:
            yield from (self.scale, self.rolling_mean, self.rolling_var)

    def reset_parameters(self, generator):
        bound = sqrt(2 / self.inputs)
        self.weight.data.uniform_(-bound, bound, generator=generator)

    @torch.no_grad()
    def fuse(self):
        if not self.batch_normalize:
            return
        factor = self.scale.double() / (self.rolling_var.double() + EPS).sqrt()
        bias = self.bias.double() - self.rolling_mean.double() * factor
        self.weight.copy_(self.weight.double() * factor[:, None])
        self.bias.copy_(bias)
        self.batch_normalize = False
        del self.scale, self.rolling_mean, self.rolling_var

    def flops(self):
        return 2 * self.inputs * self.output

    def window(self):
        return max(self.in_shapes[0][1:]), 1

    def describe(self):
        return str(self.output), ""
