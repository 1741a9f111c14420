"""[net] ema_alpha: an average of the weights over the second half of a training.

As Darknet does, after the update of iteration `it`, for weights, biases and scales of
convolutions (not for the rolling statistics):

    it >= max_batches / 2, first time      e <- p
    it <  max_batches - 1000               e <- alpha e + (1 - alpha) p
    it == max_batches - 1000               p <- e

So what is evaluated and saved are the weights themselves, which become the average for the last
thousand iterations; NAME_ema.weights holds the average from the middle on.
"""

from contextlib import contextmanager

import torch

LAST = 1000  # iterations that start from the average
NAMES = ("weight", "bias", "scale")


class Average:
    """Exponential moving average of a network's convolutions; `tensors` is empty before it
    begins, and while alpha is 0."""

    def __init__(self, net):
        self.options = net.options
        self.parameters = {
            f"{layer.index}.{name}": parameter
            for layer in net.layers
            if layer.section.name in ("convolutional", "conv")
            for name, parameter in layer.named_parameters()
            if name in NAMES
        }
        self.tensors = {}

    @torch.no_grad()
    def update(self, iteration):
        """Books the weights after the update of an iteration."""
        alpha, end = self.options.ema_alpha, self.options.max_batches
        if not alpha or iteration < end // 2:
            return
        if not self.tensors:
            self.tensors = {name: p.detach().clone() for name, p in self.parameters.items()}
        if iteration == end - LAST:
            for name, parameter in self.parameters.items():
                parameter.copy_(self.tensors[name])
        elif iteration < end - LAST:
            for name, parameter in self.parameters.items():
                self.tensors[name].lerp_(parameter, 1 - alpha)

    @contextmanager
    @torch.no_grad()
    def inside(self):
        """The network holds the average within the block."""
        own = {name: p.detach().clone() for name, p in self.parameters.items()}
        try:
            for name, parameter in self.parameters.items():
                parameter.copy_(self.tensors[name])
            yield
        finally:
            for name, parameter in self.parameters.items():
                parameter.copy_(own[name])
