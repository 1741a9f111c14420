"""Layers that treat every value by itself become steps: sums, products, activations, factors."""

import numpy as np

from ..layers.batchnorm import EPS
from .convolutions import check_activation, each_channel
from .graph import Unsupported, Value


def aligned(low, layer, value, like):
    """`value`, its channels where those of `like` are; zero where it has none."""
    if value.channels == like.channels and value.blocks == like.blocks:
        return value
    return low.graph.copied(layer.index, value, "channels lie elsewhere", like)


def pointwise(low, layer, a, b, kernel, act="linear", broadcast=False):
    """act(a + b) or act(a * b), as kernel says "add" or "multiply"."""
    out = Value(list(a.channels), a.blocks, a.height, a.width)

    def emit(plan):
        multiply = kernel == "multiply"
        plan.pointwise(a.slice(), b.slice(), out.slice(), multiply, broadcast, act)

    return low.graph.add(layer.index, kernel, "", [a, b], out, emit)


def lower_shortcut(low, layer):
    if layer.index in low.graph.values:
        return  # its convolution has added it
    check_activation(layer.activation)
    total, *others = [_sampled(low, layer, i) for i in range(len(layer.sources))]
    others = [aligned(low, layer, other, total) for other in others]
    if layer.weight is not None:
        total, others = _weighted(low, layer, total, others)
    for i, other in enumerate(others, start=1):
        act = layer.activation if i == len(others) else "linear"
        total = pointwise(low, layer, total, other, "add", act)
    low.graph.values[layer.index] = total


def _sampled(low, layer, number):
    """A source, of one n times as large every nth pixel: the largest of a window of one."""
    value = low.source(layer, number)
    step = value.height // layer.out_shape[1]
    if step == 1:
        return value
    out = Value(list(value.channels), value.blocks, *layer.out_shape[1:])

    def emit(plan):
        plan.max_pool(value.slice(), out.slice(), (1, 1), (step, step), (0, 0))

    why = f"one of {step} x {step} pixels of layer {layer.sources[number]}"
    return low.graph.add(layer.index, "max_pool", why, [value], out, emit)


def _weighted(low, layer, total, others):
    """(sum of all weighted sources but the last, [the last weighted source])."""
    channels = len(total.channels)
    factors = layer.factors().detach().float().numpy()
    factors = (
        np.broadcast_to(factors, (len(factors), channels)) if factors.shape[1] == 1 else factors
    )
    zeros = np.zeros(channels, np.float32)

    def scaled(value, factor, residual=None):
        weight = np.ascontiguousarray(factor[:channels]).reshape(-1, 1, 1, 1)
        return each_channel(low, layer, value, weight, zeros, residual=residual, why="its weights")

    total = scaled(total, factors[0])
    for other, factor in zip(others[:-1], factors[1:-1], strict=True):
        total = scaled(other, factor, total)
    return total, [scaled(others[-1], factors[-1])]


def lower_sam(low, layer):
    check_activation(layer.activation)
    x = low.source(layer)
    other = aligned(low, layer, low.source(layer, 1), x)
    low.graph.values[layer.index] = pointwise(low, layer, x, other, "multiply", layer.activation)


def lower_scale_channels(low, layer):
    check_activation(layer.activation)
    if layer.scale_wh:
        raise Unsupported("scales pixels, not channels")
    source = low.source(layer, 1)
    factor = aligned(low, layer, low.source(layer), source)
    low.graph.values[layer.index] = pointwise(
        low, layer, source, factor, "multiply", layer.activation, True
    )


def lower_activation(low, layer):
    check_activation(layer.activation)
    x = low.source(layer)
    ones, zeros = np.ones((len(x.channels), 1, 1, 1), np.float32), np.zeros(len(x.channels), "f4")
    why = "the activation alone"
    low.graph.values[layer.index] = each_channel(
        low, layer, x, ones, zeros, layer.activation, why=why
    )


def lower_batchnorm(low, layer):
    factor = layer.scale.double() / (layer.rolling_var.double() + EPS).sqrt()
    bias = layer.bias.double() - layer.rolling_mean.double() * factor
    weight = factor.detach().float().numpy().reshape(-1, 1, 1, 1)
    low.graph.values[layer.index] = each_channel(
        low, layer, low.source(layer), weight, bias.detach().float().numpy()
    )
