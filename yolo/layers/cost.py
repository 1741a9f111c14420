"""[cost]  y = x; the loss is the squared (sse, masked) or clipped (smooth) distance to truth."""

import torch

from ..loss.head import Averages, HeadLoss
from .layer import Layer
from .softmax import class_targets

UNKNOWN = -1234.0  # in the truth, a value that is not to count (type=masked)


class Cost(Layer):
    """Distance of the layer before from the labels, times `scale`."""

    def __init__(self, section, place):
        super().__init__(section, place)
        self.kind = section.choice("type", ("sse", "masked", "smooth"), "sse")
        self.scale = section.float("scale", 1.0)
        section.ignore("ratio")
        self.begin(place)

    def forward(self, x):
        return x

    def loss(self, x, truth, state):
        """truth: class numbers (N), or values (N, inputs)."""
        difference = class_targets(truth, x.detach(), state.options.label_smooth_eps) - x.detach()
        if self.kind == "masked":
            difference = torch.where(difference + x.detach() == UNKNOWN, 0.0, difference)
        error, delta = difference**2, difference
        if self.kind == "smooth":
            far = difference.abs() >= 1
            error = torch.where(far, 2 * difference.abs() - 1, error)
            delta = torch.where(far, difference.sign(), delta)
        cost, delta = error.sum().item(), self.scale * delta
        return HeadLoss.of(x, -delta, cost, Averages(len(x)))
