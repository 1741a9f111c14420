"""[shortcut]  y = f(a0 x0 + a1 x1 + ...): the layer before plus each layer of `from`.

Channels beyond those of a source pass unchanged; of a source n times as high and as wide every nth
pixel counts, as in resnet50.cfg. Without weights every a is 1; with weights

    none      a = w            relu     a = r / (1e-4 + sum of r),  r = max(w, 0.001)
    softmax   a = e^(w - max) / (1e-4 + sum of e^(w - max)),  sums over the inputs
"""

from math import prod

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from ..ops import ACTIVATIONS, Packed, Pending, activate, maxpool2d, packed, packed_pointwise
from ..ops.formulas import NATIVE_ACTIVATIONS
from .layer import Layer, times

WEIGHTS = {"none": None, "per_feature": 1, "per_layer": 1, "per_channel": None}
NORMALIZATIONS = ("none", "relu", "avg_relu", "softmax")


class Shortcut(Layer):
    """Sum of layers, if wanted with a learned weight for each input (or each of its channels)."""

    def __init__(self, section, place):
        super().__init__(section, place)
        self.sources = self.sources + self.refer(place, "from")
        self.activation = section.choice("activation", ACTIVATIONS, "linear")
        self.weights_type = section.choice("weights_type", tuple(WEIGHTS), "none")
        self.normalization = section.choice("weights_normalization", NORMALIZATIONS, "none")
        self.begin(place)
        self.weight = None
        if self.weights_type != "none":
            width = WEIGHTS[self.weights_type] or self.out_shape[0]
            place.check(section, "parameters", len(self.sources) * width)
            self.weight = nn.Parameter(torch.ones(len(self.sources) * width))

    def shape(self, x, *sources):
        for index, source in zip(self.sources[1:], sources, strict=True):
            if _step(source, x) is None:
                raise self.section.error(
                    f"adds layer {index} ({times(source)}) to the layer before ({times(x)}), "
                    "whose height and width differ",
                    "from",
                )
        return x

    @property
    def packs(self):
        fits = all(packed.can_match(c, self.out_shape[0]) for c, _, _ in self.in_shapes)
        return fits and self.activation in NATIVE_ACTIVATIONS

    @property
    def writes(self):
        plain = all(shape == self.out_shape for shape in self.in_shapes)
        unweighted = self.weight is None and self.activation == "linear"
        return Pending if self.packs and plain and unweighted else ()

    def forward(self, x, *sources):
        sources = [_sampled(source, x) for source in sources]
        if self.weight is None:
            for source in sources[:-1]:
                x = _add(x, source)
            return _add_act(x, sources[-1], self.activation)
        return activate(_weighted_sum([x, *sources], self.factors()), self.activation)

    def factors(self):
        """a of each source: (sources, channels), or (sources, 1) for all channels."""
        weight = self.weight.view(len(self.sources), -1)
        return _Normalise.apply(weight, self.normalization)

    def stored(self):
        return () if self.weight is None else (self.weight,)

    def flops(self):
        return prod(self.out_shape) * (len(self.sources) - 1)

    def describe(self):
        names = " ".join(str(source) for source in self.sources[1:])
        return names, "" if self.weight is None else f"{self.weights_type} {self.normalization}"


def _step(source, x):
    """How many times as high and as wide a source (C, H, W) is as x; None: no whole number."""
    step = source[1] // x[1]
    return step if step and source[1:] == (step * x[1], step * x[2]) else None


def _sampled(source, x):
    """Every nth pixel of a source that is n times as large."""
    source = source.planar() if isinstance(source, Pending) else source
    step = source.shape[2] // x.shape[2]
    if step == 1:
        return source
    if isinstance(source, Packed):  # the largest of a window of one
        return maxpool2d(source, 1, step, 0)
    return source[:, :, ::step, ::step]


def _add_act(x, source, activation):
    if isinstance(x, Packed):
        return packed_pointwise.add_act(x, packed.match(source, x.channels), activation)
    return activate(_add(x, source), activation)


def _add(x, source):
    """x + source over the channels that both have."""
    if isinstance(x, Packed):
        return packed.add(x, packed.match(source, x.channels))
    if isinstance(x, Pending):
        return x.plus(source)
    channels = min(x.shape[1], source.shape[1])
    if channels == x.shape[1]:
        return x + source[:, :channels]
    return torch.cat([x[:, :channels] + source, x[:, channels:]], 1)


def _weighted_sum(inputs, factors):
    """a0 x0 + a1 x1 + ..., factors being (inputs, channels) or (inputs, 1)."""
    x, *sources = inputs
    if isinstance(x, Packed):
        return packed_pointwise.weighted_sum(inputs, factors)
    factors = factors.to(x.dtype)[:, None, :, None, None]
    x = x * factors[0]
    for source, factor in zip(sources, factors[1:], strict=True):
        channels = min(source.shape[1], factor.shape[1]) if factor.shape[1] > 1 else None
        x = _add(x, source[:, :channels] * factor[:, :channels])
    return x


class _Normalise(torch.autograd.Function):
    """w (inputs, channels) -> a. As in Darknet, the gradient by `a` is taken for that by w."""

    @staticmethod
    def forward(ctx, weight, kind):
        if kind == "none":
            return weight.clone()
        if kind == "softmax":
            return _share(torch.exp(weight - weight.amax(0)))
        return _share(weight.clamp(min=0.001))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_factor):
        return grad_factor, None


def _share(positive):
    return positive / (positive.sum(0) + 1e-4)
